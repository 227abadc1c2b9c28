/* The figures of a dashboard (spec §12), counted from what the store holds: from facets, ordinals and lines, never from
 * events, so they are right after any fault. What cannot be known is not among them: zero means none.
 *
 * A caller who may see some environments only is shown their cards and no figure of the tenant's. */
#ifndef SERVER_DASHBOARD_FIGURES_H
#define SERVER_DASHBOARD_FIGURES_H

#include "lib/field.h"
#include "lib/json.h"
#include "server/store/store.h"

enum { FIGURES_MOST = 24, FIGURE_CARDS = 100 /* environments, by orderIndex */ };

enum figure_how {
    FIGURE_FACET, /* documents of `kind` with `facet`, and not with `without` (NULL: any) */
    FIGURE_ALL,   /* documents of `kind` */
    FIGURE_TODAY, /* promotions that came to the end `facet` since midnight, UTC */
    FIGURE_DAY    /* in the last 24 hours */
};
struct figure {
    const char *group, *name;
    enum figure_how how;
    const char *kind, *facet, *without;
};
extern const struct figure figures_table[]; /* groups together; ends with {0} */
size_t figures_count(void);

/* One figure from the answers to its commands; -1: memory. `also`: of `without`. */
int64_t figure_value(struct arena *a, const struct figure *row, const struct redis_value *answer,
                     const struct redis_value *also);

struct figures {
    int64_t value[FIGURES_MOST]; /* in the table's order */
    struct figure_card {
        struct str id, json;
    } * cards;
    size_t n;
};

/* Reads them into the arena. lib/op.h: OK, and `then` runs once, later. */
typedef void figures_then(void *arg, enum code c, const struct figures *f);
struct worker;
enum code figures_read(struct worker *w, struct arena *a, struct space s, struct ops *asker, figures_then *then,
                       void *arg);

/* The members that differ from `before` (NULL: all), of an object that is open. `scope`: see feed_scope. False: there are
 * none, and nothing was written. */
bool figures_write(struct json_out *o, const struct figures *f, const struct figures *before, struct str scope);

/* Rows of these members, for the documents. */
extern const struct field figures_rows[];

#endif

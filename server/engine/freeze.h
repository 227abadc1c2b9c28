/* Freeze windows, judged: what they keep a promotion from, and who may go on in spite of them. Pure.
 *
 * A window is in force from its start up to, not including, its end. It blocks unless the promotion overrides it: it
 * names the window in freezeOverride.windowIds, and whoever asked for the promotion was allowed to, which is checked once,
 * when the promotion is made (freeze_may_override).
 * Windows that come later are not named, and so block. */
#ifndef SERVER_ENGINE_FREEZE_H
#define SERVER_ENGINE_FREEZE_H

#include "lib/json.h"
#include "server/store/commit.h"
#include "server/store/page.h"

#define FREEZE_GATE "freeze-window"

bool freeze_active(const struct json *window, int64_t now_ms);
int64_t freeze_end(const struct json *window); /* Unix ms */
/* `override`: {windowIds, reason}, or NULL. */
bool freeze_overridden(const struct json *window, const struct json *override);
bool freeze_may_override(const struct json *window, struct str user, bool permitted);

struct freeze_outlook {
    size_t blocking;  /* windows in force that are not overridden */
    int64_t until_ms; /* when the first of them ends; 0: none blocks */
};
struct freeze_outlook freeze_judge(const struct json *const *windows, size_t n, const struct json *override,
                                   int64_t now_ms);
/* {gate, message, reason, until, windowId}, as a value. */
void freeze_blocker(struct json_out *o, const struct json *window, const char *message);
/* Those of all that block. */
void freeze_blockers(struct json_out *o, const struct json *const *windows, size_t n, const struct json *override,
                     int64_t now_ms);

/* A window has the timer (FREEZE_TIMER, its id): at its start, and then at its end, the dashboard is told, by whoever sees
 * to timers. What was told stands in the document's hash. */
#define FREEZE_TIMER "freeze"
struct worker;
void freeze_schedule(struct commit *c, const struct json *window, struct str id); /* a new one */
void freeze_taken_back(struct commit *c, const struct json *window, struct str id, int64_t now_ms);
void freeze_settle(struct worker *w, struct space space, struct str id);

/* The freeze windows of an environment, as read: first the facet of those there are, then the documents by ordinal. */
enum { FREEZE_WINDOWS = 1000 }; /* looked at: the newest */
struct freeze_set {
    struct str key;    /* of the facet */
    struct str *chunk; /* names and bytes in turn */
    size_t chunks;
    int64_t *ordinals;
    size_t n;
    const struct json **windows;
    size_t count;
};
struct str freeze_facet(struct arena *a, struct space s, struct str environment); /* HGETALL it */
bool freeze_set_open(struct arena *a, struct str key, const struct redis_value *chunks, struct freeze_set *out);
struct page_query freeze_set_query(const struct freeze_set *f, struct space s); /* with n > 0 */
bool freeze_set_fill(struct arena *a, struct freeze_set *f, const struct page_result *result);
/* The commit expects that none came or went since: RES_VERSION_CONFLICT, label "pin". */
void freeze_set_pin(struct commit *c, const struct freeze_set *f);

#endif

/* The filter of a list: a JSON expression and named query parameters, checked against the rows, evaluated against documents,
 * and split into what the facets answer and what must be examined.
 *
 *     {"status": "active"}                     equality; null: absent or null
 *     {"n": {"$gte": 1, "$lt": 5}}             all must hold
 *     {"$or": [..]} {"$and": [..]} {"$not": {..}}; several members of one object are joined by AND
 *     $eq $ne $gt $gte $lt $lte $in $nin $contains $startsWith $exists
 *
 * On lists, equality and $in mean that an element matches. Maps by dotted path (labels.role). Strings are compared case
 * by case, times as instants. A type clash, an unknown field or operator is a fault VAL_INVALID_FILTER at
 * "filter.<path>", never a silent miss. $ne, $nin and $not are true where the member is absent. */
#ifndef SERVER_FILTER_H
#define SERVER_FILTER_H

#include "lib/field.h"

enum {
    FILTER_BYTES = 4096,
    FILTER_DEPTH = 5,   /* of objects that hold fields or combinators */
    FILTER_LEAVES = 50, /* conditions */
    FILTER_VALUES = 100 /* of one $in or $nin */
};

struct filter; /* in the arena it was parsed into; NULL is the filter that lets all through */

/* `text`: the expression, STR_NONE without one. Faults are added; false when there were some or memory ran out. */
bool filter_parse(struct arena *a, const struct field *rows, struct str text, struct faults *faults,
                  const struct filter **out);
/* A named parameter: `field=value` or `field=a,b`, further values of a repeated name (OR). Fault at "query.<name>". */
bool filter_parameter(struct arena *a, const struct field *rows, struct str name, const struct str *values, size_t n,
                      struct faults *faults, const struct filter **out);
const struct filter *filter_and(struct arena *a, const struct filter *x, const struct filter *y); /* NULL: no memory */
/* May the rows be filtered by `name`, a dotted path? */
const struct field *filter_field(const struct field *rows, struct str name);

bool filter_match(const struct filter *f, const struct json *document);

/* The split: `facets` and `rest` hold exactly where `f` does. Either may be NULL (all). `facets` has only conditions that
 * filter_bitmap can answer. False: no memory. */
bool filter_split(struct arena *a, const struct filter *f, const struct filter **facets, const struct filter **rest);

/* Bitmaps by ordinal: bit o is document o. Words beyond `n` are zero. */
struct bitmap {
    uint64_t *words;
    size_t n;
};
size_t bitmap_count(const struct bitmap *b);
/* The names of the facets `facets` asks for, without duplicates; "*" (every document) among them when a negation needs it.
 */
struct filter_names {
    struct str *list;
    size_t n;
};
bool filter_names(struct arena *a, const struct filter *facets, struct filter_names *out);
/* Boolean algebra. maps[i] belongs to names->list[i]. False: no memory. */
bool filter_bitmap(struct arena *a, const struct filter *facets, const struct filter_names *names,
                   const struct bitmap *maps, struct bitmap *out);

#endif

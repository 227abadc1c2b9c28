/* The filter of a list: a JSON expression and named query parameters, checked against the rows, evaluated against
 * documents, and split into what the facets answer and what must be examined.
 *
 *     {"status": "active"}                     equality; null: absent or null
 *     {"n": {"$gte": 1, "$lt": 5}}             all must hold
 *     {"$or": [..]} {"$and": [..]} {"$not": {..}}; several members of one object are joined by AND
 *     $eq $ne $gt $gte $lt $lte $in $nin $contains $startsWith $exists
 *
 * On lists a condition holds when it does for an element. Maps by dotted path (labels.role). Strings are compared case
 * by case, times as instants. A type clash, an unknown field or operator is a fault VAL_INVALID_FILTER at
 * "filter.<path>", never a silent miss. $ne, $nin and $not are true where the member is absent.
 *
 * Rows that may be filtered by are those with FIELD_FILTER (equality has a facet), FIELD_SORT or FIELD_SEARCH. */
#ifndef SERVER_FILTER_H
#define SERVER_FILTER_H

#include "lib/field.h"
#include "server/bitmap.h"

enum {
    FILTER_BYTES = 4096,
    FILTER_DEPTH = 5,   /* of objects that hold fields or combinators */
    FILTER_LEAVES = 50, /* conditions */
    FILTER_VALUES = 100 /* of one $in or $nin, or of one parameter */
};

struct filter; /* in the arena it was parsed into; NULL is the filter that lets all through */

/* `text`: the expression, STR_NONE without one. False: memory ran out, or faults were added. */
bool filter_parse(struct arena *a, const struct field *rows, struct str text, struct faults *faults,
                  const struct filter **out);
/* A named parameter: each of the n values is one or more, separated by commas; any of them will do. Faults at
 * "query.<name>". */
bool filter_parameter(struct arena *a, const struct field *rows, struct str name, const struct str *values, size_t n,
                      struct faults *faults, const struct filter **out);
/* field = value, for handlers: the value is a string, and the row exists. NULL: memory ran out. */
const struct filter *filter_equal(struct arena *a, const struct field *rows, const char *name, struct str value);
/* Both. False: memory ran out. */
bool filter_and(struct arena *a, const struct filter *x, const struct filter *y, const struct filter **out);
/* The row, when it may be filtered by `name`, a dotted path; else NULL. */
const struct field *filter_field(const struct field *rows, struct str name);
/* May a parameter be called so: a filter by one value, so not a map or an object as a whole. */
bool filter_is_parameter(const struct field *rows, struct str name);

bool filter_match(const struct filter *f, const struct json *document);

/* `facets` and `rest` hold together exactly where `f` does; either may be NULL (all). `facets` has only conditions that
 * filter_bitmap can answer. False: memory ran out. */
bool filter_split(struct arena *a, const struct filter *f, const struct filter **facets, const struct filter **rest);

/* How a value is named as a facet: field and value of index_facet (server/store/commit.h). Null has the field "<path>!"
 * and an empty value; values that start with ~ or are longer than FILTER_FACET_MAX bytes are ~ and their SHA-256.
 * False: such a value has no facet, or memory ran out. */
enum { FILTER_FACET_MAX = 255 };
struct facet {
    struct str field, value;
};
bool filter_facet(struct arena *a, struct str path, const struct json *value, struct facet *out);
/* "<map>.<name>", where what would be mistaken for syntax is escaped. */
struct str filter_map_path(struct arena *a, struct str map, struct str name);
#define FILTER_EVERY ((struct facet){S("*"), S("")}) /* the facet every document has */

/* The facets a filter of facets asks for ("field=value"), each once; FILTER_EVERY among them when it is needed. */
struct filter_names {
    struct str *list;
    size_t n;
};
bool filter_names(struct arena *a, const struct filter *facets, struct filter_names *out);
/* maps[i] belongs to names->list[i]; `out` has memory of its own. False: memory ran out. */
bool filter_bitmap(struct arena *a, const struct filter *facets, const struct filter_names *names,
                   const struct bitmap *maps, struct bitmap *out);

#endif

/* What a filter is made of. Between filter.c (parsing, evaluation) and filter_facet.c (facets, bitmaps). */
#ifndef SERVER_FILTER_NODE_H
#define SERVER_FILTER_NODE_H

#include "server/filter.h"

/* Everything else is made of these: $ne and $nin are NOT, $in is OR, $exists is NOT null. */
enum filter_kind { FILTER_AND, FILTER_OR, FILTER_NOT, FILTER_LEAF };
enum filter_op { OP_EQ, OP_GT, OP_GTE, OP_LT, OP_LTE, OP_CONTAINS, OP_STARTS };

struct filter {
    enum filter_kind kind;
    const struct filter **of; /* AND of none is true, OR of none is false; NOT has one */
    size_t n;
    enum filter_op op; /* of a leaf */
    const struct field *row;
    struct str path;          /* of the member, dotted; of the map, when `name` is not STR_NONE */
    struct str name;          /* the map's member */
    const struct json *value; /* in its one form: UUIDs lower case, times in UTC; null for absent or null */
};

#endif

/* Lists of documents: page, sort, filter.
 *
 * Facets are fetched as bitmaps and combined here, so totals are exact and Redis never intersects anything. Pages in the
 * order of creation, or by one sortable field without a filter, take one trip, whatever the size. Everything else
 * examines candidates in slices, at most LIST_EXAMINED of them: a filter that leaves more is 422
 * VAL_FILTER_TOO_BROAD, which names the indexed fields. A page behind the last is an empty one. */
#ifndef SERVER_LIST_H
#define SERVER_LIST_H

#include "server/filter.h"
#include "server/request.h"
#include "server/sort.h"

enum {
    LIST_EXAMINED = 20000,
    LIST_SLICE = 500 /* documents of one trip */
};

struct list_query {
    struct page page;
    struct sort sort;
    const struct filter *filter; /* NULL: all */
};
/* Reads r->query by the dialect's parameter names: page, sort, filter and the fields' own. Faults go to r->faults; the code is
 * VAL_FAILED then. Parameters the route's own `query` rows name are left to the route. */
enum code list_query_parse(struct request *r, const struct resource *of, struct list_query *out);
/* Is `name` a parameter of a list of this resource? For the check that refuses unknown ones. */
bool list_parameter(const struct dialect *d, const struct resource *of, struct str name);

/* The list of `of`, whose documents also match `scope` (NULL: all), answered. Nested resources list those of the parent
 * in the path. */
enum flow list_reply(struct request *r, const struct resource *of, const struct filter *scope);

#endif

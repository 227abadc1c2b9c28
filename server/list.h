/* Lists of documents: page, sort, filter.
 *
 * Facets are fetched as bitmaps and combined here, so totals are exact and Redis never intersects anything. Pages in the
 * order of creation, or by one sortable field without a filter, take one trip, whatever the size. Everything else looks
 * at candidates in slices, `list-examined` of them at most: a filter that leaves more is 422 VAL_FILTER_TOO_BROAD,
 * which names the indexed fields. A page behind the last is an empty one.
 *
 * | filter              | by creation            | by one field                        | by several       |
 * | none                | page by Redis          | page by Redis                       | candidates: all  |
 * | facets only         | page by bitmap         | walk of the field's order, or candi-| candidates: those|
 * |                     |                        | dates, whichever is bounded         | of the bitmap    |
 * | more than facets    | candidates             | candidates                          | candidates       | */
#ifndef SERVER_LIST_H
#define SERVER_LIST_H

#include "server/filter.h"
#include "server/request.h"
#include "server/sort.h"

enum {
    LIST_SLICE = 500,               /* documents of one trip at most */
    LIST_SLICE_BYTES = 1024 * 1024, /* aimed at */
    LIST_WALK = 5000,               /* ids of one trip */
    LIST_PAGE_MAX = 1000000000
};

struct list_query {
    struct page page;
    struct sort sort;
    const struct filter *filter; /* NULL: all */
};
/* Reads r->query by the dialect's parameter names: page, sort, filter and the fields' own. Parameters of the route's own
 * `query` rows are left to the route. VAL_FAILED with r->faults, or SYS_OVERLOADED. */
enum code list_query_parse(struct request *r, const struct resource *of, struct list_query *out);
/* The same for the faults alone: adds them to those of the request's other parts. False: memory ran out. */
bool list_query_check(struct request *r, const struct resource *of, struct faults *faults);
/* Is `name` a parameter of a list of this resource? For the check that refuses unknown ones. */
bool list_parameter(const struct dialect *d, const struct resource *of, struct str name);

/* The list of `of`, whose documents also match `scope` (NULL: all), answered. Nested resources list those of the parent
 * in the path, or answer 404. */
enum flow list_reply(struct request *r, const struct resource *of, const struct filter *scope);

#endif

/* Lists: pages of documents, their totals, and the bitmaps that filters are made of. Nothing here changes anything.
 *
 * A facet (field=value) is a bitmap of ordinals in chunks. C combines facets, counts, and asks for the page's documents
 * by ordinal; unfiltered lists are paged by Redis; order by another field than creation walks its sorted set in slices.
 */
#ifndef SERVER_STORE_PAGE_H
#define SERVER_STORE_PAGE_H

#include "server/store/store.h"

enum page_source {
    PAGE_CREATED,  /* by creation order: offset, count, reverse */
    PAGE_SORTED,   /* by the sortable `field`: offset, count, reverse; texts with `text` */
    PAGE_ORDINALS, /* the documents with these ordinals, in this order; gone ones are nil */
    PAGE_IDS,      /* the documents with these ids, in this order; gone ones are nil */
    PAGE_NONE      /* facets and total only */
};

struct page_query {
    struct space space;
    const char *kind;
    enum page_source source;
    const char *field;
    bool text, reverse;
    int64_t offset, count; /* count: at most 1,000 with documents, 20,000 without */
    const int64_t *ordinals;
    const struct str *ids;
    size_t n;                 /* ordinals or ids, at most 1,000 */
    bool bare;                /* ids and ordinals only, no documents */
    const struct str *facets; /* "field=value": their chunks, too */
    size_t facet_count;       /* at most 64 */
    const char *const *extra; /* further hash fields of each document; ends with NULL; NULL: none. At most 16 */
};

struct page_item {
    struct str id;
    int64_t ordinal;
    int64_t revision;
    unsigned schema;
    struct str json;                 /* STR_NONE when it is gone, or bare */
    const struct redis_value *extra; /* array, in the order asked for; nil without */
};

struct page_result { /* borrowed for the call */
    int64_t now_ms, epoch;
    int64_t total;        /* documents of the kind */
    int64_t last_ordinal; /* highest given so far */
    size_t count;
    const struct redis_value *items;  /* page_item reads them */
    const struct redis_value *facets; /* per facet: chunk numbers and bitmaps in turn */
};
bool page_item(const struct page_result *r, size_t i, struct page_item *out); /* false past the end */

typedef void page_then(void *arg, enum code c, const struct page_result *r);
enum code store_page(struct store *s, struct arena *scratch, const struct page_query *q, struct ops *asker,
                     page_then *then, void *arg);

#endif

/* A dialect is one published API over the same engine: where it answers, how its envelope and errors look, how its
 * pager's parameters are called, and which code answers a stale If-Match. Chosen once per request, by the path's base;
 * what lies under no base belongs to the system dialect (health, documents, test endpoints), which uses the default's
 * envelope. */
#ifndef SERVER_DIALECT_H
#define SERVER_DIALECT_H

#include "server/request.h"

enum { DIALECT_PAGE_SIZE_MAX = 100 };

struct dialect {
    const char *name;
    const char *base;                             /* "/api/v1"; "" for the system's */
    const struct resource *const *resources;      /* ends with NULL */
    const char *page, *page_size, *sort, *filter; /* names of the list parameters */
    int64_t page_size_preset, page_size_max;
    enum code stale;        /* If-Match names another revision */
    enum code key_conflict; /* an Idempotency-Key comes with another request */
    /* Write the whole body. `page` is NULL for what is no list. */
    void (*write_data)(struct buf *b, const struct request *r, struct str data, const struct page *page);
    void (*write_error)(struct buf *b, const struct request *r, enum code c, struct str message);
};

extern const struct dialect dialect_orchestrator; /* server/dialect.c */
extern const struct dialect dialect_system;       /* server/dialects.c, which lists them all */
void dialect_orchestrator_data(struct buf *b, const struct request *r, struct str data, const struct page *page);
void dialect_orchestrator_error(struct buf *b, const struct request *r, enum code c, struct str message);
/* Every dialect, the default first; ends with NULL. */
extern const struct dialect *const dialects[];
/* The one whose base `path` lies under (raw, without the query); the system's otherwise. */
const struct dialect *dialect_of(struct str path);

#endif

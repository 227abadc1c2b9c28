/* A dialect is one published API over the same engine: where it answers, how its envelope and errors look, how its
 * pager's parameters are called, and which code answers a stale If-Match. Chosen once per request, by the path's base;
 * what lies under no base belongs to the system dialect (health, documents, test endpoints), which uses the default's
 * envelope. */
#ifndef SERVER_DIALECT_H
#define SERVER_DIALECT_H

#include "server/request.h"

enum { DIALECT_PAGE_SIZE_MAX = 100 };

struct code_set; /* server/openapi_part.h */
struct operation;

struct dialect {
    const char *name;
    const char *base;                             /* "/api/v1"; "" for the system's */
    bool open;                                    /* 404 and 405 are told to anyone */
    const char *fields;                           /* header lines of every answer; NULL: none */
    const struct resource *const *resources;      /* ends with NULL */
    const char *page, *page_size, *sort, *filter; /* names of the list parameters */
    int64_t page_size_preset, page_size_max;
    enum code stale;        /* If-Match names another revision */
    enum code key_conflict; /* an Idempotency-Key comes with another request */
    /* Write the whole body. `page` is NULL for what is no list. */
    void (*write_data)(struct buf *b, const struct request *r, struct str data, const struct page *page);
    void (*write_error)(struct buf *b, const struct request *r, enum code c, struct str message);
    void (*write_challenge)(struct request *r,
                            enum code c); /* WWW-Authenticate of a 401, or a 403 that lacks something */
    /* How these bodies look in the documents, as JSON Schema; NULL: like the default's (server/openapi_operation.c). `data`
     * writes the schema of the data. */
    void (*data_schema)(struct json_out *o, const struct operation *op,
                        void (*data)(struct json_out *o, const struct operation *op));
    void (*error_schema)(struct json_out *o, const struct code_set *codes, int status);
};

extern const struct dialect dialect_orchestrator; /* server/dialect.c */
extern const struct dialect dialect_oauth;        /* server/oauth/dialect.c */
extern const struct dialect dialect_system;       /* server/dialects.c, which lists them all */
/* Bearer, and what is wrong with the token (RFC 6750 §3), with where the resource describes itself (RFC 9728 §5.1). */
void dialect_bearer(struct request *r, enum code c);
void dialect_orchestrator_data(struct buf *b, const struct request *r, struct str data, const struct page *page);
void dialect_orchestrator_error(struct buf *b, const struct request *r, enum code c, struct str message);
/* Every dialect, the default first; ends with NULL. */
extern const struct dialect *const dialects[];
/* The one whose base `path` lies under (raw, without the query); the system's otherwise. */
const struct dialect *dialect_of(struct str path);

#endif

/* What a resource is: rows. One file per resource under server/api/<dialect>/ opens with its fields and routes, and the
 * rest of the server reads them: routing, 405, scope checks, body and query validation, rendering, filters, sorting,
 * indexes, OpenAPI, and the tests (by way of the served OpenAPI). A plain resource names the generic handlers of
 * server/crud.h and has no code of its own; an action is one or two functions. */
#ifndef SERVER_RESOURCE_H
#define SERVER_RESOURCE_H

#include "lib/field.h"
#include "server/code.h"

struct request;
struct commit;

enum method { GET = 1, POST = 2, PUT = 4, PATCH = 8, DELETE = 16, HEAD = 32, OPTIONS = 64 };

/* What a step of a request answers the driver (server/steps.c). */
enum flow {
    NEXT, /* go on */
    WAIT, /* an operation is under way; its continuation calls request_resume or replies */
    DONE, /* answered */
};

enum route_flag {
    ROUTE_PUBLIC = 1, /* no credentials */
    ROUTE_LIST = 2,   /* data is an array with page, sort, filter and meta.pagination */
    ROUTE_STREAM = 4, /* WebSocket upgrade, and SSE unless ROUTE_WS_ONLY */
    ROUTE_WS_ONLY = 8,
    ROUTE_RAW_BODY = 16, /* any content type; not parsed */
    ROUTE_NO_BODY =
        32, /* a POST that needs none: an empty body counts as {}, without `body` rows nothing else may be in it */
    ROUTE_NO_AUDIT = 64,       /* heartbeats and log ingest */
    ROUTE_NO_RATE = 128,       /* not charged: agent heartbeats */
    ROUTE_HIDDEN = 256,        /* not in the OpenAPI document (/_test) */
    ROUTE_ENVELOPE_NONE = 512, /* answers no envelope: JSON of `data`, or bytes of the type `media` (text/plain) */
    ROUTE_SECRET = 1024,       /* the answer shows a secret: an idempotency record keeps it sealed */
    ROUTE_ARRAY = 2048,        /* data is an array, whole: no page, no meta.pagination */
    ROUTE_BODY_STREAM = 4096,  /* the body is bytes, and the handler takes them as they come (conn_stream_body) */
    ROUTE_BYTES = 8192,        /* a reading route that may answer by reply_stream */
    ROUTE_TAIL = 32768,        /* upgrades the connection to an answer without a length */
    ROUTE_ANYONE = 16384,      /* whoever has credentials: no permission is asked for */
    ROUTE_FORM =
        65536, /* the body is a form (r->form); `body` only describes it: others than these are ignored (RFC 6749 §3.2) */
    ROUTE_MORE_QUERY = 262144, /* query parameters other than `query` are ignored (RFC 6749 §3.1) */
    ROUTE_ONE_COMMIT =
        524288, /* a POST that changes nothing but by one crud_create: its commit opens the idempotency record, and no trip before */
    ROUTE_BUILD =
        131072, /* starts a run, or will deploy: a build of the day (server/rate.h). A rollback is none: it is to get through */
};

struct route {
    enum method method;
    const char *path; /* from the dialect's base: "/environments/{id}" */
    enum flow (*handle)(struct request *r);
    const char *permission; /* "environment:create"; NULL with ROUTE_PUBLIC or ROUTE_ANYONE */
    const char *id;         /* operationId */
    const char *doc;        /* one or two sentences */
    unsigned flags;
    int status;                  /* of success; 0: 200 */
    const struct field *body;    /* NULL with a body method: the resource's own writable fields */
    const struct field *query;   /* beyond page, sort, filter and the filterable fields of a list */
    const struct field *data;    /* fields of `data`, when not the resource's */
    const struct field *headers; /* of its own, for the documents: the handler reads and checks them */
    const char *action;          /* audit action, "environment.created"; NULL: <kind>.<verb> */
    enum code codes[12];         /* beyond what follows from the rows; ends with OK */
    const char *
        media; /* type of answers outside the envelope: instead of it (ROUTE_ENVELOPE_NONE) or beside it; several with spaces between */
    int other_status; /* another success, with other data: of a dry run. 0: none */
    const struct field *other_data;
};

struct change;   /* server/crud.h */
struct document; /* server/document.h */

struct resource {
    const char *kind;   /* "environment": audit, keys, references */
    const char *plural; /* "environments": path segment and list name */
    const char *tag;    /* group in the documents: "ENVMGR" */
    const char *doc;
    const struct field *fields;
    const struct route *routes;
    const char *parent;       /* kind whose id is in the path, for nested resources: "environment" */
    const char *parent_field; /* field that holds it: "environmentId"; without `parent`: names are unique within it */
    const char
        *below; /* for what is no document of its own: the kind that the first id in its paths names, "workflow-run" */
    const char *sort; /* default order; NULL: "-createdAt" */
    int64_t schema;   /* number of the present schema; 0: 1 */

    /* Called by the generic create, update and delete after validation, before the commit is sent: may set server members
     * (overlay_* on c->set), add checks, writes and events to c->commit, or refuse through request_refuse and return its
     * code. Runs again when the revision moved meanwhile. */
    enum code (*prepare)(struct request *r, struct change *c);
    /* Called instead of going on to `prepare`, when the rules need to read more: starts reading and answers WAIT, then calls
     * change_gathered; or answers NEXT. */
    enum flow (*gather)(struct request *r, struct change *c);
    /* Sets `live` of each of the n documents about to be answered: NEXT, or WAIT and later crud_enriched. */
    enum flow (*live)(struct request *r, struct document *documents, size_t n);
    /* One step up from d->schema; false when it cannot. */
    bool (*upcast)(struct arena *a, struct document *d);
};

// clang-format off
#define ROUTE_END {0}
// clang-format on

/* Every resource of every dialect, in the order of the documents; ends with NULL. Defined in server/api/resources.c. */
extern const struct resource *const resources[];

#endif

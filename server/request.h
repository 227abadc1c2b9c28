/* A request and the fixed steps it goes through.
 *
 *   route -> admit -> body -> validate -> scope -> idempotency -> handle -> reply
 *
 * The steps are a table walked by request_resume (server/steps.c); one that answers WAIT has an operation under way
 * whose continuation calls request_resume again or replies. A handler starts with an authenticated caller and a valid
 * body, builds one store call, names one continuation, and the continuation replies. Every request is answered exactly
 * once.
 *
 * Memory: everything of a request lives in its arena, including what its continuations need. When the client leaves,
 * the connection detaches the request's operations and frees the arena at once; no continuation runs after that. */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "lib/arena.h"
#include "lib/op.h"
#include "server/limit.h"
#include "server/permission.h"
#include "server/resource.h"

struct conn;
struct dialect;
struct form; /* proto/form.h */
struct idempotency;
struct scope_mark;
struct http_head; /* proto/http.h: parsed request line and header table */
struct query;     /* proto/query.h: decoded query parameters */
struct worker;

enum { REQUEST_ID_MAX = 128 };

enum caller_type { CALLER_NONE, CALLER_KEY, CALLER_USER, CALLER_AGENT, CALLER_SYSTEM, CALLER_CLIENT };

struct caller { /* who asks; every text lives in the request's arena */
    enum caller_type type;
    struct str id;     /* key id, user id, agent id, client id */
    struct str name;   /* for people: the key's name, the user's, the agent's */
    struct str tenant; /* UUID */
    unsigned partition;
    struct permission_set permissions;
    struct str narrowed; /* permissions that hold in one environment, "target:update@prod,…"; STR_NONE: none */
    unsigned tier;       /* index into the rate tiers */
    int64_t expires_ms;  /* 0: never */
    char credential[65]; /* how the store finds the credential; "" without one */
    /* The same of what a token without a record of its own depends on: its grant, its client, its user; "" without one. */
    char of[67];
    struct str user;     /* whom its chain depends on, a user of the tenant; STR_NONE: nobody */
    struct str granted;  /* what the credential grants, where its user has less (server/caller.h); else STR_NONE */
    struct str networks; /* from where it may call (server/caller.h); STR_NONE: from anywhere */
    int64_t revocations; /* the partition's counter when the credential was looked up */
};

struct request {
    struct worker *worker;
    struct conn *conn;
    struct arena arena;
    struct ops ops;

    enum method method;
    struct str path;              /* decoded, behind the dialect's base */
    const struct http_head *head; /* http_header(r->head, S("if-match")) */
    struct query *query;          /* query_get(r->query, S("page")) */
    struct str body;              /* raw bytes, whole */
    struct json *json;            /* the body after field_check: valid and normalised; NULL without one */
    struct form *form;            /* the body of a route with ROUTE_FORM */
    struct json *parameters;      /* the route's own query rows after field_check, typed; NULL without rows */
    struct str params[4];         /* path parameters in order */

    const struct dialect *dialect;
    const struct resource *resource;
    const struct route *route;
    struct caller caller;
    struct str address;          /* of the client, text form: the peer, or whom a trusted proxy speaks for */
    char id[REQUEST_ID_MAX + 1]; /* X-Request-ID */

    enum code refused;                 /* set by request_refuse */
    struct str why;                    /* sentence of the refusal */
    struct str details;                /* JSON object text for error.details, or STR_NONE */
    struct faults *faults;             /* for validationErrors */
    void *state;                       /* the handler's own, in the arena */
    void (*on_end)(struct request *r); /* see request_on_end */
    void *kept;                        /* its own */

    int status; /* of the answer, once there is one */
    bool answered;
    int64_t started_ns;

    unsigned step;           /* private to steps.c and reply.c from here */
    enum code unroutable;    /* RES_ROUTE_NOT_FOUND or RES_METHOD_NOT_ALLOWED, until the caller is known */
    const char *query_fault; /* what is wrong with the query string; told once the caller is known */
    unsigned allow;          /* methods of the path */
    bool has_whole_body, wants_body;
    bool admitting; /* the admission is under way beside a reading handler: its answer is held */
    struct {
        bool there;
        int status;
        const char *type;
        struct str body;
    } held;
    struct { /* what the answer is made of, for its idempotency record */
        struct str data, location;
        int64_t revision;
        const char *kind; /* data is this stored document; NULL: it is none, or more than is stored */
        struct str id;
    } answer;
    struct rate rate;
    bool built;                      /* a build was charged */
    struct buf fields;               /* header lines of the answer to come */
    struct idempotency *idempotency; /* NULL without an Idempotency-Key */
    const char *lacks;               /* the permission a refusal misses (request_lacks); else NULL */
    struct scope_mark *scope;        /* the caller has the permission in some environments only; else NULL */
    bool replayed;                   /* the answer is that of an earlier request */
    size_t sent;                     /* bytes of the answer's body */
};

/* For the connection. It zeroes the struct but for an empty arena, sets worker, conn, head and address, and calls
 * request_start once the head is complete; the body may still be arriving then. request_body sets the whole body and
 * goes on if the steps wait for it. request_end is for a request that was answered or whose client left: it detaches
 * what is under way and empties the arena, which is the connection's to keep. Answers go out through conn_send, at any
 * time between request_start and request_end, exactly once. */
void request_start(struct request *r);
void request_body(struct request *r, struct str body);
void request_end(struct request *r);
/* Answers a fault found below the steps (framing, a limit, a deadline): head may be NULL or incomplete. No-op once
 * answered. */
void request_fault(struct request *r, enum code c, const char *why);

/* For handlers that hold more than memory of the arena and operations (an upload under way): called once, when the
 * request is over for whatever reason, or has met a fault from below, before its arena goes; nothing may be answered in
 * it. `kept` is r->kept then. NULL takes it back. */
static inline void request_on_end(struct request *r, void (*on_end)(struct request *r), void *kept)
{
    r->on_end = on_end;
    r->kept = kept;
}

/* Walks the steps from where the request stands. */
void request_resume(struct request *r);

/* Names the missing permission in details.required and in WWW-Authenticate (RFC 6750 §3.1) of the coming refusal. */
void request_lacks(struct request *r, const char *permission);
/* Note why; returns `c` so that a handler can write `return request_refuse(...)`. Formats into the arena. */
enum code request_refuse(struct request *r, enum code c, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool caller_may(const struct caller *c, const char *permission);

/* Replies. Each answers the request, exactly once, in the dialect's envelope, with the headers every answer carries,
 * and returns DONE. `data` is JSON text that is known to be well formed. */
enum flow reply_data(struct request *r, int status, struct str data);
enum flow reply_document(struct request *r, int status, struct str document, int64_t revision); /* with ETag */
/* 201 with ETag and a Location: the request's path and `id`. */
enum flow reply_created(struct request *r, struct str id, struct str document, int64_t revision);
struct page {
    int64_t page, size, total;
};
enum flow reply_list(struct request *r, struct str elements, const struct page *page); /* elements: "[...]" */
enum flow reply_empty(struct request *r, int status);
enum flow reply_raw(struct request *r, int status, const char *content_type, struct str bytes);
/* With r->why, r->details and r->faults when they were set by request_refuse; the table's text otherwise. */
enum flow reply_error(struct request *r, enum code c);
/* Bytes that come in pieces, of a route with ROUTE_BYTES: conn_send_begin with the headers that every answer carries. */
bool reply_stream(struct request *r, const char *content_type, uint64_t length, void (*on_room)(void *arg), void *arg);
/* 304 when If-None-Match names the tag (without its quotes); it becomes the answer's ETag. */
bool reply_unchanged(struct request *r, struct str tag);
/* Adds a header to the answer to come; value is copied. */
void reply_header(struct request *r, const char *name, struct str value);
/* For conn_upgrade: the header lines that every answer carries, then `fields`. Counts as the answer. */
struct str reply_upgraded(struct request *r, int status, struct str fields);

/* For changes: OK, or the dialect's code (409 or 412) when the request's If-Match names other revisions than this one.
 */
enum code request_check_revision(struct request *r, int64_t revision);

#endif

/* A Redis client for one loop: RESP2 over lib/stream, replies read by hiredis' reader (the only file that knows it).
 *
 * Commands are encoded straight into the stream's queue and leave in one write per turn of the loop; replies come in
 * order and are matched by a ring. Every command has a deadline, kept by one timer for the oldest. Redis cannot unsend:
 * a deadline that passes drops the connection, and everything that waited ends with REDIS_TIMEOUT or REDIS_LOST (it may
 * or may not have been done). The client then connects again by itself, backing off from 20 ms to 1 s; an idle link is
 * pinged, so a half-open one is noticed.
 *
 * While there is no connection, calls are refused at once with REDIS_DOWN: nothing is queued, nothing is retried. A
 * call from inside a continuation is fine at any time, also while the others that were lost are still being told.
 *
 * A subscriber is a connection of its own (redis_open with `on_message`): it takes redis_subscribe and
 * redis_unsubscribe and no redis_call. It remembers nothing over a reconnect; on_ready says when to subscribe again. */
#ifndef PROTO_REDIS_H
#define PROTO_REDIS_H

#include "lib/address.h"
#include "lib/loop.h"
#include "lib/op.h"

enum redis_error {
    REDIS_OK,
    REDIS_DOWN,        /* refused: not connected */
    REDIS_FULL,        /* refused: too many commands or bytes under way, or a command larger than the limit */
    REDIS_MEMORY,      /* refused: an allocation failed */
    REDIS_LOST,        /* the connection ended before the reply */
    REDIS_TIMEOUT,     /* no reply within the deadline */
    REDIS_PROTOCOL,    /* the reply was not RESP, or exceeds the limits */
    REDIS_OOM,         /* -OOM: maxmemory is reached */
    REDIS_LOADING,     /* -LOADING: reading its data set */
    REDIS_READONLY,    /* -READONLY: a replica */
    REDIS_REPLICAS,    /* -NOREPLICAS, -MASTERDOWN */
    REDIS_BUSY,        /* -BUSY: a script runs too long; -TRYAGAIN */
    REDIS_MISCONF,     /* -MISCONF: it cannot persist */
    REDIS_CLUSTER,     /* -CLUSTERDOWN, -MOVED, -ASK, -CROSSSLOT */
    REDIS_AUTH,        /* -NOAUTH, -WRONGPASS, -NOPERM */
    REDIS_NO_FUNCTION, /* the function is not loaded (-ERR Function not found, -NOSCRIPT) */
    REDIS_WRONG_TYPE,  /* -WRONGTYPE */
    REDIS_REFUSED      /* any other error reply; the value has its text */
};
const char *redis_error_name(enum redis_error e); /* "lost", "oom" ... for logs and metrics */
/* The error reply `text` as one of the above. */
enum redis_error redis_error_of(struct str text);

enum redis_type { REDIS_NIL, REDIS_INTEGER, REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_ARRAY };

/* A reply, borrowed for the call of `then`: keep = copy. Strings are followed by a NUL. */
struct redis_value {
    enum redis_type type;
    int64_t integer;
    struct str text; /* string, status, error */
    size_t count;    /* array */
    const struct redis_value *const *items;
};
/* The i-th element, or a nil value when v is NULL, no array, or shorter. */
const struct redis_value *redis_at(const struct redis_value *v, size_t i);
/* Text of a string or status, else STR_NONE. */
struct str redis_text(const struct redis_value *v);
/* An integer reply, or a string that is one; else `otherwise`. */
int64_t redis_int(const struct redis_value *v, int64_t otherwise);
/* The value behind `name` in an array of names and values (HGETALL); nil when absent. */
const struct redis_value *redis_field(const struct redis_value *flat, struct str name);
static inline bool redis_is_nil(const struct redis_value *v)
{
    return !v || v->type == REDIS_NIL;
}

struct redis_target {
    struct address address;
    char user[128], password[256]; /* empty: no AUTH */
    unsigned db;
    bool tls;
    char ca[256]; /* file of certificates to trust in; empty: the system's */
};
/* "redis://[user[:password]@]host[:port][/db]", "rediss://..." for TLS, which "?ca=FILE" may follow,
 * "unix:///path[?db=N]" (or one slash), an absolute path. False when it is none, `why` a sentence. */
bool redis_target_parse(struct str url, struct redis_target *out, const char **why);

struct redis_limits {   /* 0: the default */
    int64_t call_ms;    /* a reply must come within: 1,500 */
    int64_t connect_ms; /* 1,000 */
    int64_t ping_ms;    /* an idle link is pinged after: 1,000 */
    int64_t backoff_ms; /* longest pause between attempts: 1,000 */
    size_t pending;     /* commands under way: 16,384 */
    size_t queue;       /* bytes not yet taken by the kernel: 32 MiB */
    size_t command;     /* bytes of one command: 8 MiB */
    size_t reply;       /* bytes of one reply: 64 MiB */
    size_t elements;    /* of one array: 1,048,576 */
};

struct redis;

struct redis_events {
    /* Connected and greeted (AUTH, SELECT); calls are taken from here. Again after each reconnect. */
    void (*on_ready)(void *arg);
    /* The connection ended, or an attempt failed; everything that waited has been told. `what` is for people. Once per
     * on_ready or attempt. */
    void (*on_down)(void *arg, enum redis_error e, const char *what);
    /* Setting this makes it a subscriber. */
    void (*on_message)(void *arg, struct str channel, struct str payload);
    /* A subscription is in force: what is published from here on comes. */
    void (*on_subscribed)(void *arg, struct str channel);
};

/* Connects at once, later and again. NULL: no memory. */
struct redis *redis_open(struct loop *loop, const struct redis_target *target, const struct redis_limits *limits,
                         const struct redis_events *events, void *arg);
/* Everything that waits ends with REDIS_LOST; then `closed`, once, later. */
void redis_close(struct redis *r, void (*closed)(void *arg), void *arg);

typedef void redis_then(void *arg, enum redis_error e, const struct redis_value *v);

/* One command. REDIS_OK: `then` runs once, later (lib/op.h); anything else: it never does. `v` is NULL unless e is
 * REDIS_OK or an error reply. Arguments are copied. */
enum redis_error redis_call(struct redis *r, struct ops *asker, size_t argc, const struct str *argv, redis_then *then,
                            void *arg);
enum redis_error redis_subscribe(struct redis *r, struct str channel);
enum redis_error redis_unsubscribe(struct redis *r, struct str channel);

bool redis_ready(const struct redis *r);
/* Drops the connection as if it had been lost; for tests and for a server that answers nonsense. */
void redis_drop(struct redis *r, const char *why);

struct redis_figures {
    uint64_t calls, replies, errors, timeouts, connects, losses;
    size_t pending;
    double latency_us; /* moving average of the time to a reply */
};
void redis_figures(const struct redis *r, struct redis_figures *out);

#endif

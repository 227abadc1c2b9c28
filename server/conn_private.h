/* Between conn.c (HTTP on one connection) and conn_all.c (all connections of a worker). */
#ifndef SERVER_CONN_PRIVATE_H
#define SERVER_CONN_PRIVATE_H

#include "lib/stream.h"
#include "server/conn.h"
#include "server/request.h"
#include "server/settings.h"
#include "server/worker.h"

enum { CONN_UNREAD_MAX = 256 << 10 }; /* bytes of a body that are read and dropped to keep the connection */

/* One request on its way: borrowed from the worker's pool at the first byte, given back after the answer. */
struct exchange {
    struct list link;
    struct http_parser parser;
    struct request request;
    struct buf body;
    int64_t since_ms; /* the first byte; the head; the whole body: where the present deadline counts from */
    uint64_t unread;  /* bytes dropped after the answer */
    uint64_t left;    /* bytes of the answer's body still to be sent */
    void (*on_room)(void *arg);
    void *room_arg;
    const struct conn_sink *sink; /* takes the body, once it is wanted */
    void *sink_arg;
    int64_t held_ms; /* since when the sink is busy; 0: it is not */
    int64_t mark_ms; /* the body's rate counts from here, and from mark_n bytes */
    uint64_t mark_n;
    bool headed;    /* the head is complete */
    bool started;   /* the request is alive */
    bool wanted;    /* the steps want the body */
    bool continued; /* 100 Continue was sent */
    bool whole;     /* the message was read to its end */
    bool broken;    /* the parser takes no more */
    bool answered;
    bool asking; /* on_room is to be called */
};

/* What a connection has until it is upgraded. */
struct conn_http {
    struct exchange *x; /* NULL while idle */
    struct timer timer;
    struct loop_task task;
    struct buf pending; /* bytes that wait for their turn, from `at` on */
    size_t at;
};

struct conn {
    struct stream stream;
    struct list link;
    struct conn_http *http; /* NULL once the request that upgraded has ended */
    const struct conn_protocol *protocol;
    void *state;
    struct peer *peer;
    bool busy : 1;     /* inside advance */
    bool yielded : 1;  /* enough requests for one turn */
    bool behind : 1;   /* answers wait for the client to read */
    bool paused : 1;   /* we read nothing now */
    bool last : 1;     /* the answer under way is the last */
    bool eof : 1;      /* the client sends no more */
    bool stopping : 1; /* protocol->on_stop was called */
    bool late : 1;     /* opened after conns_drain */
    bool surplus : 1;  /* opened above a limit: for one request, which must come soon */
};

static inline struct conn *conn_of(struct stream *s)
{
    return list_entry(s, struct conn, stream);
}

/* The connections of its worker, whose loop it is on. */
static inline struct conns *conn_all(const struct conn *c)
{
    return &list_entry(c->stream.loop, struct worker, loop)->conns;
}

static inline struct metrics *conn_metrics(const struct conn *c)
{
    return &conn_all(c)->worker->metrics;
}

/* conn.c */
extern const struct stream_events conn_events;
/* Answers what was found below the steps, and closes behind the answer. c->x is there. */
void conn_refuse(struct conn *c, enum code code, const char *why);
/* Goes on with what is pending; runs as a task, too. */
void conn_go_on(void *conn);
/* Decides whether to read and when the present wait is over; after everything that may have changed that. */
void conn_settle(struct conn *c);

/* conn_all.c */
struct exchange *exchange_take(struct conns *conns); /* NULL: no memory */
void exchange_give_back(struct conns *conns, struct exchange *x);
void conn_http_end(struct conn *c); /* c->http goes, and a request under way with it; no-op when it is gone */
void conn_closed(struct conn *c, enum stream_end why); /* the end of the struct */

#endif

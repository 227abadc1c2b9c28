/* A client's connection: HTTP/1.1 over a stream, one request at a time, in order.
 *
 * Bytes that arrive while a request is being worked on wait (bounded; then reading stops). The request's own file comes
 * to life at the complete head and ends when its answer is out and its body was read or given up:
 *
 *     head complete -> request_start -> steps ... -> conn_want_body -> body complete -> request_body -> ... ->
 * conn_send
 *
 * An answer may come before the body was read (401, 404, 413, 415, 429 ...): the rest of the body is then read and
 * dropped within a bound, or the connection is closed after the answer; it never becomes the next request.
 * `100 Continue` is sent when the body is first wanted, so never to a request that was refused.
 *
 * A large body is not gathered: conn_stream_body hands it over piece by piece, and nothing more is read from the client
 * while the taker is busy. A large answer goes out the same way: conn_send_begin, then pieces as the client takes them.
 *
 * Deadlines (settings): head, body in all and by rate, request, idle, write. Memory while idle: this struct; parser,
 * request and buffers are borrowed from the worker's pool while a request is under way. What is needed between requests
 * goes with the upgrade.
 *
 * A client that goes away while its request is worked on ends the request at once: operations are detached, the arena
 * is freed. */
#ifndef SERVER_CONN_H
#define SERVER_CONN_H

#include "lib/list.h"
#include "lib/slab.h"
#include "lib/timer.h"
#include "proto/http.h"
#include "server/peer.h"

struct conn;
struct request;
struct shared;
struct stream;
struct worker;

/* The answer to the present request, exactly once. `fields`: ready header lines, each with its CRLF (http_write_field),
 * Content-Type among them. The connection adds the status line, Date, Content-Length and Connection, leaves out the
 * body where there is none (HEAD, 204, 304), and copies everything. When it returns the request still exists; it ends
 * at the next turn of the loop, or when the step that answered has returned. */
void conn_send(struct conn *c, int status, struct str fields, struct str body);

/* The steps now want the body, of at most `max` bytes: continues a client that waits for it and refuses with 413 what
 * is known to be longer. True: it was refused, the request is answered. Else request_body(r, whole body) follows,
 * possibly inside this call when everything is there already: call it last. */
bool conn_want_body(struct conn *c, uint64_t max);

/* A body taken as it comes. */
struct conn_sink {
    /* The next bytes, borrowed for the call. False: no more until conn_body_room. */
    bool (*on_bytes)(void *arg, struct str bytes);
    void (*on_end)(void *arg); /* that was the whole body */
};
/* As conn_want_body, but the body goes to `sink`: at least body-rate-min of it in any ten seconds, all of it within
 * artifact-timeout; the time in which the sink is busy does not count against the client, but more than request-timeout
 * at once ends the request. No call of the sink follows the answer to the request; a client that goes away, or a fault
 * of the body, ends the request (request_on_end). Call it last: the sink may be called inside. */
bool conn_stream_body(struct conn *c, uint64_t max, const struct conn_sink *sink, void *arg);
void conn_body_room(struct conn *c); /* after on_bytes said false */

/* The answer to the present request as conn_send, but the body, of `length` bytes, comes in pieces. `on_room` asks for
 * the next one, later and once for each piece that was sent but the last. Until the last is there the request lives;
 * request_on_end tells when it ends. False: there will be no body (HEAD, 304, a connection that failed), do not send. */
bool conn_send_begin(struct conn *c, int status, struct str fields, uint64_t length, void (*on_room)(void *arg),
                     void *arg);
void conn_send_piece(struct conn *c, struct str bytes); /* copies; not empty */
/* Inside conn_send_begin's answer: the rest cannot be had. The connection is cut, so that the client knows. */
void conn_send_abort(struct conn *c);

/* An upgraded connection belongs to a protocol: WebSocket (101) or an event stream (200, delimited by the close). */
struct conn_protocol {
    void (*on_read)(void *state, struct str bytes); /* valid during the call */
    void (*on_drain)(void *state);                  /* everything that was queued is sent; may be NULL */
    void (*on_stop)(void *state);  /* the server drains: say goodbye and conn_end; may be NULL: closed at once */
    void (*on_close)(void *state); /* the last call; the conn is gone when it returns */
};
/* Answers the present request with `status` and `fields`, and hands the connection over. Bytes that came behind the
 * request are given to on_read once the step that called this has returned; the request ends then. No callback runs
 * inside this call. */
void conn_upgrade(struct conn *c, int status, struct str fields, const struct conn_protocol *protocol, void *state);

/* For the protocol. Writing is bounded by the setting send-queue: false when the bytes do not fit (nothing was
 * queued: the reader is too slow, conn_abort is the usual answer) or the connection is closing. */
bool conn_write(struct conn *c, struct str bytes);
bool conn_write_shared(struct conn *c, struct shared *bytes);
bool conn_write_last(struct conn *c, struct str bytes); /* a few last words, which always fit */
size_t conn_queued(const struct conn *c);               /* bytes not yet taken by the kernel */
void conn_flush(struct conn *c); /* hands the kernel now what it takes; on_drain follows if that was not all */
void conn_pause(struct conn *c); /* no on_read until conn_resume */
void conn_resume(struct conn *c);
void conn_end(struct conn *c);   /* sends what is queued, within a deadline, then closes; on_close follows */
void conn_abort(struct conn *c); /* closes now; on_close follows, later */

struct worker *conn_worker(const struct conn *c);
/* It is one more than there may be: it is answered once, and anything but a probe by a refusal. */
bool conn_surplus(const struct conn *c);
bool conn_secure(const struct conn *c);        /* speaks TLS */
struct str conn_address(const struct conn *c); /* the peer's, text form, without the port; "unix" */

/* The worker's side. */
struct conns { /* all connections of a worker */
    struct worker *worker;
    struct list all;
    size_t open;                /* connections */
    size_t upgraded;            /* of these, handed to a protocol */
    size_t asked;               /* requests begun and not yet answered */
    size_t early;               /* after conns_drain: of these, open since before it */
    bool closing;               /* no connection stays for another request */
    void (*drained)(void *arg); /* the last early connection is gone; may be NULL */
    void (*emptied)(void *arg); /* the last connection of all is gone; may be NULL */
    void *arg;                  /* of both */
    struct list spare;          /* private from here: exchanges to borrow */
    size_t spare_n;
    struct slab slots, https; /* connections, and what they have before an upgrade */
    struct timer calm;        /* since a rush of requests */
    struct buf head;          /* where a head is put together */
    struct http_limits limits;
    struct peers peers;
};
void conns_init(struct conns *conns, struct worker *worker);
/* Aborts when a connection is left. */
void conns_fini(struct conns *conns);
/* Takes over an accepted descriptor. Beyond the limits on connections it is answered with 503, or closed. */
void conn_open(struct conns *conns, int fd, bool tls);
/* From here every answer closes its connection, and idle ones are closed within a second: what was on its way meanwhile
 * is still answered. Protocols without a drain of their own are stopped. */
void conns_drain(struct conns *conns);
/* Closes everything that is left. */
void conns_abort(struct conns *conns);

#endif

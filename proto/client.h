/* The client side of HTTP/1.1 and WebSocket, over lib/stream: what the agent and `slipway watch` speak with.
 *
 * Small on purpose: one request on one connection, no redirects, no proxies, no cookies, answers of bounded size; calls
 * to other people's servers are proto/fetch's. With https:// and wss:// the server's certificate must lead to a root we
 * trust and name the host; there is no way around that. */
#ifndef PROTO_CLIENT_H
#define PROTO_CLIENT_H

#include "lib/op.h"
#include "lib/str.h"

struct loop;
struct tls_context;

/* http://host[:port][/base], https://, ws:// and wss:// the same; unix:/path/to/socket[:/base]. Parts are views into the
 * text. */
struct client_url {
    struct str host; /* without brackets; the path of a socket when `local` */
    struct str base; /* path prefix without a slash at its end, may be empty */
    uint16_t port;   /* 80 or 443 when absent */
    bool local;
    bool tls;
    struct tls_context *trust; /* of `tls`: client_trust */
};
/* NULL when it is one, else a sentence that says what is wrong. User information, queries and fragments are refused. */
const char *client_url_parse(struct str text, struct client_url *out);

enum { CLIENT_REASON = 160 };
/* Before an https:// or wss:// URL is used: tls_trust. False after a sentence in `why`. Other URLs need none. */
bool client_trust(struct client_url *url, const char *ca, char why[CLIENT_REASON]);
void client_distrust(struct client_url *url); /* at the end */

struct client_header {
    const char *name;
    struct str value;
};

struct client_request {
    const struct client_url *url;
    const char *method;
    struct str path;                     /* behind the base; with its query */
    const struct client_header *headers; /* beside Host, Content-Length, Connection; ends with {0}; NULL: none */
    struct str body;                     /* STR_NONE: none */
    const char *type;                    /* of the body; NULL: application/json */
    int64_t deadline_ms;                 /* for everything; 0: 10,000 */
};

struct client_answer { /* borrowed during the call of `then` */
    int status;        /* 0: no answer, `error` says why */
    struct str body;
    struct str retry_after; /* header, or STR_NONE */
    const char *error;
};

enum { CLIENT_BODY = 1024 * 1024 }; /* bytes of an answer's body; more is an error */

typedef void client_then(void *arg, const struct client_answer *answer);
/* lib/op.h's contract; everything in `request` is copied. False: no memory, `then` never runs. */
bool client_call(struct loop *loop, const struct client_request *request, struct ops *asker, client_then *then,
                 void *arg);

/* A WebSocket (RFC 6455, client role: every frame masked). Pings are answered here. */
struct client_ws;

struct client_ws_type {
    void (*on_open)(void *arg);
    void (*on_text)(void *arg, struct str message); /* borrowed; binary messages end the connection with 1003 */
    void (*on_drain)(void *arg);                    /* everything sent has left for the kernel; may be NULL */
    /* The last call. `status`: the HTTP status of a refused upgrade, else 0. `code`: the close code received, 1006
     * without one. `reason` is for people, borrowed. */
    void (*on_close)(void *arg, int status, unsigned code, struct str reason);
};

enum { CLIENT_WS_MESSAGE = 4 * 1024 * 1024, CLIENT_WS_QUEUE = 4 * 1024 * 1024 };

/* Connects, asks for the upgrade and checks the answer, all within deadline_ms; then on_open. A method, a body and
 * headers of the upgrade itself in `request` are not looked at. NULL: no memory; nothing is called then. */
struct client_ws *client_ws_open(struct loop *loop, const struct client_request *request,
                                 const struct client_ws_type *type, void *arg);
/* False when the queue is full or the connection is not open: nothing was sent. */
bool client_ws_send(struct client_ws *ws, struct str text);
size_t client_ws_queued(const struct client_ws *ws); /* bytes that the kernel has not taken */
/* Cuts when nothing came for this long, pings at half of it. 0: never. */
void client_ws_idle(struct client_ws *ws, int64_t ms);
/* Sends a close frame, waits briefly for the other side's, ends. on_close is the last call, later. */
void client_ws_close(struct client_ws *ws, unsigned code, const char *reason);

#endif

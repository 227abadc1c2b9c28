/* Outbound HTTP: libcurl's multi interface on a loop of ours, and the only face of libcurl.
 *
 * One fetcher per worker. What it sends is sent on somebody else's behalf, so it is guarded: http and https only, no
 * redirects followed, no credentials in URLs, no proxy from the environment, and the address a socket is about to
 * connect to must be public or in an allowed network (lib/cidr.h). Time, size, running requests in all and per host are
 * bounded; what is over the running bound waits in line within its own time-out.
 *
 * Answers of any status are answers; a fault is what kept one from coming. */
#ifndef PROTO_FETCH_H
#define PROTO_FETCH_H

#include "lib/cidr.h"
#include "lib/op.h"

struct fetcher;
struct loop;

enum fetch_fault {
    FETCH_NONE,
    FETCH_URL,     /* not a URL that may be fetched */
    FETCH_REFUSED, /* the guard: the host's address is not public and not allowed */
    FETCH_RESOLVE, /* no such host */
    FETCH_CONNECT, /* nobody answers there */
    FETCH_TLS,     /* no trust in the peer's certificate, or no common protocol */
    FETCH_TIMEOUT,
    FETCH_TOO_LARGE, /* the answer has more than max_bytes */
    FETCH_BROKEN,    /* the connection ended or the peer does not speak HTTP */
    FETCH_CLOSED,    /* the fetcher was closed meanwhile */
    FETCH_MEMORY
};

struct fetch_settings {
    const struct cidr *allow; /* copied */
    size_t allow_count;
    long running, running_per_host; /* 0: 64 and 8 */
};

struct fetch_request { /* copied by fetch_start */
    struct str method, url;
    struct str fields; /* header lines "Name: value", each ended by a newline */
    struct str body;   /* sent when method is neither GET nor HEAD */
    int64_t timeout_ms;
    size_t max_bytes;
};

struct fetch_answer { /* borrowed during the continuation */
    enum fetch_fault fault;
    const char *message; /* of a fault, for people; never holds the URL's query */
    int status;
    struct str type; /* Content-Type */
    struct str body;
    int64_t elapsed_ms;
};

typedef void fetch_then(void *arg, const struct fetch_answer *answer);

struct fetcher *fetcher_open(struct loop *loop, const struct fetch_settings *settings); /* NULL: no memory */
/* Ends what is under way with FETCH_CLOSED; `closed` runs once, later. */
void fetcher_close(struct fetcher *f, void (*closed)(void *arg), void *arg);
/* The contract of lib/op.h. False: refused at once (no memory, or closing); `then` never runs. */
bool fetch_start(struct fetcher *f, const struct fetch_request *request, struct ops *asker, fetch_then *then,
                 void *arg);
const char *fetch_fault_name(enum fetch_fault fault); /* "timeout", "refused" … */

#endif

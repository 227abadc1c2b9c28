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

/* The same without a loop, for a process that has nothing else to do; it may stream. */
struct fetch_blocking {
    const char *socket; /* path of a socket to connect to, whatever the URL's host; NULL: the host */
    bool unguarded;     /* the address may be any */
    const char *ca;     /* file of certificates to trust in; NULL or "": the system's */
    /* Gets the body of a 2xx answer as it comes, never more than max_bytes; false: give up (FETCH_CLOSED). NULL: the
     * body is in the answer, as is that of any other status. */
    bool (*take)(void *arg, struct str bytes);
    /* Asked at least once a second; `expected` is 0 when unknown. False: give up (FETCH_CLOSED). May be NULL. */
    bool (*goes_on)(void *arg, uint64_t got, uint64_t expected);
    void *arg;
};
enum { FETCH_STALLED_S = 30, FETCH_CONNECT_MS = 15000 };
/* `then` runs once, before the return. A request with timeout_ms 0 may take as long as bytes come: it ends when there
 * are fewer than 1,024 a second for FETCH_STALLED_S, or no connection for FETCH_CONNECT_MS. */
void fetch_blocking(const struct fetch_settings *settings, const struct fetch_request *request,
                    const struct fetch_blocking *how, fetch_then *then, void *arg);
const char *fetch_fault_name(enum fetch_fault fault); /* "timeout", "refused" … */

#endif

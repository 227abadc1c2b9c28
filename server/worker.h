/* A worker: one thread with its own loop, listener, store connections, hub and connections. Workers share nothing but
 * what is never changed after start, and `struct process` below.
 *
 * Start: store -> hub -> engine -> listener; the process is ready once every worker can serve. Stop is the reverse:
 * readiness off, the balancer's interval, streams told, requests finished, listeners closed last (decision 40a), then
 * engine, hub, store, loop. At the end no handle, operation or connection is left; that is asserted. */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include "lib/acceptor.h"
#include "lib/loop.h"
#include "lib/op.h"
#include "proto/tls.h"
#include "server/conn.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/store/store.h"

#include <pthread.h>

struct board;      /* server/dashboard/board.h */
struct deflate;    /* proto/deflate.h */
struct blob_store; /* server/blob_store.h */
struct drains;     /* server/engine/drain.h */
struct feeds;      /* server/feed.h */
struct hub;        /* server/hub.h */
struct settings;
struct settles; /* server/engine/environment_settle.h */

/* What the process is about. LEAVING: /readyz says no, everything else is as before. DRAINING: streams are told,
 * answers close their connections. CLOSING: what is left is cut, then listeners and everything else are closed. */
enum phase { PHASE_STARTING, PHASE_READY, PHASE_LEAVING, PHASE_DRAINING, PHASE_CLOSING };

enum worker_state { WORKER_STARTING, WORKER_SERVING, WORKER_DRAINED, WORKER_ENDED };

struct process { /* one, shared by all workers; what changes is atomic */
    const struct settings *settings;
    struct loop *loop; /* of the main thread: woken when a worker's state changed */
    struct worker *workers;
    unsigned count;
    struct store_settings store;
    int64_t connections; /* open, over all workers */
    int64_t started_ms;
    enum phase phase;
    bool failed; /* a worker could not start */
    uint64_t beat;
};

struct worker {
    struct process *process;
    const struct settings *settings;
    unsigned index;
    struct loop loop;
    struct store *store;
    struct blob_store *blobs;
    struct hub *hub;
    struct deflate *deflate; /* of all its WebSockets */
    struct feeds *feeds;
    struct board *boards; /* server/dashboard/board.h */
    struct drains *drains;
    struct settles *settles;       /* server/engine/environment_settle.h */
    struct sessions *sessions;     /* server/session.h */
    struct principals *principals; /* server/principal.h */
    struct providers *providers;   /* server/oauth/provider.h */
    struct limit *limit;           /* server/limit.h */
    struct credits *credits;       /* server/credit.h */
    struct auditor *auditor;       /* server/audit.h */
    struct acceptor acceptors[LISTENS];
    struct tls_door door;         /* of LISTEN_TLS */
    struct tls_context *tls_next; /* atomic: a new certificate, not yet seen by the worker */
    struct conns conns;
    struct metrics metrics;
    unsigned tails;     /* server/audit_tail.h */
    unsigned passwords; /* under way (server/identity/password.h) */
    struct ops ops;     /* operations nobody in particular waits for */

    enum worker_state state; /* atomic; private to worker.c from here */
    enum phase seen;
    uint64_t beaten; /* atomic */
    pthread_t thread;
    int fds[LISTENS]; /* to listen on, until the listener has them; -1: none */
    unsigned parts;   /* how many are started */
    bool started, prepared;
    struct arena start_arena;
    struct loop_task task;
    struct timer timer, sampler, doors;
};

/* All workers are made before the first is started, since each can see the others. What `fds` has to listen on is taken
 * over. False after a line in the log. */
bool worker_init(struct worker *w, struct process *process, unsigned index, const int fds[LISTENS]);
/* Starts the thread, which makes the worker's parts and serves. What fails is told by process->failed. */
void worker_start(struct worker *w);
/* Once it has ended: joins the thread. */
void worker_fini(struct worker *w);
/* The process's phase has changed: tells every worker. */
void process_enter(struct process *p, enum phase phase);
/* Asks every worker to go once round its loop. False: one has not done so since the last call. */
bool process_beat(struct process *p);
enum phase process_phase(const struct process *p);
enum phase worker_phase(const struct worker *w); /* of its process */
enum worker_state worker_state(const struct worker *w);

#endif

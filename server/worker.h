/* A worker: one thread with its own loop, listener, store connections, hub and connections. Workers share nothing but
 * what is never changed after start, and `struct process` below.
 *
 * Start: store -> hub -> engine -> listener; the process is ready once every worker can serve. Stop is the reverse:
 * readiness off, the balancer's interval, streams told, requests finished, listeners closed last (decision 40a), then
 * engine, hub, store, loop. At the end no handle, operation or connection is left; that is asserted. */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include "lib/loop.h"
#include "lib/op.h"
#include "server/conn.h"
#include "server/metrics.h"

struct drains;   /* server/engine/drain.h */
struct feeds;    /* server/feed.h */
struct hub;      /* server/hub.h */
struct listener; /* server/listen.h */
struct settings;
struct store;

enum phase { PHASE_STARTING, PHASE_READY, PHASE_DRAINING, PHASE_STOPPING };

struct process { /* one, shared by all workers; atomics only */
    const struct settings *settings;
    struct worker *workers;
    unsigned count;
    int phase; /* enum phase, relaxed atomic */
    int64_t started_ms;
};

struct worker {
    struct process *process;
    const struct settings *settings;
    unsigned index;
    struct loop loop;
    struct store *store;
    struct hub *hub;
    struct feeds *feeds;
    struct drains *drains;
    struct principals *principals; /* server/principal.h */
    struct sessions *sessions;     /* server/session.h */
    struct limit *limit;           /* server/limit.h */
    struct listener *listener;
    struct conns conns;
    struct metrics metrics;
    struct ops ops; /* operations nobody in particular waits for */
};

enum phase worker_phase(const struct worker *w);

#endif

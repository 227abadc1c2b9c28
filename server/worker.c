#include "server/worker.h"

#include "lib/log.h"
#include "lib/must.h"
#include "lib/timer.h"
#include "proto/deflate.h"
#include "server/audit.h"
#include "server/blob_store.h"
#include "server/certificate.h"
#include "server/credential.h"
#include "server/credit.h"
#include "server/engine/agents.h"
#include "server/engine/drain.h"
#include "server/engine/environment_settle.h"
#include "server/feed.h"
#include "server/hub.h"
#include "server/limit.h"
#include "server/oauth/provider.h"
#include "server/principal.h"
#include "server/session.h"
#include "server/settings.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SAMPLE_MS = 1000,  /* how often figures of other parts are copied to the metrics */
    HANDSHAKE_MS = 20, /* a connection's, from a balancer near by, when the listener shuts */
    DOORS_MS = 500,    /* from the start on a store is waited for; then they open for probes at least */
    LAST_MS = 1500,    /* for connections that came in just before the listener was closed */
    LINGER_MS = 3600000,
    RETRY_MS = 200 /* before the first start is tried again */
};

enum phase process_phase(const struct process *p)
{
    return __atomic_load_n(&p->phase, __ATOMIC_ACQUIRE);
}
enum phase worker_phase(const struct worker *w)
{
    return process_phase(w->process);
}
enum worker_state worker_state(const struct worker *w)
{
    return __atomic_load_n(&w->state, __ATOMIC_ACQUIRE);
}

void process_enter(struct process *p, enum phase phase)
{
    __atomic_store_n(&p->phase, phase, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < p->count; i++)
        loop_wake(&p->workers[i].loop);
}

bool process_beat(struct process *p)
{
    bool all = true;
    for (unsigned i = 0; i < p->count; i++)
        all &= worker_state(&p->workers[i]) == WORKER_ENDED ||
               __atomic_load_n(&p->workers[i].beaten, __ATOMIC_ACQUIRE) == p->beat;
    __atomic_store_n(&p->beat, p->beat + 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < p->count; i++)
        loop_wake(&p->workers[i].loop);
    return all;
}

static void enter(struct worker *w, enum worker_state state)
{
    __atomic_store_n(&w->state, state, __ATOMIC_RELEASE);
    loop_wake(w->process->loop);
}

static void give_up(struct worker *w, const char *why)
{
    log_error("worker.failed", "worker=%u why=%s", w->index, why);
    __atomic_store_n(&w->process->failed, true, __ATOMIC_RELEASE);
    loop_wake(w->process->loop);
}

/* --- before serving: the keyring fits the data, the first admin key is there --- */

/* Who comes while the store connects waits in the kernel's queue: a fresh instance refuses nobody. */
static void open_doors(void *arg)
{
    struct worker *w = arg;
    timer_stop(&w->doors);
    for (unsigned i = 0; i < LISTENS; i++)
        if (w->acceptors[i].open)
            acceptor_resume(&w->acceptors[i]);
}

static void serve(struct worker *w)
{
    enter(w, WORKER_SERVING);
    open_doors(w);
}

static void prepare(void *arg);

static void prepared(void *arg, enum code c, struct str text)
{
    struct worker *w = arg;
    if (c == OK) {
        arena_fini(&w->start_arena);
        serve(w);
    } else if (c == SYS_STORAGE || c == SYS_OVERLOADED) {
        arena_reset(&w->start_arena);
        timer_start(&w->timer, &w->loop, RETRY_MS, prepare, w);
    } else {
        char why[512];
        snprintf(why, sizeof(why), STR_FMT, STR_ARG(text));
        arena_fini(&w->start_arena);
        give_up(w, why);
    }
}

static void prepare(void *arg)
{
    struct worker *w = arg;
    if (!store_ready(w->store)) {
        timer_start(&w->timer, &w->loop, RETRY_MS, prepare, w);
        return;
    }
    enum code c = credential_start(w->settings, w->store, &w->start_arena, &w->ops, prepared, w);
    if (c != OK)
        prepared(w, c, S("the data cannot be prepared"));
}

static void on_store_changed(void *arg)
{
    struct worker *w = arg;
    if (w->prepared || !store_ready(w->store))
        return;
    w->prepared = true;
    if (w->index == 0) /* for the whole process */
        timer_start(&w->timer, &w->loop, 0, prepare, w);
    else
        serve(w);
}

/* --- the parts, in the order they are started --- */

static void stop_next(struct worker *w);

static void stopped(void *arg)
{
    stop_next(arg);
}

static bool start_store(struct worker *w)
{
    w->store = store_open(&w->loop, &w->process->store, on_store_changed, w);
    return w->store != NULL;
}

static bool stop_store(struct worker *w)
{
    store_close(w->store, stopped, w);
    return false;
}

static bool start_blobs(struct worker *w)
{
    w->blobs = blob_store_open(w);
    return w->blobs != NULL;
}

static bool stop_blobs(struct worker *w)
{
    blob_store_close(w->blobs, stopped, w);
    w->blobs = NULL;
    return false;
}

static bool stop_callers(struct worker *w)
{
    sessions_free(w->sessions);
    credits_free(w->credits);
    limit_free(w->limit);
    principals_free(w->principals);
    providers_free(w->providers);
    return true;
}

/* All of them or none. */
static bool start_callers(struct worker *w)
{
    w->principals = principals_new();
    w->providers = providers_new(w->settings);
    w->limit = limit_new(w->settings);
    w->credits = credits_new(w);
    w->sessions = sessions_new(w);
    bool all =
        w->principals != NULL && w->providers != NULL && w->limit != NULL && w->credits != NULL && w->sessions != NULL;
    return all || !stop_callers(w);
}

static bool start_audit(struct worker *w)
{
    w->auditor = auditor_new(w);
    return w->auditor != NULL;
}

static bool stop_audit(struct worker *w)
{
    auditor_free(w->auditor);
    return true;
}

static bool start_hub(struct worker *w)
{
    w->hub = hub_open(w);
    return w->hub != NULL;
}

static bool stop_hub(struct worker *w)
{
    hub_close(w->hub, stopped, w);
    return false;
}

static bool start_deflate(struct worker *w)
{
    w->deflate = deflate_new();
    return w->deflate != NULL;
}

static bool stop_deflate(struct worker *w)
{
    deflate_free(w->deflate);
    return true;
}

static bool start_feeds(struct worker *w)
{
    w->feeds = feeds_open(w);
    return w->feeds != NULL;
}

static bool stop_feeds(struct worker *w)
{
    feeds_close(w->feeds);
    return true;
}

static bool start_engine(struct worker *w)
{
    w->drains = drains_open(w);
    if (w->drains != NULL)
        drains_on_stale(w->drains, agents_silent);
    return w->drains != NULL;
}

static bool stop_engine(struct worker *w)
{
    drains_close(w->drains, stopped, w);
    w->drains = NULL;
    return false;
}

static bool start_settles(struct worker *w)
{
    w->settles = settles_open(w);
    return w->settles != NULL;
}

static bool stop_settles(struct worker *w)
{
    settles_close(w->settles);
    w->settles = NULL;
    return true;
}

static bool start_connections(struct worker *w)
{
    (void)w; /* they come by themselves */
    return true;
}

static void abort_connections(void *arg)
{
    struct worker *w = arg;
    conns_abort(&w->conns);
}

/* Those that came in just before the listener was closed still get their answer. */
static bool stop_connections(struct worker *w)
{
    if (w->conns.open == 0)
        return true;
    w->conns.emptied = stopped;
    w->conns.arg = w;
    timer_start(&w->timer, &w->loop, LAST_MS, abort_connections, w);
    return false;
}

static void on_accept(void *arg, int fd)
{
    struct worker *w = arg;
    conn_open(&w->conns, fd, false);
}

static void on_accept_tls(void *arg, int fd)
{
    struct worker *w = arg;
    conn_open(&w->conns, fd, true);
}

static bool open_listener(struct worker *w, unsigned which, void (*on)(void *arg, int fd))
{
    int fd = w->fds[which];
    w->fds[which] = -1;
    if (fd < 0)
        return true;
    if (acceptor_open(&w->acceptors[which], &w->loop, fd, on, w) != 0)
        return false;
    if (worker_state(w) < WORKER_SERVING) {
        acceptor_pause(&w->acceptors[which]);
        timer_start(&w->doors, &w->loop, DOORS_MS, open_doors, w);
    }
    return true;
}

/* What waits in the kernel's queue would be reset (decision 40a): first nothing more may come in, then all is taken. */
static bool shut_listener(struct worker *w, unsigned which, void (*then)(void *arg))
{
    if (!w->acceptors[which].open)
        return true;
    acceptor_shut(&w->acceptors[which]);
    timer_start(&w->timer, &w->loop, HANDSHAKE_MS, then, w);
    return false;
}

static void close_listener(struct worker *w, unsigned which)
{
    acceptor_accept(&w->acceptors[which]);
    acceptor_close(&w->acceptors[which], stopped, w);
}

static bool start_listener(struct worker *w)
{
    return open_listener(w, LISTEN_PLAIN, on_accept);
}

static void listener_shut(void *arg)
{
    close_listener(arg, LISTEN_PLAIN);
}

static bool stop_listener(struct worker *w)
{
    return shut_listener(w, LISTEN_PLAIN, listener_shut);
}

static const char no_tls[] = "HTTP/1.1 400 Bad Request\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: 66\r\n"
                             "Connection: close\r\n\r\n"
                             "This port speaks HTTP over TLS alone: use https:// in front of it\n";

static bool start_tls_listener(struct worker *w)
{
    w->door.handshake_ms = w->settings->tls_handshake_timeout;
    w->door.handshakes_max = (size_t)w->settings->tls_handshakes_max;
    w->door.plain = (struct str){no_tls, sizeof(no_tls) - 1};
    tls_door_init(&w->door);
    certificate_take(w);
    return open_listener(w, LISTEN_TLS, on_accept_tls);
}

static void tls_listener_shut(void *arg)
{
    close_listener(arg, LISTEN_TLS);
}

static bool stop_tls_listener(struct worker *w)
{
    return shut_listener(w, LISTEN_TLS, tls_listener_shut);
}

static const struct part {
    const char *name;
    bool (*start)(struct worker *w);
    bool (*stop)(struct worker *w); /* false: `stopped` will be called */
} parts[] = {
    // clang-format off
    {"store", start_store, stop_store},
    {"blobs", start_blobs, stop_blobs},
    {"callers", start_callers, stop_callers},
    {"audit", start_audit, stop_audit},
    {"hub", start_hub, stop_hub},
    {"deflate", start_deflate, stop_deflate},
    {"feeds", start_feeds, stop_feeds},
    {"engine", start_engine, stop_engine},
    {"settles", start_settles, stop_settles},
    {"connections", start_connections, stop_connections},
    {"listener", start_listener, stop_listener},
    {"TLS listener", start_tls_listener, stop_tls_listener},
    // clang-format on
};

/* From the loop's next turn: what has just been stopped has left its own call by then. */
static void stop_part(void *arg)
{
    struct worker *w = arg;
    if (w->parts == 0) {
        ops_detach(&w->ops);
        loop_stop(&w->loop);
        return;
    }
    w->parts--;
    if (parts[w->parts].stop(w))
        stop_next(w);
}

static void stop_next(struct worker *w)
{
    timer_stop(&w->timer);
    loop_defer(&w->loop, &w->task, stop_part, w);
}

/* --- the thread --- */

static void sample(void *arg)
{
    struct worker *w = arg;
    struct store_figures store;
    store_figures(w->store, &store);
    metrics_set(&w->metrics, METRIC_OPS_ORPHANED, op_orphans);
    metrics_set(&w->metrics, METRIC_REDIS_CALLS, store.redis.calls);
    metrics_set(&w->metrics, METRIC_REDIS_ERRORS, store.redis.errors);
    metrics_set(&w->metrics, METRIC_REDIS_TIMEOUTS, store.redis.timeouts);
    metrics_set(&w->metrics, METRIC_REDIS_CONNECTS, store.redis.connects);
    metrics_set(&w->metrics, METRIC_REDIS_PENDING, store.redis.pending);
    metrics_set(&w->metrics, METRIC_STORE_REFUSED, store.refused);
    metrics_set(&w->metrics, METRIC_STORE_READY, store_ready(w->store));
    metrics_set(&w->metrics, METRIC_STORE_EPOCHS, store.epochs);
    metrics_set(&w->metrics, METRIC_WORKERS, 1);
    if (w->index == 0) { /* one Redis for all of them */
        metrics_set(&w->metrics, METRIC_REDIS_MEMORY, (uint64_t)store.used_memory);
        metrics_set(&w->metrics, METRIC_REDIS_MEMORY_MAX, (uint64_t)store.max_memory);
    }
    metrics_set(&w->metrics, METRIC_TLS_DONE, w->door.done - w->door.resumed);
    metrics_set(&w->metrics, METRIC_TLS_RESUMED, w->door.resumed);
    metrics_set(&w->metrics, METRIC_TLS_FAILED, w->door.failed);
    metrics_set(&w->metrics, METRIC_TLS_LATE, w->door.late);
    metrics_set(&w->metrics, METRIC_TLS_DISPLACED, w->door.displaced);
    metrics_set(&w->metrics, METRIC_TLS_UNDER_WAY, w->door.under_way);
    feeds_sample(w->feeds);
    timer_start(&w->sampler, &w->loop, SAMPLE_MS, sample, w);
}

static void on_drained(void *arg)
{
    enter(arg, WORKER_DRAINED);
}

static void on_wake(void *arg)
{
    struct worker *w = arg;
    enum phase phase = process_phase(w->process);
    __atomic_store_n(&w->beaten, __atomic_load_n(&w->process->beat, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
    certificate_take(w);
    if (phase == w->seen)
        return;
    w->seen = phase;
    if (phase == PHASE_DRAINING) {
        w->conns.drained = on_drained;
        w->conns.arg = w;
        conns_drain(&w->conns);
        if (w->conns.early == 0)
            on_drained(w);
    } else if (phase == PHASE_CLOSING) {
        w->conns.drained = NULL;
        if (!w->conns.closing)
            conns_drain(&w->conns);
        timer_stop(&w->sampler);
        timer_stop(&w->doors);
        stop_next(w);
    }
}

static bool start_parts(struct worker *w)
{
    for (; w->parts < ARRAY_LEN(parts); w->parts++) {
        if (!parts[w->parts].start(w)) {
            give_up(w, parts[w->parts].name);
            return false;
        }
    }
    return true;
}

/* One that did not start is told to end like the others: with nothing in it its loop would be over before. */
static void linger(void *arg)
{
    struct worker *w = arg;
    timer_start(&w->timer, &w->loop, LINGER_MS, linger, w);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", w->index);
    pthread_setname_np(pthread_self(), name);
    loop_on_wake(&w->loop, on_wake, w);
    conns_init(&w->conns, w);
    if (start_parts(w))
        sample(w);
    else
        linger(w);
    loop_run(&w->loop);
    conns_fini(&w->conns);
    arena_fini(&w->start_arena); /* ended before it served */
    tls_context_drop(w->door.context);
    must(ops_idle(&w->ops));
    loop_fini(&w->loop);
    enter(w, WORKER_ENDED);
    return NULL;
}

bool worker_init(struct worker *w, struct process *process, unsigned index, const int fds[LISTENS])
{
    *w = (struct worker){.process = process, .settings = process->settings, .index = index};
    memcpy(w->fds, fds, sizeof(w->fds));
    ops_init(&w->ops);
    arena_init(&w->start_arena, 1 << 20);
    w->loop.owner = w;
    int error = loop_init(&w->loop);
    if (error != 0)
        log_error("worker.failed", "worker=%u error=%d", index, error);
    return error == 0;
}

void worker_start(struct worker *w)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's business */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->started = error == 0;
    if (error == 0)
        return;
    give_up(w, strerror(error));
    enter(w, WORKER_ENDED);
}

void worker_fini(struct worker *w)
{
    if (w->started)
        pthread_join(w->thread, NULL);
    else
        loop_fini(&w->loop);
    tls_context_drop(w->tls_next);
}

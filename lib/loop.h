/* One event loop per thread.
 *
 * A turn of the loop: due timers, what was put off (loop_defer), the flush hooks, then waiting for and handling I/O.
 * Whatever callbacks of a turn write is collected and leaves in the flush hooks, so a turn makes one system call per
 * stream and one per Redis connection, however many callbacks wrote.
 *
 * Nothing here is thread-safe but loop_wake. Nothing here allocates: what is handed in is embedded in its owner, and
 * may be freed once it was taken out again. */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include <stdbool.h>
#include <uv.h>
#include "lib/heap.h"
#include "lib/list.h"

struct loop_pool; /* stream.c: buffers and write requests of this loop's streams */

struct loop_task { /* embedded; zeroed memory is an idle task */
    struct list link;
    void (*fn)(void *arg);
    void *arg;
    bool queued;
};

struct loop_hook {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    uv_loop_t uv;
    void *owner; /* the thread's own struct, for whoever started the loop */

    uv_prepare_t prepare; /* private from here */
    uv_idle_t idle;
    uv_timer_t clock;
    uv_async_t async;
    struct list deferred, hooks, streams;
    struct heap timers;
    struct loop_pool *pool;
    void (*on_wake)(void *arg);
    void *wake_arg;
    unsigned turns; /* counts prepare callbacks */
    bool firing;    /* timers are being called */
};

/* 0, or a negative errno. */
int loop_init(struct loop *loop);
/* Runs until loop_stop, or until nothing is left that could ever call back. */
void loop_run(struct loop *loop);
/* One turn; `wait`: sleep for an event if none is there. For tests and for start-up code. */
void loop_turn(struct loop *loop, bool wait);
/* loop_run returns at the end of this turn. */
void loop_stop(struct loop *loop);
/* Waits for requests that cannot be recalled (work on threads, names being looked up) and closes the loop's own
 * handles. Aborts when an open handle, a timer or a deferred task of somebody else is left: that is a leak. */
void loop_fini(struct loop *loop);
/* How many handles of others are open or closing, and requests under way; plus one when timers are set, and one for
 * deferred tasks. */
unsigned loop_busy(struct loop *loop);

/* Monotonic milliseconds as of the start of this turn. */
int64_t loop_now_ms(const struct loop *loop);

/* Runs fn(arg) at the next turn, once; a task that waits already is left alone. */
void loop_defer(struct loop *loop, struct loop_task *task, void (*fn)(void *arg), void *arg);
void loop_undefer(struct loop_task *task); /* safe on an idle task */

/* Runs fn(arg) each turn just before the loop waits, in the order added; the streams' own flush comes last. What a hook
 * defers runs without waiting. */
void loop_on_flush(struct loop *loop, struct loop_hook *hook, void (*fn)(void *arg), void *arg);
void loop_off_flush(struct loop_hook *hook); /* safe on a zeroed hook */

/* The one call for other threads and signal handlers: `fn` given to loop_on_wake runs on the loop's thread soon;
 * several calls may become one. */
void loop_on_wake(struct loop *loop, void (*fn)(void *arg), void *arg);
void loop_wake(struct loop *loop);

#endif

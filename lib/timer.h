/* Timers: a heap per loop under one libuv timer, so a timer costs no handle, no allocation and no system call.
 *
 * Starting a running timer moves it. Moving it later, as every read of a connection does with its idle deadline, only
 * notes the new time: the heap is put right when the old time comes. */
#ifndef LIB_TIMER_H
#define LIB_TIMER_H

#include "lib/loop.h"

struct timer {         /* embedded; zeroed memory is a stopped timer */
    struct loop *loop; /* NULL: stopped */
    void (*fn)(void *arg);
    void *arg;
    int64_t due;           /* loop_now_ms at which it fires */
    struct heap_node node; /* private: its key is at most `due` */
};

/* fn(arg) runs once, `ms` from now (0 or less: at the next turn), never inside this call. */
void timer_start(struct timer *t, struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg);
void timer_stop(struct timer *t);
static inline bool timer_running(const struct timer *t)
{
    return t->loop != NULL;
}

#endif

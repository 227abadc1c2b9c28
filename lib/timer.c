#include "lib/timer.h"

/* A pairing heap: the root is the timer that is due first. `prev` is the left sibling, or the parent of a first child.
 */

static struct timer *meld(struct timer *a, struct timer *b)
{
    struct timer *t;

    if (!a)
        return b;
    if (!b)
        return a;
    if (b->key < a->key) {
        t = a;
        a = b;
        b = t;
    }
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    b->prev = a;
    a->child = b;
    return a;
}

/* Melds a list of siblings: in pairs from the left, then all of them from the right. */
static struct timer *meld_siblings(struct timer *first)
{
    struct timer *pairs = NULL, *all = NULL;

    while (first) {
        struct timer *a = first, *b = a->next, *pair;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    while (pairs) {
        struct timer *pair = pairs;

        pairs = pair->next;
        pair->next = NULL;
        all = meld(all, pair);
    }
    return all;
}

static void insert(struct loop *loop, struct timer *t)
{
    t->child = t->next = t->prev = NULL;
    loop->timers = meld(loop->timers, t);
}

static void take_out(struct loop *loop, struct timer *t)
{
    struct timer *children = meld_siblings(t->child);

    t->child = NULL;
    if (loop->timers == t) {
        loop->timers = children;
        return;
    }
    if (t->prev->child == t)
        t->prev->child = t->next;
    else
        t->prev->next = t->next;
    if (t->next)
        t->next->prev = t->prev;
    loop->timers = meld(loop->timers, children);
}

static void on_clock(uv_timer_t *clock);

static void set_clock(struct loop *loop)
{
    int64_t wait;

    if (!loop->timers) {
        uv_timer_stop(&loop->clock);
        return;
    }
    wait = loop->timers->key - loop_now_ms(loop);
    uv_timer_start(&loop->clock, on_clock, wait > 0 ? (uint64_t)wait : 0, 0);
}

void timer_start(struct timer *t, struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg)
{
    const struct timer *first = loop->timers;
    int64_t due = loop_now_ms(loop) + (ms > 0 ? ms : 0);

    if (loop->firing && ms <= 0)
        due++;
    t->fn = fn;
    t->arg = arg;
    t->due = due;
    if (t->loop && due >= t->key)
        return; /* found to be early when its old time comes */
    if (t->loop)
        take_out(loop, t);
    t->loop = loop;
    t->key = due;
    insert(loop, t);
    if (!loop->firing && (loop->timers == t || loop->timers != first))
        set_clock(loop);
}

void timer_stop(struct timer *t)
{
    struct loop *loop = t->loop;

    if (!loop)
        return;
    t->loop = NULL;
    take_out(loop, t);
    if (!loop->timers && !loop->firing)
        set_clock(loop);
}

static void fire_due(struct loop *loop)
{
    int64_t now = loop_now_ms(loop);

    loop->firing = true; /* what callbacks start comes later than `now`: this ends */
    while (loop->timers && loop->timers->key <= now) {
        struct timer *t = loop->timers;

        take_out(loop, t);
        if (t->due > t->key) { /* it was moved */
            t->key = t->due;
            insert(loop, t);
        } else {
            t->loop = NULL;
            t->fn(t->arg);
        }
    }
    loop->firing = false;
    set_clock(loop);
}

static void on_clock(uv_timer_t *clock)
{
    fire_due(clock->data);
}

#include "lib/timer.h"

static void on_clock(uv_timer_t *clock);

static void set_clock(struct loop *loop)
{
    const struct heap_node *first = heap_first(&loop->timers);
    int64_t wait;

    if (loop->firing)
        return; /* set once, when all have fired */
    if (!first) {
        uv_timer_stop(&loop->clock);
        return;
    }
    wait = first->key - loop_now_ms(loop);
    uv_timer_start(&loop->clock, on_clock, wait > 0 ? (uint64_t)wait : 0, 0);
}

static void fire_due(struct loop *loop)
{
    int64_t now = loop_now_ms(loop);
    struct heap_node *first;

    loop->firing = true; /* what callbacks start comes later than `now`: this ends */
    while ((first = heap_first(&loop->timers)) && first->key <= now) {
        struct timer *t = heap_entry(first, struct timer, node);

        heap_remove(&loop->timers, first);
        if (t->due > first->key) { /* it was moved */
            heap_push(&loop->timers, first, t->due);
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

void timer_start(struct timer *t, struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg)
{
    int64_t due = loop_now_ms(loop) + (ms > 0 ? ms : 0);

    if (loop->firing && ms <= 0)
        due++;
    t->fn = fn;
    t->arg = arg;
    t->due = due;
    if (t->loop && due >= t->node.key)
        return; /* found to be early when its old time comes */
    if (t->loop)
        heap_remove(&loop->timers, &t->node);
    t->loop = loop;
    heap_push(&loop->timers, &t->node, due);
    if (heap_first(&loop->timers) == &t->node)
        set_clock(loop);
}

void timer_stop(struct timer *t)
{
    struct loop *loop = t->loop;

    if (!loop)
        return;
    t->loop = NULL;
    heap_remove(&loop->timers, &t->node);
    if (!loop->timers.n)
        set_clock(loop);
}

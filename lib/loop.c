#include "lib/loop.h"
#include <string.h>
#include "lib/loop_internal.h"
#include "lib/must.h"

static bool is_own(const struct loop *loop, const uv_handle_t *h)
{
    return h == (const uv_handle_t *)&loop->prepare || h == (const uv_handle_t *)&loop->idle ||
           h == (const uv_handle_t *)&loop->clock || h == (const uv_handle_t *)&loop->async;
}

static void on_idle(uv_idle_t *idle)
{
    struct loop *loop = idle->data;
    struct list now;

    /* What is deferred from here on waits for the next turn. */
    list_init(&now);
    if (!list_empty(&loop->deferred)) {
        now = loop->deferred;
        now.next->prev = now.prev->next = &now;
        list_init(&loop->deferred);
    }
    while (!list_empty(&now)) {
        struct loop_task *t = list_entry(now.next, struct loop_task, link);

        loop_undefer(t);
        t->fn(t->arg);
    }
    if (list_empty(&loop->deferred))
        uv_idle_stop(idle);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;

    loop->turns++;
    list_for (it, &loop->hooks) {
        struct loop_hook *h = list_entry(it, struct loop_hook, link);

        h->fn(h->arg);
    }
    stream_flush_loop(loop);
}

static void on_async(uv_async_t *async)
{
    struct loop *loop = async->data;

    if (loop->on_wake)
        loop->on_wake(loop->wake_arg);
}

int loop_init(struct loop *loop)
{
    int rc;

    memset(loop, 0, sizeof *loop);
    list_init(&loop->deferred);
    list_init(&loop->hooks);
    list_init(&loop->streams);
    rc = uv_loop_init(&loop->uv);
    if (rc)
        return rc;
    loop->uv.data = loop;
    rc = uv_async_init(&loop->uv, &loop->async, on_async);
    if (rc) {
        uv_loop_close(&loop->uv);
        return rc;
    }
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->clock);
    loop->async.data = loop->prepare.data = loop->idle.data = loop->clock.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->async);
    return 0;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_turn(struct loop *loop, bool wait)
{
    uv_run(&loop->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

struct census {
    const struct loop *loop;
    unsigned open, closing;
};

static void count(uv_handle_t *h, void *arg)
{
    struct census *c = arg;

    if (is_own(c->loop, h))
        return;
    if (uv_is_closing(h)) {
        c->closing++;
        return;
    }
    c->open++;
}

unsigned loop_busy(struct loop *loop)
{
    struct census c = {.loop = loop};

    uv_walk(&loop->uv, count, &c);
    return c.open + c.closing + loop->uv.active_reqs.count + (loop->timers.n > 0) + !list_empty(&loop->deferred);
}

static void name_open(uv_handle_t *h, void *arg)
{
    if (!is_own(arg, h) && !uv_is_closing(h))
        fprintf(stderr, "loop: a %s is left open\n", uv_handle_type_name(h->type));
}

void loop_fini(struct loop *loop)
{
    struct census c = {.loop = loop};

    uv_walk(&loop->uv, count, &c);
    if (c.open || loop->timers.n || !list_empty(&loop->deferred)) {
        uv_walk(&loop->uv, name_open, loop);
        must(loop->timers.n == 0);
        must(list_empty(&loop->deferred));
        must(!"open handles are left");
    }
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
    uv_close((uv_handle_t *)&loop->async, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT))
        ;
    stream_pool_free(loop);
    must(uv_loop_close(&loop->uv) == 0);
}

int64_t loop_now_ms(const struct loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

void loop_defer(struct loop *loop, struct loop_task *task, void (*fn)(void *arg), void *arg)
{
    if (task->queued)
        return;
    task->queued = true;
    task->fn = fn;
    task->arg = arg;
    list_append(&loop->deferred, &task->link);
    uv_idle_start(&loop->idle, on_idle);
}

void loop_undefer(struct loop_task *task)
{
    if (!task->queued)
        return;
    task->queued = false;
    list_remove(&task->link);
}

void loop_on_flush(struct loop *loop, struct loop_hook *hook, void (*fn)(void *arg), void *arg)
{
    hook->fn = fn;
    hook->arg = arg;
    list_append(&loop->hooks, &hook->link);
}

void loop_off_flush(struct loop_hook *hook)
{
    if (hook->link.next)
        list_remove(&hook->link);
}

void loop_on_wake(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    loop->on_wake = fn;
    loop->wake_arg = arg;
}

void loop_wake(struct loop *loop)
{
    uv_async_send(&loop->async);
}

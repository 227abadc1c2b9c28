#include "lib/work.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct work {
    uv_work_t uv;
    struct op op;
    const struct work_kind *kind;
    void (*then)(void *arg, void *data);
    void *arg;
    size_t n;
    _Alignas(16) char data[];
};

static void on_run(uv_work_t *req)
{
    struct work *w = (struct work *)(void *)req;

    w->kind->run(w->data);
}

static void on_done(uv_work_t *req, int status)
{
    struct work *w = (struct work *)(void *)req;

    (void)status; /* never cancelled */
    if (op_finish(&w->op))
        w->then(w->arg, w->data);
    if (w->kind->drop)
        w->kind->drop(w->data);
    explicit_bzero(w->data, w->n);
    free(w);
}

int work_start(struct loop *loop, struct ops *asker, const struct work_kind *kind, const void *data, size_t n,
               void (*then)(void *arg, void *data), void *arg)
{
    struct work *w = calloc(1, sizeof *w + n);
    int rc;

    if (!w)
        return -ENOMEM;
    w->kind = kind;
    w->then = then;
    w->arg = arg;
    w->n = n;
    memcpy(w->data, data, n);
    rc = uv_queue_work(&loop->uv, &w->uv, on_run, on_done);
    if (rc) {
        explicit_bzero(w->data, n);
        free(w);
        return rc;
    }
    op_begin(&w->op, asker);
    return 0;
}

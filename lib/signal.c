#include "lib/signal.h"
#include <signal.h>

static void on_uv_signal(uv_signal_t *uv, int signum)
{
    struct signal_watch *w = uv->data;

    w->fn(w->arg, signum);
}

static void on_closed(uv_handle_t *handle)
{
    struct signal_watch *w = handle->data;

    if (w->closed)
        w->closed(w->closed_arg);
}

int signal_open(struct signal_watch *w, struct loop *loop, int signum, void (*fn)(void *arg, int signum), void *arg)
{
    int rc = uv_signal_init(&loop->uv, &w->uv);

    if (rc)
        return rc;
    w->uv.data = w;
    w->fn = fn;
    w->arg = arg;
    w->closed = NULL;
    rc = uv_signal_start(&w->uv, on_uv_signal, signum);
    uv_unref((uv_handle_t *)&w->uv);
    if (rc)
        uv_close((uv_handle_t *)&w->uv, on_closed);
    return rc;
}

void signal_close(struct signal_watch *w, void (*closed)(void *arg), void *arg)
{
    w->closed = closed;
    w->closed_arg = arg;
    uv_close((uv_handle_t *)&w->uv, on_closed);
}

void signal_ignore_pipe(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &ignore, NULL);
}

#include "lib/process.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

enum { EXTRA_MAX = 5 };

static void on_part_closed(uv_handle_t *handle)
{
    struct process *p = handle->data;

    if (--p->handles == 0 && p->closing && p->closed)
        p->closed(p->closed_arg);
}

static void on_uv_exit(uv_process_t *uv, int64_t status, int signum)
{
    struct process *p = uv->data;

    p->pid = 0;
    p->events->on_exit(p, (int)status, signum);
}

/* Output is for the taking at once: one buffer per thread will do. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static _Thread_local char bytes[16384];

    (void)handle, (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_uv_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct process *p = stream->data;
    int fd = (uv_pipe_t *)(void *)stream == &p->pipes[0] ? 1 : 2;

    if (n == 0)
        return;
    if (n > 0) {
        p->events->on_output(p, fd, (struct str){buf->base, (size_t)n});
        return;
    }
    uv_read_stop(stream);
    p->events->on_output(p, fd, STR_NONE);
}

static void set_io(struct process *p, const struct process_spec *spec, int fd, uv_stdio_container_t *io)
{
    switch (spec->io[fd]) {
    case PROCESS_FD:
        io->flags = UV_INHERIT_FD;
        io->data.fd = spec->fd[fd];
        return;
    case PROCESS_PIPE:
        if (fd > 0) {
            uv_pipe_t *pipe = &p->pipes[fd - 1];

            uv_pipe_init(&p->loop->uv, pipe, 0);
            pipe->data = p;
            p->piped[fd - 1] = true;
            p->handles++;
            io->flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
            io->data.stream = (uv_stream_t *)pipe;
            return;
        }
        /* fall through */
    case PROCESS_NULL:
        io->flags = UV_IGNORE;
    }
}

int process_open(struct process *p, struct loop *loop, const struct process_spec *spec,
                 const struct process_events *events)
{
    uv_stdio_container_t io[3 + EXTRA_MAX];
    uv_process_options_t options = {.exit_cb = on_uv_exit, .file = spec->file, .stdio = io};
    int rc;

    memset(p, 0, offsetof(struct process, uv));
    memset(p->piped, 0, sizeof p->piped);
    p->events = events;
    p->loop = loop;
    p->handles = 1;
    p->closing = false;
    p->session = spec->session;
    for (int fd = 0; fd < 3; fd++)
        set_io(p, spec, fd, &io[fd]);
    for (size_t i = 0; i < spec->extra_count && i < EXTRA_MAX; i++)
        io[3 + i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = spec->extra[i]};
    options.stdio_count = 3 + (int)(spec->extra_count < EXTRA_MAX ? spec->extra_count : EXTRA_MAX);
    options.args = (char **)(uintptr_t)spec->argv;
    options.env = (char **)(uintptr_t)spec->env;
    options.cwd = spec->directory;
    options.flags = spec->session ? UV_PROCESS_DETACHED : 0;
    rc = uv_spawn(&loop->uv, &p->uv, &options);
    p->uv.data = p;
    if (rc)
        return rc;
    p->pid = uv_process_get_pid(&p->uv);
    for (int i = 0; i < 2; i++)
        process_resume(p, i + 1);
    return 0;
}

int process_signal(struct process *p, int signum)
{
    if (!p->pid)
        return -ESRCH;
    return kill(p->session ? -p->pid : p->pid, signum) ? -errno : 0;
}

void process_pause(struct process *p, int fd)
{
    if (p->piped[fd - 1] && !p->closing)
        uv_read_stop((uv_stream_t *)&p->pipes[fd - 1]);
}

void process_resume(struct process *p, int fd)
{
    if (p->piped[fd - 1] && !p->closing)
        uv_read_start((uv_stream_t *)&p->pipes[fd - 1], on_alloc, on_uv_read);
}

void process_close(struct process *p, void (*closed)(void *arg), void *arg)
{
    p->closing = true;
    p->closed = closed;
    p->closed_arg = arg;
    uv_close((uv_handle_t *)&p->uv, on_part_closed);
    for (int i = 0; i < 2; i++)
        if (p->piped[i])
            uv_close((uv_handle_t *)&p->pipes[i], on_part_closed);
}

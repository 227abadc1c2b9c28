#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "lib/must.h"
#include "lib/stream_internal.h"

/* A connection in the making; outlives its stream when the resolver cannot be recalled. */
struct stream_connect {
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct stream *stream; /* NULL: nobody waits any more */
    struct addrinfo *all, *next;
    struct sockaddr_storage one; /* of a numeric host */
    int error;
    bool reopening;
};

static void connect_free(struct stream_connect *c)
{
    if (c->all)
        uv_freeaddrinfo(c->all);
    free(c);
}

bool stream_leave_connect(struct stream *s)
{
    struct stream_connect *c = s->connecting;

    if (!c || c->reopening)
        return c;
    s->connecting = NULL;
    c->stream = NULL;
    if (c->resolve.loop)
        uv_cancel((uv_req_t *)&c->resolve); /* its callback frees c, cancelled or not */
    else if (!c->connect.handle)
        connect_free(c);
    return false;
}

static void connect_next(struct stream *s);

static void connected(struct stream *s)
{
    struct stream_connect *c = s->connecting;

    s->connecting = NULL;
    connect_free(c);
    stream_wait_end(s);
    if (!s->local)
        uv_tcp_nodelay(&s->uv.tcp, 1);
    s->state = STREAM_OPEN;
    if (!s->paused)
        stream_read_start(s);
    if (stream_waits(s) || s->ending)
        list_append(&s->loop->streams, &s->dirty);
    if (s->filter)
        s->filter->type->on_open(s);
    else if (s->events->on_open)
        s->events->on_open(s);
}

static void on_reopen(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    s->connecting->reopening = false;
    if (s->state == STREAM_CLOSING) {
        connect_free(s->connecting);
        s->connecting = NULL;
        stream_closed(handle);
        return;
    }
    must(stream_init_handle(s) == 0);
    connect_next(s);
}

static void on_uv_connect(uv_connect_t *req, int status)
{
    struct stream_connect *c = req->data;
    struct stream *s = c->stream;

    if (!s) {
        connect_free(c);
        return;
    }
    c->connect.handle = NULL;
    if (status == 0) {
        connected(s);
        return;
    }
    c->error = status;
    if (!c->next) {
        stream_fail(s, STREAM_LOST, status);
        return;
    }
    c->reopening = true; /* a socket that failed to connect cannot be used again */
    uv_close(&s->uv.handle, on_reopen);
}

static void connect_next(struct stream *s)
{
    struct stream_connect *c = s->connecting;
    const struct sockaddr *to = (const struct sockaddr *)&c->one;
    int rc;

    if (c->next) {
        to = c->next->ai_addr;
        c->next = c->next->ai_next;
    }
    c->connect.data = c;
    rc = uv_tcp_connect(&c->connect, &s->uv.tcp, to, on_uv_connect);
    if (rc) {
        c->connect.handle = NULL;
        stream_fail(s, STREAM_LOST, rc);
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *all)
{
    struct stream_connect *c = req->data;
    struct stream *s = c->stream;

    c->resolve.loop = NULL;
    c->all = c->next = all;
    if (!s)
        connect_free(c);
    else if (status)
        stream_fail(s, STREAM_LOST, status);
    else
        connect_next(s);
}

static void on_connect_timer(void *arg)
{
    struct stream *s = arg;

    stream_fail(s, STREAM_TIMEOUT, s->connecting ? s->connecting->error : 0);
}

static int resolve(struct stream *s, const struct address *to)
{
    struct stream_connect *c = s->connecting;
    const char *host = to->host[0] ? to->host : "127.0.0.1";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char port[6];
    int rc;

    if (uv_ip4_addr(host, to->port, (struct sockaddr_in *)&c->one) == 0 ||
        uv_ip6_addr(host, to->port, (struct sockaddr_in6 *)&c->one) == 0) {
        connect_next(s);
        return 0;
    }
    snprintf(port, sizeof port, "%u", (unsigned)to->port);
    c->resolve.data = c;
    rc = uv_getaddrinfo(&s->loop->uv, &c->resolve, on_resolved, host, port, &hints);
    if (rc)
        c->resolve.loop = NULL;
    return rc;
}

static void on_local(void *arg)
{
    struct stream *s = arg;

    if (s->connecting->error)
        stream_fail(s, STREAM_LOST, s->connecting->error);
    else
        connected(s);
}

/* A unix socket connects or does not, at once: told in the loop's next turn. */
static void connect_local(struct stream *s, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        s->connecting->error = -errno;
    if (fd >= 0)
        must(uv_tcp_open(&s->uv.tcp, fd) == 0);
    stream_wait(s, 0, on_local); /* its memory is there */
}

int stream_connect(struct stream *s, struct loop *loop, const struct address *to, int64_t deadline_ms,
                   const struct stream_events *events, const struct stream_limits *limits)
{
    int rc = stream_prepare(s, loop, events, limits);

    if (rc)
        return rc;
    s->connecting = calloc(1, sizeof *s->connecting);
    if (!s->connecting)
        return -ENOMEM;
    s->connecting->stream = s;
    s->local = to->path[0];
    rc = stream_wait(s, deadline_ms, on_connect_timer) ? stream_init_handle(s) : -ENOMEM;
    if (rc) {
        stream_wait_end(s);
        free(s->connecting);
        return rc;
    }
    s->state = STREAM_CONNECTING;
    if (s->local)
        connect_local(s, to->path);
    else
        rc = resolve(s, to);
    if (rc)
        stream_fail(s, STREAM_LOST, rc); /* told by on_close */
    return 0;
}

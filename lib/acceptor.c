#include "lib/acceptor.h"
#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    ROUND = 256, /* accepted in a row before the loop's other work gets its turn */
    BACKLOG_MAX = 65536,
    RETRY_MS = 100 /* after the process or the machine ran out of descriptors or memory */
};

static int fail(int fd, int error)
{
    if (fd >= 0)
        close(fd);
    return -error;
}

/* A socket file whose server is gone refuses connections. */
static bool is_stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
    struct stat st;

    if (fd < 0)
        return false;
    rc = connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 ? errno : 0;
    close(fd);
    return rc == ECONNREFUSED && lstat(at->sun_path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int unix_socket(const struct address *at, int backlog)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;

    if (fd < 0)
        return -errno;
    memcpy(to.sun_path, at->path, sizeof to.sun_path);
    rc = bind(fd, (struct sockaddr *)&to, sizeof to);
    if (rc < 0 && errno == EADDRINUSE && is_stale(&to)) {
        unlink(to.sun_path);
        rc = bind(fd, (struct sockaddr *)&to, sizeof to);
    }
    if (rc < 0 || listen(fd, backlog) < 0)
        return fail(fd, errno);
    return fd;
}

static int tcp_socket(const struct addrinfo *ai, int backlog, bool reuse_port)
{
    int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return fail(fd, errno);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, backlog) < 0)
        return fail(fd, errno);
    return fd;
}

int acceptor_socket(const struct address *at, int backlog, bool reuse_port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *all;
    char port[6];
    int fd = -EADDRNOTAVAIL;

    if (at->path[0])
        return unix_socket(at, backlog);
    snprintf(port, sizeof port, "%u", (unsigned)at->port);
    if (getaddrinfo(at->host[0] ? at->host : NULL, port, &hints, &all))
        return -EADDRNOTAVAIL;
    /* Any address: one socket for both families where there is IPv6. */
    for (int family = at->host[0] ? AF_UNSPEC : AF_INET6; fd < 0; family = AF_UNSPEC) {
        for (const struct addrinfo *ai = all; ai && fd < 0; ai = ai->ai_next)
            if (family == AF_UNSPEC || family == ai->ai_family)
                fd = tcp_socket(ai, backlog, reuse_port);
        if (family == AF_UNSPEC)
            break;
    }
    freeaddrinfo(all);
    return fd;
}

uint16_t acceptor_port(int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t n = sizeof at;

    if (getsockname(fd, (struct sockaddr *)&at, &n))
        return 0;
    if (at.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)(void *)&at)->sin_port);
    return at.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)(void *)&at)->sin6_port) : 0;
}

static void accept_some(struct acceptor *a, unsigned most);

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    accept_some(poll->data, ROUND);
}

static void listen_again(void *arg)
{
    struct acceptor *a = arg;

    if (a->open && !a->paused)
        uv_poll_start(&a->poll, UV_READABLE, on_readable);
}

/* The queue stays readable: without a rest the loop would spin. */
static void rest(struct acceptor *a)
{
    a->failed++;
    uv_poll_stop(&a->poll);
    timer_start(&a->retry, a->loop, RETRY_MS, listen_again, a);
}

static void accept_some(struct acceptor *a, unsigned most)
{
    for (unsigned i = 0; a->open && i < most; i++) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            a->accepted++;
            a->on_accept(a->arg, fd);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            rest(a);
            return;
        } /* else: this one connection failed before it was accepted */
    }
}

void acceptor_accept(struct acceptor *a)
{
    accept_some(a, BACKLOG_MAX);
}

int acceptor_open(struct acceptor *a, struct loop *loop, int fd, void (*on_accept)(void *arg, int fd), void *arg)
{
    int rc;

    memset(a, 0, sizeof *a);
    a->loop = loop;
    a->fd = fd;
    a->on_accept = on_accept;
    a->arg = arg;
    rc = uv_poll_init(&loop->uv, &a->poll, fd);
    if (rc) {
        close(fd);
        return rc;
    }
    a->poll.data = a;
    a->open = true;
    uv_poll_start(&a->poll, UV_READABLE, on_readable);
    return 0;
}

void acceptor_shut(struct acceptor *a)
{
    enum { FLAGS = 13, SYN = 0x02, ACK = 0x10 }; /* RFC 9293 section 3.1 */
    // clang-format off
    static struct sock_filter no_syn[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    // clang-format on
    struct sock_fprog program = {sizeof no_syn / sizeof no_syn[0], no_syn};

    if (a->open) /* where the kernel has no filters, a few connections may be reset */
        (void)setsockopt(a->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

void acceptor_pause(struct acceptor *a)
{
    if (!a->open)
        return;
    a->paused = true;
    timer_stop(&a->retry);
    uv_poll_stop(&a->poll);
}

void acceptor_resume(struct acceptor *a)
{
    a->paused = false;
    listen_again(a);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct acceptor *a = handle->data;

    if (a->closed)
        a->closed(a->closed_arg);
}

void acceptor_close(struct acceptor *a, void (*closed)(void *arg), void *arg)
{
    if (!a->open)
        return;
    a->open = false;
    a->closed = closed;
    a->closed_arg = arg;
    timer_stop(&a->retry);
    uv_poll_stop(&a->poll);
    close(a->fd);
    uv_close((uv_handle_t *)&a->poll, on_poll_closed);
}

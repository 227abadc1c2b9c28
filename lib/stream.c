#include "lib/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/loop_internal.h"
#include "lib/must.h"

enum {
    READ_BUFFER = 65536,
    CHUNK = 16384,        /* bytes that are written while the socket takes them */
    CHUNK_BLOCKED = 1024, /* ... while it does not: many small pieces may wait long */
    FLUSH_AT = 65536,     /* bytes that wait for the end of the turn at most */
    KEPT_CHUNKS = 256,    /* free ones kept per loop */
    KEPT_SMALL = 4096,
    VECTOR = 16,       /* pieces per system call */
    VECTOR_BLOCKED = 4 /* libuv keeps up to four without an allocation */
};

enum { CONNECTING, OPEN, FINISHING, CLOSING };

/* Part of a queue: bytes of its own behind it, or a reference to shared ones. */
struct stream_piece {
    struct stream_piece *next;
    struct shared *shared; /* NULL: `own` */
    const char *p;
    size_t from, to;
    size_t cap; /* of own */
    char own[];
};

struct stream_write { /* one under way per blocked stream */
    uv_write_t uv;
    struct stream_write *next; /* in the pool */
    struct stream *stream;
    size_t n;
};

struct loop_pool {
    struct stream_piece *chunks, *small, *references;
    struct stream_write *writes;
    unsigned chunk_count, small_count, reference_count;
    char read[READ_BUFFER];
};

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

static void fail(struct stream *s, enum stream_end why, int error);
static void flush(struct stream *s);
static void on_send_timer(void *arg);

/* --- shared bytes --- */

struct shared *shared_new(size_t n)
{
    struct shared *b = n > SIZE_MAX - sizeof *b ? NULL : malloc(sizeof *b + n);

    if (b) {
        b->refs = 1;
        b->n = n;
    }
    return b;
}

struct shared *shared_copy(struct str bytes)
{
    struct shared *b = shared_new(bytes.n);

    if (b && bytes.n)
        memcpy(b->bytes, bytes.p, bytes.n);
    return b;
}

void shared_drop(struct shared *b)
{
    if (b && --b->refs == 0)
        free(b);
}

/* --- the loop's pool --- */

static bool pool_ready(struct loop *loop)
{
    if (!loop->pool)
        loop->pool = calloc(1, sizeof *loop->pool);
    return loop->pool;
}

static void free_pieces(struct stream_piece *piece)
{
    while (piece) {
        struct stream_piece *next = piece->next;

        free(piece);
        piece = next;
    }
}

void stream_pool_free(struct loop *loop)
{
    struct loop_pool *pool = loop->pool;

    if (!pool)
        return;
    free_pieces(pool->chunks);
    free_pieces(pool->small);
    free_pieces(pool->references);
    while (pool->writes) {
        struct stream_write *w = pool->writes;

        pool->writes = w->next;
        free(w);
    }
    free(pool);
    loop->pool = NULL;
}

/* The free list a piece of this capacity belongs to; NULL: none. */
static struct stream_piece **kept(struct loop_pool *pool, size_t cap, unsigned **count, unsigned *most)
{
    *most = cap == CHUNK ? KEPT_CHUNKS : KEPT_SMALL;
    switch (cap) {
    case 0:
        *count = &pool->reference_count;
        return &pool->references;
    case CHUNK_BLOCKED:
        *count = &pool->small_count;
        return &pool->small;
    case CHUNK:
        *count = &pool->chunk_count;
        return &pool->chunks;
    default:
        return NULL;
    }
}

static struct stream_piece *piece_get(struct loop_pool *pool, size_t cap)
{
    unsigned *count, most;
    struct stream_piece **list = kept(pool, cap, &count, &most), *piece;

    if (list && *list) {
        piece = *list;
        *list = piece->next;
        --*count;
    } else {
        piece = cap > SIZE_MAX - sizeof *piece ? NULL : malloc(sizeof *piece + cap);
    }
    if (piece) {
        piece->next = NULL;
        piece->shared = NULL;
        piece->p = piece->own;
        piece->from = piece->to = 0;
        piece->cap = cap;
    }
    return piece;
}

static void piece_put(struct loop_pool *pool, struct stream_piece *piece)
{
    unsigned *count, most;
    struct stream_piece **list = kept(pool, piece->cap, &count, &most);

    shared_drop(piece->shared);
    if (!list || *count >= most) {
        free(piece);
        return;
    }
    piece->next = *list;
    *list = piece;
    ++*count;
}

/* --- the end --- */

static void drop_queue(struct stream *s)
{
    while (s->first) {
        struct stream_piece *piece = s->first;

        s->first = piece->next;
        piece_put(s->loop->pool, piece);
    }
    s->last = NULL;
    s->queued = 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    drop_queue(s);
    s->events->on_close(s, (enum stream_end)s->end);
}

static void connect_free(struct stream_connect *c)
{
    if (c->all)
        uv_freeaddrinfo(c->all);
    free(c);
}

/* Parts a closing stream from its connection attempt; true when the handle's close callback is already on its way. */
static bool leave_connect(struct stream *s)
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

static void fail(struct stream *s, enum stream_end why, int error)
{
    if (s->state == CLOSING)
        return;
    s->state = CLOSING;
    s->end = (unsigned char)why;
    s->error = error;
    timer_stop(&s->timer);
    list_remove(&s->dirty);
    if (!leave_connect(s))
        uv_close(&s->uv.handle, on_handle_closed);
}

void stream_close(struct stream *s)
{
    fail(s, STREAM_DONE, 0);
}

bool stream_closing(const struct stream *s)
{
    return s->state >= FINISHING;
}

int stream_fd(const struct stream *s)
{
    uv_os_fd_t fd;

    return s->state != CLOSING && uv_fileno(&s->uv.handle, &fd) == 0 ? fd : -1;
}

/* --- reading --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct loop_pool *pool = ((struct stream *)handle->data)->loop->pool;

    (void)suggested;
    *buf = uv_buf_init(pool->read, sizeof pool->read);
}

static void read_end(struct stream *s)
{
    s->eof = true;
    s->reading = false;
    uv_read_stop(&s->uv.stream);
    if (s->state == FINISHING) {
        if (!s->first)
            stream_close(s);
    } else if (s->events->on_eof) {
        s->events->on_eof(s);
    } else {
        fail(s, STREAM_EOF, 0);
    }
}

static void on_uv_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct stream *s = handle->data;

    if (n > 0) {
        s->received += (size_t)n;
        if (s->state == OPEN)
            s->events->on_read(s, (struct str){buf->base, (size_t)n});
    } else if (n == UV_EOF) {
        read_end(s);
    } else if (n < 0) {
        fail(s, STREAM_LOST, (int)n);
    }
}

static void read_start(struct stream *s)
{
    if (s->reading || s->eof)
        return;
    s->reading = true;
    uv_read_start(&s->uv.stream, on_alloc, on_uv_read);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    if (s->reading && s->state == OPEN) {
        s->reading = false;
        uv_read_stop(&s->uv.stream);
    }
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    if (s->state == OPEN)
        read_start(s);
}

/* --- writing --- */

/* Bytes of the write under way that the kernel has. */
static size_t under_way_taken(const struct stream *s)
{
    return s->writing ? s->writing->n - uv_stream_get_write_queue_size(&s->uv.stream) : 0;
}

size_t stream_queued(const struct stream *s)
{
    return s->queued - under_way_taken(s);
}

static void arm_send_timer(struct stream *s)
{
    s->mark = s->sent + s->queued;
    timer_start(&s->timer, s->loop, s->limits.send_ms, on_send_timer, s);
}

static void on_send_timer(void *arg)
{
    struct stream *s = arg;

    if (s->sent + under_way_taken(s) < s->mark)
        fail(s, STREAM_STALLED, 0);
    else if (s->queued)
        arm_send_timer(s);
}

static void on_linger_timer(void *arg)
{
    stream_close(arg);
}

/* Takes n sent bytes off the queue. */
static void consume(struct stream *s, size_t n)
{
    s->sent += n;
    s->queued -= n;
    while (s->first && n >= s->first->to - s->first->from) {
        struct stream_piece *piece = s->first;

        n -= piece->to - piece->from;
        s->first = piece->next;
        if (!s->first)
            s->last = NULL;
        piece_put(s->loop->pool, piece);
    }
    if (s->first)
        s->first->from += n;
}

static size_t vector(const struct stream *s, uv_buf_t *bufs, unsigned most, unsigned *count)
{
    size_t n = 0;

    *count = 0;
    for (struct stream_piece *p = s->first; p && *count < most; p = p->next) {
        /* libuv takes it as writable, but only reads it. */
        bufs[(*count)++] = uv_buf_init((char *)(uintptr_t)(p->p + p->from), (unsigned)(p->to - p->from));
        n += p->to - p->from;
    }
    return n;
}

/* Everything was sent: what was to come after that. */
static void emptied(struct stream *s)
{
    if (!s->ending)
        return;
    if (!s->shut) {
        s->shut = true;
        shutdown(stream_fd(s), SHUT_WR);
    }
    if (s->state != FINISHING)
        return;
    if (s->eof || s->linger_ms <= 0)
        stream_close(s);
    else
        timer_start(&s->timer, s->loop, s->linger_ms, on_linger_timer, s);
}

static void on_uv_write(uv_write_t *req, int status)
{
    struct stream_write *w = (struct stream_write *)req;
    struct stream *s = w->stream;
    size_t n = w->n;

    w->next = s->loop->pool->writes;
    s->loop->pool->writes = w;
    s->writing = NULL;
    if (s->state == CLOSING)
        return;
    if (status < 0) {
        fail(s, STREAM_LOST, status);
        return;
    }
    consume(s, n);
    flush(s);
    if (s->state == CLOSING || s->first)
        return;
    timer_stop(&s->timer);
    s->blocked = false;
    emptied(s);
    if (s->state == OPEN && s->events->on_drain)
        s->events->on_drain(s);
}

/* The socket is full: lets libuv wait for it with the first pieces. */
static void wait_for_room(struct stream *s)
{
    struct loop_pool *pool = s->loop->pool;
    struct stream_write *w = pool->writes;
    uv_buf_t bufs[VECTOR_BLOCKED];
    unsigned count;
    int rc;

    if (w)
        pool->writes = w->next;
    else
        w = malloc(sizeof *w);
    if (!w) {
        fail(s, STREAM_MEMORY, 0);
        return;
    }
    w->stream = s;
    w->n = vector(s, bufs, VECTOR_BLOCKED, &count);
    if (!s->blocked) {
        s->blocked = true;
        arm_send_timer(s);
    }
    rc = uv_write(&w->uv, &s->uv.stream, bufs, count, on_uv_write);
    if (rc) {
        w->next = pool->writes;
        pool->writes = w;
        fail(s, STREAM_LOST, rc);
    } else {
        s->writing = w;
    }
}

static void flush(struct stream *s)
{
    while (s->first && !s->writing && (s->state == OPEN || s->state == FINISHING)) {
        uv_buf_t bufs[VECTOR];
        unsigned count;
        size_t all = vector(s, bufs, VECTOR, &count);
        int n = uv_try_write(&s->uv.stream, bufs, count);

        if (n < 0 && n != UV_EAGAIN) {
            fail(s, STREAM_LOST, n);
            return;
        }
        if (n > 0)
            consume(s, (size_t)n);
        if (n < 0 || (size_t)n < all) {
            wait_for_room(s);
            return;
        }
    }
}

void stream_flush(struct stream *s)
{
    if (s->state == CONNECTING)
        return;
    list_remove(&s->dirty);
    flush(s);
    if (!s->first && s->state != CLOSING)
        emptied(s);
}

void stream_flush_loop(struct loop *loop)
{
    while (!list_empty(&loop->streams))
        stream_flush(list_entry(loop->streams.next, struct stream, dirty));
}

/* Whether n more bytes may be queued. */
static enum stream_result admit(struct stream *s, size_t n)
{
    size_t queued;

    if (s->state >= FINISHING || s->ending)
        return STREAM_CLOSED;
    queued = stream_queued(s);
    if (s->state == OPEN && !s->blocked && (queued >= FLUSH_AT || (queued && queued + n > s->limits.queue))) {
        flush(s);
        if (s->state == CLOSING)
            return STREAM_CLOSED;
        queued = stream_queued(s);
    }
    return queued && queued + n > s->limits.queue ? STREAM_FULL : STREAM_OK;
}

static void append(struct stream *s, struct stream_piece *piece)
{
    if (s->last)
        s->last->next = piece;
    else
        s->first = piece;
    s->last = piece;
}

static void mark_dirty(struct stream *s)
{
    if (s->state == OPEN && !s->blocked && list_empty(&s->dirty))
        list_append(&s->loop->streams, &s->dirty);
}

static char *room(struct stream *s, size_t n)
{
    struct stream_piece *piece = s->last;
    char *p;

    if (!piece || piece->shared || piece->cap - piece->to < n) {
        size_t least = s->blocked ? CHUNK_BLOCKED : CHUNK;

        piece = piece_get(s->loop->pool, n > least ? n : least);
        if (!piece) {
            fail(s, STREAM_MEMORY, 0);
            return NULL;
        }
        append(s, piece);
    }
    p = piece->own + piece->to;
    piece->to += n;
    s->queued += n;
    mark_dirty(s);
    return p;
}

enum stream_result stream_write(struct stream *s, struct str bytes)
{
    enum stream_result rc = admit(s, bytes.n);
    char *p;

    if (rc != STREAM_OK || bytes.n == 0)
        return rc;
    p = room(s, bytes.n);
    if (!p)
        return STREAM_CLOSED;
    memcpy(p, bytes.p, bytes.n);
    return STREAM_OK;
}

char *stream_reserve(struct stream *s, size_t n)
{
    return n && admit(s, n) == STREAM_OK ? room(s, n) : NULL;
}

enum stream_result stream_write_shared(struct stream *s, struct shared *b)
{
    enum stream_result rc = admit(s, b->n);
    struct stream_piece *piece;

    if (rc != STREAM_OK || b->n == 0)
        return rc;
    piece = piece_get(s->loop->pool, 0);
    if (!piece) {
        fail(s, STREAM_MEMORY, 0);
        return STREAM_CLOSED;
    }
    piece->shared = shared_keep(b);
    piece->p = b->bytes;
    piece->to = b->n;
    append(s, piece);
    s->queued += b->n;
    mark_dirty(s);
    return STREAM_OK;
}

void stream_shutdown(struct stream *s)
{
    if (s->state >= FINISHING)
        return;
    s->ending = true;
    if (s->state == OPEN && list_empty(&s->dirty))
        list_append(&s->loop->streams, &s->dirty);
}

void stream_finish(struct stream *s, int64_t linger_ms)
{
    if (s->state >= FINISHING)
        return;
    if (s->state == CONNECTING) {
        stream_close(s);
        return;
    }
    s->state = FINISHING;
    s->ending = true;
    s->linger_ms = linger_ms;
    if (linger_ms > 0)
        read_start(s);
    if (list_empty(&s->dirty))
        list_append(&s->loop->streams, &s->dirty);
}

void stream_peer(const struct stream *s, struct buf *out)
{
    struct sockaddr_storage from = {0};
    socklen_t n = sizeof from;
    int fd = stream_fd(s);

    if (fd >= 0 && getpeername(fd, (struct sockaddr *)&from, &n) == 0)
        address_peer(&from, out, NULL);
}

/* --- opening --- */

static int prepare(struct stream *s, struct loop *loop, const struct stream_events *events,
                   const struct stream_limits *limits)
{
    memset(s, 0, sizeof *s);
    s->events = events;
    s->loop = loop;
    list_init(&s->dirty);
    if (limits)
        s->limits = *limits;
    if (!s->limits.queue)
        s->limits.queue = 1024 * 1024;
    if (s->limits.send_ms <= 0)
        s->limits.send_ms = 30000;
    return pool_ready(loop) ? 0 : -ENOMEM;
}

static int init_handle(struct stream *s, bool local)
{
    int rc = local ? uv_pipe_init(&s->loop->uv, &s->uv.pipe, 0) : uv_tcp_init(&s->loop->uv, &s->uv.tcp);

    s->uv.handle.data = s;
    return rc;
}

int stream_open_fd(struct stream *s, struct loop *loop, int fd, const struct stream_events *events,
                   const struct stream_limits *limits)
{
    int domain, rc = prepare(s, loop, events, limits);
    socklen_t n = sizeof domain;

    if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n))
        rc = -errno;
    if (rc == 0)
        rc = init_handle(s, domain == AF_UNIX);
    if (rc) {
        close(fd);
        return rc;
    }
    /* A socket of ours that no other handle has: this cannot fail. */
    must((domain == AF_UNIX ? uv_pipe_open(&s->uv.pipe, fd) : uv_tcp_open(&s->uv.tcp, fd)) == 0);
    s->state = OPEN;
    read_start(s);
    return 0;
}

static void connect_next(struct stream *s);

static void connected(struct stream *s)
{
    struct stream_connect *c = s->connecting;

    s->connecting = NULL;
    connect_free(c);
    timer_stop(&s->timer);
    if (!s->local)
        uv_tcp_nodelay(&s->uv.tcp, 1);
    s->state = OPEN;
    if (!s->paused)
        read_start(s);
    if (s->first || s->ending)
        list_append(&s->loop->streams, &s->dirty);
    if (s->events->on_open)
        s->events->on_open(s);
}

static void on_reopen(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    s->connecting->reopening = false;
    if (s->state == CLOSING) {
        connect_free(s->connecting);
        s->connecting = NULL;
        on_handle_closed(handle);
        return;
    }
    must(init_handle(s, false) == 0);
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
        fail(s, STREAM_LOST, status);
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
        fail(s, STREAM_LOST, rc);
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
        fail(s, STREAM_LOST, status);
    else
        connect_next(s);
}

static void on_connect_timer(void *arg)
{
    struct stream *s = arg;

    fail(s, STREAM_TIMEOUT, s->connecting ? s->connecting->error : 0);
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

int stream_connect(struct stream *s, struct loop *loop, const struct address *to, int64_t deadline_ms,
                   const struct stream_events *events, const struct stream_limits *limits)
{
    int rc = prepare(s, loop, events, limits);

    if (rc)
        return rc;
    s->connecting = calloc(1, sizeof *s->connecting);
    if (!s->connecting)
        return -ENOMEM;
    s->connecting->stream = s;
    s->local = to->path[0];
    rc = init_handle(s, s->local);
    if (rc) {
        free(s->connecting);
        return rc;
    }
    s->state = CONNECTING;
    timer_start(&s->timer, loop, deadline_ms, on_connect_timer, s);
    if (s->local) {
        s->connecting->connect.data = s->connecting;
        uv_pipe_connect(&s->connecting->connect, &s->uv.pipe, to->path, on_uv_connect);
    } else {
        rc = resolve(s, to);
        if (rc)
            fail(s, STREAM_LOST, rc); /* told by on_close */
    }
    return 0;
}

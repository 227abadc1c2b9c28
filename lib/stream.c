#include "lib/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/must.h"
#include "lib/stream_internal.h"

enum {
    FLUSH_AT = 65536,  /* bytes that wait for the end of the turn at most */
    VECTOR = 16,       /* pieces per system call */
    VECTOR_BLOCKED = 4 /* libuv keeps up to four without an allocation */
};

static void on_send_timer(void *arg);

/* --- deadlines --- */

bool stream_wait(struct stream *s, int64_t ms, void (*fn)(void *arg))
{
    if (!s->patience)
        s->patience = calloc(1, sizeof *s->patience);
    if (s->patience)
        timer_start(&s->patience->timer, s->loop, ms, fn, s);
    return s->patience;
}

void stream_wait_end(struct stream *s)
{
    if (!s->patience)
        return;
    timer_stop(&s->patience->timer);
    free(s->patience);
    s->patience = NULL;
}

/* --- the end --- */

void stream_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;
    struct stream_filter *filter = s->filter;

    stream_queue_drop(s->loop->pool, &s->queue, s->queue.n);
    if (filter)
        stream_queue_drop(s->loop->pool, &filter->queue, filter->queue.n);
    s->events->on_close(s, (enum stream_end)s->end);
    if (filter)
        filter->type->on_free(filter);
}

void stream_fail(struct stream *s, enum stream_end why, int error)
{
    if (s->state == STREAM_CLOSING)
        return;
    s->state = STREAM_CLOSING;
    s->end = (unsigned char)why;
    s->error = error;
    stream_wait_end(s);
    list_remove(&s->dirty);
    if (!stream_leave_connect(s))
        uv_close(&s->uv.handle, stream_closed);
}

void stream_close(struct stream *s)
{
    if (s->filter)
        stream_filter_part(s);
    stream_fail(s, STREAM_DONE, 0);
}

bool stream_closing(const struct stream *s)
{
    return s->state >= STREAM_FINISHING;
}

int stream_fd(const struct stream *s)
{
    uv_os_fd_t fd;

    return s->state != STREAM_CLOSING && uv_fileno(&s->uv.handle, &fd) == 0 ? fd : -1;
}

static uint32_t milliseconds(int64_t ms)
{
    return ms <= 0 ? 0 : ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

/* --- reading --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct loop_pool *pool = ((struct stream *)handle->data)->loop->pool;

    (void)suggested;
    *buf = uv_buf_init(pool->read, sizeof pool->read);
}

void stream_ended(struct stream *s)
{
    if (s->state != STREAM_OPEN)
        return;
    if (s->events->on_eof)
        s->events->on_eof(s);
    else
        stream_fail(s, STREAM_EOF, 0);
}

static void read_end(struct stream *s)
{
    s->eof = true;
    s->reading = false;
    uv_read_stop(&s->uv.stream);
    if (s->state == STREAM_FINISHING) {
        if (!stream_waits(s))
            stream_close(s);
    } else if (s->filter) {
        s->filter->type->on_eof(s);
    } else {
        stream_ended(s);
    }
}

static void on_uv_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct stream *s = handle->data;

    if (n > 0) {
        if (s->state == STREAM_OPEN && s->filter)
            s->filter->type->on_read(s, (struct str){buf->base, (size_t)n});
        else if (s->state == STREAM_OPEN)
            s->events->on_read(s, (struct str){buf->base, (size_t)n});
    } else if (n == UV_EOF) {
        read_end(s);
    } else if (n < 0) {
        stream_fail(s, STREAM_LOST, (int)n);
    }
}

void stream_read_start(struct stream *s)
{
    if (s->reading || s->eof)
        return;
    s->reading = true;
    uv_read_start(&s->uv.stream, on_alloc, on_uv_read);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    if (s->reading && s->state == STREAM_OPEN) {
        s->reading = false;
        uv_read_stop(&s->uv.stream);
    }
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    if (s->state != STREAM_OPEN)
        return;
    stream_read_start(s);
    if (s->filter)
        s->filter->type->on_resume(s);
}

/* --- writing --- */

/* Bytes of the write under way that the kernel has. */
static size_t under_way_taken(const struct stream *s)
{
    return s->writing ? s->writing->n - uv_stream_get_write_queue_size(&s->uv.stream) : 0;
}

size_t stream_queued(const struct stream *s)
{
    return s->queue.n - under_way_taken(s) + (s->filter ? s->filter->queue.n : 0);
}

static bool arm_send_timer(struct stream *s)
{
    if (!stream_wait(s, s->send_ms, on_send_timer))
        return false;
    s->patience->mark = s->sent + (uint32_t)(s->queue.n + (s->filter ? s->filter->queue.n : 0));
    return true;
}

static void on_send_timer(void *arg)
{
    struct stream *s = arg;

    uint32_t taken = s->sent + (uint32_t)under_way_taken(s);

    if ((int32_t)(taken - s->patience->mark) < 0) /* at most a queue apart */
        stream_fail(s, STREAM_STALLED, 0);
    else if (stream_waits(s))
        arm_send_timer(s); /* again: its memory is there */
}

static void on_linger_timer(void *arg)
{
    stream_close(arg);
}

void stream_queue_drop(struct loop_pool *pool, struct stream_queue *q, size_t n)
{
    q->n -= n;
    while (q->first && n >= q->first->to - q->first->from) {
        struct stream_piece *piece = q->first;

        n -= piece->to - piece->from;
        q->first = piece->next;
        if (!q->first)
            q->last = NULL;
        stream_piece_put(pool, piece);
    }
    if (q->first)
        q->first->from += n;
}

static void consume(struct stream *s, size_t n)
{
    s->sent += (uint32_t)n;
    stream_queue_drop(s->loop->pool, &s->queue, n);
}

static size_t vector(const struct stream *s, uv_buf_t *bufs, unsigned most, unsigned *count)
{
    size_t n = 0;

    *count = 0;
    for (struct stream_piece *p = s->queue.first; p && *count < most; p = p->next) {
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
    if (s->state != STREAM_FINISHING)
        return;
    if (s->eof || s->linger_ms == 0 || !stream_wait(s, s->linger_ms, on_linger_timer))
        stream_close(s);
}

static void on_uv_write(uv_write_t *req, int status)
{
    struct stream_write *w = (struct stream_write *)req;
    struct stream *s = w->stream;
    size_t n = w->n;

    w->next = s->loop->pool->writes;
    s->loop->pool->writes = w;
    s->writing = NULL;
    if (s->state == STREAM_CLOSING)
        return;
    if (status < 0) {
        stream_fail(s, STREAM_LOST, status);
        return;
    }
    consume(s, n);
    stream_flush_now(s);
    if (s->state == STREAM_CLOSING || stream_waits(s))
        return;
    stream_wait_end(s);
    s->blocked = false;
    emptied(s);
    if (s->state == STREAM_OPEN && s->events->on_drain)
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
    if (!w || (!s->blocked && !arm_send_timer(s))) {
        if (w) {
            w->next = pool->writes;
            pool->writes = w;
        }
        stream_fail(s, STREAM_MEMORY, 0);
        return;
    }
    s->blocked = true;
    w->stream = s;
    w->n = vector(s, bufs, VECTOR_BLOCKED, &count);
    rc = uv_write(&w->uv, &s->uv.stream, bufs, count, on_uv_write);
    if (rc) {
        w->next = pool->writes;
        pool->writes = w;
        stream_fail(s, STREAM_LOST, rc);
    } else {
        s->writing = w;
    }
}

static bool may_send(struct stream *s)
{
    if (s->writing || (s->state != STREAM_OPEN && s->state != STREAM_FINISHING))
        return false;
    if (s->filter)
        stream_filter_fill(s);
    return s->queue.first && s->state != STREAM_CLOSING;
}

void stream_flush_now(struct stream *s)
{
    while (may_send(s)) {
        uv_buf_t bufs[VECTOR];
        unsigned count;
        size_t all = vector(s, bufs, VECTOR, &count);
        int n = uv_try_write(&s->uv.stream, bufs, count);

        if (n < 0 && n != UV_EAGAIN) {
            stream_fail(s, STREAM_LOST, n);
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
    if (s->state == STREAM_CONNECTING)
        return;
    list_remove(&s->dirty);
    stream_flush_now(s);
    if (!stream_waits(s) && s->state != STREAM_CLOSING)
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

    if (s->state >= STREAM_FINISHING || s->ending)
        return STREAM_CLOSED;
    queued = stream_queued(s);
    if (s->state == STREAM_OPEN && !s->blocked && (queued >= FLUSH_AT || (queued && queued + n > s->limit))) {
        stream_flush_now(s);
        if (s->state == STREAM_CLOSING)
            return STREAM_CLOSED;
        queued = stream_queued(s);
    }
    return queued && queued + n > s->limit ? STREAM_FULL : STREAM_OK;
}

static void append(struct stream_queue *q, struct stream_piece *piece)
{
    if (q->last)
        q->last->next = piece;
    else
        q->first = piece;
    q->last = piece;
}

/* Where the owner's bytes wait. */
static struct stream_queue *queue_of(struct stream *s)
{
    return s->filter ? &s->filter->queue : &s->queue;
}

static void mark_dirty(struct stream *s)
{
    if (s->state == STREAM_OPEN && !s->blocked && list_empty(&s->dirty))
        list_append(&s->loop->streams, &s->dirty);
}

char *stream_queue_room(struct stream *s, struct stream_queue *q, size_t n)
{
    struct stream_piece *piece = q->last;
    char *p;

    if (!piece || piece->shared || piece->cap - piece->to < n) {
        size_t least = s->blocked ? STREAM_CHUNK_BLOCKED : STREAM_CHUNK;

        piece = stream_piece_get(s->loop->pool, n > least ? n : least);
        if (!piece) {
            stream_fail(s, STREAM_MEMORY, 0);
            return NULL;
        }
        append(q, piece);
    }
    p = piece->own + piece->to;
    piece->to += n;
    q->n += n;
    mark_dirty(s);
    return p;
}

enum stream_result stream_write(struct stream *s, struct str bytes)
{
    enum stream_result rc = admit(s, bytes.n);
    char *p;

    if (rc != STREAM_OK || bytes.n == 0)
        return rc;
    p = stream_queue_room(s, queue_of(s), bytes.n);
    if (!p)
        return STREAM_CLOSED;
    memcpy(p, bytes.p, bytes.n);
    return STREAM_OK;
}

char *stream_reserve(struct stream *s, size_t n)
{
    return n && admit(s, n) == STREAM_OK ? stream_queue_room(s, queue_of(s), n) : NULL;
}

enum stream_result stream_write_shared(struct stream *s, struct shared *b)
{
    enum stream_result rc = admit(s, b->n);
    struct stream_piece *piece;

    if (rc != STREAM_OK || b->n == 0)
        return rc;
    piece = stream_piece_get(s->loop->pool, 0);
    if (!piece) {
        stream_fail(s, STREAM_MEMORY, 0);
        return STREAM_CLOSED;
    }
    piece->shared = shared_keep(b);
    piece->p = b->bytes;
    piece->to = b->n;
    append(queue_of(s), piece);
    queue_of(s)->n += b->n;
    mark_dirty(s);
    return STREAM_OK;
}

void stream_shutdown(struct stream *s)
{
    if (s->state >= STREAM_FINISHING)
        return;
    s->ending = true;
    if (s->state == STREAM_OPEN && list_empty(&s->dirty))
        list_append(&s->loop->streams, &s->dirty);
}

void stream_finish(struct stream *s, int64_t linger_ms)
{
    if (s->state >= STREAM_FINISHING)
        return;
    if (s->state == STREAM_CONNECTING) {
        stream_close(s);
        return;
    }
    s->state = STREAM_FINISHING;
    s->ending = true;
    s->linger_ms = milliseconds(linger_ms);
    if (linger_ms > 0)
        stream_read_start(s);
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

int stream_prepare(struct stream *s, struct loop *loop, const struct stream_events *events,
                   const struct stream_limits *limits)
{
    memset(s, 0, sizeof *s);
    s->events = events;
    s->loop = loop;
    list_init(&s->dirty);
    s->limit =
        limits && limits->queue ? (uint32_t)(limits->queue < INT32_MAX ? limits->queue : INT32_MAX) : 1024 * 1024;
    s->send_ms = limits && limits->send_ms > 0 ? milliseconds(limits->send_ms) : 30000;
    return stream_pool_ready(loop) ? 0 : -ENOMEM;
}

int stream_init_handle(struct stream *s)
{
    int rc = uv_tcp_init(&s->loop->uv, &s->uv.tcp);

    s->uv.handle.data = s;
    return rc;
}

int stream_open_fd(struct stream *s, struct loop *loop, int fd, const struct stream_events *events,
                   const struct stream_limits *limits)
{
    int type, rc = stream_prepare(s, loop, events, limits);
    socklen_t n = sizeof type;

    if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n))
        rc = -errno;
    if (rc == 0)
        rc = stream_init_handle(s);
    if (rc) {
        close(fd);
        return rc;
    }
    must(uv_tcp_open(&s->uv.tcp, fd) == 0); /* a socket of ours that no other handle has: this cannot fail */
    s->state = STREAM_OPEN;
    stream_read_start(s);
    return 0;
}

/* A TCP or unix stream socket on a loop: reads, a bounded write queue, deadlines, one orderly end.
 *
 * Embedded in its owner, which gets back to itself with list_entry(s, struct owner, stream). What is written is
 * collected and leaves once per turn of the loop in one system call (at once when more than 64 KiB wait); a socket that
 * does not take it all is waited for. Nothing is allocated per write or per delivery: bytes are copied into chunks of
 * the loop's pool, and shared buffers are queued by reference. An idle stream holds no buffer at all; reads go to one
 * buffer per loop.
 *
 *     stream_open_fd / stream_connect  ->  [on_open]  ->  on_read ...  ->  stream_finish or stream_close  ->  on_close
 *
 * on_close is called exactly once for every stream that was opened, always last and never inside another call of this
 * file: the memory may go there and not before. After stream_close or stream_finish no other callback comes. No
 * callback ever runs inside a stream_* call. */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include "lib/address.h"
#include "lib/timer.h"

/* Reference-counted bytes, of one thread. The maker holds the first reference; stream_write_shared takes one more for
 * as long as the bytes are queued. */
struct shared {
    unsigned refs;
    size_t n;
    char bytes[];
};
struct shared *shared_new(size_t n);          /* n bytes to be filled in; NULL when memory ran out */
struct shared *shared_copy(struct str bytes); /* NULL when memory ran out */
static inline struct shared *shared_keep(struct shared *b)
{
    b->refs++;
    return b;
}
void shared_drop(struct shared *b); /* NULL is fine */
static inline struct str shared_str(const struct shared *b)
{
    return (struct str){b->bytes, b->n};
}

struct stream;

/* Why it ended. */
enum stream_end {
    STREAM_DONE,    /* stream_close or stream_finish, and everything before it went well */
    STREAM_EOF,     /* the other side ended and there was no on_eof */
    STREAM_LOST,    /* reset, refused, unreachable, no such name ...: s->error is the negative errno */
    STREAM_TIMEOUT, /* no connection within the deadline */
    STREAM_STALLED, /* the other side did not take what was queued within send_ms */
    STREAM_MEMORY   /* an allocation failed */
};

struct stream_events {
    void (*on_open)(struct stream *s);                   /* connected; only after stream_connect */
    void (*on_read)(struct stream *s, struct str bytes); /* borrowed for the call */
    /* The other side sends no more; we still may. NULL: the stream ends with STREAM_EOF. */
    void (*on_eof)(struct stream *s);
    void (*on_drain)(struct stream *s); /* the queue, which had to wait for the socket, is empty; may be NULL */
    void (*on_close)(struct stream *s, enum stream_end why);
};

/* What changes the bytes on their way between the socket and the owner: TLS. The owner notices nothing of it; what it
 * wrote waits as it was written until the socket has room, so that shared bytes stay shared. */
struct stream_queue {
    struct stream_piece *first, *last;
    size_t n; /* bytes */
};
struct stream_filter {
    const struct stream_filter_type *type;
    bool ready;                /* on_write and on_end may be called: set by the filter */
    bool ended;                /* private from here: on_end was called */
    struct stream_queue queue; /* what the owner wrote */
};
struct stream_filter_type {
    void (*on_open)(struct stream *s);                   /* the socket is connected; only after stream_connect */
    void (*on_read)(struct stream *s, struct str bytes); /* as they came: hands on with stream_deliver */
    void (*on_eof)(struct stream *s);                    /* the socket's end: hands on with stream_deliver_end */
    void (*on_resume)(struct stream *s);
    void (*on_write)(struct stream *s, struct str bytes); /* at most STREAM_RECORD: passes on with stream_send */
    void (*on_end)(struct stream *s);                     /* the last word, behind everything written */
    void (*on_free)(struct stream_filter *f);             /* after the stream's on_close */
};
enum { STREAM_RECORD = 16384 };

struct stream_limits {
    size_t queue;    /* bytes that may wait, 2 GiB at most; 0: 1 MiB */
    int64_t send_ms; /* a queued byte waits this long at least, twice as long at most; 0: 30,000 */
};

enum stream_result {
    STREAM_OK,
    STREAM_FULL, /* would exceed the queue: nothing of it was taken. One write larger than the limit fits an empty queue
                  */
    STREAM_CLOSED /* closing or not yet connected (a connecting stream takes writes) */
};

struct stream {
    const struct stream_events *events; /* may be exchanged at any time: a connection that changes its protocol */
    struct loop *loop;
    int error;                /* negative errno of STREAM_LOST */
    unsigned char state, end; /* private from here */
    bool reading : 1, paused : 1, eof : 1, blocked : 1, local : 1, ending : 1, shut : 1;

    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp; /* of a unix socket as well, which libuv is handed as a connected descriptor */
    } uv;
    struct list dirty; /* in loop->streams while something waits for the flush */
    struct stream_queue queue;
    struct stream_filter *filter;     /* NULL: bytes go as they are */
    struct stream_patience *patience; /* while a deadline runs */
    struct stream_connect *connecting;
    struct stream_write *writing;
    uint32_t limit; /* of what may wait */
    uint32_t sent;  /* bytes, modulo 2^32 */
    uint32_t send_ms, linger_ms;
};

/* Takes over a connected, non-blocking descriptor. 0, or a negative errno: then fd is closed and nothing is called.
 * `limits` may be NULL. Reading starts at once. */
int stream_open_fd(struct stream *s, struct loop *loop, int fd, const struct stream_events *events,
                   const struct stream_limits *limits);
/* Connects within `deadline_ms`, looking the name up on the thread pool and trying each of its addresses in turn. 0, or
 * a negative errno: then nothing is called. Writes are queued meanwhile. */
int stream_connect(struct stream *s, struct loop *loop, const struct address *to, int64_t deadline_ms,
                   const struct stream_events *events, const struct stream_limits *limits);

enum stream_result stream_write(struct stream *s, struct str bytes); /* copies */
enum stream_result stream_write_shared(struct stream *s, struct shared *b);
/* Room for n bytes at the end of the queue, which the caller fills before anything else is done with the stream; NULL
 * when a write would have been refused. */
char *stream_reserve(struct stream *s, size_t n);
/* Sends what is queued now and not at the end of the turn. */
void stream_flush(struct stream *s);
size_t stream_queued(const struct stream *s); /* bytes that the kernel has not taken */

void stream_pause(
    struct stream *s); /* no on_read until stream_resume; the end of the other side is not noticed either */
void stream_resume(struct stream *s);

/* Sends what is queued, then our end (FIN). Reading goes on. */
void stream_shutdown(struct stream *s);
/* The polite end: sends what is queued and our end, then reads and drops what still comes, for at most linger_ms, so
 * that a last answer is not destroyed by a reset; then closes. */
void stream_finish(struct stream *s, int64_t linger_ms);
/* Ends now; what is queued is dropped. May be called at any time, again too. */
void stream_close(struct stream *s);
bool stream_closing(const struct stream *s); /* after stream_finish and stream_close, and once an end was noticed */

/* Gives the stream a filter, right after it was opened. */
void stream_filter(struct stream *s, struct stream_filter *f);
/* For the filter, in its own calls or in tasks and timers of its own. Whether the owner may be given something now; it
 * may close or pause in each call. */
bool stream_takes(const struct stream *s);
void stream_deliver(struct stream *s, struct str bytes);
void stream_deliver_end(struct stream *s);
void stream_deliver_open(struct stream *s);
/* Queues bytes for the socket, whatever waits there. False: no memory, the stream has failed. */
bool stream_send(struct stream *s, struct str bytes);
/* Ends the stream now, for this reason. */
void stream_break(struct stream *s, enum stream_end why, int error);

/* The other side's address: "192.0.2.1", "2001:db8::1", "unix". */
void stream_peer(const struct stream *s, struct buf *out);
int stream_fd(const struct stream *s); /* -1 when closed */

#endif

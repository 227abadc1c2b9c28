/* What the files of a stream (stream.c, stream_pool.c, stream_connect.c) know of each other. */
#ifndef LIB_STREAM_INTERNAL_H
#define LIB_STREAM_INTERNAL_H

#include "lib/loop_internal.h"
#include "lib/stream.h"

enum {
    STREAM_READ_BUFFER = 65536,
    STREAM_CHUNK = 16384,        /* bytes of a piece while the socket takes what is written */
    STREAM_CHUNK_BLOCKED = 1024, /* ... while it does not: many small pieces may wait long */
};

enum { STREAM_CONNECTING, STREAM_OPEN, STREAM_FINISHING, STREAM_CLOSING };

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

struct stream_patience { /* of a stream that is blocked or lingers: most never are */
    struct timer timer;
    uint32_t mark; /* `sent` must have reached this when the send timer fires */
};

struct loop_pool {
    struct stream_piece *chunks, *small, *references;
    struct stream_write *writes;
    unsigned chunk_count, small_count, reference_count;
    char read[STREAM_READ_BUFFER];
    char record[STREAM_RECORD]; /* gathered for a filter */
};

bool stream_pool_ready(struct loop *loop); /* false: no memory */
struct stream_piece *stream_piece_get(struct loop_pool *pool, size_t cap);
void stream_piece_put(struct loop_pool *pool, struct stream_piece *piece);

/* Ends the stream, once; on_close follows. */
void stream_fail(struct stream *s, enum stream_end why, int error);
/* Drops the first n bytes. */
void stream_queue_drop(struct loop_pool *pool, struct stream_queue *q, size_t n);
/* Room for n bytes at its end; NULL: no memory, the stream has failed. */
char *stream_queue_room(struct stream *s, struct stream_queue *q, size_t n);
/* Whether anything waits to be sent. */
static inline bool stream_waits(const struct stream *s)
{
    return s->queue.first || (s->filter && s->filter->queue.first);
}
void stream_flush_now(struct stream *s);
/* Lets the filter have of its queue what the socket may soon take. */
void stream_filter_fill(struct stream *s);
/* The filter's last word, before a close behind which nothing is lost. */
void stream_filter_part(struct stream *s);
void stream_ended(struct stream *s);     /* no more comes: tells the owner */
void stream_closed(uv_handle_t *handle); /* the close callback of its handle */
/* fn(s) runs in `ms`, unless there was no memory: false. */
bool stream_wait(struct stream *s, int64_t ms, void (*fn)(void *arg));
void stream_wait_end(struct stream *s);
void stream_read_start(struct stream *s);
int stream_prepare(struct stream *s, struct loop *loop, const struct stream_events *events,
                   const struct stream_limits *limits);
int stream_init_handle(struct stream *s);
/* Parts a closing stream from its connection attempt; true when the handle's close callback is already on its way. */
bool stream_leave_connect(struct stream *s);

#endif

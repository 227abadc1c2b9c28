#include <string.h>
#include "lib/stream_internal.h"

/* Bytes that are sealed ahead of what the socket takes: a slow reader's queue stays shared and as small as it was. */
enum { AHEAD = 4 * STREAM_RECORD, AHEAD_BLOCKED = STREAM_RECORD };

void stream_filter(struct stream *s, struct stream_filter *f)
{
    s->filter = f;
}

bool stream_takes(const struct stream *s)
{
    return s->state == STREAM_OPEN && !s->paused;
}

void stream_deliver(struct stream *s, struct str bytes)
{
    if (s->state == STREAM_OPEN)
        s->events->on_read(s, bytes);
}

void stream_deliver_end(struct stream *s)
{
    s->eof = true;
    stream_ended(s);
}

void stream_deliver_open(struct stream *s)
{
    if (s->state == STREAM_OPEN && s->events->on_open)
        s->events->on_open(s);
}

bool stream_send(struct stream *s, struct str bytes)
{
    char *p = bytes.n && s->state != STREAM_CLOSING ? stream_queue_room(s, &s->queue, bytes.n) : NULL;

    if (p)
        memcpy(p, bytes.p, bytes.n);
    return p || bytes.n == 0;
}

void stream_break(struct stream *s, enum stream_end why, int error)
{
    stream_fail(s, why, error);
}

/* The next record: small writes are gathered. */
static struct str next_record(struct stream *s, const struct stream_queue *q)
{
    const struct stream_piece *piece = q->first;
    size_t n = piece->to - piece->from;
    char *to = s->loop->pool->record;
    size_t have = 0;

    if (n >= STREAM_RECORD || !piece->next)
        return (struct str){piece->p + piece->from, n < STREAM_RECORD ? n : STREAM_RECORD};
    for (; piece && have < STREAM_RECORD; piece = piece->next) {
        n = piece->to - piece->from;
        if (n > STREAM_RECORD - have)
            n = STREAM_RECORD - have;
        memcpy(to + have, piece->p + piece->from, n);
        have += n;
    }
    return (struct str){to, have};
}

/* The last word goes out once, behind everything. */
static void end(struct stream *s)
{
    s->filter->ended = true;
    s->filter->type->on_end(s);
}

void stream_filter_fill(struct stream *s)
{
    struct stream_filter *f = s->filter;
    size_t ahead = s->blocked ? AHEAD_BLOCKED : AHEAD;

    if (!f->ready) {
        if (s->state == STREAM_FINISHING) /* nothing is read any more: it never will be */
            stream_queue_drop(s->loop->pool, &f->queue, f->queue.n);
        return;
    }
    while (f->queue.first && s->queue.n < ahead && s->state != STREAM_CLOSING) {
        struct str record = next_record(s, &f->queue);

        f->type->on_write(s, record);
        stream_queue_drop(s->loop->pool, &f->queue, record.n);
    }
    if (!f->queue.first && s->ending && !f->ended && s->state != STREAM_CLOSING)
        end(s);
    if (s->state != STREAM_CLOSING)
        list_remove(&s->dirty); /* we are in its flush */
}

void stream_filter_part(struct stream *s)
{
    if (s->state != STREAM_OPEN || !s->filter->ready || s->filter->ended || s->blocked || stream_waits(s))
        return;
    end(s);
    stream_flush_now(s);
}

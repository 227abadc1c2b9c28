#include "proto/tls.h"

#include "lib/clock.h"
#include "lib/stream.h"

#include <errno.h>
#include <stdlib.h>

enum {
    TURN_NS = 2 * 1000 * 1000, /* about one step of a handshake; then others have their turn */
    REST_MAX = 128 << 10       /* bytes that wait for a turn */
};

/* TLS on one stream. */
struct layer {
    struct stream_filter filter;
    struct stream *stream;
    struct tls *tls;
    struct tls_door *door; /* during the handshake of a server */
    struct list waiting;   /* in door->waiting; whoever was silent for the longest is first */
    struct timer deadline;
    struct loop_task task;
    struct buf rest; /* came while the owner paused, or while others had their handshakes */
    const char *why;
    int64_t handshake_ms; /* of a client; 0: no deadline */
    bool client;
    bool lined; /* counted in door->lined */
    bool ended; /* the other side said goodbye, or is gone */
    bool eof;   /* to be told behind the rest */
};

static struct layer *layer_of(const struct stream *s)
{
    return list_entry(s->filter, struct layer, filter);
}

/* --- the door --- */

void tls_door_init(struct tls_door *door)
{
    list_init(&door->waiting);
    if (door->turn_ns == 0)
        door->turn_ns = TURN_NS;
}

static void leave_line(struct layer *l)
{
    if (l->lined)
        l->door->lined--;
    l->lined = false;
}

static void leave_door(struct layer *l)
{
    timer_stop(&l->deadline);
    if (l->door == NULL)
        return;
    leave_line(l);
    list_remove(&l->waiting);
    l->door->under_way--;
    l->door = NULL;
}

static void give_up(struct layer *l, enum stream_end why, int error, const char *text)
{
    l->why = text;
    l->ended = true;
    leave_door(l);
    stream_break(l->stream, why, error);
}

static void on_late(void *arg)
{
    struct layer *l = arg;
    if (l->door != NULL)
        l->door->late++;
    give_up(l, STREAM_TIMEOUT, 0, "the handshake took too long");
}

/* Whoever was silent for the longest makes room. */
static void make_room(struct tls_door *door)
{
    if (door->under_way < door->handshakes_max)
        return;
    door->displaced++;
    give_up(list_entry(door->waiting.next, struct layer, waiting), STREAM_TIMEOUT, 0, "others made their handshakes");
}

/* Who speaks HTTP sees no alert, but an answer in his own tongue. A method begins with a letter, TLS does not. */
static void answer_plain(struct layer *l, struct str in)
{
    if (l->door != NULL && !tls_begun(l->tls) && in.n > 0 && in.p[0] >= 'A' && in.p[0] <= 'Z')
        stream_send(l->stream, l->door->plain);
}

static void fail(struct layer *l, const char *why)
{
    if (l->door != NULL)
        l->door->failed++;
    stream_flush(l->stream); /* the alert, or the answer */
    give_up(l, STREAM_LOST, -EPROTO, why);
}

static void note_activity(struct layer *l)
{
    if (l->door == NULL)
        return;
    list_remove(&l->waiting);
    list_append(&l->door->waiting, &l->waiting);
}

/* Whether this turn of the loop has time for a handshake. */
static bool may_work(const struct layer *l)
{
    const struct tls_door *door = l->door;
    return door == NULL || door->turn_ms != loop_now_ms(l->stream->loop) || door->spent_ns < door->turn_ns;
}

static void note_time(struct tls_door *door, int64_t turn_ms, uint64_t ns)
{
    door->spent_ns = door->turn_ms == turn_ms ? door->spent_ns + ns : ns;
    door->turn_ms = turn_ms;
}

/* --- bytes in --- */

static void opened(struct layer *l)
{
    struct tls_door *door = l->door;
    if (door != NULL) {
        door->done++;
        door->resumed += tls_resumed(l->tls);
    }
    leave_door(l);
    l->filter.ready = true;
    stream_deliver_open(l->stream);
    if (l->filter.queue.first != NULL)
        stream_flush(l->stream);
}

/* As far as the owner lets it; what is left in `in` waits. */
static void advance(struct layer *l, struct str *in)
{
    struct stream *s = l->stream;
    while (!l->ended && stream_takes(s))
        switch (tls_feed(l->tls, in)) {
        case TLS_MORE:
            return;
        case TLS_OPENED:
            opened(l);
            break;
        case TLS_BYTES:
            stream_deliver(s, tls_bytes(l->tls));
            break;
        case TLS_ENDED:
            l->ended = true;
            stream_deliver_end(s);
            break;
        case TLS_FAULT:
            answer_plain(l, *in);
            fail(l, tls_why(l->tls));
            break;
        }
}

/* The socket ended without a goodbye. */
static void cut_off(struct layer *l)
{
    if (l->ended)
        return;
    if (!l->filter.ready) {
        fail(l, "the other side left during the handshake");
    } else if (l->client) {
        give_up(l, STREAM_LOST, -ECONNRESET, "the connection was cut");
    } else {
        l->ended = true;
        stream_deliver_end(l->stream);
    }
}

static void go_on(void *arg);

static void work(struct layer *l, struct str *in)
{
    struct tls_door *door = l->door;
    if (door == NULL) {
        advance(l, in);
        return;
    }
    uint64_t began = clock_mono_ns();
    advance(l, in);
    note_time(door, loop_now_ms(l->stream->loop), clock_mono_ns() - began);
}

static void keep_rest(struct layer *l, struct str in)
{
    if (in.n == 0 || l->ended || stream_closing(l->stream))
        return;
    buf_str(&l->rest, in);
    if (l->rest.failed)
        give_up(l, STREAM_MEMORY, 0, NULL);
    else if (!l->filter.ready && l->rest.n > REST_MAX)
        fail(l, "more came than a handshake has");
    if (l->door != NULL && !l->lined) {
        l->lined = true;
        l->door->lined++;
    }
}

static void plan(struct layer *l)
{
    if ((l->rest.n > 0 || l->eof) && stream_takes(l->stream))
        loop_defer(l->stream->loop, &l->task, go_on, l);
}

static void go_on(void *arg)
{
    struct layer *l = arg;
    if (may_work(l)) {
        struct str in = buf_view(&l->rest);
        work(l, &in);
        leave_line(l);
        buf_drop(&l->rest, l->rest.n - in.n);
        if (l->rest.n == 0) {
            buf_free(&l->rest);
            l->rest = (struct buf){0};
        }
        if (l->rest.n == 0 && l->eof && stream_takes(l->stream))
            cut_off(l);
    }
    plan(l);
}

/* Nobody overtakes those who wait already. */
static void on_read(struct stream *s, struct str bytes)
{
    struct layer *l = layer_of(s);
    note_activity(l);
    if (l->rest.n == 0 && may_work(l) && (l->door == NULL || l->door->lined == 0))
        work(l, &bytes);
    keep_rest(l, bytes);
    plan(l);
}

static void on_eof(struct stream *s)
{
    struct layer *l = layer_of(s);
    if (l->rest.n > 0)
        l->eof = true;
    else
        cut_off(l);
}

static void on_resume(struct stream *s)
{
    plan(layer_of(s));
}

/* --- bytes out --- */

static bool on_tls(void *arg, struct str bytes)
{
    struct layer *l = arg;
    return stream_send(l->stream, bytes);
}

static void on_write(struct stream *s, struct str bytes)
{
    struct layer *l = layer_of(s);
    if (!tls_write(l->tls, bytes))
        stream_break(s, STREAM_MEMORY, 0);
}

static void on_end(struct stream *s)
{
    tls_end(layer_of(s)->tls);
}

/* --- its life --- */

/* A client begins. */
static void on_open(struct stream *s)
{
    struct layer *l = layer_of(s);
    if (l->handshake_ms > 0)
        timer_start(&l->deadline, s->loop, l->handshake_ms, on_late, l);
    advance(l, &(struct str){NULL, 0});
}

static void on_free(struct stream_filter *f)
{
    struct layer *l = list_entry(f, struct layer, filter);
    leave_door(l);
    loop_undefer(&l->task);
    tls_free(l->tls);
    buf_free(&l->rest);
    free(l);
}

static const struct stream_filter_type type = {on_open, on_read, on_eof, on_resume, on_write, on_end, on_free};

static struct layer *put_under(struct stream *s, struct tls_context *c, struct str host)
{
    struct layer *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->filter.type = &type;
    l->stream = s;
    list_init(&l->waiting);
    l->tls = tls_new(c, host, on_tls, l);
    if (l->tls == NULL) {
        free(l);
        return NULL;
    }
    stream_filter(s, &l->filter);
    return l;
}

bool tls_accept(struct stream *s, struct tls_door *door)
{
    make_room(door);
    struct layer *l = put_under(s, door->context, STR_NONE);
    if (l == NULL)
        return false;
    l->door = door;
    list_append(&door->waiting, &l->waiting);
    door->under_way++;
    timer_start(&l->deadline, s->loop, door->handshake_ms, on_late, l);
    return true;
}

bool tls_connect(struct stream *s, struct tls_context *c, struct str host, int64_t handshake_ms)
{
    struct layer *l = put_under(s, c, host);
    if (l == NULL)
        return false;
    l->client = true;
    l->handshake_ms = handshake_ms;
    return true;
}

const char *tls_fault(const struct stream *s)
{
    return s->filter == NULL ? NULL : layer_of(s)->why;
}

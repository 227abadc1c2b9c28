#include "server/feed_private.h"

#include "lib/stream.h"
#include "server/store/store.h"

struct close_row {
    enum feed_close code;
    const char *reason; /* of the close frame */
    enum code error;    /* of the error message */
    bool retry;         /* the client may come again as it is */
};

// clang-format off
static const struct close_row closes[] = {
    {FEED_END,             "end",             OK,                  false},
    {FEED_GOING,           "going_away",      OK,                  true},
    {FEED_PROTOCOL,        "protocol_error",  VAL_FAILED,          false},
    {FEED_NOT_UTF8,        "not_utf8",        VAL_FAILED,          false},
    {FEED_FAULT,           "fault",           SYS_INTERNAL,        true},
    {FEED_RESTART,         "restart",         SYS_DRAINING,        true},
    {FEED_LATER,           "try_later",       SYS_STORAGE,         true},
    {FEED_BAD_MESSAGE,     "bad_message",     VAL_FAILED,          false},
    {FEED_UNAUTHENTICATED, "unauthenticated", AUTH_TOKEN_INVALID,  false},
    {FEED_FORBIDDEN,       "forbidden",       PERM_DENIED,         false},
    {FEED_UNKNOWN,         "not_found",       RES_NOT_FOUND,       false},
    {FEED_AUTH_TIMEOUT,    "auth_timeout",    AUTH_TOKEN_MISSING,  false},
    {FEED_REPLACED,        "replaced",        RES_INVALID_STATE,   false},
    {FEED_TOO_LARGE,       "too_large",       RES_BODY_TOO_LARGE,  false},
    {FEED_SLOW,            "slow_consumer",   RATE_LIMIT_EXCEEDED, true},
};
// clang-format on

static const struct close_row *row_of(enum feed_close code)
{
    for (size_t i = 0; i < ARRAY_LEN(closes); i++)
        if (closes[i].code == code)
            return &closes[i];
    return NULL;
}

void say_begin(struct say *s, struct feed *f)
{
    *s = (struct say){.feed = f};
}

void say_open(struct say *s, const char *type)
{
    buf_clear(&s->text);
    json_out_init(&s->json, &s->text);
    json_open(&s->json, '{');
    json_key(&s->json, S("type"));
    json_put_z(&s->json, type);
}

static void put_message(const struct feed *f, struct buf *out, struct str message)
{
    event_encode_control(out, feed_encoding(f), feed_worker(f)->deflate, message);
}

void say_close(struct say *s)
{
    json_key(&s->json, S("timestamp"));
    json_put_time(&s->json, store_now_ms(feed_worker(s->feed)->store));
    json_close(&s->json, '}');
    if (s->text.failed)
        s->out.failed = true;
    put_message(s->feed, &s->out, buf_view(&s->text));
}

const char slow_reader[] = "the reader is too slow; resume behind the last event seen";

void feed_wrote(struct feed *f, size_t n)
{
    if (f->turn != feeds_of(f)->turn)
        f->fresh = 0;
    f->turn = feeds_of(f)->turn;
    f->fresh += (uint32_t)n;
}

/* What the socket did not take in earlier turns. */
static size_t stale(const struct feed *f)
{
    size_t queued = conn_queued(f->conn), fresh = f->turn == feeds_of(f)->turn ? f->fresh : 0;
    return queued > fresh ? queued - fresh : 0;
}

/* What may wait, of a connection's and of a stream's. */
static size_t queue_of(const struct feed *f)
{
    const struct settings *s = feed_worker(f)->settings;
    return (size_t)(s->stream_queue < s->send_queue ? s->stream_queue : s->send_queue);
}

/* Whether what the socket did not take in time leaves room for `n` more; one message may be larger than the queue. */
static bool keeps_up(const struct feed *f, size_t n, size_t queue)
{
    return stale(f) == 0 || stale(f) + n <= queue;
}

enum room feed_room_for(const struct feed *f, size_t n)
{
    size_t queue = queue_of(f), queued = conn_queued(f->conn);
    if (queued == 0)
        return ROOM_ENOUGH;
    if (f->follower.view != NULL && !f->follower.live)
        return stale(f) == 0 && queued + n <= queue ? ROOM_ENOUGH : ROOM_LATER;
    if (queued + n <= queue)
        return ROOM_ENOUGH;
    return keeps_up(f, n, queue) ? ROOM_LATER : ROOM_NONE;
}

/* False when nothing was queued. */
static bool put(struct feed *f, struct buf *out)
{
    if (out->failed)
        return false;
    feed_wrote(f, out->n);
    return conn_write(f->conn, buf_view(out));
}

void say_send(struct say *s)
{
    struct feed *f = s->feed;
    bool failed = s->out.failed;
    bool fits = f->stage == FEED_CLOSING || keeps_up(f, s->out.n, queue_of(f));
    bool sent = f->stage == FEED_CLOSING || (fits && put(f, &s->out));
    buf_free(&s->out);
    buf_free(&s->text);
    if (failed)
        feed_close(f, FEED_LATER, "out of memory");
    else if (!sent)
        feed_close(f, FEED_SLOW, slow_reader);
}

void feed_send(struct feed *f, struct str message)
{
    struct say s;
    say_begin(&s, f);
    put_message(f, &s.out, message);
    say_send(&s);
}

bool feed_send_shared(struct feed *f, const char *type, struct shared *ws, struct shared *sse)
{
    struct shared *bytes = f->sse ? sse : ws;
    if ((f->stage != FEED_BEHIND && f->stage != FEED_LIVE) || !event_lets(feed_filter(f), type))
        return true; /* one that reads its state anew is given the snapshot */
    if (feed_room_for(f, bytes->n) != ROOM_ENOUGH)
        return false;
    feed_wrote(f, bytes->n);
    if (!conn_write_shared(f->conn, bytes))
        conn_abort(f->conn);
    return true;
}

static void put_error(struct say *s, const struct close_row *row, enum code error, const char *why)
{
    if (why == NULL)
        return;
    say_open(s, "error");
    json_key(&s->json, S("code"));
    json_put_z(&s->json, code_name(error));
    json_key(&s->json, S("message"));
    json_put_z(&s->json, why);
    json_key(&s->json, S("retry"));
    json_put_bool(&s->json, row->retry);
    say_close(s);
}

void feed_close_with(struct feed *f, enum feed_close code, enum code error, const char *why)
{
    const struct close_row *row = row_of(code);
    struct say s;
    if (f->stage == FEED_CLOSING)
        return;
    say_begin(&s, f);
    put_error(&s, row, error, why);
    if (!f->sse)
        ws_write_close(&s.out, WS_SERVER, (int)code, str_z(row->reason));
    bool sent = !s.out.failed && conn_write_last(f->conn, buf_view(&s.out));
    if (code == FEED_SLOW)
        metrics_add(&feed_worker(f)->metrics, METRIC_STREAMS_SLOW, 1);
    buf_free(&s.out);
    buf_free(&s.text);
    f->stage = FEED_CLOSING;
    hub_unfollow(&f->follower);
    list_remove(&f->want);
    ops_detach(&f->ops);
    feed_client_stop(f);
    if (!sent)
        conn_abort(f->conn);
    else if (f->sse)
        conn_end(f->conn);
    feed_due_in(f, FEED_LINGER_MS);
    feed_schedule(f);
}

void feed_close(struct feed *f, enum feed_close code, const char *why)
{
    feed_close_with(f, code, row_of(code)->error, why);
}

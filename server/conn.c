#include "server/conn_private.h"

#include "lib/clock.h"
#include "lib/must.h"

#include <string.h>

enum {
    WINDOW = 64 << 10,    /* bytes of a body taken before the steps want it */
    BEHIND = 256 << 10,   /* bytes of answers not taken by the client: no further request is begun */
    BODY_GRACE_MS = 5000, /* before the rate of a body counts */
    UNREAD_MS = 5000,     /* for reading what is dropped */
    LINGER_MS = 2000,     /* for the client to take the last answer */
    LAST_IDLE_MS = 1000,  /* an idle connection is kept for this while the server drains */
    SURPLUS_MS = 1000     /* for the head of the one request of a connection above a limit */
};

static void on_deadline(void *arg);

static const struct settings *settings_of(const struct conn *c)
{
    return conn_worker(c)->settings;
}

static struct loop *loop_of(const struct conn *c)
{
    return &conn_worker(c)->loop;
}

static bool closing(const struct conn *c)
{
    return stream_closing(&c->stream);
}

struct worker *conn_worker(const struct conn *c)
{
    return conn_all(c)->worker;
}
bool conn_surplus(const struct conn *c)
{
    return c->surplus;
}
bool conn_secure(const struct conn *c)
{
    return c->stream.filter != NULL;
}

struct str conn_address(const struct conn *c)
{
    return (struct str){c->peer->text, c->peer->n};
}

static void begin_request(struct conn *c)
{
    struct exchange *x = c->http->x;
    x->request = (struct request){
        .arena = x->request.arena, /* empty, and perhaps still warm */
        .worker = conn_worker(c),
        .conn = c,
        .address = conn_address(c),
    };
    x->started = true;
    metrics_set(conn_metrics(c), METRIC_REQUESTS_ASKED, ++conn_all(c)->asked);
}

/* --- answers --- */

/* Whether another request can follow this answer on the connection. */
static bool may_stay(const struct conn *c)
{
    const struct exchange *x = c->http->x;
    const struct http_head *h = &x->parser.head;
    if (c->last || x->broken || !x->headed || !h->keep_alive || conn_all(c)->closing)
        return false;
    if (x->whole)
        return true;
    if (h->expect_continue && !x->continued && x->parser.body_n == 0)
        return false; /* whether the body will come is the client's choice: nobody could tell it from a request */
    return h->length < 0 || (uint64_t)h->length - x->parser.body_n <= CONN_UNREAD_MAX;
}

static void write_head(struct conn *c, int status, struct str fields, size_t length)
{
    struct buf *b = &conn_all(c)->head;
    buf_clear(b);
    http_write_status(b, status);
    buf_str(b, fields);
    if (status != 204 && status != 304)
        http_write_number(b, S("Content-Length"), length);
    if (c->last)
        buf_str(b, S("Connection: close\r\n"));
    else if (c->http->x->parser.head.minor == 0) /* the head is there: the connection stays */
        buf_str(b, S("Connection: keep-alive\r\n"));
    http_write_end(b);
}

static void note_answer(struct conn *c, int status)
{
    struct exchange *x = c->http->x;
    must(x != NULL && x->started && !x->answered);
    x->answered = true;
    metrics_set(conn_metrics(c), METRIC_REQUESTS_ASKED, --conn_all(c)->asked);
    x->since_ms = loop_now_ms(loop_of(c));
    metrics_request(conn_metrics(c), status, (clock_mono_ns() - (uint64_t)x->request.started_ns) / 1000);
    if (!c->busy)
        loop_defer(loop_of(c), &c->http->task, conn_go_on, c);
}

static void cut(struct conn *c, enum metric why)
{
    metrics_add(conn_metrics(c), why, 1);
    stream_close(&c->stream);
}

static bool is_bodyless(const struct conn *c, int status)
{
    return status == 204 || status == 304 || (c->http->x->headed && str_eq(c->http->x->parser.head.method, S("HEAD")));
}

void conn_send(struct conn *c, int status, struct str fields, struct str body)
{
    note_answer(c, status);
    c->last = !may_stay(c);
    write_head(c, status, fields, body.n);
    bool bodyless = is_bodyless(c, status);
    struct buf *head = &conn_all(c)->head;
    if (head->failed || stream_write(&c->stream, buf_view(head)) != STREAM_OK ||
        (!bodyless && body.n > 0 && stream_write(&c->stream, body) != STREAM_OK)) {
        stream_close(&c->stream); /* no memory, or it is closing anyway */
        return;
    }
    metrics_add(conn_metrics(c), METRIC_BYTES_WRITTEN, head->n + (bodyless ? 0 : body.n));
}

bool conn_send_begin(struct conn *c, int status, struct str fields, uint64_t length, void (*on_room)(void *arg),
                     void *arg)
{
    struct exchange *x = c->http->x;
    note_answer(c, status);
    c->last = !may_stay(c);
    write_head(c, status, fields, length);
    struct buf *head = &conn_all(c)->head;
    if (head->failed || stream_write(&c->stream, buf_view(head)) != STREAM_OK) {
        stream_close(&c->stream);
        return false;
    }
    metrics_add(conn_metrics(c), METRIC_BYTES_WRITTEN, head->n);
    if (is_bodyless(c, status))
        return false;
    x->left = length;
    x->on_room = on_room;
    x->room_arg = arg;
    return length > 0;
}

/* Asks for the next piece as soon as few bytes wait for the client. */
static void ask_more(struct conn *c)
{
    struct exchange *x = c->http->x;
    if (x == NULL || !x->asking || x->left == 0 || closing(c))
        return;
    if (stream_queued(&c->stream) > 0) {
        stream_flush(&c->stream);
        if (stream_queued(&c->stream) > 0)
            return; /* on_drain comes */
    }
    x->asking = false;
    x->on_room(x->room_arg);
}

void conn_send_piece(struct conn *c, struct str bytes)
{
    struct exchange *x = c->http->x;
    must(x != NULL && bytes.n > 0 && bytes.n <= x->left);
    x->left -= bytes.n;
    x->asking = x->left > 0;
    metrics_add(conn_metrics(c), METRIC_BYTES_WRITTEN, bytes.n);
    if (stream_write(&c->stream, bytes) != STREAM_OK)
        stream_close(&c->stream);
    else if (!c->busy)
        loop_defer(loop_of(c), &c->http->task, conn_go_on, c);
}

void conn_send_abort(struct conn *c)
{
    stream_close(&c->stream);
}

static enum code code_of(int status)
{
    switch (status) {
    case 405:
        return RES_METHOD_NOT_ALLOWED;
    case 413:
        return RES_BODY_TOO_LARGE;
    case 414:
        return RES_URI_TOO_LONG;
    case 417:
        return RES_EXPECTATION_FAILED;
    case 431:
        return RES_HEADERS_TOO_LARGE;
    case 501:
        return SYS_NOT_IMPLEMENTED;
    case 503:
        return SYS_OVERLOADED;
    case 505:
        return SYS_HTTP_VERSION;
    default:
        return VAL_MALFORMED_HTTP;
    }
}

/* Answers what was found below the steps, and closes behind the answer. */
void conn_refuse(struct conn *c, enum code code, const char *why)
{
    struct exchange *x = c->http->x;
    c->last = x->broken = true;
    if (x->answered)
        return;
    if (!x->started)
        begin_request(c);
    request_fault(&x->request, code, why);
}

/* True: the body is known to be longer, and was refused. */
static bool refuse_longer(struct conn *c, uint64_t max)
{
    struct exchange *x = c->http->x;
    const struct http_head *h = &x->parser.head;
    if ((h->length <= 0 || (uint64_t)h->length <= max) && x->body.n <= max)
        return false;
    request_fault(&x->request, RES_BODY_TOO_LARGE, "the body is larger than the limit");
    return true;
}

static void want(struct conn *c, uint64_t max)
{
    struct exchange *x = c->http->x;
    x->wanted = true;
    x->parser.body_max = max;
    if (!x->whole && x->parser.head.expect_continue && x->parser.body_n == 0 && !x->continued) {
        x->continued = true;
        stream_write(&c->stream, S("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    if (!c->busy)
        loop_defer(loop_of(c), &c->http->task, conn_go_on, c);
}

bool conn_want_body(struct conn *c, uint64_t max)
{
    struct exchange *x = c->http->x;
    if (refuse_longer(c, max))
        return true;
    want(c, max);
    if (x->whole)
        request_body(&x->request, buf_view(&x->body));
    return x->answered;
}

static void feed_sink(struct conn *c, struct str bytes)
{
    struct exchange *x = c->http->x;
    if (bytes.n > 0 && !x->sink->on_bytes(x->sink_arg, bytes))
        x->held_ms = loop_now_ms(loop_of(c));
}

bool conn_stream_body(struct conn *c, uint64_t max, const struct conn_sink *sink, void *arg)
{
    struct exchange *x = c->http->x;
    struct buf first = x->body;
    if (refuse_longer(c, max))
        return true;
    x->since_ms = x->mark_ms = loop_now_ms(loop_of(c)); /* what came before was our time */
    x->mark_n = x->parser.body_n;
    x->sink = sink;
    x->sink_arg = arg;
    x->body = (struct buf){0};
    want(c, max);
    feed_sink(c, buf_view(&first));
    buf_free(&first);
    if (x->whole && !x->answered)
        x->sink->on_end(x->sink_arg);
    return x->answered;
}

void conn_body_room(struct conn *c)
{
    struct exchange *x = c->http->x;
    if (x == NULL || x->held_ms == 0)
        return;
    int64_t busy_ms = loop_now_ms(loop_of(c)) - x->held_ms;
    x->since_ms += busy_ms;
    x->mark_ms += busy_ms;
    x->held_ms = 0;
    if (!c->busy)
        loop_defer(loop_of(c), &c->http->task, conn_go_on, c);
}

void conn_upgrade(struct conn *c, int status, struct str fields, const struct conn_protocol *protocol, void *state)
{
    struct buf *b = &conn_all(c)->head;
    note_answer(c, status);
    c->protocol = protocol;
    c->state = state;
    conn_all(c)->upgraded++;
    metrics_set(conn_metrics(c), METRIC_CONNECTIONS_UPGRADED, conn_all(c)->upgraded);
    timer_stop(&c->http->timer);
    buf_clear(b);
    http_write_status(b, status);
    buf_str(b, fields);
    if (status != 101)
        buf_str(b, S("Connection: close\r\n"));
    http_write_end(b);
    if ((b->failed || stream_write(&c->stream, buf_view(b)) != STREAM_OK) && !closing(c))
        stream_close(&c->stream);
}

/* --- bytes in --- */

static void take_body(struct conn *c)
{
    struct exchange *x = c->http->x;
    if (x->answered) {
        x->unread += x->parser.data.n;
        if (x->unread > CONN_UNREAD_MAX)
            c->last = x->broken = true;
        return;
    }
    if (x->sink != NULL) {
        feed_sink(c, x->parser.data);
        return;
    }
    buf_str(&x->body, x->parser.data);
    if (x->body.failed)
        conn_refuse(c, SYS_OVERLOADED, "no memory for the body");
}

static void take_end(struct conn *c)
{
    struct exchange *x = c->http->x;
    x->whole = true;
    x->since_ms = loop_now_ms(loop_of(c));
    if (x->wanted && !x->answered && x->sink != NULL)
        x->sink->on_end(x->sink_arg);
    else if (x->wanted && !x->answered)
        request_body(&x->request, buf_view(&x->body));
}

static void take_head(struct conn *c, struct str *in)
{
    struct exchange *x = c->http->x;
    x->headed = true;
    x->since_ms = loop_now_ms(loop_of(c));
    x->parser.body_max = INT64_MAX; /* until the steps say; WINDOW holds meanwhile */
    if (!x->parser.head.has_body && http_feed(&x->parser, in) == HTTP_END)
        x->whole = true;
    begin_request(c);
    x->request.head = &x->parser.head;
    request_start(&x->request);
}

static void take(struct conn *c, enum http_event e, struct str *in)
{
    switch (e) {
    case HTTP_GOT_HEAD:
        take_head(c, in);
        break;
    case HTTP_GOT_BODY:
        take_body(c);
        break;
    case HTTP_END:
        take_end(c);
        break;
    case HTTP_FAULT:
        metrics_add(conn_metrics(c), METRIC_REQUESTS_MALFORMED, 1);
        conn_refuse(c, code_of(c->http->x->parser.status), c->http->x->parser.why);
        break;
    case HTTP_MORE:
        break;
    }
}

/* The answer is out, and nothing of its request is left to read. */
static void end_exchange(struct conn *c)
{
    struct exchange *x = c->http->x;
    c->http->x = NULL;
    exchange_give_back(conn_all(c), x);
    if (c->protocol == NULL && c->last)
        stream_finish(&c->stream, LINGER_MS);
}

static bool may_read(const struct exchange *x)
{
    return !x->whole && !x->broken && (x->answered || (x->wanted ? x->held_ms == 0 : x->body.n < WINDOW));
}

static bool is_behind(struct conn *c)
{
    if (stream_queued(&c->stream) <= BEHIND)
        return false;
    stream_flush(&c->stream);
    return stream_queued(&c->stream) > BEHIND;
}

/* Goes as far as the bytes and the requests let it; what is left in `in` waits. */
static void advance(struct conn *c, struct str *in)
{
    int64_t served = 0;
    c->busy = true;
    c->yielded = c->behind = false;
    while (!closing(c)) {
        struct exchange *x = c->http->x;
        if (x != NULL && x->answered && x->left == 0 && (x->whole || c->last || c->protocol != NULL)) {
            end_exchange(c);
            served++;
            continue;
        }
        if (c->protocol != NULL)
            break;
        if (x == NULL) {
            if (in->n == 0)
                break;
            c->behind = is_behind(c);
            c->yielded = served >= settings_of(c)->pipeline_max;
            if (c->behind || c->yielded)
                break;
            x = c->http->x = exchange_take(conn_all(c));
            if (x == NULL) {
                stream_close(&c->stream);
                break;
            }
        }
        if (!may_read(x))
            break;
        enum http_event e = http_feed(&x->parser, in);
        if (e == HTTP_MORE)
            break;
        take(c, e, in);
    }
    c->busy = false;
}

/* A stretch of the body has five seconds and what the least rate gives it; the next stretch begins when as much as five
 * seconds ask for has come, so that nobody saves up time to idle in. */
static int64_t sink_deadline(const struct conn *c)
{
    const struct settings *s = settings_of(c);
    struct exchange *x = c->http->x;
    uint64_t n = x->parser.body_n - x->mark_n, rate = (uint64_t)s->body_rate_min;
    if (n * 1000 >= rate * BODY_GRACE_MS) {
        x->mark_ms = loop_now_ms(loop_of(c));
        x->mark_n = x->parser.body_n;
        n = 0;
    }
    int64_t by_rate = x->mark_ms + BODY_GRACE_MS + (int64_t)(n * 1000 / rate);
    int64_t last = x->since_ms + s->artifact_timeout;
    return by_rate < last ? by_rate : last;
}

/* When the present wait is over, in loop time. */
static int64_t deadline(const struct conn *c)
{
    const struct settings *s = settings_of(c);
    const struct exchange *x = c->http->x;
    if (c->surplus && (x == NULL || !x->headed))
        return (x == NULL ? loop_now_ms(loop_of(c)) : x->since_ms) + SURPLUS_MS;
    if (x == NULL)
        return loop_now_ms(loop_of(c)) + (conn_all(c)->closing ? LAST_IDLE_MS : s->idle_timeout);
    if (!x->headed)
        return x->since_ms + s->head_timeout;
    if (x->left > 0)
        return x->since_ms + s->artifact_timeout;
    if (x->answered)
        return x->since_ms + UNREAD_MS;
    if (x->whole || !may_read(x))
        return (x->held_ms != 0 ? x->held_ms : x->since_ms) + s->request_timeout;
    if (x->sink != NULL)
        return sink_deadline(c);
    int64_t by_rate = BODY_GRACE_MS + (int64_t)(x->parser.body_n * 1000 / (uint64_t)s->body_rate_min);
    return x->since_ms + (by_rate < s->body_timeout ? by_rate : s->body_timeout);
}

/* After every advance: what is to happen next? */
void conn_settle(struct conn *c)
{
    if (closing(c) || c->protocol != NULL)
        return;
    bool waiting = c->http->pending.n > c->http->at;
    if (c->http->pending.failed) {
        stream_close(&c->stream);
        return;
    }
    if (c->eof && !waiting && (c->http->x == NULL || may_read(c->http->x))) {
        stream_finish(&c->stream, 0); /* no more requests, or the end came inside one */
        return;
    }
    if (c->yielded)
        loop_defer(loop_of(c), &c->http->task, conn_go_on, c);
    if (waiting != c->paused) {
        c->paused = waiting;
        if (waiting)
            stream_pause(&c->stream);
        else
            stream_resume(&c->stream);
    }
    timer_start(&c->http->timer, loop_of(c), deadline(c) - loop_now_ms(loop_of(c)), on_deadline, c);
}

/* Bytes that came behind a request which upgraded belong to the protocol, and so does pausing from here on. */
static void hand_rest(struct conn *c)
{
    struct buf rest = c->http->pending;
    size_t at = c->http->at;
    c->http->pending = (struct buf){0};
    c->http->at = 0;
    if (c->paused)
        stream_resume(&c->stream);
    c->paused = false;
    if (rest.n > at)
        c->protocol->on_read(c->state, str_slice(buf_view(&rest), at, rest.n));
    if (rest.failed || c->eof)
        stream_close(&c->stream);
    buf_free(&rest);
}

/* What only requests need goes once the one that upgraded has ended. */
static void leave_http(struct conn *c)
{
    if (c->protocol != NULL && c->http->x == NULL)
        conn_http_end(c);
}

void conn_go_on(void *arg)
{
    struct conn *c = arg;
    struct str in = str_slice(buf_view(&c->http->pending), c->http->at, c->http->pending.n);
    advance(c, &in);
    c->http->at = c->http->pending.n - in.n;
    if (c->http->at == c->http->pending.n) {
        buf_free(&c->http->pending);
        c->http->at = 0;
    }
    if (c->protocol != NULL && !closing(c))
        hand_rest(c);
    ask_more(c);
    conn_settle(c);
    leave_http(c);
}

static void on_read(struct stream *s, struct str bytes)
{
    struct conn *c = conn_of(s);
    metrics_add(conn_metrics(c), METRIC_BYTES_READ, bytes.n);
    if (c->protocol != NULL) {
        c->protocol->on_read(c->state, bytes);
        return;
    }
    if (c->http->pending.n == c->http->at)
        advance(c, &bytes);
    buf_str(&c->http->pending, bytes);
    if (c->protocol != NULL && !closing(c))
        hand_rest(c);
    conn_settle(c);
    leave_http(c);
}

static void on_eof(struct stream *s)
{
    struct conn *c = conn_of(s);
    c->eof = true;
    if (c->protocol != NULL)
        stream_close(s);
    else
        conn_settle(c);
}

static void on_drain(struct stream *s)
{
    struct conn *c = conn_of(s);
    if (c->protocol == NULL)
        conn_go_on(c);
    else if (c->protocol->on_drain != NULL)
        c->protocol->on_drain(c->state);
}

/* --- time --- */

static void on_deadline(void *arg)
{
    struct conn *c = arg;
    struct exchange *x = c->http->x;
    c->busy = true;
    if (x == NULL) {
        metrics_add(conn_metrics(c), METRIC_CUT_IDLE, 1);
        stream_finish(&c->stream, 0);
    } else if (x->answered) {
        cut(c, x->left > 0 ? METRIC_CUT_WRITE : METRIC_CUT_BODY);
    } else if (!x->headed) {
        metrics_add(conn_metrics(c), METRIC_CUT_HEAD, 1);
        conn_refuse(c, RES_REQUEST_TIMEOUT, "the head of the request did not arrive in time");
    } else if (may_read(x)) {
        metrics_add(conn_metrics(c), METRIC_CUT_BODY, 1);
        conn_refuse(c, RES_REQUEST_TIMEOUT, "the body did not arrive in time");
    } else {
        request_fault(&x->request, SYS_TIMEOUT, "the operation did not end in time");
    }
    c->busy = false;
    if (c->http->x != NULL && !c->http->x->answered)
        stream_close(&c->stream);
    conn_go_on(c);
}

static void on_close(struct stream *s, enum stream_end why)
{
    conn_closed(conn_of(s), why);
}

const struct stream_events conn_events = {
    .on_read = on_read, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close};

/* --- for the protocol --- */

/* Answers to requests are not bounded here: no request is begun while much waits, so it is one answer at most. What a
 * protocol sends is. */
static bool has_room(struct conn *c, size_t n)
{
    size_t most = (size_t)settings_of(c)->send_queue, queued = stream_queued(&c->stream);
    if (queued == 0 || queued + n <= most)
        return true;
    stream_flush(&c->stream);
    queued = stream_queued(&c->stream);
    return queued == 0 || queued + n <= most;
}

static bool refuse_write(struct conn *c)
{
    if (!closing(c))
        metrics_add(conn_metrics(c), METRIC_CUT_QUEUE, 1);
    return false;
}

bool conn_write_last(struct conn *c, struct str bytes)
{
    if (stream_write(&c->stream, bytes) != STREAM_OK)
        return refuse_write(c);
    metrics_add(conn_metrics(c), METRIC_BYTES_WRITTEN, bytes.n);
    return true;
}

bool conn_write(struct conn *c, struct str bytes)
{
    return has_room(c, bytes.n) ? conn_write_last(c, bytes) : refuse_write(c);
}

bool conn_write_shared(struct conn *c, struct shared *bytes)
{
    if (!has_room(c, bytes->n) || stream_write_shared(&c->stream, bytes) != STREAM_OK)
        return refuse_write(c);
    metrics_add(conn_metrics(c), METRIC_BYTES_WRITTEN, bytes->n);
    return true;
}

size_t conn_queued(const struct conn *c)
{
    return stream_queued(&c->stream);
}
void conn_flush(struct conn *c)
{
    stream_flush(&c->stream);
}
void conn_pause(struct conn *c)
{
    stream_pause(&c->stream);
}
void conn_resume(struct conn *c)
{
    stream_resume(&c->stream);
}
void conn_end(struct conn *c)
{
    stream_finish(&c->stream, LINGER_MS);
}
void conn_abort(struct conn *c)
{
    stream_close(&c->stream);
}

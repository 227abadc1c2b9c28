#include "proto/redis.h"
#include "proto/tls.h"
#include <hiredis/read.h>
#include <stdlib.h>
#include <string.h>
#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/id.h"
#include "lib/must.h"
#include "lib/stream.h"
#include "lib/timer.h"

enum {
    READER_KEPT = 64 * 1024,    /* of the reader's buffer between replies */
    READER_SLACK = 1024 * 1024, /* what may be behind a reply in the reader's buffer */
    BACKOFF_FIRST_MS = 20,
    DOWN_MS = 1 /* between a passed deadline and dropping: replies that already arrived are read first */
};

enum call_kind { CALL_USER, CALL_GREETING, CALL_GREETING_OPTIONAL, CALL_READY, CALL_OWN };

struct call {
    struct op op;
    struct call *next;
    redis_then *then;
    void *arg;
    int64_t due;
    enum call_kind kind;
};

enum link_state { DOWN, CONNECTING, GREETING, READY, CLOSING };

struct redis {
    struct loop *loop;
    struct redis_target target;
    struct redis_limits limits;
    struct redis_events events;
    void *arg;

    enum link_state state;
    struct stream stream;
    struct tls_context *trust; /* of a target with TLS, once it was read */
    bool streaming;            /* the stream's on_close is to come */
    redisReader *reader;
    size_t fed; /* bytes in its buffer at most, read or not */
    struct arena values;

    struct call *first, **end, *free;
    const struct call *overdue; /* the deadline of this one passed; one more turn to read its reply */
    struct timer deadline, retry, ping;
    int64_t backoff_ms, heard_ms;
    struct loop_task task;

    enum redis_error why; /* of the end that is under way */
    char what[160];
    void (*closed)(void *arg);
    void *closed_arg;

    struct redis_figures figures;
    const struct call *sample; /* one call in flight is timed */
    uint64_t sample_ns;
};

static void connect_now(void *arg);

/* --- values --- */

static struct redis_value *value_new(const redisReadTask *task, enum redis_type type)
{
    struct redis *r = task->privdata;
    struct redis_value *v = arena_new(&r->values, struct redis_value);

    if (!v)
        return NULL;
    v->type = type;
    if (task->parent) {
        const struct redis_value *parent = task->parent->obj;

        ((const struct redis_value **)(uintptr_t)parent->items)[task->idx] = v;
    }
    return v;
}

static void *make_string(const redisReadTask *task, char *p, size_t n)
{
    enum redis_type type = task->type == REDIS_REPLY_ERROR    ? REDIS_ERROR
                           : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS
                                                              : REDIS_STRING;
    struct redis_value *v = value_new(task, type);

    if (!v)
        return NULL;
    v->text = arena_str(&((struct redis *)task->privdata)->values, (struct str){p, n});
    return v->text.p ? v : NULL;
}

static void *make_array(const redisReadTask *task, int count)
{
    struct redis *r = task->privdata;
    struct redis_value *v;

    if (count < 0 || (size_t)count > r->limits.elements)
        return NULL;
    v = value_new(task, REDIS_ARRAY);
    if (!v)
        return NULL;
    v->count = (size_t)count;
    v->items = arena_array(&r->values, v->count ? v->count : 1, sizeof *v->items);
    return v->items ? v : NULL;
}

static void *make_integer(const redisReadTask *task, long long n)
{
    struct redis_value *v = value_new(task, REDIS_INTEGER);

    if (v)
        v->integer = n;
    return v;
}

static void *make_nil(const redisReadTask *task)
{
    return value_new(task, REDIS_NIL);
}
static void free_nothing(void *value)
{
    (void)value;
} /* the arena's */

/* Not const: that is how hiredis wants it. */
static redisReplyObjectFunctions makers = {make_string, make_array, make_integer, make_nil, free_nothing};

/* --- the link --- */

/* Ends the connection; what waits is told when it has closed. */
static void drop(struct redis *r, enum redis_error why, struct str what)
{
    if (!r->streaming || stream_closing(&r->stream))
        return;
    r->why = why;
    snprintf(r->what, sizeof r->what, STR_FMT, STR_ARG(what));
    if (r->state != CLOSING)
        r->state = DOWN;
    stream_close(&r->stream);
}

void redis_drop(struct redis *r, const char *why)
{
    drop(r, REDIS_LOST, str_z(why));
}

static void on_deadline(void *arg)
{
    struct redis *r = arg;

    if (!r->first)
        return;
    if (r->overdue == r->first) {
        r->figures.timeouts++;
        drop(r, REDIS_TIMEOUT, S("no reply within the deadline"));
    } else {
        r->overdue = r->first;
        timer_start(&r->deadline, r->loop, DOWN_MS, on_deadline, r);
    }
}

static void watch_first(struct redis *r)
{
    r->overdue = NULL;
    if (r->first)
        timer_start(&r->deadline, r->loop, r->first->due - loop_now_ms(r->loop), on_deadline, r);
    else
        timer_stop(&r->deadline);
}

static size_t digits(size_t n)
{
    size_t d = 1;

    while (n >= 10) {
        n /= 10;
        d++;
    }
    return d;
}

static size_t encoded(size_t argc, const struct str *argv)
{
    size_t n = 1 + digits(argc) + 2;

    for (size_t i = 0; i < argc; i++) {
        if (argv[i].n > SIZE_MAX / 4 - n)
            return SIZE_MAX;
        n += 1 + digits(argv[i].n) + 2 + argv[i].n + 2;
    }
    return n;
}

static char *put_head(char *p, char sign, size_t n)
{
    size_t d = digits(n);

    *p++ = sign;
    for (size_t i = d; i-- > 0; n /= 10)
        p[i] = (char)('0' + n % 10);
    p += d;
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

static void encode(char *p, size_t argc, const struct str *argv)
{
    p = put_head(p, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        p = put_head(p, '$', argv[i].n);
        if (argv[i].n)
            memcpy(p, argv[i].p, argv[i].n);
        p += argv[i].n;
        *p++ = '\r';
        *p++ = '\n';
    }
}

static struct call *call_new(struct redis *r)
{
    struct call *c = r->free;

    if (c)
        r->free = c->next;
    else
        c = malloc(sizeof *c);
    return c;
}

static void call_free(struct redis *r, struct call *c)
{
    if (r->sample == c)
        r->sample = NULL;
    c->next = r->free;
    r->free = c;
}

static enum redis_error send_command(struct redis *r, enum call_kind kind, size_t argc, const struct str *argv,
                                     struct ops *asker, redis_then *then, void *arg)
{
    size_t n = encoded(argc, argv);
    struct call *c;
    char *p;

    if (n > r->limits.command || r->figures.pending >= r->limits.pending)
        return REDIS_FULL;
    c = call_new(r);
    if (!c)
        return REDIS_MEMORY;
    p = stream_reserve(&r->stream, n);
    if (!p) {
        call_free(r, c);
        return stream_closing(&r->stream) ? REDIS_DOWN : REDIS_FULL;
    }
    encode(p, argc, argv);
    c->next = NULL;
    c->then = then;
    c->arg = arg;
    c->kind = kind;
    c->due = loop_now_ms(r->loop) + r->limits.call_ms;
    op_begin(&c->op, asker);
    *r->end = c;
    r->end = &c->next;
    r->figures.pending++;
    r->figures.calls++;
    if (r->first == c)
        watch_first(r);
    if (!r->sample) {
        r->sample = c;
        r->sample_ns = clock_mono_ns();
    }
    return REDIS_OK;
}

static bool send_own(struct redis *r, enum call_kind kind, size_t argc, const struct str *argv)
{
    return send_command(r, kind, argc, argv, NULL, NULL, NULL) == REDIS_OK;
}

static struct call *take_first(struct redis *r)
{
    struct call *c = r->first;

    r->first = c->next;
    if (!r->first)
        r->end = &r->first;
    r->figures.pending--;
    return c;
}

static void finish_call(struct redis *r, struct call *c, enum redis_error e, const struct redis_value *v)
{
    redis_then *then = c->then;
    void *arg = c->arg;
    bool wanted = c->kind == CALL_USER && op_finish(&c->op) && then;

    call_free(r, c);
    if (wanted)
        then(arg, e, v);
}

static void on_ping(void *arg)
{
    struct redis *r = arg;
    const struct str ping = S("PING");

    if (!r->first && loop_now_ms(r->loop) - r->heard_ms >= r->limits.ping_ms)
        send_own(r, CALL_OWN, 1, &ping); /* or at the next turn of the timer */
    timer_start(&r->ping, r->loop, r->limits.ping_ms, on_ping, r);
}

static void ready(struct redis *r)
{
    r->state = READY;
    r->backoff_ms = 0;
    timer_start(&r->ping, r->loop, r->limits.ping_ms, on_ping, r);
    if (r->events.on_ready)
        r->events.on_ready(r->arg);
}

static void on_greeted(struct redis *r, enum call_kind kind, enum redis_error e, const struct redis_value *v)
{
    if (kind == CALL_GREETING_OPTIONAL)
        return;
    if (e != REDIS_OK && (kind == CALL_GREETING || (e != REDIS_MISCONF && e != REDIS_READONLY)))
        drop(r, e, v->text);
    else if (kind == CALL_READY)
        ready(r);
}

static void on_reply(struct redis *r, const struct redis_value *v)
{
    enum redis_error e = v->type == REDIS_ERROR ? redis_error_of(v->text) : REDIS_OK;
    struct call *c;

    if (!r->first) {
        drop(r, REDIS_PROTOCOL, S("a reply nobody asked for"));
        return;
    }
    c = take_first(r);
    watch_first(r);
    r->figures.replies++;
    r->figures.errors += e != REDIS_OK;
    if (r->sample == c) {
        double us = (double)(clock_mono_ns() - r->sample_ns) / 1000;

        r->figures.latency_us += (us - r->figures.latency_us) / (r->figures.latency_us > 0 ? 16 : 1);
    }
    if (c->kind == CALL_USER) {
        finish_call(r, c, e, v);
    } else {
        enum call_kind kind = c->kind;

        finish_call(r, c, e, v);
        on_greeted(r, kind, e, v);
    }
}

/* A subscriber's connection: pushed messages between the replies. */
static void on_pushed(struct redis *r, const struct redis_value *v)
{
    struct str what = redis_text(redis_at(v, 0));

    if (str_eq(what, S("message"))) {
        r->events.on_message(r->arg, redis_text(redis_at(v, 1)), redis_text(redis_at(v, 2)));
        return;
    }
    if (r->first) {
        struct call *c = take_first(r);

        watch_first(r);
        call_free(r, c);
    }
    if (str_eq(what, S("subscribe")) && r->events.on_subscribed)
        r->events.on_subscribed(r->arg, redis_text(redis_at(v, 1)));
}

/* maxbuf 0: it would make a large buffer small with an assertion that memory never runs out. */
static redisReader *reader_new(struct redis *r)
{
    redisReader *reader = redisReaderCreateWithFunctions(&makers);

    if (reader) {
        reader->privdata = r;
        reader->maxbuf = 0;
    }
    return reader;
}

/* Between replies: a reader whose buffer a long reply has filled makes room for a fresh one. Its buffer may be empty
 * between two elements of an array as well; `ridx` tells, which is -1 when no reply is under way. */
static void renew_reader(struct redis *r)
{
    redisReader *fresh;

    if (r->reader->len > 0 || r->reader->ridx >= 0)
        return;
    if (r->fed > READER_KEPT && (fresh = reader_new(r)) != NULL) {
        redisReaderFree(r->reader);
        r->reader = fresh;
        r->fed = 0;
    }
}

static void on_read(struct stream *s, struct str bytes)
{
    struct redis *r = list_entry(s, struct redis, stream);

    r->heard_ms = loop_now_ms(r->loop);
    renew_reader(r);
    r->fed = r->reader->len + bytes.n > r->fed ? r->reader->len + bytes.n : r->fed;
    if (redisReaderFeed(r->reader, bytes.p, bytes.n) != REDIS_OK) {
        drop(r, REDIS_LOST, S("no memory for a reply"));
        return;
    }
    while (!stream_closing(s)) {
        void *reply = NULL;

        if (redisReaderGetReply(r->reader, &reply) != REDIS_OK) {
            drop(r, REDIS_PROTOCOL, str_z(r->reader->errstr));
        } else if (!reply) {
            if (r->reader->len - r->reader->pos > r->limits.reply + READER_SLACK)
                drop(r, REDIS_PROTOCOL, S("a reply larger than the limit"));
            return;
        } else {
            const struct redis_value *v = reply;

            if (r->events.on_message && r->state == READY && v->type == REDIS_ARRAY)
                on_pushed(r, v);
            else
                on_reply(r, v);
            arena_reset(&r->values);
        }
    }
}

static bool send_greeting(struct redis *r)
{
    const struct redis_target *t = &r->target;
    const struct str user = str_z(t->user), password = str_z(t->password);
    const struct str named[] = {S("AUTH"), user, password}, unnamed[] = {S("AUTH"), password};
    const struct str name[] = {S("CLIENT"), S("SETNAME"), S("slipway")}, ping = S("PING");
    char db[16];

    snprintf(db, sizeof db, "%u", t->db);
    if (password.n && !(user.n ? send_own(r, CALL_GREETING, 3, named) : send_own(r, CALL_GREETING, 2, unnamed)))
        return false;
    if (t->db && !send_own(r, CALL_GREETING, 2, (struct str[]){S("SELECT"), str_z(db)}))
        return false;
    return send_own(r, CALL_GREETING_OPTIONAL, 3, name) && send_own(r, CALL_READY, 1, &ping);
}

static void greet(struct redis *r)
{
    r->state = GREETING;
    if (!send_greeting(r))
        drop(r, REDIS_MEMORY, S("no memory for the greeting"));
}

static void on_open(struct stream *s)
{
    greet(list_entry(s, struct redis, stream));
}

static void on_end(void *arg)
{
    struct redis *r = arg;
    void (*closed)(void *) = r->closed;
    void *closed_arg = r->closed_arg;

    while (r->free) {
        struct call *c = r->free;

        r->free = c->next;
        free(c);
    }
    if (r->reader)
        redisReaderFree(r->reader);
    arena_fini(&r->values);
    tls_context_drop(r->trust);
    explicit_bzero(&r->target, sizeof r->target);
    free(r);
    if (closed)
        closed(closed_arg);
}

static void retry_later(struct redis *r)
{
    int64_t ms = r->backoff_ms;

    r->backoff_ms = ms ? ms * 2 : BACKOFF_FIRST_MS;
    if (r->backoff_ms > r->limits.backoff_ms)
        r->backoff_ms = r->limits.backoff_ms;
    ms = r->backoff_ms * 3 / 4 + (int64_t)random_below((uint32_t)r->backoff_ms / 2 + 1);
    timer_start(&r->retry, r->loop, ms, connect_now, r);
}

static void explain(struct redis *r, enum stream_end why)
{
    const char *fault = tls_fault(&r->stream);

    if (why == STREAM_DONE)
        return; /* drop() has said it */
    r->why = why == STREAM_TIMEOUT ? REDIS_TIMEOUT : REDIS_LOST;
    if (fault) {
        snprintf(r->what, sizeof r->what, "TLS: %s", fault);
        return;
    }
    switch (why) {
    case STREAM_EOF:
        snprintf(r->what, sizeof r->what, "Redis closed the connection");
        break;
    case STREAM_TIMEOUT:
        snprintf(r->what, sizeof r->what, "no connection within %lld ms", (long long)r->limits.connect_ms);
        break;
    case STREAM_STALLED:
        snprintf(r->what, sizeof r->what, "Redis reads no more");
        break;
    default:
        snprintf(r->what, sizeof r->what, "%s", r->stream.error ? uv_strerror(r->stream.error) : "out of memory");
    }
}

static void on_close(struct stream *s, enum stream_end end)
{
    struct redis *r = list_entry(s, struct redis, stream);
    struct call *lost = r->first;
    enum redis_error why;

    explain(r, end);
    why = r->why;
    r->streaming = false;
    r->figures.losses++;
    r->first = NULL;
    r->end = &r->first;
    r->figures.pending = 0;
    timer_stop(&r->deadline);
    timer_stop(&r->ping);
    redisReaderFree(r->reader);
    r->reader = NULL;
    arena_reset(&r->values);
    if (r->state != CLOSING) {
        r->state = DOWN;
        retry_later(r);
    }
    /* The first waited for the reply that did not come; whether the others were done is just as unknown. */
    for (bool first = true; lost; first = false) {
        struct call *c = lost;

        lost = c->next;
        finish_call(r, c, first ? why : REDIS_LOST, NULL);
    }
    if (r->state == CLOSING)
        loop_defer(r->loop, &r->task, on_end, r);
    else if (r->events.on_down)
        r->events.on_down(r->arg, why, r->what);
}

static const struct stream_events stream_events = {.on_open = on_open, .on_read = on_read, .on_close = on_close};

/* Whom to trust is read when it is first needed, and until it can be. */
static bool read_trust(struct redis *r)
{
    if (!r->target.tls || r->trust)
        return true;
    r->trust = tls_trust(r->target.ca, r->what);
    if (!r->trust && r->events.on_down)
        r->events.on_down(r->arg, REDIS_LOST, r->what);
    return r->trust;
}

static void connect_now(void *arg)
{
    struct redis *r = arg;
    struct stream_limits limits = {.queue = r->limits.queue, .send_ms = r->limits.call_ms};

    if (!read_trust(r)) {
        retry_later(r);
        return;
    }
    r->reader = reader_new(r);
    r->fed = 0;
    if (!r->reader) {
        retry_later(r);
        return;
    }
    if (stream_connect(&r->stream, r->loop, &r->target.address, r->limits.connect_ms, &stream_events, &limits)) {
        redisReaderFree(r->reader);
        r->reader = NULL;
        retry_later(r);
        return;
    }
    r->streaming = true;
    r->state = CONNECTING;
    r->why = REDIS_LOST;
    r->figures.connects++;
    if (r->target.tls && !tls_connect(&r->stream, r->trust, str_z(r->target.address.host), r->limits.connect_ms))
        drop(r, REDIS_MEMORY, S("no memory for TLS"));
}

static void set_defaults(struct redis_limits *l)
{
#define DEFAULT(member, value) l->member = l->member > 0 ? l->member : (value)
    DEFAULT(call_ms, 1500);
    DEFAULT(connect_ms, 1000);
    DEFAULT(ping_ms, 1000);
    DEFAULT(backoff_ms, 1000);
    DEFAULT(pending, 16384);
    DEFAULT(queue, 32 * 1024 * 1024);
    DEFAULT(command, 8 * 1024 * 1024);
    DEFAULT(reply, 64 * 1024 * 1024);
    DEFAULT(elements, 1024 * 1024);
#undef DEFAULT
}

struct redis *redis_open(struct loop *loop, const struct redis_target *target, const struct redis_limits *limits,
                         const struct redis_events *events, void *arg)
{
    struct redis *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->loop = loop;
    r->target = *target;
    if (limits)
        r->limits = *limits;
    set_defaults(&r->limits);
    r->events = *events;
    r->arg = arg;
    r->end = &r->first;
    /* Values take more room than their text: a small element costs about 100 bytes. */
    arena_init(&r->values, r->limits.reply + 128 * r->limits.elements);
    timer_start(&r->retry, loop, 0, connect_now, r);
    return r;
}

void redis_close(struct redis *r, void (*closed)(void *arg), void *arg)
{
    must(r->state != CLOSING);
    r->closed = closed;
    r->closed_arg = arg;
    timer_stop(&r->retry);
    if (r->streaming) {
        drop(r, REDIS_LOST, S("closed"));
        r->state = CLOSING;
    } else {
        r->state = CLOSING;
        loop_defer(r->loop, &r->task, on_end, r);
    }
}

enum redis_error redis_call(struct redis *r, struct ops *asker, size_t argc, const struct str *argv, redis_then *then,
                            void *arg)
{
    must(!r->events.on_message && argc > 0);
    if (r->state != READY)
        return REDIS_DOWN;
    return send_command(r, CALL_USER, argc, argv, asker, then, arg);
}

enum redis_error redis_subscribe(struct redis *r, struct str channel)
{
    struct str argv[] = {S("SUBSCRIBE"), channel};

    return r->state == READY ? send_command(r, CALL_OWN, 2, argv, NULL, NULL, NULL) : REDIS_DOWN;
}

enum redis_error redis_unsubscribe(struct redis *r, struct str channel)
{
    struct str argv[] = {S("UNSUBSCRIBE"), channel};

    return r->state == READY ? send_command(r, CALL_OWN, 2, argv, NULL, NULL, NULL) : REDIS_DOWN;
}

bool redis_ready(const struct redis *r)
{
    return r->state == READY;
}
void redis_figures(const struct redis *r, struct redis_figures *out)
{
    *out = r->figures;
}

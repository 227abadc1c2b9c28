/* Any bytes as what Redis says, to a client on a real socket and loop: replies to calls, or pushed messages to a
 * subscriber. What comes out must not depend on how the bytes were cut, every call is told exactly once, in order, and no
 * limit may be passed. The first byte chooses the kind of client and how many calls wait, the second the cuts. */
#include "proto/redis.c"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ELEMENTS = 8, CALLS = 8 };

struct play {
    struct buf out;
    size_t asked, told;
    bool down, closed;
};

struct waiting {
    struct play *play;
    size_t number;
};

static void note(struct buf *out, const struct redis_value *v, int depth)
{
    must(depth < 10);
    buf_printf(out, "(%d ", v->type);
    if (v->type == REDIS_ARRAY) {
        must(v->count <= ELEMENTS);
        for (size_t i = 0; i < v->count; i++)
            note(out, redis_at(v, i), depth + 1);
        must(redis_is_nil(redis_at(v, v->count)));
        redis_field(v, S("name"));
    } else if (v->type == REDIS_INTEGER) {
        must(redis_int(v, v->integer - 1) == v->integer);
        buf_i64(out, v->integer);
    } else if (v->type != REDIS_NIL) {
        must(v->text.p[v->text.n] == '\0');
        buf_str(out, v->text);
    }
    buf_char(out, ')');
}

static void told(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct waiting *w = arg;
    must(w->number == w->play->told++);
    must((v != NULL) == (e == REDIS_OK || e > REDIS_PROTOCOL));
    must(v == NULL || (v->type == REDIS_ERROR) == (e != REDIS_OK));
    buf_printf(&w->play->out, "%s", redis_error_name(e));
    if (v != NULL)
        note(&w->play->out, v, 0);
}

static void on_message(void *arg, struct str channel, struct str payload)
{
    struct play *p = arg;
    buf_str(&p->out, channel);
    buf_char(&p->out, '<');
    buf_str(&p->out, payload);
}

static void on_subscribed(void *arg, struct str channel)
{
    struct play *p = arg;
    buf_char(&p->out, '+');
    buf_str(&p->out, channel);
}

static void on_down(void *arg, enum redis_error e, const char *what)
{
    struct play *p = arg;
    must(!p->down && what[0] != '\0');
    p->down = true;
    buf_printf(&p->out, "down %d", e);
}

static void on_closed(void *arg)
{
    ((struct play *)arg)->closed = true;
}

/* A client whose connection is one end of a socket pair, greeted already. */
static struct redis *client_of(struct loop *loop, int fd, bool subscriber, struct play *p)
{
    static const struct redis_events caller = {.on_down = on_down};
    static const struct redis_events hearer = {
        .on_down = on_down, .on_message = on_message, .on_subscribed = on_subscribed};
    const struct redis_target target = {0};
    const struct redis_limits small = {.elements = ELEMENTS, .reply = 4096};
    struct redis *r = redis_open(loop, &target, &small, subscriber ? &hearer : &caller, p);
    must(r != NULL);
    timer_stop(&r->retry);
    r->reader = reader_new(r);
    must(r->reader != NULL && stream_open_fd(&r->stream, loop, fd, &stream_events, NULL) == 0);
    r->streaming = true;
    r->state = READY;
    return r;
}

static void hear(struct redis *r, const uint8_t *data, size_t size, uint32_t seed)
{
    for (size_t at = 0; at < size && !stream_closing(&r->stream);) {
        size_t n = size - at;
        if (seed != 0) {
            seed = seed * 1664525 + 1013904223;
            n = 1 + (seed >> 24) % 7;
            n = n < size - at ? n : size - at;
        }
        char *copy = malloc(n); /* its end is the end of the allocation */
        must(copy != NULL);
        memcpy(copy, data + at, n);
        on_read(&r->stream, (struct str){copy, n});
        free(copy);
        at += n;
    }
}

static void play(struct loop *loop, bool subscriber, size_t calls, struct str heard, uint32_t seed, struct play *p)
{
    struct waiting waiting[CALLS];
    struct ops asker;
    int pair[2];
    const struct str argv[] = {S("GET"), S("key")};
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    struct redis *r = client_of(loop, pair[0], subscriber, p);
    ops_init(&asker);
    for (size_t i = 0; i < calls; i++) {
        waiting[i] = (struct waiting){p, i};
        if (subscriber)
            must(redis_subscribe(r, argv[1]) == REDIS_OK);
        else
            must(redis_call(r, &asker, ARRAY_LEN(argv), argv, told, &waiting[i]) == REDIS_OK);
    }
    p->asked = subscriber ? 0 : calls;
    hear(r, (const uint8_t *)heard.p, heard.n, seed);
    redis_close(r, on_closed, p);
    while (!p->closed)
        loop_turn(loop, false);
    close(pair[1]);
    must(p->told == p->asked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop loop;
    static bool ready;
    if (size < 2)
        return 0;
    must(ready || loop_init(&loop) == 0);
    ready = true;
    struct play whole = {0}, parts = {0};
    struct str heard = {(const char *)data + 2, size - 2};
    play(&loop, data[0] & 1, (data[0] >> 1) % CALLS, heard, 0, &whole);
    play(&loop, data[0] & 1, (data[0] >> 1) % CALLS, heard, data[1] | 0x100, &parts);
    must(str_eq(buf_view(&whole.out), buf_view(&parts.out)));
    buf_free(&whole.out);
    buf_free(&parts.out);
    return 0;
}

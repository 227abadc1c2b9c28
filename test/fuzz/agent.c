/* What an agent says on its task stream, and what it is told: the input is one message a line. The server's reader runs on
 * a store and an engine that only look at what they are handed: each message is answered, once it is stored, or ends the
 * stream. The agent's reader gets the same as tasks, and what it takes is written and read as the same. The first byte
 * chooses which store calls are refused, which fail, and which are answered late. */
#include "lib/clock.h"
#include "lib/id.h"
#include "lib/log.h"
#include "lib/must.h"
#include "server/agent/protocol.h"
#include "server/engine/agents.h"
#include "server/engine/drain.h"
#include "server/engine/seal.h"
#include "server/feed.h"
#include "server/settings.h"
#include "server/store/append.h"
#include "server/worker.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LATE = 80, NOW_MS = 1800000000 }; /* more than the server lets be under way */

static struct {
    void *data; /* the feed's */
    struct ops ops;
    bool closed, paused;
    size_t sent, messages;
    unsigned dice;
    struct { /* calls that are to be told */
        drain_then *drained;
        append_then *appended;
        void (*read)(void *arg, enum code c, const struct redis_value *v);
        void *arg;
    } late[LATE];
    size_t n;
} world;

static const struct caller caller = {
    .type = CALLER_AGENT, .id = S("a"), .tenant = S("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), .partition = 7};

static unsigned roll(unsigned sides)
{
    world.dice = world.dice * 1664525 + 1013904223;
    return (world.dice >> 16) % sides;
}

/* --- the feed --- */

static void fake_send(struct str message)
{
    struct arena a;
    arena_init(&a, 0);
    const struct json *j = json_parse(&a, message, NULL, NULL);
    struct str type = json_str(json_get(j, "type"));
    must(j != NULL && !world.closed);
    if (str_eqz(type, "ack") || str_eqz(type, "nack")) {
        struct str ref = json_str(json_get(j, "ref"));
        must(ref.n > 0 && ref.n <= 200);
        world.sent++;
    } else {
        must(str_eqz(type, "task_cancel"));
    }
    arena_fini(&a);
}

static void fake_close(enum feed_close code, const char *why)
{
    must(!world.closed && why != NULL && (code == FEED_BAD_MESSAGE || code == FEED_LATER));
    world.closed = true;
}

/* --- the store and the engine --- */

static void keep(drain_then *drained, append_then *appended,
                 void (*read)(void *arg, enum code c, const struct redis_value *v), void *arg)
{
    must(world.n < LATE);
    world.late[world.n].drained = drained;
    world.late[world.n].appended = appended;
    world.late[world.n].read = read;
    world.late[world.n++].arg = arg;
}

static void tell_first(void)
{
    static const enum code codes[] = {OK, OK, OK, SYS_STORAGE, RES_NOT_FOUND};
    const struct appended stored = {.now_ms = NOW_MS, .next = 1 + roll(5), .gap = roll(4) == 0, .stray = roll(6) == 0};
    const struct redis_value held = {.type = REDIS_INTEGER, .integer = roll(2)};
    enum code c = codes[roll(ARRAY_LEN(codes))];
    void *arg = world.late[0].arg;
    drain_then *drained = world.late[0].drained;
    append_then *appended = world.late[0].appended;
    void (*read)(void *, enum code, const struct redis_value *) = world.late[0].read;
    memmove(world.late, world.late + 1, --world.n * sizeof *world.late);
    if (drained != NULL)
        drained(arg, c, NULL);
    else if (appended != NULL)
        appended(arg, c, c == OK ? &stored : NULL);
    else
        read(arg, c, c == OK ? &held : NULL);
}

static enum code fake_drain(const struct run_kind *kind, struct space space, struct str run, const struct run_event *e,
                            drain_then *then, void *arg)
{
    must(kind != NULL && run_kind_of_node(e->node) == kind && str_eq(space.tenant, caller.tenant));
    must(id_is_uuid(run, NULL) && e->attempt >= 1 && e->attempt <= 999 && e->node.n <= PROTOCOL_NODE);
    must(str_eq(e->agent, caller.id) && str_utf8(e->message) && e->message.n <= 2048 && e->error_type.n <= 2048);
    must(e->type != EVENT_TASK_PROGRESS || (e->progress >= 0 && e->progress <= 100));
    must(e->outputs == NULL || json_is(e->outputs, JSON_OBJECT));
    if (then == NULL)
        return OK;
    if (roll(8) == 0)
        return SYS_OVERLOADED;
    keep(then, NULL, NULL, arg);
    return OK;
}

static void check_line(const struct append *in, struct str rest)
{
    struct arena a;
    struct buf b = {0};
    arena_init(&a, 0);
    buf_printf(&b, "{\"logSeq\":1,");
    buf_str(&b, rest);
    const struct json *frame = json_parse(&a, buf_view(&b), NULL, NULL);
    must(json_str(json_get(frame, "line")).n <= PROTOCOL_LINE);
    must(json_str(json_get(frame, "line")).p != NULL && json_count(frame) == 8);
    must(json_int(json_get(frame, "attempt"), 0) == in->attempt);
    buf_free(&b);
    arena_fini(&a);
}

static enum code fake_append(const struct append *in, append_then *then, void *arg)
{
    must(in->first >= 1 && in->count <= APPEND_LINES && (in->count > 0 || in->last));
    for (size_t i = 0; i < in->count; i++)
        check_line(in, in->lines[i]);
    if (in->count > 0)
        check_line(in, in->marker);
    if (roll(8) == 0)
        return SYS_STORAGE;
    keep(NULL, then, NULL, arg);
    return OK;
}

static enum code fake_read(const struct store_command *command,
                           void (*then)(void *arg, enum code c, const struct redis_value *v), void *arg)
{
    must(command != NULL);
    if (roll(8) == 0)
        return SYS_STORAGE;
    keep(NULL, NULL, then, arg);
    return OK;
}

static void fake_beat(const struct beat *beat)
{
    must(beat->version.n <= 64);
    must(beat->running == NULL || json_is(beat->running, JSON_ARRAY));
    must(beat->capabilities == NULL || json_is(beat->capabilities, JSON_ARRAY));
    world.sent++; /* a heartbeat has no answer */
}

static struct feed *const the_feed = (struct feed *)&world;

// clang-format off
#define feed_data(f)         (world.data)
#define feed_set_data(f, d)  (world.data = (d))
#define feed_worker(f)       ((struct worker *)&no_worker)
#define feed_caller(f)       (&caller)
#define feed_ops(f)          (&world.ops)
#define feed_send(f, m)      fake_send(m)
#define feed_close(f, c, y)  fake_close(c, y)
#define feed_pause(f)        (must(!world.paused), world.paused = true)
#define feed_resume(f)       (must(world.paused), world.paused = false)
#define store_now_ms(s)      ((int64_t)NOW_MS * 1000)
#define store_read(s, c, n, o, t, a)              fake_read(c, t, a)
#define store_append(s, scratch, in, o, t, a)     fake_append(in, t, a)
#define drain_append(w, k, sp, r, id, e, o, t, a) fake_drain(k, sp, r, e, t, a)
#define agents_offer(w, s)                        ((void)(w))
#define agents_beat(w, s, id, b, o, t, a)         fake_beat(b)
// clang-format on
static struct worker no_worker;
#include "server/task_stream.c"

static void hear(struct arena *a, struct str line)
{
    const struct json *j = json_parse(a, line, NULL, NULL);
    struct str type = json_str(json_get(j, "type"));
    if (type.n == 0)
        return; /* the feed's to refuse */
    world.messages++;
    on_message(the_feed, type, j);
    while (world.n > 0 && !world.closed && (world.paused || roll(3) > 0))
        tell_first();
}

static void as_task(struct arena *a, struct str line)
{
    struct task task, again;
    struct task_place place;
    const char *fault = NULL;
    struct buf first = {0}, second = {0};
    struct json_out o;
    const struct json *j = json_parse(a, line, NULL, NULL);
    if (!task_read(j, &task, &fault)) {
        must(fault != NULL);
        return;
    }
    json_out_init(&o, &first);
    task_write(&o, &task);
    must(task_read(json_parse(a, buf_view(&first), NULL, NULL), &again, &fault));
    json_out_init(&o, &second);
    task_write(&o, &again);
    must(str_eq(buf_view(&first), buf_view(&second)) && task.id.n < PROTOCOL_ID);
    if (task_place(task.id, &place)) {
        buf_clear(&first);
        task_place_write(&first, &place);
        must(str_eq(buf_view(&first), task.id));
    }
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    if (size == 0)
        return 0;
    log_threshold = LOG_NONE;
    memset(&world, 0, sizeof world);
    ops_init(&world.ops);
    world.dice = data[0];
    for (struct str rest = {(const char *)data + 1, size - 1}; rest.n > 0 && !world.closed;) {
        struct str line = str_cut(&rest, '\n');
        arena_init(&a, 0);
        as_task(&a, line);
        hear(&a, line);
        arena_fini(&a); /* what waits must not need the message */
    }
    if (data[0] & 1)
        while (world.n > 0 && !world.closed)
            tell_first();
    must(world.closed || world.n > 0 || world.sent == world.messages);
    on_close(the_feed); /* and nobody is told any more */
    must(world.data == NULL);
    return 0;
}

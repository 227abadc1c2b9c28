#include "server/task_stream.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "server/agent/protocol.h"
#include "server/engine/agents.h"
#include "server/engine/drain.h"
#include "server/engine/seal.h"
#include "server/feed.h"
#include "server/settings.h"
#include "server/store/append.h"
#include "server/worker.h"

#include <stdlib.h>

enum {
    UNDER_WAY = 64, /* messages of one agent being stored; more wait in its socket */
    KNOWN = 256,    /* tasks remembered as open, so that not every message has to ask */
    VERSION = 64,
    REF = 200,  /* bytes of a message's id */
    TEXT = 2048 /* bytes of a message for people; longer ones are cut */
};

/* What is kept of a connected agent. */
struct station {
    struct feed *feed;
    struct list under_way; /* of struct said */
    size_t n;
    bool paused;
    struct buf greeting; /* ids of open tasks that are still to be said, each with its NUL */
    size_t greeted;      /* bytes of it that are dealt with */
    size_t known_count, known_next;
    uint64_t known[KNOWN]; /* hashes: 64 bits under a key that nobody knows; 0: none */
};

/* One message of the agent, until it is answered. */
struct said {
    struct list link;
    struct station *station;
    struct arena arena;
    struct str ref, task;
    struct task_place place; /* of `task` */
    const struct run_kind *kind;
    struct run_event event;
    struct append lines;
    bool is_open;
    void (*go)(struct said *m); /* once is_open is known */
};

static struct station *station_of(struct feed *f)
{
    struct station *s = feed_data(f);
    if (s != NULL)
        return s;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->feed = f;
    list_init(&s->under_way);
    feed_set_data(f, s);
    return s;
}

static struct worker *worker_of(const struct said *m)
{
    return feed_worker(m->station->feed);
}

static struct space space_of(const struct feed *f)
{
    const struct caller *c = feed_caller(f);
    return (struct space){c->partition, c->tenant};
}

static bool is_known(const struct station *s, struct str task)
{
    uint64_t hash = str_hash(task);
    for (size_t i = 0; i < s->known_count; i++)
        if (s->known[i] == hash)
            return true;
    return false;
}

static void know(struct station *s, struct str task)
{
    if (task.n == 0 || is_known(s, task))
        return;
    s->known[s->known_next++ % KNOWN] = str_hash(task);
    if (s->known_count < KNOWN)
        s->known_count++;
}

static void forget(struct station *s, struct str task)
{
    uint64_t hash = str_hash(task);
    for (size_t i = 0; i < s->known_count; i++)
        if (s->known[i] == hash)
            s->known[i] = 0;
}

/* --- answers --- */

static void message_begin(struct json_out *o, struct buf *b, const char *type)
{
    json_out_init(o, b);
    json_open(o, '{');
    json_key(o, S("type"));
    json_put_z(o, type);
}

static void message_send(struct feed *f, struct json_out *o)
{
    json_key(o, S("timestamp"));
    json_put_time(o, store_now_ms(feed_worker(f)->store));
    json_close(o, '}');
    if (!o->b->failed)
        feed_send(f, buf_view(o->b));
    else
        feed_close(f, FEED_LATER, "out of memory");
}

static void said_free(struct said *m)
{
    list_remove(&m->link);
    m->station->n--;
    arena_fini(&m->arena);
    free(m);
}

/* The message is dealt with; `next` is of a nack, 0: no line is missing. */
static void answer(struct said *m, bool stored, int64_t next)
{
    struct station *s = m->station;
    struct buf b = {0};
    struct json_out o;
    message_begin(&o, &b, stored ? "ack" : "nack");
    json_key(&o, S("ref"));
    json_put_str(&o, m->ref);
    if (!stored && next > 0) {
        json_key(&o, S("next"));
        json_put_int(&o, next);
    }
    said_free(m);
    if (s->paused && s->n < UNDER_WAY / 2) {
        s->paused = false;
        feed_resume(s->feed);
    }
    message_send(s->feed, &o);
    buf_free(&b);
}

static void answer_code(struct said *m, enum code c)
{
    if (c == RES_NOT_FOUND) { /* the run is gone, and nobody will ever ask again */
        struct buf b = {0};
        struct json_out o;
        message_begin(&o, &b, "task_cancel");
        json_key(&o, S("graceSeconds"));
        json_put_int(&o, PROTOCOL_GRACE_S);
        json_key(&o, S("reason"));
        json_put_z(&o, "the run is gone");
        json_key(&o, S("taskId"));
        json_put_str(&o, m->task);
        message_send(m->station->feed, &o);
        buf_free(&b);
    } else if (c != OK) {
        log_warn("agent.unstored", "code=%s task=" STR_FMT, code_name(c), STR_ARG(m->task));
    }
    answer(m, c == OK || c == RES_NOT_FOUND, 0);
}

/* --- what is said of a task --- */

static void applied(void *arg, enum code c, const struct drained *d)
{
    struct said *m = arg;
    (void)d;
    if (c == OK && m->event.type == EVENT_TASK_COMPLETED)
        agents_offer(worker_of(m), space_of(m->station->feed)); /* there is room again */
    answer_code(m, c);
}

static void go_event(struct said *m)
{
    struct feed *f = m->station->feed;
    enum code c =
        drain_append(worker_of(m), m->kind, space_of(f), m->place.run, STR_NONE, &m->event, feed_ops(f), applied, m);
    if (c != OK)
        answer_code(m, c);
}

static void go_lines(struct said *m);

/* A task may have been given to another agent since it was known to be this one's. */
static void appended(void *arg, enum code c, const struct appended *a)
{
    struct said *m = arg;
    if (c == OK && a->stray) {
        forget(m->station, m->task);
        m->is_open = false;
        go_lines(m);
    } else if (c == OK && a->gap)
        answer(m, false, a->next);
    else if (c == OK && m->event.type == EVENT_TASK_COMPLETED)
        go_event(m);
    else
        answer_code(m, c);
}

/* A task that is no open one of this agent: its run tells the agent to stop, or that it has it after all. */
static void tell_held(struct said *m)
{
    struct run_event e = {.type = EVENT_TASK_ACCEPTED,
                          .node = m->place.node,
                          .attempt = m->place.attempt,
                          .agent = feed_caller(m->station->feed)->id};
    drain_append(worker_of(m), m->kind, space_of(m->station->feed), m->place.run, STR_NONE, &e, NULL, NULL, NULL);
}

static void go_lines(struct said *m)
{
    bool completes = m->event.type == EVENT_TASK_COMPLETED;
    if (!m->is_open && completes) {
        go_event(m);
        return;
    }
    if (!m->is_open) {
        tell_held(m);
        answer(m, true, 0);
        return;
    }
    if (completes)
        forget(m->station, m->task);
    enum code c = store_append(worker_of(m)->store, &m->arena, &m->lines, feed_ops(m->station->feed), appended, m);
    if (c != OK)
        answer_code(m, c);
}

static void asked(void *arg, enum code c, const struct redis_value *v)
{
    struct said *m = arg;
    if (c != OK) {
        answer_code(m, c);
        return;
    }
    m->is_open = redis_int(v, 0) == 1;
    if (m->is_open)
        know(m->station, m->task);
    go_lines(m);
}

static void go_if_open(struct said *m)
{
    struct feed *f = m->station->feed;
    if (is_known(m->station, m->task)) {
        m->is_open = true;
        go_lines(m);
        return;
    }
    const struct store_command ask =
        STORE_COMMAND(S("HEXISTS"), key_tasks(&m->arena, space_of(f), feed_caller(f)->id), m->task);
    enum code c = store_read(worker_of(m)->store, &ask, 1, feed_ops(f), asked, m);
    if (c != OK)
        answer_code(m, c);
}

/* --- reading messages --- */

static struct str text_of(struct said *m, const struct json *j, const char *name)
{
    struct str text = str_slice(json_str(json_get(j, name)), 0, TEXT);
    return text.p != NULL ? arena_str(&m->arena, str_slice(text, 0, str_utf8_valid(text))) : STR_NONE;
}

static const char *read_progress(struct said *m, const struct json *j)
{
    m->event.progress = json_int(json_get(j, "progress"), -1);
    m->event.message = text_of(m, j, "message");
    return m->event.progress >= 0 && m->event.progress <= 100 ? NULL : "progress is no number from 0 to 100";
}

static const char *read_refusal(struct said *m, const struct json *j)
{
    m->event.reason = text_of(m, j, "reason");
    for (int i = 0; i < PROTOCOL_REFUSALS; i++)
        if (str_eqz(m->event.reason, protocol_refusals[i]))
            return NULL;
    return "reason is none that is known";
}

static const char *read_result(struct said *m, const struct json *j)
{
    const struct json *success = json_get(j, "success"), *outputs = json_get(j, "outputs");
    struct buf b;
    if (!json_is(success, JSON_BOOL))
        return "success is missing";
    if (outputs != NULL && !json_is(outputs, JSON_OBJECT))
        return "outputs is no object";
    buf_init_arena(&b, &m->arena, 256);
    json_write(&b, outputs);
    m->event.success = json_bool(success, false);
    m->event.retriable = json_bool(json_get(j, "retriable"), false);
    m->event.error_type = text_of(m, j, "errorType");
    m->event.message = text_of(m, j, "error");
    m->event.outputs = outputs != NULL && !b.failed ? json_parse(&m->arena, buf_view(&b), NULL, NULL) : NULL;
    int64_t lines = json_int(json_get(j, "lines"), 0);
    m->lines.first = lines >= 0 ? lines + 1 : 1;
    m->lines.last = true;
    return NULL;
}

static bool is_word(struct str text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (str_eqz(text, *words))
            return true;
    return false;
}

/* The part of the frame that follows its numbers; members as the run's stream and logs show them. */
static struct str frame_write(struct said *m, int64_t at, struct str level, struct str stream, struct str text)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &m->arena, 192 + text.n);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("at"));
    json_put_time(&o, at);
    json_key(&o, S("attempt"));
    json_put_int(&o, m->place.attempt);
    json_key(&o, S("level"));
    json_put_str(&o, level);
    json_key(&o, S("line"));
    json_put_str(&o, text);
    json_key(&o, str_z(m->kind->log_member));
    json_put_str(&o, m->place.node);
    json_key(&o, S("stream"));
    json_put_str(&o, stream);
    json_key(&o, S("type"));
    json_put_z(&o, m->kind->log_frame);
    json_close(&o, '}');
    return b.failed ? STR_NONE : str_slice(buf_view(&b), 1, b.n);
}

/* A sentence, or NULL and the frame. */
static const char *read_line(struct said *m, const struct json *line, struct str *rest)
{
    static const char *const streams[] = {"stdout", "stderr", "system", NULL};
    struct str level = json_str(json_get(line, "level")), stream = json_str(json_get(line, "stream"));
    struct str text = json_str(json_get(line, "line"));
    int64_t at;
    if (!is_word(level, feed_levels) || !is_word(stream, streams) || text.p == NULL || text.n > PROTOCOL_LINE ||
        !clock_parse(json_str(json_get(line, "timestamp")), &at))
        return "a line is not {timestamp, level, stream, line} of at most 16 KiB";
    *rest = frame_write(m, at, level, stream, text);
    return rest->p == NULL ? "there is no memory for it" : NULL;
}

static const char *read_lines(struct said *m, const struct json *j)
{
    const struct json *lines = json_get(j, "lines");
    size_t n = json_count(lines);
    m->lines.first = json_int(json_get(j, "seq"), 0);
    m->lines.skip = json_bool(json_get(j, "skip"), false);
    if (!json_is(lines, JSON_ARRAY) || n < 1 || n > APPEND_LINES || m->lines.first < 1)
        return "seq, or lines: 1 to 100 of them, are missing";
    struct str *rests = arena_array(&m->arena, n, sizeof *rests);
    for (size_t i = 0; rests != NULL && i < n; i++) {
        const char *why = read_line(m, json_at(lines, i), &rests[i]);
        if (why != NULL)
            return why;
    }
    m->lines.lines = rests;
    m->lines.count = n;
    m->lines.marker = frame_write(m, store_now_ms(worker_of(m)->store), S("warn"), S("system"),
                                  S("the log has reached its limit; what follows is not kept"));
    return rests != NULL ? NULL : "there is no memory for it";
}

static struct said *said_new(struct station *s, const struct json *j)
{
    struct said *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    arena_init(&m->arena, 0);
    m->station = s;
    list_append(&s->under_way, &m->link);
    s->n++;
    m->ref = arena_str(&m->arena, json_str(json_get(j, "id")));
    m->task = arena_str(&m->arena, json_str(json_get(j, "taskId")));
    return m;
}

static bool said_place(struct said *m, enum run_event_type type)
{
    if (m->ref.n == 0 || m->ref.n > REF || m->task.n >= PROTOCOL_ID || !task_place(m->task, &m->place))
        return false;
    m->kind = run_kind_of_node(m->place.node);
    if (m->kind == NULL)
        return false;
    struct feed *f = m->station->feed;
    m->event = (struct run_event){
        .type = type, .node = m->place.node, .attempt = m->place.attempt, .agent = feed_caller(f)->id};
    m->lines = (struct append){.space = space_of(f),
                               .kind = m->kind->name,
                               .run = m->place.run,
                               .node = m->place.node,
                               .attempt = (unsigned)m->place.attempt,
                               .task = m->task,
                               .agent = feed_caller(f)->id};
    return true;
}

struct message_type {
    const char *name;
    enum run_event_type event;
    const char *(*read)(struct said *m, const struct json *j); /* NULL, or what is wrong */
    void (*go)(struct said *m);
};

static void on_task_message(struct station *s, const struct message_type *type, const struct json *j)
{
    struct said *m = said_new(s, j);
    if (m == NULL) {
        feed_close(s->feed, FEED_LATER, "out of memory");
        return;
    }
    const char *fault = said_place(m, type->event) ? NULL : "id, or taskId: <run>:<node>:<attempt>, are missing";
    if (fault == NULL && type->read != NULL)
        fault = type->read(m, j);
    if (fault != NULL) {
        said_free(m);
        feed_close(s->feed, FEED_BAD_MESSAGE, fault);
        return;
    }
    if (!s->paused && s->n >= UNDER_WAY) {
        s->paused = true;
        feed_pause(s->feed);
    }
    type->go(m);
}

/* --- heartbeat --- */

static void beaten(void *arg, enum code c, const struct beaten *b)
{
    struct feed *f = arg;
    (void)b;
    if (c == AGT_REVOKED)
        feed_close(f, FEED_FORBIDDEN, "the agent was revoked");
    else if (c == RES_NOT_FOUND)
        feed_close(f, FEED_UNKNOWN, "the agent was deleted");
}

static void on_heartbeat(struct feed *f, const struct json *j)
{
    const struct json *running = json_get(j, "runningTaskIds"), *can = json_get(j, "capabilities");
    struct str version = json_str(json_get(j, "version"));
    const struct beat beat = {.usage = json_get(j, "resourceUsage"),
                              .version = version.n <= VERSION ? version : STR_NONE,
                              .capabilities = agents_capabilities(can) ? can : NULL,
                              .running = json_is(running, JSON_ARRAY) ? running : NULL,
                              .leaves = str_eqz(json_str(json_get(j, "status")), "offline")};
    agents_beat(feed_worker(f), space_of(f), feed_caller(f)->id, &beat, feed_ops(f), beaten,
                f); /* refused: the next one */
}

static void on_message(struct feed *f, struct str type, const struct json *j)
{
    // clang-format off
    static const struct message_type types[] = {
        {"task_accepted",  EVENT_TASK_ACCEPTED,  NULL,          go_event},
        {"task_refused",   EVENT_TASK_REFUSED,   read_refusal,  go_event},
        {"task_started",   EVENT_TASK_STARTED,   NULL,          go_event},
        {"task_progress",  EVENT_TASK_PROGRESS,  read_progress, go_event},
        {"task_log",       EVENT_TYPES,          read_lines,    go_if_open},
        {"task_completed", EVENT_TASK_COMPLETED, read_result,   go_if_open},
    };
    // clang-format on
    struct station *s = station_of(f);
    if (s == NULL) {
        feed_close(f, FEED_LATER, "out of memory");
        return;
    }
    if (str_eqz(type, "heartbeat")) {
        on_heartbeat(f, j);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(type, types[i].name)) {
            on_task_message(s, &types[i], j);
            return;
        }
    feed_close(f, FEED_BAD_MESSAGE, "the type of the message is not known");
}

/* --- the stream --- */

static bool may(const struct caller *caller, struct str id)
{
    return caller->type == CALLER_AGENT && str_eq(caller->id, id);
}

static struct str open_tasks(const struct feed *f, struct arena *scratch)
{
    return key_tasks(scratch, space_of(f), feed_caller(f)->id);
}

static void greet_config(const struct feed_state *state)
{
    struct arena a;
    struct buf b = {0};
    struct json_out o;
    arena_init(&a, 0);
    const struct json *document = json_parse(&a, redis_text(redis_field(state->document, S("j"))), NULL, NULL);
    message_begin(&o, &b, "config_update");
    json_key(&o, S("config"));
    json_put(&o, json_get(document, "config"));
    message_send(state->feed, &o);
    buf_free(&b);
    arena_fini(&a);
}

static void put_task(struct json_out *o, struct feed *f, struct str stored)
{
    struct buf task = {0};
    seal_open_task(feed_worker(f)->settings->keyring, feed_caller(f)->tenant, stored, &task);
    json_put_raw(o, buf_view(&task));
    o->b->failed = o->b->failed || task.failed;
    buf_free(&task);
}

static void greet_task(struct feed *f, struct str id, struct str stored)
{
    struct buf b = {0};
    struct json_out o;
    know(feed_data(f), id);
    message_begin(&o, &b, "task_assigned");
    json_key(&o, S("task"));
    put_task(&o, f, stored);
    message_send(f, &o);
    buf_free(&b);
}

static struct str next_greeting(const struct station *s)
{
    return s->greeted < s->greeting.n ? str_z(s->greeting.p + s->greeted) : STR_NONE;
}

/* One that is gone by now was completed or cancelled, and what is said of that follows. */
static void greeting_read(void *arg, enum code c, const struct redis_value *v)
{
    struct station *s = arg;
    struct str id = next_greeting(s);
    if (c != OK) {
        feed_greeted(s->feed, c);
        return;
    }
    if (!redis_is_nil(v))
        greet_task(s->feed, id, redis_text(v));
    s->greeted += id.n + 1;
    feed_greet_more(s->feed);
}

/* Task by task, as the agent reads them: an agent may have more open than wait for one reader. */
static void greet_on(struct feed *f)
{
    struct station *s = feed_data(f);
    struct str id = next_greeting(s);
    enum code c = OK;
    if (id.n > 0) {
        struct arena scratch;
        arena_init(&scratch, 0);
        const struct store_command read = STORE_COMMAND(S("HGET"), open_tasks(f, &scratch), id);
        c = store_read(feed_worker(f)->store, &read, 1, feed_ops(f), greeting_read, s);
        arena_fini(&scratch);
    } else {
        buf_free(&s->greeting);
        s->greeted = 0;
    }
    if (id.n == 0 || c != OK)
        feed_greeted(f, c);
}

/* Its settings; then every task it was given and has not completed. */
static void greet(const struct feed_state *state)
{
    struct station *s = station_of(state->feed);
    if (s == NULL) {
        feed_close(state->feed, FEED_LATER, "out of memory");
        return;
    }
    greet_config(state);
    s->known_count = s->known_next = 0;
    buf_clear(&s->greeting);
    s->greeted = 0;
    for (size_t i = 0; i < state->extra->count; i++) {
        buf_str(&s->greeting, redis_text(redis_at(state->extra, i)));
        buf_char(&s->greeting, '\0');
    }
    if (s->greeting.failed)
        feed_close(state->feed, FEED_LATER, "out of memory");
}

static void on_close(struct feed *f)
{
    struct station *s = feed_data(f);
    if (s == NULL)
        return;
    feed_set_data(f, NULL);
    list_for (it, &s->under_way)
        said_free(list_entry(it, struct said, link));
    buf_free(&s->greeting);
    free(s);
}

static const struct feed_spec spec = {
    .kind = AGENT_KIND,
    .channel = "agent",
    .permission = "agent:connect",
    .ws_only = true,
    .one = true,
    .whole = true,
    .may = may,
    .open = seal_open_event,
    .extra = open_tasks,
    .greet = greet,
    .greet_on = greet_on,
    .on_message = on_message,
    .on_close = on_close,
};

enum flow task_stream_open(struct request *r)
{
    return feed_open(r, &spec);
}

// clang-format off
const struct field task_stream_query[] = {FEED_QUERY, {0}};
// clang-format on

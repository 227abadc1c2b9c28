/* Logs of a step. The lines are in the run's channel only; an index per attempt says which entries hold which lines. Two
 * trips: the step and the index, then the entries. */
#include "server/api/orchestrator/workflow_run.h"

#include "proto/http.h"
#include "server/engine/drain.h"
#include "server/event.h"
#include "server/worker.h"

enum {
    CHUNKS = 60,         /* entries of one trip */
    JSON_MAX = 4 << 20,  /* bytes from which on an answer is long enough */
    PLAIN_MAX = 16 << 20 /* more than a log can have */
};

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const streams[] = {"stdout", "stderr", "system", NULL};

// clang-format off
const struct field workflow_step_log_query[] = {
    {"attempt",  FIELD_INT,  .min = 1, .max = 1000000, .doc = "Default: the last one."},
    {"afterSeq", FIELD_INT,  .min = 0, .max = INT64_MAX, .doc = "Only lines behind this one: nextSeq of the answer before, less one."},
    {"limit",    FIELD_INT,  .min = 1, .max = WORKFLOW_LOG_LINES_MAX, .doc = "Lines at most; default 500, in plain text all. An answer may have fewer though more are there: nextSeq tells."},
    {"tail",     FIELD_INT,  .min = 1, .max = WORKFLOW_LOG_LINES_MAX, .doc = "The last so many lines instead."},
    {"level",    FIELD_ENUM, .choices = levels, .doc = "Only lines this grave or graver."},
    {0}};
static const struct field line_fields[] = {
    {"seq",       FIELD_INT,    FIELD_REQUIRED, .min = 1, .max = INT64_MAX, .doc = "From 1, without holes."},
    {"timestamp", FIELD_TIME,   FIELD_REQUIRED},
    {"level",     FIELD_ENUM,   FIELD_REQUIRED, .choices = levels},
    {"stream",    FIELD_ENUM,   FIELD_REQUIRED, .choices = streams},
    {"line",      FIELD_STRING, FIELD_REQUIRED},
    {0}};
const struct field workflow_step_log_fields[] = {
    {"lines",     FIELD_LIST, FIELD_REQUIRED, .max = WORKFLOW_LOG_LINES_MAX, .item = FIELD_OBJECT, .fields = line_fields},
    {"nextSeq",   FIELD_INT,  FIELD_REQUIRED, .min = 1, .max = INT64_MAX, .doc = "The number behind the last line looked at."},
    {"complete",  FIELD_BOOL, FIELD_REQUIRED, .doc = "The attempt has ended and these are its last lines."},
    {"truncated", FIELD_BOOL, FIELD_REQUIRED, .doc = "The step printed more than is kept; the last line says so."},
    {0}};
// clang-format on

struct log {
    struct request *r;
    struct space space;
    const struct run_kind *kind;
    struct str run, node;
    int64_t attempt, after, limit, next, looked;
    int level; /* index; 0: all */
    bool plain, ended, complete, truncated;
    struct buf out;
    struct json_out o;
    int64_t written;
    size_t chunks;
    int64_t before; /* looked, before the present trip */
};

/* --- lines --- */

static int level_of(struct str name)
{
    for (int i = 0; levels[i] != NULL; i++)
        if (str_eqz(name, levels[i]))
            return i;
    return 1;
}

static void put_line(struct log *l, const struct json *frame, int64_t seq)
{
    struct str at = json_str(json_get(frame, "at"));

    l->written++;
    if (l->plain) {
        buf_str(&l->out, json_str(json_get(frame, "line")));
        buf_char(&l->out, '\n');
        return;
    }
    json_open(&l->o, '{');
    json_key(&l->o, S("level"));
    json_put(&l->o, json_get(frame, "level"));
    json_key(&l->o, S("line"));
    json_put(&l->o, json_get(frame, "line"));
    json_key(&l->o, S("seq"));
    json_put_int(&l->o, seq);
    json_key(&l->o, S("stream"));
    json_put(&l->o, json_get(frame, "stream"));
    json_key(&l->o, S("timestamp"));
    json_put_str(&l->o, at.n > 0 ? at : json_str(json_get(frame, "timestamp")));
    json_close(&l->o, '}');
}

static void look_at(struct log *l, struct str event)
{
    struct arena scratch;
    const struct json *frame;
    int64_t seq;

    arena_init(&scratch, 4 << 20);
    frame = json_parse(&scratch, event, NULL, NULL);
    seq = json_int(json_get(frame, "logSeq"), 0);
    if (seq > l->looked && l->written < l->limit && str_eq(json_str(json_get(frame, l->kind->log_member)), l->node) &&
        json_int(json_get(frame, "attempt"), 0) == l->attempt) {
        if (level_of(json_str(json_get(frame, "level"))) >= l->level)
            put_line(l, frame, seq);
        l->looked = seq;
    }
    arena_fini(&scratch);
}

static enum flow answer(struct log *l)
{
    struct request *r = l->r;
    bool complete = (l->ended || l->complete) && l->looked + 1 >= l->next;

    if (l->plain)
        return l->out.failed ? reply_error(r, SYS_OVERLOADED)
                             : reply_raw(r, 200, "text/plain; charset=utf-8", buf_view(&l->out));
    json_close(&l->o, ']');
    json_key(&l->o, S("nextSeq"));
    json_put_int(&l->o, l->looked + 1);
    json_key(&l->o, S("complete"));
    json_put_bool(&l->o, complete);
    json_key(&l->o, S("truncated"));
    json_put_bool(&l->o, l->truncated);
    json_close(&l->o, '}');
    return l->out.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, 200, buf_view(&l->out));
}

static enum flow read_index(struct log *l);

static bool wants_more(const struct log *l)
{
    return l->written < l->limit && l->looked + 1 < l->next && l->looked > l->before && !l->out.failed &&
           l->out.n < (l->plain ? PLAIN_MAX : JSON_MAX);
}

static void got_chunks(void *arg, enum code c, const struct redis_value *v)
{
    struct log *l = arg;

    if (c != OK) {
        reply_error(l->r, c);
        return;
    }
    for (size_t i = 0; i < l->chunks; i++) {
        const struct redis_value *entry = redis_at(redis_at(v, i), 0);
        struct str events = redis_text(redis_field(redis_at(entry, 1), S("b"))), event;
        int64_t seq;

        while (event_next(&events, &event, &seq))
            look_at(l, event);
    }
    if (wants_more(l)) {
        l->after = l->looked;
        read_index(l);
    } else {
        answer(l);
    }
}

/* --- the index --- */

/* Members of the index that hold the wanted lines, oldest first; then what they are, entry by entry. */
static enum flow read_chunks(struct log *l, const struct redis_value *before, const struct redis_value *behind)
{
    struct request *r = l->r;
    struct store_command commands[CHUNKS + 2];
    struct str argv[CHUNKS + 2][4];
    struct str channel = arena_printf(&r->arena, "%s:" STR_FMT, l->kind->name, STR_ARG(l->run));
    struct str key = key_channel(&r->arena, l->space, channel);
    enum code c;

    for (size_t i = 0; i < before->count + behind->count && l->chunks < CHUNKS; i++) {
        struct str id = redis_text(i < before->count ? redis_at(before, i) : redis_at(behind, i - before->count));
        struct str *a = argv[l->chunks];

        a[0] = S("XRANGE");
        a[1] = key;
        a[2] = a[3] = arena_str(&r->arena, id);
        commands[l->chunks++] = (struct store_command){4, a};
    }
    if (l->chunks == 0)
        return answer(l);
    argv[l->chunks][0] = S("EXISTS"); /* a second command keeps the answer an array */
    argv[l->chunks][1] = key;
    commands[l->chunks] = (struct store_command){2, argv[l->chunks]};
    c = store_read(r->worker->store, commands, l->chunks + 1, &r->ops, got_chunks, l);
    return c == OK ? WAIT : reply_error(r, c);
}

static void got_index(void *arg, enum code c, const struct redis_value *v)
{
    struct log *l = arg;
    const struct redis_value *meta = redis_at(v, 0);

    if (c != OK) {
        reply_error(l->r, c);
        return;
    }
    l->before = l->looked;
    l->chunks = 0;
    l->next = redis_int(redis_at(meta, 0), 1);
    l->truncated = redis_int(redis_at(meta, 1), 0) == 1;
    l->complete = redis_int(redis_at(meta, 2), 0) == 1;
    read_chunks(l, redis_at(v, 1), redis_at(v, 2));
}

static enum flow read_index(struct log *l)
{
    struct arena *a = &l->r->arena;
    struct str key = key_log(a, l->space, l->kind->name, l->run, l->node, (unsigned)l->attempt);
    struct str from = arena_int(a, l->after + 1), open = arena_printf(a, "(%lld", (long long)l->after + 1);
    struct store_command commands[] = {
        STORE_COMMAND(S("HMGET"), key_log_meta(a, l->space, l->kind->name, l->run, l->node, (unsigned)l->attempt),
                      S("next"), S("truncated"), S("complete")),
        STORE_COMMAND(S("ZREVRANGEBYSCORE"), key, from, S("-inf"), S("LIMIT"), S("0"), S("1")),
        STORE_COMMAND(S("ZRANGEBYSCORE"), key, open, S("+inf"), S("LIMIT"), S("0"), arena_printf(a, "%d", (int)CHUNKS)),
    };
    enum code c = store_read(l->r->worker->store, commands, ARRAY_LEN(commands), &l->r->ops, got_index, l);

    return c == OK ? WAIT : reply_error(l->r, c);
}

/* The last `tail` lines: behind which one that is must be known first. */
static void got_next(void *arg, enum code c, const struct redis_value *v)
{
    struct log *l = arg;

    l->after = redis_int(v, 1) - 1 - l->limit;
    l->after = l->looked = l->after > 0 ? l->after : 0;
    if (c != OK)
        reply_error(l->r, c);
    else
        read_index(l);
}

static enum flow read_next(struct log *l)
{
    struct store_command command = STORE_COMMAND(
        S("HGET"), key_log_meta(&l->r->arena, l->space, l->kind->name, l->run, l->node, (unsigned)l->attempt),
        S("next"));
    enum code c = store_read(l->r->worker->store, &command, 1, &l->r->ops, got_next, l);

    return c == OK ? WAIT : reply_error(l->r, c);
}

/* --- the step --- */

static enum flow with_step(struct log *l, const struct run *run)
{
    const struct json *p = l->r->parameters;
    int step = template_find(run->template, l->node);
    int64_t tail = json_int(json_get(p, "tail"), 0);

    if (step < 0)
        return reply_error(l->r, RES_NOT_FOUND);
    l->attempt = json_int(json_get(p, "attempt"), run->steps[step].attempt > 0 ? run->steps[step].attempt : 1);
    l->ended = step_status_ended(run->steps[step].status) || l->attempt < run->steps[step].attempt;
    l->limit = tail > 0 ? tail : json_int(json_get(p, "limit"), WORKFLOW_LOG_LINES);
    l->after = l->looked = json_int(json_get(p, "afterSeq"), 0);
    l->level = json_get(p, "level") == NULL ? 0 : level_of(json_str(json_get(p, "level")));
    l->plain = str_find(http_header(l->r->head, S("accept")), S("text/plain")) >= 0;
    if (l->plain && json_get(p, "limit") == NULL && tail == 0)
        l->limit = INT64_MAX;
    json_out_init(&l->o, &l->out);
    if (!l->plain) {
        json_open(&l->o, '{');
        json_key(&l->o, S("lines"));
        json_open(&l->o, '[');
    }
    return tail > 0 ? read_next(l) : read_index(l);
}

static void free_out(void *p)
{
    buf_free(p);
}

enum flow run_log_read(struct request *r, const struct run *run, struct str node)
{
    struct log *l = arena_new(&r->arena, struct log);

    if (l == NULL ||
        !arena_defer(&r->arena, free_out, &l->out)) /* of its own: it may be larger than a request's memory */
        return reply_error(r, SYS_OVERLOADED);
    l->r = r;
    l->space = (struct space){r->caller.partition, r->caller.tenant};
    l->kind = run->template->kind;
    l->run = run->origin.id;
    l->node = node;
    return with_step(l, run);
}

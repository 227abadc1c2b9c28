/* What is asked of an agent about a target: its health, and what is really there. */
#include "server/api/orchestrator/target.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "server/api/orchestrator/resources.h"
#include "server/crud.h"
#include "server/engine/drift.h"
#include "server/engine/probe.h"
#include "server/engine/target_settle.h"
#include "server/worker.h"

enum { LOOKS = 3 }; /* a deployment that came between looking and comparing: look again */

struct question {
    struct request *r;
    struct str id;
    const struct json *target, *environment;
    struct target_news news;
    struct str answer;

    struct str type;       /* of a health check */
    struct str facts_text; /* of a drift: what was known when the agent was asked */
    const struct json *facts, *found;
    unsigned looks;
};

typedef enum flow question_then(struct question *q);

static struct question *question_new(struct request *r)
{
    struct question *q = arena_new(&r->arena, struct question);

    if (q != NULL)
        q->r = r;
    return q;
}

static struct json_out writer(struct question *q, struct buf *b)
{
    struct json_out o;

    buf_init_arena(b, &q->r->arena, 512);
    json_out_init(&o, b);
    json_open(&o, '{');
    return o;
}

static enum flow refuse(struct question *q, enum code c)
{
    return reply_error(q->r, c);
}

static enum flow told(struct request *r, enum code c, void *arg)
{
    struct question *q = arg;

    return c == OK ? reply_data(r, 200, q->answer) : reply_error(r, c);
}

/* The answer is complete: it goes out once the target's document says the same. */
static enum flow tell(struct question *q, const struct buf *answer)
{
    if (answer->failed)
        return refuse(q, SYS_OVERLOADED);
    q->answer = buf_view(answer);
    return target_tell(q->r, q->id, &q->news, told, q);
}

/* --- the environment, whose labels an agent carries --- */

static enum flow ask_health(struct question *q);
static enum flow ask_sticker(struct question *q);

static enum flow health_environment(struct request *r, struct document *d, const struct json *parsed)
{
    struct question *q = r->state;

    (void)d;
    q->environment = parsed;
    return ask_health(q);
}

static enum flow drift_environment(struct request *r, struct document *d, const struct json *parsed)
{
    struct question *q = r->state;

    (void)d;
    q->environment = parsed;
    return ask_sticker(q);
}

static enum flow ask(struct question *q, const char *type, struct buf *payload, int64_t timeout_ms, probe_then *then)
{
    struct str agent = json_str(json_get(q->target, "agentId"));
    const struct probe probe = {.type = type,
                                .target = q->id,
                                .agent = agent.n > 0 ? agent : STR_NONE,
                                .labels = json_path(q->environment, S("config.agentLabels")),
                                .payload =
                                    payload->failed ? NULL : json_parse(&q->r->arena, buf_view(payload), NULL, NULL),
                                .timeout_ms = timeout_ms};

    return probe.payload == NULL ? refuse(q, SYS_OVERLOADED) : probe_start(q->r, &probe, then, q);
}

/* --- health --- */

static const char *health_of(const struct probed *p)
{
    if (p->success)
        return "healthy";
    return str_eqz(p->error_type, "unhealthy") || str_eqz(p->error_type, "timeout") ? "unhealthy" : "unknown";
}

/* A message that fits into a document's, cut where no character is split. */
static struct str clipped(struct str s)
{
    struct str start = str_slice(s, 0, 1000);

    return str_slice(start, 0, str_utf8_valid(start));
}

static struct str message_of(const struct probed *p)
{
    const struct json *samples = json_get(p->outputs, "samples");
    size_t n = json_count(samples);

    return p->message.n > 0 ? p->message : json_str(json_get(json_at(samples, n == 0 ? 0 : n - 1), "message"));
}

/* As the resource's rows promise, whatever an agent says. */
static void put_samples(struct json_out *o, const struct json *samples)
{
    enum { MOST = 100 };
    int64_t at_ms;

    json_open(o, '[');
    for (size_t i = 0; i < json_count(samples) && i < MOST; i++) {
        const struct json *one = json_at(samples, i), *latency = json_get(one, "latencyMs");

        json_open(o, '{');
        if (clock_parse(json_str(json_get(one, "at")), &at_ms)) {
            json_key(o, S("at"));
            json_put_time(o, at_ms);
        }
        if (json_is(latency, JSON_INT) || json_is(latency, JSON_REAL)) {
            json_key(o, S("latencyMs"));
            json_put(o, latency);
        }
        if (json_is(json_get(one, "message"), JSON_STRING)) {
            json_key(o, S("message"));
            json_put_str(o, clipped(json_str(json_get(one, "message"))));
        }
        json_key(o, S("ok"));
        json_put_bool(o, json_bool(json_get(one, "ok"), false));
        json_close(o, '}');
    }
    json_close(o, ']');
}

static enum flow checked(struct request *r, enum code c, const struct probed *p, void *arg)
{
    struct question *q = arg;
    const struct json *latency;
    struct json_out o;
    struct buf b;

    if (c != OK)
        return reply_error(r, c);
    latency = json_get(p->outputs, "latencyMs");
    q->news.at_ms = p->now_ms;
    q->news.health = str_z(health_of(p));
    q->news.message = arena_str(&r->arena, clipped(message_of(p)));
    o = writer(q, &b);
    json_key(&o, S("checkedAt"));
    json_put_time(&o, p->now_ms);
    json_key(&o, S("checks"));
    put_samples(&o, json_get(p->outputs, "samples"));
    json_key(&o, S("latencyMs"));
    json_put(&o, json_is(latency, JSON_INT) || json_is(latency, JSON_REAL) ? latency : NULL);
    json_key(&o, S("message"));
    if (q->news.message.n > 0)
        json_put_str(&o, q->news.message);
    else
        json_put_null(&o);
    json_key(&o, S("status"));
    json_put_str(&o, q->news.health);
    json_key(&o, S("targetId"));
    json_put_str(&o, q->id);
    json_key(&o, S("type"));
    json_put_str(&o, q->type);
    json_close(&o, '}');
    return tell(q, &b);
}

static const struct json *port_of(const struct question *q, const struct json *check)
{
    return json_get(check, "port") != NULL ? json_get(check, "port") : json_path(q->target, S("connection.port"));
}

/* The body's check, else the environment's, as far as it says where to connect; else whether an agent answers. */
static const struct json *check_of(struct question *q, struct str *type)
{
    const struct json *body = q->r->json, *configured = json_path(q->environment, S("config.healthCheckConfig"));
    const struct json *from = json_get(body, "type") != NULL || json_get(body, "port") != NULL ? body : configured;

    *type = json_str(json_get(from, "type"));
    if (type->n == 0)
        *type = port_of(q, from) == NULL ? S("none") : S("http");
    if (from == configured && !str_eqz(*type, "none") && port_of(q, from) == NULL)
        *type = S("none");
    return from;
}

static void put_member(struct json_out *o, const struct json *from, const char *name)
{
    if (json_get(from, name) == NULL)
        return;
    json_key(o, str_z(name));
    json_put(o, json_get(from, name));
}

static enum flow ask_health(struct question *q)
{
    const struct json *check = check_of(q, &q->type);
    int64_t wanted = json_int(json_get(check, "timeoutSeconds"), json_int(json_get(check, "timeout"), PROBE_CHECK_S));
    struct json_out o;
    struct buf b;

    if (!str_eqz(q->type, "none") && port_of(q, check) == NULL)
        return refuse(q, change_refuse_field(q->r, VAL_FAILED, "port", "is needed for this type of check"));
    o = writer(q, &b);
    put_member(&o, check, "expectBody");
    put_member(&o, check, "expectStatus");
    json_key(&o, S("intervalSeconds"));
    json_put_int(&o, 1);
    json_key(&o, S("path"));
    json_put_str(&o, json_get(check, "path") != NULL ? json_str(json_get(check, "path")) : S("/health"));
    if (port_of(q, check) != NULL) {
        json_key(&o, S("port"));
        json_put(&o, port_of(q, check));
    }
    json_key(&o, S("retries"));
    json_put_int(&o, 0);
    json_key(&o, S("root"));
    json_put(&o, json_path(q->target, S("connection.path")));
    json_key(&o, S("timeoutSeconds"));
    json_put_int(&o, wanted < PROBE_CHECK_S ? wanted : PROBE_CHECK_S);
    json_key(&o, S("type"));
    json_put_str(&o, q->type);
    json_close(&o, '}');
    return ask(q, "health-check", &b, 0, checked);
}

static enum flow health_target(struct request *r, struct document *d, const struct json *parsed)
{
    struct question *q = question_new(r);

    if (q == NULL)
        return reply_error(r, SYS_OVERLOADED);
    r->state = q;
    q->id = d->id;
    q->target = parsed;
    return crud_read(r, &environment_resource, json_str(json_get(parsed, "environmentId")), health_environment);
}

enum flow target_health_check(struct request *r)
{
    return crud_read(r, r->resource, crud_id(r), health_target);
}

/* --- the sticker --- */

static void got_seen(void *arg, enum code c, const struct redis_value *v)
{
    struct question *q = arg;
    struct request *r = q->r;
    struct str seen = c == OK ? redis_text(redis_at(v, 1)) : STR_NONE;
    const struct json *json = seen.n == 0 ? NULL : document_json(&r->arena, arena_str(&r->arena, seen), NULL);
    struct json_out o;
    struct buf b;

    if (c == OK && redis_is_nil(redis_at(v, 0)))
        c = RES_NOT_FOUND;
    else if (c == OK && seen.n == 0)
        c = request_refuse(r, RES_NOT_FOUND, "no version sticker was ever written to it");
    else if (c == OK && json == NULL)
        c = SYS_OVERLOADED;
    else if (c == OK && !json_is(json_get(json, "content"), JSON_OBJECT))
        c = request_refuse(r, RES_NOT_FOUND, "it had no version sticker when it was last read, at " STR_FMT,
                           STR_ARG(json_str(json_get(json, "observedAt"))));
    if (c != OK) {
        refuse(q, c);
        return;
    }
    o = writer(q, &b);
    json_key(&o, S("content"));
    json_put(&o, json_get(json, "content"));
    json_key(&o, S("observedAt"));
    json_put(&o, json_get(json, "observedAt"));
    json_key(&o, S("source"));
    json_put(&o, json_get(json, "source"));
    json_key(&o, S("targetId"));
    json_put_str(&o, q->id);
    json_close(&o, '}');
    if (b.failed)
        refuse(q, SYS_OVERLOADED);
    else
        reply_data(r, 200, buf_view(&b));
}

enum flow target_sticker(struct request *r)
{
    const struct space space = {r->caller.partition, r->caller.tenant};
    struct question *q = question_new(r);
    char id[ID_UUID];
    enum code c;

    if (q == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (!id_is_uuid(crud_id(r), id))
        return reply_error(r, RES_NOT_FOUND);
    q->id = arena_str(&r->arena, str_z(id));
    const struct store_command command =
        STORE_COMMAND(S("HMGET"), key_document(&r->arena, space, r->resource->kind, q->id), S("r"), S("seen"));
    c = store_read(r->worker->store, &command, 1, &r->ops, got_seen, q);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- drift --- */

static enum flow read_facts(struct question *q);

static enum flow answer_drift(struct question *q, int64_t now_ms)
{
    const struct json *release = json_get(q->facts, "release");
    struct json_out o, list;
    struct buf b, differences;
    size_t n;

    buf_init_arena(&differences, &q->r->arena, 512);
    json_out_init(&list, &differences);
    n = drift_differences(&list, q->facts, q->found);
    o = writer(q, &b);
    json_key(&o, S("actual"));
    if (q->found != NULL)
        drift_actual(&o, q->found);
    else
        json_put_null(&o);
    json_key(&o, S("checkedAt"));
    json_put_time(&o, now_ms);
    json_key(&o, S("differences"));
    json_put_raw(&o, buf_view(&differences));
    json_key(&o, S("expected"));
    if (json_is(release, JSON_OBJECT))
        drift_expected(&o, release);
    else
        json_put_null(&o);
    json_key(&o, S("hasDrift"));
    json_put_bool(&o, n > 0);
    json_key(&o, S("targetId"));
    json_put_str(&o, q->id);
    json_close(&o, '}');
    if (b.failed || differences.failed)
        return refuse(q, SYS_OVERLOADED);
    if (q->found == NULL)
        return reply_data(q->r, 200, buf_view(&b));
    q->news = (struct target_news){
        .at_ms = now_ms,
        .read = true,
        .content = json_is(json_get(q->found, "sticker"), JSON_OBJECT) ? json_get(q->found, "sticker") : NULL,
        .drifted = n > 0};
    return tell(q, &b);
}

static enum flow looked(struct request *r, enum code c, const struct probed *p, void *arg)
{
    struct question *q = arg;

    if (c == OK && !p->success) {
        r->details = STR_NONE;
        c = request_refuse(r, AGT_TASK_FAILED, "the agent could not look: " STR_FMT, STR_ARG(p->message));
    }
    if (c != OK)
        return reply_error(r, c);
    q->found = p->outputs == NULL ? NULL : json_copy_tree(&r->arena, p->outputs);
    q->news.at_ms = p->now_ms;
    return q->found == NULL ? refuse(q, SYS_OVERLOADED) : read_facts(q);
}

static enum flow ask_sticker(struct question *q)
{
    struct buf b;
    struct json_out o = writer(q, &b);

    json_key(&o, S("root"));
    json_put(&o, json_path(q->target, S("connection.path")));
    json_close(&o, '}');
    q->looks++;
    return ask(q, "read-sticker", &b, 0, looked);
}

static enum flow judge(struct question *q, struct str text)
{
    bool same = str_eq(text, q->facts_text);

    q->facts_text = text;
    q->facts = text.n == 0 ? NULL : document_json(&q->r->arena, text, NULL);
    if (text.n > 0 && q->facts == NULL)
        return refuse(q, SYS_OVERLOADED);
    if (!json_is(json_get(q->facts, "release"), JSON_OBJECT)) {
        q->found = NULL;
        return answer_drift(q, store_now_ms(q->r->worker->store));
    }
    if (q->found != NULL && (same || q->looks >= LOOKS))
        return answer_drift(q, q->news.at_ms);
    if (q->environment != NULL)
        return ask_sticker(q);
    return crud_read(q->r, &environment_resource, json_str(json_get(q->target, "environmentId")), drift_environment);
}

static void got_facts(void *arg, enum code c, const struct redis_value *v)
{
    struct question *q = arg;

    if (c == OK)
        judge(q, redis_is_nil(v) ? STR_NONE : arena_str(&q->r->arena, redis_text(v)));
    else
        refuse(q, c);
}

static enum flow read_facts(struct question *q)
{
    struct request *r = q->r;
    const struct space space = {r->caller.partition, r->caller.tenant};
    const struct store_command command = STORE_COMMAND(S("HGET"), key_target_facts(&r->arena, space), q->id);
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, got_facts, q);

    return c == OK ? WAIT : refuse(q, c);
}

static enum flow drift_target(struct request *r, struct document *d, const struct json *parsed)
{
    struct question *q = question_new(r);

    if (q == NULL)
        return reply_error(r, SYS_OVERLOADED);
    r->state = q;
    q->id = d->id;
    q->target = parsed;
    return read_facts(q);
}

enum flow target_drift(struct request *r)
{
    return crud_read(r, r->resource, crud_id(r), drift_target);
}

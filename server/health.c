#include "server/health.h"

#include "proto/query.h"
#include "server/request.h"
#include "server/store/hazard.h"
#include "server/worker.h"

static enum flow livez(struct request *r);
static enum flow readyz(struct request *r);
static enum flow startupz(struct request *r);
static enum flow metrics(struct request *r);

enum { PROBE = ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE };

// clang-format off
static const struct field probe_data[] = {
    {"status", FIELD_STRING, FIELD_REQUIRED, .doc = "`ok`, `ready` or `started`."},
    {0},
};

static const struct field warning_fields[] = {
    {"hazard", FIELD_STRING, FIELD_REQUIRED, .doc = "What it is called."},
    {"message", FIELD_STRING, FIELD_REQUIRED, .doc = "What can be lost by it."},
    {0},
};

static const struct field ready_data[] = {
    {"status", FIELD_STRING, FIELD_REQUIRED, .doc = "`ready`."},
    {"redisVersion", FIELD_STRING, .doc = "With `verbose`."},
    {"warnings", FIELD_LIST, .item = FIELD_OBJECT, .fields = warning_fields, .doc = "With `verbose`: what is dangerous about this Redis."},
    {0},
};

static const struct field ready_query[] = {
    {"verbose", FIELD_STRING, .max = 5, .doc = "Also what is dangerous about the Redis in use. Needs no value."},
    {0},
};

static const struct route routes[] = {
    {GET, "/livez",    livez,    NULL, "livez",    "Whether the process lives. Never asks Redis.",       PROBE, .data = probe_data},
    {GET, "/readyz",   readyz,   NULL, "readyz",   "Whether the instance may be sent requests.",          PROBE, .data = ready_data, .query = ready_query, .codes = {SYS_STORAGE, SYS_DRAINING}},
    {GET, "/startupz", startupz, NULL, "startupz", "Whether the instance has been ready once.",           PROBE, .data = probe_data, .codes = {SYS_STORAGE}},
    {GET, "/metrics",  metrics,  NULL, "metrics",  "Figures of the instance in Prometheus' text format.", PROBE},
    ROUTE_END,
};
// clang-format on

const struct resource health_resource = {
    .kind = "health",
    .plural = "health",
    .tag = "SYSTEM",
    .doc = "The instance itself, for those who operate it.",
    .routes = routes,
};

static enum flow say(struct request *r, struct str json)
{
    return reply_raw(r, 200, "application/json", json);
}

static enum flow livez(struct request *r)
{
    return say(r, S("{\"status\":\"ok\"}"));
}

static enum flow refuse(struct request *r, enum code c, const char *why)
{
    request_refuse(r, c, "%s", why);
    return reply_error(r, c);
}

static void put_warnings(struct json_out *o, unsigned hazards)
{
    json_key(o, S("warnings"));
    json_open(o, '[');
    for (enum hazard h = 0; h < HAZARDS; h++) {
        if ((hazards & 1u << h) == 0)
            continue;
        json_open(o, '{');
        json_key(o, S("hazard"));
        json_put_z(o, hazard_label(h));
        json_key(o, S("message"));
        json_put_z(o, hazard_why(h));
        json_close(o, '}');
    }
    json_close(o, ']');
}

/* What is known of Redis, with the status where there is one. */
static struct str describe(struct request *r, const char *status)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (store_version(r->worker->store)[0] != '\0') {
        json_key(&o, S("redisVersion"));
        json_put_z(&o, store_version(r->worker->store));
    }
    if (status != NULL) {
        json_key(&o, S("status"));
        json_put_z(&o, status);
    }
    put_warnings(&o, store_hazards(r->worker->store));
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static bool is_verbose(const struct request *r)
{
    return query_count(r->query, S("verbose")) > 0;
}

static enum flow unready(struct request *r, enum code c, const char *why)
{
    if (is_verbose(r))
        r->details = describe(r, NULL);
    return refuse(r, c, why);
}

static void asked(void *arg, enum code c, const struct redis_value *v)
{
    struct request *r = arg;
    (void)v;
    struct str text = is_verbose(r) ? describe(r, "ready") : S("{\"status\":\"ready\"}");
    if (c != OK)
        unready(r, c, "Redis does not answer");
    else if (text.p == NULL)
        reply_error(r, SYS_OVERLOADED);
    else
        say(r, text);
}

static enum flow readyz(struct request *r)
{
    struct store *store = r->worker->store;
    const struct store_command ping = STORE_COMMAND(S("PING"));
    if (process_phase(r->worker->process) > PHASE_READY)
        return unready(r, SYS_DRAINING, "the instance is going away");
    if (!store_ready(store))
        return unready(r, SYS_STORAGE, store_problem(store));
    enum code c = store_read(store, &ping, 1, &r->ops, asked, r);
    return c == OK ? WAIT : unready(r, c, "Redis cannot be asked");
}

static enum flow startupz(struct request *r)
{
    if (process_phase(r->worker->process) == PHASE_STARTING)
        return refuse(r, SYS_STORAGE, "the instance is starting");
    return say(r, S("{\"status\":\"started\"}"));
}

static enum flow metrics(struct request *r)
{
    const struct process *p = r->worker->process;
    struct metrics *sum = arena_new(&r->arena, struct metrics);
    struct buf b;
    if (sum == NULL)
        return reply_error(r, SYS_OVERLOADED);
    for (unsigned i = 0; i < p->count; i++)
        metrics_merge(sum, &p->workers[i].metrics);
    buf_init_arena(&b, &r->arena, 16 << 10);
    metrics_write(&b, sum);
    return b.failed ? reply_error(r, SYS_OVERLOADED)
                    : reply_raw(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&b));
}

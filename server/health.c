#include "server/health.h"

#include "server/request.h"
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

static const struct route routes[] = {
    {GET, "/livez",    livez,    NULL, "livez",    "Whether the process lives. Never asks Redis.",       PROBE, .data = probe_data},
    {GET, "/readyz",   readyz,   NULL, "readyz",   "Whether the instance may be sent requests.",          PROBE, .data = probe_data, .codes = {SYS_STORAGE, SYS_DRAINING}},
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

static void asked(void *arg, enum code c, const struct redis_value *v)
{
    struct request *r = arg;
    (void)v;
    if (c == OK)
        say(r, S("{\"status\":\"ready\"}"));
    else
        refuse(r, c, "Redis does not answer");
}

static enum flow readyz(struct request *r)
{
    struct store *store = r->worker->store;
    const struct store_command ping = STORE_COMMAND(S("PING"));
    if (process_phase(r->worker->process) > PHASE_READY)
        return refuse(r, SYS_DRAINING, "the instance is going away");
    if (!store_ready(store))
        return refuse(r, SYS_STORAGE, store_problem(store));
    enum code c = store_read(store, &ping, 1, &r->ops, asked, r);
    return c == OK ? WAIT : refuse(r, c, "Redis cannot be asked");
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

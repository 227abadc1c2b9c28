#include "server/engine/probe_private.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/stream.h"
#include "server/engine/drain.h"
#include "server/engine/template.h"
#include "server/hub.h"
#include "server/settings.h"
#include "server/worker.h"

enum { LEAST_MS = 50 };

static const char *const types[] = {"health-check", "read-sticker", NULL};

const char *probe_type(struct str name)
{
    size_t i = 0;

    while (types[i] != NULL && !str_eqz(name, types[i]))
        i++;
    return types[i] != NULL ? types[i] : "unknown";
}

struct asking {
    struct follower follower;
    struct request *r;
    struct timer timer;
    probe_then *then;
    void *arg;
    struct space space;
    struct str id;
    struct commit commit;
};

static void stop(void *arg)
{
    struct asking *a = arg;

    hub_unfollow(&a->follower);
    timer_stop(&a->timer);
}

/* The last thing that happens here: the request may be gone behind it. */
static enum flow end(struct asking *a, enum code c, const struct probed *p)
{
    stop(a);
    return a->then(a->r, c, p, a->arg);
}

static void too_late(void *arg)
{
    struct asking *a = arg;

    end(a, request_refuse(a->r, SYS_TIMEOUT, "the agent did not answer in time"), NULL);
}

/* --- the channel --- */

static void completed(struct asking *a, const struct json *frame)
{
    struct probed p = {.success = json_bool(json_get(frame, "success"), false),
                       .outputs = json_get(frame, "outputs"),
                       .error_type = json_str(json_get(frame, "errorType")),
                       .message = json_str(json_get(frame, "message")),
                       .now_ms = store_now_ms(a->r->worker->store)};

    clock_parse(json_str(json_get(frame, "timestamp")), &p.now_ms);
    if (str_eqz(p.error_type, PROBE_NO_AGENT))
        end(a, request_refuse(a->r, ENV_NO_ELIGIBLE_AGENT, STR_FMT, STR_ARG(p.message)), NULL);
    else if (str_eqz(p.error_type, PROBE_CANCELLED))
        too_late(a);
    else
        end(a, OK, &p);
}

static bool on_batch(struct follower *f, const struct hub_batch *batch)
{
    struct asking *a = list_entry(f, struct asking, follower);
    struct str events = batch->bytes == NULL ? STR_NONE : shared_str(batch->bytes), event;
    int64_t seq;

    while (event_next(&events, &event, &seq)) {
        struct str copy;
        const struct json *frame;

        if (!str_eqz(event_member(event, "type"), PROBE_LAST))
            continue;
        copy = arena_str(&a->r->arena, event);
        frame = copy.p == NULL ? NULL : json_parse(&a->r->arena, copy, NULL, NULL);
        if (frame == NULL)
            end(a, SYS_OVERLOADED, NULL);
        else
            completed(a, frame);
        return true;
    }
    hub_next(f);
    return true;
}

static void on_live(struct follower *f)
{
    (void)f;
}

static void on_reset(struct follower *f)
{
    end(list_entry(f, struct asking, follower), SYS_STORAGE, NULL);
}

static const struct follower_type probe_follower = {on_batch, on_live, on_reset, NULL};

static void started(void *arg, enum code c, const struct drained *d)
{
    struct asking *a = arg;
    struct worker *w = a->r->worker;
    const struct hub_source source = {.tenant = a->space.tenant,
                                      .partition = a->space.partition,
                                      .epoch = store_epoch(w->store, a->space.partition),
                                      .channel = arena_printf(&a->r->arena, PROBE_KIND ":" STR_FMT, STR_ARG(a->id)),
                                      .last = PROBE_LAST};

    (void)d;
    if (c == SYS_TIMEOUT)
        c = OK; /* its drain is somebody else's: the channel will tell */
    if (c == OK && (source.channel.p == NULL || !hub_follow(w->hub, &source, STR_NONE, ENCODE_JSON, 0, &a->follower)))
        c = SYS_OVERLOADED;
    if (c != OK)
        end(a, c, NULL);
}

/* --- the run --- */

static struct str plan(struct asking *a, const struct probe *p, int64_t timeout_ms)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &a->r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (p->agent.p != NULL) {
        json_key(&o, S("agent"));
        json_put_str(&o, p->agent);
    }
    if (p->labels != NULL) {
        json_key(&o, S("labels"));
        json_put(&o, p->labels);
    }
    json_key(&o, S("payload"));
    json_put(&o, p->payload);
    json_key(&o, S("target"));
    json_put_str(&o, p->target);
    json_key(&o, S("timeoutMs"));
    json_put_int(&o, timeout_ms);
    json_key(&o, S("type"));
    json_put_z(&o, p->type);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static struct str text_of(struct asking *a, const struct run *run, void (*write)(struct buf *b, const struct run *run))
{
    struct buf b;

    buf_init_arena(&b, &a->r->arena, 512);
    write(&b, run);
    return b.failed ? STR_NONE : buf_view(&b);
}

static void write_origin(struct buf *b, const struct run *run)
{
    run_origin_write(b, &run->origin);
}
static void write_document(struct buf *b, const struct run *run)
{
    probe_kind.document(b, run, 1, run->origin.created_ms);
}

static enum code commit_run(struct asking *a, struct str def)
{
    struct request *r = a->r;
    const struct json *definition = def.p == NULL ? NULL : json_parse(&r->arena, def, NULL, NULL);
    const struct template *t = definition == NULL ? NULL : probe_kind.parse(&r->arena, definition);
    const struct run_origin origin = {.id = a->id,
                                      .tenant = a->space.tenant,
                                      .template_name = S(PROBE_KIND),
                                      .template_version = 1,
                                      .created_ms = store_now_ms(r->worker->store),
                                      .triggered_by = r->caller.id,
                                      .trigger = S("api")};
    const struct run *run = t == NULL ? NULL : run_new(&r->arena, t, &origin);

    if (run == NULL)
        return SYS_OVERLOADED;
    commit_begin(&a->commit, &r->arena, a->space, COMMIT_GROWS);
    commit_put(
        &a->commit,
        &(struct commit_document){
            .kind = PROBE_KIND, .id = a->id, .revision = 1, .schema = 1, .json = text_of(a, run, write_document)});
    commit_field(&a->commit, PROBE_KIND, a->id, S("def"), def);
    commit_field(&a->commit, PROBE_KIND, a->id, S("origin"), text_of(a, run, write_origin));
    commit_field(&a->commit, PROBE_KIND, a->id, S("h"), text_of(a, run, run_header_write));
    return drain_commit(r->worker, &probe_kind, &a->commit, a->id, S("start"), &(struct run_event){.type = EVENT_START},
                        &r->ops, started, a);
}

enum flow probe_start(struct request *r, const struct probe *probe, probe_then *then, void *arg)
{
    struct asking *a = arena_new(&r->arena, struct asking);
    int64_t gone_ms = ((int64_t)clock_mono_ns() - r->started_ns) / 1000000;
    int64_t left_ms = r->worker->settings->request_timeout - gone_ms - PROBE_ANSWER_MS;
    int64_t timeout_ms = left_ms - PROBE_LATE_MS;
    char id[ID_UUID];
    enum code c;

    left_ms = left_ms > LEAST_MS ? left_ms : LEAST_MS;
    timeout_ms = timeout_ms > LEAST_MS ? timeout_ms : LEAST_MS;
    if (probe->timeout_ms > 0 && probe->timeout_ms < timeout_ms)
        timeout_ms = probe->timeout_ms;
    if (a == NULL || !arena_defer(&r->arena, stop, a))
        return then(r, SYS_OVERLOADED, NULL, arg);
    id_uuid(store_now_ms(r->worker->store), id);
    a->r = r;
    a->then = then;
    a->arg = arg;
    a->follower.type = &probe_follower;
    a->space = (struct space){r->caller.partition, r->caller.tenant};
    a->id = arena_str(&r->arena, str_z(id));
    c = a->id.p == NULL ? SYS_OVERLOADED : commit_run(a, plan(a, probe, timeout_ms));
    if (c != OK)
        return then(r, c, NULL, arg);
    timer_start(&a->timer, &r->worker->loop, left_ms, too_late, a);
    return WAIT;
}

/* A transition's outcome as parts of one commit: the run's document, its header and changed steps, frames, tasks, timers,
 * work. */
#include "server/audit.h"
#include "server/document.h"
#include "server/engine/drain_private.h"
#include "server/engine/seal.h"
#include "server/settings.h"
#include "server/worker.h"

enum { AGENT_EVENTS_KEPT = 256 };

static struct str agent_channel(struct drain *d, struct str agent)
{
    return arena_printf(&d->arena, "agent:" STR_FMT, STR_ARG(agent));
}

/* "<node>:<attempt>" with the run in front is how queues name a step: the task's id itself. */
static void write_assign(struct drain *d, struct commit *c, const struct effect *e)
{
    struct str stored =
        seal_task(&d->arena, d->drains->worker->settings->keyring, d->place.space.tenant, e->task, e->text);

    if (stored.p == NULL) {
        d->fx.failed = true;
        return;
    }
    commit_task(c, e->agent, e->task, stored);
    commit_event(c, agent_channel(d, e->agent),
                 arena_printf(&d->arena, "\"type\":\"task_assigned\",\"task\":" STR_FMT "}", STR_ARG(stored)));
    commit_channel(c, agent_channel(d, e->agent), AGENT_EVENTS_KEPT, 0);
}

static void write_cancel(struct drain *d, struct commit *c, const struct effect *e)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &d->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("type"));
    json_put_z(&o, "task_cancel");
    json_key(&o, S("taskId"));
    json_put_str(&o, e->task);
    json_key(&o, S("reason"));
    json_put_str(&o, e->text);
    json_key(&o, S("graceSeconds"));
    json_put_int(&o, RUN_GRACE_MS / 1000);
    json_close(&o, '}');
    commit_event(c, agent_channel(d, e->agent), b.failed ? STR_NONE : str_slice(buf_view(&b), 1, b.n));
}

static void write_effect(struct drain *d, struct commit *c, const struct effect *e)
{
    switch (e->type) {
    case EFFECT_EVENT:
        commit_event(c, place_channel(&d->arena, &d->place), e->text);
        break;
    case EFFECT_ASSIGN:
        write_assign(d, c, e);
        break;
    case EFFECT_CANCEL:
        write_cancel(d, c, e);
        break;
    case EFFECT_FORGET:
        commit_task(c, e->agent, e->task, STR_NONE);
        break;
    case EFFECT_WAIT:
    case EFFECT_WAIT_OVER:
        commit_waiting(c, e->task, e->type == EFFECT_WAIT);
        break;
    case EFFECT_WORK:
        commit_queue(c, e->task, d->now_ms + WORK_LEASE_MS); /* ours first, everybody's when the lease is over */
        break;
    case EFFECT_WORK_OVER:
        commit_queue(c, e->task, -1);
        break;
    case EFFECT_TIMER:
        commit_timer(c, d->place.kind->name, d->place.id, e->at);
        break;
    case EFFECT_TELL:
        commit_inbox(c, e->kind, e->run, e->id, e->text);
        break;
    case EFFECT_CHOOSE:
    case EFFECT_STATUS:
    case EFFECT_FINISHED:
        break;
    }
}

/* Of our own making. */
static const struct json_limits limits = {.depth = 64, .nodes = 400000};

static void write_document(struct drain *d, struct commit *c)
{
    const struct resource *resource = d->place.kind->resource;
    struct commit_index *index = arena_new(&d->arena, struct commit_index);
    struct json *json;
    struct buf b;

    buf_init_arena(&b, &d->arena, 1024);
    d->place.kind->document(&b, d->r, d->revision + 1, d->now_ms);
    json = b.failed || index == NULL ? NULL : json_parse(&d->arena, buf_view(&b), &limits, NULL);
    if (json == NULL) {
        d->fx.failed = true;
        return;
    }
    d->json = buf_view(&b);
    if (resource != NULL)
        document_index(index, &d->arena, resource, json);
    commit_put(c, &(struct commit_document){.kind = d->place.kind->name,
                                            .id = d->place.id,
                                            .revision = d->revision + 1,
                                            .schema = resource == NULL ? 1 : document_schema(resource),
                                            .json = d->json,
                                            .index = resource == NULL ? NULL : index});
}

static struct str text_of(struct drain *d, void (*write)(struct buf *b, const struct run *r, int step), int step)
{
    struct buf b;

    buf_init_arena(&b, &d->arena, 512);
    write(&b, d->r, step);
    return b.failed ? STR_NONE : buf_view(&b);
}

static void header_write(struct buf *b, const struct run *r, int step)
{
    (void)step;
    run_header_write(b, r);
}

static void write_run(struct drain *d, struct commit *c)
{
    const struct run *r = d->r;

    if (r->dirty) {
        write_document(d, c);
        commit_field(c, d->place.kind->name, d->place.id, S("h"), text_of(d, header_write, 0));
    }
    for (int i = 0; i < r->template->n; i++) {
        if (!r->steps[i].dirty)
            continue;
        commit_field(c, d->place.kind->name, d->place.id,
                     arena_printf(&d->arena, "s:" STR_FMT, STR_ARG(r->template->nodes[i].id)),
                     text_of(d, run_step_write, i));
    }
    d->wrote = r->dirty;
}

static void write_end(struct drain *d, struct commit *c)
{
    struct audit_entry entry = {.action = d->place.kind->audit,
                                .resource = d->place.kind->name,
                                .resource_id = d->place.id,
                                .metadata =
                                    arena_printf(&d->arena, "{\"status\":\"%s\"}", run_status_name(d->r->status))};

    if (entry.action != NULL)
        audit_add_system(c, &d->arena, "engine", &entry);
    commit_timer(c, d->place.kind->name, d->place.id, retention_at(d->drains, d->r));
}

void drain_write(struct drain *d, struct commit *c)
{
    d->finished = false;
    write_run(d, c);
    for (size_t i = 0; i < d->fx.n; i++) {
        write_effect(d, c, &d->fx.list[i]);
        d->finished = d->finished || d->fx.list[i].type == EFFECT_FINISHED;
    }
    if (d->place.kind->write != NULL)
        d->place.kind->write(c, &d->arena, d->r, &d->fx, d->now_ms, d->finished);
    if (d->finished)
        write_end(d, c);
}

static void count(struct drain *d, const struct effect *e)
{
    struct metrics *m = &d->drains->worker->metrics;

    if (e->type == EFFECT_ASSIGN)
        metrics_add(m, METRIC_TASKS_ASSIGNED, 1);
    if (e->type == EFFECT_FINISHED && d->place.kind->metric > 0)
        metrics_add(m, (enum metric)(d->place.kind->metric + (unsigned)(d->r->status - RUN_SUCCEEDED)), 1);
}

/* The other run has the entry; it is drained here, or found by the sweep. */
static void tell(struct drain *d, const struct effect *e)
{
    const struct run_kind *kind = run_kind_find(str_z(e->kind));

    if (kind != NULL)
        drain_run(d->drains->worker, kind, d->place.space, e->run);
}

/* An agent that came when the roster had been read, and the wait was not known yet, has offered itself to nobody. */
static void offer_again(struct drain *d)
{
    drain_append(d->drains->worker, d->place.kind, d->place.space, d->place.id, STR_NONE,
                 &(struct run_event){.type = EVENT_OFFER}, NULL, NULL, NULL); /* refused: it asks again itself */
}

void drain_committed_effects(struct drain *d)
{
    bool waits = false;

    for (size_t i = 0; i < d->fx.n; i++) {
        const struct effect *e = &d->fx.list[i];

        count(d, e);
        waits = waits || e->type == EFFECT_WAIT;
        if (e->type == EFFECT_TELL)
            tell(d, e);
        if (e->type == EFFECT_WORK && d->r->steps[e->step].status == STEP_RUNNING) {
            struct work *w = work_new(d->drains, &d->place, d->r, e->step);

            if (w != NULL)
                work_begin(w);
        }
    }
    if (waits)
        offer_again(d);
    if (d->place.kind->committed != NULL)
        d->place.kind->committed(d->drains->worker, d->place.space, d->r, &d->fx, d->finished);
    for (int i = 0; i < d->r->template->n; i++)
        d->r->steps[i].dirty = false;
    d->r->dirty = false;
    timers_set(d->drains, &d->place, d->r->timer_ms);
}

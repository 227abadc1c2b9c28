#include "server/api/orchestrator/workflow_run.h"

#include "server/audit.h"
#include "server/crud.h"
#include "server/engine/drain.h"
#include "server/worker.h"

struct action {
    struct request *r;
    enum run_action action;
    struct commit commit;
};

static const enum run_event_type action_events[ACTIONS] = {EVENT_PAUSE, EVENT_RESUME, EVENT_CANCEL};
static const char *const action_audits[ACTIONS] = {"run.paused", "run.resumed", "run.cancelled"};

static enum run_status status_of(const struct json *document)
{
    struct str name = json_str(json_get(document, "status"));
    int s = 0;

    while (s < RUN_STATUSES - 1 && !str_eqz(name, run_status_name((enum run_status)s)))
        s++;
    return (enum run_status)s;
}

static enum code refuse_action(struct request *r, enum run_status status)
{
    const char *allowed[ACTIONS + 1] = {NULL};
    int n = 0;

    for (int a = 0; a < ACTIONS; a++)
        if (run_action_verdict(status, (enum run_action)a) == VERDICT_ALLOWED)
            allowed[n++] = run_action_name((enum run_action)a);
    return change_refuse_state(r, run_status_name(status), allowed);
}

static enum flow answer_run(struct request *r, struct str json, int64_t revision)
{
    struct document *d = arena_new(&r->arena, struct document);

    if (d == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *d = (struct document){.id = r->params[0], .json = arena_str(&r->arena, json), .revision = revision};
    return d->json.p == NULL ? reply_error(r, SYS_OVERLOADED) : crud_answer(r, 200, d);
}

static void acted(void *arg, enum code c, const struct drained *d)
{
    struct action *a = arg;
    struct request *r = a->r;

    if (c != OK)
        reply_error(r, c);
    else if (run_status_ended(d->status) && !(a->action == ACTION_CANCEL && d->status == RUN_CANCELLED) &&
             a->action != ACTION_RESUME)
        reply_error(r, refuse_action(r, d->status)); /* it ended while the action was on its way */
    else
        answer_run(r, d->json, d->revision);
}

static struct str reason_object(struct request *r, struct str reason)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &r->arena, reason.n + 32);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("reason"));
    json_put_str(&o, reason);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum flow act_on(struct request *r, struct document *d, const struct json *parsed)
{
    struct action *a = r->state;
    enum run_status status = status_of(parsed);
    enum run_verdict verdict = run_action_verdict(status, a->action);
    struct run_event e = {
        .type = action_events[a->action], .by = r->caller.id, .reason = json_str(json_get(r->json, "reason"))};
    struct audit_entry entry = {.action = action_audits[a->action],
                                .resource = RUN_KIND,
                                .resource_id = d->id,
                                .environment_id = json_str(json_get(parsed, "environmentId")),
                                .release_id = json_str(json_get(parsed, "releaseId")),
                                .promotion_id = json_str(json_get(parsed, "promotionId"))};
    enum code c;

    if (verdict == VERDICT_REFUSED)
        return reply_error(r, refuse_action(r, status));
    if (verdict == VERDICT_DONE)
        return answer_run(r, d->json, d->revision);
    commit_begin(&a->commit, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, COMMIT_ESSENTIAL);
    commit_expect_exists(&a->commit, RES_NOT_FOUND, "id", key_document(&r->arena, a->commit.space, RUN_KIND, d->id));
    if (e.reason.n > 0)
        entry.metadata = reason_object(r, e.reason);
    audit_add(&a->commit, r, &entry);
    c = drain_commit(r->worker, &workflow_kind, &a->commit, d->id, STR_NONE, &e, &r->ops, acted, a);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow act(struct request *r, enum run_action action)
{
    struct action *a = arena_new(&r->arena, struct action);

    if (a == NULL)
        return reply_error(r, SYS_OVERLOADED);
    a->r = r;
    a->action = action;
    r->state = a;
    return crud_read(r, r->resource, r->params[0], act_on);
}

enum flow workflow_run_pause(struct request *r)
{
    return act(r, ACTION_PAUSE);
}
enum flow workflow_run_resume(struct request *r)
{
    return act(r, ACTION_RESUME);
}
enum flow workflow_run_cancel(struct request *r)
{
    return act(r, ACTION_CANCEL);
}

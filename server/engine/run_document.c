/* The public documents of a run (spec §6.3) and of its steps (§6.4), members in RFC 8785 order. */
#include "server/engine/run.h"

#include "server/engine/member.h"
#include "server/engine/redact.h"

/* --- the run --- */

static void put_active(struct json_out *o, const struct run *r)
{
    json_key(o, S("activeSteps"));
    json_open(o, '[');
    for (int k = 0; k < r->template->n; k++) {
        int i = r->template->order[k];
        enum step_status s = r->steps[i].status;

        if (s == STEP_READY || s == STEP_RUNNING || s == STEP_WAITING || s == STEP_RETRYING)
            json_put_str(o, r->template->nodes[i].id);
    }
    json_close(o, ']');
}

static int64_t progress(const struct run *r)
{
    int64_t ended = 0;

    for (int i = 0; i < r->template->n; i++)
        ended += step_status_ended(r->steps[i].status);
    return ended * 100 / r->template->n;
}

static void put_run_error(struct json_out *o, const struct run *r)
{
    if (r->error_code.n == 0)
        return;
    json_key(o, S("error"));
    json_open(o, '{');
    member_text(o, "code", r->error_code);
    member_text(o, "message", r->error_message);
    member_text(o, "nodeId", r->error_node);
    json_close(o, '}');
}

static void put_tree(struct json_out *o, const char *name, const struct json *j)
{
    json_key(o, str_z(name));
    if (j == NULL || json_is(j, JSON_NULL))
        json_put_raw(o, S("{}"));
    else
        json_put(o, j);
}

void run_document_write(struct buf *b, const struct run *r, int64_t revision, int64_t now)
{
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    put_active(&o, r);
    member_text(&o, "cancelReason", r->cancel_reason);
    member_text(&o, "cancelledBy", r->cancelled_by);
    put_tree(&o, "context", r->origin.context);
    member_time(&o, "createdAt", r->origin.created_ms);
    member_duration(&o, r->started_ms, r->finished_ms);
    member_text(&o, "environmentId", json_str(json_get(r->origin.context, "environmentId")));
    put_run_error(&o, r);
    member_time(&o, "finishedAt", r->finished_ms);
    member_text(&o, "id", r->origin.id);
    json_key(&o, S("inputs"));
    redact_inputs_write(&o, r->origin.inputs, r->template->inputs);
    put_tree(&o, "labels", r->origin.labels);
    member_raw(&o, "outputs", r->outputs);
    member_text(&o, "pauseReason", r->pause_reason);
    member_text(&o, "pausedBy", r->paused_by);
    member_int(&o, "progress", progress(r));
    member_text(&o, "promotionId", json_str(json_get(r->origin.context, "promotionId")));
    member_text(&o, "releaseId", json_str(json_get(r->origin.context, "releaseId")));
    member_int(&o, "revision", revision);
    member_time(&o, "startedAt", r->started_ms);
    json_key(&o, S("status"));
    json_put_z(&o, run_status_name(r->status));
    member_text(&o, "templateId", r->origin.template_id);
    member_text(&o, "templateName", r->origin.template_name);
    member_int(&o, "templateVersion", r->origin.template_version);
    member_text(&o, "tenantId", r->origin.tenant);
    member_text(&o, "triggerType", r->origin.trigger);
    member_text(&o, "triggeredBy", r->origin.triggered_by);
    member_time(&o, "updatedAt", now);
    json_close(&o, '}');
}

/* --- a step --- */

static void put_attempts(struct json_out *o, const struct step *s)
{
    json_key(o, S("attempts"));
    json_open(o, '[');
    for (unsigned i = 0; i < s->n_attempts; i++)
        member_attempt(o, &s->attempts[i]);
    if (s->status == STEP_READY || s->status == STEP_RUNNING || s->status == STEP_WAITING)
        member_attempt(o,
                       &(struct step_attempt){.attempt = s->attempt, .status = s->status, .started_ms = s->started_ms});
    json_close(o, ']');
}

static void put_blocker(struct json_out *o, const char *type, struct str node, struct str why)
{
    json_open(o, '{');
    member_text(o, "nodeId", node);
    member_text(o, "reason", why);
    json_key(o, S("type"));
    json_put_z(o, type);
    json_close(o, '}');
}

/* What stands between the step and its going on: {type: step|agent|timer|pause, nodeId?, reason?}. */
static void put_blockers(struct json_out *o, const struct run *r, int i)
{
    const struct template_node *node = &r->template->nodes[i];
    const struct step *s = &r->steps[i];
    bool stands = s->status == STEP_PENDING || s->status == STEP_WAITING || s->status == STEP_RETRYING ||
                  (s->status == STEP_READY && s->agent.n == 0);

    json_key(o, S("blockedBy"));
    json_open(o, '[');
    if (stands && r->paused)
        put_blocker(o, "pause", STR_NONE, r->pause_reason);
    for (int k = 0; s->status == STEP_PENDING && k < node->ins; k++) {
        int from = r->template->edges[node->in[k]].from;

        if (!step_status_ended(r->steps[from].status))
            put_blocker(o, "step", r->template->nodes[from].id, STR_NONE);
    }
    if (s->status == STEP_READY && !s->accepted)
        put_blocker(o, "agent", STR_NONE, s->reason);
    if (s->status == STEP_WAITING || s->status == STEP_RETRYING)
        put_blocker(o, "timer", STR_NONE, STR_NONE);
    json_close(o, ']');
}

static int position(const struct template *t, int i)
{
    int k = 0;

    while (t->order[k] != i)
        k++;
    return k;
}

void run_step_document_write(struct buf *b, const struct run *r, int i)
{
    const struct template_node *node = &r->template->nodes[i];
    const struct step *s = &r->steps[i];
    bool ended = step_status_ended(s->status);
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    member_text(&o, "agentId", s->agent);
    member_int(&o, "attempt", s->attempt);
    put_attempts(&o, s);
    put_blockers(&o, r, i);
    member_text(&o, "deploymentJobId", s->job);
    if (ended)
        member_duration(&o, s->first_ms, s->finished_ms);
    member_error(&o, s);
    if (ended)
        member_time(&o, "finishedAt", s->finished_ms);
    member_raw(&o, "inputs", s->inputs.n > 0 ? s->inputs : S("{}"));
    member_int(&o, "maxAttempts", node->retry.attempts);
    member_text(&o, "name", node->name);
    member_text(&o, "nodeId", node->id);
    member_raw(&o, "outputs", s->outputs.n > 0 ? s->outputs : S("{}"));
    member_int(&o, "position", position(r->template, i));
    if (s->progress >= 0)
        member_int(&o, "progress", s->progress);
    member_text(&o, "reason", s->reason);
    member_time(&o, "startedAt", s->first_ms);
    json_key(&o, S("status"));
    json_put_z(&o, step_status_name(s->status));
    json_key(&o, S("type"));
    json_put_z(&o, node->type->key);
    json_close(&o, '}');
}

/* The public documents of a run (spec §6.3) and of its steps (§6.4), members in RFC 8785 order. */
#include "server/engine/run.h"

#include "server/engine/redact.h"

static void put_text(struct json_out *o, const char *name, struct str text)
{
    if (text.n > 0) {
        json_key(o, str_z(name));
        json_put_str(o, text);
    }
}

static void put_time(struct json_out *o, const char *name, int64_t ms)
{
    if (ms > 0) {
        json_key(o, str_z(name));
        json_put_time(o, ms);
    }
}

static void put_raw(struct json_out *o, const char *name, struct str json)
{
    if (json.n > 0) {
        json_key(o, str_z(name));
        json_put_raw(o, json);
    }
}

static void put_int(struct json_out *o, const char *name, int64_t v)
{
    json_key(o, str_z(name));
    json_put_int(o, v);
}

static void put_duration(struct json_out *o, int64_t from_ms, int64_t to_ms)
{
    if (from_ms > 0 && to_ms >= from_ms) {
        json_key(o, S("duration"));
        json_put_real(o, (double)(to_ms - from_ms) / 1000);
    }
}

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
    put_text(o, "code", r->error_code);
    put_text(o, "message", r->error_message);
    put_text(o, "nodeId", r->error_node);
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
    put_text(&o, "cancelReason", r->cancel_reason);
    put_text(&o, "cancelledBy", r->cancelled_by);
    put_tree(&o, "context", r->origin.context);
    put_time(&o, "createdAt", r->origin.created_ms);
    put_duration(&o, r->started_ms, r->finished_ms);
    put_text(&o, "environmentId", json_str(json_get(r->origin.context, "environmentId")));
    put_run_error(&o, r);
    put_time(&o, "finishedAt", r->finished_ms);
    put_text(&o, "id", r->origin.id);
    json_key(&o, S("inputs"));
    redact_inputs_write(&o, r->origin.inputs, r->template->inputs);
    put_tree(&o, "labels", r->origin.labels);
    put_raw(&o, "outputs", r->outputs);
    put_text(&o, "pauseReason", r->pause_reason);
    put_text(&o, "pausedBy", r->paused_by);
    put_int(&o, "progress", progress(r));
    put_text(&o, "promotionId", json_str(json_get(r->origin.context, "promotionId")));
    put_text(&o, "releaseId", json_str(json_get(r->origin.context, "releaseId")));
    put_int(&o, "revision", revision);
    put_time(&o, "startedAt", r->started_ms);
    json_key(&o, S("status"));
    json_put_z(&o, run_status_name(r->status));
    put_text(&o, "templateId", r->origin.template_id);
    put_text(&o, "templateName", r->origin.template_name);
    put_int(&o, "templateVersion", r->origin.template_version);
    put_text(&o, "tenantId", r->origin.tenant);
    put_text(&o, "triggerType", r->origin.trigger);
    put_text(&o, "triggeredBy", r->origin.triggered_by);
    put_time(&o, "updatedAt", now);
    json_close(&o, '}');
}

/* --- a step --- */

static void put_attempt(struct json_out *o, const struct step_attempt *a)
{
    json_open(o, '{');
    put_int(o, "attempt", a->attempt);
    if (a->error_type.n > 0) {
        json_key(o, S("error"));
        json_open(o, '{');
        put_text(o, "message", a->message);
        put_text(o, "type", a->error_type);
        json_close(o, '}');
    }
    put_time(o, "finishedAt", a->finished_ms);
    put_text(o, "lateResult", a->late);
    put_time(o, "startedAt", a->started_ms);
    json_key(o, S("status"));
    json_put_z(o, step_status_name(a->status));
    json_close(o, '}');
}

static void put_attempts(struct json_out *o, const struct step *s)
{
    json_key(o, S("attempts"));
    json_open(o, '[');
    for (unsigned i = 0; i < s->n_attempts; i++)
        put_attempt(o, &s->attempts[i]);
    if (s->status == STEP_READY || s->status == STEP_RUNNING || s->status == STEP_WAITING)
        put_attempt(o, &(struct step_attempt){.attempt = s->attempt, .status = s->status, .started_ms = s->started_ms});
    json_close(o, ']');
}

static void put_blocker(struct json_out *o, const char *type, struct str node, struct str why)
{
    json_open(o, '{');
    put_text(o, "nodeId", node);
    put_text(o, "reason", why);
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

static void put_step_error(struct json_out *o, const struct step *s)
{
    if (s->error_type.n == 0)
        return;
    json_key(o, S("error"));
    json_open(o, '{');
    json_key(o, S("message"));
    json_put_str(o, s->message.p == NULL ? S("") : s->message);
    json_key(o, S("retriable"));
    json_put_bool(o, s->retriable);
    put_text(o, "type", s->error_type);
    json_close(o, '}');
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
    put_text(&o, "agentId", s->agent);
    put_int(&o, "attempt", s->attempt);
    put_attempts(&o, s);
    put_blockers(&o, r, i);
    put_text(&o, "deploymentJobId", s->job);
    if (ended)
        put_duration(&o, s->first_ms, s->finished_ms);
    put_step_error(&o, s);
    if (ended)
        put_time(&o, "finishedAt", s->finished_ms);
    put_raw(&o, "inputs", s->inputs.n > 0 ? s->inputs : S("{}"));
    put_int(&o, "maxAttempts", node->retry.attempts);
    put_text(&o, "name", node->name);
    put_text(&o, "nodeId", node->id);
    put_raw(&o, "outputs", s->outputs.n > 0 ? s->outputs : S("{}"));
    put_int(&o, "position", position(r->template, i));
    if (s->progress >= 0)
        put_int(&o, "progress", s->progress);
    put_text(&o, "reason", s->reason);
    put_time(&o, "startedAt", s->first_ms);
    json_key(&o, S("status"));
    json_put_z(&o, step_status_name(s->status));
    json_key(&o, S("type"));
    json_put_z(&o, node->type->key);
    json_close(&o, '}');
}

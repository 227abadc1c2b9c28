/* The public documents of a job (spec §8.1) and of its tasks (§8.2), members in RFC 8785 order. */
#include "server/engine/job_parts.h"

#include "server/engine/member.h"

static void put_z(struct json_out *o, const char *name, const char *text)
{
    member_text(o, name, str_z(text));
}

static void put_member(struct json_out *o, const char *name, const struct json *object, const char *member)
{
    member_text(o, name, json_str(json_get(object, member)));
}

/* --- the job --- */

int64_t job_progress(const struct job_counts *counts)
{
    return counts->total == 0 ? 100 : (int64_t)counts->done * 100 / counts->total;
}

static void put_job_error(struct json_out *o, const struct run *r)
{
    const struct job *job = job_of(r);
    int step = r->error_node.n > 0 ? template_find(r->template, r->error_node) : -1;

    if (r->error_code.n == 0)
        return;
    json_key(o, S("error"));
    json_open(o, '{');
    member_text(o, "code", r->error_code);
    member_text(o, "message", r->error_message);
    if (step >= 0)
        member_text(o, "targetId", job->targets[job->tasks[step].target].id);
    json_close(o, '}');
}

/* Those that were left out, and why (W19). */
static void put_skipped(struct json_out *o, const struct run *r)
{
    const struct job *job = job_of(r);

    json_key(o, S("skipped"));
    json_open(o, '[');
    for (int k = 0; k < job->n_targets; k++) {
        const struct job_target *t = &job->targets[k];
        const struct step *deploy = job_step(r, t, JOB_DEPLOY);

        if (deploy->status != STEP_SKIPPED)
            continue;
        json_open(o, '{');
        json_key(o, S("reason"));
        json_put_str(o, deploy->reason.p == NULL ? S("") : deploy->reason);
        member_text(o, "targetId", t->id);
        member_text(o, "targetName", t->name);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static struct str previous_release(const struct job *job)
{
    struct str id = STR_NONE;

    for (int k = 0; k < job->n_targets && id.n == 0; k++)
        id = json_str(json_path(job->targets[k].json, S("previous.id")));
    return id;
}

static void put_places(struct json_out *o, const struct job *job)
{
    put_member(o, "environmentId", json_get(job->plan, "environment"), "id");
    put_member(o, "environmentName", json_get(job->plan, "environment"), "name");
}

void job_document(struct buf *b, const struct run *r, int64_t revision, int64_t now)
{
    const struct job *job = job_of(r);
    const struct json *plan = job->plan, *release = json_get(plan, "release");
    struct job_counts counts = job_count(r);
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    member_int(&o, "batch", r->batch);
    member_text(&o, "cancelReason", r->cancel_reason);
    member_text(&o, "cancelledBy", r->cancelled_by);
    member_int(&o, "completedTargets", counts.completed);
    member_time(&o, "createdAt", r->origin.created_ms);
    put_member(&o, "createdBy", plan, "createdBy");
    member_duration(&o, r->started_ms, r->finished_ms);
    put_places(&o, job);
    put_job_error(&o, r);
    member_int(&o, "failedTargets", counts.failed);
    member_time(&o, "finishedAt", r->finished_ms);
    member_text(&o, "id", r->origin.id);
    member_text(&o, "pauseReason", r->pause_reason);
    member_text(&o, "pausedBy", r->paused_by);
    member_text(&o, "previousReleaseId", previous_release(job));
    member_int(&o, "progress", job_progress(&counts));
    put_member(&o, "promotionId", plan, "promotionId");
    put_member(&o, "releaseId", release, "id");
    put_member(&o, "releaseName", release, "name");
    member_int(&o, "revision", revision);
    put_member(&o, "rollbackId", plan, "rollbackId");
    put_member(&o, "rollbackOf", plan, "rollbackOf");
    member_text(&o, "rolledBackBy", r->rolled_back_by);
    put_skipped(&o, r);
    member_int(&o, "skippedTargets", counts.skipped);
    member_time(&o, "startedAt", r->started_ms);
    put_z(&o, "status", job_status_name(r));
    put_member(&o, "strategy", plan, "strategy");
    json_key(&o, S("strategyConfig"));
    if (json_is(json_get(plan, "config"), JSON_OBJECT))
        json_put(&o, json_get(plan, "config"));
    else
        json_put_raw(&o, S("{}"));
    member_text(&o, "tenantId", r->origin.tenant);
    member_int(&o, "totalBatches", job->n_batches);
    member_int(&o, "totalTargets", counts.total);
    member_time(&o, "updatedAt", now);
    member_text(&o, "workflowNodeId", job->parent_node);
    member_text(&o, "workflowRunId", job->parent_run);
    json_close(&o, '}');
}

/* --- a task --- */

static void put_blocker(struct json_out *o, const char *type, struct str task, struct str why)
{
    json_open(o, '{');
    member_text(o, "reason", why);
    member_text(o, "taskId", task);
    put_z(o, "type", type);
    json_close(o, '}');
}

/* What stands between the task and its going on: {type: pause|batch|task|room|agent|timer, taskId?, reason?}. */
static void put_blockers(struct json_out *o, const struct run *r, int i)
{
    const struct job *job = job_of(r);
    const struct step *s = &r->steps[i], *deploy = job_step(r, &job->targets[job->tasks[i].target], JOB_DEPLOY);
    const struct job_target *t = &job->targets[job->tasks[i].target];
    bool pending = s->status == STEP_PENDING, later = t->batch > r->batch;
    bool after = pending && job->tasks[i].type == JOB_CHECK && deploy->status != STEP_SUCCEEDED;

    json_key(o, S("blockedBy"));
    json_open(o, '[');
    if (r->paused && (pending || s->status == STEP_RETRYING || (s->status == STEP_READY && s->agent.n == 0)))
        put_blocker(o, "pause", STR_NONE, r->pause_reason);
    if (pending && later)
        put_blocker(o, "batch", STR_NONE, STR_NONE);
    if (after)
        put_blocker(o, "task", r->template->nodes[t->task[JOB_DEPLOY]].id, STR_NONE);
    if (pending && !later && !after && r->started_ms > 0 && !r->paused && job->max_concurrent > 0)
        put_blocker(o, "room", STR_NONE, S("maxConcurrent"));
    if (s->status == STEP_READY && !s->accepted)
        put_blocker(o, "agent", STR_NONE, s->reason);
    if (s->status == STEP_RETRYING)
        put_blocker(o, "timer", STR_NONE, STR_NONE);
    json_close(o, ']');
}

static void put_attempts(struct json_out *o, const struct step *s)
{
    json_key(o, S("attempts"));
    json_open(o, '[');
    for (unsigned k = 0; k < s->n_attempts; k++)
        member_attempt(o, &s->attempts[k]);
    json_close(o, ']');
}

void job_task_document_write(struct buf *b, const struct run *r, int i)
{
    const struct job *job = job_of(r);
    const struct job_target *t = &job->targets[job->tasks[i].target];
    const struct step *s = &r->steps[i];
    bool ended = step_status_ended(s->status);
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    member_text(&o, "agentId", s->agent);
    member_int(&o, "attempt", s->attempt);
    put_attempts(&o, s);
    member_int(&o, "batch", t->batch);
    put_blockers(&o, r, i);
    if (ended)
        member_duration(&o, s->first_ms, s->finished_ms);
    if (s->status != STEP_SUCCEEDED && s->status != STEP_SKIPPED)
        member_error(&o, s);
    if (ended)
        member_time(&o, "finishedAt", s->finished_ms);
    member_text(&o, "id", r->template->nodes[i].id);
    member_text(&o, "jobId", r->origin.id);
    member_int(&o, "maxAttempts", r->template->nodes[i].retry.attempts);
    if (!ended || s->error_type.n == 0)
        member_text(&o, "message", s->message);
    member_int(&o, "position", i);
    if (s->progress >= 0)
        member_int(&o, "progress", s->progress);
    member_text(&o, "reason", s->reason);
    if (s->outputs.n > 0) {
        json_key(&o, S("result"));
        json_put_raw(&o, s->outputs);
    }
    member_time(&o, "startedAt", s->first_ms);
    put_z(&o, "status", job_task_status_name(r, i));
    member_text(&o, "targetId", t->id);
    member_text(&o, "targetName", t->name);
    put_z(&o, "type", job_task_types[job->tasks[i].type]);
    json_close(&o, '}');
}

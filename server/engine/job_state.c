/* What the steps of a job come to: of its targets, of its tasks, and as a whole, to the end. */
#include "server/engine/job_parts.h"

#include <stdio.h>

const char *const job_statuses[] = {"pending",      "running",         "paused", "cancelling",
                                    "rolling_back", "succeeded",       "failed", "cancelled",
                                    "rolled_back",  "rollback_failed", NULL};
const char *const job_task_statuses[] = {"pending",   "assigned", "running",   "succeeded", "failed",
                                         "timed_out", "skipped",  "cancelled", NULL};

static enum job_status rolled(int64_t rollback)
{
    return rollback == ROLLBACK_RUNNING ? JOB_STATUS_ROLLING_BACK
           : rollback == ROLLBACK_DONE  ? JOB_STATUS_ROLLED_BACK
                                        : JOB_STATUS_ROLLBACK_FAILED;
}

static enum job_status ended(const struct run *r)
{
    if (r->rolled_back_by.n > 0)
        return rolled(r->rollback);
    if (r->status == RUN_CANCELLED)
        return JOB_STATUS_CANCELLED;
    if (r->rollback != ROLLBACK_NONE)
        return rolled(r->rollback);
    return r->status == RUN_SUCCEEDED ? JOB_STATUS_SUCCEEDED : JOB_STATUS_FAILED;
}

enum job_status job_status(const struct run *r)
{
    if (r->phase == PHASE_OVER)
        return ended(r);
    if (r->cancelling)
        return JOB_STATUS_CANCELLING;
    if (r->paused)
        return JOB_STATUS_PAUSED;
    if (r->rollback == ROLLBACK_RUNNING)
        return JOB_STATUS_ROLLING_BACK;
    return r->started_ms == 0 ? JOB_STATUS_PENDING : JOB_STATUS_RUNNING;
}

const char *job_status_name(const struct run *r)
{
    return job_statuses[job_status(r)];
}

/* --- targets --- */

static bool failed(const struct step *s)
{
    return s != NULL && (s->status == STEP_FAILED || s->status == STEP_TIMED_OUT);
}

bool job_target_done(const struct run *r, const struct job_target *t)
{
    const struct step *deploy = job_step(r, t, JOB_DEPLOY), *check = job_step(r, t, JOB_CHECK);

    if (!step_status_ended(deploy->status))
        return false;
    return deploy->status != STEP_SUCCEEDED || check == NULL || step_status_ended(check->status);
}

bool job_target_failed(const struct run *r, const struct job_target *t)
{
    return failed(job_step(r, t, JOB_DEPLOY)) || failed(job_step(r, t, JOB_CHECK));
}

static bool refused_by(const struct step *s, struct str agent)
{
    bool refused = str_eq(s->busy, agent);

    for (unsigned k = 0; k < s->n_refused; k++)
        refused = refused || str_eq(s->refused[k], agent);
    return refused;
}

/* Some agent was asked, in this attempt or one before, and did not say that it leaves the task alone. */
bool job_target_touched(const struct run *r, const struct job_target *t)
{
    const struct step *s = job_step(r, t, JOB_DEPLOY);
    bool touched = s->first_ms > 0 || s->agent.n > 0;

    for (unsigned k = 0; k < s->n_asked && !touched; k++)
        touched = !refused_by(s, s->asked[k]);
    for (unsigned k = 0; k < s->n_attempts && !touched; k++)
        touched = (s->attempts[k].status == STEP_FAILED || s->attempts[k].status == STEP_TIMED_OUT) &&
                  !str_eqz(s->attempts[k].error_type, JOB_NO_AGENT);
    return touched;
}

static bool completed(const struct run *r, const struct job_target *t)
{
    const struct step *check = job_step(r, t, JOB_CHECK);

    return job_step(r, t, JOB_DEPLOY)->status == STEP_SUCCEEDED && (check == NULL || check->status == STEP_SUCCEEDED);
}

struct job_counts job_count(const struct run *r)
{
    const struct job *job = job_of(r);
    struct job_counts c = {.total = job->n_targets};

    for (int i = 0; i < job->n_targets; i++) {
        const struct job_target *t = &job->targets[i];

        c.completed += completed(r, t);
        c.failed += job_target_failed(r, t);
        c.skipped += job_step(r, t, JOB_DEPLOY)->status == STEP_SKIPPED;
        c.done += job_target_done(r, t);
    }
    return c;
}

/* --- tasks --- */

const char *job_task_status_name(const struct run *r, int task)
{
    // clang-format off
    static const char *const names[STEP_STATUSES] = {
        [STEP_PENDING]  = "pending",  [STEP_READY]     = "pending",   [STEP_RUNNING]   = "running",
        [STEP_WAITING]  = "pending",  [STEP_RETRYING]  = "pending",   [STEP_SUCCEEDED] = "succeeded",
        [STEP_FAILED]   = "failed",   [STEP_TIMED_OUT] = "timed_out", [STEP_CANCELLED] = "cancelled",
        [STEP_SKIPPED]  = "skipped"};
    // clang-format on
    const struct step *s = &r->steps[task];

    return s->status == STEP_READY && s->agent.n > 0 ? "assigned" : names[s->status];
}

bool job_task_shown(const struct run *r, int task)
{
    return job_of(r)->tasks[task].type != JOB_ROLLBACK || r->steps[task].status != STEP_PENDING ||
           r->steps[task].attempt > 0;
}

/* --- the end --- */

static void put_count(struct json_out *o, const char *name, int n)
{
    json_key(o, str_z(name));
    json_put_int(o, n);
}

void job_sticker_id(struct str job, struct str target, int64_t written_ms, char out[ID_UUID])
{
    char seed[2 * ID_UUID + 16];
    int n = snprintf(seed, sizeof seed, "sticker:" STR_FMT ":" STR_FMT, STR_ARG(job), STR_ARG(target));

    id_uuid_of(written_ms, (struct str){seed, n < (int)sizeof seed ? (size_t)n : sizeof seed - 1}, out);
}

static void put_stickers(struct json_out *o, const struct run *r)
{
    const struct job *job = job_of(r);

    json_key(o, S("stickerIds"));
    json_open(o, '[');
    for (int k = 0; k < job->n_targets; k++) {
        const struct step *s = job_step(r, &job->targets[k], JOB_DEPLOY);
        char id[ID_UUID];

        if (s->status != STEP_SUCCEEDED || !json_is(json_get(s->outputs_json, "sticker"), JSON_OBJECT))
            continue;
        job_sticker_id(r->origin.id, job->targets[k].id, s->finished_ms, id);
        json_put_z(o, id);
    }
    json_close(o, ']');
}

static const struct json *end_outputs(struct arena *a, const struct run *r)
{
    struct job_counts counts = job_count(r);
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 192);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_count(&o, "completed", counts.completed);
    json_key(&o, S("deploymentJobId"));
    json_put_str(&o, r->origin.id);
    put_count(&o, "failed", counts.failed);
    put_count(&o, "skipped", counts.skipped);
    json_key(&o, S("status"));
    json_put_z(&o, job_status_name(r));
    if (job_of(r)->again)
        put_stickers(&o, r);
    put_count(&o, "targets", counts.total);
    json_close(&o, '}');
    return b.failed ? NULL : json_parse(a, buf_view(&b), NULL, NULL);
}

bool job_end(struct arena *a, const struct run *r, struct run_event *e)
{
    enum job_status status = job_status(r);

    *e = (struct run_event){
        .type = EVENT_WORK_COMPLETED, .success = status == JOB_STATUS_SUCCEEDED, .outputs = end_outputs(a, r)};
    if (!e->success) {
        e->error_type = status == JOB_STATUS_CANCELLED     ? S("cancelled")
                        : status == JOB_STATUS_ROLLED_BACK ? S("deployment_rolled_back")
                                                           : S("deployment_failed");
        e->message = status == JOB_STATUS_CANCELLED ? r->cancel_reason : r->error_message;
        if (e->message.n == 0)
            e->message = arena_printf(a, "the deployment job is %s", job_statuses[status]);
        e->retriable = status != JOB_STATUS_CANCELLED;
    }
    return e->outputs != NULL && (e->success || e->message.p != NULL);
}

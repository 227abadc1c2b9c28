/* The frames of a job's channel (spec §13.4). `task_log` is written by whoever appends lines.
 *
 * In order: job_started, then for each batch batch_started, its tasks' frames, batch_completed; for a task task_assigned,
 * task_started, its lines, task_completed (or task_retrying, and again from task_assigned); job_progress whenever a target
 * more is done with; job_completed last. What a rollback of another job does to one that has ended is told by the
 * dashboard alone. */
#include "server/engine/job_parts.h"

#include "server/engine/member.h"

static void put_error(struct json_out *o, const struct step *s)
{
    if (s->status != STEP_SUCCEEDED && s->status != STEP_SKIPPED)
        member_error(o, s);
}

/* --- the job --- */

static void started(struct json_out *o, const struct run *r)
{
    const struct job *job = job_of(r);

    member_text(o, "environmentId", json_str(json_path(job->plan, S("environment.id"))));
    member_text(o, "jobId", r->origin.id);
    member_text(o, "releaseId", json_str(json_path(job->plan, S("release.id"))));
    member_text(o, "strategy", json_str(json_get(job->plan, "strategy")));
    member_int(o, "totalBatches", job->n_batches);
    member_int(o, "totalTargets", job->n_targets);
}

static void paused(struct json_out *o, const struct run *r)
{
    member_text(o, "by", r->paused_by);
    member_text(o, "reason", r->pause_reason);
}

static void completed(struct json_out *o, const struct run *r)
{
    struct job_counts counts = job_count(r);

    member_seconds(o, "duration", r->started_ms > 0 ? r->finished_ms - r->started_ms : 0);
    if (r->error_code.n > 0) {
        json_key(o, S("error"));
        json_open(o, '{');
        member_text(o, "code", r->error_code);
        member_text(o, "message", r->error_message);
        json_close(o, '}');
    }
    json_key(o, S("status"));
    json_put_z(o, job_status_name(r));
    json_key(o, S("summary"));
    json_open(o, '{');
    member_int(o, "completed", counts.completed);
    member_int(o, "failed", counts.failed);
    member_int(o, "skipped", counts.skipped);
    member_int(o, "total", counts.total);
    json_close(o, '}');
}

void job_frame_run(struct move *m, enum run_moment what)
{
    static const struct {
        const char *type;
        void (*write)(struct json_out *o, const struct run *r);
    } frames[] = {[MOMENT_STARTED] = {"job_started", started},
                  [MOMENT_PAUSED] = {"job_paused", paused},
                  [MOMENT_RESUMED] = {"job_resumed", NULL},
                  [MOMENT_COMPLETED] = {"job_completed", completed},
                  [MOMENT_ROLLED_BACK] = {NULL, NULL}};
    struct frame f;

    if (what == MOMENT_ROLLING_BACK || what == MOMENT_ROLLED_BACK)
        job_announce(m);
    if (frames[what].type == NULL)
        return;
    frame_begin(&f, m, frames[what].type, -1);
    if (frames[what].write != NULL)
        frames[what].write(&f.o, m->r);
    frame_end(&f);
}

void job_frame_batch(struct move *m, const char *type)
{
    const struct job *job = job_of(m->r);
    struct frame f;

    frame_begin(&f, m, type, -1);
    member_int(&f.o, "batch", m->r->batch);
    json_key(&f.o, S("targets"));
    json_open(&f.o, '[');
    for (int k = 0; k < job->n_targets; k++)
        if (job->targets[k].batch == m->r->batch)
            json_put_str(&f.o, job->targets[k].id);
    json_close(&f.o, ']');
    frame_end(&f);
}

void job_frame_progress(struct move *m, const struct job_counts *counts)
{
    struct frame f;

    frame_begin(&f, m, "job_progress", -1);
    member_int(&f.o, "completed", counts->completed);
    member_int(&f.o, "failed", counts->failed);
    member_int(&f.o, "progress", job_progress(counts));
    member_int(&f.o, "skipped", counts->skipped);
    member_int(&f.o, "total", counts->total);
    frame_end(&f);
}

void job_frame_rollback(struct move *m)
{
    struct frame f;

    frame_begin(&f, m, "rollback_started", -1);
    member_text(&f.o, "reason", m->r->error_message);
    member_text(&f.o, "rollbackId", m->r->origin.id);
    frame_end(&f);
}

/* --- a task --- */

static void put_holder(struct json_out *o, const struct run *r, int i)
{
    member_text(o, "agentId", r->steps[i].agent);
    member_int(o, "attempt", r->steps[i].attempt);
}

static void put_progress(struct json_out *o, const struct run *r, int i)
{
    member_text(o, "message", r->steps[i].message);
    member_int(o, "progress", r->steps[i].progress);
}

static void put_retrying(struct json_out *o, const struct run *r, int i)
{
    const struct step *s = &r->steps[i];
    int64_t from = r->paused ? r->paused_ms : s->finished_ms;

    member_int(o, "attempt", s->attempt + 1);
    member_seconds(o, "delaySeconds", s->due_ms > from ? s->due_ms - from : 0);
    put_error(o, s);
    member_int(o, "maxAttempts", r->template->nodes[i].retry.attempts);
}

static void put_completed(struct json_out *o, const struct run *r, int i)
{
    const struct step *s = &r->steps[i];

    member_int(o, "attempt", s->attempt);
    member_seconds(o, "duration", s->first_ms > 0 ? s->finished_ms - s->first_ms : 0);
    put_error(o, s);
    member_text(o, "reason", s->reason);
    json_key(o, S("status"));
    json_put_z(o, job_task_status_name(r, i));
}

void job_frame_step(struct move *m, enum step_moment what, int i)
{
    static const struct {
        const char *type;
        void (*write)(struct json_out *o, const struct run *r, int i);
    } frames[] = {
        [MOMENT_STEP_ASSIGNED] = {"task_assigned", put_holder},
        [MOMENT_STEP_STARTED] = {"task_started", put_holder},
        [MOMENT_STEP_PROGRESS] = {"task_progress", put_progress},
        [MOMENT_STEP_RETRYING] = {"task_retrying", put_retrying},
        [MOMENT_STEP_SKIPPED] = {"task_completed", put_completed},
        [MOMENT_STEP_COMPLETED] = {"task_completed", put_completed},
    };
    const struct job *job = job_of(m->r);
    struct frame f;

    if (frames[what].type == NULL)
        return;
    frame_begin(&f, m, frames[what].type, i);
    member_text(&f.o, "targetId", job->targets[job->tasks[i].target].id);
    member_text(&f.o, "taskId", node_of(m, i)->id);
    json_key(&f.o, S("taskType"));
    json_put_z(&f.o, job_task_types[job->tasks[i].type]);
    frames[what].write(&f.o, m->r, i);
    frame_end(&f);
}

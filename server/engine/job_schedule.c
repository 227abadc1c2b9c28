/* Which tasks of a job begin, in which batch it is, when it stops, rolls back and ends. */
#include "server/engine/job_parts.h"

#include "server/agent/protocol.h"
#include "server/engine/choose.h"

/* --- what the job says beside its tasks --- */

void job_announce(struct move *m)
{
    if (m->r->told_status == (int64_t)job_status(m->r))
        return;
    m->r->told_status = job_status(m->r);
    m->r->dirty = true;
    effect_add(m, EFFECT_STATUS, -1);
}

static void tell_progress(struct move *m)
{
    struct job_counts counts = job_count(m->r);

    if (m->r->told_done == counts.done)
        return;
    m->r->told_done = counts.done;
    m->r->dirty = true;
    job_frame_progress(m, &counts);
}

static void tell_parent(struct move *m, struct run_event *e, struct str id)
{
    const struct job *job = job_of(m->r);

    if (job->parent_run.n == 0)
        return;
    e->node = job->parent_node;
    e->attempt = job->parent_attempt;
    effect_tell(m, "run", job->parent_run, id, e);
}

/* As whoever finds it out by other ways names it: it counts once. */
static void tell_end(struct move *m)
{
    const struct job *job = job_of(m->r);
    struct run_event e;

    if (job_end(m->fx->arena, m->r, &e))
        tell_parent(m, &e,
                    arena_printf(m->fx->arena, STR_FMT ":" STR_FMT ":%lld", STR_ARG(job->parent_run),
                                 STR_ARG(job->parent_node), (long long)job->parent_attempt));
    else
        m->fx->failed = true;
}

/* --- failures --- */

static struct str first_failure(struct move *m, int step)
{
    const struct job *job = job_of(m->r);
    const struct step *s = &m->r->steps[step];
    const struct job_target *t = &job->targets[job->tasks[step].target];

    return arena_printf(m->fx->arena, "%s of target " STR_FMT " failed: " STR_FMT,
                        job_task_types[job->tasks[step].type], STR_ARG(t->name),
                        STR_ARG(s->message.n > 0 ? s->message : s->error_type));
}

static int count_failed(const struct run *r)
{
    const struct job *job = job_of(r);
    int n = 0;

    for (int i = 0; i < job->n_targets; i++)
        n += job_target_failed(r, &job->targets[i]);
    return n;
}

void job_failed(struct move *m, int step)
{
    const struct job *job = job_of(m->r);

    if (job->tasks[step].type == JOB_ROLLBACK || m->r->stopping || m->r->cancelling ||
        count_failed(m->r) <= job->max_failures)
        return;
    if (job->behaviour != JOB_PAUSES) {
        run_fail(m, "DEPLOY_TARGET_FAILED", first_failure(m, step), step);
        m->r->stopping = job->behaviour != JOB_CONTINUES;
    } else if (!m->r->paused) {
        struct run_event e = {.type = EVENT_PAUSE, .by = S("engine"), .reason = first_failure(m, step)};

        run_pause(m, e.by, e.reason);
        tell_parent(m, &e, STR_NONE);
    }
}

/* Who resumes a job that was paused for its failures wants them tried again. */
void job_resumed(struct move *m)
{
    const struct job *job = job_of(m->r);

    if (job->behaviour != JOB_PAUSES || halted(m->r, ROLE_ORDINARY) || count_failed(m->r) <= job->max_failures)
        return;
    for (int i = 0; i < m->r->template->n; i++) {
        struct step *s = &m->r->steps[i];

        if (s->status != STEP_FAILED && s->status != STEP_TIMED_OUT)
            continue;
        s->status = STEP_PENDING; /* begun as soon as there is room */
        s->due_ms = m->now;
        job_frame_step(m, MOMENT_STEP_RETRYING, i);
        s->due_ms = 0;
        step_touch(m, i);
    }
}

/* Nobody has the task; its time-out began when that did. */
bool job_unassigned(struct move *m, int i, struct str why)
{
    const struct job *job = job_of(m->r);
    struct step *s = &m->r->steps[i];
    int64_t waited = m->now - (s->expires_ms - node_of(m, i)->timeout_ms);
    bool untouched = job->tasks[i].type == JOB_DEPLOY && !job_target_touched(m->r, &job->targets[job->tasks[i].target]);

    if (job->unavailable == JOB_WAITS || choose_busy(why))
        return false;
    if (job->unavailable == JOB_SKIPS && untouched) {
        s->reason = keep(m, why);
        step_over(m, i, &(struct outcome){STEP_SKIPPED, STR_NONE, STR_NONE, false, false, NULL});
        return true;
    }
    if (waited < JOB_UNAVAILABLE_MS)
        return false;
    step_over(m, i,
              &(struct outcome){STEP_FAILED, untouched ? S(JOB_NO_AGENT) : S(PROTOCOL_LOST), why, false, false, NULL});
    return true;
}

/* --- tasks --- */

static bool under_way(const struct step *s)
{
    return s->status == STEP_READY || s->status == STEP_RUNNING || s->status == STEP_RETRYING;
}

/* How many more tasks may begin. */
static int64_t room(const struct run *r)
{
    int64_t left = job_of(r)->max_concurrent;

    if (left == 0)
        return INT64_MAX;
    for (int i = 0; i < r->template->n; i++)
        left -= under_way(&r->steps[i]);
    return left;
}

static void begin_type(struct move *m, enum job_task_type type, int64_t *left)
{
    const struct job *job = job_of(m->r);

    for (int k = 0; k<job->n_targets && * left> 0 && !m->r->paused && !halted(m->r, ROLE_ORDINARY); k++) {
        const struct job_target *t = &job->targets[k];
        const struct step *s = job_step(m->r, t, type);

        if (s == NULL || s->status != STEP_PENDING || t->batch == 0 || t->batch > m->r->batch)
            continue;
        if (type == JOB_CHECK && job_step(m->r, t, JOB_DEPLOY)->status != STEP_SUCCEEDED)
            continue;
        step_begin(m, t->task[type]);
        *left -= under_way(s);
    }
}

static void give_up(struct move *m, int i, struct str reason)
{
    m->r->steps[i].reason = reason;
    step_end(m, i, STEP_CANCELLED);
}

/* Health checks of targets that are not deployed. Those of a failed one wait while it may be tried again. */
static void settle_checks(struct move *m, bool last)
{
    const struct job *job = job_of(m->r);

    for (int k = 0; k < job->n_targets; k++) {
        const struct job_target *t = &job->targets[k];
        const struct step *check = job_step(m->r, t, JOB_CHECK), *deploy = job_step(m->r, t, JOB_DEPLOY);

        if (check == NULL || check->status != STEP_PENDING)
            continue;
        if (deploy->status == STEP_SKIPPED)
            step_skip(m, t->task[JOB_CHECK], deploy->reason, false);
        else if (job_target_failed(m->r, t) && (last || job->behaviour != JOB_PAUSES))
            step_skip(m, t->task[JOB_CHECK], S("the deployment failed"), false);
        else if (deploy->status == STEP_CANCELLED)
            give_up(m, t->task[JOB_CHECK], deploy->reason);
    }
}

static struct str stop_reason(const struct run *r)
{
    return r->cancelling ? S("the job was cancelled") : r->timed_out ? S("the job timed out") : S("the job failed");
}

static void stop_task(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];
    bool kill = m->r->cancelling || m->r->timed_out, idle = s->status == STEP_READY && s->agent.n == 0;

    if (s->status == STEP_PENDING)
        give_up(m, i, stop_reason(m->r));
    else if (s->status == STEP_RETRYING && !m->r->cancelling)
        step_end(m, i, STEP_FAILED);
    else if (kill || idle)
        step_kill(m, i, stop_reason(m->r));
}

static void stop_tasks(struct move *m, enum node_role role)
{
    for (int i = 0; i < m->r->template->n; i++)
        if (node_of(m, i)->role == role && !step_status_ended(m->r->steps[i].status))
            stop_task(m, i);
}

static bool tasks_ended(const struct run *r)
{
    for (int i = 0; i < r->template->n; i++)
        if (r->template->nodes[i].role == ROLE_ORDINARY && !step_status_ended(r->steps[i].status))
            return false;
    return true;
}

/* --- batches --- */

static void begin_batch(struct move *m)
{
    m->r->batch++;
    m->r->batch_due_ms = 0;
    m->r->dirty = true;
    job_frame_batch(m, "batch_started");
}

static void begin_job(struct move *m)
{
    const struct job *job = job_of(m->r);

    for (int k = 0; k < job->n_targets; k++)
        if (job->targets[k].skip.n > 0)
            step_skip(m, job->targets[k].task[JOB_DEPLOY], job->targets[k].skip, false);
    if (job->n_batches > 0)
        begin_batch(m);
}

/* All targets up to the present batch are done with, and none of them is to be tried again. */
static bool batch_done(const struct run *r)
{
    const struct job *job = job_of(r);

    for (int k = 0; k < job->n_targets; k++)
        if (job->targets[k].batch <= r->batch && !job_target_done(r, &job->targets[k]))
            return false;
    return job->behaviour != JOB_PAUSES || count_failed(r) <= job->max_failures;
}

/* True when the next batch has begun. */
static bool next_batch(struct move *m)
{
    const struct job *job = job_of(m->r);

    if (m->r->batch == 0 || !batch_done(m->r))
        return false;
    if (m->r->batch_due_ms == 0) {
        m->r->batch_due_ms = timer_base(m) + (m->r->batch < job->n_batches ? job->pause_ms : 0);
        m->r->dirty = true;
        job_frame_batch(m, "batch_completed");
    }
    if (m->r->paused || m->r->batch == job->n_batches || m->now < m->r->batch_due_ms)
        return false;
    begin_batch(m);
    return true;
}

/* --- phases --- */

static bool main_over(struct move *m)
{
    if (m->r->paused)
        return false;
    if (!halted(m->r, ROLE_ORDINARY)) {
        if (m->r->batch < job_of(m->r)->n_batches || !batch_done(m->r))
            return false;
        settle_checks(m, true);
    }
    return tasks_ended(m->r);
}

static bool phase_main(struct move *m)
{
    int64_t left = room(m->r);

    if (m->r->batch == 0 && !halted(m->r, ROLE_ORDINARY))
        begin_job(m);
    settle_checks(m, halted(m->r, ROLE_ORDINARY));
    begin_type(m, JOB_CHECK, &left);
    begin_type(m, JOB_DEPLOY, &left);
    if (halted(m->r, ROLE_ORDINARY))
        stop_tasks(m, ROLE_ORDINARY);
    tell_progress(m);
    if (!halted(m->r, ROLE_ORDINARY) && next_batch(m))
        return true;
    if (!main_over(m))
        return false;
    to_phase(m, PHASE_COMPENSATION);
    return true;
}

static void finish(struct move *m)
{
    struct job_counts counts = job_count(m->r);

    if (!m->r->failed && !m->r->cancelling && counts.skipped == counts.total)
        run_fail(m, "DEPLOY_NO_TARGET", S("every target was skipped"), -1);
    tell_progress(m);
    run_end(m, m->r->cancelling ? RUN_CANCELLED : m->r->failed ? RUN_FAILED : RUN_SUCCEEDED);
    tell_end(m);
}

static bool begin_rollback(struct move *m)
{
    const struct job *job = job_of(m->r);
    bool wanted = m->r->failed && !m->r->cancelling && job->behaviour == JOB_ROLLS_BACK, touched = false;

    for (int k = 0; k < job->n_targets && !touched; k++)
        touched = job_target_touched(m->r, &job->targets[k]);
    if (!wanted || !touched)
        return false;
    m->r->rollback = ROLLBACK_RUNNING;
    m->r->dirty = true;
    job_frame_rollback(m);
    return true;
}

/* Sends touched targets back, the last one first. True when none is left. */
static bool roll_back(struct move *m, bool *fine)
{
    const struct job *job = job_of(m->r);
    int64_t left = room(m->r);
    bool over = true;

    *fine = true;
    for (int k = job->n_targets - 1; k >= 0; k--) {
        const struct job_target *t = &job->targets[k];
        const struct step *s = job_step(m->r, t, JOB_ROLLBACK);

        if (s->status == STEP_PENDING && !job_target_touched(m->r, t))
            continue;
        if (s->status == STEP_PENDING && left > 0 && !m->r->paused && !m->r->cancelling) {
            step_begin(m, t->task[JOB_ROLLBACK]);
            left -= under_way(s);
        }
        over = over && (step_status_ended(s->status) || (s->status == STEP_PENDING && m->r->cancelling));
        *fine = *fine && s->status == STEP_SUCCEEDED;
    }
    return over;
}

static void stop_rollback(struct move *m)
{
    for (int i = 0; i < m->r->template->n; i++)
        if (node_of(m, i)->role == ROLE_COMPENSATES && under_way(&m->r->steps[i]))
            step_kill(m, i, stop_reason(m->r));
}

static bool phase_rollback(struct move *m)
{
    bool fine;

    if (m->r->rollback == ROLLBACK_NONE && !begin_rollback(m)) {
        finish(m);
        return false;
    }
    if (m->r->cancelling)
        stop_rollback(m);
    if (!roll_back(m, &fine) || m->r->paused)
        return false;
    m->r->rollback = fine ? ROLLBACK_DONE : ROLLBACK_FAILED;
    finish(m);
    return false;
}

void job_schedule(struct move *m)
{
    while ((m->r->started_ms > 0 || m->r->cancelling) && m->r->phase == PHASE_MAIN && !m->fx->failed && phase_main(m))
        ;
    if (m->r->phase == PHASE_COMPENSATION && !m->fx->failed)
        phase_rollback(m);
    job_announce(m);
}

/* What must hold of a job: after each transition, of each frame, and at its end. */
#include "test/sim/job_sim.h"

#include "server/event.h"

#include <string.h>

size_t job_count_frames(const struct effects *fx)
{
    size_t n = 0;

    for (size_t i = 0; i < fx->n; i++)
        n += fx->list[i].type == EFFECT_EVENT;
    return n;
}

void job_remember(const struct run *r, const struct effects *fx, struct job_before *b)
{
    b->status = job_status(r);
    b->paused = r->paused;
    b->halted = r->stopping || r->cancelling;
    b->over = r->phase == PHASE_OVER;
    b->frames = job_count_frames(fx);
    for (int i = 0; i < r->template->n; i++)
        b->attempts[i] = r->steps[i].attempt;
}

static bool busy(const struct run *r, int step)
{
    enum step_status status = step < 0 ? STEP_PENDING : r->steps[step].status;

    return status == STEP_READY || status == STEP_RUNNING || status == STEP_RETRYING;
}

static bool ended(const struct run *r, int step)
{
    return step < 0 || step_status_ended(r->steps[step].status);
}

static bool over(const struct run *r, const struct job_target *t)
{
    int deploy = t->task[JOB_DEPLOY];

    return ended(r, deploy) && (r->steps[deploy].status != STEP_SUCCEEDED || ended(r, t->task[JOB_CHECK]));
}

static void check_begun(struct job_sim *s, const struct run *r, int step, const struct run_event *e,
                        const struct job_before *b)
{
    const struct job_task *task = &s->job->tasks[step];
    const char *id = s->t->nodes[step].id.p;
    int batch = s->spec.target[task->target].batch;

    if (b->paused && r->paused && e->type != EVENT_RESUME)
        job_fault(s, "task %s began while the job was paused", id);
    if (task->type != JOB_ROLLBACK && b->halted)
        job_fault(s, "task %s began while the job was stopping", id);
    if (task->type != JOB_ROLLBACK && batch == 0)
        job_fault(s, "task %s of a skipped target began", id);
    if (task->type == JOB_CHECK && r->steps[s->job->targets[task->target].task[JOB_DEPLOY]].status != STEP_SUCCEEDED)
        job_fault(s, "task %s began before its target was deployed", id);
    for (int k = 0; k < s->spec.n; k++) {
        const struct job_target *t = &s->job->targets[k];

        if (task->type != JOB_ROLLBACK && s->spec.target[k].batch < batch && !over(r, t) && !s->resumed)
            job_fault(s, "task %s began before batch %d was over", id, s->spec.target[k].batch);
        if (task->type == JOB_ROLLBACK && (busy(r, t->task[JOB_DEPLOY]) || busy(r, t->task[JOB_CHECK])))
            job_fault(s, "task %s began while the job still deployed", id);
    }
}

/* At most maxConcurrent tasks under way, and one of a target. */
static void check_concurrency(struct job_sim *s, const struct run *r)
{
    unsigned all = 0;

    for (int k = 0; k < s->spec.n; k++) {
        unsigned own = 0;

        for (int type = 0; type < JOB_TASK_TYPES; type++)
            own += busy(r, s->job->targets[k].task[type]);
        if (own > 1)
            job_fault(s, "two tasks of target %d are under way", k + 1);
        all += own;
    }
    if (s->spec.max_concurrent > 0 && all > s->spec.max_concurrent)
        job_fault(s, "%u tasks are under way, %u may be", all, s->spec.max_concurrent);
}

void job_check_transition(struct job_sim *s, const struct run *r, const struct run_event *e, const struct effects *fx,
                          const struct job_before *b)
{
    bool rollback = e->type == EVENT_ROLLBACK_STARTED || e->type == EVENT_ROLLBACK_ENDED;

    if (b->over && (job_count_frames(fx) != b->frames || (job_status(r) != b->status && !rollback)))
        job_fault(s, "something happened after the end");
    s->resumed = s->resumed || e->type == EVENT_RESUME;
    for (int i = 0; i < r->template->n; i++)
        if (r->steps[i].attempt != b->attempts[i])
            check_begun(s, r, i, e, b);
    check_concurrency(s, r);
}

/* --- frames --- */

static int number_of(struct str text)
{
    int64_t n = -1;

    return str_i64(text, &n) ? (int)n : -1;
}

static void check_batch(struct job_sim *s, bool begins, int batch)
{
    if (begins) {
        if (batch != s->batch + 1 || (s->batch > 0 && !s->batch_over))
            job_fault(s, "batch %d began after batch %d", batch, s->batch);
        if (s->batch > 0 && s->now - s->batch_over_ms < (int64_t)s->spec.pause_s * 1000)
            job_fault(s, "batch %d began too early", batch);
        s->batch = batch;
        s->batch_over = false;
        return;
    }
    if (batch != s->batch || s->batch_over)
        job_fault(s, "batch %d completed, %d was under way", batch, s->batch);
    s->batch_over = true;
    s->batch_over_ms = s->now;
}

static void check_task_frame(struct job_sim *s, struct str type, struct str whole, int step)
{
    struct job_frames *f = &s->frames[step];
    struct str status = event_member(whole, "status");
    const char *id = s->t->nodes[step].id.p;

    if (!str_eqz(type, "task_retrying") && !str_eqz(type, "task_assigned") && f->done)
        job_fault(s, "task %s said " STR_FMT " after its end", id, STR_ARG(type));
    if (str_eqz(type, "task_assigned")) {
        if (f->succeeded || (f->done && !s->resumed))
            job_fault(s, "task %s was assigned after its end", id);
        f->assigned = true;
        f->done = f->failed = false;
    } else if (str_eqz(type, "task_started")) {
        if (!f->assigned)
            job_fault(s, "task %s started before it was assigned", id);
        f->started = true;
    } else if (str_eqz(type, "task_retrying")) {
        f->assigned = f->started = f->done = f->failed = false;
    } else if (str_eqz(type, "task_completed")) {
        f->done = true;
        f->failed = str_eqz(status, "failed") || str_eqz(status, "timed_out");
        f->skipped = str_eqz(status, "skipped");
        if (str_eqz(status, "succeeded") && (f->succeeded || !f->started))
            job_fault(s, "task %s succeeded twice, or without having started", id);
        if (f->skipped && event_member(whole, "reason").n == 0)
            job_fault(s, "task %s was skipped without a reason", id);
        f->succeeded = str_eqz(status, "succeeded");
    }
}

/* What a job says that is cancelled before it began. */
static bool early(struct str type)
{
    return str_eqz(type, "task_completed") || str_eqz(type, "job_progress") || str_eqz(type, "job_completed");
}

void job_check_frame(struct job_sim *s, struct str frame)
{
    struct str whole = arena_printf(&s->scratch, "{" STR_FMT, STR_ARG(frame)), type = event_member(whole, "type");
    int step = template_find(s->t, event_member(whole, "taskId"));

    s->coverage->frames++;
    if (dice_percent(&s->dice, 2) && json_parse(&s->scratch, whole, NULL, NULL) == NULL)
        job_fault(s, "a frame is no JSON: " STR_FMT, STR_ARG(whole));
    if (s->completed)
        job_fault(s, "a frame after job_completed");
    s->completed = str_eqz(type, "job_completed");
    if (str_eqz(type, "job_started") ? s->any : !s->started && !early(type))
        job_fault(s, "job_started is not the first frame, or comes twice");
    s->any = true;
    s->started = s->started || str_eqz(type, "job_started");
    s->rolled_back = s->rolled_back || str_eqz(type, "rollback_started");
    if (str_starts(type, S("task_")) && step < 0)
        job_fault(s, "a frame of an unknown task");
    else if (str_starts(type, S("task_")))
        check_task_frame(s, type, whole, step);
    else if (str_starts(type, S("batch_")))
        check_batch(s, str_eqz(type, "batch_started"), number_of(event_member(whole, "batch")));
}

/* --- the end --- */

static void check_left_over(struct job_sim *s)
{
    for (int i = 0; i < s->n_tasks; i++)
        if (s->tasks[i].open)
            job_fault(s, "an open task is left");
    for (int i = 0; i < s->t->n; i++)
        if (s->waiting[i] > 0)
            job_fault(s, "a task is left waiting for an agent");
    if (s->timer != 0)
        job_fault(s, "a timer is left");
    if (s->appended != s->consumed)
        job_fault(s, "%llu events came, %llu were seen", (unsigned long long)s->appended,
                  (unsigned long long)s->consumed);
}

/* The rollback touched exactly what was touched. */
static void check_rollback(struct job_sim *s, const struct run *r)
{
    bool own = s->rolled_back, wanted = r->failed && r->status != RUN_CANCELLED && s->spec.behaviour == 0, fine = true;

    for (int k = 0; k < s->spec.n; k++) {
        const struct step *step = &r->steps[s->job->targets[k].task[JOB_ROLLBACK]];

        if (step->attempt > 0 && (!own || !s->given[k]))
            job_fault(s, "target %d was rolled back though nothing was done to it", k + 1);
        if (wanted && s->began[k] && step->attempt == 0)
            job_fault(s, "target %d was touched and not rolled back", k + 1);
        fine = fine && (step->attempt == 0 || step->status == STEP_SUCCEEDED);
    }
    if (own && r->rolled_back_by.n == 0 && r->status != RUN_CANCELLED && fine != (r->rollback == ROLLBACK_DONE))
        job_fault(s, "the rollback's outcome is wrong");
}

static void check_count(struct job_sim *s, const struct json *document, const char *name, int counted)
{
    if (json_int(json_get(document, name), -1) != counted)
        job_fault(s, "%s is %lld, the frames say %d", name, (long long)json_int(json_get(document, name), -1), counted);
}

static void check_document(struct job_sim *s, const struct run *r)
{
    int completed = 0, failed = 0, skipped = 0;
    struct json *document;
    struct buf b;

    for (int k = 0; k < s->spec.n; k++) {
        const struct job_frames *deploy = &s->frames[s->job->targets[k].task[JOB_DEPLOY]];
        const struct job_frames *check =
            s->spec.checks ? &s->frames[s->job->targets[k].task[JOB_CHECK]] : &(struct job_frames){.succeeded = true};

        completed += deploy->succeeded && check->succeeded;
        failed += deploy->failed || check->failed;
        skipped += deploy->skipped;
    }
    buf_init_arena(&b, &s->scratch, 2048);
    job_kind.document(&b, r, 1, s->now);
    document = json_parse(&s->scratch, buf_view(&b), NULL, NULL);
    check_count(s, document, "completedTargets", completed);
    check_count(s, document, "failedTargets", failed);
    check_count(s, document, "skippedTargets", skipped);
    check_count(s, document, "totalTargets", s->spec.n);
    check_count(s, document, "progress", 100);
    if (json_count(json_get(document, "skipped")) != (size_t)skipped)
        job_fault(s, "not all skipped targets are listed");
    if (r->status == RUN_SUCCEEDED && ((unsigned)failed > s->spec.max_failures || skipped == s->spec.n))
        job_fault(s, "it succeeded with %d failed and %d skipped targets", failed, skipped);
}

static void check_told(struct job_sim *s, const struct run *r)
{
    if (s->ends_told != (s->spec.parent ? 1u : 0u))
        job_fault(s, "the parent was told the end %u times", s->ends_told);
    if (s->spec.parent && s->end_success != (r->status == RUN_SUCCEEDED))
        job_fault(s, "the parent was told another end");
    if (s->pauses_told > 0 && s->spec.behaviour != 2)
        job_fault(s, "the parent was told to pause");
}

void job_check_end(struct job_sim *s, struct run *r)
{
    s->coverage->ended[job_status(r)]++;
    if (!run_status_ended(r->status) || r->finished_ms == 0 || !s->completed) {
        job_fault(s, "the job has not ended: it is %s, and nothing more will come", job_status_name(r));
        return;
    }
    if ((r->status == RUN_FAILED) != (r->error_code.n > 0) && r->status != RUN_CANCELLED)
        job_fault(s, "status and error disagree");
    for (int i = 0; i < s->t->n; i++) {
        bool hidden = s->job->tasks[i].type == JOB_ROLLBACK && r->steps[i].attempt == 0;

        if (!hidden && !step_status_ended(r->steps[i].status))
            job_fault(s, "task %s is %s after the end", s->t->nodes[i].id.p, step_status_name(r->steps[i].status));
        if (!hidden && !s->frames[i].done)
            job_fault(s, "the end of task %s was not told", s->t->nodes[i].id.p);
        if ((r->steps[i].status == STEP_SUCCEEDED) != s->frames[i].succeeded)
            job_fault(s, "the success of task %s was not told once", s->t->nodes[i].id.p);
        if (r->steps[i].attempt > JOB_ATTEMPTS && s->spec.behaviour != 2)
            job_fault(s, "task %s had too many attempts", s->t->nodes[i].id.p);
    }
    check_rollback(s, r);
    check_document(s, r);
    check_told(s, r);
    check_left_over(s);
}

/* The transition function: one handler per event, then what is due, then the schedule. */
#include "server/engine/run.h"
#include "server/engine/run_parts.h"

static const char *const action_names[ACTIONS] = {"pause", "resume", "cancel"};

const char *run_action_name(enum run_action action)
{
    return action_names[action];
}

/* The (state x action) table of spec §6.3. */
enum run_verdict run_action_verdict(enum run_status status, enum run_action action)
{
#define YES VERDICT_ALLOWED
#define NO  VERDICT_REFUSED
    // clang-format off
    static const enum run_verdict table[RUN_STATUSES][ACTIONS] = {
        /*                  pause  resume cancel */
        [RUN_PENDING]    = {NO,    NO,    YES},
        [RUN_RUNNING]    = {YES,   NO,    YES},
        [RUN_WAITING]    = {YES,   NO,    YES},
        [RUN_PAUSED]     = {NO,    YES,   YES},
        [RUN_CANCELLING] = {NO,    NO,    VERDICT_DONE},
        [RUN_SUCCEEDED]  = {NO,    NO,    NO},
        [RUN_FAILED]     = {NO,    NO,    NO},
        [RUN_CANCELLED]  = {NO,    NO,    NO},
    };
    // clang-format on
#undef YES
#undef NO
    return table[status][action];
}

/* --- the run's events --- */

static void on_start(struct move *m, const struct run_event *e)
{
    (void)e;
    if (m->r->status != RUN_PENDING)
        return;
    m->r->started_ms = m->now;
    m->r->deadline_ms = m->now + m->r->template->timeout_ms;
    m->r->dirty = true;
    m->r->template->kind->frame_run(m, MOMENT_STARTED);
}

/* By a person, or by a job for its step, if that still runs. */
static void on_pause(struct move *m, const struct run_event *e)
{
    int i = e->node.n == 0 ? -1 : template_find(m->r->template, e->node);

    if (e->node.n > 0 && (i < 0 || m->r->steps[i].status != STEP_RUNNING || m->r->steps[i].attempt != e->attempt))
        return;
    if (run_action_verdict(m->r->status, ACTION_PAUSE) == VERDICT_ALLOWED)
        run_pause(m, e->by, e->reason);
}

static void on_resume(struct move *m, const struct run_event *e)
{
    if (run_action_verdict(m->r->status, ACTION_RESUME) != VERDICT_ALLOWED)
        return;
    run_unpause(m);
    m->r->template->kind->frame_run(m, MOMENT_RESUMED);
    if (m->r->template->kind->resumed != NULL)
        m->r->template->kind->resumed(m);
    for (int i = 0; i < m->r->template->n; i++)
        step_resume_job(m, i, e->by);
}

static void on_cancel(struct move *m, const struct run_event *e)
{
    if (run_action_verdict(m->r->status, ACTION_CANCEL) != VERDICT_ALLOWED)
        return;
    run_unpause(m);
    m->r->cancelling = m->r->dirty = true;
    m->r->cancelled_by = keep(m, e->by);
    m->r->cancel_reason = keep(m, e->reason);
    m->r->template->kind->frame_run(m, MOMENT_CANCELLING);
}

static void on_tick(struct move *m, const struct run_event *e)
{
    (void)m;
    (void)e;
}

static void on_offer(struct move *m, const struct run_event *e)
{
    (void)e;
    for (int i = 0; i < m->r->template->n && !m->r->paused; i++)
        if (m->r->steps[i].waits_agent && !m->r->steps[i].cancelling && !halted(m->r, node_of(m, i)->role))
            step_choose(m, i);
}

static void on_rollback_started(struct move *m, const struct run_event *e)
{
    if (m->r->phase != PHASE_OVER || m->r->rollback == ROLLBACK_RUNNING)
        return;
    m->r->rollback = ROLLBACK_RUNNING;
    m->r->rolled_back_by = keep(m, e->by);
    m->r->dirty = true;
    m->r->template->kind->frame_run(m, MOMENT_ROLLING_BACK);
}

static void on_rollback_ended(struct move *m, const struct run_event *e)
{
    if (m->r->phase != PHASE_OVER || m->r->rollback != ROLLBACK_RUNNING)
        return;
    m->r->rollback = e->success ? ROLLBACK_DONE : ROLLBACK_FAILED;
    m->r->dirty = true;
    m->r->template->kind->frame_run(m, MOMENT_ROLLED_BACK);
}

// clang-format off
static void (*const handlers[EVENT_TYPES])(struct move *m, const struct run_event *e) = {
    [EVENT_START]           = on_start,
    [EVENT_PAUSE]           = on_pause,
    [EVENT_RESUME]          = on_resume,
    [EVENT_CANCEL]          = on_cancel,
    [EVENT_TICK]            = on_tick,
    [EVENT_OFFER]           = on_offer,
    [EVENT_TASK_ASSIGNED]   = task_assigned,
    [EVENT_TASK_UNASSIGNED] = task_unassigned,
    [EVENT_TASK_ACCEPTED]   = task_accepted,
    [EVENT_TASK_REFUSED]    = task_refused,
    [EVENT_TASK_STARTED]    = task_started,
    [EVENT_TASK_PROGRESS]   = task_progress,
    [EVENT_TASK_COMPLETED]  = task_completed,
    [EVENT_TASK_LOST]       = task_lost,
    [EVENT_AGENT_GONE]      = task_agent_gone,
    [EVENT_WORK_COMPLETED]  = task_completed,
    [EVENT_JOB_STARTED]     = task_job_started,
    [EVENT_ROLLBACK_STARTED] = on_rollback_started,
    [EVENT_ROLLBACK_ENDED]  = on_rollback_ended,
};
// clang-format on

void run_transition(struct run *r, const struct run_event *e, int64_t now, struct effects *fx)
{
    struct move m = {r, now, fx};
    bool deadline = r->phase == PHASE_MAIN && !r->paused && !r->cancelling && !r->timed_out && r->deadline_ms > 0;

    handlers[e->type](&m, e);
    if (r->phase == PHASE_OVER)
        return;
    if (deadline && !r->paused && !r->cancelling && now >= r->deadline_ms) {
        r->timed_out = r->stopping = true;
        run_fail(&m, "SYS_TIMEOUT", S("the run did not end within its time-out"), -1);
    }
    for (int i = 0; i < r->template->n && !fx->failed; i++)
        step_tick(&m, i);
    r->template->kind->schedule(&m);
    run_settle(&m);
}

#include "server/engine/run_parts.h"

#include "server/agent/protocol.h"

#include <string.h>

/* The effect on the task that the event names, at the agent that sent it. */
static void tell_sender(struct move *m, enum effect_type type, const struct run_event *e, struct str text)
{
    const struct task_place place = {m->r->origin.id, e->node, e->attempt};
    struct effect *effect;
    struct buf b;

    buf_init_arena(&b, m->fx->arena, PROTOCOL_ID);
    task_place_write(&b, &place);
    m->fx->failed = m->fx->failed || b.failed;
    effect = effect_add(m, type, -1);
    effect->agent = e->agent;
    effect->task = buf_view(&b);
    effect->text = text;
}

/* The step the event speaks of, while that attempt is under way with an executor of that kind; -1 otherwise. */
static int present_step(struct move *m, const struct run_event *e, bool agent)
{
    int i = template_find(m->r->template, e->node);
    const struct step *s = i < 0 ? NULL : &m->r->steps[i];

    if (s == NULL || s->attempt != e->attempt || (s->status != STEP_READY && s->status != STEP_RUNNING))
        return -1;
    return (node_of(m, i)->type->executor == BY_AGENT) == agent ? i : -1;
}

/* The agent speaks of something that is over here. It may stop, unless its result is known. */
static void stop_sender(struct move *m, const struct run_event *e)
{
    int i = template_find(m->r->template, e->node);
    const struct step_attempt *attempt = i < 0 ? NULL : step_attempt(&m->r->steps[i], e->attempt);

    if (e->agent.n == 0)
        return;
    if (attempt == NULL || !attempt->answered)
        tell_sender(m, EFFECT_CANCEL, e, S("the task is no longer wanted"));
    tell_sender(m, EFFECT_FORGET, e, STR_NONE);
}

/* It is told to stop, and may not have heard of it when it next speaks: from here the attempt is not its any more. */
static void release(struct move *m, int i, struct str reason)
{
    struct step *s = &m->r->steps[i];

    if (s->n_released == RUN_ASKED_KEPT)
        memmove(s->released, s->released + 1, --s->n_released * sizeof *s->released);
    s->released[s->n_released++] = s->agent;
    effect_task(m, EFFECT_CANCEL, i, m->r->steps[i].agent, reason);
    effect_task(m, EFFECT_FORGET, i, m->r->steps[i].agent, STR_NONE);
}

static void wait_over(struct move *m, int i)
{
    if (m->r->steps[i].waits_agent)
        effect_task(m, EFFECT_WAIT_OVER, i, STR_NONE, STR_NONE);
    m->r->steps[i].waits_agent = false;
}

/* Only what it was once given may an agent speak of as its own. */
static bool was_asked(const struct step *s, struct str agent)
{
    bool asked = str_eq(s->agent, agent);

    for (unsigned k = 0; k < s->n_asked; k++)
        asked = asked || str_eq(s->asked[k], agent);
    return asked && agent.n > 0;
}

static bool was_released(const struct step *s, struct str agent)
{
    for (unsigned k = 0; k < s->n_released; k++)
        if (str_eq(s->released[k], agent))
            return true;
    return false;
}

static void add_asked(struct step *s, struct str agent)
{
    unsigned k = 0;

    while (k < s->n_asked && !str_eq(s->asked[k], agent))
        k++;
    if (k == RUN_ASKED_KEPT)
        k = 0; /* the one that was asked first has had its time */
    else if (k == s->n_asked)
        s->n_asked++;
    for (; k + 1 < s->n_asked; k++)
        s->asked[k] = s->asked[k + 1];
    s->asked[s->n_asked - 1] = agent;
}

/* The agent has the task, and from now on it alone. False when another one has it already, or it was never asked. */
static bool take_over(struct move *m, int i, const struct run_event *e)
{
    struct step *s = &m->r->steps[i];
    bool same = str_eq(s->agent, e->agent);

    if (same && s->accepted)
        return true;
    if (s->accepted || !was_asked(s, e->agent) || was_released(s, e->agent)) {
        stop_sender(m, e);
        return false;
    }
    if (!same) {
        if (s->agent.n > 0)
            release(m, i, S("another agent has it"));
        s->agent = keep(m, e->agent);
        s->expires_ms = m->now + node_of(m, i)->timeout_ms + RUN_EXPIRY_MS;
        effect_task(m, EFFECT_ASSIGN, i, s->agent,
                    task_envelope(m, i)); /* its open task once more, whose lines count */
        m->r->template->kind->frame_step(m, MOMENT_STEP_ASSIGNED, i);
    }
    s->accepted = true;
    s->accept_ms = s->due_ms = 0;
    s->reason = STR_NONE;
    wait_over(m, i);
    step_touch(m, i);
    return true;
}

/* The step whose task the sender has; -1 when it is not to have it, and then it is told so. */
static int held_step(struct move *m, const struct run_event *e)
{
    int i = present_step(m, e, true);

    if (i < 0)
        stop_sender(m, e);
    return i >= 0 && take_over(m, i, e) ? i : -1;
}

void task_assigned(struct move *m, const struct run_event *e)
{
    int i = present_step(m, e, true);
    struct step *s = i < 0 ? NULL : &m->r->steps[i];
    struct str envelope;

    if (s == NULL || s->status != STEP_READY || s->accepted || s->cancelling || e->agent.n == 0)
        return;
    if (s->agent.n > 0 && s->accept_ms > 0 && !s->waits_agent)
        return; /* asked for more than once, and answered before */
    if (s->agent.n > 0 && !str_eq(s->agent, e->agent))
        release(m, i, S("another agent gets it"));
    wait_over(m, i);
    s->assignment++;
    s->agent = keep(m, e->agent);
    add_asked(s, s->agent);
    s->reason = STR_NONE;
    s->due_ms = 0;
    s->accept_ms = m->now + RUN_ACCEPT_MS;
    s->expires_ms = m->now + node_of(m, i)->timeout_ms + RUN_EXPIRY_MS;
    step_touch(m, i);
    envelope = task_envelope(m, i);
    effect_task(m, EFFECT_ASSIGN, i, s->agent, envelope);
    m->r->template->kind->frame_step(m, MOMENT_STEP_ASSIGNED, i);
}

void task_unassigned(struct move *m, const struct run_event *e)
{
    int i = present_step(m, e, true);
    struct step *s = i < 0 ? NULL : &m->r->steps[i];

    if (s == NULL || s->status != STEP_READY || s->accepted || s->cancelling)
        return;
    if (s->agent.n == 0 && m->r->template->kind->unassigned != NULL &&
        m->r->template->kind->unassigned(m, i, e->message))
        return;
    if (!s->waits_agent)
        effect_task(m, EFFECT_WAIT, i, STR_NONE, STR_NONE);
    s->waits_agent = true;
    s->reason = keep(m, e->message);
    if (s->agent.n > 0)
        s->accept_ms = m->now + RUN_ACCEPT_MS; /* the one that was asked may still answer */
    else
        s->due_ms = timer_base(m) + RUN_CHOOSE_AGAIN_MS;
    step_touch(m, i);
}

void task_accepted(struct move *m, const struct run_event *e)
{
    held_step(m, e);
}

/* Asked again a little later, each time a little longer: an agent that refuses everything must not spin the run. */
void task_refused(struct move *m, const struct run_event *e)
{
    int i = present_step(m, e, true);
    struct step *s = i < 0 ? NULL : &m->r->steps[i];
    int64_t delay_ms = 1000;

    tell_sender(m, EFFECT_FORGET, e, STR_NONE);
    if (s == NULL || s->status != STEP_READY || !str_eq(s->agent, e->agent))
        return;
    s->agent = STR_NONE;
    s->accepted = false;
    s->accept_ms = 0;
    if (str_eqz(e->reason, protocol_refusals[PROTOCOL_BUSY]))
        s->busy = keep(m, e->agent);
    else if (s->n_refused < RUN_REFUSALS_KEPT)
        s->refused[s->n_refused++] = keep(m, e->agent);
    if (s->cancelling) {
        step_over(m, i, &(struct outcome){STEP_CANCELLED, S("cancelled"), m->r->cancel_reason, false, false, NULL});
        return;
    }
    for (int64_t k = 1; k < s->assignment && delay_ms < RUN_CHOOSE_AGAIN_MS; k++)
        delay_ms *= 2;
    s->due_ms = timer_base(m) + (delay_ms < RUN_CHOOSE_AGAIN_MS ? delay_ms : RUN_CHOOSE_AGAIN_MS);
    s->expires_ms = timer_base(m) + node_of(m, i)->timeout_ms;
    step_touch(m, i);
}

void task_started(struct move *m, const struct run_event *e)
{
    int i = held_step(m, e);

    if (i >= 0 && m->r->steps[i].status == STEP_READY)
        step_run(m, i);
}

void task_progress(struct move *m, const struct run_event *e)
{
    int i = held_step(m, e);
    struct step *s = i < 0 ? NULL : &m->r->steps[i];

    if (s == NULL)
        return;
    if (s->status == STEP_READY)
        step_run(m, i);
    if (s->progress == e->progress && str_eq(s->message, e->message))
        return;
    s->progress = e->progress < 0 ? 0 : e->progress > 100 ? 100 : e->progress;
    s->message = keep(m, e->message);
    s->dirty = true;
    m->r->template->kind->frame_step(m, MOMENT_STEP_PROGRESS, i);
}

static enum step_status result_status(const struct step *s, const struct run_event *e)
{
    if (e->success)
        return STEP_SUCCEEDED;
    if (s->cancelling)
        return step_stopped(s);
    return str_eqz(e->error_type, PROTOCOL_TIMEOUT) ? STEP_TIMED_OUT : STEP_FAILED;
}

void task_completed(struct move *m, const struct run_event *e)
{
    bool agent = e->type == EVENT_TASK_COMPLETED;
    int i = present_step(m, e, agent);
    struct step *s = i < 0 ? NULL : &m->r->steps[i];

    if (s == NULL) {
        int place = template_find(m->r->template, e->node);

        if (place >= 0)
            step_late(m, place, e);
        if (e->agent.n > 0)
            tell_sender(m, EFFECT_FORGET, e, STR_NONE);
        return;
    }
    if (agent && (!was_asked(s, e->agent) || (was_released(s, e->agent) && !e->success))) {
        stop_sender(m, e);
        return;
    }
    if (agent && !str_eq(s->agent, e->agent)) { /* the first result counts, whichever of those asked has it */
        if (s->agent.n > 0)
            release(m, i, S("another agent has finished it"));
        s->agent = keep(m, e->agent);
    }
    if (s->status == STEP_READY)
        step_run(m, i);
    step_over(m, i,
              &(struct outcome){result_status(s, e), e->success ? STR_NONE : e->error_type,
                                e->success ? STR_NONE : e->message, e->retriable, true, e->outputs});
}

/* It was never accepted: somebody else may have it. It was: nobody knows how far it came, so this attempt has failed.
 */
static void lose(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];
    enum step_status status = s->cancelling ? STEP_CANCELLED : STEP_FAILED;

    if (s->accepted || s->cancelling) {
        step_over(m, i, &(struct outcome){status, S(PROTOCOL_LOST), S("the agent lost the task"), true, false, NULL});
        return;
    }
    effect_task(m, EFFECT_FORGET, i, s->agent, STR_NONE);
    s->agent = STR_NONE;
    s->accept_ms = 0;
    s->expires_ms = timer_base(m) + node_of(m, i)->timeout_ms;
    step_touch(m, i);
    if (m->r->paused || halted(m->r, node_of(m, i)->role))
        s->due_ms = timer_base(m);
    else
        step_choose(m, i);
}

void task_lost(struct move *m, const struct run_event *e)
{
    int i = present_step(m, e, true);

    if (i >= 0 && str_eq(m->r->steps[i].agent, e->agent))
        lose(m, i);
}

void task_agent_gone(struct move *m, const struct run_event *e)
{
    for (int i = 0; i < m->r->template->n && e->agent.n > 0; i++)
        if (!step_status_ended(m->r->steps[i].status) && str_eq(m->r->steps[i].agent, e->agent))
            lose(m, i);
}

/* It may be a repetition, or too late: what nobody waits for any more is to end. */
void task_job_started(struct move *m, const struct run_event *e)
{
    int i = present_step(m, e, false);
    struct step *s = i < 0 || node_of(m, i)->type->executor != BY_JOB ? NULL : &m->r->steps[i];
    int place = template_find(m->r->template, e->node);
    const struct step_attempt *attempt = place < 0 ? NULL : step_attempt(&m->r->steps[place], e->attempt);

    if (e->agent.n == 0 || (s != NULL && str_eq(s->job, e->agent)))
        return;
    if (s != NULL && s->job.n == 0) {
        s->job = keep(m, e->agent);
        if (s->resume)
            step_resume_job(m, i, S("engine"));
        s->resume = false;
        step_touch(m, i);
    } else if (attempt == NULL || !attempt->answered) {
        effect_tell(m, "job", e->agent, STR_NONE,
                    &(struct run_event){.type = EVENT_CANCEL, .by = S("engine"), .reason = S("nobody waits for it")});
    }
}

/* One step: its attempts from begin to end, what is due in it, and how it is stopped. */
#include "server/engine/run_parts.h"

#include "lib/clock.h"
#include "server/engine/redact.h"
#include "server/engine/text.h"

#include <string.h>

enum step_status step_stopped(const struct step *s)
{
    return s->expired ? STEP_TIMED_OUT : STEP_CANCELLED;
}

void step_touch(struct move *m, int i)
{
    m->r->steps[i].dirty = true;
    m->r->dirty = true;
}

/* --- configuration --- */

const struct json *run_step_config(struct arena *a, const struct run *r, int step, bool redact, struct str *why)
{
    return r->template->kind->config(a, r, step, redact, why);
}

const struct json *masked_inputs(struct arena *a, const struct run *r)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    redact_inputs_write(&o, r->origin.inputs, r->template->inputs);
    return b.failed ? NULL : json_parse(a, buf_view(&b), NULL, NULL);
}

const struct json *workflow_config(struct arena *a, const struct run *r, int step, bool redact, struct str *why)
{
    const struct template_node *node = &r->template->nodes[step];
    struct scope scope = run_scope(r, redact);
    struct expression_fault fault = {0};
    struct faults faults;
    struct json_out o;
    struct json *j;
    struct buf b;

    *why = S("out of memory");
    if (redact)
        scope.inputs = masked_inputs(a, r);
    buf_init_arena(&b, a, 512);
    json_out_init(&o, &b);
    if (node->config == NULL)
        buf_z(&b, "{}");
    else if (!text_render_tree(a, &o, node->config, &scope, &fault)) {
        *why = arena_str(a, str_z(fault.message));
        return NULL;
    }
    j = b.failed ? NULL : json_parse(a, buf_view(&b), NULL, &(struct json_fault){0});
    if (j == NULL || redact)
        return j;
    faults_init(&faults, a);
    j = step_type_normalise(node->type, j, &faults);
    if (j == NULL && faults.n > 0)
        *why = arena_printf(a, STR_FMT ": " STR_FMT, STR_ARG(faults.list[0].field), STR_ARG(faults.list[0].message));
    return j;
}

/* What is shown of the configuration: rendered, with secrets masked. */
static void show_inputs(struct move *m, int i)
{
    struct str why;
    const struct json *j = run_step_config(m->fx->arena, m->r, i, true, &why);
    struct buf b;

    buf_init_arena(&b, m->r->arena, 256);
    b.max = RUN_OUTPUTS_MAX;
    if (j != NULL)
        json_write(&b, j);
    m->r->steps[i].inputs = j == NULL || b.failed ? S("{}") : buf_view(&b);
}

/* --- the beginning of an attempt --- */

static void clear_attempt(struct step *s)
{
    s->attempt++;
    s->assignment = 0;
    s->accepted = s->waits_agent = s->cancelling = s->expired = s->resume = false;
    s->started_ms = s->finished_ms = s->due_ms = s->accept_ms = s->expires_ms = s->cancel_ms = 0;
    s->progress = -1;
    s->n_refused = s->n_asked = s->n_released = 0;
    s->agent = s->job = s->busy = s->error_type = s->message = s->reason = STR_NONE;
    s->retriable = false;
}

void step_run(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];

    s->started_ms = m->now;
    if (s->first_ms == 0)
        s->first_ms = m->now;
    s->status = node_of(m, i)->type->executor == BY_TIMER ? STEP_WAITING : STEP_RUNNING;
    m->r->template->kind->frame_step(m, MOMENT_STEP_STARTED, i);
    step_touch(m, i);
}

void step_choose(struct move *m, int i)
{
    m->r->steps[i].due_ms = 0;
    effect_task(m, EFFECT_CHOOSE, i, STR_NONE, STR_NONE);
    step_touch(m, i);
}

static void begin_agent(struct move *m, int i, const struct json *config)
{
    (void)config; /* rendered again for the task, once there is an agent for it */
    m->r->steps[i].status = STEP_READY;
    m->r->steps[i].expires_ms = m->now + node_of(m, i)->timeout_ms;
    step_choose(m, i);
}

static void begin_server(struct move *m, int i, const struct json *config)
{
    (void)config;
    step_run(m, i);
    m->r->steps[i].expires_ms = m->now + node_of(m, i)->timeout_ms + RUN_EXPIRY_MS;
    effect_task(m, EFFECT_WORK, i, STR_NONE, STR_NONE);
}

static void begin_timer(struct move *m, int i, const struct json *config)
{
    struct step *s = &m->r->steps[i];
    int64_t due = m->now + (int64_t)(json_real(json_get(config, "seconds"), 0) * 1000 + 0.5);

    if (json_get(config, "until") != NULL)
        clock_parse(json_str(json_get(config, "until")), &due);
    s->due_ms = due > m->now ? due : m->now;
    s->expires_ms = m->now + node_of(m, i)->timeout_ms;
    step_run(m, i);
    m->r->template->kind->frame_step(m, MOMENT_STEP_WAITING, i);
}

static void (*const begin[])(struct move *m, int i, const struct json *config) = {
    [BY_AGENT] = begin_agent, [BY_SERVER] = begin_server, [BY_TIMER] = begin_timer, [BY_JOB] = begin_server};

void step_begin(struct move *m, int i)
{
    const struct json *config;
    struct str why;

    clear_attempt(&m->r->steps[i]);
    config = run_step_config(m->fx->arena, m->r, i, false, &why);
    show_inputs(m, i);
    if (config != NULL)
        begin[node_of(m, i)->type->executor](m, i, config);
    else
        step_over(m, i, &(struct outcome){STEP_FAILED, S("config"), why, false, false, NULL});
    step_touch(m, i);
}

/* --- the end of an attempt --- */

struct step_attempt *step_attempt(struct step *s, int64_t attempt)
{
    for (unsigned i = 0; i < s->n_attempts; i++)
        if (s->attempts[i].attempt == attempt)
            return &s->attempts[i];
    return NULL;
}

bool step_more_attempts(struct arena *a, struct step *s, unsigned cap)
{
    struct step_attempt *list;

    cap = cap < RUN_ATTEMPTS_KEPT ? cap : RUN_ATTEMPTS_KEPT;
    list = cap <= s->attempts_cap ? s->attempts : arena_array(a, cap, sizeof *list);
    if (list == NULL)
        return false;
    if (list != s->attempts && s->n_attempts > 0)
        memcpy(list, s->attempts, s->n_attempts * sizeof *list);
    s->attempts = list;
    s->attempts_cap = cap;
    return true;
}

static void record_attempt(struct move *m, int i, enum step_status status, bool answered)
{
    struct step *s = &m->r->steps[i];

    if (s->n_attempts == s->attempts_cap && !step_more_attempts(m->r->arena, s, s->n_attempts * 2 + 2)) {
        m->fx->failed = true;
        return;
    }
    if (s->n_attempts == RUN_ATTEMPTS_KEPT)
        memmove(s->attempts, s->attempts + 1, --s->n_attempts * sizeof *s->attempts);
    s->attempts[s->n_attempts++] = (struct step_attempt){.attempt = s->attempt,
                                                         .status = status,
                                                         .started_ms = s->started_ms,
                                                         .finished_ms = m->now,
                                                         .error_type = s->error_type,
                                                         .message = s->message,
                                                         .answered = answered};
}

static bool by_instance(const struct move *m, int i)
{
    enum executor by = node_of(m, i)->type->executor;

    return by == BY_SERVER || by == BY_JOB;
}

/* Whatever the attempt left with agents and servers. */
static void drop_obligations(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];

    if (s->agent.n > 0)
        effect_task(m, EFFECT_FORGET, i, s->agent, STR_NONE);
    if (s->waits_agent)
        effect_task(m, EFFECT_WAIT_OVER, i, STR_NONE, STR_NONE);
    if (by_instance(m, i) && s->status == STEP_RUNNING)
        effect_task(m, EFFECT_WORK_OVER, i, STR_NONE, STR_NONE);
    s->waits_agent = s->cancelling = false;
    s->accept_ms = s->expires_ms = s->due_ms = s->cancel_ms = 0;
}

static bool worth_retrying(const struct move *m, int i, const struct outcome *outcome)
{
    const struct retry *retry = &node_of(m, i)->retry;

    if (m->r->steps[i].attempt >= retry->attempts || !outcome->retriable)
        return false;
    for (size_t k = 0; k < json_count(retry->on); k++)
        if (str_eq(json_str(json_at(retry->on, k)), outcome->type))
            return true;
    return retry->on == NULL;
}

static int64_t retry_delay(const struct retry *retry, int64_t attempt)
{
    int64_t delay = retry->delay_ms;

    if (retry->backoff == BACKOFF_LINEAR)
        delay *= attempt;
    for (int64_t i = 1; retry->backoff == BACKOFF_EXPONENTIAL && i < attempt && delay < retry->max_delay_ms; i++)
        delay *= 2;
    return delay < retry->max_delay_ms ? delay : retry->max_delay_ms;
}

static void retry_after(struct move *m, int i, int64_t delay_ms)
{
    struct step *s = &m->r->steps[i];

    s->status = STEP_RETRYING;
    s->finished_ms = m->now;
    s->due_ms = timer_base(m) + delay_ms;
    m->r->template->kind->frame_step(m, MOMENT_STEP_RETRYING, i);
}

static void keep_outputs(struct move *m, struct step *s, const struct json *outputs)
{
    struct buf b;

    if (outputs == NULL)
        return;
    buf_init_arena(&b, m->r->arena, 128);
    json_write(&b, outputs);
    s->outputs = buf_view(&b);
    s->outputs_json = outputs;
    m->fx->failed = m->fx->failed || b.failed;
}

void step_over(struct move *m, int i, const struct outcome *outcome)
{
    struct step *s = &m->r->steps[i];
    const struct template_node *node = node_of(m, i);
    bool failed = outcome->status == STEP_FAILED || outcome->status == STEP_TIMED_OUT;

    s->error_type = keep(m, outcome->type);
    s->message = keep(m, outcome->message);
    s->retriable = outcome->retriable;
    keep_outputs(m, s, outcome->outputs);
    drop_obligations(m, i);
    record_attempt(m, i, outcome->status, outcome->answered);
    if (node->type->executor == BY_AGENT && s->started_ms > 0)
        m->r->template->kind->frame_step(m, MOMENT_STEP_LOG_END, i);
    step_touch(m, i);
    if (!failed || halted(m->r, node->role))
        step_end(m, i, outcome->status);
    else if (worth_retrying(m, i, outcome))
        retry_after(m, i, retry_delay(&node->retry, s->attempt));
    else if (node->on_failure == NODE_PAUSE) {
        retry_after(m, i, 0);
        run_pause(
            m, S("engine"),
            arena_printf(m->fx->arena, "step " STR_FMT " failed: " STR_FMT, STR_ARG(node->id), STR_ARG(s->message)));
    } else
        step_end(m, i, outcome->status);
}

/* --- the end of a step --- */

void step_end(struct move *m, int i, enum step_status status)
{
    struct step *s = &m->r->steps[i];

    s->status = status;
    s->finished_ms = m->now;
    s->due_ms = 0;
    if (status == STEP_SUCCEEDED)
        s->order = ++m->r->succeeded;
    m->r->template->kind->frame_step(m, MOMENT_STEP_COMPLETED, i);
    step_touch(m, i);
    if (status == STEP_FAILED || status == STEP_TIMED_OUT)
        m->r->template->kind->failed(m, i);
}

void step_skip(struct move *m, int i, struct str reason, bool poisoned)
{
    struct step *s = &m->r->steps[i];

    s->status = STEP_SKIPPED;
    s->finished_ms = m->now;
    s->reason = keep(m, reason);
    s->poisoned = poisoned;
    m->r->template->kind->frame_step(m, MOMENT_STEP_SKIPPED, i);
    step_touch(m, i);
}

/* A result that came when it was no longer waited for is noted beside its attempt and changes nothing. */
void step_late(struct move *m, int i, const struct run_event *e)
{
    struct step_attempt *attempt = step_attempt(&m->r->steps[i], e->attempt);

    if (attempt == NULL || attempt->answered || attempt->late.n > 0)
        return;
    attempt->late = e->success ? S("succeeded") : S("failed");
    m->r->steps[i].dirty = true;
}

/* To whoever carries the step out; it has a while to come to an end. */
static void signal_cancel(struct move *m, int i, struct str reason)
{
    struct step *s = &m->r->steps[i];

    s->cancelling = true;
    s->cancel_ms = m->now + (s->job.n > 0 ? RUN_JOB_GRACE_MS : RUN_GRACE_MS);
    if (s->agent.n > 0)
        effect_task(m, EFFECT_CANCEL, i, s->agent, reason);
    step_tell_job(m, i, &(struct run_event){.type = EVENT_CANCEL, .by = S("engine"), .reason = reason});
    step_touch(m, i);
}

void step_kill(struct move *m, int i, struct str reason)
{
    struct step *s = &m->r->steps[i];

    if (s->status == STEP_PENDING || s->status == STEP_RETRYING) {
        step_end(m, i, STEP_CANCELLED);
    } else if (s->agent.n == 0 && s->job.n == 0) {
        step_over(m, i, &(struct outcome){STEP_CANCELLED, S("cancelled"), reason, false, false, NULL});
    } else if (!s->cancelling) {
        signal_cancel(m, i, reason);
    }
}

/* --- what is due --- */

static void tick_ready(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];

    if (s->agent.n == 0 && !m->r->paused && m->now >= s->expires_ms)
        step_over(m, i, &(struct outcome){STEP_TIMED_OUT, S("no_agent"), s->reason, false, false, NULL});
    else if (s->agent.n == 0 && !m->r->paused && s->due_ms > 0 && m->now >= s->due_ms)
        step_choose(m, i);
    else if (s->agent.n > 0 && m->now >= s->expires_ms)
        step_over(m, i, &(struct outcome){STEP_TIMED_OUT, S("timeout"), S("the task expired"), true, false, NULL});
    else if (s->agent.n > 0 && !s->accepted && s->accept_ms > 0 && m->now >= s->accept_ms) {
        s->accept_ms = 0;
        step_choose(m, i);
    }
}

static void tick_running(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];

    if (m->now < s->expires_ms || (m->r->paused && node_of(m, i)->type->executor == BY_JOB))
        return;
    if (s->job.n > 0) { /* its own time is up, but what it began has to be brought to an end */
        s->expired = true;
        signal_cancel(m, i, S("the step timed out"));
        return;
    }
    if (s->agent.n > 0)
        effect_task(m, EFFECT_CANCEL, i, s->agent, S("timed out"));
    step_over(m, i, &(struct outcome){STEP_TIMED_OUT, S("timeout"), S("no result came in time"), true, false, NULL});
}

static void tick_waiting(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];
    struct json *outputs;

    if (m->r->paused)
        return;
    if (m->now >= s->due_ms) {
        struct str text =
            arena_printf(m->r->arena, "{\"waitedSeconds\":%lld.%03d}", (long long)(m->now - s->started_ms) / 1000,
                         (int)((m->now - s->started_ms) % 1000));

        outputs = json_parse(m->r->arena, text, NULL, &(struct json_fault){0});
        m->fx->failed = m->fx->failed || outputs == NULL;
        step_over(m, i, &(struct outcome){STEP_SUCCEEDED, STR_NONE, STR_NONE, false, false, outputs});
    } else if (m->now >= s->expires_ms) {
        step_over(m, i,
                  &(struct outcome){STEP_TIMED_OUT, S("timeout"), S("the wait is longer than the time-out"), true,
                                    false, NULL});
    }
}

void step_tick(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];

    if (s->cancelling) {
        if (m->now >= s->cancel_ms)
            step_over(m, i,
                      &(struct outcome){step_stopped(s), s->expired ? S("timeout") : S("cancelled"),
                                        S("it did not stop within its grace"), s->expired, false, NULL});
        return;
    }
    if (s->status == STEP_READY)
        tick_ready(m, i);
    else if (s->status == STEP_RUNNING)
        tick_running(m, i);
    else if (s->status == STEP_WAITING)
        tick_waiting(m, i);
    else if (s->status == STEP_RETRYING && !m->r->paused && m->now >= s->due_ms && !halted(m->r, node_of(m, i)->role))
        step_begin(m, i);
}

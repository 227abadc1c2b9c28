/* Which steps start, are skipped or are stopped, in which phase the run is, and when it has ended. */
#include "server/engine/run_parts.h"

/* --- what expressions see --- */

static bool scope_step(const void *arg, struct str id, struct str *status, const struct json **outputs)
{
    const struct run *r = arg;
    int i = template_find(r->template, id);

    if (i < 0)
        return false;
    *status = str_z(step_status_name(r->steps[i].status));
    *outputs = r->steps[i].outputs_json;
    return true;
}

struct scope run_scope(const struct run *r, bool redact)
{
    return (struct scope){r->origin.inputs, r->origin.facts, scope_step, r, redact};
}

static enum edge_state condition_holds(struct move *m, const struct expression *condition)
{
    struct scope scope = run_scope(m->r, false);
    struct expression_fault fault = {0};
    struct value v;

    if (condition == NULL)
        return EDGE_LIVE;
    if (!expression_eval(m->fx->arena, condition, &scope, &v, &fault))
        return EDGE_FAULTY;
    return value_true(&v) ? EDGE_LIVE : EDGE_DEAD;
}

/* --- edges --- */

static enum edge_state settled_edge(struct move *m, const struct template_edge *e)
{
    const struct step *source = &m->r->steps[e->from];
    bool failed = source->status == STEP_FAILED || source->status == STEP_TIMED_OUT;

    if (source->status == STEP_SKIPPED || source->status == STEP_CANCELLED)
        return source->poisoned || source->status == STEP_CANCELLED ? EDGE_POISONED : EDGE_DEAD;
    if (e->on == ON_GOTO)
        return failed ? EDGE_LIVE : EDGE_DEAD;
    if (e->on == ON_FAILURE && !failed)
        return EDGE_DEAD;
    if (e->on == ON_SUCCESS && failed && node_of(m, e->from)->on_failure != NODE_CONTINUE)
        return source->caught ? EDGE_DEAD : EDGE_POISONED;
    return condition_holds(m, e->condition);
}

enum edge_state edge_state(struct move *m, int edge)
{
    const struct template_edge *e = &m->r->template->edges[edge];

    if (m->r->edges[edge] == EDGE_UNKNOWN && step_status_ended(m->r->steps[e->from].status))
        m->r->edges[edge] = (signed char)settled_edge(m, e);
    return (enum edge_state)m->r->edges[edge];
}

/* --- one step --- */

enum decision { STAY, START, SKIP, SKIP_POISONED, FAULTY };

static enum decision decide(struct move *m, int i)
{
    const struct template_node *node = node_of(m, i);
    int count[EDGE_FAULTY + 1] = {0}, all = 0;

    for (int k = 0; k < node->ins; k++) {
        const struct template_edge *e = &m->r->template->edges[node->in[k]];
        enum edge_state state;

        if (node_of(m, e->from)->role != node->role)
            continue; /* into a finally node: everything before it has ended, however */
        state = edge_state(m, node->in[k]);
        if (e->on == ON_GOTO && state == EDGE_LIVE)
            return START;
        count[state]++;
        all++;
    }
    if (all == 0 || (node->join == JOIN_ANY && count[EDGE_LIVE] > 0))
        return START;
    if (count[EDGE_UNKNOWN] > 0)
        return STAY;
    if (count[EDGE_FAULTY] > 0)
        return FAULTY;
    if (count[EDGE_LIVE] > 0 && count[EDGE_POISONED] == 0)
        return START;
    return count[EDGE_POISONED] > 0 ? SKIP_POISONED : SKIP;
}

static void fault(struct move *m, int i, const char *message)
{
    m->r->steps[i].error_type = S("expression");
    m->r->steps[i].message = str_z(message);
    step_end(m, i, STEP_FAILED);
}

static void start(struct move *m, int i)
{
    switch (condition_holds(m, node_of(m, i)->condition)) {
    case EDGE_LIVE:
        step_begin(m, i);
        break;
    case EDGE_DEAD:
        step_skip(m, i, S("its condition is false"), false);
        break;
    default:
        fault(m, i, "its condition cannot be evaluated");
    }
}

/* True when it moved. */
static bool consider(struct move *m, int i)
{
    enum decision decision = decide(m, i);

    if (decision == STAY || (decision == START && m->r->paused))
        return false;
    if (decision == START)
        start(m, i);
    else if (decision == FAULTY)
        fault(m, i, "the condition of an edge to it cannot be evaluated");
    else if (decision == SKIP)
        step_skip(m, i, S("no incoming edge is live"), false);
    else
        step_skip(m, i, S("a step before it failed"), true);
    return true;
}

/* --- stopping --- */

bool halted(const struct run *r, enum node_role role)
{
    if (role == ROLE_ORDINARY)
        return r->stopping || r->cancelling;
    return role == ROLE_COMPENSATES && r->cancelling;
}

static void stop_step(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];
    bool kill = m->r->cancelling || m->r->timed_out;
    struct str reason = m->r->cancelling  ? S("the run was cancelled")
                        : m->r->timed_out ? S("the run timed out")
                                          : S("the run failed");

    if (s->status == STEP_PENDING && !m->r->cancelling)
        step_skip(m, i, reason, true);
    else if (s->status == STEP_RETRYING && !m->r->cancelling)
        step_end(m, i, STEP_FAILED);
    else if (kill || s->status == STEP_WAITING || (s->status == STEP_READY && s->agent.n == 0) ||
             s->status == STEP_PENDING)
        step_kill(m, i, reason);
}

static void stop_role(struct move *m, enum node_role role)
{
    for (int i = 0; i < m->r->template->n; i++)
        if (node_of(m, i)->role == role && !step_status_ended(m->r->steps[i].status))
            stop_step(m, i);
}

/* --- phases --- */

static bool role_ended(const struct move *m, enum node_role role)
{
    for (int i = 0; i < m->r->template->n; i++)
        if (node_of(m, i)->role == role && !step_status_ended(m->r->steps[i].status))
            return false;
    return true;
}

static bool consider_role(struct move *m, enum node_role role)
{
    bool moved = false;

    for (int k = 0; k < m->r->template->n; k++) {
        int i = m->r->template->order[k];

        if (node_of(m, i)->role == role && m->r->steps[i].status == STEP_PENDING && !halted(m->r, role))
            moved = consider(m, i) || moved;
    }
    return moved;
}

void to_phase(struct move *m, enum run_phase phase)
{
    m->r->phase = phase;
    m->r->dirty = true;
}

static bool phase_main(struct move *m)
{
    if (halted(m->r, ROLE_ORDINARY))
        stop_role(m, ROLE_ORDINARY);
    if (consider_role(m, ROLE_ORDINARY))
        return true;
    if (m->r->paused || !role_ended(m, ROLE_ORDINARY))
        return false;
    to_phase(m, PHASE_COMPENSATION);
    return true;
}

/* The pending compensating node whose node succeeded last; -1: none. */
static int next_compensation(const struct move *m)
{
    int best = -1;
    int64_t order = 0;

    for (int i = 0; i < m->r->template->n; i++) {
        const struct step *undone = node_of(m, i)->compensates < 0 ? NULL : &m->r->steps[node_of(m, i)->compensates];

        if (undone == NULL || m->r->steps[i].status != STEP_PENDING || undone->status != STEP_SUCCEEDED ||
            undone->order <= order)
            continue;
        best = i;
        order = undone->order;
    }
    return best;
}

static bool phase_compensation(struct move *m)
{
    bool wanted = m->r->failed && m->r->template->on_failure == TEMPLATE_ROLLBACK && !m->r->cancelling;
    int next = wanted ? next_compensation(m) : -1;

    if (m->r->cancelling)
        stop_role(m, ROLE_COMPENSATES);
    for (int i = 0; i < m->r->template->n; i++) {
        enum step_status status = m->r->steps[i].status;

        if (node_of(m, i)->role != ROLE_COMPENSATES || step_status_ended(status))
            continue;
        if (status != STEP_PENDING)
            return false; /* one at a time */
        if (next < 0)
            step_skip(m, i, S("there is nothing to undo"), false);
    }
    if (m->r->paused)
        return false;
    if (next >= 0)
        start(m, next);
    else
        to_phase(m, PHASE_FINALLY);
    return true;
}

static void write_outputs(struct move *m)
{
    struct scope scope = run_scope(m->r, false);
    struct json_out o;
    struct buf b;

    scope.inputs = masked_inputs(m->fx->arena, m->r); /* outputs are shown */
    if (m->r->template->outputs == NULL || m->r->status != RUN_SUCCEEDED)
        return;
    buf_init_arena(&b, m->r->arena, 256);
    b.max = RUN_OUTPUTS_MAX;
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (struct json_iter it = json_members(m->r->template->outputs); json_next(&it);) {
        struct expression_fault fault_of = {0};
        struct value v = {.type = JSON_NULL};
        const struct expression *e = expression_parse(m->fx->arena, json_str(it.value), &fault_of);

        if (e != NULL && !expression_eval(m->fx->arena, e, &scope, &v, &fault_of))
            v.type = JSON_NULL;
        json_key(&o, it.name);
        value_write(&o, &v, false);
    }
    json_close(&o, '}');
    m->r->outputs = b.failed ? S("{}") : buf_view(&b);
}

static bool phase_finally(struct move *m)
{
    enum run_status ended = m->r->cancelling ? RUN_CANCELLED : m->r->failed ? RUN_FAILED : RUN_SUCCEEDED;

    if (consider_role(m, ROLE_FINALLY))
        return true;
    if (m->r->paused || !role_ended(m, ROLE_FINALLY))
        return false;
    m->r->status = ended;
    write_outputs(m);
    run_end(m, ended);
    return false;
}

void run_end(struct move *m, enum run_status status)
{
    to_phase(m, PHASE_OVER);
    m->r->finished_ms = m->now;
    m->r->status = status;
    m->r->template->kind->frame_run(m, MOMENT_COMPLETED);
    effect_add(m, EFFECT_FINISHED, -1);
}

static bool phase_over(struct move *m)
{
    (void)m;
    return false;
}

/* --- pause, failure, time --- */

static bool live_edge(struct move *m, int i, enum edge_on on)
{
    const struct template_node *node = node_of(m, i);

    for (int k = 0; k < node->outs; k++)
        if (m->r->template->edges[node->out[k]].on == on && edge_state(m, node->out[k]) == EDGE_LIVE)
            return true;
    return false;
}

void workflow_failed(struct move *m, int i)
{
    struct step *s = &m->r->steps[i];
    const struct template_node *node = node_of(m, i);

    s->caught = node->on_failure == NODE_CONTINUE || node->on_failure == NODE_GOTO || live_edge(m, i, ON_FAILURE);
    if (s->caught)
        return;
    run_fail(m, "WF_STEP_FAILED", s->message, i);
    if (node->role == ROLE_ORDINARY && m->r->template->on_failure != TEMPLATE_CONTINUE && !live_edge(m, i, ON_ALWAYS))
        m->r->stopping = true;
}

void run_fail(struct move *m, const char *code, struct str message, int node)
{
    m->r->failed = m->r->dirty = true;
    if (m->r->error_code.n > 0)
        return; /* the first one is the cause */
    m->r->error_code = str_z(code);
    m->r->error_message = keep(m, message);
    m->r->error_node = node < 0 ? STR_NONE : node_of(m, node)->id;
}

void run_pause(struct move *m, struct str by, struct str reason)
{
    if (m->r->paused || m->r->cancelling)
        return;
    m->r->paused = m->r->dirty = true;
    m->r->paused_ms = m->now;
    m->r->paused_by = keep(m, by);
    m->r->pause_reason = keep(m, reason);
    m->r->template->kind->frame_run(m, MOMENT_PAUSED);
}

/* Its time stands still while the run is paused. A job may be what paused it, and waits for the same person. */
static bool stands_still(const struct run *r, int i)
{
    const struct step *s = &r->steps[i];

    return s->status == STEP_WAITING || s->status == STEP_RETRYING || (s->status == STEP_READY && s->agent.n == 0) ||
           (s->status == STEP_RUNNING && r->template->nodes[i].type->executor == BY_JOB && !s->cancelling);
}

void run_unpause(struct move *m)
{
    int64_t stood = m->now - m->r->paused_ms;

    if (!m->r->paused)
        return;
    m->r->paused = false;
    m->r->paused_ms = 0;
    m->r->paused_by = m->r->pause_reason = STR_NONE;
    m->r->dirty = true;
    if (m->r->deadline_ms > 0)
        m->r->deadline_ms += stood;
    if (m->r->batch_due_ms > 0)
        m->r->batch_due_ms += stood;
    for (int i = 0; i < m->r->template->n; i++) {
        struct step *s = &m->r->steps[i];

        if (!stands_still(m->r, i))
            continue;
        if (s->due_ms > 0)
            s->due_ms += stood;
        if (s->expires_ms > 0)
            s->expires_ms += stood;
        s->dirty = true;
    }
}

static void sooner(int64_t *next, int64_t at)
{
    if (at > 0 && (*next == 0 || at < *next))
        *next = at;
}

static int64_t next_tick(const struct run *r)
{
    int64_t next = 0;

    if (r->phase == PHASE_MAIN && !r->paused && !r->cancelling && !r->timed_out) {
        sooner(&next, r->deadline_ms);
        if (!r->stopping)
            sooner(&next, r->batch_due_ms);
    }
    for (int i = 0; i < r->template->n; i++) {
        const struct step *s = &r->steps[i];

        if (step_status_ended(s->status) || (r->paused && stands_still(r, i)))
            continue;
        sooner(&next, s->cancel_ms);
        if (s->cancelling)
            continue;
        sooner(&next, s->expires_ms);
        sooner(&next, s->due_ms);
        sooner(&next, s->accept_ms);
    }
    return next;
}

static enum run_status status_of(const struct run *r)
{
    bool busy = false, waits = false;

    if (r->phase == PHASE_OVER)
        return r->status;
    if (r->cancelling)
        return RUN_CANCELLING;
    if (r->paused)
        return RUN_PAUSED;
    if (r->started_ms == 0)
        return RUN_PENDING;
    for (int i = 0; i < r->template->n; i++) {
        busy = busy || r->steps[i].status == STEP_RUNNING || r->steps[i].status == STEP_READY;
        waits = waits || r->steps[i].status == STEP_WAITING || r->steps[i].status == STEP_RETRYING;
    }
    return waits && !busy ? RUN_WAITING : RUN_RUNNING;
}

void workflow_schedule(struct move *m)
{
    static bool (*const phases[])(struct move * m) = {phase_main, phase_compensation, phase_finally, phase_over};

    while ((m->r->started_ms > 0 || m->r->cancelling) && phases[m->r->phase](m) && !m->fx->failed)
        ;
}

void run_settle(struct move *m)
{
    struct run *r = m->r;
    int64_t next;

    if (r->status != status_of(r)) {
        r->status = status_of(r);
        r->dirty = true;
    }
    next = r->phase == PHASE_OVER ? 0 : next_tick(r);
    if (next != r->timer_ms) {
        r->timer_ms = next;
        r->dirty = true;
        effect_add(m, EFFECT_TIMER, -1)->at = next;
    }
}

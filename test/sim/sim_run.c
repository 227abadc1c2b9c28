/* One simulated life of a run: what comes next, drains, commits, and what must always hold. */
#include "test/sim/sim.h"

#include "server/event.h"

#include <stdlib.h>
#include <string.h>

enum { LOST_COMMIT = 5, COMPARE = 2, FORGET = 5, PARSE = 5 }; /* percent */

void sim_init(struct sim *s)
{
    memset(s, 0, sizeof *s);
    arena_init(&s->arena, 0);
    arena_init(&s->scratch, 0);
    plans_init(&s->plans, SIM_PLANS);
    s->steps = calloc(TEMPLATE_NODES, sizeof *s->steps);
    s->succeeded = calloc(TEMPLATE_NODES, sizeof *s->succeeded);
    s->began = calloc(TEMPLATE_NODES, sizeof *s->began);
}

void sim_fini(struct sim *s)
{
    arena_fini(&s->arena);
    arena_fini(&s->scratch);
    plans_fini(&s->plans);
    free(s->steps);
    free(s->succeeded);
    free(s->began);
}

static void reset(struct sim *s)
{
    struct sim kept = *s;

    arena_reset(&kept.arena);
    arena_reset(&kept.scratch);
    memset(kept.steps, 0, TEMPLATE_NODES * sizeof *kept.steps);
    memset(kept.succeeded, 0, TEMPLATE_NODES * sizeof *kept.succeeded);
    memset(kept.began, 0, TEMPLATE_NODES * sizeof *kept.began);
    memset(s, 0, sizeof *s);
    s->arena = kept.arena;
    s->scratch = kept.scratch;
    s->plans = kept.plans;
    plans_clear(&s->plans);
    s->steps = kept.steps;
    s->succeeded = kept.succeeded;
    s->began = kept.began;
}

/* --- the store --- */

struct run *sim_load(struct sim *s, struct arena *a)
{
    struct run *r = run_new(a, s->t, &s->origin);

    if (r == NULL || !run_header_read(r, s->header))
        sim_fault(s, "the header cannot be read back");
    for (int i = 0; i < s->t->n && s->fault[0] == '\0'; i++)
        if (s->steps[i].n > 0 && !run_step_read(r, i, s->steps[i]))
            sim_fault(s, "a step cannot be read back");
    return s->fault[0] == '\0' ? r : NULL;
}

static struct str header_text(struct arena *a, const struct run *r)
{
    struct buf b;

    buf_init_arena(&b, a, 256);
    run_header_write(&b, r);
    return buf_view(&b);
}

static struct str step_text(struct arena *a, const struct run *r, int i)
{
    struct buf b;

    buf_init_arena(&b, a, 256);
    run_step_write(&b, r, i);
    return buf_view(&b);
}

/* What was written must be what is in memory: nothing changed without its mark. */
static void check_written(struct sim *s, const struct run *r)
{
    struct run *stored = sim_load(s, &s->scratch);

    s->coverage->reloads++;
    if (stored == NULL)
        return;
    if (!str_eq(header_text(&s->scratch, r), header_text(&s->scratch, stored)))
        sim_fault(s, "a change of the run was not written");
    for (int i = 0; i < s->t->n; i++)
        if (!str_eq(step_text(&s->scratch, r, i), step_text(&s->scratch, stored, i)))
            sim_fault(s, "a change of step " STR_FMT " was not written", STR_ARG(s->t->nodes[i].id));
}

static void check_began(struct sim *s, const struct run *r, int i)
{
    const struct template_node *node = &s->t->nodes[i];
    int ended = 0, good = 0;
    bool jumped = false;

    if (s->began[i] || r->steps[i].attempt == 0)
        return;
    s->began[i] = true;
    if (node->role != ROLE_ORDINARY || node->ins == 0)
        return;
    for (int k = 0; k < node->ins; k++) {
        const struct template_edge *e = &s->t->edges[node->in[k]];
        enum step_status status = r->steps[e->from].status;
        bool failed = status == STEP_FAILED || status == STEP_TIMED_OUT;

        ended += step_status_ended(status);
        good += status == STEP_SUCCEEDED || failed;
        jumped = jumped || (e->on == ON_GOTO && failed);
    }
    if (good == 0)
        sim_fault(s, "step " STR_FMT " began though nothing before it was done", STR_ARG(node->id));
    if (node->join == JOIN_ALL && ended < node->ins && !jumped)
        sim_fault(s, "step " STR_FMT " began before all steps that it joins had ended", STR_ARG(node->id));
}

static void commit(struct sim *s, struct run *r, const struct effects *fx, unsigned consumed)
{
    if (r->dirty || s->header.n == 0)
        s->header = header_text(&s->arena, r);
    r->dirty = false;
    for (int i = 0; i < s->t->n; i++) {
        if (!r->steps[i].dirty)
            continue;
        r->steps[i].dirty = false;
        if (s->bug != BUG_LOST_WRITE || dice_below(&s->dice, 50) > 0)
            s->steps[i] = step_text(&s->arena, r, i);
        check_began(s, r, i);
    }
    s->inbox_n -= consumed;
    s->consumed += consumed;
    memmove(s->inbox, s->inbox + consumed, s->inbox_n * sizeof *s->inbox);
    sim_apply(s, r, fx);
    if (dice_percent(&s->dice, COMPARE))
        check_written(s, r);
}

/* --- transitions --- */

struct before { /* what a transition must respect */
    bool ended, paused, stopping;
    enum run_status status;
    int64_t attempts[TEMPLATE_NODES];
    size_t frames;
};

static size_t count_frames(const struct effects *fx)
{
    size_t n = 0;

    for (size_t i = 0; i < fx->n; i++)
        n += fx->list[i].type == EFFECT_EVENT;
    return n;
}

static void remember(const struct run *r, const struct effects *fx, struct before *b)
{
    b->ended = run_status_ended(r->status);
    b->paused = r->paused;
    b->stopping = r->stopping || r->cancelling;
    b->status = r->status;
    for (int i = 0; i < r->template->n; i++)
        b->attempts[i] = r->steps[i].attempt;
    b->frames = count_frames(fx);
}

static bool told(const struct effects *fx, struct str job, enum run_event_type type, struct arena *a)
{
    for (size_t i = 0; i < fx->n; i++) {
        struct run_event e;

        if (fx->list[i].type == EFFECT_TELL && str_eq(fx->list[i].run, job) &&
            run_event_read(a, fx->list[i].text, &e) && e.type == type)
            return true;
    }
    return false;
}

/* A job that is announced is taken, or told to stop, unless its end is known already. One that is taken hears that the run
 * goes on. */
static void check_told(struct sim *s, const struct run *r, const struct run_event *e, const struct effects *fx,
                       const struct before *b)
{
    int at = template_find(s->t, e->node);
    bool answered = false;

    for (unsigned k = 0; at >= 0 && k < r->steps[at].n_attempts; k++)
        answered = answered || (r->steps[at].attempts[k].attempt == e->attempt && r->steps[at].attempts[k].answered);
    if (e->type == EVENT_JOB_STARTED && e->agent.n > 0 && !answered &&
        (at < 0 || !str_eq(r->steps[at].job, e->agent))) {
        s->coverage->jobs[JOB_UNWANTED]++;
        if (!told(fx, e->agent, EVENT_CANCEL, &s->scratch))
            sim_fault(s, "a job that nobody waits for was not told to stop");
    }
    for (int i = 0; e->type == EVENT_RESUME && b->paused && !r->paused && i < s->t->n; i++)
        if (r->steps[i].status == STEP_RUNNING && r->steps[i].job.n > 0 &&
            !told(fx, r->steps[i].job, EVENT_RESUME, &s->scratch))
            sim_fault(s, "the job of step " STR_FMT " was not told to go on", STR_ARG(s->t->nodes[i].id));
}

static void check_transition(struct sim *s, const struct run *r, const struct run_event *e, const struct effects *fx,
                             const struct before *b)
{
    if (b->ended && (r->status != b->status || count_frames(fx) != b->frames))
        sim_fault(s, "something happened after the end");
    for (int i = 0; i < r->template->n; i++) {
        if (r->steps[i].attempt == b->attempts[i])
            continue;
        if (b->paused && r->paused && e->type != EVENT_RESUME)
            sim_fault(s, "step " STR_FMT " started while the run was paused", STR_ARG(s->t->nodes[i].id));
        if (b->stopping && s->t->nodes[i].role == ROLE_ORDINARY)
            sim_fault(s, "step " STR_FMT " started while the run was stopping", STR_ARG(s->t->nodes[i].id));
    }
}

/* Faults of an engine, put where they would show: the simulator has to notice each of them. */
static void bug_before(struct sim *s, struct run *r, const struct run_event *e)
{
    int i = template_find(s->t, e->node);

    if (s->bug == BUG_SECOND_RESULT && e->type == EVENT_TASK_COMPLETED && i >= 0 && !run_status_ended(r->status) &&
        r->steps[i].status == STEP_SUCCEEDED)
        r->steps[i].status = STEP_RUNNING;
}

static void bug_after(struct sim *s, struct run *r, const struct run_event *e, struct effects *fx)
{
    if (s->bug != BUG_FORGOTTEN_TIMER || e->type != EVENT_RESUME || run_status_ended(r->status))
        return;
    for (int i = 0; i < s->t->n; i++)
        if (!step_status_ended(r->steps[i].status)) {
            r->steps[i].due_ms = r->steps[i].expires_ms = 0;
            r->steps[i].dirty = true;
        }
    r->deadline_ms = r->timer_ms = 0;
    for (size_t i = 0; i < fx->n; i++)
        if (fx->list[i].type == EFFECT_TIMER)
            fx->list[i].at = 0;
}

static void transition(struct sim *s, struct run *r, const struct run_event *e, struct effects *fx)
{
    int i = template_find(s->t, e->node);
    struct before before;

    s->coverage->events++;
    s->coverage->run[r->status][e->type]++;
    if (i >= 0)
        s->coverage->step[r->steps[i].status][e->type]++;
    for (int k = 0; i < 0 && k < s->t->n; k++) /* an event of the run meets all its steps */
        s->coverage->step[r->steps[k].status][e->type]++;
    bug_before(s, r, e);
    remember(r, fx, &before);
    run_transition(r, e, s->now, fx);
    bug_after(s, r, e, fx);
    check_transition(s, r, e, fx, &before);
    check_told(s, r, e, fx, &before);
}

/* Carries out EFFECT_CHOOSE within the drain, as the real one does. */
static void choose(struct sim *s, struct run *r, struct effects *fx, size_t *done)
{
    for (; *done < fx->n && s->fault[0] == '\0'; ++*done) {
        struct run_event e = {.type = EVENT_TASK_UNASSIGNED, .message = S("nobody is there")};
        int agent, step = fx->list[*done].step;

        if (fx->list[*done].type != EFFECT_CHOOSE)
            continue;
        agent = sim_choose(s);
        if (agent >= 0) {
            e.type = EVENT_TASK_ASSIGNED;
            e.agent = sim_agent_id(agent);
        }
        e.node = s->t->nodes[step].id;
        e.attempt = r->steps[step].attempt;
        transition(s, r, &e, fx);
    }
}

void sim_drain(struct sim *s)
{
    struct run *r;
    struct effects fx;
    size_t done = 0;
    unsigned n = s->inbox_n;

    if (s->live == NULL || dice_percent(&s->dice, FORGET)) {
        arena_reset(&s->scratch);
        s->live = sim_load(s, &s->scratch);
    }
    r = s->live;
    effects_init(&fx, &s->scratch);
    for (unsigned i = 0; i < n && s->fault[0] == '\0'; i++) {
        struct run_event e;

        if (!run_event_read(&s->scratch, s->inbox[i], &e))
            sim_fault(s, "an entry cannot be read back");
        else
            transition(s, r, &e, &fx);
        choose(s, r, &fx, &done);
    }
    if (s->fault[0] != '\0')
        return;
    if (fx.failed) {
        sim_fault(s, "the transition ran out of memory");
    } else if (dice_percent(&s->dice, LOST_COMMIT)) {
        s->coverage->crashes++;
        s->coverage->faults++;
        s->live = NULL;
    } else {
        commit(s, r, &fx, n);
    }
}

/* --- frames and the end --- */

static void check_order(struct sim *s, struct str type)
{
    if (s->completed)
        sim_fault(s, "a frame after workflow_completed");
    s->completed = str_eqz(type, "workflow_completed");
    if (!str_eqz(type, "workflow_started"))
        return;
    if (s->started)
        sim_fault(s, "the run started twice");
    s->started = true;
}

void sim_check_frame(struct sim *s, struct str frame)
{
    struct str whole = arena_printf(&s->scratch, "{" STR_FMT, STR_ARG(frame)), type = event_member(whole, "type");
    int i = template_find(s->t, event_member(whole, "nodeId"));

    s->coverage->frames++;
    if (dice_percent(&s->dice, PARSE) && json_parse(&s->scratch, whole, NULL, NULL) == NULL)
        sim_fault(s, "a frame is no JSON: " STR_FMT, STR_ARG(whole));
    check_order(s, type);
    if (str_starts(type, S("step_")) && i < 0)
        sim_fault(s, "a frame of an unknown step");
    if (!str_eqz(type, "step_completed") || !str_eqz(event_member(whole, "status"), "succeeded") || i < 0)
        return;
    if (s->succeeded[i])
        sim_fault(s, "step " STR_FMT " succeeded twice", STR_ARG(s->t->nodes[i].id));
    s->succeeded[i] = true;
}

static void check_compensation(struct sim *s, const struct run *r)
{
    for (int a = 0; a < s->t->n; a++) {
        int undone = s->t->nodes[a].compensates;

        if (undone < 0 || r->steps[a].first_ms == 0)
            continue;
        if (r->steps[undone].status != STEP_SUCCEEDED)
            sim_fault(s, "what had not succeeded was undone");
        for (int b = 0; b < s->t->n; b++) {
            int other = s->t->nodes[b].compensates;

            if (other >= 0 && r->steps[b].first_ms > r->steps[a].first_ms &&
                r->steps[other].order > r->steps[undone].order)
                sim_fault(s, "steps were not undone in reverse order");
        }
    }
}

static void check_left_over(struct sim *s)
{
    for (int i = 0; i < SIM_TASKS; i++) {
        if (s->open[i].p != NULL)
            sim_fault(s, "an open task is left: " STR_FMT, STR_ARG(s->open[i]));
        if (s->waiting[i].p != NULL)
            sim_fault(s, "a step is left waiting for an agent: " STR_FMT, STR_ARG(s->waiting[i]));
        if (s->queued[i].p != NULL)
            sim_fault(s, "work is left: " STR_FMT, STR_ARG(s->queued[i]));
    }
    if (s->timer != 0)
        sim_fault(s, "a timer is left");
    if (s->appended != s->consumed)
        sim_fault(s, "%llu events came, %llu were seen", (unsigned long long)s->appended,
                  (unsigned long long)s->consumed);
}

void sim_check_end(struct sim *s)
{
    struct run *r;

    arena_reset(&s->scratch);
    r = sim_load(s, &s->scratch);
    if (r == NULL)
        return;
    s->coverage->ended[r->status]++;
    if (!run_status_ended(r->status) || r->finished_ms == 0 || !s->completed) {
        sim_fault(s, "the run has not ended: it is %s, and nothing more will come", run_status_name(r->status));
        return;
    }
    if ((r->status == RUN_FAILED) != (r->error_code.n > 0) && r->status != RUN_CANCELLED)
        sim_fault(s, "status and error disagree");
    for (int i = 0; i < s->t->n; i++) {
        const struct step *step = &r->steps[i];

        if (!step_status_ended(step->status) || step->finished_ms == 0)
            sim_fault(s, "step " STR_FMT " is %s after the end", STR_ARG(s->t->nodes[i].id),
                      step_status_name(step->status));
        if ((step->status == STEP_SUCCEEDED) != s->succeeded[i])
            sim_fault(s, "the success of step " STR_FMT " was not told once", STR_ARG(s->t->nodes[i].id));
        if (step->attempt > s->t->nodes[i].retry.attempts && s->t->nodes[i].on_failure != NODE_PAUSE)
            sim_fault(s, "step " STR_FMT " had too many attempts", STR_ARG(s->t->nodes[i].id));
    }
    check_compensation(s, r);
    check_left_over(s);
}

/* --- what happens next --- */

/* Something that nobody can have said. */
static struct run_event nonsense(struct sim *s)
{
    struct run_event e = {.type = (enum run_event_type)dice_below(&s->dice, EVENT_TYPES),
                          .node = s->t->nodes[dice_below(&s->dice, (unsigned)s->t->n)].id,
                          .attempt = 1 + dice_below(&s->dice, 2),
                          .agent = sim_agent_id((int)dice_below(&s->dice, SIM_AGENTS)),
                          .error_type = S("exit_code"),
                          .message = S("stray"),
                          .success = dice_percent(&s->dice, 50),
                          .retriable = true,
                          .progress = dice_below(&s->dice, 200)};

    if (e.type == EVENT_TASK_UNASSIGNED)
        e.agent = STR_NONE;
    s->coverage->faults++;
    return e;
}

static void stray(struct sim *s)
{
    struct run_event e = nonsense(s);

    sim_plan(s, dice_below(&s->dice, dice_percent(&s->dice, 70) ? 20000 : 2000000), PLAN_EVENT, &e);
}

/* An agent that is away speaks when it is back. */
static bool speaker_away(struct sim *s, const struct plan *p)
{
    for (int i = 0; i < SIM_AGENTS; i++)
        if (str_eq(p->event.agent, sim_agent_id(i)) && !s->online[i] && p->event.type >= EVENT_TASK_ACCEPTED)
            return dice_percent(&s->dice, 80);
    return false;
}

static void toggle_agent(struct sim *s)
{
    int agent = (int)dice_below(&s->dice, SIM_AGENTS);
    struct run_event gone = {.type = EVENT_AGENT_GONE, .agent = sim_agent_id(agent)}, offer = {.type = EVENT_OFFER};

    s->online[agent] = !s->online[agent];
    if (!s->online[agent] && dice_percent(&s->dice, 10))
        sim_append(s, &gone);
    if (s->online[agent])
        sim_append(s, &offer);
}

static void happen(struct sim *s)
{
    struct run_event tick = {.type = EVENT_TICK};
    struct plan p;

    if (s->timer > 0 && (s->plans.n == 0 || dice_percent(&s->dice, 50))) {
        if (s->plans.n == 0 || s->timer <= s->plans.list[0].at) {
            s->now = s->timer > s->now ? s->timer : s->now;
            s->timer = s->now + 5000; /* leased by whoever saw it */
            sim_append(s, &tick);
            return;
        }
    }
    if (s->plans.n == 0)
        return;
    p = plans_take(&s->plans);
    s->now = p.at > s->now ? p.at : s->now;
    if (dice_percent(&s->dice, 1)) {
        s->coverage->faults++; /* the clock jumps */
        s->now += dice_below(&s->dice, 600000);
    }
    if (p.kind == PLAN_PERSON)
        sim_person(s);
    else if (p.kind == PLAN_JOB)
        sim_job(s, &p.event);
    else if (p.kind == PLAN_AGENT_GETS)
        sim_agent_gets(s, &p.event);
    else if (speaker_away(s, &p))
        sim_plan(s, 30000, PLAN_EVENT, &p.event);
    else
        sim_append(s, &p.event);
    if (dice_percent(&s->dice, 2))
        toggle_agent(s);
}

static void begin(struct sim *s)
{
    struct run_event start = {.type = EVENT_START};
    struct run *r;

    s->origin = (struct run_origin){
        .id = S("0190a0b0-0000-7000-8000-000000000001"),
        .tenant = S("0190a0b0-0000-7000-8000-000000000002"),
        .template_id = S("0190a0b0-0000-7000-8000-000000000003"),
        .template_version = 1,
        .created_ms = s->now,
        .inputs = json_parse(&s->arena, S("{\"word\":\"hi\",\"pause\":7,\"yes\":true,\"no\":false}"), NULL,
                             &(struct json_fault){0}),
        .facts = json_parse(&s->arena, S("{\"run\":{\"id\":\"r\"}}"), NULL, &(struct json_fault){0})};
    r = run_new(&s->arena, s->t, &s->origin);
    s->header = header_text(&s->arena, r);
    for (int i = 0; i < SIM_AGENTS; i++)
        s->online[i] = dice_percent(&s->dice, 80);
    if (dice_percent(&s->dice, 10)) { /* before the start */
        struct run_event early = nonsense(s);

        if (dice_percent(&s->dice, 20))
            sim_person(s);
        else if (early.type != EVENT_START)
            sim_append(s, &early);
        sim_drain(s);
    }
    sim_append(s, &start);
    for (unsigned i = dice_percent(&s->dice, 30) ? 1 + dice_below(&s->dice, 6) : 0; i > 0; i--)
        stray(s);
    for (unsigned i = dice_percent(&s->dice, 40) ? 1 + dice_below(&s->dice, 3) : 0; i > 0; i--)
        sim_plan(s, dice_below(&s->dice, dice_percent(&s->dice, 50) ? 5000 : 400000), PLAN_PERSON, NULL);
}

bool sim_play(struct sim *s, uint64_t seed, const struct template *t, enum sim_bug bug, struct sim_coverage *coverage)
{
    unsigned turns = 0;

    reset(s);
    s->dice.state = seed;
    s->bug = bug;
    s->coverage = coverage;
    s->t = t;
    s->now = 1700000000000;
    begin(s);
    coverage->runs++;
    while (s->fault[0] == '\0' && (s->inbox_n > 0 || s->plans.n > 0 || s->timer > 0)) {
        if (s->inbox_n > 0 && (s->plans.n == 0 || dice_percent(&s->dice, 75)))
            sim_drain(s);
        else
            happen(s);
        if (++turns > SIM_STEPS_MAX)
            sim_fault(s, "the run does not end");
        if (s->last == RUN_PAUSED && s->plans.n == 0)
            sim_plan(s, 1000, PLAN_PERSON, NULL);
    }
    if (s->fault[0] == '\0')
        sim_check_end(s);
    return s->fault[0] == '\0';
}

/* One simulated life of a job: what comes next, drains and commits. */
#include "test/sim/job_sim.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOST_COMMIT = 2, COMPARE = 1, FORGET = 1 }; /* percent */

void job_sim_init(struct job_sim *s)
{
    memset(s, 0, sizeof *s);
    arena_init(&s->arena, 0);
    arena_init(&s->scratch, 0);
    plans_init(&s->plans, JOB_SIM_PLANS);
    s->tasks = calloc(JOB_SIM_TASKS, sizeof *s->tasks);
    s->inbox = calloc(JOB_SIM_INBOX, sizeof *s->inbox);
    s->steps = calloc(JOB_SIM_STEPS, sizeof *s->steps);
    s->waiting = calloc(JOB_SIM_STEPS, sizeof *s->waiting);
    s->frames = calloc(JOB_SIM_STEPS, sizeof *s->frames);
    s->given = calloc(JOB_SIM_TARGETS, sizeof *s->given);
    s->began = calloc(JOB_SIM_TARGETS, sizeof *s->began);
}

void job_sim_fini(struct job_sim *s)
{
    arena_fini(&s->arena);
    arena_fini(&s->scratch);
    plans_fini(&s->plans);
    free(s->tasks);
    free(s->inbox);
    free(s->steps);
    free(s->waiting);
    free(s->frames);
    free(s->given);
    free(s->began);
}

static void reset(struct job_sim *s)
{
    struct job_sim kept = *s;

    arena_reset(&kept.arena);
    arena_reset(&kept.scratch);
    memset(kept.steps, 0, JOB_SIM_STEPS * sizeof *kept.steps);
    memset(kept.waiting, 0, JOB_SIM_STEPS * sizeof *kept.waiting);
    memset(kept.frames, 0, JOB_SIM_STEPS * sizeof *kept.frames);
    memset(kept.given, 0, JOB_SIM_TARGETS * sizeof *kept.given);
    memset(kept.began, 0, JOB_SIM_TARGETS * sizeof *kept.began);
    *s = (struct job_sim){.arena = kept.arena,
                          .scratch = kept.scratch,
                          .plans = kept.plans,
                          .tasks = kept.tasks,
                          .inbox = kept.inbox,
                          .steps = kept.steps,
                          .waiting = kept.waiting,
                          .frames = kept.frames,
                          .given = kept.given,
                          .began = kept.began};
    plans_clear(&s->plans);
}

/* --- the store --- */

static struct run *load(struct job_sim *s)
{
    struct run *r = run_new(&s->scratch, s->t, &s->origin);

    if (r == NULL || !run_header_read(r, s->header))
        job_fault(s, "the header cannot be read back");
    for (int i = 0; i < s->t->n && s->fault[0] == '\0'; i++)
        if (s->steps[i].n > 0 && !run_step_read(r, i, s->steps[i]))
            job_fault(s, "a step cannot be read back");
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
static void check_written(struct job_sim *s, const struct run *r)
{
    struct run *stored = load(s);

    s->coverage->reloads++;
    if (stored == NULL)
        return;
    if (!str_eq(header_text(&s->scratch, r), header_text(&s->scratch, stored)))
        job_fault(s, "the header was changed and not written");
    for (int i = 0; i < s->t->n; i++)
        if (!str_eq(step_text(&s->scratch, r, i), step_text(&s->scratch, stored, i)))
            job_fault(s, "task " STR_FMT " was changed and not written", STR_ARG(s->t->nodes[i].id));
}

static void commit(struct job_sim *s, struct run *r, const struct effects *fx, unsigned consumed)
{
    if (r->dirty || s->header.n == 0)
        s->header = header_text(&s->arena, r);
    r->dirty = false;
    for (int i = 0; i < s->t->n; i++) {
        if (r->steps[i].dirty)
            s->steps[i] = step_text(&s->arena, r, i);
        r->steps[i].dirty = false;
    }
    s->inbox_n -= consumed;
    s->consumed += consumed;
    memmove(s->inbox, s->inbox + consumed, s->inbox_n * sizeof *s->inbox);
    job_apply(s, r, fx);
    if (!s->calm && dice_percent(&s->dice, COMPARE))
        check_written(s, r);
}

/* --- faults of an engine, put where they would show --- */

static void bug_before(struct job_sim *s, struct run *r, const struct run_event *e)
{
    int i = template_find(s->t, e->node);

    if (s->bug == JOB_BUG_SECOND_RESULT && e->type == EVENT_TASK_COMPLETED && i >= 0 && r->phase != PHASE_OVER &&
        r->steps[i].status == STEP_SUCCEEDED)
        r->steps[i].status = STEP_RUNNING;
    if (s->bug == JOB_BUG_BATCHES && r->batch > 0 && r->batch < s->spec.n_batches && r->phase == PHASE_MAIN)
        r->batch++;
    for (int k = s->spec.n - 1; s->bug == JOB_BUG_FORGOTTEN && r->stopping && !s->forgotten && k >= 0; k--) {
        struct step *deploy = &r->steps[s->job->targets[k].task[JOB_DEPLOY]];

        if (deploy->status != STEP_SUCCEEDED)
            continue;
        deploy->first_ms = 0;
        deploy->agent = STR_NONE;
        deploy->n_asked = deploy->n_attempts = 0;
        deploy->dirty = s->forgotten = true;
    }
}

/* --- transitions --- */

static int task_status_of(const struct run *r, int step)
{
    const char *name = job_task_status_name(r, step);
    int i = 0;

    while (strcmp(name, job_task_statuses[i]) != 0)
        i++;
    return i;
}

static void cover(struct job_sim *s, const struct run *r, const struct run_event *e)
{
    int i = template_find(s->t, e->node);

    s->coverage->events++;
    s->coverage->job[job_status(r)][e->type]++;
    if (i >= 0)
        s->coverage->task[task_status_of(r, i)][e->type]++;
    for (int k = 0; i < 0 && k < s->t->n; k++) /* an event of the job meets all its tasks */
        s->coverage->task[task_status_of(r, k)][e->type]++;
}

static uint64_t nanoseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others may have the machine */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void transition(struct job_sim *s, struct run *r, const struct run_event *e, struct effects *fx)
{
    struct job_before before;

    if (s->calm) {
        uint64_t from = nanoseconds();

        run_transition(r, e, s->now, fx);
        s->coverage->nanoseconds += nanoseconds() - from;
        s->coverage->events++;
        return;
    }
    cover(s, r, e);
    bug_before(s, r, e);
    job_remember(r, fx, &before);
    run_transition(r, e, s->now, fx);
    job_check_transition(s, r, e, fx, &before);
}

/* Carries out EFFECT_CHOOSE within the drain, as the real one does. */
static void choose_agents(struct job_sim *s, struct run *r, struct effects *fx, size_t *done)
{
    for (; *done < fx->n && s->fault[0] == '\0'; ++*done) {
        struct run_event e;

        if (fx->list[*done].type != EFFECT_CHOOSE)
            continue;
        job_choose(s, r, fx->list[*done].step, &e);
        transition(s, r, &e, fx);
    }
}

static void drain(struct job_sim *s)
{
    struct effects fx;
    size_t done = 0;
    unsigned n = s->inbox_n < 100 ? s->inbox_n : 100;

    if (s->live == NULL || dice_percent(&s->dice, FORGET)) {
        arena_reset(&s->scratch);
        s->live = load(s);
    }
    effects_init(&fx, &s->scratch);
    for (unsigned i = 0; i < n && s->fault[0] == '\0'; i++) {
        struct run_event e;

        if (!run_event_read(&s->scratch, s->inbox[i], &e))
            job_fault(s, "an entry cannot be read back");
        else
            transition(s, s->live, &e, &fx);
        choose_agents(s, s->live, &fx, &done);
    }
    if (s->fault[0] != '\0')
        return;
    if (fx.failed) {
        job_fault(s, "the transition ran out of memory");
    } else if (job_bad_luck(s, LOST_COMMIT)) {
        s->coverage->crashes++;
        s->live = NULL;
    } else {
        commit(s, s->live, &fx, n);
    }
}

/* --- what happens next --- */

/* Something that nobody can have said. */
static struct run_event nonsense(struct job_sim *s)
{
    struct run_event e = {.type = (enum run_event_type)dice_below(&s->dice, EVENT_TYPES),
                          .node = s->t->nodes[dice_below(&s->dice, (unsigned)s->t->n)].id,
                          .attempt = 1 + dice_below(&s->dice, 2),
                          .agent = job_agent_id((int)dice_below(&s->dice, JOB_SIM_AGENTS)),
                          .by = S("stray"),
                          .error_type = S("exit_code"),
                          .message = S("stray"),
                          .success = dice_percent(&s->dice, 50),
                          .retriable = true,
                          .progress = dice_below(&s->dice, 200)};

    /* Only the engine itself assigns, and counts whom it has asked. */
    if (e.type == EVENT_TASK_ASSIGNED)
        e.attempt = 900;
    if (e.type == EVENT_TASK_UNASSIGNED)
        e.agent = STR_NONE;
    s->coverage->faults++;
    return e;
}

static void stray(struct job_sim *s)
{
    struct run_event e = nonsense(s);

    job_plan_ahead(s, dice_below(&s->dice, dice_percent(&s->dice, 70) ? 60000 : 4000000), COMES_EVENT, &e, -1);
}

/* An agent that is away speaks when it is back. */
static bool speaker_away(struct job_sim *s, const struct plan *p)
{
    for (int i = 0; i < JOB_SIM_AGENTS; i++)
        if (str_eq(p->event.agent, job_agent_id(i)) && !s->online[i] && p->event.type >= EVENT_TASK_ACCEPTED)
            return dice_percent(&s->dice, 80);
    return false;
}

static bool timer_is_next(struct job_sim *s)
{
    return s->timer > 0 && (s->plans.n == 0 || (s->timer <= s->plans.list[0].at && dice_percent(&s->dice, 50)));
}

static void happen(struct job_sim *s)
{
    struct run_event tick = {.type = EVENT_TICK};
    struct plan p;

    if (timer_is_next(s)) {
        s->now = s->timer > s->now ? s->timer : s->now;
        s->timer = s->now + 5000; /* leased by whoever saw it */
        job_append(s, &tick);
        return;
    }
    if (s->plans.n == 0)
        return;
    p = plans_take(&s->plans);
    s->now = p.at > s->now ? p.at : s->now;
    if (dice_percent(&s->dice, 1) && job_bad_luck(s, 50))
        s->now += dice_below(&s->dice, 600000); /* the clock jumps */
    if (p.kind == COMES_PERSON)
        job_person(s);
    else if (p.kind == COMES_TASK)
        job_agent_gets(s, p.task);
    else if (speaker_away(s, &p))
        job_plan_ahead(s, 30000, COMES_EVENT, &p.event, -1);
    else
        job_append(s, &p.event);
    if (job_bad_luck(s, 1))
        job_toggle_agent(s);
}

static void begin_badly(struct job_sim *s)
{
    if (dice_percent(&s->dice, 10)) { /* before the start */
        struct run_event early = nonsense(s);

        if (dice_percent(&s->dice, 20))
            job_person(s);
        else if (early.type != EVENT_START)
            job_append(s, &early);
        if (s->inbox_n > 0)
            drain(s);
    }
    for (unsigned i = dice_percent(&s->dice, 40) ? 1 + dice_below(&s->dice, 8) : 0; i > 0; i--)
        stray(s);
    for (unsigned i = dice_percent(&s->dice, 35) ? 1 + dice_below(&s->dice, 3) : 0; i > 0; i--)
        job_plan_ahead(s, dice_below(&s->dice, dice_percent(&s->dice, 50) ? 8000 : 400000), COMES_PERSON, NULL, -1);
}

static void begin(struct job_sim *s, uint64_t seed, unsigned targets)
{
    struct run_event start = {.type = EVENT_START};

    s->now = 1700000000000;
    s->text = job_sim_plan(&s->arena, seed, targets, &s->spec);
    s->t = job_parse(&s->arena, json_parse(&s->arena, s->text, NULL, &(struct json_fault){0}));
    if (s->t == NULL) {
        job_fault(s, "the plan was refused");
        return;
    }
    s->origin = (struct run_origin){.id = S("0190a0b0-0000-7000-8000-000000000001"),
                                    .tenant = S("0190a0b0-0000-7000-8000-000000000002"),
                                    .template_id = S("job"),
                                    .template_version = 1,
                                    .created_ms = s->now};
    s->job = (const struct job *)(const void *)s->t;
    s->header = header_text(&s->arena, run_new(&s->arena, s->t, &s->origin));
    for (int i = 0; i < JOB_SIM_AGENTS; i++)
        s->online[i] = s->calm || dice_percent(&s->dice, 85);
    if (!s->calm)
        begin_badly(s);
    job_append(s, &start);
}

/* A rollback of the ended job, told once and doubled. */
static void roll_back_later(struct job_sim *s)
{
    struct run_event e = {.type = EVENT_ROLLBACK_STARTED, .by = S("rollback"), .success = dice_percent(&s->dice, 50)};

    job_append(s, &e);
    e.type = EVENT_ROLLBACK_ENDED;
    job_plan_ahead(s, 5000, COMES_EVENT, &e, -1);
    job_plan_ahead(s, 6000, COMES_EVENT, &e, -1);
    for (int i = 0; i < 3; i++) {
        e = nonsense(s);
        job_plan_ahead(s, dice_below(&s->dice, 12000), COMES_EVENT, &e, -1);
    }
}

static bool live(struct job_sim *s, bool later)
{
    unsigned turns = 0;

    while (s->fault[0] == '\0' && (s->inbox_n > 0 || s->plans.n > 0 || s->timer > 0)) {
        if (s->inbox_n > 0 && (s->plans.n == 0 || dice_percent(&s->dice, 75)))
            drain(s);
        else
            happen(s);
        if (++turns > JOB_SIM_TURNS)
            job_fault(s, "the job does not end");
        if (s->last == JOB_STATUS_PAUSED && s->plans.n == 0)
            job_plan_ahead(s, 1000, COMES_PERSON, NULL, -1);
        if (s->completed && later && dice_percent(&s->dice, 30)) {
            later = false;
            roll_back_later(s);
        }
    }
    if (s->fault[0] == '\0') {
        struct run *r;

        arena_reset(&s->scratch);
        r = load(s);
        if (r != NULL)
            job_check_end(s, r);
    }
    return s->fault[0] == '\0';
}

bool job_sim_play(struct job_sim *s, uint64_t seed, enum job_bug bug, struct job_coverage *coverage)
{
    reset(s);
    s->dice.state = seed;
    s->bug = bug;
    s->coverage = coverage;
    begin(s, seed, 0);
    coverage->jobs++;
    coverage->targets += (uint64_t)s->spec.n;
    return live(s, dice_percent(&s->dice, 20));
}

bool job_sim_measure(struct job_sim *s, uint64_t seed, unsigned targets, struct job_coverage *coverage)
{
    reset(s);
    s->dice.state = seed;
    s->calm = true;
    s->coverage = coverage;
    begin(s, seed, targets);
    coverage->jobs++;
    return live(s, false);
}

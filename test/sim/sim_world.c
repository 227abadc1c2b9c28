/* Agents, servers and people around the run, and the bad luck that meets them. */
#include "test/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sim_fault(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    if (s->fault[0] != '\0')
        return;
    va_start(ap, fmt);
    vsnprintf(s->fault, sizeof s->fault, fmt, ap);
    va_end(ap);
}

static const char *const agent_ids[SIM_AGENTS] = {"agent-0", "agent-1", "agent-2", "agent-3"};
struct str sim_agent_id(int agent)
{
    return str_z(agent_ids[agent]);
}

static int agent_index(struct str id)
{
    for (int i = 0; i < SIM_AGENTS; i++)
        if (str_eqz(id, agent_ids[i]))
            return i;
    return -1;
}

void sim_plan(struct sim *s, int64_t delay_ms, int kind, const struct run_event *e)
{
    struct plan p = {.at = s->now + delay_ms, .kind = kind};

    if (e != NULL)
        p.event = *e;
    if (!plans_add(&s->plans, p))
        sim_fault(s, "too much is planned");
}

void sim_append(struct sim *s, const struct run_event *e)
{
    struct buf b;

    if (s->inbox_n == ARRAY_LEN(s->inbox)) {
        sim_fault(s, "the inbox is full");
        return;
    }
    for (unsigned i = 0; e->type == EVENT_WORK_COMPLETED && i < s->n_jobs; i++)
        if (str_eq(s->jobs[i].node, e->node) && s->jobs[i].attempt == e->attempt)
            s->jobs[i].done = true;
    buf_init_arena(&b, &s->arena, 128);
    run_event_write(&b, e);
    s->inbox[s->inbox_n++] = buf_view(&b);
    s->appended++;
}

/* Sent once, sometimes twice. */
static void say(struct sim *s, int64_t delay_ms, const struct run_event *e)
{
    sim_plan(s, delay_ms, PLAN_EVENT, e);
    if (dice_percent(&s->dice, 6)) {
        s->coverage->faults++;
        sim_plan(s, delay_ms + dice_below(&s->dice, 40000), PLAN_EVENT, e);
    }
}

int sim_choose(struct sim *s)
{
    int from = (int)dice_below(&s->dice, SIM_AGENTS);

    for (int i = 0; i < SIM_AGENTS; i++)
        if (s->online[(from + i) % SIM_AGENTS] && dice_percent(&s->dice, 90))
            return (from + i) % SIM_AGENTS;
    return -1;
}

/* --- what an attempt comes to --- */

static const struct {
    unsigned weight;
    bool success, retriable;
    const char *type;
} results[] = {
    {72, true, true, NULL},         {18, false, true, "exit_code"},   {4, false, true, "timeout"},
    {2, false, true, "agent_lost"}, {2, false, false, "http_status"}, {2, false, true, "cancelled"},
};

static void result(struct sim *s, struct run_event *e)
{
    unsigned roll = dice_below(&s->dice, 100);
    size_t i = 0;

    while (roll >= results[i].weight)
        roll -= results[i++].weight;
    e->success = results[i].success;
    e->retriable = results[i].retriable;
    e->error_type = str_z(results[i].type);
    e->message = e->success ? STR_NONE : S("it did not work");
    if (e->success)
        e->outputs = json_parse(&s->arena, S("{\"exitCode\":0}"), NULL, &(struct json_fault){0});
}

static int64_t how_long(struct sim *s)
{
    unsigned roll = dice_below(&s->dice, 100);

    if (roll < 4) {
        s->coverage->faults++;
        return 700000 + (int64_t)dice_below(&s->dice, 3000000); /* long after everybody gave up */
    }
    return roll < 70 ? dice_below(&s->dice, 5000) : dice_below(&s->dice, 200000);
}

/* --- agents --- */

static struct sim_task *find_task(struct sim *s, int agent, struct str id)
{
    for (unsigned i = 0; i < s->n_tasks; i++)
        if (s->tasks[i].agent == agent && str_eq(s->tasks[i].id, id))
            return &s->tasks[i];
    return NULL;
}

static struct str task_id(struct sim *s, const struct run_event *e)
{
    return arena_printf(&s->arena, STR_FMT ":%lld", STR_ARG(e->node), (long long)e->attempt);
}

static void work_on(struct sim *s, const struct run_event *assigned)
{
    struct run_event e = *assigned;
    int64_t delay = 50 + dice_below(&s->dice, 500);

    e.type = EVENT_TASK_ACCEPTED;
    if (dice_percent(&s->dice, 5))
        s->coverage->faults++; /* the accept is lost */
    else
        say(s, delay, &e);
    if (dice_percent(&s->dice, 3)) {
        s->coverage->faults++; /* and never again a word */
        return;
    }
    e.type = EVENT_TASK_STARTED;
    if (!dice_percent(&s->dice, 5))
        say(s, delay += 10, &e);
    for (unsigned k = dice_below(&s->dice, 3); k > 0; k--) {
        e.type = EVENT_TASK_PROGRESS;
        e.progress = dice_below(&s->dice, 101);
        say(s, delay += 100, &e);
    }
    e.type = EVENT_TASK_COMPLETED;
    e.progress = 0;
    result(s, &e);
    say(s, delay + how_long(s), &e);
}

void sim_agent_gets(struct sim *s, const struct run_event *e)
{
    static const char *const reasons[] = {"busy", "capability_missing", "expired"};
    int agent = agent_index(e->agent);
    struct str id = task_id(s, e);
    struct run_event answer = *e;

    if (find_task(s, agent, id) != NULL || s->n_tasks == SIM_TASKS) {
        answer.type = EVENT_TASK_ACCEPTED; /* it knows the task: says so again */
        say(s, 50, &answer);
        return;
    }
    if (dice_percent(&s->dice, 4)) {
        s->coverage->faults++;
        answer.type = EVENT_TASK_REFUSED;
        answer.reason = str_z(reasons[dice_below(&s->dice, 3)]);
        say(s, 50, &answer);
        return;
    }
    s->tasks[s->n_tasks++] = (struct sim_task){.id = id, .agent = agent};
    work_on(s, e);
}

static void cancel_task(struct sim *s, const struct run_event *e)
{
    struct sim_task *task = find_task(s, agent_index(e->agent), task_id(s, e));
    struct run_event answer = *e;

    if (task == NULL || task->cancelled || dice_percent(&s->dice, 15))
        return;
    task->cancelled = true;
    answer.type = EVENT_TASK_COMPLETED;
    answer.error_type = S("cancelled");
    answer.message = S("stopped");
    answer.retriable = false;
    say(s, dice_below(&s->dice, 20000), &answer);
}

/* --- jobs --- */

struct sim_job *sim_job_find(struct sim *s, struct str id)
{
    for (unsigned i = 0; i < s->n_jobs; i++)
        if (str_eq(s->jobs[i].id, id))
            return &s->jobs[i];
    return NULL;
}

static void end_job(struct sim *s, const struct sim_job *job, int64_t delay)
{
    struct run_event e = {.type = EVENT_WORK_COMPLETED, .node = job->node, .attempt = job->attempt};

    result(s, &e);
    say(s, delay, &e);
}

static struct sim_job *make_job(struct sim *s, const struct run_event *e, struct str id)
{
    struct sim_job *job = &s->jobs[s->n_jobs++];
    int64_t delay = how_long(s);

    *job = (struct sim_job){.id = id, .node = e->node, .attempt = e->attempt};
    s->coverage->jobs[JOB_MADE]++;
    if (dice_percent(&s->dice, 8)) { /* it wants to be looked at by somebody */
        struct run_event pause = {.type = EVENT_PAUSE, .by = id, .reason = S("a target failed")};

        if (dice_percent(&s->dice, 80)) {
            pause.node = e->node;
            pause.attempt = e->attempt;
        }

        s->coverage->jobs[JOB_PAUSED]++;
        job->paused = true;
        sim_plan(s, delay, PLAN_EVENT, &pause);
    } else {
        end_job(s, job, delay);
    }
    return job;
}

void sim_job(struct sim *s, const struct run_event *e)
{
    struct str id = arena_printf(&s->arena, "job-" STR_FMT "-%lld", STR_ARG(e->node), (long long)e->attempt);
    struct run_event started = *e;

    if (sim_job_find(s, id) == NULL) {
        if (s->n_jobs == SIM_JOBS)
            return;
        make_job(s, e, id);
    }
    if (dice_percent(&s->dice, 8)) { /* the instance died before it could tell */
        s->coverage->faults++;
        sim_plan(s, 30000, PLAN_JOB, e);
        return;
    }
    started.type = EVENT_JOB_STARTED;
    started.agent = id;
    say(s, 5 + dice_below(&s->dice, 100), &started);
}

static void tell_job(struct sim *s, const struct effect *e)
{
    struct sim_job *job = sim_job_find(s, e->run);
    struct run_event told, answer;

    if (!str_eqz(str_z(e->kind), "job") || !run_event_read(&s->scratch, e->text, &told))
        sim_fault(s, "nobody can read what a job is told");
    if (job == NULL || s->fault[0] != '\0')
        return;
    if (told.type == EVENT_RESUME && job->paused) {
        s->coverage->jobs[JOB_RESUMED]++;
        job->paused = false;
        end_job(s, job, how_long(s));
    }
    if (told.type != EVENT_CANCEL || job->cancelled)
        return;
    job->cancelled = true;
    if (dice_percent(&s->dice, 15)) { /* it cannot stop, or not in time */
        s->coverage->jobs[JOB_DEAF]++;
        return;
    }
    s->coverage->jobs[JOB_STOPPED]++;
    answer = (struct run_event){.type = EVENT_WORK_COMPLETED,
                                .node = job->node,
                                .attempt = job->attempt,
                                .error_type = S("cancelled"),
                                .message = S("stopped")};
    say(s, dice_below(&s->dice, 40000), &answer);
}

/* --- people --- */

void sim_person(struct sim *s)
{
    static const enum run_event_type clicks[] = {EVENT_PAUSE, EVENT_RESUME, EVENT_RESUME, EVENT_CANCEL};
    struct run_event e = {
        .type = clicks[dice_below(&s->dice, ARRAY_LEN(clicks))], .by = S("someone"), .reason = S("why not")};

    if (s->last == RUN_PAUSED && e.type == EVENT_PAUSE)
        e.type = dice_percent(&s->dice, 80) ? EVENT_RESUME : EVENT_CANCEL;
    sim_append(s, &e);
}

/* --- effects --- */

static struct str *find_text(struct str *list, struct str text)
{
    for (int i = 0; i < SIM_TASKS; i++)
        if (text.p == NULL ? list[i].p == NULL : str_eq(list[i], text))
            return &list[i];
    return NULL;
}

static void put_text(struct sim *s, struct str *list, struct str text)
{
    struct str *place = find_text(list, text);

    if (place == NULL)
        place = find_text(list, STR_NONE);
    if (place == NULL)
        sim_fault(s, "a list of the store is full");
    else
        *place = arena_str(&s->arena, text);
}

static void drop_text(struct str *list, struct str text)
{
    struct str *place = find_text(list, text);

    if (place != NULL)
        *place = STR_NONE;
}

/* Node and attempt out of "<run>:<node>:<attempt>". */
static struct run_event task_event(struct sim *s, const struct effect *e)
{
    struct str rest = arena_str(&s->arena, e->task);
    struct run_event out = {.agent = arena_str(&s->arena, e->agent)};

    str_cut(&rest, ':');
    out.node = str_cut(&rest, ':');
    str_i64(rest, &out.attempt);
    return out;
}

static void open_task(struct sim *s, const struct effect *e)
{
    struct run_event event = task_event(s, e);
    struct str key = arena_printf(&s->arena, STR_FMT "/" STR_FMT, STR_ARG(e->agent), STR_ARG(e->task));

    put_text(s, s->open, key);
    if (dice_percent(&s->dice, 4)) {
        s->coverage->faults++; /* it was told while it was away, and hears of it when it is back */
        sim_plan(s, 20000 + dice_below(&s->dice, 60000), PLAN_AGENT_GETS, &event);
    } else {
        sim_plan(s, 10, PLAN_AGENT_GETS, &event);
    }
}

static void start_work(struct sim *s, const struct effect *e)
{
    struct run_event event = task_event(s, e);
    int64_t delay = 100 + dice_below(&s->dice, 20000);

    put_text(s, s->queued, e->task);
    if (s->t->nodes[e->step].type->executor == BY_JOB) {
        bool late = dice_percent(&s->dice, 5);

        s->coverage->faults += late;
        s->coverage->jobs[JOB_MADE_LATE] += late;
        sim_plan(s, late ? 30000 + dice_below(&s->dice, 1000000) : delay / 20, PLAN_JOB, &event);
        return;
    }
    event.type = EVENT_WORK_COMPLETED;
    event.agent = STR_NONE;
    if (dice_percent(&s->dice, 5)) {
        s->coverage->faults++; /* the instance died; another one takes it when the lease is over */
        delay += 30000;
    }
    result(s, &event);
    say(s, delay, &event);
}

/* Those that the run knew have ended by themselves, or were told to. */
static void check_jobs(struct sim *s)
{
    for (unsigned i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].known && !s->jobs[i].done && !s->jobs[i].cancelled)
            sim_fault(s, "the run ended and left its " STR_FMT " running", STR_ARG(s->jobs[i].id));
}

static void know_jobs(struct sim *s, const struct run *r)
{
    for (int i = 0; i < r->template->n; i++) {
        struct sim_job *job = r->steps[i].job.n > 0 ? sim_job_find(s, r->steps[i].job) : NULL;

        if (job != NULL && !job->known) {
            s->coverage->jobs[JOB_KNOWN]++;
            job->known = true;
        }
    }
}

void sim_apply(struct sim *s, struct run *r, const struct effects *fx)
{
    know_jobs(s, r);
    for (size_t i = 0; i < fx->n; i++) {
        const struct effect *e = &fx->list[i];
        struct run_event event;

        switch (e->type) {
        case EFFECT_EVENT:
            s->seq++;
            sim_check_frame(s, e->text);
            break;
        case EFFECT_ASSIGN:
            open_task(s, e);
            break;
        case EFFECT_CANCEL:
            event = task_event(s, e);
            cancel_task(s, &event);
            break;
        case EFFECT_FORGET:
            drop_text(s->open, arena_printf(&s->arena, STR_FMT "/" STR_FMT, STR_ARG(e->agent), STR_ARG(e->task)));
            break;
        case EFFECT_WAIT:
            put_text(s, s->waiting, e->task);
            break;
        case EFFECT_WAIT_OVER:
            drop_text(s->waiting, e->task);
            break;
        case EFFECT_WORK:
            start_work(s, e);
            break;
        case EFFECT_WORK_OVER:
            drop_text(s->queued, e->task);
            break;
        case EFFECT_TIMER:
            s->timer = e->at;
            break;
        case EFFECT_TELL:
            if (s->bug != BUG_JOB_LEFT)
                tell_job(s, e);
            break;
        case EFFECT_FINISHED:
            check_jobs(s);
            break;
        case EFFECT_CHOOSE:
        case EFFECT_STATUS:
            break;
        }
    }
    if (r->status == RUN_PAUSED && s->last != RUN_PAUSED)
        sim_plan(s, 1000 + dice_below(&s->dice, 4000000), PLAN_PERSON, NULL);
    s->last = r->status;
}

/* Agents, people and the store around a job, and the bad luck that meets them. */
#include "test/sim/job_sim.h"

#include "server/event.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void job_fault(struct job_sim *s, const char *fmt, ...)
{
    va_list ap;

    if (s->fault[0] != '\0')
        return;
    va_start(ap, fmt);
    vsnprintf(s->fault, sizeof s->fault, fmt, ap);
    va_end(ap);
}

bool job_bad_luck(struct job_sim *s, unsigned percent)
{
    bool bad = !s->calm && dice_percent(&s->dice, percent);

    s->coverage->faults += bad;
    return bad;
}

struct str job_agent_id(int agent)
{
    static const char *const ids[JOB_SIM_AGENTS] = {"agent-0", "agent-1", "agent-2", "agent-3", "agent-4"};

    return str_z(ids[agent]);
}

static int agent_index(struct str id)
{
    for (int i = 0; i < JOB_SIM_AGENTS; i++)
        if (str_eq(id, job_agent_id(i)))
            return i;
    return -1;
}

void job_plan_ahead(struct job_sim *s, int64_t delay_ms, int kind, const struct run_event *e, int task)
{
    struct plan p = {.at = s->now + delay_ms, .kind = kind, .task = task};

    if (e != NULL)
        p.event = *e;
    if (!plans_add(&s->plans, p))
        job_fault(s, "too much is planned");
}

void job_append(struct job_sim *s, const struct run_event *e)
{
    struct buf b;

    if (s->inbox_n == JOB_SIM_INBOX) {
        job_fault(s, "the inbox is full");
        return;
    }
    buf_init_arena(&b, &s->arena, 128);
    run_event_write(&b, e);
    s->inbox[s->inbox_n++] = buf_view(&b);
    s->appended++;
}

/* Sent once, sometimes twice. */
static void say(struct job_sim *s, int64_t delay_ms, const struct run_event *e)
{
    job_plan_ahead(s, delay_ms, COMES_EVENT, e, -1);
    if (job_bad_luck(s, 4))
        job_plan_ahead(s, delay_ms + dice_below(&s->dice, 40000), COMES_EVENT, e, -1);
}

/* --- the roster --- */

enum { AGENT_ROOM = 10 };

void job_choose(struct job_sim *s, const struct run *r, int step, struct run_event *out)
{
    static const struct json *capabilities;
    struct choose_agent agents[JOB_SIM_AGENTS];
    struct choose_wish wish = {.refused = r->steps[step].refused, .refused_count = r->steps[step].n_refused};
    const struct choose_agent *agent;
    struct str why;
    struct buf b;

    for (int i = 0; i < JOB_SIM_AGENTS; i++)
        agents[i] = (struct choose_agent){.id = job_agent_id(i),
                                          .status = s->online[i] ? S("online") : S("offline"),
                                          .lifecycle = S("active"),
                                          .capabilities = capabilities,
                                          .max_tasks = AGENT_ROOM,
                                          .open_tasks = s->open_tasks[i]};
    job_kind.wish(&s->scratch, r, step, job_kind.config(&s->scratch, r, step, false, &why), &wish);
    buf_init_arena(&b, &s->scratch, 128);
    agent = choose(agents, JOB_SIM_AGENTS, &wish, &b);
    *out = (struct run_event){.type = agent == NULL ? EVENT_TASK_UNASSIGNED : EVENT_TASK_ASSIGNED,
                              .node = s->t->nodes[step].id,
                              .attempt = r->steps[step].attempt,
                              .agent = agent == NULL ? STR_NONE : agent->id,
                              .message = agent == NULL ? buf_view(&b) : STR_NONE};
    if (agent != NULL)
        s->open_tasks[agent_index(agent->id)]++; /* recounted by the commit */
}

/* --- what an attempt comes to --- */

static const struct {
    unsigned weight;
    bool success, retriable;
    const char *type;
} results[] = {
    {80, true, true, NULL},         {8, false, true, "download_failed"},  {4, false, false, "unhealthy"},
    {2, false, true, "agent_lost"}, {3, false, false, "digest_mismatch"}, {2, false, true, "timeout"},
    {1, false, true, "cancelled"},
};

static void result(struct job_sim *s, struct run_event *e)
{
    unsigned luck = s->calm ? 0 : dice_below(&s->dice, 100);
    size_t i = 0;

    while (luck >= results[i].weight)
        luck -= results[i++].weight;
    e->success = results[i].success;
    e->retriable = results[i].retriable;
    e->error_type = str_z(results[i].type);
    e->message = e->success ? STR_NONE : S("it did not work");
    if (e->success)
        e->outputs = json_parse(&s->arena, S("{\"contentHash\":\"c\"}"), NULL, &(struct json_fault){0});
}

static int64_t how_long(struct job_sim *s)
{
    if (job_bad_luck(s, 3))
        return 700000 + (int64_t)dice_below(&s->dice, 9000000); /* long after everybody gave up */
    return dice_percent(&s->dice, 80) ? dice_below(&s->dice, 5000) : dice_below(&s->dice, 100000);
}

/* --- agents --- */

static struct run_event event_of(const struct job_sim *s, const struct job_sim_task *task, enum run_event_type type)
{
    return (struct run_event){
        .type = type, .node = s->t->nodes[task->step].id, .attempt = task->attempt, .agent = job_agent_id(task->agent)};
}

static int find_task(const struct job_sim *s, int agent, int step, int64_t attempt)
{
    for (int i = s->n_tasks - 1; i >= 0; i--)
        if (s->tasks[i].step == step && s->tasks[i].attempt == attempt && s->tasks[i].agent == agent)
            return i;
    return -1;
}

static void work_on(struct job_sim *s, const struct job_sim_task *task)
{
    struct run_event e = event_of(s, task, EVENT_TASK_ACCEPTED);
    int64_t delay = 50 + dice_below(&s->dice, 500);

    if (s->job->tasks[task->step].type == JOB_DEPLOY)
        s->began[s->job->tasks[task->step].target] = true;
    if (!job_bad_luck(s, 3))
        say(s, delay, &e); /* or it is lost */
    if (job_bad_luck(s, 2))
        return; /* and never again a word */
    e.type = EVENT_TASK_STARTED;
    if (!job_bad_luck(s, 3))
        say(s, delay += 10, &e);
    if (dice_percent(&s->dice, 20)) {
        e.type = EVENT_TASK_PROGRESS;
        e.progress = dice_below(&s->dice, 101);
        say(s, delay += 100, &e);
    }
    e.type = EVENT_TASK_COMPLETED;
    e.progress = 0;
    result(s, &e);
    say(s, delay + how_long(s), &e);
}

void job_agent_gets(struct job_sim *s, int i)
{
    static const char *const reasons[] = {"busy", "capability_missing", "expired"};
    struct job_sim_task *task = &s->tasks[i];
    struct run_event answer = event_of(s, task, EVENT_TASK_ACCEPTED);

    if (!task->open)
        return; /* it was taken back before the agent heard of it */
    if (task->known) {
        say(s, 50, &answer);
    } else if (task->refused || job_bad_luck(s, 3)) {
        task->refused = true;
        answer.type = EVENT_TASK_REFUSED;
        answer.reason = str_z(reasons[dice_below(&s->dice, 3)]);
        say(s, 50, &answer);
    } else if (job_bad_luck(s, 1)) {
        answer.type = EVENT_TASK_LOST;
        say(s, 40000, &answer);
    } else {
        task->known = true;
        work_on(s, task);
    }
}

static void cancel_task(struct job_sim *s, struct job_sim_task *task)
{
    struct run_event answer = event_of(s, task, EVENT_TASK_COMPLETED);

    if (task->cancelled || !task->known || job_bad_luck(s, 10))
        return;
    task->cancelled = true;
    answer.error_type = S("cancelled");
    answer.message = S("stopped");
    say(s, dice_below(&s->dice, 20000), &answer);
}

void job_toggle_agent(struct job_sim *s)
{
    int agent = (int)dice_below(&s->dice, JOB_SIM_AGENTS);
    struct run_event gone = {.type = EVENT_AGENT_GONE, .agent = job_agent_id(agent)}, offer = {.type = EVENT_OFFER};

    s->online[agent] = !s->online[agent];
    if (!s->online[agent] && dice_percent(&s->dice, 10))
        job_append(s, &gone);
    if (s->online[agent])
        job_append(s, &offer);
}

/* --- people --- */

void job_person(struct job_sim *s)
{
    static const enum run_event_type clicks[] = {EVENT_PAUSE, EVENT_RESUME, EVENT_RESUME, EVENT_CANCEL};
    struct run_event e = {
        .type = clicks[dice_below(&s->dice, ARRAY_LEN(clicks))], .by = S("someone"), .reason = S("why not")};

    if (s->last == JOB_STATUS_PAUSED && e.type == EVENT_PAUSE)
        e.type = dice_percent(&s->dice, 80) ? EVENT_RESUME : EVENT_CANCEL;
    job_append(s, &e);
}

/* --- effects --- */

/* Step and attempt out of "<run>:<node>:<attempt>". */
static int step_of(const struct job_sim *s, struct str task, int64_t *attempt)
{
    struct str rest = task;

    str_cut(&rest, ':');
    struct str node = str_cut(&rest, ':');
    str_i64(rest, attempt);
    return template_find(s->t, node);
}

static void assign(struct job_sim *s, int agent, int step, int64_t attempt)
{
    int i = find_task(s, agent, step, attempt);

    if (i < 0 && s->n_tasks == JOB_SIM_TASKS) {
        job_fault(s, "too many tasks");
        return;
    }
    if (i < 0) {
        i = s->n_tasks++;
        s->tasks[i] = (struct job_sim_task){.agent = agent, .step = step, .attempt = attempt};
    }
    s->tasks[i].refused = s->tasks[i].refused && s->tasks[i].open; /* asked anew, it may think better of it */
    s->tasks[i].open = true;
    if (s->job->tasks[step].type == JOB_DEPLOY)
        s->given[s->job->tasks[step].target] = true;
    job_plan_ahead(s, job_bad_luck(s, 3) ? 20000 + dice_below(&s->dice, 60000) : 10, COMES_TASK, NULL, i);
}

static void tell(struct job_sim *s, const struct effect *e)
{
    struct str type = event_member(e->text, "event");

    if (str_eqz(str_z(e->kind), "job"))
        return; /* to a job that nobody wants, which a stray event spoke of */
    if (!str_eqz(str_z(e->kind), "run") || !s->spec.parent)
        job_fault(s, "something was told to nobody");
    if (str_eqz(type, "pause")) {
        s->pauses_told++;
    } else if (str_eqz(type, "work_completed")) {
        s->ends_told++;
        s->end_success = str_eqz(event_member(e->text, "success"), "true");
    } else {
        job_fault(s, "the parent was told " STR_FMT, STR_ARG(type));
    }
}

static void count_open(struct job_sim *s)
{
    memset(s->open_tasks, 0, sizeof s->open_tasks);
    for (int i = 0; i < s->n_tasks; i++)
        s->open_tasks[s->tasks[i].agent] += s->tasks[i].open;
}

/* There is room again at an agent: steps that wait are offered. */
static void offer(struct job_sim *s)
{
    struct run_event e = {.type = EVENT_OFFER};

    for (int i = 0; i < s->t->n; i++)
        if (s->waiting[i] > 0) {
            job_append(s, &e);
            return;
        }
}

void job_apply(struct job_sim *s, const struct run *r, const struct effects *fx)
{
    bool freed = false;

    for (size_t k = 0; k < fx->n; k++) {
        const struct effect *e = &fx->list[k];
        int64_t attempt = 0;
        int step = e->task.n > 0 ? step_of(s, e->task, &attempt) : -1, agent = agent_index(e->agent);
        int task = agent < 0 || step < 0 ? -1 : find_task(s, agent, step, attempt);

        switch (e->type) {
        case EFFECT_EVENT:
            job_check_frame(s, e->text);
            break;
        case EFFECT_ASSIGN:
            assign(s, agent, step, attempt);
            break;
        case EFFECT_CANCEL:
            if (task >= 0)
                cancel_task(s, &s->tasks[task]);
            break;
        case EFFECT_FORGET:
            freed = freed || (task >= 0 && s->tasks[task].open);
            if (task >= 0)
                s->tasks[task].open = false;
            break;
        case EFFECT_WAIT:
            s->waiting[step] = attempt;
            break;
        case EFFECT_WAIT_OVER:
            if (s->waiting[step] == attempt)
                s->waiting[step] = 0;
            break;
        case EFFECT_TIMER:
            s->timer = e->at;
            break;
        case EFFECT_TELL:
            tell(s, e);
            break;
        default:
            if (e->type == EFFECT_WORK || e->type == EFFECT_WORK_OVER)
                job_fault(s, "a job has no work for servers");
        }
    }
    count_open(s);
    if (freed)
        offer(s);
    if (job_status(r) == JOB_STATUS_PAUSED && s->last != JOB_STATUS_PAUSED)
        job_plan_ahead(s, 1000 + dice_below(&s->dice, 4000000), COMES_PERSON, NULL, -1);
    s->last = job_status(r);
}

/* What must hold: for watchers at any time, for everything else in the end. */
#include "lib/stream.h"
#include "server/agent/tasks.h"
#include "server/engine/job.h"
#include "server/engine/kind.h"
#include "test/whole/whole.h"

#include <stdio.h>
#include <string.h>

/* --- watchers --- */

/* The event stands so in the channel, and was written to the data that are followed. */
static bool is_true(int64_t seq, int64_t epoch, struct str event)
{
    const struct whole_channel *c = &world->channels[0];
    size_t low = 0, high = c->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (c->entries[middle].last < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->n && c->entries[low].epoch <= epoch && str_find(c->entries[low].text, event) >= 0;
}

static bool on_batch(struct follower *f, const struct hub_batch *batch)
{
    struct whole_watcher *v = list_entry(f, struct whole_watcher, follower);
    struct str rest = batch->bytes != NULL ? shared_str(batch->bytes) : STR_NONE, event;
    int64_t seq;

    if (batch->first != v->seq + 1)
        whole_fault("a watcher at %lld is handed %lld", (long long)v->seq, (long long)batch->first);
    if (v->full)
        return false;
    while (event_next(&rest, &event, &seq)) {
        if (seq != v->seq + 1)
            whole_fault("a watcher is handed %lld behind %lld", (long long)seq, (long long)v->seq);
        if (!is_true(seq, v->epoch, event) && !(v->epoch < world->epoch && whole_data_lost(seq, event, v->epoch)))
            whole_fault("a watcher of epoch %lld is told, in epoch %lld, what is not in its channel: " STR_FMT,
                        (long long)v->epoch, (long long)world->epoch, STR_ARG(event));
        v->seq = seq;
        world->coverage->handed++;
    }
    if (v->seq != batch->last)
        whole_fault("a batch says it goes to %lld, and goes to %lld", (long long)batch->last, (long long)v->seq);
    v->full = whole_unlucky(100, &world->coverage->faults);
    return true;
}

static void on_live(struct follower *f)
{
    const struct whole_watcher *v = list_entry(f, struct whole_watcher, follower);

    if (f->seq != v->seq)
        whole_fault("a watcher is told that it is live elsewhere");
}

static void on_reset(struct follower *f)
{
    list_entry(f, struct whole_watcher, follower)->reset = true;
}

static const struct follower_type type = {on_batch, on_live, on_reset, NULL};

/* It looks for an instance; has room again, and asks for more; or goes, and resumes elsewhere. */
bool whole_watch(struct whole_watcher *v)
{
    struct whole_server *s = &world->servers[dice_below(&world->dice, WHOLE_SERVERS)];
    const struct hub_source source = {S(WHOLE_TENANT), 7, world->epoch, str_z(world->channels[0].name), NULL, NULL};

    if (v->server != NULL && !v->reset && whole_unlucky(10, &world->coverage->cuts)) {
        hub_unfollow(&v->follower);
        v->server = NULL;
        return true;
    }
    if (v->server != NULL && !v->reset) {
        v->full = false;
        hub_next(&v->follower);
        return true;
    }
    if (!s->up)
        return false;
    if (v->epoch != 0 && v->epoch != world->epoch) /* as the feed sees when it comes back: a gap */
        v->reset = true;
    if (v->reset) { /* the present state, which says where it stands */
        v->seq = world->channels[0].seq;
        v->resets++;
        world->coverage->resets++;
    }
    v->epoch = world->epoch;
    v->reset = v->full = false;
    v->server = s;
    v->follower.type = &type;
    return hub_follow(s->hub, &source, STR_NONE, ENCODE_JSON, v->seq, &v->follower);
}

/* --- the run's channel, from its first event to its last --- */

struct reading {
    const struct run *r;
    unsigned completed[TEMPLATE_NODES];
    int64_t batches; /* of a job: those that were completed */
    int64_t lines[WHOLE_LOGS];
    unsigned ends;
};

static void read_line(struct reading *at, struct str event, struct str node)
{
    struct str text = event_member(event, "line"), task;
    int64_t log = 0, number = 0, attempt = 0;
    const struct whole_log *l;

    str_i64(event_member(event, "attempt"), &attempt);
    task = arena_printf(&world->scratch, WHOLE_RUN ":" STR_FMT ":%lld", STR_ARG(node), (long long)attempt);
    l = whole_log_of(task);
    if (l == NULL || !str_i64(event_member(event, "logSeq"), &log) || !str_i64(str_slice(text, 5, text.n), &number)) {
        whole_fault("a line of nothing: " STR_FMT, STR_ARG(event));
        return;
    }
    if (log != ++at->lines[l - world->logs])
        whole_fault("line %lld of task " STR_FMT " has the number %lld", (long long)at->lines[l - world->logs],
                    STR_ARG(task), (long long)log);
    if (world->epoch == 1 ? number != log : number < log)
        whole_fault("task " STR_FMT " said line %lld, its log has it as line %lld", STR_ARG(task), (long long)number,
                    (long long)log);
}

/* The batches before its own are over. */
static void check_batch(const struct reading *at, int step)
{
    const struct job *job = job_of(at->r);
    const struct job_task *task = &job->tasks[step];

    if (task->type != JOB_ROLLBACK && job->targets[task->target].batch > at->batches + 1)
        whole_fault("task " STR_FMT " begins while %lld batches are completed", STR_ARG(world->t->nodes[step].id),
                    (long long)at->batches);
}

static void read_event(struct reading *at, struct str event)
{
    bool job = world->t->kind == &job_kind;
    struct str kind = event_member(event, "type"), node = event_member(event, job ? "taskId" : "nodeId");

    if (str_eqz(kind, world->t->kind->log_frame))
        read_line(at, event, node);
    else if (str_eqz(kind, job ? "task_completed" : "step_completed"))
        at->completed[template_find(world->t, node)]++;
    else if (str_eqz(kind, job ? "job_completed" : "workflow_completed"))
        at->ends++;
    else if (str_eqz(kind, "batch_completed"))
        at->batches++;
    else if (job && str_eqz(kind, "task_started"))
        check_batch(at, template_find(world->t, node));
}

/* --- steps, and the tasks that carried them out --- */

static const struct whole_process *process_of(int agent, struct str task)
{
    for (int i = 0; agent >= 0 && i < WHOLE_TASKS; i++)
        if (world->agents[agent].disk[i].there && str_eqz(task, world->agents[agent].disk[i].id))
            return &world->agents[agent].disk[i];
    return NULL;
}

/* The one that had success had been told to leave the task to another. */
static bool was_released(const struct step *s)
{
    for (unsigned k = 0; k < s->n_released; k++)
        if (str_eq(s->released[k], s->agent))
            return true;
    return false;
}

static void check_success(const struct reading *at, int step)
{
    const struct step *s = &at->r->steps[step];
    struct str task = run_task_id(&world->scratch, at->r, step);
    const struct whole_process *p = process_of(whole_agent_index(s->agent), task);
    const struct whole_log *l = whole_log_of(task);

    if (p == NULL || !p->success)
        whole_fault("task " STR_FMT " counts as a success, which its agent knows nothing of", STR_ARG(task));
    else if (!was_released(s) &&
             (world->epoch == 1 ? l->next - 1 != (int64_t)p->lines : l->next - 1 > (int64_t)p->lines))
        whole_fault("task " STR_FMT " said %llu lines, %lld are in its log", STR_ARG(task),
                    (unsigned long long)p->lines, (long long)(l->next - 1));
}

/* Of a job: a task of a rollback that was not begun is none; and one that had failed may have been tried again when
 * somebody resumed the job. */
static bool is_none(const struct reading *at, int step)
{
    return world->t->kind == &job_kind && !job_task_shown(at->r, step);
}

static unsigned ends_most(const struct reading *at)
{
    return world->t->kind == &job_kind && job_of(at->r)->behaviour == JOB_PAUSES ? 100 : 1;
}

static void check_steps(const struct reading *at)
{
    for (int i = 0; i < world->t->n; i++) {
        const struct step *s = &at->r->steps[i];
        unsigned most = ends_most(at);
        bool told = s->status == STEP_SKIPPED || s->attempt == 0 || at->completed[i] > 0;

        if (is_none(at, i))
            continue;

        if (!step_status_ended(s->status))
            whole_fault("step " STR_FMT " is %s after the end", STR_ARG(world->t->nodes[i].id),
                        step_status_name(s->status));
        if (!told || at->completed[i] > most)
            whole_fault("the end of step " STR_FMT " was told %u times", STR_ARG(world->t->nodes[i].id),
                        at->completed[i]);
        if (s->status == STEP_SUCCEEDED)
            check_success(at, i);
    }
}

/* Who deployed a target checks it and takes it back; and of a job that rolled back, every target it touched is back. */
static void check_job(const struct reading *at)
{
    const struct job *job = job_of(at->r);

    for (int k = 0; k < job->n_targets; k++) {
        const int *task = job->targets[k].task;
        const struct step *deploy = &at->r->steps[task[JOB_DEPLOY]], *back = &at->r->steps[task[JOB_ROLLBACK]],
                          *check = task[JOB_CHECK] < 0 ? NULL : &at->r->steps[task[JOB_CHECK]];

        if (check != NULL && check->status == STEP_SUCCEEDED && !str_eq(check->agent, deploy->agent))
            whole_fault("target %d is checked by another agent than deployed it", k);
        if (back->status == STEP_SUCCEEDED && deploy->agent.n > 0 && !str_eq(back->agent, deploy->agent))
            whole_fault("target %d is taken back by another agent than deployed it", k);
        if (job_status(at->r) == JOB_STATUS_ROLLED_BACK && deploy->status == STEP_SUCCEEDED &&
            back->status != STEP_SUCCEEDED)
            whole_fault("target %d has kept what the job rolled back", k);
    }
    world->coverage->rolled_back += job_status(at->r) == JOB_STATUS_ROLLED_BACK;
}

static bool is_one(unsigned agents)
{
    return (agents & (agents - 1)) == 0;
}

/* What an agent has had acknowledged, and it alone was asked for, the run has heard. */
static void check_heard(const struct reading *at, const struct whole_process *p)
{
    struct str rest = str_z(p->id);
    int64_t attempt = 0;
    int step;

    if (world->epoch > 1)
        return; /* whoever was told may be gone */

    str_cut(&rest, ':');
    step = template_find(world->t, str_cut(&rest, ':'));
    str_i64(rest, &attempt);
    for (unsigned k = 0; k < at->r->steps[step].n_attempts; k++) {
        const struct step_attempt *a = &at->r->steps[step].attempts[k];

        if (a->attempt == attempt && (a->answered || a->late.n > 0))
            return;
    }
    if (is_one(whole_log_of(str_z(p->id))->agents))
        whole_fault("task %s is forgotten by its agent, and its run never heard of its end", p->id);
}

static void check_agents(const struct reading *at)
{
    for (int k = 0; k < WHOLE_AGENTS; k++)
        for (int i = 0; i < WHOLE_TASKS; i++) {
            const struct whole_process *p = &world->agents[k].disk[i];

            if (world->open[k][i].id[0] != '\0')
                whole_fault("task %s is left open", world->open[k][i].id);
            if (p->there && !p->said_completed)
                whole_fault("the end of task %s was never taken from its agent", p->id);
            if (p->there && p->said_completed)
                check_heard(at, p);
        }
}

void whole_check_end(void)
{
    static _Thread_local struct reading at;
    const struct whole_channel *c = &world->channels[0];

    memset(&at, 0, sizeof at);
    arena_reset(&world->scratch);
    at.r = whole_load(&world->scratch);
    if (at.r == NULL)
        return;
    if (!run_status_ended(at.r->status)) {
        whole_fault("the run has not ended: it is %s", run_status_name(at.r->status));
        return;
    }
    world->coverage->ended[at.r->status]++;
    for (size_t i = 0; i < c->n; i++) {
        struct str rest = c->entries[i].text, event;
        int64_t seq;

        while (event_next(&rest, &event, &seq))
            read_event(&at, event);
    }
    if (at.ends != 1)
        whole_fault("the end of the run was told %u times", at.ends);
    check_steps(&at);
    if (world->t->kind == &job_kind)
        check_job(&at);
    check_agents(&at);
    for (int i = 0; i < WHOLE_WATCHERS; i++)
        if (world->watchers[i].seq != c->seq)
            whole_fault("a watcher has stopped at %lld of %lld", (long long)world->watchers[i].seq, (long long)c->seq);
}

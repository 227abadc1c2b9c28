/* The tasks of a deployment job. They are no documents of their own: each answer reads the job's hash and renders from
 * it. Tasks of a rollback are there once they have begun. */
#include "server/api/orchestrator/resources.h"

#include "server/api/orchestrator/workflow_run.h"
#include "server/engine/drain.h"
#include "server/engine/job.h"
#include "server/engine/job_start.h"
#include "server/engine/kind.h"
#include "server/shelf.h"

static const char *const types[] = {"deploy", "health-check", "rollback", NULL};
static const char *const states[] = {"pending",   "assigned", "running",   "succeeded", "failed",
                                     "timed_out", "skipped",  "cancelled", NULL};
static const char *const attempt_states[] = {"pending", "ready",     "running",   "waiting", "retrying", "succeeded",
                                             "failed",  "timed_out", "cancelled", "skipped", NULL};
static const char *const blockers[] = {"pause", "batch", "task", "room", "agent", "timer", NULL};
static const char *const lates[] = {"succeeded", "failed", NULL};

// clang-format off
static const struct field error_fields[] = {
    {"type",      FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "digest_mismatch, hook_failed, unhealthy, timeout ..."},
    {"message",   FIELD_STRING, .max = 4096, .doc = "For people."},
    {"retriable", FIELD_BOOL,   .doc = "Another attempt might go better."},
    {0}};
static const struct field attempt_fields[] = {
    {"attempt",    FIELD_INT,    FIELD_REQUIRED, .min = 1, .max = 1000000},
    {"status",     FIELD_ENUM,   FIELD_REQUIRED, .choices = attempt_states},
    {"startedAt",  FIELD_TIME},
    {"finishedAt", FIELD_TIME},
    {"error",      FIELD_OBJECT, .fields = error_fields},
    {"lateResult", FIELD_ENUM,   .choices = lates, .doc = "A result that came when it was no longer waited for."},
    {0}};
static const struct field blocker_fields[] = {
    {"type",   FIELD_ENUM,   FIELD_REQUIRED, .choices = blockers, .doc = "What it waits for; room: maxConcurrent tasks are under way."},
    {"taskId", FIELD_STRING, .max = 63, .doc = "The task that has to end first."},
    {"reason", FIELD_STRING, .max = 4096, .doc = "For people."},
    {0}};

static const struct field fields[] = {
    {"id",          FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .max = 63, .doc = "<place of its target>-<type>, unique in the job: 12-deploy. The stream's taskId."},
    {"jobId",       FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"targetId",    FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"targetName",  FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .max = 100},
    {"type",        FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .choices = types},
    {"position",    FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT, .max = 3 * JOB_TARGETS_MAX, .doc = "Place among the job's tasks, from 0."},
    {"batch",       FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .doc = "From 1; 0: of a target that is left out."},
    {"status",      FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .choices = states, .doc = "assigned: an agent has been asked."},
    {"attempt",     FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .max = 1000000, .doc = "The present or last one; 0 before the first."},
    {"maxAttempts", FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .max = 1000000},
    {"agentId",     FIELD_STRING, FIELD_READONLY | FIELD_SEARCH, .max = 64, .doc = "The agent that has or had it."},
    {"progress",    FIELD_INT,    FIELD_READONLY, .min = 0, .max = 100, .doc = "As the agent says."},
    {"message",     FIELD_STRING, FIELD_READONLY, .max = 4096, .doc = "What the agent is at."},
    {"reason",      FIELD_STRING, FIELD_READONLY, .max = 4096, .doc = "Why it was skipped, or has no agent."},
    {"startedAt",   FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"finishedAt",  FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"duration",    FIELD_NUMBER, FIELD_READONLY, .doc = "Seconds, all attempts and the time between them."},
    {"result",      FIELD_OBJECT, FIELD_READONLY, .doc = "What the agent answered."},
    {"error",       FIELD_OBJECT, FIELD_READONLY, .fields = error_fields, .doc = "Of the last attempt that failed."},
    {"blockedBy",   FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = blocker_fields, .doc = "What stands between it and its going on."},
    {"attempts",    FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = attempt_fields, .doc = "The last 50."},
    {0}};
// clang-format on

/* Index of the task the path names; -1: there is none, or not yet. */
static int task_of(const struct request *r, const struct run *run)
{
    int task = template_find(run->template, r->params[1]);

    return task >= 0 && job_task_shown(run, task) ? task : -1;
}

/* --- the tasks --- */

static const struct json *document(struct request *r, const struct run *run, int task)
{
    struct buf b;

    buf_init_arena(&b, &r->arena, 512);
    job_task_document_write(&b, run, task);
    return b.failed ? NULL : json_parse(&r->arena, buf_view(&b), NULL, NULL);
}

static enum flow put_tasks(struct request *r, const struct run *run)
{
    const struct json **items = arena_array(&r->arena, (size_t)run->template->n, sizeof *items);
    size_t n = 0;

    for (int i = 0; items != NULL && i < run->template->n; i++) {
        if (!job_task_shown(run, i))
            continue;
        items[n] = document(r, run, i);
        if (items[n++] == NULL)
            return reply_error(r, SYS_OVERLOADED);
    }
    return items == NULL ? reply_error(r, SYS_OVERLOADED) : shelf_reply(r, &deployment_task_resource, items, n);
}

static enum flow put_task(struct request *r, const struct run *run)
{
    int task = task_of(r, run);
    struct buf b;

    if (task < 0)
        return reply_error(r, RES_NOT_FOUND);
    buf_init_arena(&b, &r->arena, 512);
    job_task_document_write(&b, run, task);
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, 200, buf_view(&b));
}

static enum flow put_log(struct request *r, const struct run *run)
{
    return task_of(r, run) < 0 ? reply_error(r, RES_NOT_FOUND) : run_log_read(r, run, r->params[1]);
}

static enum flow list(struct request *r)
{
    return run_read(r, &job_kind, put_tasks);
}
static enum flow get(struct request *r)
{
    return run_read(r, &job_kind, put_task);
}
static enum flow logs(struct request *r)
{
    return run_read(r, &job_kind, put_log);
}

// clang-format off
static const struct route routes[] = {
    {GET, "/deployment-jobs/{id}/tasks", list, "deployment:read", "listDeploymentTasks", "List the tasks of a job in the order of deployment.", ROUTE_LIST, .codes = {RES_NOT_FOUND}},
    {GET, "/deployment-jobs/{id}/tasks/{taskId}", get, "deployment:read", "getDeploymentTask", "Read one task of a job."},
    {GET, "/deployment-jobs/{id}/tasks/{taskId}/logs", logs, "deployment:read", "getDeploymentTaskLogs",
     "Read what a task printed: lines as JSON, or raw with `Accept: text/plain`. `seq` is the stream's `logSeq`.",
     .query = workflow_step_log_query, .data = workflow_step_log_fields, .codes = {RES_NOT_FOUND}, .media = "text/plain"},
    ROUTE_END};
// clang-format on

const struct resource deployment_task_resource = {
    .kind = "deployment-task",
    .plural = "tasks",
    .tag = "DEPLOY",
    .below = "job",
    .doc = "What an agent does on one target for one job.",
    .fields = fields,
    .routes = routes,
    .sort = "position",
};

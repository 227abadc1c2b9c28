/* The steps of a run. They are no documents of their own: each answer reads the run's hash and renders from it. */
#include "server/api/orchestrator/workflow_run.h"

#include "server/engine/drain.h"
#include "server/shelf.h"

static const char *const states[] = {"pending", "ready",     "running",   "waiting", "retrying", "succeeded",
                                     "failed",  "timed_out", "cancelled", "skipped", NULL};
static const char *const blockers[] = {"agent", "pause", "step", "timer", NULL};
static const char *const lates[] = {"succeeded", "failed", NULL};

// clang-format off
static const struct field error_fields[] = {
    {"type",      FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "exit_code, timeout, http_status ...: what retryOn names."},
    {"message",   FIELD_STRING, .max = 4096, .doc = "For people."},
    {"retriable", FIELD_BOOL,   .doc = "Another attempt might go better."},
    {0}};
static const struct field attempt_fields[] = {
    {"attempt",    FIELD_INT,    FIELD_REQUIRED, .min = 1, .max = 1000000},
    {"status",     FIELD_ENUM,   FIELD_REQUIRED, .choices = states},
    {"startedAt",  FIELD_TIME},
    {"finishedAt", FIELD_TIME},
    {"error",      FIELD_OBJECT, .fields = error_fields},
    {"lateResult", FIELD_ENUM,   .choices = lates, .doc = "A result that came when it was no longer waited for."},
    {0}};
static const struct field blocker_fields[] = {
    {"type",   FIELD_ENUM,   FIELD_REQUIRED, .choices = blockers, .doc = "What it waits for."},
    {"nodeId", FIELD_STRING, .max = 63, .doc = "The step that has to end first."},
    {"reason", FIELD_STRING, .max = 4096, .doc = "For people."},
    {0}};

static const struct field fields[] = {
    {"nodeId",      FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .max = 63},
    {"name",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .max = 200},
    {"type",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .max = 63, .doc = "Key of a step type."},
    {"status",      FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .choices = states, .doc = "ready: an agent is to take it. retrying: between two attempts."},
    {"position",    FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT, .max = 1000, .doc = "Place in topological order, from 0."},
    {"attempt",     FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .max = 1000000, .doc = "The present or last one; 0 before the first."},
    {"maxAttempts", FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .max = 1000},
    {"progress",    FIELD_INT,    FIELD_READONLY, .min = 0, .max = 100, .doc = "As the step says."},
    {"startedAt",   FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"finishedAt",  FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"duration",    FIELD_NUMBER, FIELD_READONLY, .doc = "Seconds, all attempts and the time between them."},
    {"agentId",     FIELD_STRING, FIELD_READONLY | FIELD_SEARCH, .max = 64, .doc = "The agent that has or had it."},
    {"deploymentJobId", FIELD_UUID, FIELD_READONLY, .doc = "The deployment job that carries or carried the step out."},
    {"inputs",      FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "The configuration as rendered; secrets are masked."},
    {"outputs",     FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "What it left behind."},
    {"error",       FIELD_OBJECT, FIELD_READONLY, .fields = error_fields, .doc = "Of the last attempt that failed."},
    {"reason",      FIELD_STRING, FIELD_READONLY, .max = 4096, .doc = "Why it was skipped, or has no agent."},
    {"blockedBy",   FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = blocker_fields, .doc = "What stands between it and its going on."},
    {"attempts",    FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = attempt_fields, .doc = "The last 50."},
    {0}};
// clang-format on

/* --- the steps --- */

static enum flow put_steps(struct request *r, const struct run *run)
{
    const struct json **items = arena_array(&r->arena, (size_t)run->template->n, sizeof *items);

    for (int k = 0; items != NULL && k < run->template->n; k++) {
        struct buf b;

        buf_init_arena(&b, &r->arena, 512);
        run_step_document_write(&b, run, run->template->order[k]);
        items[k] = b.failed ? NULL : json_parse(&r->arena, buf_view(&b), NULL, NULL);
        if (items[k] == NULL)
            return reply_error(r, SYS_OVERLOADED);
    }
    if (items == NULL)
        return reply_error(r, SYS_OVERLOADED);
    return shelf_reply(r, &workflow_step_resource, items, (size_t)run->template->n);
}

static enum flow put_step(struct request *r, const struct run *run)
{
    int step = template_find(run->template, r->params[1]);
    struct buf b;

    if (step < 0)
        return reply_error(r, RES_NOT_FOUND);
    buf_init_arena(&b, &r->arena, 512);
    run_step_document_write(&b, run, step);
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, 200, buf_view(&b));
}

static enum flow list(struct request *r)
{
    return run_read(r, &workflow_kind, put_steps);
}
static enum flow get(struct request *r)
{
    return run_read(r, &workflow_kind, put_step);
}
static enum flow put_logs(struct request *r, const struct run *run)
{
    return run_log_read(r, run, r->params[1]);
}
static enum flow logs(struct request *r)
{
    return run_read(r, &workflow_kind, put_logs);
}

// clang-format off
static const struct route routes[] = {
    {GET, "/workflow-runs/{id}/steps", list, "workflow:read", "listWorkflowSteps", "List the steps of a run in topological order.", ROUTE_LIST},
    {GET, "/workflow-runs/{id}/steps/{nodeId}", get, "workflow:read", "getWorkflowStep", "Read one step of a run."},
    {GET, "/workflow-runs/{id}/steps/{nodeId}/logs", logs, "workflow:read", "getWorkflowStepLogs",
     "Read what a step printed: lines as JSON, or raw with `Accept: text/plain`. `seq` is the stream's `logSeq`.",
     .query = workflow_step_log_query, .data = workflow_step_log_fields, .codes = {RES_NOT_FOUND}, .media = "text/plain"},
    ROUTE_END};
// clang-format on

const struct resource workflow_step_resource = {
    .kind = "workflow-step",
    .below = RUN_KIND,
    .plural = "steps",
    .tag = "WORKFL",
    .doc = "One node of a workflow in one run.",
    .fields = fields,
    .routes = routes,
    .sort = "position",
};

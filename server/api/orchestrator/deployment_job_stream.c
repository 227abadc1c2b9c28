/* The live stream of a deployment job. */
#include "server/api/orchestrator/workflow_run.h"

#include "server/engine/job.h"
#include "server/engine/kind.h"
#include "server/feed.h"

static void put_task(struct buf *b, const struct run *run, int task)
{
    if (job_task_shown(run, task))
        job_task_document_write(b, run, task);
}

static bool snapshot(const struct feed_state *state, struct json_out *o)
{
    return run_snapshot(state, o, &job_kind, "tasks", put_task);
}

static const struct feed_spec spec = {
    .kind = "job",
    .channel = "job",
    .part = "taskId",
    .last = "job_completed",
    .permission = "deployment:read",
    .over = run_over,
    .snapshot = snapshot,
};

static enum flow follow(struct request *r)
{
    return feed_open(r, &spec);
}

// clang-format off
static const struct field query[] = {FEED_QUERY_OF("taskId", "tasks"), {0}};

static const struct route routes[] = {
    {GET, "/deployment-jobs/{id}/stream", follow, "deployment:read", .id = "streamDeploymentJob",
     .doc = "Everything that happens to the job, live: a WebSocket, or server-sent events with `Accept: text/event-stream`. The messages are described in /asyncapi.json.",
     .flags = ROUTE_STREAM | ROUTE_ENVELOPE_NONE, .query = query, .codes = {RES_NOT_FOUND, RES_UPGRADE_REQUIRED, RATE_LIMIT_EXCEEDED}},
    ROUTE_END,
};
// clang-format on

static const struct field no_fields[] = {{0}};

const struct resource deployment_job_stream_resource = {
    .kind = "deployment-job-stream",
    .plural = "deployment-job-streams",
    .tag = "DEPLOY",
    .below = "job",
    .doc = "The live stream of a deployment job.",
    .fields = no_fields,
    .routes = routes,
};

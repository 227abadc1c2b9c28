/* The live stream of a workflow run. */
#include "server/api/orchestrator/workflow_run.h"

#include "server/engine/drain.h"
#include "server/engine/kind.h"
#include "server/engine/run.h"
#include "server/feed.h"

static bool snapshot(const struct feed_state *state, struct json_out *o)
{
    return run_snapshot(state, o, &workflow_kind, "steps", run_step_document_write);
}

static const struct feed_spec spec = {
    .kind = RUN_KIND,
    .channel = "run",
    .last = "workflow_completed",
    .permission = "workflow:read",
    .over = run_over,
    .snapshot = snapshot,
};

static enum flow follow(struct request *r)
{
    return feed_open(r, &spec);
}

// clang-format off
static const struct field query[] = {FEED_QUERY, {0}};

static const struct route routes[] = {
    {GET, "/workflow-runs/{id}/stream", follow, "workflow:read", .id = "streamWorkflowRun",
     .doc = "Everything that happens to the run, live: a WebSocket, or server-sent events with `Accept: text/event-stream`. The messages are described in /asyncapi.json.",
     .flags = ROUTE_STREAM | ROUTE_ENVELOPE_NONE, .query = query, .codes = {RES_NOT_FOUND, RES_UPGRADE_REQUIRED, RATE_LIMIT_EXCEEDED}},
    ROUTE_END,
};
// clang-format on

static const struct field no_fields[] = {{0}};

const struct resource workflow_run_stream_resource = {
    .kind = "workflow-run-stream",
    .below = RUN_KIND,
    .plural = "workflow-run-streams",
    .tag = "WORKFL",
    .doc = "The live stream of a workflow run.",
    .fields = no_fields,
    .routes = routes,
};

/* The live stream of a tenant's dashboard. */
#include "server/api/orchestrator/resources.h"

#include "server/dashboard/board.h"
#include "server/dashboard/event.h"

/* The figures have no place in the sequence: every connection begins with them. */
static const struct feed_spec spec = {
    .channel = DASHBOARD_CHANNEL,
    .part = "environmentId",
    .permission = "dashboard:read",
    .whole = true,
    .scoped = true,
    .gather = board_gather,
    .snapshot = board_snapshot,
    .greet = board_greet,
    .on_events = board_moved,
    .on_close = board_leave,
};

static enum flow follow(struct request *r)
{
    return feed_open(r, &spec);
}

// clang-format off
static const struct field query[] = {FEED_QUERY_OF("environmentId", "environments"), {0}};

static const struct route routes[] = {
    {GET, "/dashboard/stream", follow, "dashboard:read", .id = "streamDashboard",
     .doc = "The figures of the dashboard, then what changes, live: a WebSocket, or server-sent events with `Accept: text/event-stream`. "
            "Whoever has the permission in some environments only is shown their cards and events. The messages are described in /asyncapi.json.",
     .flags = ROUTE_STREAM | ROUTE_ENVELOPE_NONE, .query = query, .codes = {RES_UPGRADE_REQUIRED, RATE_LIMIT_EXCEEDED}},
    ROUTE_END,
};

/* What its events belong to. */
static const struct field fields[] = {{"environmentId", FIELD_UUID, FIELD_READONLY | FIELD_SCOPE, .ref = "environment"}, {0}};
// clang-format on

const struct resource dashboard_stream_resource = {
    .kind = "dashboard-stream",
    .plural = "dashboard-streams",
    .tag = "DASHBOARD",
    .doc = "The live stream of the dashboard.",
    .fields = fields,
    .routes = routes,
};

/* The live stream of a workflow run. */
#include "server/api/orchestrator/resources.h"

#include <string.h>

#include "server/engine/drain.h"
#include "server/event.h"
#include "server/feed.h"

/* Told from the stored document, so that a feed that needs no snapshot reads no steps. */
static bool over(const struct feed_state *state)
{
    static const enum run_status ends[] = {RUN_SUCCEEDED, RUN_FAILED, RUN_CANCELLED};
    struct str status = event_member(redis_text(redis_field(state->document, S("j"))), "status");
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (str_eqz(status, run_status_name(ends[i])))
            return true;
    return false;
}

static bool put_steps(struct json_out *o, const struct run *run)
{
    json_open(o, '[');
    for (int i = 0; i < run->template->n; i++) {
        struct buf step = {0};
        run_step_document_write(&step, run, run->template->order[i]);
        bool whole = !step.failed;
        json_put_raw(o, buf_view(&step));
        buf_free(&step);
        if (!whole)
            return false;
    }
    json_close(o, ']');
    return true;
}

static bool snapshot(const struct feed_state *state, struct json_out *o)
{
    struct arena arena;
    arena_init(&arena, DRAIN_MEMORY);
    const struct run *run = run_of_hash(&arena, &workflow_kind, state->document);
    bool made = run != NULL;
    if (made) {
        json_open(o, '{');
        json_key(o, S("run"));
        json_put_raw(o, redis_text(redis_field(state->document, S("j"))));
        json_key(o, S("steps"));
        made = put_steps(o, run);
        json_close(o, '}');
    }
    arena_fini(&arena);
    return made;
}

static const struct feed_spec spec = {
    .kind = RUN_KIND,
    .channel = "run",
    .last = "workflow_completed",
    .permission = "workflow:read",
    .over = over,
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

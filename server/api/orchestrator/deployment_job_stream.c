/* The live stream of a deployment job. */
#include "server/api/orchestrator/resources.h"

#include "server/engine/drain.h"
#include "server/engine/job.h"
#include "server/engine/kind.h"
#include "server/event.h"
#include "server/feed.h"

/* Told from the stored document. A job that another one took back meanwhile has ended all the same. */
static bool over(const struct feed_state *state)
{
    return event_member(redis_text(redis_field(state->document, S("j"))), "finishedAt").p != NULL;
}

static bool put_tasks(struct json_out *o, const struct run *run)
{
    json_open(o, '[');
    for (int i = 0; i < run->template->n; i++) {
        struct buf task = {0};

        if (!job_task_shown(run, i))
            continue;
        job_task_document_write(&task, run, i);
        bool whole = !task.failed;
        json_put_raw(o, buf_view(&task));
        buf_free(&task);
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
    const struct run *run = run_of_hash(&arena, &job_kind, state->document);
    bool made = run != NULL;
    if (made) {
        json_open(o, '{');
        json_key(o, S("job"));
        json_put_raw(o, redis_text(redis_field(state->document, S("j"))));
        json_key(o, S("tasks"));
        made = put_tasks(o, run);
        json_close(o, '}');
    }
    arena_fini(&arena);
    return made;
}

static const struct feed_spec spec = {
    .kind = "job",
    .channel = "job",
    .part = "taskId",
    .last = "job_completed",
    .permission = "deployment:read",
    .over = over,
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

/* The kind of run that a workflow is. Its parts are in the files of the run engine. */
#include "server/api/orchestrator/resources.h"
#include "server/dashboard/event.h"
#include "server/engine/choose.h"
#include "server/engine/environment_settle.h"
#include "server/engine/run_parts.h"
#include "server/metrics.h"

static void wish(struct arena *a, const struct run *r, int step, const struct json *config, struct choose_wish *out)
{
    (void)a;
    (void)r;
    (void)step;
    out->labels = json_get(config, "labels");
}

/* The end of a promotion's run is what its environment waits for. */
static void write_end(struct commit *c, struct arena *a, const struct run *r, const struct effects *fx, int64_t now_ms,
                      bool finished)
{
    (void)a;
    (void)fx;
    if (finished)
        environment_wake_run(c, r, now_ms);
}

/* Its frames tell of another status. */
static bool moved(const struct effects *fx)
{
    for (size_t i = 0; i < fx->n; i++) {
        const struct effect *e = &fx->list[i];
        if (e->type == EFFECT_EVENT &&
            (str_starts(e->text, S("\"type\":\"workflow_")) || str_starts(e->text, S("\"type\":\"step_waiting\""))))
            return true;
    }
    return false;
}

static void settle_end_of(struct worker *w, struct space space, const struct run *r, const struct effects *fx,
                          bool finished)
{
    if (moved(fx))
        dashboard_nudge(w, space);
    if (finished)
        environment_settle_run(w, space, r);
}

const struct run_kind workflow_kind = {
    .name = "run",
    .resource = &workflow_run_resource,
    .parse = template_of,
    .schedule = workflow_schedule,
    .failed = workflow_failed,
    .frame_run = workflow_frame_run,
    .frame_step = workflow_frame_step,
    .document = run_document_write,
    .config = workflow_config,
    .task_type = workflow_task_type,
    .payload = workflow_payload,
    .credentials = workflow_credentials,
    .wish = wish,
    .write = write_end,
    .committed = settle_end_of,
    .log_frame = "step_log",
    .log_member = "nodeId",
    .metric = METRIC_RUNS_SUCCEEDED,
    .audit = "run.completed",
};

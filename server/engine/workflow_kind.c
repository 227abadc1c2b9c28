/* The kind of run that a workflow is. Its parts are in the files of the run engine. */
#include "server/api/orchestrator/resources.h"
#include "server/engine/choose.h"
#include "server/engine/run_parts.h"

static const struct template *parse(struct arena *a, const struct json *definition)
{
    return template_parse(a, definition, NULL);
}

static void wish(struct arena *a, const struct run *r, int step, const struct json *config, struct choose_wish *out)
{
    (void)a;
    (void)r;
    (void)step;
    out->labels = json_get(config, "labels");
}

const struct run_kind workflow_kind = {
    .name = "run",
    .resource = &workflow_run_resource,
    .parse = parse,
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
    .log_frame = "step_log",
    .log_member = "nodeId",
    .audit = "run.completed",
};

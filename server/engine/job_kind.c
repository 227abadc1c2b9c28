/* The kind of run that a deployment job is. */
#include "server/api/orchestrator/resources.h"
#include "server/engine/job_parts.h"
#include "server/metrics.h"

const struct run_kind job_kind = {
    .name = "job",
    .resource = &deployment_job_resource,
    .parse = job_parse,
    .schedule = job_schedule,
    .failed = job_failed,
    .resumed = job_resumed,
    .unassigned = job_unassigned,
    .frame_run = job_frame_run,
    .frame_step = job_frame_step,
    .document = job_document,
    .config = job_config,
    .task_type = job_task_type,
    .payload = job_payload,
    .credentials = job_credentials,
    .wish = job_wish,
    .write = job_commit,
    .committed = job_committed,
    .log_frame = "task_log",
    .log_member = "taskId",
    .metric = METRIC_JOBS_SUCCEEDED,
    .audit = "job.completed",
};

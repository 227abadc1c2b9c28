#include "server/api/orchestrator/resources.h"

#include <stddef.h>

// clang-format off
const struct resource *const resources[] = {
    &environment_resource,
    &freeze_window_resource,
    &target_resource,
    &agent_resource,
    &agent_token_resource,
    &audit_event_resource,
    &component_resource,
    &version_resource,
    &release_resource,
    &version_sticker_resource,
    &deployment_job_resource,
    &deployment_task_resource,
    &dashboard_stream_resource,
    &deployment_artifact_resource,
    &deployment_job_stream_resource,
    &promotion_resource,
    &rollback_resource,
    &workflow_template_resource,
    &step_type_resource,
    &workflow_run_resource,
    &workflow_step_resource,
    &workflow_artifact_resource,
    &workflow_run_stream_resource,
    &stream_ticket_resource,
    NULL,
};
// clang-format on

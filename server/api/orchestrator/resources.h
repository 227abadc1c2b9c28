/* The resources of the orchestrator dialect, one file each. */
#ifndef SERVER_API_ORCHESTRATOR_RESOURCES_H
#define SERVER_API_ORCHESTRATOR_RESOURCES_H

#include "server/resource.h"

extern const struct resource agent_resource;
extern const struct resource agent_token_resource;
extern const struct resource audit_event_resource;
extern const struct resource component_resource;
extern const struct resource dashboard_stream_resource;
extern const struct resource deployment_artifact_resource;
extern const struct resource deployment_job_resource;
extern const struct resource deployment_job_stream_resource;
extern const struct resource deployment_task_resource;
extern const struct resource environment_resource;
extern const struct resource freeze_window_resource;
extern const struct resource promotion_resource;
extern const struct resource release_resource;
extern const struct resource rollback_resource;
extern const struct resource step_type_resource;
extern const struct resource stream_ticket_resource;
extern const struct resource target_resource;
extern const struct resource version_resource;
extern const struct resource version_sticker_resource;
extern const struct resource workflow_artifact_resource;
extern const struct resource workflow_run_resource;
extern const struct resource workflow_run_stream_resource;
extern const struct resource workflow_step_resource;
extern const struct resource workflow_template_resource;

#endif

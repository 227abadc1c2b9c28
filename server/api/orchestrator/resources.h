/* The resources of the orchestrator dialect, one file each. */
#ifndef SERVER_API_ORCHESTRATOR_RESOURCES_H
#define SERVER_API_ORCHESTRATOR_RESOURCES_H

#include "server/resource.h"

extern const struct resource agent_resource, agent_token_resource, audit_event_resource, component_resource,
    environment_resource, step_type_resource, target_resource, version_resource, workflow_artifact_resource,
    workflow_run_resource, workflow_run_stream_resource, workflow_step_resource, workflow_template_resource;

#endif

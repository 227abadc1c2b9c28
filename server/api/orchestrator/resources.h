/* The resources of the orchestrator dialect, one file each. */
#ifndef SERVER_API_ORCHESTRATOR_RESOURCES_H
#define SERVER_API_ORCHESTRATOR_RESOURCES_H

#include "server/resource.h"

extern const struct resource audit_event_resource, environment_resource, workflow_run_stream_resource;

#endif

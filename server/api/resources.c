#include "server/api/orchestrator/resources.h"

#include <stddef.h>

// clang-format off
const struct resource *const resources[] = {
    &environment_resource,
    &audit_event_resource,
    NULL,
};
// clang-format on

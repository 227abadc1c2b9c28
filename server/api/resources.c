#include "server/api/orchestrator/resources.h"

#include <stddef.h>

// clang-format off
const struct resource *const resources[] = {
    &environment_resource,
    NULL,
};
// clang-format on

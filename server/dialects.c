#include "server/dialect.h"

#include "server/asyncapi.h"
#include "server/health.h"
#include "server/openapi.h"
#include "server/test_endpoints.h"
#include "server/well_known.h"

/* Resources of the process rather than of a tenant. */
static const struct resource *const system_resources[] = {&health_resource,     &documents_resource, &asyncapi_resource,
                                                          &well_known_resource, &test_resource,      NULL};

const struct dialect dialect_system = {
    .name = "system",
    .base = "",
    .open = true,
    .resources = system_resources,
    .page = "page",
    .page_size = "pageSize",
    .sort = "sort",
    .filter = "filter",
    .page_size_preset = 20,
    .page_size_max = DIALECT_PAGE_SIZE_MAX,
    .stale = RES_VERSION_CONFLICT,
    .key_conflict = RES_IDEMPOTENCY_CONFLICT,
    .write_data = dialect_orchestrator_data,
    .write_error = dialect_orchestrator_error,
    .write_challenge = dialect_bearer,
};

const struct dialect *const dialects[] = {&dialect_orchestrator, &dialect_oauth, &dialect_system, NULL};

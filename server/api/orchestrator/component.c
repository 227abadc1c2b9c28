#include "server/api/orchestrator/resources.h"

#include "server/crud.h"

// clang-format off
static const char *const strategies[] = {"semver", "date", "sequential", "manual", NULL};

static const struct field fields[] = {
    {"id",                 FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",           FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",               FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 1, .max = 100,
     .pattern = "^[a-z][a-z0-9._-]{0,99}$", .doc = "Unique in the tenant."},
    {"displayName",        FIELD_STRING, FIELD_SEARCH, .min = 1, .max = 200, .doc = "For people."},
    {"imageRepository",    FIELD_STRING, FIELD_FILTER, .min = 1, .max = 255, .doc = "Where its images are, without tag or digest."},
    {"versioningStrategy", FIELD_ENUM,   FIELD_FILTER, .choices = strategies, .preset = "\"semver\"",
     .doc = "How versions are ordered: semver by precedence; date and sequential by tag; manual by time of adding."},
    {"deploymentTemplate", FIELD_STRING, .min = 1, .max = 100, .doc = "Name of the workflow template that deploys it."},
    {"defaultChannel",     FIELD_STRING, FIELD_FILTER, .min = 1, .max = 63, .pattern = "^[a-z][a-z0-9-]*$", .preset = "\"stable\"",
     .doc = "Channel of versions that name none."},
    {"metadata",           FIELD_MAP,    FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}",
     .doc = "Names and values of your own."},
    DOCUMENT_STAMPS,
    {0}};

static const struct route routes[] = {
    {POST, "/components", crud_create, "component:create", "createComponent", "Create a component.", ROUTE_ONE_COMMIT, .status = 201},
    {GET, "/components", crud_list, "component:read", "listComponents", "List components.", ROUTE_LIST},
    {GET, "/components/{id}", crud_get, "component:read", "getComponent", "Read a component."},
    {PUT | PATCH, "/components/{id}", crud_update, "component:update", "updateComponent",
     "Change a component; what is not given stays."},
    {DELETE, "/components/{id}", crud_delete, "component:delete", "deleteComponent",
     "Delete a component without versions.", .status = 204},
    ROUTE_END};
// clang-format on

const struct resource component_resource = {
    .kind = "component",
    .plural = "components",
    .tag = "RELMAN",
    .doc = "What releases are made of.",
    .fields = fields,
    .routes = routes,
};

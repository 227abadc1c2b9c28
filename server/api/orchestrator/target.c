#include "server/api/orchestrator/resources.h"

#include "server/crud.h"

// clang-format off
static const char *const types[] = {"host", NULL};
static const char *const healths[] = {"healthy", "degraded", "unhealthy", "unknown", NULL};

static const struct field connection_fields[] = {
    {"path", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 1000, .pattern = "^(/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+$",
     .doc = "Folder on the agent's host that releases are kept in: releases/<name> and the link current."},
    {"keep", FIELD_INT,    .min = 0, .max = 50, .preset = "3", .doc = "Releases kept beside the current one."},
    {0}};

static const struct field release_fields[] = {
    {"id",         FIELD_UUID,   FIELD_REQUIRED},
    {"name",       FIELD_STRING, FIELD_REQUIRED, .max = 255},
    {"deployedAt", FIELD_TIME,   FIELD_REQUIRED},
    {0}};

static const struct field fields[] = {
    {"id",              FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"environmentId",   FIELD_UUID,   FIELD_REQUIRED | FIELD_IMMUTABLE | FIELD_FILTER | FIELD_SCOPE, .ref = "environment",
     .doc = "The environment it belongs to, for good."},
    {"name",            FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE | FIELD_PER_PARENT, .min = 1,
     .max = 100, .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", .doc = "Unique in its environment."},
    {"displayName",     FIELD_STRING, FIELD_SEARCH, .min = 1, .max = 200, .doc = "For people."},
    {"type",            FIELD_ENUM,   FIELD_REQUIRED | FIELD_IMMUTABLE | FIELD_FILTER, .choices = types,
     .doc = "host: a folder on the host of an agent."},
    {"connection",      FIELD_OBJECT, FIELD_REQUIRED, .fields = connection_fields},
    {"labels",          FIELD_MAP,    FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}",
     .doc = "Names and values of your own; an agent that serves it carries the environment's agentLabels."},
    {"agentId",         FIELD_UUID,   FIELD_NULLABLE | FIELD_FILTER, .ref = "agent",
     .doc = "The one agent that serves it; null: any with the environment's labels."},
    {"maintenance",     FIELD_BOOL,   FIELD_FILTER, .preset = "false", .doc = "While true, deployments leave it out."},
    {"healthStatus",    FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = healths},
    {"healthMessage",   FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE, .max = 1024},
    {"lastHealthCheck", FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE},
    {"currentRelease",  FIELD_OBJECT, FIELD_READONLY | FIELD_NULLABLE, .fields = release_fields,
     .doc = "What is deployed there; null before the first deployment."},
    DOCUMENT_STAMPS,
    {0}};

static const struct route routes[] = {
    {POST, "/targets", crud_create, "target:create", "createTarget", "Add a target to an environment.", .status = 201},
    {GET, "/targets", crud_list, "target:read", "listTargets", "List targets.", ROUTE_LIST},
    {GET, "/targets/{id}", crud_get, "target:read", "getTarget", "Read a target."},
    {PUT | PATCH, "/targets/{id}", crud_update, "target:update", "updateTarget",
     "Change a target; what is not given stays."},
    {DELETE, "/targets/{id}", crud_delete, "target:delete", "deleteTarget",
     "Take a target away; what was deployed there stays on its host.", .status = 204},
    ROUTE_END};
// clang-format on

static enum code target_prepare(struct request *r, struct change *c)
{
    (void)r;
    if (c->verb == CHANGE_CREATE)
        overlay_str(&c->set, "healthStatus", S("unknown"));
    return OK;
}

const struct resource target_resource = {
    .kind = "target",
    .plural = "targets",
    .tag = "ENVMGR",
    .doc = "Where an environment's releases are put.",
    .fields = fields,
    .routes = routes,
    .parent_field = "environmentId",
    .prepare = target_prepare,
};

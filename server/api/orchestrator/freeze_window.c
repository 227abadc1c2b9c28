#include "server/api/orchestrator/resources.h"

#include "server/crud.h"
#include "server/engine/environment_settle.h"

// clang-format off
static const struct field fields[] = {
    {"id",             FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",       FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"environmentId",  FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER | FIELD_SCOPE, .ref = "environment"},
    {"start",          FIELD_TIME,   FIELD_REQUIRED | FIELD_SORT, .doc = "First instant of the freeze."},
    {"end",            FIELD_TIME,   FIELD_REQUIRED | FIELD_SORT, .doc = "First instant after it."},
    {"reason",         FIELD_STRING, FIELD_REQUIRED | FIELD_SEARCH, .min = 1, .max = 500},
    {"exceptions",     FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .item_max = 255, .max = 100, .preset = "[]",
     .doc = "Ids of users who may override it."},
    {"blockRollbacks", FIELD_BOOL,   FIELD_FILTER, .preset = "false"},
    {"createdAt",      FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"createdBy",      FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"revision",       FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct route routes[] = {
    {POST, "/environments/{envId}/freeze-windows", crud_create, "freeze:create", "createFreezeWindow",
     "Announce a freeze of an environment.", .status = 201},
    {GET, "/environments/{envId}/freeze-windows", crud_list, "freeze:read", "listFreezeWindows",
     "List the freezes of an environment, past ones too.", ROUTE_LIST},
    {DELETE, "/environments/{envId}/freeze-windows/{windowId}", crud_delete, "freeze:delete", "deleteFreezeWindow",
     "Take a freeze back.", .status = 204},
    ROUTE_END};
// clang-format on

/* What waits in the environment may go on now, or has to wait. */
static enum code freeze_window_prepare(struct request *r, struct change *c)
{
    struct str environment = c->verb == CHANGE_DELETE ? json_str(json_get(c->old, "environmentId"))
                                                      : json_str(change_member(c, "environmentId"));

    environment_wake(c->commit, environment, c->now_ms);
    environment_settle(r->worker, (struct space){r->caller.partition, r->caller.tenant}, environment);
    return OK;
}

const struct resource freeze_window_resource = {
    .kind = "freeze-window",
    .plural = "freeze-windows",
    .tag = "ENVMGR",
    .doc = "When nothing is promoted into an environment.",
    .fields = fields,
    .routes = routes,
    .parent = "environment",
    .parent_field = "environmentId",
    .sort = "start",
    .prepare = freeze_window_prepare,
};

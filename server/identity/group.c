#include "server/identity/group.h"

#include "server/auth.h"
#include "server/caller.h"
#include "server/crud.h"
#include "server/identity/resources.h"
#include "server/worker.h"

const char *const group_roles[] = {"admin", "release-manager", "operator", "approver", "viewer", "auditor", NULL};

// clang-format off
static const struct field fields[] = {
    {"id",          FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenant_id",   FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",        FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 1, .max = 100, .doc = "Unique in the tenant."},
    {"description", FIELD_STRING, .max = 500},
    {"roles",       FIELD_LIST,   FIELD_FILTER | FIELD_UNIQUE_ITEMS, .item = FIELD_ENUM, .choices = group_roles, .max = 6, .preset = "[]",
     .doc = "What its members have. Not more than their giver has."},
    {"created_at",  FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"created_by",  FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"updated_at",  FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",    FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {0}};

static const struct route routes[] = {
    {POST, "/groups", crud_create, "tenant:manage", "createGroup", "Make a group.", .status = 201},
    {GET, "/groups", crud_list, "tenant:manage", "listGroups", "List groups.", ROUTE_LIST},
    {GET, "/groups/{id}", crud_get, "tenant:manage", "getGroup", "Get a group."},
    {PUT | PATCH, "/groups/{id}", crud_update, "tenant:manage", "updateGroup",
     "Change a group: what its members have changes with it, at once."},
    {DELETE, "/groups/{id}", crud_delete, "tenant:manage", "deleteGroup", "Delete a group without members.", .status = 204},
    ROUTE_END};
// clang-format on

struct str group_key(struct arena *a, const struct settings *s, struct space space, struct str id)
{
    char hex[65];
    auth_subject(s, GROUP_KIND, id, hex);
    return key_credential(a, space.partition, str_z(hex));
}

static enum code prepare(struct request *r, struct change *c)
{
    struct permission_set wanted = {{0}};
    const struct json *roles = change_member(c, "roles");
    struct str key = group_key(&r->arena, r->worker->settings, c->commit->space, c->id);
    if (c->verb != CHANGE_CREATE)
        commit_revoked(c->commit);
    if (c->verb == CHANGE_DELETE) {
        commit_remove(c->commit, key);
        return OK;
    }
    for (size_t i = 0; i < json_count(roles); i++)
        role_find(json_str(json_at(roles, i)), &wanted);
    const char *lacks = caller_lacks(&r->caller, &wanted);
    if (lacks != NULL) {
        request_lacks(r, lacks);
        return request_refuse(r, PERM_DENIED, "a group cannot be given %s, which you do not have", lacks);
    }
    commit_hset(c->commit, key, S("kind"), S(GROUP_KIND));
    commit_hset(c->commit, key, S("tenant"), r->caller.tenant);
    commit_hset(c->commit, key, S("id"), c->id);
    commit_hset(c->commit, key, S("roles"), json_join(&r->arena, roles, ','));
    return OK;
}

const struct resource group_resource = {
    .kind = GROUP_KIND,
    .plural = "groups",
    .tag = "IDENTITY",
    .doc = "People who have the same roles.",
    .fields = fields,
    .routes = routes,
    .sort = "name",
    .prepare = prepare,
};

#include "server/identity/group.h"

#include "server/auth.h"
#include "server/identity/resources.h"
#include "server/identity/user.h"
#include "server/identity/user_rights.h"
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

/* The groups of whom the caller acts for, when the change takes the tenant from this one's members. */
static void own_read(void *arg, enum code code, const struct redis_value *v)
{
    struct request *r = arg;
    struct change *c = change_current(r);
    char hex[65];
    struct str own = redis_text(v);
    auth_subject(r->worker->settings, GROUP_KIND, c->id, hex);
    while (code == OK && own.n > 0)
        if (str_eqz(str_cut(&own, ' '), hex))
            code = user_rights_refuse_own(r);
    if (code != OK)
        reply_error(r, code);
    else
        change_gathered(r);
}

static enum flow gather(struct request *r, struct change *c)
{
    if (c->verb != CHANGE_UPDATE || r->caller.user.n == 0)
        return NEXT;
    struct permission_set before = rights_of(r, json_get(c->old, "roles"));
    struct permission_set after = rights_of(r, change_member(c, "roles"));
    if (!user_rights_manage(&before) || user_rights_manage(&after))
        return NEXT;
    const struct store_command read = STORE_COMMAND(
        S("HGET"), user_key(&r->arena, r->worker->settings, c->commit->space, r->caller.user), S("groups"));
    enum code code = store_read(r->worker->store, &read, 1, &r->ops, own_read, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum code prepare(struct request *r, struct change *c)
{
    const struct json *roles = c->verb == CHANGE_DELETE ? NULL : change_member(c, "roles");
    struct permission_set before = rights_of(r, json_get(c->old, "roles")), after = rights_of(r, roles);
    struct str key = group_key(&r->arena, r->worker->settings, c->commit->space, c->id);
    enum code code = rights_refuse(r, &before, "this group has");
    if (code == OK)
        code = rights_refuse(r, &after, "a group cannot be given");
    if (code != OK)
        return code;
    if (c->verb != CHANGE_CREATE)
        commit_revoked(c->commit);
    if (c->verb == CHANGE_DELETE) {
        commit_remove(c->commit, key);
        return OK;
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
    .gather = gather,
    .prepare = prepare,
};

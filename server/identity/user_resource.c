#include "server/identity/resources.h"

#include "server/caller.h"
#include "server/crud.h"
#include "server/identity/password.h"
#include "server/identity/user.h"
#include "server/worker.h"

static const char *const role_words[] = {"admin", "release-manager", "operator", "approver", "viewer", "auditor", NULL};
static const char *const status_words[] = {"active", "suspended", NULL};

// clang-format off
static const struct field fields[] = {
    {"id",            FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenant_id",     FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"email",         FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 3, .max = 254,
     .pattern = "^[^\\s@,;<>]+@[^\\s@,;<>]+$", .doc = "Unique in the tenant; kept in lower case."},
    {"name",          FIELD_STRING, FIELD_REQUIRED | FIELD_SORT | FIELD_SEARCH, .min = 1, .max = 100, .doc = "For people."},
    {"status",        FIELD_ENUM,   FIELD_FILTER, .choices = status_words, .preset = "\"active\"",
     .doc = "A suspended user's sessions, keys and tokens are refused."},
    {"roles",         FIELD_LIST,   FIELD_FILTER | FIELD_UNIQUE_ITEMS, .item = FIELD_ENUM, .choices = role_words, .max = 6,
     .preset = "[\"viewer\"]", .doc = "Not more than their giver has."},
    {"password",      FIELD_STRING, FIELD_WRITEONLY, .max = PASSWORD_LENGTH_MAX,
     .doc = "At least 12 characters. Kept as argon2id."},
    {"created_at",    FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"created_by",    FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"updated_at",    FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",      FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {0}};

static const struct route routes[] = {
    {POST, "/users", crud_create, "tenant:manage", "createUser", "Add a user to the tenant.", .status = 201},
    {GET, "/users", crud_list, "tenant:manage", "listUsers", "List users.", ROUTE_LIST},
    {GET, "/users/{id}", crud_get, "tenant:manage", "getUser", "Get a user."},
    {PUT | PATCH, "/users/{id}", crud_update, "tenant:manage", "updateUser",
     "Change a user: what is taken away is gone from sessions, keys and tokens at once."},
    {DELETE, "/users/{id}", crud_delete, "tenant:manage", "deleteUser",
     "Remove a user: sessions, keys and tokens are refused from now on.", .status = 204},
    ROUTE_END};
// clang-format on

static struct str joined(struct arena *a, const struct json *list)
{
    struct buf b;
    buf_init_arena(&b, a, 256);
    for (size_t i = 0; i < json_count(list); i++) {
        buf_z(&b, i == 0 ? "" : ",");
        buf_str(&b, json_str(json_at(list, i)));
    }
    return b.failed ? STR_NONE : b.n == 0 ? S("") : buf_view(&b);
}

static enum code check_roles(struct request *r, struct change *c, struct str roles)
{
    struct permission_set wanted = {{0}};
    while (roles.n > 0)
        role_find(str_cut(&roles, ','), &wanted);
    const char *lacks = caller_lacks(&r->caller, &wanted);
    if (lacks == NULL || c->verb == CHANGE_DELETE)
        return OK;
    request_lacks(r, lacks);
    return request_refuse(r, PERM_DENIED, "a user cannot be given %s, which you do not have", lacks);
}

static void hashed(void *arg, struct str text)
{
    struct request *r = arg;
    struct change *c = change_current(r);
    struct str *kept = arena_new(&r->arena, struct str);
    if (kept == NULL || text.p == NULL || (*kept = arena_str(&r->arena, text)).p == NULL) {
        reply_error(r, SYS_OVERLOADED);
        return;
    }
    c->state = kept;
    change_gathered(r);
}

static enum flow gather(struct request *r, struct change *c)
{
    struct str password = json_str(json_get(c->patch, "password"));
    if (c->verb == CHANGE_DELETE || password.p == NULL || c->state != NULL)
        return NEXT;
    const char *fault = password_fault(password);
    if (fault != NULL)
        return reply_error(r, change_refuse_field(r, VAL_FAILED, "password", "%s", fault));
    enum code code = password_hash(r->worker, password, &r->ops, hashed, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static void set(struct request *r, struct change *c, const char *field, struct str value)
{
    user_set(c->commit, r->worker->settings, c->id, field, value);
}

static void set_record(struct request *r, struct change *c, struct str email, struct str roles)
{
    bool suspended = str_eqz(json_str(change_member(c, "status")), "suspended");
    set(r, c, "kind", S(USER_KIND));
    set(r, c, "tenant", r->caller.tenant);
    set(r, c, "id", c->id);
    set(r, c, "email", email);
    set(r, c, "name", json_str(change_member(c, "name")));
    set(r, c, "roles", roles);
    set(r, c, "revoked", suspended ? arena_printf(&r->arena, "%lld", (long long)c->now_ms) : S(""));
    if (c->state != NULL)
        set(r, c, "password", *(struct str *)c->state);
}

static enum code prepare(struct request *r, struct change *c)
{
    struct str email = arena_lower(&r->arena, json_str(change_member(c, "email")));
    struct str roles = joined(&r->arena, change_member(c, "roles"));
    enum code code = check_roles(r, c, roles);
    if (code != OK)
        return code;
    if (c->verb != CHANGE_CREATE)
        commit_revoked(c->commit);
    if (c->verb == CHANGE_DELETE) {
        set(r, c, "revoked", arena_printf(&r->arena, "%lld", (long long)c->now_ms));
        set(r, c, "password", STR_NONE);
        set(r, c, "totp", STR_NONE);
        commit_expire(c->commit, user_key(&r->arena, r->worker->settings, c->commit->space, c->id),
                      r->worker->settings->token_ttl_max);
        return OK;
    }
    overlay_str(&c->set, "email", email);
    overlay_str(&c->set, "tenant_id", r->caller.tenant);
    overlay_time(&c->set, "updated_at", c->now_ms);
    if (c->verb == CHANGE_CREATE) {
        overlay_time(&c->set, "created_at", c->now_ms);
        overlay_str(&c->set, "created_by", r->caller.id);
    }
    set_record(r, c, email, roles);
    return OK;
}

const struct resource user_resource = {
    .kind = USER_KIND,
    .plural = "users",
    .tag = "IDENTITY",
    .doc = "People of the tenant.",
    .fields = fields,
    .routes = routes,
    .sort = "-created_at",
    .gather = gather,
    .prepare = prepare,
};

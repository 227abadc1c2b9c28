#include "server/identity/resources.h"

#include "server/auth.h"
#include "server/caller.h"
#include "server/crud.h"
#include "server/identity/group.h"
#include "server/identity/password.h"
#include "server/identity/user.h"
#include "server/worker.h"

static const char *const status_words[] = {"active", "suspended", NULL};

// clang-format off
const struct field user_fields[] = {
    {"id",            FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenant_id",     FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"email",         FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 3, .max = 254,
     .pattern = "^[^ \t\r\n@,;<>]+@[^ \t\r\n@,;<>]+$", .doc = "Unique in the tenant; kept in lower case."},
    {"name",          FIELD_STRING, FIELD_REQUIRED | FIELD_SORT | FIELD_SEARCH, .min = 1, .max = 100, .doc = "For people."},
    {"status",        FIELD_ENUM,   FIELD_FILTER, .choices = status_words, .preset = "\"active\"",
     .doc = "A suspended user's sessions, keys and tokens are refused."},
    {"roles",         FIELD_LIST,   FIELD_FILTER | FIELD_UNIQUE_ITEMS, .item = FIELD_ENUM, .choices = group_roles, .max = 6,
     .preset = "[\"viewer\"]", .doc = "Not more than their giver has."},
    {"groups",        FIELD_LIST,   FIELD_FILTER | FIELD_UNIQUE_ITEMS, .item = FIELD_UUID, .ref = GROUP_KIND, .max = 16, .preset = "[]",
     .doc = "What they have counts as the user's own."},
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

/* What gather brings: kept for every try. */
struct more {
    struct str hashed;      /* of a new password; STR_NONE: none was given */
    struct str group_roles; /* of all its groups, between commas */
};

static enum code check_roles(struct request *r, const struct change *c, struct str roles)
{
    struct permission_set wanted = {{0}};
    const struct more *more = c->state;
    for (int i = 0; i < 2; i++, roles = more->group_roles)
        while (roles.n > 0)
            role_find(str_cut(&roles, ','), &wanted);
    const char *lacks = caller_lacks(&r->caller, &wanted);
    if (lacks == NULL)
        return OK;
    request_lacks(r, lacks);
    return request_refuse(r, PERM_DENIED, "a user cannot be given %s, which you do not have", lacks);
}

static enum flow gather_password(struct request *r, struct change *c);

static void hashed(void *arg, struct str text)
{
    struct request *r = arg;
    struct more *more = change_current(r)->state;
    if (text.p == NULL || (more->hashed = arena_str(&r->arena, text)).p == NULL)
        reply_error(r, SYS_OVERLOADED);
    else
        change_gathered(r);
}

static void groups_read(void *arg, enum code code, const struct redis_value *v)
{
    struct request *r = arg;
    struct change *c = change_current(r);
    struct more *more = c->state;
    struct buf roles;
    bool one = json_count(change_member(c, "groups")) == 1; /* its reply alone */
    buf_init_arena(&roles, &r->arena, 256);
    for (size_t i = 0; code == OK && i < json_count(change_member(c, "groups")); i++) {
        buf_z(&roles, i == 0 ? "" : ",");
        buf_str(&roles, redis_text(one ? v : redis_at(v, i)));
    }
    if (code != OK || roles.failed) {
        reply_error(r, code != OK ? code : SYS_OVERLOADED);
        return;
    }
    more->group_roles = buf_view(&roles);
    if (gather_password(r, c) == NEXT)
        change_gathered(r);
}

static enum flow gather_groups(struct request *r, struct change *c)
{
    const struct json *groups = change_member(c, "groups");
    size_t n = json_count(groups);
    struct store_command *reads = arena_array(&r->arena, n, sizeof *reads);
    for (size_t i = 0; reads != NULL && i < n; i++) {
        struct str *words = arena_array(&r->arena, 3, sizeof *words);
        if (words == NULL)
            return reply_error(r, SYS_OVERLOADED);
        words[0] = S("HGET");
        words[1] = group_key(&r->arena, r->worker->settings, c->commit->space, json_str(json_at(groups, i)));
        words[2] = S("roles");
        reads[i] = (struct store_command){3, words};
    }
    enum code code = reads == NULL ? SYS_OVERLOADED : store_read(r->worker->store, reads, n, &r->ops, groups_read, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum flow gather_password(struct request *r, struct change *c)
{
    struct str password = json_str(json_get(c->patch, "password"));
    if (password.p == NULL)
        return NEXT;
    const char *fault = password_fault(password);
    if (fault != NULL)
        return reply_error(r, change_refuse_field(r, VAL_FAILED, "password", "%s", fault));
    enum code code = password_hash(r->worker, password, &r->ops, hashed, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum flow gather(struct request *r, struct change *c)
{
    if (c->verb == CHANGE_DELETE || c->state != NULL)
        return NEXT;
    c->state = arena_new(&r->arena, struct more);
    if (c->state == NULL)
        return reply_error(r, SYS_OVERLOADED);
    return json_count(change_member(c, "groups")) > 0 ? gather_groups(r, c) : gather_password(r, c);
}

static enum code prepare(struct request *r, struct change *c)
{
    const struct settings *settings = r->worker->settings;
    const struct more *more = c->state;
    bool suspended = str_eqz(json_str(change_member(c, "status")), "suspended");
    const struct user_record record = {
        .id = c->id,
        .email = arena_lower(&r->arena, json_str(change_member(c, "email"))),
        .name = json_str(change_member(c, "name")),
        .roles = json_join(&r->arena, change_member(c, "roles"), ','),
        .groups = change_member(c, "groups"),
        .hashed = more == NULL ? STR_NONE : more->hashed,
        .now_ms = c->now_ms,
        .suspended_ms = suspended ? c->now_ms : 0,
    };
    if (c->verb != CHANGE_CREATE)
        commit_revoked(c->commit);
    if (c->verb == CHANGE_DELETE) {
        user_end(c->commit, settings, c->id, c->now_ms);
        return OK;
    }
    enum code code = check_roles(r, c, record.roles);
    overlay_str(&c->set, "email", record.email);
    user_put(c->commit, settings, &record);
    return code;
}

const struct resource user_resource = {
    .kind = USER_KIND,
    .plural = "users",
    .tag = "IDENTITY",
    .doc = "People of the tenant.",
    .fields = user_fields,
    .routes = routes,
    .sort = "-created_at",
    .gather = gather,
    .prepare = prepare,
};

#include "server/identity/resources.h"

#include "server/auth.h"
#include "server/crud.h"
#include "server/identity/group.h"
#include "server/identity/password.h"
#include "server/identity/user.h"
#include "server/identity/user_rights.h"
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
    {"groups",        FIELD_LIST,   FIELD_FILTER | FIELD_UNIQUE_ITEMS, .item = FIELD_UUID, .ref = GROUP_KIND, .max = USER_GROUPS_MAX, .preset = "[]",
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

/* What gather brings. */
struct more {
    struct user_rights rights;
    struct str hashed; /* of a new password, kept for every try; STR_NONE: none was given */
};

static void hashed(void *arg, struct str text)
{
    struct request *r = arg;
    struct more *more = change_current(r)->state;
    if (text.p == NULL || (more->hashed = arena_str(&r->arena, text)).p == NULL)
        reply_error(r, SYS_OVERLOADED);
    else
        change_gathered(r);
}

static enum flow gather_password(struct request *r, struct change *c)
{
    const struct more *more = c->state;
    struct str password = c->verb == CHANGE_DELETE ? STR_NONE : json_str(json_get(c->patch, "password"));
    if (password.p == NULL || more->hashed.p != NULL)
        return NEXT;
    const char *fault = password_fault(password);
    if (fault != NULL)
        return reply_error(r, change_refuse_field(r, VAL_FAILED, "password", "%s", fault));
    enum code code = password_hash(r->worker, password, &r->ops, hashed, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static void rights_read(struct request *r)
{
    if (gather_password(r, change_current(r)) == NEXT)
        change_gathered(r);
}

static enum flow gather(struct request *r, struct change *c)
{
    struct more *more = c->state;
    if (more == NULL && (more = c->state = arena_new(&r->arena, struct more)) == NULL)
        return reply_error(r, SYS_OVERLOADED);
    enum flow flow = user_rights_read(r, &more->rights, rights_read);
    return flow == NEXT ? gather_password(r, c) : flow;
}

static enum code prepare(struct request *r, struct change *c)
{
    const struct settings *settings = r->worker->settings;
    const struct more *more = c->state;
    enum code code = user_rights_check(r, c, &more->rights);
    if (code != OK)
        return code;
    bool suspended = str_eqz(json_str(change_member(c, "status")), "suspended");
    const struct user_record record = {
        .id = c->id,
        .email = arena_lower(&r->arena, json_str(change_member(c, "email"))),
        .name = json_str(change_member(c, "name")),
        .roles = json_join(&r->arena, change_member(c, "roles"), ','),
        .groups = change_member(c, "groups"),
        .hashed = more->hashed,
        .now_ms = c->now_ms,
        .suspended_ms = suspended ? c->now_ms : 0,
    };
    if (c->verb != CHANGE_CREATE)
        commit_revoked(c->commit);
    if (c->verb == CHANGE_DELETE) {
        user_end(c->commit, settings, c->id, c->now_ms);
        return OK;
    }
    overlay_str(&c->set, "email", record.email);
    user_put(c->commit, settings, &record);
    return OK;
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

#include "server/identity/resources.h"

#include "lib/id.h"
#include "server/auth.h"
#include "server/crud.h"
#include "server/identity/group.h"
#include "server/identity/invitation.h"
#include "server/identity/password.h"
#include "server/identity/user_rights.h"
#include "server/worker.h"

enum { DAY_S = 86400, INVITATION_DAYS_MAX = 30 };

static const char *const status_words[] = {"pending", "accepted", NULL};

static enum flow invitation_create(struct request *r);
static enum flow invitation_take(struct request *r);

// clang-format off
#define FIELDS                                                                                                         \
    {"id",         FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},                                      \
    {"tenant_id",  FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},                                                     \
    {"email",      FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER, .min = 3, .max = 254,                   \
     .pattern = "^[^ \t\r\n@,;<>]+@[^ \t\r\n@,;<>]+$", .doc = "Who is invited; kept in lower case."},                  \
    {"status",     FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = status_words,              \
     .doc = "Pending until it is taken; good for nothing once expires_at is over, or who made it was taken off."},     \
    {"roles",      FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_ENUM, .choices = group_roles, .max = 6, .preset = "[\"viewer\"]"}, \
    {"expires_in", FIELD_INT,    FIELD_WRITEONLY, .min = 60, .max = INVITATION_DAYS_MAX * DAY_S, .doc = "Seconds; seven days when it is left out."}, \
    {"expires_at", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED},                                                     \
    {"created_at", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},                                        \
    {"created_by", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},                                         \
    {"revision",   FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED}

static const struct field fields[] = {FIELDS, {0}};
static const struct field shown[] = {
    FIELDS,
    {"token", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = ID_KEY_MAX, .doc = "For the person, who gives it back at /v1/auth/invitation. Shown this once."},
    {0}};
static const struct field take_rows[] = {
    {"token",    FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = ID_KEY_MAX},
    {"name",     FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 100, .doc = "For people."},
    {"password", FIELD_STRING, FIELD_REQUIRED, .max = PASSWORD_LENGTH_MAX, .doc = "At least 12 characters."},
    {0}};

static const struct route routes[] = {
    {POST, "/invitations", invitation_create, "tenant:manage", "createInvitation",
     "Invite a person. Its token is in this answer and nowhere else: it is for you to hand over.", ROUTE_SECRET, .status = 201, .data = shown},
    {GET, "/invitations", crud_list, "tenant:manage", "listInvitations", "List invitations.", ROUTE_LIST},
    {GET, "/invitations/{id}", crud_get, "tenant:manage", "getInvitation", "Get an invitation."},
    {DELETE, "/invitations/{id}", crud_delete, "tenant:manage", "deleteInvitation",
     "Take an invitation back; who has accepted it stays.", .status = 204},
    {POST, "/invitations/accept", invitation_take, NULL, "acceptInvitation", "Become a user, with the token of an invitation.",
     ROUTE_PUBLIC, .status = 201, .body = take_rows, .data = user_fields, .codes = {INVITATION_CODES}},
    ROUTE_END};
// clang-format on

/* Where taking it back finds the record: its name is made of the token. */
static struct str place_of(struct request *r, const struct change *c)
{
    char hex[65];
    auth_subject(r->worker->settings, INVITATION_KIND, c->id, hex);
    return key_credential(&r->arena, r->caller.partition, str_z(hex));
}

static void set_record(struct request *r, struct change *c, struct str key, int64_t until_ms)
{
    const struct commit_field record[] = {{S("kind"), S(INVITATION_KIND)},
                                          {S("tenant"), r->caller.tenant},
                                          {S("id"), c->id},
                                          {S("email"), arena_lower(&r->arena, json_str(change_member(c, "email")))},
                                          {S("roles"), json_join(&r->arena, change_member(c, "roles"), ',')},
                                          {S("of"), auth_depends_on(&r->arena, r->worker->settings, &r->caller)},
                                          {S("expires"), arena_int(&r->arena, until_ms)}};
    commit_hset_all(c->commit, key, record, ARRAY_LEN(record));
    commit_expire(c->commit, key, until_ms - c->now_ms + DAY_S * INT64_C(1000));
    struct str place = place_of(r, c);
    commit_hset(c->commit, place, S("record"), key);
    commit_expire(c->commit, place, until_ms - c->now_ms + DAY_S * INT64_C(1000));
}

static enum code prepare_create(struct request *r, struct change *c)
{
    char hex[65];
    const struct permission_set wanted = rights_of(r, change_member(c, "roles"));
    char *secret = arena_alloc(&r->arena, ID_KEY_MAX);
    int64_t until_ms = c->now_ms + json_int(json_get(c->whole, "expires_in"), 7 * DAY_S) * 1000;
    enum code code = rights_refuse(r, &wanted, "nobody can be invited to");
    if (code != OK)
        return code;
    if (secret == NULL)
        return SYS_OVERLOADED;
    id_key(INVITATION_PREFIX, r->caller.partition, secret);
    auth_credential(r->worker->settings, str_z(secret), hex);
    overlay_str(&c->set, "email", arena_lower(&r->arena, json_str(change_member(c, "email"))));
    overlay_str(&c->set, "status", S("pending"));
    overlay_time(&c->set, "expires_at", until_ms);
    set_record(r, c, key_credential(&r->arena, r->caller.partition, str_z(hex)), until_ms);
    c->state = secret;
    return OK;
}

static enum flow created(struct request *r, struct change *c)
{
    struct document d = {.json = c->after, .live = arena_printf(&r->arena, "\"token\":\"%s\"", (char *)c->state)};
    struct str answer = document_answer(&r->arena, &d);
    return answer.p == NULL ? reply_error(r, SYS_OVERLOADED) : reply_created(r, c->id, answer, c->revision);
}

static enum flow invitation_create(struct request *r)
{
    return crud_commit(r, CHANGE_CREATE, prepare_create, NULL, created);
}

/* --- taking it back --- */

static void record_read(void *arg, enum code code, const struct redis_value *v)
{
    struct request *r = arg;
    struct change *c = change_current(r);
    if (code == OK && (c->state = arena_z(&r->arena, redis_text(v))) == NULL)
        code = SYS_OVERLOADED;
    if (code != OK)
        reply_error(r, code);
    else
        change_gathered(r);
}

static enum flow gather(struct request *r, struct change *c)
{
    if (c->verb != CHANGE_DELETE || c->state != NULL)
        return NEXT;
    const struct store_command read = STORE_COMMAND(S("HGET"), place_of(r, c), S("record"));
    enum code code = store_read(r->worker->store, &read, 1, &r->ops, record_read, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum code prepare(struct request *r, struct change *c)
{
    const char *record = c->state;
    if (c->verb == CHANGE_DELETE && record[0] != '\0')
        commit_remove(c->commit, str_z(record));
    if (c->verb == CHANGE_DELETE)
        commit_remove(c->commit, place_of(r, c));
    return OK;
}

/* --- taking it --- */

static void taken(struct request *r, enum code c, struct str user)
{
    if (c != OK)
        reply_error(r, c);
    else
        reply_data(r, 201, user);
}

static enum flow invitation_take(struct request *r)
{
    enum code c = invitation_accept(r, json_str(json_get(r->json, "token")), json_str(json_get(r->json, "name")),
                                    json_str(json_get(r->json, "password")), taken);
    return c == OK ? WAIT : reply_error(r, c);
}

const struct resource invitation_resource = {
    .kind = INVITATION_KIND,
    .plural = "invitations",
    .tag = "IDENTITY",
    .doc = "Who may become a user of the tenant.",
    .fields = fields,
    .routes = routes,
    .sort = "-created_at",
    .gather = gather,
    .prepare = prepare,
};

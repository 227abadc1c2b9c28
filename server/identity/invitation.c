#include "server/identity/invitation.h"

#include "lib/id.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/caller.h"
#include "server/document.h"
#include "server/identity/password.h"
#include "server/identity/resources.h"
#include "server/identity/user.h"
#include "server/identity/user_rights.h"
#include "server/store/admit.h"
#include "server/worker.h"

struct taking {
    struct request *r;
    struct str token, name, password;
    invitation_then *then;
    unsigned partition;
    struct str key, invitation_id, email, roles, tenant, user, hashed;
    int64_t revision;
    struct str document; /* of the invitation */
    char id[ID_UUID];
    struct commit commit;
    struct commit_index index, old_index;
};

static void finish(struct taking *t, enum code c)
{
    t->then(t->r, c, c == OK ? t->user : STR_NONE);
}

static void committed(void *arg, const struct commit_result *result)
{
    struct taking *t = arg;
    bool used = str_eqz(result->label, "used");
    finish(t, used ? request_refuse(t->r, AUTH_TOKEN_INVALID, "the invitation was taken before")
              : result->code == RES_ALREADY_EXISTS
                  ? request_refuse(t->r, RES_ALREADY_EXISTS, "there is a user with this email already")
                  : result->code);
}

static void add_user(struct taking *t, int64_t now_ms)
{
    struct arena *a = &t->r->arena;
    struct overlays set = {.arena = a};
    const struct draft draft = {.over = &set};
    id_uuid(now_ms, t->id);
    overlay_str(&set, "id", str_z(t->id));
    overlay_str(&set, "tenant_id", t->tenant);
    overlay_str(&set, "email", t->email);
    overlay_str(&set, "name", t->name);
    overlay_str(&set, "status", S("active"));
    overlay_raw(&set, "groups", S("[]"));
    overlay_raw(&set, "roles", json_names(a, t->roles));
    overlay_time(&set, "created_at", now_ms);
    overlay_time(&set, "updated_at", now_ms);
    overlay_str(&set, "created_by", t->invitation_id);
    overlay_int(&set, "revision", 1);
    t->user = document_render(a, user_fields, NULL, NULL, &set);
    document_index_draft(&t->index, a, &user_resource, &draft);
    commit_put(
        &t->commit,
        &(struct commit_document){
            .kind = USER_KIND, .id = str_z(t->id), .revision = 1, .schema = 1, .json = t->user, .index = &t->index});
    user_put(&t->commit, t->r->worker->settings,
             &(struct user_record){.id = str_z(t->id),
                                   .email = t->email,
                                   .name = t->name,
                                   .roles = t->roles,
                                   .hashed = t->hashed,
                                   .now_ms = now_ms});
    t->commit.failed = t->commit.failed || t->user.p == NULL || set.failed;
}

static void mark_accepted(struct taking *t)
{
    struct arena *a = &t->r->arena;
    struct overlays set = {.arena = a};
    const struct json *old = document_json(a, t->document, NULL);
    const struct draft draft = {.whole = old, .old = old, .over = &set};
    overlay_str(&set, "status", S("accepted"));
    overlay_int(&set, "revision", t->revision + 1);
    struct str text = document_render(a, invitation_resource.fields, old, old, &set);
    document_index_draft(&t->old_index, a, &invitation_resource, &draft);
    commit_put(&t->commit, &(struct commit_document){.kind = INVITATION_KIND,
                                                     .id = t->invitation_id,
                                                     .revision = t->revision + 1,
                                                     .schema = 1,
                                                     .json = text,
                                                     .index = &t->old_index});
    t->commit.failed = t->commit.failed || old == NULL || text.p == NULL;
}

static void hashed(void *arg, struct str text)
{
    struct taking *t = arg;
    struct request *r = t->r;
    int64_t now_ms = store_now_ms(r->worker->store);
    t->hashed = arena_str(&r->arena, text);
    r->caller = (struct caller){.type = CALLER_USER, .name = t->name, .tenant = t->tenant, .partition = t->partition};
    commit_begin(&t->commit, &r->arena, (struct space){t->partition, t->tenant}, COMMIT_GROWS);
    commit_expect_field(&t->commit, AUTH_TOKEN_INVALID, "used", t->key, S("used"), STR_NONE);
    commit_hset(&t->commit, t->key, S("used"), arena_int(&r->arena, now_ms));
    add_user(t, now_ms);
    mark_accepted(t);
    r->caller.id = str_z(t->id);
    audit_add(&t->commit, r,
              &(struct audit_entry){.action = "invitation.accepted",
                                    .resource = INVITATION_KIND,
                                    .resource_id = t->invitation_id,
                                    .after = t->user});
    enum code c = text.p == NULL || t->hashed.p == NULL
                      ? SYS_OVERLOADED
                      : store_commit(r->worker->store, &t->commit, &r->ops, committed, t);
    if (c != OK)
        finish(t, c);
}

static void document_read(void *arg, enum code c, const struct redis_value *v)
{
    struct taking *t = arg;
    struct request *r = t->r;
    t->document = arena_str(&r->arena, redis_text(redis_at(v, 0)));
    t->revision = redis_int(redis_at(v, 1), 0);
    if (c == OK && t->document.n == 0)
        c = request_refuse(r, AUTH_TOKEN_INVALID, "the invitation was taken back");
    if (c == OK)
        c = password_hash(r->worker, t->password, &r->ops, hashed, t);
    if (c != OK)
        finish(t, c);
}

/* Of the invitation and of whom it depends on. */
static enum code judge(struct request *r, const struct admitted *a)
{
    bool there = str_eqz(redis_text(redis_field(a->credential, S("kind"))), INVITATION_KIND);
    struct str networks = redis_text(redis_at(a->tenant, ADMIT_TENANT_NETWORKS));
    if (!there)
        return request_refuse(r, AUTH_TOKEN_INVALID, "there is no such invitation, or it was taken back");
    if (redis_text(redis_field(a->credential, S("used"))).n > 0)
        return request_refuse(r, AUTH_TOKEN_INVALID, "the invitation was taken before");
    if (a->verdict == ADMIT_SUSPENDED)
        return PERM_TENANT_SUSPENDED;
    if (a->verdict == ADMIT_EXPIRED)
        return request_refuse(r, AUTH_TOKEN_EXPIRED, "the invitation's time is over");
    if (a->verdict != ADMIT_OK)
        return request_refuse(r, AUTH_TOKEN_REVOKED, "who made the invitation was taken off since");
    return networks.n > 0 && !networks_hold(networks, r->address) ? PERM_NETWORK : OK;
}

/* Roles of an invitation that somebody made who may less by now. */
static bool may_give(struct request *r, const struct redis_value *user, struct str roles)
{
    struct caller giver = {.permissions = {{0}}};
    struct permission_set wanted = {{0}};
    if (redis_is_nil(user))
        return true;
    rights_add(&wanted, roles);
    return caller_grant(&r->arena, &giver, redis_text(redis_at(user, ADMIT_USER_ROLES)),
                        redis_text(redis_at(user, ADMIT_USER_PERMISSIONS))) &&
           caller_lacks(&giver, &wanted) == NULL;
}

static enum code take_record(struct taking *t, const struct admitted *a)
{
    struct request *r = t->r;
    const struct {
        struct str name, *to;
    } members[] = {
        {S("tenant"), &t->tenant}, {S("id"), &t->invitation_id}, {S("email"), &t->email}, {S("roles"), &t->roles}};
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if ((*members[i].to = arena_str(&r->arena, redis_text(redis_field(a->credential, members[i].name)))).p == NULL)
            return SYS_OVERLOADED;
    if (!may_give(r, a->user, t->roles))
        return request_refuse(r, AUTH_TOKEN_REVOKED, "who made the invitation may not give these roles any more");
    const struct store_command read = STORE_COMMAND(
        S("HMGET"), key_document(&r->arena, (struct space){t->partition, t->tenant}, INVITATION_KIND, t->invitation_id),
        S("j"), S("r"));
    return store_read(r->worker->store, &read, 1, &r->ops, document_read, t);
}

static void looked_up(void *arg, enum code c, const struct admitted *a)
{
    struct taking *t = arg;
    if (c == OK)
        c = judge(t->r, a);
    if (c == OK)
        c = take_record(t, a);
    if (c != OK)
        finish(t, c);
}

enum code invitation_accept(struct request *r, struct str token, struct str name, struct str password,
                            invitation_then *then)
{
    char hex[65];
    struct str given;
    struct taking *t = arena_new(&r->arena, struct taking);
    const char *fault = password_fault(password);
    if (t == NULL)
        return SYS_OVERLOADED;
    *t = (struct taking){.r = r, .token = token, .name = name, .password = password, .then = then};
    if (fault != NULL)
        return request_refuse(r, VAL_FAILED, "password %s", fault);
    if (!id_key_check(token, &given, &t->partition) || !str_eqz(given, INVITATION_PREFIX))
        return request_refuse(r, AUTH_TOKEN_INVALID, "this is not the token of an invitation");
    auth_credential(r->worker->settings, token, hex);
    t->key = key_credential(&r->arena, t->partition, str_z(hex));
    const struct admission look = {.partition = t->partition, .credential = str_z(hex)};
    return store_admit(r->worker->store, &r->arena, &look, &r->ops, looked_up, t);
}

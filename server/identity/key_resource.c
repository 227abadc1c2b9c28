/* /v1/tokens: who has them, who makes them, and what becomes of them. Whoever manages the tenant sees all keys and takes
 * them back; others see their own, and a key itself. */
#include "server/identity/resources.h"

#include "lib/clock.h"
#include "proto/query.h"
#include "server/caller.h"
#include "server/crud.h"
#include "server/identity/key.h"
#include "server/identity/user.h"
#include "server/oauth/scopes.h"
#include "server/settings.h"
#include "server/worker.h"

#include <string.h>

static enum flow token_create(struct request *r);
static enum flow token_list(struct request *r);
static enum flow token_get(struct request *r);
static enum flow token_delete(struct request *r);
static enum flow token_rotate(struct request *r);

enum { NETWORK_TEXT = 49 };

// clang-format off
#define FIELDS                                                                                                       \
    {"id",             FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},                                \
    {"tenant_id",      FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},                                               \
    {"name",           FIELD_STRING, FIELD_REQUIRED | FIELD_SORT | FIELD_SEARCH, .min = 1, .max = 100, .doc = "For people."}, \
    {"prefix",         FIELD_ENUM,   FIELD_FILTER, .choices = key_prefixes, .preset = "\"aethex_pat\"",              \
     .doc = "What it is: aethex_pat, sk_user and sk_read (which only reads) are a person's own, sk_proj, hks_live and slp the tenant's."}, \
    {"hint",           FIELD_STRING, FIELD_READONLY, .max = 32, .doc = "How it begins."},                            \
    {"user_id",        FIELD_STRING, FIELD_READONLY | FIELD_FILTER, .max = 255, .doc = "Whose it is; not of one of the tenant."}, \
    {"scopes",         FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .min = 1, .max = SCOPES_MAX,          \
     .item_max = SCOPES_NAME_MAX,                                                                                    \
     .doc = "What it may do: scopes of the metadata, and permissions, not more than its maker has. Left out: all that the maker may do."}, \
    {"roles",          FIELD_LIST,   FIELD_READONLY, .item = FIELD_STRING, .doc = "Of one that an operator made."},  \
    {"permissions",    FIELD_LIST,   FIELD_READONLY, .item = FIELD_STRING, .doc = "Of one that was made without scopes."},  \
    {"tier",           FIELD_ENUM,   FIELD_READONLY, .choices = limit_tiers,                                         \
     .doc = "Its rate limits; `standard` are those of the tenant."},                                                 \
    {"cidrs",          FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .max = NETWORKS_MAX, .item_max = NETWORK_TEXT, \
     .doc = "Networks from which it may be used; left out: from everywhere."},                                       \
    {"expires_in_days", FIELD_INT,   FIELD_WRITEONLY, .min = 1, .max = KEY_DAYS_MAX, .doc = "Left out: until it is taken back."}, \
    {"expires_at",     FIELD_TIME,   FIELD_READONLY},                                                                \
    {"rotated_at",     FIELD_TIME,   FIELD_READONLY},                                                                \
    {"overlap_ends_at", FIELD_TIME,  FIELD_READONLY, .doc = "Until then the secret before the last rotation is good, too."}, \
    {"revoked_at",     FIELD_TIME,   FIELD_READONLY},                                                                \
    {"last_used_at",   FIELD_TIME,   FIELD_READONLY | FIELD_LIVE, .doc = "To the minute."},                          \
    {"last_used_from", FIELD_STRING, FIELD_READONLY | FIELD_LIVE, .max = 64, .doc = "The address."},                 \
    {"created_at",     FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},                                  \
    {"created_by",     FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},                                   \
    {"revision",       FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED}

static const struct field fields[] = {FIELDS, {0}};
static const struct field shown[] = {
    FIELDS,
    {"token", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = ID_KEY_MAX, .doc = "Shown this once."},
    {0}};
static const struct field rotate_fields[] = {
    {"overlap_seconds", FIELD_INT, .min = 0, .max = KEY_OVERLAP_MAX, .preset = "0", .doc = "How long the old secret is good, too."},
    {0}};

static const struct route routes[] = {
    {POST, "/tokens", token_create, NULL, "createToken", "Make a key. Its text is in this answer and nowhere else.",
     ROUTE_ANYONE | ROUTE_SECRET, .status = 201, .data = shown, .codes = {PERM_DENIED, RES_REFERENCE_UNKNOWN}},
    {GET, "/tokens", token_list, NULL, "listTokens", "List one's own keys; all of the tenant for those who manage it.", ROUTE_LIST | ROUTE_ANYONE},
    {GET, "/tokens/{id}", token_get, NULL, "getToken", "Get a key.", ROUTE_ANYONE},
    {DELETE, "/tokens/{id}", token_delete, NULL, "deleteToken",
     "Take a key back: it is refused from now on, and streams opened with it end.", ROUTE_ANYONE, .status = 204},
    {POST, "/tokens/{id}/rotate", token_rotate, NULL, "rotateToken",
     "Give a key another text. The old one is good for the overlap.", ROUTE_ANYONE | ROUTE_SECRET | ROUTE_NO_BODY,
     .body = rotate_fields, .data = shown, .codes = {PERM_DENIED, RES_INVALID_STATE}},
    ROUTE_END};
// clang-format on

/* --- whose it is --- */

static bool manages(const struct request *r)
{
    return caller_may(&r->caller, "tenant:manage");
}

static bool is_own(const struct request *r, const struct json *key)
{
    const struct caller *c = &r->caller;
    return (c->type == CALLER_USER && str_eq(json_str(json_get(key, "user_id")), c->id)) ||
           (c->type == CALLER_KEY && str_eq(json_str(json_get(key, "id")), c->id));
}

static enum code lacks(struct request *r, const char *permission, const char *why)
{
    request_lacks(r, permission);
    return request_refuse(r, PERM_DENIED, "%s", why);
}

/* --- what it may do --- */

/* Whether all that the names between commas grant is among what `most` grants. */
static bool is_within(struct arena *a, struct str names, struct str most, bool *failed)
{
    struct caller wanted = {.permissions = {{0}}}, left;
    *failed = !caller_grant(a, &wanted, STR_NONE, names);
    left = wanted;
    *failed = *failed || !caller_bound(a, &left, STR_NONE, most);
    return !*failed && !caller_lost(&wanted, &left);
}

/* All that a caller may do, between commas. */
static struct str rights_of(struct arena *a, const struct caller *c)
{
    struct buf b;
    buf_init_arena(&b, a, 1024);
    permission_list(&b, &c->permissions);
    if (c->narrowed.n > 0) {
        buf_z(&b, b.n > 0 ? "," : "");
        buf_str(&b, c->narrowed);
    }
    return b.failed ? STR_NONE : b.n == 0 ? S("") : buf_view(&b);
}

/* Nobody gives more than they have, and no flavour more than its prefix says. */
static enum code judge_scope(struct request *r, const struct key_flavour *flavour, size_t i, struct str scope,
                             struct str rights)
{
    char field[32];
    bool failed = false, more = false;
    struct arena *a = &r->arena;
    struct str wanted = key_permissions(a, scope);
    snprintf(field, sizeof field, "scopes[%zu]", i);
    if (!scopes_known(scope))
        return change_refuse_field(r, VAL_FAILED, field,
                                   "is no scope; the metadata lists them, and permissions are scopes too");
    bool fits = is_within(a, wanted, str_z(flavour->most), &more);
    bool has = is_within(a, wanted, rights, &failed);
    if (wanted.p == NULL || more || failed)
        return SYS_OVERLOADED;
    if (!fits)
        return change_refuse_field(r, VAL_FAILED, field, "is more than a key with the prefix %s may do",
                                   flavour->prefix);
    return has ? OK
               : request_refuse(r, PERM_DENIED, "a key cannot be given '" STR_FMT "', which you do not have",
                                STR_ARG(scope));
}

/* The maker's own, as far as the flavour goes. */
static enum code take_all(struct request *r, const struct key_flavour *flavour, struct str *permissions)
{
    struct caller all = {.permissions = r->caller.permissions, .narrowed = r->caller.narrowed};
    if (!caller_bound(&r->arena, &all, STR_NONE, str_z(flavour->most)))
        return SYS_OVERLOADED;
    *permissions = rights_of(&r->arena, &all);
    if (permissions->n == 0)
        return request_refuse(r, PERM_DENIED, "there is nothing that the key could be given");
    return permissions->p == NULL ? SYS_OVERLOADED : OK;
}

static enum code choose_permissions(struct request *r, const struct key_flavour *flavour, const struct json *scopes,
                                    struct str *permissions)
{
    struct buf b;
    struct str rights = rights_of(&r->arena, &r->caller);
    if (json_count(scopes) == 0)
        return take_all(r, flavour, permissions);
    buf_init_arena(&b, &r->arena, 256);
    for (size_t i = 0; i < json_count(scopes); i++) {
        struct str scope = json_str(json_at(scopes, i));
        enum code c = judge_scope(r, flavour, i, scope, rights);
        if (c != OK)
            return c;
        buf_z(&b, i == 0 ? "" : ",");
        buf_str(&b, key_permissions(&r->arena, scope));
    }
    *permissions = buf_view(&b);
    return b.failed ? SYS_OVERLOADED : OK;
}

/* --- making --- */

struct making {
    struct key key;
    char secret[ID_KEY_MAX];
    struct str credential; /* of the old secret */
};

static enum flow answer_secret(struct request *r, struct change *c, bool created)
{
    struct making *m = c->state;
    struct document d = {.json = c->after, .live = arena_printf(&r->arena, "\"token\":\"%s\"", m->secret)};
    struct str answer = d.live.p == NULL ? STR_NONE : document_answer(&r->arena, &d);
    explicit_bzero(m->secret, sizeof m->secret);
    if (answer.p == NULL)
        return reply_error(r, SYS_OVERLOADED);
    return created ? reply_created(r, c->id, answer, c->revision) : reply_document(r, 200, answer, c->revision);
}

static enum flow answer_created(struct request *r, struct change *c)
{
    return answer_secret(r, c, true);
}

static enum flow answer_rotated(struct request *r, struct change *c)
{
    return answer_secret(r, c, false);
}

static enum code may_make(struct request *r, const struct key_flavour *flavour)
{
    if (flavour->personal && r->caller.type != CALLER_USER)
        return request_refuse(r, PERM_DENIED, "a key with the prefix %s is made by a person, signed in",
                              flavour->prefix);
    if (!flavour->personal && !manages(r))
        return lacks(r, "tenant:manage", "keys of the tenant are made by those who manage it");
    return OK;
}

static void expect_user(struct request *r, struct change *c)
{
    const struct caller *by = &r->caller;
    if (id_is_uuid(by->id, NULL))
        commit_expect_exists(c->commit, RES_REFERENCE_UNKNOWN, "user_id",
                             user_key(&r->arena, r->worker->settings, c->commit->space, by->id));
}

static enum code check(struct request *r, struct change *c)
{
    struct faults faults;
    faults_init(&faults, &r->arena);
    key_check(c->whole, &faults);
    return faults.n == 0
               ? OK
               : change_refuse_field(r, VAL_FAILED, faults.list[0].field.p, STR_FMT, STR_ARG(faults.list[0].message));
}

static void set_members(struct request *r, struct change *c, const struct making *m)
{
    overlay_str(&c->set, "hint", key_hint(&r->arena, str_z(m->secret)));
    overlay_str(&c->set, "tier", str_z(limit_tier_name(m->key.tier)));
    if (m->key.user.n > 0)
        overlay_str(&c->set, "user_id", m->key.user);
    if (json_count(json_get(c->whole, "scopes")) == 0)
        overlay_raw(&c->set, "permissions", json_names(&r->arena, m->key.permissions));
    if (m->key.expires_ms > 0)
        overlay_time(&c->set, "expires_at", m->key.expires_ms);
}

static enum code prepare_create(struct request *r, struct change *c)
{
    struct making *m = arena_new(&r->arena, struct making);
    const struct key_flavour *flavour = key_flavour(json_str(json_get(c->whole, "prefix")));
    int64_t days = json_int(json_get(c->whole, "expires_in_days"), 0);
    enum code code = m == NULL ? SYS_OVERLOADED : may_make(r, flavour);
    if (code == OK)
        code = check(r, c);
    if (code == OK)
        code = choose_permissions(r, flavour, json_get(c->whole, "scopes"), &m->key.permissions);
    if (code != OK)
        return code;
    m->key.prefix = str_z(flavour->prefix);
    m->key.id = c->id;
    m->key.name = json_str(json_get(c->whole, "name"));
    m->key.networks = json_join(&r->arena, json_get(c->whole, "cidrs"), ',');
    m->key.user = flavour->personal ? r->caller.id : STR_NONE;
    m->key.expires_ms = days == 0 ? 0 : c->now_ms + days * 86400000;
    c->state = m;
    if (flavour->personal)
        expect_user(r, c);
    id_key(flavour->prefix, r->caller.partition, m->secret);
    set_members(r, c, m);
    key_put(c->commit, r->worker->settings, &m->key, str_z(m->secret));
    return OK;
}

static enum flow token_create(struct request *r)
{
    return crud_commit(r, CHANGE_CREATE, prepare_create, "key.created", answer_created);
}

/* --- looking --- */

/* Others see what is their own: the list as if they had asked for that. */
static enum flow token_list(struct request *r)
{
    if (manages(r))
        return crud_list(r);
    struct query *q = arena_new(&r->arena, struct query);
    struct query_param *params = arena_array(&r->arena, r->query->n + 1, sizeof *params);
    if (q == NULL || params == NULL)
        return reply_error(r, SYS_OVERLOADED);
    bool is_key = r->caller.type == CALLER_KEY;
    if (r->query->n > 0)
        memcpy(params, r->query->params, r->query->n * sizeof *params);
    params[r->query->n] = (struct query_param){.name = is_key ? S("id") : S("user_id"), .value = r->caller.id};
    *q = (struct query){params, r->query->n + 1};
    r->query = q;
    return crud_list(r);
}

static enum flow found(struct request *r, struct document *d, const struct json *key)
{
    return manages(r) || is_own(r, key) ? crud_answer(r, 200, d) : reply_error(r, RES_NOT_FOUND);
}

static enum flow token_get(struct request *r)
{
    return crud_read(r, &key_resource, r->params[0], found);
}

struct living {
    struct request *r;
    struct document *documents;
    size_t at, n;
};

static enum code read_uses(struct living *l);

static struct str last_use(struct arena *a, const struct redis_value *v)
{
    char at[CLOCK_TEXT];
    int64_t used_ms = redis_int(redis_at(v, 0), 0);
    struct str from = redis_text(redis_at(v, 1));
    if (used_ms == 0)
        return STR_NONE;
    clock_text(used_ms, at);
    return from.n == 0
               ? arena_printf(a, "\"last_used_at\":\"%s\"", at)
               : arena_printf(a, "\"last_used_at\":\"%s\",\"last_used_from\":\"" STR_FMT "\"", at, STR_ARG(from));
}

static void uses_read(void *arg, enum code c, const struct redis_value *v)
{
    struct living *l = arg;
    size_t n = l->n - l->at < STORE_READS_AT_ONCE ? l->n - l->at : STORE_READS_AT_ONCE;
    for (size_t i = 0; c == OK && i < n; i++)
        l->documents[l->at + i].live = last_use(&l->r->arena, n == 1 ? v : redis_at(v, i));
    l->at += n;
    if (c == OK && l->at < l->n)
        c = read_uses(l);
    else if (c == OK)
        crud_enriched(l->r);
    if (c != OK)
        reply_error(l->r, c);
}

static enum code read_uses(struct living *l)
{
    struct arena *a = &l->r->arena;
    struct store_command commands[STORE_READS_AT_ONCE];
    const struct space space = {l->r->caller.partition, l->r->caller.tenant};
    size_t n = 0;
    for (size_t i = l->at; i < l->n && n < STORE_READS_AT_ONCE; i++) {
        struct str *argv = arena_array(a, 4, sizeof *argv);
        if (argv == NULL)
            return SYS_OVERLOADED;
        argv[0] = S("HMGET");
        argv[1] = key_document(a, space, KEY_KIND, l->documents[i].id);
        argv[2] = S("used");
        argv[3] = S("used_from");
        commands[n++] = (struct store_command){4, argv};
    }
    return store_read(l->r->worker->store, commands, n, &l->r->ops, uses_read, l);
}

static enum flow live(struct request *r, struct document *documents, size_t n)
{
    struct living *l = arena_new(&r->arena, struct living);
    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *l = (struct living){.r = r, .documents = documents, .n = n};
    enum code c = read_uses(l);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- taking back, and changing --- */

static void credential_read(void *arg, enum code code, const struct redis_value *v)
{
    struct request *r = arg;
    struct making *m = change_current(r)->state;
    m->credential = arena_str(&r->arena, redis_text(v));
    if (code == OK && m->credential.p == NULL)
        code = redis_is_nil(v) ? RES_NOT_FOUND : SYS_OVERLOADED;
    if (code != OK)
        reply_error(r, code);
    else
        change_gathered(r);
}

static enum flow read_credential(struct request *r, struct change *c)
{
    struct making *m = arena_new(&r->arena, struct making);
    if (!manages(r) && !is_own(r, c->old))
        return reply_error(r, RES_NOT_FOUND);
    if (m == NULL)
        return reply_error(r, SYS_OVERLOADED);
    c->state = m;
    const struct store_command read =
        STORE_COMMAND(S("HGET"), key_document(&r->arena, c->commit->space, KEY_KIND, c->id), S("credential"));
    enum code code = store_read(r->worker->store, &read, 1, &r->ops, credential_read, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum flow gather(struct request *r, struct change *c)
{
    return c->verb == CHANGE_CREATE ? NEXT : read_credential(r, c);
}

static enum code prepare_delete(struct request *r, struct change *c)
{
    const struct making *m = c->state;
    key_end(c->commit, r->worker->settings, c->id, m->credential, c->now_ms);
    commit_expire(c->commit, key_credential(&r->arena, r->caller.partition, m->credential),
                  r->worker->settings->token_ttl_max);
    return OK;
}

static enum flow token_delete(struct request *r)
{
    return crud_commit(r, CHANGE_DELETE, prepare_delete, "key.revoked", NULL);
}

/* Whoever rotates a key learns its text: a person's is his own, a tenant's is for those who have all that it gives. */
static enum code may_rotate(struct request *r, const struct json *old, const struct key *k)
{
    bool failed = false;
    struct caller given = {.permissions = {{0}}};
    if (is_own(r, old))
        return OK;
    if (k->user.n > 0)
        return request_refuse(r, PERM_DENIED, "a person's key is rotated by the person");
    if (!caller_grant(&r->arena, &given, k->roles, k->permissions))
        return SYS_OVERLOADED;
    bool has = is_within(&r->arena, rights_of(&r->arena, &given), rights_of(&r->arena, &r->caller), &failed);
    if (failed)
        return SYS_OVERLOADED;
    return has ? OK : request_refuse(r, PERM_DENIED, "the key may do what you may not");
}

static enum code prepare_rotate(struct request *r, struct change *c)
{
    struct making *m = c->state;
    int64_t until_ms = c->now_ms + json_int(json_get(c->patch, "overlap_seconds"), 0) * 1000;
    enum code code = key_read(&r->arena, c->old, &m->key);
    if (code == OK)
        code = may_rotate(r, c->old, &m->key);
    if (code != OK)
        return code;
    const char *state = key_state(c->old, &m->key, c->now_ms);
    if (state != NULL)
        return change_refuse_state(r, state, (const char *[]){"delete", NULL});
    key_rotate(c->commit, r->worker->settings, &m->key, m->credential, until_ms, c->now_ms, m->secret, &c->set);
    return OK;
}

static enum flow token_rotate(struct request *r)
{
    return crud_action(r, read_credential, prepare_rotate, "key.rotated", answer_rotated);
}

/* --- documents of before there was a resource --- */

static bool upcast(struct arena *a, struct document *d)
{
    static const char *const names[][2] = {{"createdAt", "created_at"},
                                           {"expiresAt", "expires_at"},
                                           {"revokedAt", "revoked_at"},
                                           {"tenantId", "tenant_id"}};
    struct buf b, out;
    struct json *old = document_json(a, d->json, NULL);
    buf_init_arena(&b, a, d->json.n + 256);
    buf_printf(&b, "{\"prefix\":\"slp\",\"created_by\":\"slipway key\",\"revision\":%lld", (long long)d->revision);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str value = json_str(json_get(old, names[i][0]));
        if (value.n > 0)
            buf_printf(&b, ",\"%s\":null,\"%s\":\"" STR_FMT "\"", names[i][0], names[i][1], STR_ARG(value));
    }
    buf_char(&b, '}');
    struct json *merged = old == NULL || b.failed ? NULL : json_merge(a, old, json_parse(a, buf_view(&b), NULL, NULL));
    buf_init_arena(&out, a, d->json.n + 256);
    json_write(&out, merged);
    d->json = buf_view(&out);
    return merged != NULL && !out.failed;
}

const struct resource key_resource = {
    .kind = KEY_KIND,
    .plural = "tokens",
    .tag = "IDENTITY",
    .doc = "Keys: personal access tokens, and those of programs.",
    .fields = fields,
    .routes = routes,
    .sort = "-created_at",
    .schema = 2,
    .gather = gather,
    .live = live,
    .upcast = upcast,
};

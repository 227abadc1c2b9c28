#include "server/api/orchestrator/agent_token.h"

#include "proto/http.h"
#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/document.h"
#include "server/engine/agents.h"
#include "server/idempotency.h"
#include "server/settings.h"
#include "server/worker.h"

#include <string.h>

#define TOKEN_KIND "agent-token"

static const char registration_prefix[] = "reg", refresh_prefix[] = "agt";
enum { KEEP_EXPIRED_MS = 24 * 60 * 60 * 1000 }; /* a token that is over is known as such for a day */

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* --- looking one up --- */

struct lookup {
    struct request *r;
    unsigned partition;
    const char *kind;
    char hex[65];
    void (*then)(struct request *r, enum code c);
    struct str used, next, prev; /* of the record */
};

/* A copy of what the record has under the name; STR_NONE when it has nothing. */
static struct str kept(struct request *r, const struct redis_value *record, struct str name)
{
    struct str text = redis_text(redis_field(record, name));
    return text.p != NULL ? arena_str(&r->arena, text) : STR_NONE;
}

static enum code judge(struct lookup *l, const struct redis_value *record)
{
    struct request *r = l->r;
    int64_t expires_ms = redis_int(redis_field(record, S("expires")), 0);
    if (!str_eqz(redis_text(redis_field(record, S("kind"))), l->kind))
        return AUTH_TOKEN_INVALID;
    if (redis_field(record, S("used"))->type != REDIS_NIL)
        return AGT_TOKEN_USED;
    if (expires_ms <= store_now_ms(r->worker->store))
        return AUTH_TOKEN_EXPIRED;
    l->next = kept(r, record, S("next"));
    l->prev = kept(r, record, S("prev"));
    r->caller = (struct caller){
        .type = CALLER_SYSTEM,
        .id = kept(r, record, S("id")),
        .name = kept(r, record, S("name")),
        .tenant = kept(r, record, S("tenant")),
        .partition = l->partition,
    };
    return r->caller.id.p != NULL && r->caller.tenant.p != NULL ? OK : SYS_OVERLOADED;
}

static void looked_up(void *arg, enum code c, const struct redis_value *v)
{
    struct lookup *l = arg;
    if (c == OK)
        c = judge(l, v);
    l->then(l->r, c);
}

static enum code look_up(struct request *r, struct str token, const char *prefix, const char *kind,
                         void (*then)(struct request *r, enum code c))
{
    struct str given;
    struct lookup *l = arena_new(&r->arena, struct lookup);
    if (l == NULL)
        return SYS_OVERLOADED;
    *l = (struct lookup){.r = r, .kind = kind, .then = then};
    if (!id_key_check(token, &given, &l->partition) || !str_eqz(given, prefix))
        return AUTH_TOKEN_INVALID;
    auth_credential(r->worker->settings, token, l->hex);
    r->state = l;
    const struct store_command read =
        STORE_COMMAND(S("HGETALL"), key_credential(&r->arena, l->partition, str_z(l->hex)));
    return store_read(r->worker->store, &read, 1, &r->ops, looked_up, l);
}

enum code agent_token_check(struct request *r, struct str token, void (*then)(struct request *r, enum code c))
{
    return look_up(r, token, registration_prefix, "registration", then);
}

struct str agent_token_record(struct request *r)
{
    char hex[65];
    struct str token = http_header(r->head, S("x-agent-token"));
    auth_credential(r->worker->settings, token, hex);
    return key_credential(&r->arena, r->caller.partition, str_z(hex));
}

/* --- making --- */

static void add_refresh(struct request *r, struct commit *c, struct str hash, struct str agent, struct str name,
                        struct str prev)
{
    int64_t ttl = r->worker->settings->agent_refresh_ttl;
    struct str key = key_credential(&r->arena, r->caller.partition, hash);
    commit_hset(c, key, S("kind"), S("refresh"));
    commit_hset(c, key, S("tenant"), r->caller.tenant);
    commit_hset(c, key, S("id"), agent);
    commit_hset(c, key, S("name"), name);
    commit_hset(c, key, S("expires"), arena_int(&r->arena, store_now_ms(r->worker->store) + ttl));
    if (prev.p != NULL)
        commit_hset(c, key, S("prev"), prev);
    commit_expire(c, key, ttl + KEEP_EXPIRED_MS);
}

void agent_tokens_make(struct agent_tokens *t, struct request *r, struct commit *c, struct str agent, struct str name,
                       struct str prev)
{
    char secret[ID_KEY_MAX], hex[65];
    struct buf access;
    const struct settings *s = r->worker->settings;
    buf_init_arena(&access, &r->arena, 1024);
    auth_agent_token(s, &access, r->caller.tenant, agent, name, store_now_ms(r->worker->store), s->token_ttl);
    size_t n = id_key(refresh_prefix, r->caller.partition, secret);
    *t = (struct agent_tokens){.access = buf_view(&access), .refresh = arena_str(&r->arena, (struct str){secret, n})};
    auth_credential(s, t->refresh, hex);
    explicit_bzero(secret, sizeof secret);
    t->failed = access.failed || t->refresh.p == NULL;
    struct str hash = arena_str(&r->arena, str_z(hex));
    add_refresh(r, c, hash, agent, name, prev);
    if (prev.p != NULL)
        commit_hset(c, key_credential(&r->arena, r->caller.partition, prev), S("next"), hash);
}

struct str agent_tokens_answer(const struct agent_tokens *t, struct request *r, struct str agent,
                               const struct json *config)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 2048);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("agentId"));
    json_put_str(&o, agent);
    json_key(&o, S("config"));
    json_put(&o, config);
    json_key(&o, S("expiresIn"));
    json_put_int(&o, r->worker->settings->token_ttl / 1000);
    json_key(&o, S("refreshToken"));
    json_put_str(&o, t->refresh);
    json_key(&o, S("token"));
    json_put_str(&o, t->access);
    json_close(&o, '}');
    return b.failed ? S("{}") : buf_view(&b);
}

void agent_tokens_revoke(struct request *r, struct commit *c, struct str agent, int64_t now_ms)
{
    char hex[65];
    auth_subject(r->worker->settings, "agent", agent, hex);
    struct str record = key_credential(&r->arena, r->caller.partition, str_z(hex));
    commit_hset(c, record, S("tenant"), r->caller.tenant);
    commit_hset(c, record, S("revoked"), arena_int(&r->arena, now_ms));
    commit_expire(c, record, r->worker->settings->token_ttl_max);
    commit_revoked(c);
}

/* --- renewal --- */

struct renewal {
    struct request *r;
    const struct lookup *token;
    struct agent_tokens tokens;
    struct commit commit;
    const struct json *agent;
};

static void renewed(void *arg, const struct commit_result *result)
{
    struct renewal *n = arg;
    struct request *r = n->r;
    if (result->code != OK)
        reply_error(r, result->code == RES_VERSION_CONFLICT ? AUTH_TOKEN_INVALID : result->code);
    else
        reply_data(
            r, 200,
            agent_tokens_answer(&n->tokens, r, json_str(json_get(n->agent, "id")), json_get(n->agent, "config")));
}

/* The successor that was never used goes, and so does the predecessor: its successor, this one, is in use. */
static enum code renew_commit(struct request *r, const struct lookup *l, const struct json *agent)
{
    struct renewal *n = arena_new(&r->arena, struct renewal);
    if (n == NULL)
        return SYS_OVERLOADED;
    *n = (struct renewal){.r = r, .token = l, .agent = agent};
    struct str own = key_credential(&r->arena, l->partition, str_z(l->hex));
    commit_begin(&n->commit, &r->arena, space_of(r), COMMIT_ESSENTIAL);
    commit_expect_exists(&n->commit, AUTH_TOKEN_INVALID, "token", own);
    commit_expect_field(&n->commit, RES_VERSION_CONFLICT, "token", own, S("next"), l->next);
    if (l->next.p != NULL)
        commit_remove(&n->commit, key_credential(&r->arena, l->partition, l->next));
    if (l->prev.p != NULL)
        commit_remove(&n->commit, key_credential(&r->arena, l->partition, l->prev));
    commit_hset(&n->commit, own, S("prev"), STR_NONE);
    agent_tokens_make(&n->tokens, r, &n->commit, json_str(json_get(agent, "id")), json_str(json_get(agent, "name")),
                      str_z(l->hex));
    const struct audit_entry entry = {
        .action = "agent.token-renewed", .resource = AGENT_KIND, .resource_id = json_str(json_get(agent, "id"))};
    audit_add(&n->commit, r, &entry);
    return n->tokens.failed ? SYS_OVERLOADED : store_commit(r->worker->store, &n->commit, &r->ops, renewed, n);
}

static void agent_read(void *arg, enum code c, const struct redis_value *v)
{
    struct request *r = arg;
    struct document d = {.json = arena_str(&r->arena, redis_text(redis_at(v, 0))),
                         .schema = redis_int(redis_at(v, 1), 1)};
    const struct json *agent = NULL;
    if (c == OK && redis_is_nil(redis_at(v, 0)))
        c = AGT_REVOKED; /* it was deleted */
    if (c == OK)
        agent = document_parse(&r->arena, &agent_resource, &d, &c);
    if (c == OK && agent != NULL && str_eqz(json_str(json_get(agent, "lifecycleState")), "revoked"))
        c = AGT_REVOKED;
    if (c == OK && agent != NULL)
        c = renew_commit(r, r->state, agent);
    if (c != OK)
        reply_error(r, c);
}

static void refresh_known(struct request *r, enum code c)
{
    if (c == OK) {
        r->caller.type = CALLER_AGENT;
        const struct store_command read =
            STORE_COMMAND(S("HMGET"), key_document(&r->arena, space_of(r), AGENT_KIND, r->caller.id), S("j"), S("sv"));
        c = store_read(r->worker->store, &read, 1, &r->ops, agent_read, r);
    }
    if (c != OK)
        reply_error(r, c);
}

enum flow agent_token_renew(struct request *r)
{
    enum code c = look_up(r, json_str(json_get(r->json, "refreshToken")), refresh_prefix, "refresh", refresh_known);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- registration tokens --- */

// clang-format off
static const struct field fields[] = {
    {"id",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",      FIELD_STRING, .min = 1, .max = 100, .doc = "What it is for; shown in the audit trail."},
    {"token",     FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 64, .doc = "Shown this once."},
    {"expiresAt", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED},
    {0}};

static enum flow token_create(struct request *r);
static enum flow token_delete(struct request *r);

static const struct route routes[] = {
    {POST, "/admin/agent-tokens", token_create, "agent:register-token", "createAgentToken",
     "Make a registration token: one agent can register with it, within a day.", ROUTE_NO_BODY | ROUTE_SECRET,
     .status = 201, .body = fields, .data = fields},
    {DELETE, "/admin/agent-tokens/{id}", token_delete, "agent:register-token", "deleteAgentToken",
     "Take a registration token back: nobody can register with it any more. Agents that have stay.", .status = 204},
    ROUTE_END};
// clang-format on

struct creation {
    struct request *r;
    struct commit commit;
    struct str data;
};

static void created(void *arg, const struct commit_result *result)
{
    struct creation *n = arg;
    if (result->code != OK)
        reply_error(n->r, result->code);
    else
        reply_data(n->r, 201, n->data);
}

static struct str token_json(struct request *r, const char *id, struct str name, const char *secret, int64_t expires_ms)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("expiresAt"));
    json_put_time(&o, expires_ms);
    json_key(&o, S("id"));
    json_put_z(&o, id);
    if (name.n > 0) {
        json_key(&o, S("name"));
        json_put_str(&o, name);
    }
    if (secret != NULL) {
        json_key(&o, S("token"));
        json_put_z(&o, secret);
    }
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static void add_registration(struct request *r, struct commit *c, const char *id, struct str name, const char *secret,
                             int64_t expires_ms)
{
    char hex[65];
    auth_credential(r->worker->settings, str_z(secret), hex);
    struct str key = key_credential(&r->arena, r->caller.partition, str_z(hex));
    commit_hset(c, key, S("kind"), S("registration"));
    commit_hset(c, key, S("tenant"), r->caller.tenant);
    commit_hset(c, key, S("id"), str_z(id));
    commit_hset(c, key, S("name"), name.n > 0 ? name : S("registration token"));
    commit_hset(c, key, S("expires"), arena_int(&r->arena, expires_ms));
    commit_expire(c, key, r->worker->settings->agent_registration_ttl + KEEP_EXPIRED_MS);
    struct str by_id = key_document(&r->arena, space_of(r), TOKEN_KIND, str_z(id));
    commit_hset(c, by_id, S("hash"), arena_str(&r->arena, str_z(hex)));
    commit_expire(c, by_id, r->worker->settings->agent_registration_ttl + KEEP_EXPIRED_MS);
}

static enum flow token_create(struct request *r)
{
    char id[ID_UUID], secret[ID_KEY_MAX];
    struct creation *n = arena_new(&r->arena, struct creation);
    if (n == NULL)
        return reply_error(r, SYS_OVERLOADED);
    int64_t now_ms = store_now_ms(r->worker->store), expires_ms = now_ms + r->worker->settings->agent_registration_ttl;
    struct str name = json_str(json_get(r->json, "name"));
    id_uuid(now_ms, id);
    id_key(registration_prefix, r->caller.partition, secret);
    n->r = r;
    n->data = token_json(r, id, name, secret, expires_ms);
    commit_begin(&n->commit, &r->arena, space_of(r), COMMIT_GROWS);
    add_registration(r, &n->commit, id, name, secret, expires_ms);
    explicit_bzero(secret, sizeof secret);
    const struct audit_entry entry = {.action = "agent-token.created",
                                      .resource = TOKEN_KIND,
                                      .resource_id = str_z(id),
                                      .after = token_json(r, id, name, NULL, expires_ms)};
    audit_add(&n->commit, r, &entry);
    idempotency_commit(r, &n->commit, &(struct idempotent_answer){.status = 201, .data = n->data, .secret = true});
    enum code c = n->data.p == NULL ? SYS_OVERLOADED : store_commit(r->worker->store, &n->commit, &r->ops, created, n);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- taking one back --- */

struct deletion {
    struct request *r;
    struct str id;
    struct commit commit;
};

static void deleted(void *arg, const struct commit_result *result)
{
    struct deletion *n = arg;
    if (result->code != OK)
        reply_error(n->r, result->code);
    else
        reply_empty(n->r, 204);
}

static enum code delete_commit(struct deletion *n, struct str hash)
{
    struct request *r = n->r;
    struct str by_id = key_document(&r->arena, space_of(r), TOKEN_KIND, n->id);
    commit_begin(&n->commit, &r->arena, space_of(r), COMMIT_ESSENTIAL);
    commit_expect_exists(&n->commit, RES_NOT_FOUND, "token", by_id);
    commit_remove(&n->commit, by_id);
    commit_remove(&n->commit, key_credential(&r->arena, r->caller.partition, hash));
    const struct audit_entry entry = {.action = "agent-token.deleted", .resource = TOKEN_KIND, .resource_id = n->id};
    audit_add(&n->commit, r, &entry);
    return store_commit(r->worker->store, &n->commit, &r->ops, deleted, n);
}

static void hash_read(void *arg, enum code c, const struct redis_value *v)
{
    struct deletion *n = arg;
    struct str hash = c == OK ? redis_text(v) : STR_NONE;
    if (c == OK && hash.n == 0)
        c = RES_NOT_FOUND;
    if (c == OK)
        c = delete_commit(n, arena_str(&n->r->arena, hash));
    if (c != OK)
        reply_error(n->r, c);
}

static enum flow token_delete(struct request *r)
{
    char id[ID_UUID];
    struct deletion *n = arena_new(&r->arena, struct deletion);
    if (!id_is_uuid(r->params[0], id))
        return reply_error(r, RES_NOT_FOUND);
    if (n == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *n = (struct deletion){.r = r, .id = arena_str(&r->arena, str_z(id))};
    const struct store_command read =
        STORE_COMMAND(S("HGET"), key_document(&r->arena, space_of(r), TOKEN_KIND, n->id), S("hash"));
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, hash_read, n);
    return c == OK ? WAIT : reply_error(r, c);
}

const struct resource agent_token_resource = {
    .kind = TOKEN_KIND,
    .plural = "agent-tokens",
    .tag = "ENVMGR",
    .doc = "One-time tokens with which agents register.",
    .fields = fields,
    .routes = routes,
};

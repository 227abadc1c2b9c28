/* What became of a token: introspection and revocation. A revocation is a record under the token's id for as long as the
 * token could live, and the partition's counter moves in the same commit: every instance looks again at the next request. */
#include "server/oauth/token.h"

#include "proto/form.h"
#include "proto/jwt.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/oauth/authenticate.h"
#include "server/oauth/issuer.h"
#include "server/settings.h"
#include "server/worker.h"

struct look {
    struct request *r;
    struct jwt jwt;
    struct commit commit;
};

/* OK with NULL in *out: the token is none of ours, or over. */
static enum code open_token(struct request *r, struct look **out)
{
    struct look *l = arena_new(&r->arena, struct look);
    const struct settings *s = r->worker->settings;
    struct str token = form_get(r->form, S("token"));
    *out = NULL;
    if (token.p == NULL)
        return request_refuse(r, OAUTH_INVALID_REQUEST, "token is missing");
    if (l == NULL)
        return SYS_OVERLOADED;
    *l = (struct look){.r = r};
    enum jwt_fault fault = jwt_verify(&r->arena, token, s->keyring, STR_NONE, str_z(s->audience),
                                      store_now_ms(r->worker->store) / 1000, &l->jwt);
    if (fault == JWT_OK && issuer_taken(s, l->jwt.issuer) && id_is_uuid(l->jwt.id, NULL))
        *out = l;
    return fault == JWT_MEMORY ? SYS_OVERLOADED : OK;
}

/* --- introspection --- */

static enum flow reply_inactive(struct request *r)
{
    return reply_raw(r, 200, "application/json", S("{\"active\":false}"));
}

static void put(struct json_out *o, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    json_key(o, str_z(name));
    json_put_str(o, value);
}

static void put_number(struct json_out *o, const char *name, int64_t value)
{
    if (value == 0)
        return;
    json_key(o, str_z(name));
    json_put_int(o, value);
}

static enum flow reply_active(struct request *r, const struct jwt *t)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("active"));
    json_put_bool(&o, true);
    put(&o, "scope", t->scope);
    put(&o, "client_id", t->client_id);
    put(&o, "username", t->user_id.n > 0 ? t->name : STR_NONE);
    put(&o, "token_type", S("Bearer"));
    put_number(&o, "exp", t->expires_s);
    put_number(&o, "iat", t->issued_s);
    put_number(&o, "nbf", t->not_before_s);
    put(&o, "sub", t->subject);
    put(&o, "aud", t->audience);
    put(&o, "iss", t->issuer);
    put(&o, "jti", t->id);
    put(&o, "tenant_id", t->tenant_id);
    json_key(&o, S("roles"));
    json_open(&o, '[');
    for (size_t i = 0; i < t->role_count; i++)
        json_put_str(&o, t->roles[i]);
    json_close(&o, ']');
    json_close(&o, '}');
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_raw(r, 200, "application/json", buf_view(&b));
}

static void state_read(void *arg, enum code c, const struct redis_value *v)
{
    struct look *l = arg;
    bool good = redis_is_nil(redis_at(redis_at(v, 0), 0)) && redis_is_nil(redis_at(redis_at(v, 1), 0));
    if (c != OK)
        reply_error(l->r, c);
    else if (good)
        reply_active(l->r, &l->jwt);
    else
        reply_inactive(l->r);
}

/* The token's own record, and that of whom all tokens end with: the agent, or the client. */
static enum flow read_state(struct look *l)
{
    struct request *r = l->r;
    char own[65], parent[65];
    const struct jwt *t = &l->jwt;
    const struct settings *s = r->worker->settings;
    unsigned partition = partition_of(t->tenant_id);
    auth_subject(s, "jwt", t->id, own);
    auth_subject(s, t->agent_id.n > 0 ? "agent" : CLIENT_KIND, t->agent_id.n > 0 ? t->agent_id : t->client_id, parent);
    const struct store_command reads[] = {
        STORE_COMMAND(S("HMGET"), key_credential(&r->arena, partition, str_z(own)), S("revoked")),
        STORE_COMMAND(S("HMGET"), key_credential(&r->arena, partition, str_z(parent)), S("revoked"))};
    enum code c = store_read(r->worker->store, reads, ARRAY_LEN(reads), &r->ops, state_read, l);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow introspect(struct request *r, const struct client *c)
{
    struct look *l = NULL;
    enum code code = str_eqz(c->method, "none")
                         ? request_refuse(r, OAUTH_INVALID_CLIENT, "the client does not authenticate (RFC 7662 2.1)")
                         : open_token(r, &l);
    if (code != OK)
        return reply_error(r, code);
    return l == NULL || !str_eq(l->jwt.tenant_id, c->tenant) ? reply_inactive(r) : read_state(l);
}

enum flow token_introspect(struct request *r)
{
    return authenticate(r, introspect);
}

/* --- revocation --- */

static void revoked(void *arg, const struct commit_result *result)
{
    struct look *l = arg;
    if (result->code != OK)
        reply_error(l->r, result->code);
    else
        reply_empty(l->r, 200);
}

static enum flow end_token(struct look *l)
{
    char hex[65];
    struct request *r = l->r;
    const struct jwt *t = &l->jwt;
    int64_t now_ms = store_now_ms(r->worker->store);
    auth_subject(r->worker->settings, "jwt", t->id, hex);
    struct str record = key_credential(&r->arena, r->caller.partition, str_z(hex));
    commit_begin(&l->commit, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, COMMIT_ESSENTIAL);
    commit_hset(&l->commit, record, S("tenant"), r->caller.tenant);
    commit_hset(&l->commit, record, S("revoked"), arena_printf(&r->arena, "%lld", (long long)now_ms));
    commit_expire(&l->commit, record, (t->expires_s + 2 * JWT_LEEWAY_S) * 1000 - now_ms);
    commit_revoked(&l->commit);
    const struct audit_entry entry = {.action = "token.revoked", .resource = "token", .resource_id = t->id};
    audit_add(&l->commit, r, &entry);
    enum code c = store_commit(r->worker->store, &l->commit, &r->ops, revoked, l);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow take_back(struct request *r, const struct client *c)
{
    struct look *l = NULL;
    enum code code = open_token(r, &l);
    if (code == OK && l != NULL && !str_eq(l->jwt.client_id, c->id))
        code = request_refuse(r, OAUTH_INVALID_GRANT, "the token was issued to another client");
    if (code != OK)
        return reply_error(r, code);
    return l == NULL ? reply_empty(r, 200) : end_token(l);
}

enum flow token_revoke(struct request *r)
{
    return authenticate(r, take_back);
}

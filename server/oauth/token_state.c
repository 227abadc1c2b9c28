/* What became of a token: introspection and revocation. A revocation is a record under the token's id for as long as the
 * token could live, and the partition's counter moves in the same commit: every instance looks again at the next request. */
#include "server/oauth/token.h"

#include "proto/form.h"
#include "proto/jwt.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/oauth/authenticate.h"
#include "server/oauth/grant.h"
#include "server/oauth/issuer.h"
#include "server/settings.h"
#include "server/store/admit.h"
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

static void state_read(void *arg, enum code c, const struct admitted *a)
{
    struct look *l = arg;
    if (c != OK)
        reply_error(l->r, c);
    else if (a->verdict == ADMIT_OK)
        reply_active(l->r, &l->jwt);
    else
        reply_inactive(l->r);
}

/* The token's own record, and the chain of what all its tokens end with. */
static enum flow read_state(struct look *l)
{
    struct request *r = l->r;
    char own[65], of[65] = "";
    const struct jwt *t = &l->jwt;
    const struct settings *s = r->worker->settings;
    unsigned partition = partition_of(t->tenant_id);
    bool agent = t->agent_id.n > 0, granted = t->session_id.n > 0;
    auth_subject(s, agent ? "agent" : "jwt", agent ? t->agent_id : t->id, own);
    if (granted || (!agent && t->client_id.n > 0))
        auth_subject(s, granted ? "grant" : CLIENT_KIND, granted ? t->session_id : t->client_id, of);
    const struct admission in = {.partition = partition,
                                 .credential = str_z(own),
                                 .optional = true,
                                 .of = of[0] == '\0' ? STR_NONE : str_z(of),
                                 .space = {partition, t->tenant_id}};
    enum code c = store_admit(r->worker->store, &r->arena, &in, &r->ops, state_read, l);
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

static enum flow commit_end(struct look *l, const struct audit_entry *entry)
{
    struct request *r = l->r;
    audit_add(&l->commit, r, entry);
    enum code c = store_commit(r->worker->store, &l->commit, &r->ops, revoked, l);
    return c == OK ? WAIT : reply_error(r, c);
}

/* With one token of a grant ends the grant (RFC 7009 §2.1). */
static enum flow end_grant(struct look *l, struct str id)
{
    struct request *r = l->r;
    commit_begin(&l->commit, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, COMMIT_ESSENTIAL);
    grant_end(&l->commit, r->worker->settings, id, store_now_ms(r->worker->store));
    return commit_end(l, &(struct audit_entry){.action = "grant.ended",
                                               .resource = "grant",
                                               .resource_id = id,
                                               .metadata = S("{\"reason\":\"revoked by the client\"}")});
}

static enum flow end_token(struct look *l)
{
    char hex[65];
    struct request *r = l->r;
    const struct jwt *t = &l->jwt;
    int64_t now_ms = store_now_ms(r->worker->store);
    if (t->session_id.n > 0)
        return end_grant(l, t->session_id);
    auth_subject(r->worker->settings, "jwt", t->id, hex);
    struct str record = key_credential(&r->arena, r->caller.partition, str_z(hex));
    commit_begin(&l->commit, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, COMMIT_ESSENTIAL);
    commit_hset(&l->commit, record, S("tenant"), r->caller.tenant);
    commit_hset(&l->commit, record, S("revoked"), arena_int(&r->arena, now_ms));
    commit_expire(&l->commit, record, (t->expires_s + 2 * JWT_LEEWAY_S) * 1000 - now_ms);
    commit_revoked(&l->commit);
    return commit_end(l, &(struct audit_entry){.action = "token.revoked", .resource = "token", .resource_id = t->id});
}

static void refresh_read(void *arg, enum code c, const struct redis_value *record)
{
    struct grant grant;
    struct look *l = arg;
    struct request *r = l->r;
    if (c == OK && !grant_read(&grant, &r->arena, r->caller.partition, record))
        c = SYS_OVERLOADED;
    if (c == OK && grant.client.n > 0 && !str_eq(grant.client, r->caller.id))
        c = request_refuse(r, OAUTH_INVALID_GRANT, "the token was issued to another client");
    if (c != OK)
        reply_error(r, c);
    else if (grant.id.n == 0)
        reply_empty(r, 200);
    else
        end_grant(l, grant.id);
}

static enum flow take_refresh_back(struct request *r, struct str token)
{
    char hex[65];
    struct look *l = arena_new(&r->arena, struct look);
    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *l = (struct look){.r = r};
    auth_credential(r->worker->settings, token, hex);
    const struct store_command read =
        STORE_COMMAND(S("HGETALL"), key_credential(&r->arena, r->caller.partition, str_z(hex)));
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, refresh_read, l);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow take_back(struct request *r, const struct client *c)
{
    unsigned partition;
    struct look *l = NULL;
    struct str token = form_get(r->form, S("token"));
    if (grant_is_refresh(token, &partition))
        return partition == c->partition ? take_refresh_back(r, token) : reply_empty(r, 200);
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

#include "server/oauth/grant.h"

#include "server/auth.h"
#include "server/oauth/client.h"
#include "server/settings.h"
#include "server/store/store.h"
#include "server/identity/user.h"

struct str grant_key(struct arena *a, const struct settings *s, unsigned partition, struct str id)
{
    char hex[65];
    auth_subject(s, "grant", id, hex);
    return key_credential(a, partition, str_z(hex));
}

bool grant_read(struct grant *out, struct arena *a, unsigned partition, const struct redis_value *record)
{
    struct {
        struct str name, *to;
    } fields[] = {{S("id"), &out->id},         {S("user"), &out->user},   {S("name"), &out->user_name},
                  {S("client"), &out->client}, {S("scope"), &out->scope}, {S("tenant"), &out->tenant}};
    *out = (struct grant){.partition = partition, .since_ms = redis_int(redis_field(record, S("since")), 0)};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct str text = redis_text(redis_field(record, fields[i].name));
        if (text.n > 0 && (*fields[i].to = arena_str(a, text)).p == NULL)
            return false;
    }
    return true;
}

static void set_time(struct commit *c, struct str key, const char *name, int64_t ms)
{
    commit_hset(c, key, str_z(name), arena_int(c->arena, ms));
}

static void set_all(struct commit *c, struct str key, const char *kind, const struct grant *g)
{
    const struct commit_field fields[] = {{S("kind"), str_z(kind)},  {S("tenant"), g->tenant},
                                          {S("id"), g->id},          {S("user"), g->user},
                                          {S("name"), g->user_name}, {S("client"), g->client},
                                          {S("scope"), g->scope},    {S("since"), arena_int(c->arena, g->since_ms)}};
    commit_hset_all(c, key, fields, ARRAY_LEN(fields));
}

/* The record lives so long; the person's list forgets it then. */
static void live_on(struct commit *c, const struct settings *s, const struct grant *g, int64_t now_ms, int64_t ttl_ms)
{
    struct str list = key_user_grants(c->arena, c->space, g->user);
    commit_expire(c, grant_key(c->arena, s, g->partition, g->id), ttl_ms);
    commit_zset(c, list, g->id, (double)(now_ms + ttl_ms));
    commit_expire(c, list, s->refresh_token_ttl + s->token_ttl);
}

void grant_begin(struct commit *c, const struct settings *s, const struct grant *g, struct str client_name,
                 int64_t now_ms)
{
    char user[65], client[65];
    unsigned partition;
    struct str key = grant_key(c->arena, s, g->partition, g->id);
    auth_subject(s, USER_KIND, g->user, user);
    c->failed = c->failed || !client_credential(s, g->client, &partition, client);
    set_all(c, key, "grant", g);
    commit_hset(c, key, S("of"), arena_printf(c->arena, "%s %s", user, client));
    commit_hset(c, key, S("client_name"), client_name);
    set_time(c, key, "created", now_ms);
    live_on(c, s, g, now_ms, s->token_ttl);
}

void grant_end(struct commit *c, const struct settings *s, struct str id, int64_t now_ms)
{
    struct str key = grant_key(c->arena, s, c->space.partition, id);
    set_time(c, key, "revoked", now_ms);
    commit_hset(c, key, S("tenant"), c->space.tenant);
    commit_expire(c, key, s->token_ttl_max);
    commit_revoked(c);
}

static struct str put_secret(struct commit *c, const struct settings *s, const char *prefix, const struct grant *g,
                             char secret[ID_KEY_MAX])
{
    char hex[65];
    id_key(prefix, g->partition, secret);
    auth_credential(s, str_z(secret), hex);
    return key_credential(c->arena, g->partition, str_z(hex));
}

void grant_put_code(struct commit *c, const struct settings *s, const struct code_terms *t, int64_t now_ms,
                    char code[ID_KEY_MAX])
{
    struct str key = put_secret(c, s, GRANT_CODE_PREFIX, t->grant, code);
    set_all(c, key, "code", t->grant);
    commit_hset(c, key, S("redirect"), t->redirect_uri);
    commit_hset(c, key, S("challenge"), t->challenge);
    set_time(c, key, "expires", now_ms + GRANT_CODE_MS);
    commit_expire(c, key, GRANT_REMEMBER_MS);
}

void grant_put_refresh(struct commit *c, const struct settings *s, const struct grant *g, int64_t now_ms,
                       char token[ID_KEY_MAX])
{
    struct str key = put_secret(c, s, GRANT_REFRESH_PREFIX, g, token);
    commit_hset(c, key, S("kind"), S("refresh"));
    commit_hset(c, key, S("tenant"), g->tenant);
    commit_hset(c, key, S("id"), g->id);
    commit_hset(c, key, S("client"), g->client);
    set_time(c, key, "expires", now_ms + s->refresh_token_ttl);
    commit_expire(c, key, s->refresh_token_ttl);
    live_on(c, s, g, now_ms, s->refresh_token_ttl + s->token_ttl);
}

bool grant_is_refresh(struct str token, unsigned *partition)
{
    struct str prefix;
    return id_key_check(token, &prefix, partition) && str_eqz(prefix, GRANT_REFRESH_PREFIX);
}

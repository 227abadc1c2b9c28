/* The token endpoint's part of grants: a code, or a refresh token, for an access token in a person's name. Each is good
 * once: it is marked as used in the commit that gives the token, and whoever finds it marked ends the grant. */
#include "server/oauth/grant.h"

#include "lib/crypto.h"
#include "proto/form.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/identity/user.h"
#include "server/oauth/client.h"
#include "server/oauth/device.h"
#include "server/oauth/scopes.h"
#include "server/oauth/token.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/worker.h"

#include <string.h>

struct redemption {
    struct request *r;
    const struct client *client;
    const char *kind; /* "code", "refresh", "device" */
    struct str secret, key;
    unsigned partition;
    struct grant grant;
    struct commit commit;
    struct token_order order;
    char refresh[ID_KEY_MAX];
    enum code answer; /* to a device that waits */
};

static enum flow refuse(struct redemption *t, const char *why)
{
    request_refuse(t->r, OAUTH_INVALID_GRANT, "%s", why);
    return reply_error(t->r, OAUTH_INVALID_GRANT);
}

/* --- one that was used before --- */

static void ended(void *arg, const struct commit_result *result)
{
    struct redemption *t = arg;
    if (result->code != OK)
        reply_error(t->r, result->code);
    else
        refuse(t, "it was used before: all that came of it has ended");
}

static enum code end_grant(struct redemption *t)
{
    struct request *r = t->r;
    struct str reason = arena_printf(&r->arena, "{\"reason\":\"%s used twice\"}",
                                     strcmp(t->kind, "refresh") == 0 ? "refresh token" : t->kind);
    commit_begin(&t->commit, &r->arena, (struct space){t->partition, t->client->tenant}, COMMIT_ESSENTIAL);
    grant_end(&t->commit, r->worker->settings, t->grant.id, store_now_ms(r->worker->store));
    audit_add(&t->commit, r,
              &(struct audit_entry){
                  .action = "grant.ended", .resource = "grant", .resource_id = t->grant.id, .metadata = reason});
    return store_commit(r->worker->store, &t->commit, &r->ops, ended, t);
}

static bool lost_the_race(struct request *r, const struct commit_result *result)
{
    struct redemption *t = r->state;
    if (!str_eqz(result->label, "used"))
        return false;
    enum code c = end_grant(t);
    if (c != OK)
        reply_error(r, c);
    return true;
}

/* --- giving --- */

static enum flow give(struct redemption *t, int64_t now_ms)
{
    struct request *r = t->r;
    const struct settings *s = r->worker->settings;
    struct commit *c = &t->commit;
    commit_begin(c, &r->arena, (struct space){t->partition, t->client->tenant}, COMMIT_GROWS);
    commit_expect_field(c, OAUTH_INVALID_GRANT, "used", t->key, S("used"), STR_NONE);
    commit_hset(c, t->key, S("used"), arena_int(&r->arena, now_ms));
    if (strcmp(t->kind, "refresh") != 0)
        grant_begin(c, s, &t->grant, t->client->name, now_ms);
    if (client_has_grant(t->client, "refresh_token"))
        grant_put_refresh(c, s, &t->grant, now_ms, t->refresh);
    r->state = t;
    t->order = (struct token_order){.client = t->client,
                                    .scope = t->grant.scope,
                                    .grant = &t->grant,
                                    .refresh = t->refresh[0] == '\0' ? STR_NONE : str_z(t->refresh),
                                    .commit = c,
                                    .refused = lost_the_race};
    return token_give(r, &t->order);
}

/* Whether the person, or the grant, is still good. */
static void chain_known(void *arg, enum code c, const struct admitted *a)
{
    struct redemption *t = arg;
    if (c != OK)
        reply_error(t->r, c);
    else if (a->verdict != ADMIT_OK)
        refuse(t, "the grant has ended, or the person or the client may not go on");
    else if (strcmp(t->kind, "refresh") == 0 && !grant_read(&t->grant, &t->r->arena, t->partition, a->credential))
        reply_error(t->r, SYS_OVERLOADED);
    else
        give(t, a->now_ms);
}

static enum code look_at_chain(struct redemption *t)
{
    char hex[65];
    struct request *r = t->r;
    bool begins = strcmp(t->kind, "refresh") != 0;
    auth_subject(r->worker->settings, begins ? USER_KIND : "grant", begins ? t->grant.user : t->grant.id, hex);
    const struct admission in = {
        .partition = t->partition, .credential = str_z(hex), .space = {t->partition, t->client->tenant}};
    return store_admit(r->worker->store, &r->arena, &in, &r->ops, chain_known, t);
}

/* RFC 7636 §4.6. */
static bool proves(struct request *r, struct str challenge)
{
    struct buf b;
    uint8_t hash[CRYPTO_HASH];
    struct str verifier = form_get(r->form, S("code_verifier"));
    buf_init_arena(&b, &r->arena, 64);
    crypto_sha256(verifier.p == NULL ? S("") : verifier, hash);
    buf_base64url(&b, hash, sizeof hash);
    return verifier.n >= 43 && verifier.n <= 128 && !b.failed && crypto_equal_str(buf_view(&b), challenge);
}

static const char *fault_of(struct redemption *t, const struct redis_value *record)
{
    struct request *r = t->r;
    if (!str_eqz(redis_text(redis_field(record, S("kind"))), t->kind) || !str_eq(t->grant.client, t->client->id))
        return "it is unknown, over, or another client's";
    bool device = strcmp(t->kind, "device") == 0;                 /* has a code of its own for that */
    bool used = redis_text(redis_field(record, S("used"))).n > 0; /* ends the grant, also when its time is over */
    if (!device && !used && redis_int(redis_field(record, S("expires")), 0) <= store_now_ms(r->worker->store))
        return "its time is over";
    if (strcmp(t->kind, "code") != 0)
        return NULL;
    if (!str_eq(form_get(r->form, S("redirect_uri")), redis_text(redis_field(record, S("redirect")))))
        return "redirect_uri is another than the one it was sent to";
    return proves(r, redis_text(redis_field(record, S("challenge")))) ? NULL
                                                                      : "code_verifier does not fit its challenge";
}

/* --- a device that asks again and again (RFC 8628 §3.5) --- */

static void asked(void *arg, const struct commit_result *result)
{
    struct redemption *t = arg;
    reply_error(t->r, result->code != OK ? result->code : t->answer);
}

static enum code note_question(struct redemption *t, int64_t interval_s, int64_t now_ms)
{
    struct arena *a = &t->r->arena;
    commit_begin(&t->commit, a, (struct space){t->partition, t->client->tenant}, 0);
    commit_hset(&t->commit, t->key, S("asked"), arena_int(a, now_ms));
    commit_hset(&t->commit, t->key, S("interval"), arena_int(a, interval_s));
    return store_commit(t->r->worker->store, &t->commit, &t->r->ops, asked, t);
}

static enum code device_state(struct redemption *t, const struct redis_value *record)
{
    int64_t now_ms = store_now_ms(t->r->worker->store);
    int64_t interval_s = redis_int(redis_field(record, S("interval")), DEVICE_INTERVAL_S);
    bool soon = now_ms - redis_int(redis_field(record, S("asked")), 0) < interval_s * 1000;
    if (redis_int(redis_field(record, S("expires")), 0) <= now_ms)
        return OAUTH_EXPIRED_TOKEN;
    if (str_eqz(redis_text(redis_field(record, S("state"))), "denied"))
        return OAUTH_ACCESS_DENIED;
    t->answer = soon ? OAUTH_SLOW_DOWN : OAUTH_AUTHORIZATION_PENDING;
    return note_question(t, interval_s + (soon ? DEVICE_SLOWER_S : 0), now_ms);
}

static bool is_allowed(const struct redemption *t, const struct redis_value *record)
{
    return str_eqz(redis_text(redis_field(record, S("state"))), "allowed") &&
           redis_int(redis_field(record, S("expires")), 0) > store_now_ms(t->r->worker->store);
}

static void found(void *arg, enum code c, const struct redis_value *record)
{
    struct redemption *t = arg;
    if (c == OK && !grant_read(&t->grant, &t->r->arena, t->partition, record))
        c = SYS_OVERLOADED;
    const char *fault = c == OK ? fault_of(t, record) : NULL;
    if (fault != NULL) {
        refuse(t, fault);
        return;
    }
    bool used = redis_text(redis_field(record, S("used"))).n > 0;
    if (c == OK && strcmp(t->kind, "device") == 0 && !used && !is_allowed(t, record))
        c = device_state(t, record);
    else if (c == OK)
        c = used ? end_grant(t) : look_at_chain(t);
    if (c != OK)
        reply_error(t->r, c);
}

static enum flow redeem(struct request *r, const struct client *client, const char *kind, const char *prefix,
                        const char *member)
{
    char hex[65];
    struct str given;
    struct redemption *t = arena_new(&r->arena, struct redemption);
    if (t == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *t = (struct redemption){.r = r, .client = client, .kind = kind, .secret = form_get(r->form, str_z(member))};
    if (t->secret.p == NULL) {
        request_refuse(r, OAUTH_INVALID_REQUEST, "%s is missing", member);
        return reply_error(r, OAUTH_INVALID_REQUEST);
    }
    if (!id_key_check(t->secret, &given, &t->partition) || !str_eqz(given, prefix) || t->partition != client->partition)
        return refuse(t, "it is none of this client's");
    auth_credential(r->worker->settings, t->secret, hex);
    t->key = key_credential(&r->arena, t->partition, str_z(hex));
    const struct store_command read = STORE_COMMAND(S("HGETALL"), t->key);
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, found, t);
    return c == OK ? WAIT : reply_error(r, c);
}

enum flow grant_redeem(struct request *r, const struct client *c)
{
    return redeem(r, c, "code", GRANT_CODE_PREFIX, "code");
}

enum flow grant_refresh(struct request *r, const struct client *c)
{
    return redeem(r, c, "refresh", GRANT_REFRESH_PREFIX, "refresh_token");
}

enum flow grant_device(struct request *r, const struct client *c)
{
    return redeem(r, c, "device", GRANT_DEVICE_PREFIX, "device_code");
}

/* Who calls. The happy path of a request with a known key: its caller is copied from the worker's cache, the partition's
 * revocation counter was read within `auth-trust`, and the request is on credit (server/credit.h): no trip. Without
 * credit or a fresh counter: charge and counter in one trip, and a reading handler goes on meanwhile.
 *
 * An unknown token: its record and the charge, in one trip. A counter that moved since the record was read: the record
 * again. A store that is away: 503, never a stale yes. */
#include "server/auth.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "proto/http.h"
#include "proto/jwt.h"
#include "proto/query.h"
#include "server/caller.h"
#include "server/conn.h"
#include "server/credit.h"
#include "server/dialect.h"
#include "server/identity/key_flavour.h"
#include "server/limit.h"
#include "server/oauth/client.h"
#include "server/oauth/issuer.h"
#include "server/principal.h"
#include "server/reply.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/ticket.h"
#include "server/worker.h"

#include <stdio.h>
#include <string.h>

unsigned partition_of(struct str tenant)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < tenant.n; i++) {
        crc ^= (uint8_t)tenant.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320U & (0U - (crc & 1)));
    }
    return ~crc % ID_PARTITIONS;
}

static void hex_of(const uint8_t hash[CRYPTO_HASH], char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < CRYPTO_HASH; i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    hex[64] = '\0';
}

void auth_credential(const struct settings *settings, struct str secret, char hex[65])
{
    uint8_t hash[CRYPTO_HASH];
    keyring_hash(settings->keyring, secret, hash);
    hex_of(hash, hex);
}

void auth_subject(const struct settings *settings, const char *what, struct str id, char hex[65])
{
    char text[256];
    int n = snprintf(text, sizeof text, "%s:" STR_FMT, what, STR_ARG(id));
    auth_credential(settings, (struct str){text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1}, hex);
}

/* One authentication, from a token to a caller. Lives in the asker's arena. */
struct login {
    struct worker *worker;
    struct str address;
    struct arena *arena;
    struct ops *asker;
    uint8_t token[CRYPTO_HASH];
    char credential[65];
    unsigned partition;
    bool is_jwt, cached; /* cached: the caller came from the cache */
    bool is_ticket;      /* and then, once it was taken, is_jwt or not as what it was made with */
    bool asked_credit;
    int64_t cost, builds;
    int64_t asked_ms;     /* asked_ms: when the store was */
    struct caller caller; /* of a JWT or the cache; of a key once its record was read */
    struct rate rate;
    void (*then)(struct login *l, enum code c);
    void *arg;
    auth_then *told;
};

static const char *const kind_names[] = {[CALLER_KEY] = "key",
                                         [CALLER_USER] = "user",
                                         [CALLER_AGENT] = "agent",
                                         [CALLER_SYSTEM] = "system",
                                         [CALLER_CLIENT] = "client"};

/* What a claim lists. What has a comma names no role and no permission. */
static struct str joined(struct arena *a, const struct str *names, size_t n)
{
    struct buf b;
    buf_init_arena(&b, a, 256);
    for (size_t i = 0; i < n; i++)
        if (str_index(names[i], ',') < 0) {
            buf_z(&b, b.n == 0 ? "" : ",");
            buf_str(&b, names[i]);
        }
    return b.n == 0 || b.failed ? STR_NONE : buf_view(&b);
}

/* A token that names a grant lives as long as that, which knows its client and its user; one of a client alone as long as
 * the client. What an operator signed for a user depends on him if he is known here at all. */
static bool read_chain(struct login *l, const struct jwt *jwt)
{
    unsigned partition;
    struct caller *c = &l->caller;
    const struct settings *s = l->worker->settings;
    if (jwt->session_id.n > 0)
        auth_subject(s, "grant", jwt->session_id, c->of);
    else if (c->type == CALLER_CLIENT)
        return client_credential(s, c->id, &partition, c->of) && partition == c->partition;
    else if (c->type == CALLER_USER) {
        c->of[0] = '?';
        auth_subject(s, "user", c->id, c->of + 1);
    }
    return true;
}

static enum code read_jwt(struct login *l, struct str token, bool in_query)
{
    struct jwt jwt;
    const struct settings *s = l->worker->settings;
    struct caller *c = &l->caller;
    switch (jwt_verify(l->arena, token, s->keyring, STR_NONE, str_z(s->audience), clock_wall_ms() / 1000, &jwt)) {
    case JWT_OK:
        break;
    case JWT_EXPIRED:
        return AUTH_TOKEN_EXPIRED;
    case JWT_MEMORY:
        return SYS_OVERLOADED;
    default:
        return AUTH_TOKEN_INVALID;
    }
    int64_t life_ms = (jwt.expires_s - jwt.issued_s) * 1000;
    if (!issuer_taken(s, jwt.issuer) || life_ms > s->token_ttl_max || (in_query && life_ms > s->query_token_ttl_max) ||
        !id_is_uuid(jwt.tenant_id, NULL) || !id_is_uuid(jwt.id, NULL))
        return AUTH_TOKEN_INVALID;
    bool agent = jwt.agent_id.n > 0, client = !agent && jwt.user_id.n == 0;
    *c = (struct caller){
        .type = agent    ? CALLER_AGENT
                : client ? CALLER_CLIENT
                         : CALLER_USER,
        .id = agent    ? jwt.agent_id
              : client ? jwt.client_id
                       : jwt.user_id,
        .name = jwt.name.n > 0 ? jwt.name : jwt.subject,
        .tenant = jwt.tenant_id,
        .partition = partition_of(jwt.tenant_id),
        .expires_ms = jwt.expires_s * 1000,
    };
    if (!read_chain(l, &jwt))
        return AUTH_TOKEN_INVALID;
    struct str roles = agent ? S("agent") : joined(l->arena, jwt.roles, jwt.role_count);
    struct str permissions = agent ? STR_NONE : joined(l->arena, jwt.permissions, jwt.permission_count);
    if (!caller_grant(l->arena, c, roles, permissions))
        return SYS_OVERLOADED;
    auth_subject(s, agent ? "agent" : "jwt", agent ? jwt.agent_id : jwt.id, c->credential);
    memcpy(l->credential, c->credential, sizeof l->credential);
    l->partition = c->partition;
    l->is_jwt = true;
    return OK;
}

/* What can be said of a token without asking the store. */
static enum code read_token(struct login *l, struct str token, bool in_query)
{
    struct str prefix;
    if (id_key_check(token, &prefix, &l->partition)) {
        l->is_ticket = in_query && str_eqz(prefix, TICKET_PREFIX);
        hex_of(l->token, l->credential);
        if (l->is_ticket)
            return OK;
        if (str_eqz(prefix, TICKET_PREFIX))
            return AUTH_TOKEN_INVALID;
        if (in_query || key_flavour(prefix) == NULL)
            return AUTH_API_KEY_INVALID;
        return OK;
    }
    if (key_is_meant(token))
        return AUTH_API_KEY_INVALID;
    return jwt_looks(token) ? read_jwt(l, token, in_query) : AUTH_TOKEN_INVALID;
}

static enum code look_up(struct login *l);

/* The caller of an API key, from its record. */
static enum code read_record(struct login *l, const struct redis_value *record)
{
    struct str kind = redis_text(redis_field(record, S("kind")));
    int64_t tier = redis_int(redis_field(record, S("tier")), 0);
    struct caller *c = &l->caller;
    if (!str_eqz(kind, kind_names[CALLER_KEY]))
        return AUTH_API_KEY_INVALID;
    *c = (struct caller){
        .type = CALLER_KEY,
        .id = arena_str(l->arena, redis_text(redis_field(record, S("id")))),
        .name = arena_str(l->arena, redis_text(redis_field(record, S("name")))),
        .tenant = arena_str(l->arena, redis_text(redis_field(record, S("tenant")))),
        .partition = l->partition,
        .tier = tier >= 0 && tier < TIERS ? (unsigned)tier : TIER_STANDARD,
        .expires_ms = redis_int(redis_field(record, S("expires")), 0),
    };
    memcpy(c->credential, l->credential, sizeof c->credential);
    if (!caller_grant(l->arena, c, redis_text(redis_field(record, S("roles"))),
                      redis_text(redis_field(record, S("permissions")))))
        return SYS_OVERLOADED;
    return c->id.p != NULL && c->tenant.p != NULL && c->name.p != NULL ? OK : SYS_OVERLOADED;
}

struct rate auth_rate(const struct admitted *a, unsigned tier)
{
    if (a->limit <= 0)
        return (struct rate){.known = false};
    bool limited = a->verdict == ADMIT_LIMITED || a->verdict == ADMIT_BUILDS;
    int64_t reset_ms = a->reset_ms > 0 ? a->reset_ms : a->now_ms;
    struct rate rate = {
        .known = true,
        .tier = tier,
        .limit = a->limit,
        .burst = a->burst,
        .left = a->remaining,
        .bucket = a->burst_remaining,
        .reset_s = (reset_ms + 999) / 1000,
        .reset_in_s = (reset_ms - a->now_ms + 999) / 1000,
        .retry_in_s = limited ? (a->retry_after_ms + 999) / 1000 : 0,
    };
    if (limited && rate.retry_in_s < 1)
        rate.retry_in_s = 1;
    for (size_t i = 0; i < RATE_WINDOWS; i++)
        rate.more[i] = (struct rate_window){
            .limit = a->more[i].limit,
            .left = a->more[i].remaining,
            .reset_in_s = (a->more[i].reset_ms - a->now_ms + 999) / 1000,
        };
    return rate;
}

static enum code verdict_code(const struct login *l, enum admit_verdict v)
{
    switch (v) {
    case ADMIT_OK:
        return OK;
    case ADMIT_UNKNOWN:
        return l->is_jwt ? AUTH_TOKEN_INVALID : AUTH_API_KEY_INVALID;
    case ADMIT_REVOKED:
        return l->caller.type == CALLER_AGENT ? AGT_REVOKED : AUTH_TOKEN_REVOKED;
    case ADMIT_EXPIRED:
        return AUTH_TOKEN_EXPIRED;
    case ADMIT_LIMITED:
        return RATE_LIMIT_EXCEEDED;
    case ADMIT_BUILDS:
        return RATE_BUILDS_EXCEEDED;
    case ADMIT_SUSPENDED:
        return PERM_TENANT_SUSPENDED;
    }
    return SYS_INTERNAL;
}

/* Whether the caller may call from where it does. */
static bool is_near(const struct login *l)
{
    return l->caller.networks.n == 0 || networks_hold(l->caller.networks, l->address);
}

static bool is_limit(enum code c)
{
    return c == RATE_LIMIT_EXCEEDED || c == RATE_BUILDS_EXCEEDED;
}

/* Whose credential names no tier has its tenant's. */
static void choose_tier(struct caller *c, const struct redis_value *tenant)
{
    int64_t tier = redis_int(redis_at(tenant, ADMIT_TENANT_TIER), TIER_STANDARD);
    if (c->tier == TIER_STANDARD && tier > 0 && tier < TIERS)
        c->tier = (unsigned)tier;
}

static void keep(struct login *l)
{
    if (!l->is_ticket)
        principals_add(l->worker->principals, l->token, &l->caller);
}

enum code auth_bound(struct arena *a, struct caller *c, const struct admitted *in)
{
    struct str own = redis_text(redis_field(in->credential, S("networks")));
    struct str tenant = redis_text(redis_at(in->tenant, ADMIT_TENANT_NETWORKS));
    if (!redis_is_nil(in->user) && !caller_of_user(a, c, redis_text(redis_at(in->user, ADMIT_USER_ROLES)),
                                                   redis_text(redis_at(in->user, ADMIT_USER_PERMISSIONS))))
        return SYS_OVERLOADED;
    c->user = redis_is_nil(in->user) ? STR_NONE : arena_str(a, redis_text(redis_at(in->user, ADMIT_USER_ID)));
    if (!redis_is_nil(in->user) && c->user.p == NULL)
        return SYS_OVERLOADED;
    c->networks = STR_NONE;
    if (own.n == 0 && tenant.n == 0)
        return OK;
    c->networks = arena_printf(a, STR_FMT ";" STR_FMT, STR_ARG(own), STR_ARG(tenant));
    return c->networks.p == NULL ? SYS_OVERLOADED : OK;
}

static void admitted(void *arg, enum code c, const struct admitted *a)
{
    struct login *l = arg;
    struct principals *principals = l->worker->principals;
    if (c != OK) {
        l->then(l, c);
        return;
    }
    bool looked_up = !l->cached;
    if (looked_up && !l->is_jwt && !redis_is_nil(a->credential))
        c = read_record(l, a->credential);
    else if (looked_up && !l->is_jwt && a->verdict == ADMIT_OK) /* let in, but whom? */
        c = SYS_INTERNAL;
    if (c != OK) {
        l->then(l, c);
        return;
    }
    if (looked_up)
        choose_tier(&l->caller, a->tenant);
    principals_note(principals, l->partition, a->revoked, l->asked_ms);
    if (l->cost > 0)
        l->rate = auth_rate(a, l->caller.tier);
    if (l->asked_credit)
        credit_got(l->worker->credits, &l->caller, &l->rate, a->granted, l->asked_ms);
    l->asked_credit = false;
    c = verdict_code(l, a->verdict);
    if (l->cached &&
        a->revoked != l->caller.revocations) { /* something was revoked since: look again, charge no more */
        principals_drop(principals, l->token);
        l->cached = false;
        l->cost = is_limit(c) ? l->cost : 0;
        c = look_up(l);
        if (c != OK)
            l->then(l, c);
        return;
    }
    if (looked_up && (c == OK || is_limit(c))) {
        l->caller.revocations = a->revoked;
        enum code b = auth_bound(l->arena, &l->caller, a);
        if (b == OK)
            keep(l);
        else
            c = b;
    }
    l->then(l, c == OK && !is_near(l) ? PERM_NETWORK : c);
}

static bool is_to_be_told(const struct login *l)
{
    struct worker *w = l->worker;
    return l->caller.type == CALLER_KEY && principals_tell(w->principals, l->token, loop_now_ms(&w->loop));
}

/* One trip: record when it is not known, charge, revocation counter. */
static enum code look_up(struct login *l)
{
    const struct tier *tiers = l->worker->settings->tiers;
    bool known = l->cached || l->is_jwt;
    struct admission in = {
        .partition = l->partition,
        .credential = l->cached ? STR_NONE : str_z(l->credential),
        .optional = l->is_jwt,
        .of = l->cached || l->caller.of[0] == '\0' ? STR_NONE : str_z(l->caller.of),
        .space = {l->partition, known ? l->caller.tenant : STR_NONE},
        .tier = l->cached ? 0 : l->caller.tier,
        .rates = l->cached ? &tiers[l->caller.tier] : tiers, /* of who is not known yet it is what the record says */
        .rate_count = l->cached ? 1 : TIERS,
        .cost = l->cost,
        .builds = l->cost > 0 ? l->builds : 0,
    };
    if (!l->cached || is_to_be_told(l))
        in.used_from = l->address.p == NULL ? S("") : l->address;
    if (known && (in.caller = auth_caller_name(l->arena, &l->caller)).p == NULL)
        return SYS_OVERLOADED;
    l->asked_ms = loop_now_ms(&l->worker->loop);
    metrics_add(&l->worker->metrics, METRIC_ADMITTED_STORE, 1);
    if (l->cost > 0)
        credit_ask(l->worker->credits, known ? &l->caller : NULL, &in);
    l->asked_credit = in.credit.holder.p != NULL;
    return store_admit(l->worker->store, l->arena, &in, l->asker, admitted, l);
}

struct str auth_caller_name(struct arena *a, const struct caller *c)
{
    return ARENA_CAT(a, str_z(kind_names[c->type]), S(":"), c->id);
}

/* The ticket is taken: from here on it is as if its maker's credential had been given. */
static void ticket_read(void *arg, enum code c, const struct redis_value *v)
{
    struct login *l = arg;
    struct caller *caller = &l->caller;
    if (c == OK && !ticket_taken(l->arena, l->partition, v, caller))
        c = AUTH_TOKEN_INVALID;
    if (c == OK && caller->expires_ms != 0 && caller->expires_ms <= clock_wall_ms())
        c = AUTH_TOKEN_EXPIRED;
    if (c == OK) {
        l->is_jwt = caller->type != CALLER_KEY;
        memcpy(l->credential, caller->credential, sizeof l->credential);
        c = look_up(l);
    }
    if (c != OK)
        l->then(l, c);
}

static enum code take_ticket(struct login *l)
{
    struct store_command commands[TICKET_COMMANDS];
    ticket_take(l->arena, l->partition, str_z(l->credential), commands);
    return store_read(l->worker->store, commands, TICKET_COMMANDS, l->asker, ticket_read, l);
}

/* Whether the caller is known, and may do this without the store being asked. What lives on asks: it is rare, and it
 * shall not begin with a caller that was just revoked. */
static bool on_credit(struct login *l)
{
    struct worker *w = l->worker;
    bool yes = l->cached && is_near(l) && /* else it is asked whether that still holds */
               principals_trusted(w->principals, &l->caller, loop_now_ms(&w->loop), w->settings->auth_trust) &&
               (l->cost == 0 || (l->builds == 0 && credit_take(w->credits, &l->caller, &l->rate)));
    metrics_add(&w->metrics, METRIC_ADMITTED_CREDIT, yes);
    return yes;
}

static bool is_cached(struct login *l)
{
    return principals_find(l->worker->principals, l->token, clock_wall_ms(), l->arena, &l->caller);
}

/* A token of a header that is in the cache was read and verified when it came there. */
static bool recall(struct login *l)
{
    if (!is_cached(l))
        return false;
    l->is_jwt = l->caller.type != CALLER_KEY;
    l->partition = l->caller.partition;
    memcpy(l->credential, l->caller.credential, sizeof l->credential);
    return true;
}

/* OK: either `*at_once`, or `l->then` runs once, later. */
static enum code start_login(struct login *l, struct str token, bool in_query, bool *at_once)
{
    char canonical[ID_KEY_MAX];
    token = key_canonical(token, canonical);
    keyring_hash(l->worker->settings->keyring, token, l->token);
    l->cached = !in_query && recall(l);
    enum code c = l->cached ? OK : read_token(l, token, in_query);
    if (c == OK && l->is_ticket)
        return take_ticket(l);
    if (c == OK && in_query) /* as a query's token it had to be looked at */
        l->cached = is_cached(l);
    if (at_once != NULL && (*at_once = on_credit(l)))
        return OK;
    return c == OK ? look_up(l) : c;
}

static struct login *login_new(struct worker *w, struct str address, struct arena *arena, struct ops *asker)
{
    struct login *l = arena_new(arena, struct login);
    if (l != NULL)
        *l = (struct login){.worker = w, .address = address, .arena = arena, .asker = asker, .cost = 1};
    return l;
}

/* Requests. */

struct str auth_header(const struct http_head *head)
{
    struct str given = http_header(head, S("authorization"));
    return given.p != NULL ? given : http_header(head, S("x-api-key"));
}

enum code auth_bearer(const struct request *r, struct str *token, bool *in_query)
{
    struct str given = http_header(r->head, S("authorization"));
    bool stream = r->route != NULL && (r->route->flags & ROUTE_STREAM) != 0;
    *in_query = false;
    *token = STR_NONE;
    if (auth_header(r->head).p == NULL && stream && r->query_fault == NULL && query_count(r->query, S("token")) == 1) {
        *in_query = true;
        *token = query_get(r->query, S("token"));
        return token->n > 0 ? OK : AUTH_TOKEN_INVALID;
    }
    if (given.p == NULL) {
        *token = str_trim(auth_header(r->head));
        return token->p == NULL ? AUTH_TOKEN_MISSING : key_is_meant(*token) ? OK : AUTH_API_KEY_INVALID;
    }
    struct str scheme = str_cut(&given, ' ');
    *token = str_trim(given);
    return str_ieq(scheme, S("bearer")) && token->n > 0 && token->n <= JWT_MAX ? OK : AUTH_TOKEN_INVALID;
}

/* 404, 405 and 403 by a known caller. */
static enum flow authorize(struct request *r)
{
    enum flow flow = request_routable(r);
    const char *needed = r->route == NULL ? NULL : r->route->permission;
    if (flow != NEXT || needed == NULL || caller_may(&r->caller, needed) || scope_enter(r))
        return flow;
    request_lacks(r, r->route->permission);
    request_refuse(r, PERM_DENIED, "this needs the permission %s", r->route->permission);
    return reply_error(r, PERM_DENIED);
}

static enum flow refuse(struct request *r, enum code c)
{
    if (is_limit(c))
        r->details = arena_printf(&r->arena, "{\"retryAfterSeconds\":%lld,\"tier\":\"%s\"}",
                                  (long long)r->rate.retry_in_s, limit_tier_name(r->rate.tier));
    return reply_error(r, c);
}

static void request_admitted(struct login *l, enum code c)
{
    struct request *r = l->arg;
    bool beside = r->admitting;
    r->admitting = false;
    if (c == OK || l->rate.known)
        r->rate = l->rate;
    r->built = l->builds > 0 && l->rate.known && !is_limit(c);
    if (c != OK) {
        if (beside)
            reply_forget(r);
        if (c != SYS_STORAGE && c != SYS_OVERLOADED)
            r->caller = l->caller.tenant.p != NULL ? l->caller : r->caller;
        refuse(r, c);
        return;
    }
    r->caller = l->caller;
    if (beside)
        reply_release(r);
    else if (authorize(r) == NEXT)
        request_resume(r);
}

/* A plain read by a known caller does not wait: it has no effect that a refusal would have to undo. */
static bool may_go_on(const struct request *r, const struct login *l)
{
    return l->cached && r->route != NULL && (r->method & (GET | HEAD)) != 0 &&
           (r->route->flags & (ROUTE_STREAM | ROUTE_TAIL | ROUTE_RAW_BODY | ROUTE_BYTES)) == 0;
}

static enum flow go_unknown(struct request *r)
{
    r->rate.known = false;
    return request_routable(r);
}

enum flow auth_admit(struct request *r)
{
    struct str token;
    bool in_query, at_once = false;
    if (r->route != NULL ? (r->route->flags & ROUTE_PUBLIC) != 0 : r->dialect->open)
        return go_unknown(r);
    enum code c = auth_bearer(r, &token, &in_query);
    if (c == AUTH_TOKEN_MISSING && r->route != NULL && (r->route->flags & ROUTE_STREAM) != 0 &&
        http_has_token(r->head, S("upgrade"), S("websocket")))
        return go_unknown(r); /* the first message will say who it is */
    struct login *l = login_new(r->worker, r->address, &r->arena, &r->ops);
    if (c == OK && l == NULL)
        c = SYS_OVERLOADED;
    if (c == OK) {
        l->then = request_admitted;
        l->arg = r;
        unsigned flags = r->route == NULL ? 0 : r->route->flags;
        l->cost = (flags & ROUTE_NO_RATE) != 0 ? 0 : 1;
        l->builds = (flags & ROUTE_BUILD) != 0;
        bool lives_on = r->route != NULL && (r->route->flags & ROUTE_STREAM) != 0;
        c = start_login(l, token, in_query, lives_on ? NULL : &at_once);
    }
    if (c != OK)
        return reply_error(r, c);
    if (!at_once && !may_go_on(r, l))
        return WAIT;
    r->caller = l->caller;
    r->admitting = !at_once;
    if (at_once)
        r->rate = l->rate;
    return authorize(r);
}

/* Tokens that come later. */

static void token_admitted(struct login *l, enum code c)
{
    l->told(l->arg, c, c == OK ? &l->caller : NULL);
}

enum code auth_token(struct worker *w, struct str token, bool in_query, struct str address, struct arena *arena,
                     struct ops *asker, auth_then *then, void *arg)
{
    struct login *l = login_new(w, address, arena, asker);
    if (l == NULL)
        return SYS_OVERLOADED;
    l->then = token_admitted;
    l->told = then;
    l->arg = arg;
    return token.n > 0 && token.n <= JWT_MAX ? start_login(l, token, in_query, NULL) : AUTH_TOKEN_INVALID;
}

struct str auth_depends_on(struct arena *a, const struct settings *s, const struct caller *c)
{
    char hex[65];
    struct buf of;
    struct str user = c->type == CALLER_USER ? c->id : c->user;
    buf_init_arena(&of, a, sizeof hex * 2);
    if (c->type == CALLER_CLIENT)
        buf_z(&of, c->of);
    if (c->type == CALLER_KEY) {
        auth_subject(s, "key", c->id, hex);
        buf_printf(&of, "?%s ", hex);
    }
    if (user.n > 0) {
        auth_subject(s, "user", user, hex);
        buf_printf(&of, "%s%s", c->user.n > 0 ? "" : "?", hex);
    }
    return of.failed ? STR_NONE : buf_view(&of);
}

void auth_agent_token(const struct settings *settings, struct buf *out, struct str tenant, struct str agent_id,
                      struct str name, int64_t now_ms, int64_t ttl_ms)
{
    char id[ID_UUID];
    const struct str role = S("agent");
    id_uuid(now_ms, id);
    const struct jwt claims = {
        .issuer = str_z(issuer_name(settings)),
        .audience = str_z(settings->audience),
        .id = str_z(id),
        .subject = agent_id,
        .agent_id = agent_id,
        .tenant_id = tenant,
        .name = name,
        .roles = &role,
        .role_count = 1,
        .issued_s = now_ms / 1000,
        .expires_s = (now_ms + ttl_ms) / 1000,
    };
    jwt_write(out, settings->keyring, &claims);
}

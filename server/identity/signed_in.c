#include "server/identity/signed_in.h"

#include "lib/id.h"
#include "proto/http.h"
#include "proto/query.h"
#include "server/auth.h"
#include "server/caller.h"
#include "server/dialect.h"
#include "server/identity/page.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/worker.h"

static const char prefix[] = "sls";
static const char *const cookies[] = {"slipway-session", "slipway-half"}, *const kinds[] = {"session", "half"};

struct look {
    struct request *r;
    signed_in_then *then;
    enum flow (*otherwise)(struct request *r);
    unsigned partition;
    bool half;
    struct signed_in found;
};

static bool is_local(struct str path)
{
    if (path.n == 0 || path.n > 2048 || path.p[0] != '/' || str_starts(path, S("//")) || str_index(path, '\\') >= 0)
        return false;
    for (size_t i = 0; i < path.n; i++)
        if (path.p[i] <= ' ' || path.p[i] > '~')
            return false;
    return true;
}

struct str return_to(struct request *r, struct str wanted)
{
    return is_local(wanted) ? wanted : arena_printf(&r->arena, "%s/auth/account", r->dialect->base);
}

static enum flow ask_to_log_in(struct request *r)
{
    struct buf b;
    struct str here = r->method == GET ? r->head->target : STR_NONE;
    buf_init_arena(&b, &r->arena, 256);
    buf_printf(&b, "%s/auth/login", r->dialect->base);
    if (is_local(here)) {
        buf_z(&b, "?return_to=");
        query_encode(&b, here);
    }
    return b.failed ? page_refuse(r, SYS_OVERLOADED) : page_redirect(r, buf_view(&b));
}

static void user_found(void *arg, enum code c, const struct user *u)
{
    struct look *l = arg;
    if (c != OK)
        page_refuse(l->r, c);
    else if (u == NULL || l->found.since_ms < u->valid_after_ms)
        l->otherwise(l->r);
    else {
        l->found.user = *u;
        l->r->caller.name = u->name;
        l->then(l->r, &l->found);
    }
}

static enum code take_session(struct look *l, const struct admitted *a)
{
    struct request *r = l->r;
    struct str networks = redis_text(redis_at(a->tenant, ADMIT_TENANT_NETWORKS));
    struct str tenant = arena_str(&r->arena, redis_text(redis_field(a->credential, S("tenant"))));
    struct str id = arena_str(&r->arena, redis_text(redis_at(a->user, ADMIT_USER_ID)));
    l->found.id = arena_str(&r->arena, redis_text(redis_field(a->credential, S("id"))));
    l->found.since_ms = redis_int(redis_field(a->credential, S("since")), 0);
    l->found.tries = redis_int(redis_field(a->credential, S("tries")), 0);
    l->found.pending = arena_str(&r->arena, redis_text(redis_field(a->credential, S("pending"))));
    l->found.until_ms = redis_int(redis_field(a->credential, S("expires")), 0);
    r->caller = (struct caller){.type = CALLER_USER, .id = id, .tenant = tenant, .partition = l->partition};
    if (tenant.p == NULL || id.p == NULL || l->found.id.p == NULL ||
        !caller_grant(&r->arena, &r->caller, redis_text(redis_at(a->user, ADMIT_USER_ROLES)),
                      redis_text(redis_at(a->user, ADMIT_USER_PERMISSIONS))))
        return SYS_OVERLOADED;
    if (networks.n > 0 && !networks_hold(networks, r->address))
        return PERM_NETWORK;
    return user_by_id(r->worker, &r->arena, (struct space){l->partition, tenant}, id, &r->ops, user_found, l);
}

static void looked_up(void *arg, enum code c, const struct admitted *a)
{
    struct look *l = arg;
    if (c == OK &&
        (a->verdict != ADMIT_OK || !str_eqz(redis_text(redis_field(a->credential, S("kind"))), kinds[l->half]))) {
        l->otherwise(l->r);
        return;
    }
    if (c == OK)
        c = take_session(l, a);
    if (c != OK)
        page_refuse(l->r, c);
}

static enum flow look_up(struct request *r, bool half, signed_in_then *then, enum flow (*otherwise)(struct request *r))
{
    struct str found, secret = page_cookie(r, cookies[half]);
    struct look *l = arena_new(&r->arena, struct look);
    if (l == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    *l = (struct look){.r = r, .half = half, .then = then, .otherwise = otherwise};
    if (secret.p == NULL || !id_key_check(secret, &found, &l->partition) || !str_eqz(found, prefix))
        return otherwise(r);
    auth_credential(r->worker->settings, secret, l->found.credential);
    const struct admission in = {
        .partition = l->partition, .credential = str_z(l->found.credential), .space = {l->partition, STR_NONE}};
    enum code c = store_admit(r->worker->store, &r->arena, &in, &r->ops, looked_up, l);
    return c == OK ? WAIT : page_refuse(r, c);
}

enum flow signed_in(struct request *r, signed_in_then *then)
{
    return look_up(r, false, then, ask_to_log_in);
}

enum flow signed_in_or(struct request *r, signed_in_then *then, enum flow (*otherwise)(struct request *r))
{
    return look_up(r, false, then, otherwise);
}

enum flow signed_in_half(struct request *r, signed_in_then *then)
{
    return look_up(r, true, then, ask_to_log_in);
}

void session_begin(struct commit *c, struct request *r, const struct user *u, bool half, int64_t now_ms)
{
    char secret[ID_KEY_MAX], hex[65], of[65], id[ID_UUID];
    const struct settings *s = r->worker->settings;
    int64_t life_ms = half ? SESSION_HALF_MS : s->session_ttl;
    id_key(prefix, u->partition, secret);
    id_uuid(now_ms, id);
    auth_credential(s, str_z(secret), hex);
    auth_subject(s, USER_KIND, u->id, of);
    struct str key = key_credential(c->arena, u->partition, str_z(hex));
    const struct commit_field fields[] = {{S("kind"), str_z(kinds[half])},
                                          {S("tenant"), u->tenant},
                                          {S("id"), str_z(id)},
                                          {S("of"), str_z(of)},
                                          {S("since"), arena_int(c->arena, now_ms)},
                                          {S("expires"), arena_int(c->arena, now_ms + life_ms)}};
    commit_hset_all(c, key, fields, ARRAY_LEN(fields));
    commit_expire(c, key, life_ms);
    page_set_cookie(r, cookies[half], str_z(secret), life_ms / 1000);
}

void session_forget(struct request *r, bool half)
{
    page_set_cookie(r, cookies[half], S(""), 0);
}

void session_end(struct commit *c, const struct signed_in *s)
{
    commit_remove(c, key_credential(c->arena, s->user.partition, str_z(s->credential)));
    commit_revoked(c);
}

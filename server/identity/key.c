#include "server/identity/key.h"

#include "lib/clock.h"
#include "lib/json.h"
#include "server/auth.h"
#include "server/caller.h"
#include "server/document.h"
#include "server/identity/user.h"
#include "server/limit.h"
#include "server/oauth/scopes.h"
#include "server/settings.h"

#include <stdio.h>

enum {
    KEEP_MS = 86400000, /* how long a record that is over says so */
    PERMISSIONS_MOST = 512
};

/* Who has an id of ours was registered, and must still be there. */
static struct str depends_on(struct arena *a, const struct settings *s, const struct key *k)
{
    char own[65], user[65];
    auth_subject(s, KEY_KIND, k->id, own);
    if (k->user.n == 0)
        return arena_printf(a, "?%s", own);
    auth_subject(s, USER_KIND, k->user, user);
    return arena_printf(a, "?%s %s%s", own, id_is_uuid(k->user, NULL) ? "" : "?", user);
}

void key_put(struct commit *c, const struct settings *s, const struct key *k, struct str secret)
{
    char hex[65];
    struct arena *a = c->arena;
    auth_credential(s, secret, hex);
    struct str record = key_credential(a, c->space.partition, str_z(hex));
    const struct commit_field fields[] = {
        {S("kind"), S(KEY_KIND)},
        {S("tenant"), c->space.tenant},
        {S("id"), k->id},
        {S("name"), k->name},
        {S("roles"), k->roles},
        {S("permissions"), k->permissions},
        {S("networks"), k->networks},
        {S("of"), depends_on(a, s, k)},
        {S("tier"), arena_int(a, k->tier)},
        {S("expires"), arena_int(a, k->expires_ms)},
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        commit_hset(c, record, fields[i].name, fields[i].value.p == NULL ? S("") : fields[i].value);
    commit_hset(c, key_document(a, c->space, KEY_KIND, k->id), S("credential"), str_z(hex));
}

/* The old secret of a rotated key is good until then. */
static void retire(struct commit *c, const struct settings *s, const struct key *k, struct str hex, int64_t until_ms,
                   int64_t now_ms)
{
    struct arena *a = c->arena;
    bool at_once = until_ms <= now_ms;
    struct str record = key_credential(a, c->space.partition, hex);
    commit_hset(c, record, S("of"), depends_on(a, s, k)); /* one of long ago has none */
    commit_hset(c, record, at_once ? S("revoked") : S("expires"), arena_int(a, at_once ? now_ms : until_ms));
    commit_expire(c, record, (at_once ? s->token_ttl_max : until_ms - now_ms) + KEEP_MS);
    commit_revoked(c);
}

void key_rotate(struct commit *c, const struct settings *s, const struct key *k, struct str credential,
                int64_t until_ms, int64_t now_ms, char secret[ID_KEY_MAX], struct overlays *set)
{
    const struct key_flavour *flavour = key_flavour(k->prefix);
    if (k->expires_ms != 0 && k->expires_ms < until_ms)
        until_ms = k->expires_ms;
    id_key(flavour == NULL ? "slp" : flavour->prefix, c->space.partition, secret);
    key_put(c, s, k, str_z(secret));
    retire(c, s, k, credential, until_ms, now_ms);
    overlay_str(set, "hint", key_hint(c->arena, str_z(secret)));
    overlay_time(set, "rotated_at", now_ms);
    overlay_time(set, "overlap_ends_at", until_ms);
}

void key_end(struct commit *c, const struct settings *s, struct str id, struct str hex, int64_t now_ms)
{
    char own[65];
    struct arena *a = c->arena;
    auth_subject(s, KEY_KIND, id, own);
    const struct str records[] = {key_credential(a, c->space.partition, str_z(own)),
                                  key_credential(a, c->space.partition, hex)};
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        commit_hset(c, records[i], S("kind"), S(KEY_KIND));
        commit_hset(c, records[i], S("tenant"), c->space.tenant);
        commit_hset(c, records[i], S("revoked"), arena_int(a, now_ms));
    }
    commit_expire(c, records[0], KEY_OVERLAP_MAX * INT64_C(1000) + KEEP_MS);
    commit_revoked(c);
}

struct str key_hint(struct arena *a, struct str secret)
{
    size_t head = secret.n;
    while (head > 0 && secret.p[head - 1] != '_')
        head--;
    return arena_str(a, str_slice(secret, 0, head + 2 + KEY_HINT));
}

void key_check(const struct json *members, struct faults *faults)
{
    const struct json *cidrs = json_get(members, "cidrs");
    for (size_t i = 0; i < json_count(cidrs); i++) {
        char field[32];
        struct str wrong = STR_NONE, one = json_str(json_at(cidrs, i));
        snprintf(field, sizeof field, "cidrs[%zu]", i);
        if (str_index(one, ',') >= 0 || !networks_known(one, &wrong))
            fault_add(faults, str_z(field), "VAL_INVALID_FORMAT",
                      "is no network, such as 192.0.2.0/24 or 2001:db8::/32");
    }
}

struct str key_permissions(struct arena *a, struct str scope)
{
    struct buf b;
    struct str *list = arena_array(a, PERMISSIONS_MOST, sizeof *list);
    size_t n = list == NULL ? 0 : scopes_permissions(scope, list, PERMISSIONS_MOST);
    buf_init_arena(&b, a, 256);
    for (size_t i = 0; i < n; i++) {
        buf_z(&b, i == 0 ? "" : ",");
        buf_str(&b, list[i]);
    }
    return list == NULL || b.failed ? STR_NONE : b.n == 0 ? S("") : buf_view(&b);
}

enum code key_read(struct arena *a, const struct json *document, struct key *out)
{
    const struct json *scopes = json_get(document, "scopes");
    struct str named = json_join(a, json_get(document, "permissions"), ',');
    struct str end = json_str(json_get(document, "expires_at"));
    struct buf b;
    buf_init_arena(&b, a, 256);
    buf_str(&b, named);
    for (size_t i = 0; i < json_count(scopes); i++) {
        buf_z(&b, b.n > 0 ? "," : "");
        buf_str(&b, key_permissions(a, json_str(json_at(scopes, i))));
    }
    *out = (struct key){
        .id = json_str(json_get(document, "id")),
        .name = json_str(json_get(document, "name")),
        .prefix = json_str(json_get(document, "prefix")),
        .roles = json_join(a, json_get(document, "roles"), ','),
        .permissions = b.n == 0 ? S("") : buf_view(&b),
        .networks = json_join(a, json_get(document, "cidrs"), ','),
        .user = json_str(json_get(document, "user_id")),
        .tier = TIER_STANDARD,
    };
    limit_tier_find(json_str(json_get(document, "tier")), &out->tier);
    if (end.n > 0 && !clock_parse(end, &out->expires_ms))
        return SYS_INTERNAL;
    return named.p == NULL || out->roles.p == NULL || out->networks.p == NULL || b.failed ? SYS_OVERLOADED : OK;
}

const char *key_state(const struct json *document, const struct key *k, int64_t now_ms)
{
    if (json_get(document, "revoked_at") != NULL)
        return "revoked";
    return k->expires_ms != 0 && k->expires_ms <= now_ms ? "expired" : NULL;
}

bool key_fits(struct arena *a, const struct key_flavour *f, struct str roles, struct str permissions)
{
    struct caller wanted = {.permissions = {{0}}}, left;
    bool good = caller_grant(a, &wanted, roles, permissions);
    left = wanted;
    return good && caller_bound(a, &left, STR_NONE, str_z(f->most)) && !caller_lost(&wanted, &left);
}

#include "server/ticket.h"

#include "server/auth.h"
#include "server/settings.h"
#include "server/store/commit.h"
#include "server/worker.h"

#include <string.h>

static void put(struct commit *c, struct str key, const char *name, struct str value)
{
    commit_hset(c, key, str_z(name), value.p == NULL ? S("") : value);
}

static void put_number(struct commit *c, struct arena *a, struct str key, const char *name, int64_t value)
{
    commit_hset(c, key, str_z(name), arena_int(a, value));
}

void ticket_add(struct commit *c, const struct request *r, char secret[ID_KEY_MAX])
{
    char hex[65];
    struct buf names;
    struct arena *a = c->arena;
    const struct caller *from = &r->caller;
    const struct settings *s = r->worker->settings;
    id_key(TICKET_PREFIX, from->partition, secret);
    auth_credential(s, str_z(secret), hex);
    struct str key = key_credential(a, from->partition, str_z(hex));
    buf_init_arena(&names, a, 256);
    permission_list(&names, &from->permissions);
    put(c, key, "kind", S("ticket"));
    put(c, key, "tenant", from->tenant);
    put(c, key, "id", from->id);
    put(c, key, "name", from->name);
    put(c, key, "credential", str_z(from->credential));
    put(c, key, "parent", str_z(from->of));
    put(c, key, "networks", from->networks);
    put(c, key, "permissions", names.failed ? STR_NONE : buf_view(&names));
    put(c, key, "narrowed", from->narrowed);
    put_number(c, a, key, "type", from->type);
    put_number(c, a, key, "tier", from->tier);
    put_number(c, a, key, "expires", from->expires_ms);
    commit_expire(c, key, s->stream_ticket_ttl);
}

static struct store_command command(struct arena *a, struct str verb, struct str key)
{
    struct str *argv = arena_array(a, 2, sizeof *argv);
    if (argv == NULL)
        return (struct store_command){0, NULL};
    argv[0] = verb;
    argv[1] = key;
    return (struct store_command){2, argv};
}

void ticket_take(struct arena *a, unsigned partition, struct str hex, struct store_command out[TICKET_COMMANDS])
{
    struct str key = key_credential(a, partition, hex);
    out[0] = command(a, S("HGETALL"), key);
    out[1] = command(a, S("DEL"), key);
}

static struct str text(struct arena *a, const struct redis_value *record, struct str name)
{
    struct str found = redis_text(redis_field(record, name));
    return found.n == 0 ? STR_NONE : arena_str(a, found);
}

bool ticket_taken(struct arena *a, unsigned partition, const struct redis_value *v, struct caller *out)
{
    const struct redis_value *record = redis_at(v, 0);
    if (redis_int(redis_at(v, 1), 0) != 1 || !str_eq(redis_text(redis_field(record, S("kind"))), S("ticket")))
        return false;
    struct str credential = redis_text(redis_field(record, S("credential")));
    struct str of = redis_text(redis_field(record, S("parent")));
    *out = (struct caller){
        .type = (enum caller_type)redis_int(redis_field(record, S("type")), CALLER_NONE),
        .id = text(a, record, S("id")),
        .name = text(a, record, S("name")),
        .tenant = text(a, record, S("tenant")),
        .narrowed = text(a, record, S("narrowed")),
        .networks = text(a, record, S("networks")),
        .partition = partition,
        .tier = (unsigned)redis_int(redis_field(record, S("tier")), TIER_STANDARD),
        .expires_ms = redis_int(redis_field(record, S("expires")), 0),
    };
    if (credential.n < sizeof out->credential)
        memcpy(out->credential, credential.p, credential.n);
    if (of.n > 0 && of.n < sizeof out->of)
        memcpy(out->of, of.p, of.n);
    for (struct str rest = redis_text(redis_field(record, S("permissions"))); rest.n > 0;)
        permission_add(&out->permissions, str_cut(&rest, ','));
    return out->id.n > 0 && out->tenant.n > 0 && out->tier < TIERS && credential.n == 64;
}

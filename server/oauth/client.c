#include "server/oauth/client.h"

#include "server/auth.h"
#include "server/oauth/device.h"
#include "server/settings.h"
#include "server/store/store.h"

#include <stdio.h>

/* The last two digits of the id. */
static int partition_in(const char id[ID_UUID])
{
    unsigned partition;
    return sscanf(&id[ID_UUID - 3], "%2x", &partition) == 1 && partition < ID_PARTITIONS ? (int)partition : -1;
}

bool client_credential(const struct settings *s, struct str id, unsigned *partition, char hex[65])
{
    char lower[ID_UUID];
    int found = id_is_uuid(id, lower) ? partition_in(lower) : -1;
    if (found < 0)
        return false;
    *partition = (unsigned)found;
    auth_subject(s, CLIENT_KIND, str_z(lower), hex);
    return true;
}

bool client_read(struct client *out, struct arena *a, unsigned partition, const struct redis_value *record)
{
    struct {
        struct str name, *to;
    } fields[] = {{S("id"), &out->id},         {S("tenant"), &out->tenant},
                  {S("name"), &out->name},     {S("scopes"), &out->scopes},
                  {S("grants"), &out->grants}, {S("method"), &out->method},
                  {S("secret"), &out->secret}, {S("jwks"), &out->jwks},
                  {S("trust"), &out->trust},   {S("redirects"), &out->redirects}};
    int64_t tier = redis_int(redis_field(record, S("tier")), TIER_STANDARD);
    *out = (struct client){.partition = partition, .tier = tier >= 0 && tier < TIERS ? (unsigned)tier : TIER_STANDARD};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct str text = redis_text(redis_field(record, fields[i].name));
        if (text.n > 0 && (*fields[i].to = arena_str(a, text)).p == NULL)
            return false;
    }
    return true;
}

bool client_has_grant(const struct client *c, const char *name)
{
    struct str rest = c->grants;
    while (rest.n > 0)
        if (str_eqz(str_cut(&rest, ' '), name))
            return true;
    return false;
}

void client_of_commands(struct str tenant, char id[ID_UUID])
{
    char seed[64];
    snprintf(seed, sizeof seed, "slipway login:" STR_FMT, STR_ARG(tenant));
    id_uuid_of(0, str_z(seed), id);
    snprintf(&id[ID_UUID - 3], 3, "%02x", partition_of(tenant));
}

void client_put_of_commands(struct commit *c, const struct settings *s)
{
    char hex[65], id[ID_UUID];
    client_of_commands(c->space.tenant, id);
    auth_subject(s, CLIENT_KIND, str_z(id), hex);
    const struct commit_field fields[] = {{S("kind"), S(CLIENT_KIND)}, {S("tenant"), c->space.tenant},
                                          {S("id"), str_z(id)},        {S("name"), S("slipway, at a terminal")},
                                          {S("scopes"), S("*")},       {S("grants"), S(DEVICE_GRANT " refresh_token")},
                                          {S("method"), S("none")}};
    struct str key = key_credential(c->arena, c->space.partition, str_z(hex));
    commit_hset_all(c, key, fields, ARRAY_LEN(fields));
}

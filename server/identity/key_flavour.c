#include "server/identity/key_flavour.h"

#include <stdio.h>

// clang-format off
const struct key_flavour key_flavours[KEY_FLAVOURS] = {
    {"aethex_pat", "aethex_sk", true,  "*",                  "A personal access token."},
    {"sk_user",    NULL,        true,  "*",                  "A person's key."},
    {"sk_read",    NULL,        true,  "*:read,audit:read",  "A person's key that only reads."},
    {"sk_proj",    NULL,        false, "*",                  "A project's key."},
    {"hks_live",   "hxb_live",  false, "*",                  "A workspace's key."},
    {"slp",        NULL,        false, "*,agent:connect",                  "A key of the tenant, as `slipway key create` makes them."},
};
const char *const key_prefixes[KEY_FLAVOURS + 1] = {"aethex_pat", "sk_user", "sk_read", "sk_proj", "hks_live", "slp", NULL};
// clang-format on

const struct key_flavour *key_flavour(struct str prefix)
{
    for (size_t i = 0; i < KEY_FLAVOURS; i++)
        if (str_eqz(prefix, key_flavours[i].prefix))
            return &key_flavours[i];
    return NULL;
}

/* What is behind "<prefix>_"; STR_NONE: another prefix. */
static struct str behind(struct str token, const char *prefix)
{
    struct str name = prefix == NULL ? STR_NONE : str_z(prefix);
    bool is = name.n > 0 && token.n > name.n && token.p[name.n] == '_' && str_starts(token, name);
    return is ? str_slice(token, name.n + 1, token.n) : STR_NONE;
}

bool key_is_meant(struct str token)
{
    for (size_t i = 0; i < KEY_FLAVOURS; i++)
        if (behind(token, key_flavours[i].prefix).p != NULL || behind(token, key_flavours[i].alias).p != NULL)
            return true;
    return false;
}

struct str key_canonical(struct str token, char out[ID_KEY_MAX])
{
    for (size_t i = 0; token.n < ID_KEY_MAX && i < KEY_FLAVOURS; i++) {
        struct str rest = behind(token, key_flavours[i].alias);
        if (rest.p == NULL)
            continue;
        int n = snprintf(out, ID_KEY_MAX, "%s_" STR_FMT, key_flavours[i].prefix, STR_ARG(rest));
        return n < ID_KEY_MAX ? (struct str){out, (size_t)n} : token;
    }
    return token;
}

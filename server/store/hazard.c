#include "server/store/hazard.h"

static const struct {
    const char *label, *why;
    bool refuses;
} rows[] = {
#define X(name, text, is_refusal, sentence) [HAZARD_##name] = {text, sentence, is_refusal},
    HAZARD_MAP(X)
#undef X
};

const char *hazard_label(enum hazard h)
{
    return rows[h].label;
}
const char *hazard_why(enum hazard h)
{
    return rows[h].why;
}

enum hazard hazards_refusal(unsigned set)
{
    for (enum hazard h = 0; h < HAZARDS; h++)
        if ((set & 1u << h) != 0 && rows[h].refuses)
            return h;
    return HAZARDS;
}

struct str hazard_info(struct str text, const char *name)
{
    while (text.p != NULL) {
        struct str line = str_cut(&text, '\n'), value = str_cut(&line, '\r'), key = str_cut(&value, ':');
        if (str_eqz(key, name))
            return value;
    }
    return STR_NONE;
}

unsigned hazards_of_info(struct str text)
{
    unsigned set = 0;
    struct str major = hazard_info(text, "redis_version"), role = hazard_info(text, "role");
    uint64_t version = 0, replicas = 0;
    if (!str_u64(str_cut(&major, '.'), &version) || version < 7)
        set |= 1u << HAZARD_OLD;
    if (role.n > 0 && !str_eqz(role, "master"))
        set |= 1u << HAZARD_REPLICA;
    if (str_u64(hazard_info(text, "connected_slaves"), &replicas) && replicas > 0)
        set |= 1u << HAZARD_FOLLOWED;
    return set;
}

static bool says(const struct redis_value *config, const char *name, const char *value)
{
    return str_eqz(redis_text(redis_field(config, str_z(name))), value);
}

unsigned hazards_of_config(const struct redis_value *reply)
{
    unsigned set = 0;
    struct str policy = redis_text(redis_field(reply, S("maxmemory-policy")));
    if (policy.n == 0)
        return 1u << HAZARD_HIDDEN;
    if (!str_eqz(policy, "noeviction"))
        set |= 1u << HAZARD_EVICTS;
    if (says(reply, "appendonly", "no"))
        return set | 1u << HAZARD_VOLATILE; /* how it would write the file matters not */
    if (!says(reply, "appendfsync", "always"))
        set |= 1u << HAZARD_LAZY;
    if (says(reply, "no-appendfsync-on-rewrite", "yes"))
        set |= 1u << HAZARD_REWRITE;
    return set;
}

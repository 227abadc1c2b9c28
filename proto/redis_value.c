#include "proto/redis.h"

static const struct redis_value nil = {.type = REDIS_NIL};

const struct redis_value *redis_at(const struct redis_value *v, size_t i)
{
    return v && v->type == REDIS_ARRAY && i < v->count && v->items[i] ? v->items[i] : &nil;
}

struct str redis_text(const struct redis_value *v)
{
    return v && (v->type == REDIS_STRING || v->type == REDIS_STATUS) ? v->text : STR_NONE;
}

int64_t redis_int(const struct redis_value *v, int64_t otherwise)
{
    int64_t n;

    if (v && v->type == REDIS_INTEGER)
        return v->integer;
    return v && v->type == REDIS_STRING && str_i64(v->text, &n) ? n : otherwise;
}

const struct redis_value *redis_field(const struct redis_value *flat, struct str name)
{
    for (size_t i = 0; flat && flat->type == REDIS_ARRAY && i + 1 < flat->count; i += 2)
        if (str_eq(redis_text(flat->items[i]), name))
            return redis_at(flat, i + 1);
    return &nil;
}

static const struct {
    const char *prefix;
    enum redis_error error;
} error_words[] = {
    {"OOM ", REDIS_OOM},
    {"LOADING ", REDIS_LOADING},
    {"READONLY ", REDIS_READONLY},
    {"NOREPLICAS ", REDIS_REPLICAS},
    {"MASTERDOWN ", REDIS_REPLICAS},
    {"BUSY ", REDIS_BUSY},
    {"TRYAGAIN ", REDIS_BUSY},
    {"MISCONF ", REDIS_MISCONF},
    {"CLUSTERDOWN ", REDIS_CLUSTER},
    {"MOVED ", REDIS_CLUSTER},
    {"ASK ", REDIS_CLUSTER},
    {"CROSSSLOT ", REDIS_CLUSTER},
    {"NOAUTH ", REDIS_AUTH},
    {"WRONGPASS ", REDIS_AUTH},
    {"NOPERM ", REDIS_AUTH},
    {"ERR Function not found", REDIS_NO_FUNCTION},
    {"NOSCRIPT ", REDIS_NO_FUNCTION},
    {"WRONGTYPE ", REDIS_WRONG_TYPE},
};

enum redis_error redis_error_of(struct str text)
{
    for (size_t i = 0; i < ARRAY_LEN(error_words); i++)
        if (str_starts(text, str_z(error_words[i].prefix)))
            return error_words[i].error;
    return REDIS_REFUSED;
}

const char *redis_error_name(enum redis_error e)
{
    static const char *const names[] = {
        [REDIS_OK] = "ok",
        [REDIS_DOWN] = "down",
        [REDIS_FULL] = "full",
        [REDIS_MEMORY] = "memory",
        [REDIS_LOST] = "lost",
        [REDIS_TIMEOUT] = "timeout",
        [REDIS_PROTOCOL] = "protocol",
        [REDIS_OOM] = "oom",
        [REDIS_LOADING] = "loading",
        [REDIS_READONLY] = "readonly",
        [REDIS_REPLICAS] = "replicas",
        [REDIS_BUSY] = "busy",
        [REDIS_MISCONF] = "misconf",
        [REDIS_CLUSTER] = "cluster",
        [REDIS_AUTH] = "auth",
        [REDIS_NO_FUNCTION] = "no_function",
        [REDIS_WRONG_TYPE] = "wrong_type",
        [REDIS_REFUSED] = "refused",
    };

    return (size_t)e < ARRAY_LEN(names) ? names[e] : "unknown";
}

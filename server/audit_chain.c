#include "server/audit_chain.h"

#include "lib/clock.h"
#include "proto/redis.h"

struct str audit_hex(struct arena *a, const uint8_t hash[CRYPTO_HASH])
{
    struct buf b;
    buf_init_arena(&b, a, 2 * CRYPTO_HASH + 1);
    buf_hex(&b, hash, CRYPTO_HASH);
    return b.failed ? STR_NONE : buf_view(&b);
}

bool audit_link_read(const struct redis_value *v, struct audit_link *out)
{
    struct str id = redis_text(redis_at(v, 0));
    const struct redis_value *fields = redis_at(v, 1);
    struct str rest = id, sequence = str_cut(&rest, '-');
    out->entry = redis_text(redis_field(fields, S("j")));
    out->time_ms = redis_int(redis_field(fields, S("t")), -1);
    return str_i64(sequence, &out->sequence) && str_eq(rest, S("0")) && out->entry.p != NULL && out->time_ms >= 0;
}

struct json *audit_event(struct arena *a, const struct audit_link *link, const uint8_t previous[CRYPTO_HASH],
                         bool *broken)
{
    char time[CLOCK_TEXT];
    struct json_fault fault = {0};
    const struct json_limits limits = {.depth = 1024, .nodes = 10000000};
    struct json *event = json_parse(a, link->entry, &limits, &fault);
    *broken = (event == NULL && !fault.exhausted) || (event != NULL && !json_is(event, JSON_OBJECT));
    if (event == NULL || *broken)
        return NULL;
    clock_text(link->time_ms, time);
    struct str hash = audit_hex(a, previous);
    if (hash.p == NULL || !json_set(a, event, S("sequence"), json_new_int(a, link->sequence)) ||
        !json_set(a, event, S("timestamp"), json_new_str(a, str_z(time))) ||
        !json_set(a, event, S("previousEventHash"), json_new_str(a, hash)))
        return NULL;
    return event;
}

bool audit_hash(struct arena *a, const struct json *event, uint8_t out[CRYPTO_HASH])
{
    struct buf b;
    buf_init_arena(&b, a, 1024);
    json_write(&b, event);
    crypto_sha256(buf_view(&b), out);
    return !b.failed;
}

struct str audit_checkpoint_text(struct arena *a, struct str tenant, int64_t sequence, const uint8_t hash[CRYPTO_HASH])
{
    struct str hex = audit_hex(a, hash);
    if (hex.p == NULL)
        return STR_NONE;
    return arena_printf(a, "{\"eventHash\":\"" STR_FMT "\",\"sequence\":%lld,\"tenantId\":\"" STR_FMT "\"}",
                        STR_ARG(hex), (long long)sequence, STR_ARG(tenant));
}

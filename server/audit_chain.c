#include "server/audit_chain.h"

#include "lib/clock.h"
#include "lib/member.h"
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

static void put_name(struct buf *b, struct str name)
{
    if (b->n > 1)
        buf_char(b, ',');
    buf_char(b, '"');
    buf_str(b, name);
    buf_str(b, S("\":"));
}

/* What the chain adds: member `i`, in order of the names. */
static const struct str added[] = {{"previousEventHash", 17}, {"sequence", 8}, {"timestamp", 9}};

static void put_added(struct buf *b, size_t i, const struct audit_link *link, const uint8_t previous[CRYPTO_HASH])
{
    char time[CLOCK_TEXT];
    put_name(b, added[i]);
    if (i == 1) {
        buf_i64(b, link->sequence);
        return;
    }
    buf_char(b, '"');
    clock_text(link->time_ms, time);
    if (i == 0)
        buf_hex(b, previous, CRYPTO_HASH);
    else
        buf_z(b, time);
    buf_char(b, '"');
}

bool audit_event_text(struct buf *out, const struct audit_link *link, const uint8_t previous[CRYPTO_HASH])
{
    struct member m = members_of(link->entry);
    struct str last = S("");
    size_t next = 0;
    buf_clear(out);
    buf_char(out, '{');
    for (; member_next(&m); last = m.name) {
        if (str_cmp(last, m.name) >= 0)
            return false;
        for (; next < ARRAY_LEN(added) && str_cmp(added[next], m.name) <= 0; next++) {
            if (str_eq(added[next], m.name))
                return false;
            put_added(out, next, link, previous);
        }
        put_name(out, m.name);
        buf_str(out, m.value);
    }
    for (; next < ARRAY_LEN(added); next++)
        put_added(out, next, link, previous);
    buf_char(out, '}');
    return m.whole && !out->failed;
}

struct str audit_checkpoint_text(struct arena *a, struct str tenant, int64_t sequence, const uint8_t hash[CRYPTO_HASH])
{
    struct str hex = audit_hex(a, hash);
    if (hex.p == NULL)
        return STR_NONE;
    return arena_printf(a, "{\"eventHash\":\"" STR_FMT "\",\"sequence\":%lld,\"tenantId\":\"" STR_FMT "\"}",
                        STR_ARG(hex), (long long)sequence, STR_ARG(tenant));
}

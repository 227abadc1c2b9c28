#include "server/store/admit.h"
#include "lib/pack.h"
#include "server/store/internal.h"

/* Numbers, three for each; nil where there are none. */
static void decode_windows(const struct redis_value *v, struct admit_window *out)
{
    for (size_t i = 0; i < RATE_WINDOWS; i++)
        out[i] = (struct admit_window){
            .limit = redis_int(redis_at(v, 3 * i), 0),
            .remaining = redis_int(redis_at(v, 3 * i + 1), 0),
            .reset_ms = redis_int(redis_at(v, 3 * i + 2), 0),
        };
}

static void decode(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct admitted a = {.verdict = (enum admit_verdict)redis_int(redis_at(v, 0), ADMIT_UNKNOWN)};

    if (c == OK) {
        a.now_ms = redis_int(redis_at(v, 1), 0);
        a.epoch = redis_int(redis_at(v, 2), 0);
        a.revoked = redis_int(redis_at(v, 4), 0);
        a.credential = redis_at(v, 5);
        a.limit = redis_int(redis_at(v, 6), 0);
        a.remaining = redis_int(redis_at(v, 7), 0);
        a.reset_ms = redis_int(redis_at(v, 8), 0);
        a.burst = redis_int(redis_at(v, 9), 0);
        a.burst_remaining = redis_int(redis_at(v, 10), 0);
        a.retry_after_ms = redis_int(redis_at(v, 11), 0);
        a.replay = (enum admit_replay)redis_int(redis_at(v, 12), ADMIT_NO_KEY);
        a.record = redis_at(v, 13);
        a.granted = redis_int(redis_at(v, 14), 0);
        a.user = redis_at(v, 15);
        a.tenant = redis_at(v, 16);
    }
    if (c == OK)
        decode_windows(redis_at(v, 17), a.more);
    ((admit_then *)then)(arg, c, c == OK ? &a : NULL);
}

static void pack_rates(struct buf *b, const struct admission *in)
{
    pack_z(b, "r");
    pack_array(b, (uint32_t)in->rate_count);
    for (size_t i = 0; i < in->rate_count; i++) {
        const struct tier *t = &in->rates[i];
        bool more = (t->more[RATE_HOUR] | t->more[RATE_DAY] | t->more[RATE_BUILDS]) != 0;
        pack_array(b, more ? 2 + RATE_WINDOWS : 2);
        pack_int(b, t->limit);
        pack_int(b, t->burst);
        for (size_t k = 0; more && k < RATE_WINDOWS; k++)
            pack_int(b, t->more[k]);
    }
}

static void pack_text(struct buf *b, struct pack_open *map, const char *name, struct str value)
{
    if (!value.p)
        return;
    pack_z(b, name);
    pack_str(b, value);
    map->n++;
}

enum code store_admit(struct store *s, struct arena *scratch, const struct admission *in, struct ops *asker,
                      admit_then *then, void *arg)
{
    int64_t cost = in->rate_count ? in->cost : 0;
    struct pack_open map;
    struct buf b;

    buf_init_arena(&b, scratch, 512);
    map = pack_open_map(&b);
    pack_text(&b, &map, "c", in->credential);
    pack_text(&b, &map, "a", in->of);
    pack_text(&b, &map, "t", in->space.tenant);
    pack_text(&b, &map, "u", in->caller);
    pack_text(&b, &map, "w", in->used_from);
    pack_z(&b, "o"), pack_bool(&b, in->optional);
    pack_z(&b, "i"), pack_int(&b, in->tier);
    pack_z(&b, "n"), pack_int(&b, cost);
    pack_rates(&b, in);
    map.n += 4;
    if (in->builds != 0) {
        pack_z(&b, "b"), pack_int(&b, in->builds);
        map.n++;
    }
    if (in->credit.holder.p) {
        pack_z(&b, "h"), pack_str(&b, in->credit.holder);
        pack_z(&b, "s"), pack_int(&b, in->credit.used);
        pack_z(&b, "g"), pack_int(&b, in->credit.wanted);
        pack_z(&b, "f"), pack_bool(&b, in->credit.beside);
        map.n += 4;
    }
    if (in->idempotency.hash.p) {
        pack_z(&b, "k");
        pack_array(&b, 5);
        pack_z(&b, in->idempotency.route);
        pack_str(&b, in->idempotency.hash);
        pack_str(&b, in->idempotency.fingerprint);
        pack_str(&b, in->idempotency.owner);
        pack_int(&b, in->idempotency.lock_ms);
        map.n++;
    }
    pack_close(&b, map);
    return store_send(s, "admit_1", in->partition, &b, asker, decode, STORE_THEN(then), arg);
}

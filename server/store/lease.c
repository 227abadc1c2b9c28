#include "server/store/lease.h"
#include "lib/must.h"
#include "lib/pack.h"
#include "server/store/internal.h"

enum { SWEEP_MAX = 1000 };

void store_read_claim(const struct redis_value *v, struct claim *out)
{
    *out = (struct claim){
        .held = redis_int(redis_at(v, 0), 0) == 1,
        .token = redis_int(redis_at(v, 1), 0),
        .until_ms = redis_int(redis_at(v, 2), 0),
        .run = redis_at(v, 3),
        .entries = redis_at(v, 4),
        .waiting = redis_int(redis_at(v, 5), 0),
    };
}

static void decode_claim(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct claim claim = {0};

    if (c == OK && redis_int(redis_at(v, 0), 0) != 1)
        c = store_refusal(redis_at(v, 4), redis_at(v, 5), redis_at(v, 6));
    if (c == OK)
        store_read_claim(redis_at(v, 4), &claim);
    ((claim_then *)then)(arg, c, c == OK ? &claim : NULL);
}

enum code store_claim(struct store *s, struct arena *scratch, struct space space, const char *kind, struct str run,
                      struct str owner, int64_t token, int64_t lease_ms, struct ops *asker, claim_then *then, void *arg)
{
    struct buf b;

    if (!space.tenant.p || !run.p || !owner.p)
        return SYS_OVERLOADED;
    buf_init_arena(&b, scratch, 256);
    pack_array(&b, 6);
    pack_str(&b, space.tenant);
    pack_str(&b, run);
    pack_str(&b, owner);
    pack_int(&b, token);
    pack_int(&b, lease_ms);
    pack_z(&b, kind);
    return store_send(s, "claim_1", space.partition, &b, asker, decode_claim, STORE_THEN(then), arg);
}

static void decode_sweep(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct swept swept = {0};

    if (c == OK) {
        swept = (struct swept){
            .now_ms = redis_int(redis_at(v, 0), 0),
            .epoch = redis_int(redis_at(v, 1), 0),
            .dirty = redis_at(v, 3),
            .timers = redis_at(v, 4),
            .queue = redis_at(v, 5),
            .stale = redis_at(v, 6),
        };
    }
    ((sweep_then *)then)(arg, c, c == OK ? &swept : NULL);
}

enum code store_sweep(struct store *s, struct arena *scratch, const struct sweep *in, struct ops *asker,
                      sweep_then *then, void *arg)
{
    struct buf b;

    must(in->most > 0 && in->most <= SWEEP_MAX);
    buf_init_arena(&b, scratch, 64);
    pack_array(&b, 5);
    pack_int(&b, 0); /* the data set was judged when the store connected */
    pack_int(&b, in->dirty_ms);
    pack_int(&b, in->stale_ms);
    pack_int(&b, in->lease_ms);
    pack_int(&b, in->most);
    return store_send(s, "sweep_1", in->partition, &b, asker, decode_sweep, STORE_THEN(then), arg);
}

static void decode_take(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct taken taken = {0};

    if (c == OK)
        taken = (struct taken){redis_int(redis_at(v, 0), 0), redis_at(v, 3), redis_at(v, 4)};
    ((take_then *)then)(arg, c, c == OK ? &taken : NULL);
}

enum code store_take(struct store *s, struct arena *scratch, unsigned partition, unsigned most, const struct str *renew,
                     size_t renew_count, int64_t lease_ms, struct ops *asker, take_then *then, void *arg)
{
    struct buf b;

    must(most <= SWEEP_MAX);
    buf_init_arena(&b, scratch, 256);
    pack_array(&b, 3);
    pack_int(&b, most);
    pack_array(&b, (uint32_t)renew_count);
    for (size_t i = 0; i < renew_count; i++)
        pack_str(&b, renew[i]);
    pack_int(&b, lease_ms);
    return store_send(s, "take_1", partition, &b, asker, decode_take, STORE_THEN(then), arg);
}

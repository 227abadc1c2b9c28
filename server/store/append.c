#include "server/store/append.h"
#include "lib/must.h"
#include "lib/pack.h"
#include "server/store/internal.h"

static void decode(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct appended a = {0};

    if (c == OK && redis_int(redis_at(v, 0), 0) != 1)
        c = store_refusal(redis_at(v, 4), redis_at(v, 5), redis_at(v, 6));
    if (c == OK) {
        a.now_ms = redis_int(redis_at(v, 1), 0);
        a.next = redis_int(redis_at(v, 4), 0);
        a.gap = redis_int(redis_at(v, 5), 0) == 1;
        a.truncated = redis_int(redis_at(v, 6), 0) == 1;
        a.log_first = redis_int(redis_at(v, 7), 0);
        a.log_last = redis_int(redis_at(v, 8), 0);
        a.seq = redis_int(redis_at(v, 9), 0);
        a.stray = redis_int(redis_at(v, 10), 0) == 1;
    }
    ((append_then *)then)(arg, c, c == OK ? &a : NULL);
}

enum code store_append(struct store *s, struct arena *scratch, const struct append *in, struct ops *asker,
                       append_then *then, void *arg)
{
    struct buf b;

    must(in->count <= APPEND_LINES && (in->count > 0 || in->last));
    if (!in->space.tenant.p || !in->run.p || !in->node.p)
        return SYS_OVERLOADED;
    if (store_full(s))
        return SYS_STORAGE;
    buf_init_arena(&b, scratch, 4096);
    pack_array(&b, 13);
    pack_str(&b, in->space.tenant);
    pack_str(&b, in->run);
    pack_str(&b, in->node);
    pack_int(&b, in->attempt);
    pack_str(&b, in->task.p ? in->task : S(""));
    pack_int(&b, in->first);
    pack_array(&b, (uint32_t)in->count);
    for (size_t i = 0; i < in->count; i++)
        pack_str(&b, in->lines[i]);
    pack_bool(&b, in->skip);
    pack_bool(&b, in->last);
    pack_str(&b, in->marker.p ? in->marker : S("\"line\":\"(log cut)\"}"));
    pack_int(&b, in->cap > 0 ? in->cap : APPEND_LOG_MAX);
    pack_z(&b, in->kind);
    pack_str(&b, in->agent.p ? in->agent : S(""));
    return store_send(s, "append_1", in->space.partition, &b, asker, decode, STORE_THEN(then), arg);
}

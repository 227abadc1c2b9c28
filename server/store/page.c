#include "server/store/page.h"
#include "lib/pack.h"
#include "server/store/internal.h"

enum { DOCUMENTS_MAX = 1000, BARE_MAX = 20000, FACETS_MAX = 64, EXTRA_MAX = 16 };

bool page_item(const struct page_result *r, size_t i, struct page_item *out)
{
    const struct redis_value *v = redis_at(r->items, i);

    if (i >= r->count)
        return false;
    *out = (struct page_item){
        .id = redis_text(redis_at(v, 0)),
        .ordinal = redis_int(redis_at(v, 1), 0),
        .revision = redis_int(redis_at(v, 2), 0),
        .schema = (unsigned)redis_int(redis_at(v, 3), 0),
        .json = redis_text(redis_at(v, 4)),
        .extra = redis_at(v, 5),
    };
    return true;
}

static void decode(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct page_result r = {0};

    if (c == OK) {
        r.now_ms = redis_int(redis_at(v, 0), 0);
        r.epoch = redis_int(redis_at(v, 1), 0);
        r.total = redis_int(redis_at(v, 3), 0);
        r.last_ordinal = redis_int(redis_at(v, 4), 0);
        r.items = redis_at(v, 5);
        r.count = r.items->count;
        r.facets = redis_at(v, 6);
    }
    ((page_then *)then)(arg, c, c == OK ? &r : NULL);
}

static void pack_strings(struct buf *b, const struct str *list, size_t n)
{
    pack_array(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        pack_str(b, list[i]);
}

/* What the source needs beside its name; answers how many members. */
static unsigned pack_source(struct buf *b, const struct page_query *q)
{
    static const char *const names[] = {"created", "sorted", "ordinals", "ids", "none"};

    pack_z(b, "s"), pack_z(b, names[q->source]);
    switch (q->source) {
    case PAGE_SORTED:
        pack_z(b, "f"), pack_z(b, q->field);
        pack_z(b, "x"), pack_bool(b, q->text);
        /* fall through */
    case PAGE_CREATED:
        pack_z(b, "r"), pack_bool(b, q->reverse);
        pack_z(b, "o"), pack_int(b, q->offset);
        pack_z(b, "c"), pack_int(b, q->count);
        return q->source == PAGE_SORTED ? 6 : 4;
    case PAGE_ORDINALS:
        pack_z(b, "n");
        pack_array(b, (uint32_t)q->n);
        for (size_t i = 0; i < q->n; i++)
            pack_int(b, q->ordinals[i]);
        return 2;
    case PAGE_IDS:
        pack_z(b, "i");
        pack_strings(b, q->ids, q->n);
        return 2;
    case PAGE_NONE:
        break;
    }
    return 1;
}

static bool is_within_limits(const struct page_query *q)
{
    return q->space.tenant.p && q->offset >= 0 && q->count >= 0 && q->count <= (q->bare ? BARE_MAX : DOCUMENTS_MAX) &&
           q->n <= DOCUMENTS_MAX && q->facet_count <= FACETS_MAX;
}

enum code store_page(struct store *s, struct arena *scratch, const struct page_query *q, struct ops *asker,
                     page_then *then, void *arg)
{
    struct pack_open map;
    struct buf b;
    uint32_t extra = 0;

    if (!is_within_limits(q))
        return SYS_INTERNAL;
    buf_init_arena(&b, scratch, 512);
    map = pack_open_map(&b);
    pack_z(&b, "t"), pack_str(&b, q->space.tenant);
    pack_z(&b, "k"), pack_z(&b, q->kind);
    pack_z(&b, "b"), pack_bool(&b, q->bare);
    map.n = 3 + pack_source(&b, q);
    if (q->facet_count) {
        pack_z(&b, "a");
        pack_strings(&b, q->facets, q->facet_count);
        map.n++;
    }
    while (q->extra && q->extra[extra] && extra < EXTRA_MAX)
        extra++;
    if (extra) {
        pack_z(&b, "e");
        pack_array(&b, extra);
        for (uint32_t i = 0; i < extra; i++)
            pack_z(&b, q->extra[i]);
        map.n++;
    }
    pack_close(&b, map);
    return store_send(s, "list_1", q->space.partition, &b, asker, decode, STORE_THEN(then), arg);
}

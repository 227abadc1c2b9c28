#include "server/list.h"

#include "lib/id.h"
#include "server/crud.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/store/page.h"
#include "server/worker.h"

#include <string.h>

enum { FACETS_AT_ONCE = 64 };

/* One list on its way. Everything but the scratch lives in the request's arena. */
struct listing {
    struct request *r;
    const struct resource *of;
    struct list_query query;
    const struct filter *facets, *rest;
    struct arena scratch; /* of one trip */

    struct filter_names names;
    struct bitmap *maps;
    size_t fetched;     /* of names */
    struct bitmap bits; /* candidates */
    int64_t candidates;
    int64_t total; /* documents of the kind */

    int64_t walked, hits; /* of the order by a field */

    int64_t *ordinals; /* of the candidates, then of the page, in order */
    size_t examined, slice;
    struct sort_key *keys; /* of what matched */
    size_t matched;
    size_t wanted; /* ordinals of the page */
};

static enum flow fail(struct listing *l, enum code c)
{
    return reply_error(l->r, c);
}

static int64_t limit_of(const struct listing *l)
{
    return l->r->worker->settings->list_examined;
}

static int64_t offset_of(const struct listing *l)
{
    return (l->query.page.page - 1) * l->query.page.size;
}

static void close_scratch(void *p)
{
    arena_fini(p);
}

static struct page_query page_query(struct listing *l, enum page_source source)
{
    arena_reset(&l->scratch);
    return (struct page_query){
        .space = {l->r->caller.partition, l->r->caller.tenant}, .kind = l->of->kind, .source = source};
}

static enum flow ask(struct listing *l, const struct page_query *q, page_then *then)
{
    enum code c = store_page(l->r->worker->store, &l->scratch, q, &l->r->ops, then, l);
    return c == OK ? WAIT : fail(l, c);
}

/* The answer. */

static enum flow answer(struct listing *l, const struct page_result *result)
{
    struct request *r = l->r;
    struct page_item item;
    size_t n = 0;
    struct document *list = arena_array(&r->arena, (result == NULL ? 0 : result->count) + 1, sizeof *list);
    struct page *page = arena_new(&r->arena, struct page);
    enum code c = OK;

    if (list == NULL || page == NULL)
        return fail(l, SYS_OVERLOADED);
    *page = l->query.page;
    for (size_t i = 0; result != NULL && page_item(result, i, &item); i++) {
        if (item.json.p == NULL)
            continue; /* deleted since it was counted */
        struct document *d = &list[n++];
        d->id = arena_str(&r->arena, item.id);
        d->json = arena_str(&r->arena, item.json);
        d->revision = item.revision;
        d->schema = item.schema;
        d->ordinal = item.ordinal;
        if (d->id.p == NULL || d->json.p == NULL)
            return fail(l, SYS_OVERLOADED);
        if (d->schema != document_schema(l->of) && document_parse(&r->arena, l->of, d, &c) == NULL)
            return fail(l, c);
    }
    return crud_answer_list(r, list, n, page);
}

static void got_plain_page(void *arg, enum code c, const struct page_result *result)
{
    struct listing *l = arg;
    if (c != OK) {
        fail(l, c);
        return;
    }
    l->query.page.total = result->total;
    answer(l, result);
}

static bool by_text(const struct field *row)
{
    return row->type == FIELD_STRING || row->type == FIELD_ENUM || row->type == FIELD_UUID;
}

static void use_order(const struct listing *l, struct page_query *q)
{
    const struct sort *s = &l->query.sort;
    q->reverse = s->n == 0 || s->by[0].descending;
    if (sort_by_creation(s))
        return;
    q->field = s->by[0].path.p;
    q->text = by_text(s->by[0].row);
}

static enum flow plain_page(struct listing *l)
{
    struct page_query q = page_query(l, sort_by_creation(&l->query.sort) ? PAGE_CREATED : PAGE_SORTED);
    use_order(l, &q);
    q.offset = offset_of(l);
    q.count = l->query.page.size;
    return ask(l, &q, got_plain_page);
}

/* The page's documents, once their ordinals are known. */

static void got_wanted(void *arg, enum code c, const struct page_result *result)
{
    struct listing *l = arg;
    if (c != OK)
        fail(l, c);
    else
        answer(l, result);
}

static enum flow fetch_wanted(struct listing *l)
{
    if (l->wanted == 0)
        return answer(l, NULL);
    struct page_query q = page_query(l, PAGE_ORDINALS);
    q.ordinals = l->ordinals;
    q.n = l->wanted;
    return ask(l, &q, got_wanted);
}

static enum flow too_broad(struct listing *l, int64_t candidates)
{
    struct request *r = l->r;
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("candidates"));
    json_put_int(&o, candidates);
    json_key(&o, S("limit"));
    json_put_int(&o, limit_of(l));
    json_key(&o, S("indexedFields"));
    json_open(&o, '[');
    for (const struct field *row = l->of->fields; row->name != NULL; row++)
        if ((row->flags & FIELD_FILTER) != 0 && (row->flags & FIELD_LIVE) == 0)
            json_put_z(&o, row->name);
    json_close(&o, ']');
    json_close(&o, '}');
    r->details = buf_view(&b);
    request_refuse(r, VAL_FILTER_TOO_BROAD,
                   "%lld documents would have to be examined, %lld is the limit; filter by indexed fields",
                   (long long)candidates, (long long)limit_of(l));
    return fail(l, VAL_FILTER_TOO_BROAD);
}

static bool descending(const struct listing *l)
{
    return l->query.sort.n == 0 || l->query.sort.by[0].descending;
}

static enum flow page_by_bitmap(struct listing *l)
{
    l->query.page.total = l->candidates;
    l->ordinals = arena_array(&l->r->arena, (size_t)l->query.page.size, sizeof *l->ordinals);
    if (l->ordinals == NULL)
        return fail(l, SYS_OVERLOADED);
    l->wanted = bitmap_pick(&l->bits, descending(l), offset_of(l), (size_t)l->query.page.size, l->ordinals);
    return fetch_wanted(l);
}

/* Candidates: all of them are read, in slices, and those that match are kept as keys. */

static enum flow examine(struct listing *l);

static enum flow examined_all(struct listing *l)
{
    int64_t from = offset_of(l);
    l->query.page.total = (int64_t)l->matched;
    if (!sort_by_creation(&l->query.sort))
        sort_keys(&l->query.sort, l->keys, l->matched);
    l->wanted = 0;
    for (size_t i = 0; i < (size_t)l->query.page.size && from + (int64_t)i < (int64_t)l->matched; i++)
        l->ordinals[l->wanted++] = l->keys[(size_t)from + i].ordinal;
    return fetch_wanted(l);
}

static enum code examine_one(struct listing *l, const struct page_item *item)
{
    enum code c = OK;
    struct document d = {.id = item->id, .json = item->json, .schema = item->schema};
    const struct json *json = document_parse(&l->scratch, l->of, &d, &c);
    if (json == NULL)
        return c;
    if (!filter_match(l->rest, json))
        return OK;
    struct sort_key *key = &l->keys[l->matched];
    key->ordinal = item->ordinal;
    if (sort_by_creation(&l->query.sort)) {
        l->matched++;
        return OK;
    }
    key->id = arena_str(&l->r->arena, item->id);
    if (key->id.p == NULL || !sort_key(&l->r->arena, &l->query.sort, json, key))
        return SYS_OVERLOADED;
    l->matched++;
    return OK;
}

static void got_slice(void *arg, enum code c, const struct page_result *result)
{
    struct listing *l = arg;
    struct page_item item;
    size_t bytes = 0;
    for (size_t i = 0; c == OK && page_item(result, i, &item); i++) {
        if (item.json.p == NULL)
            continue;
        bytes += item.json.n;
        arena_reset(&l->scratch);
        c = examine_one(l, &item);
    }
    if (c != OK) {
        fail(l, c);
        return;
    }
    size_t fitting = bytes == 0 ? LIST_SLICE : LIST_SLICE_BYTES / (bytes / l->slice + 1);
    l->slice = fitting < 10 ? 10 : fitting > LIST_SLICE ? LIST_SLICE : fitting;
    examine(l);
}

static enum flow examine(struct listing *l)
{
    size_t left = (size_t)l->candidates - l->examined;
    if (left == 0)
        return examined_all(l);
    if (l->slice > left)
        l->slice = left;
    struct page_query q = page_query(l, PAGE_ORDINALS);
    q.ordinals = l->ordinals + l->examined;
    q.n = l->slice;
    l->examined += l->slice;
    return ask(l, &q, got_slice);
}

static enum flow begin_examining(struct listing *l)
{
    if (l->candidates > limit_of(l))
        return too_broad(l, l->candidates);
    size_t n = (size_t)l->candidates, room = n > (size_t)l->query.page.size ? n : (size_t)l->query.page.size;
    l->ordinals = arena_array(&l->r->arena, room, sizeof *l->ordinals);
    l->keys = arena_array(&l->r->arena, n + 1, sizeof *l->keys);
    if (l->ordinals == NULL || l->keys == NULL)
        return fail(l, SYS_OVERLOADED);
    bitmap_pick(&l->bits, descending(l), 0, n, l->ordinals);
    l->slice = 100;
    return examine(l);
}

static int64_t step_of(const struct listing *l)
{
    return limit_of(l) < LIST_WALK ? limit_of(l) : LIST_WALK;
}

/* The walk: ids in the order of a field, without their documents; those whose bit is set count. */

static enum flow walk(struct listing *l);

static void got_steps(void *arg, enum code c, const struct page_result *result)
{
    struct listing *l = arg;
    struct page_item item;
    size_t n = 0;
    for (; c == OK && l->wanted < (size_t)l->query.page.size && page_item(result, n, &item); n++)
        if (bitmap_has(&l->bits, item.ordinal) && l->hits++ >= offset_of(l))
            l->ordinals[l->wanted++] = item.ordinal;
    l->walked += step_of(l);
    if (c != OK)
        fail(l, c);
    else if (l->wanted == (size_t)l->query.page.size || (int64_t)result->count < step_of(l))
        fetch_wanted(l);
    else if (l->walked >= limit_of(l))
        too_broad(l, l->total);
    else
        walk(l);
}

static enum flow walk(struct listing *l)
{
    struct page_query q = page_query(l, PAGE_SORTED);
    use_order(l, &q);
    q.bare = true;
    q.offset = l->walked;
    q.count = step_of(l);
    return ask(l, &q, got_steps);
}

static enum flow begin_walk(struct listing *l)
{
    l->query.page.total = l->candidates;
    l->ordinals = arena_array(&l->r->arena, (size_t)l->query.page.size, sizeof *l->ordinals);
    if (l->ordinals == NULL)
        return fail(l, SYS_OVERLOADED);
    return l->candidates <= offset_of(l) ? fetch_wanted(l) : walk(l);
}

/* Facets. */

static enum flow choose(struct listing *l)
{
    if (!filter_bitmap(&l->r->arena, l->facets, &l->names, l->maps, &l->bits))
        return fail(l, SYS_OVERLOADED);
    l->candidates = (int64_t)bitmap_count(&l->bits);
    if (l->rest == NULL && sort_by_creation(&l->query.sort))
        return page_by_bitmap(l);
    if (l->rest != NULL || l->query.sort.n > 1)
        return begin_examining(l);
    return l->total > limit_of(l) && l->candidates <= limit_of(l) ? begin_examining(l) : begin_walk(l);
}

static enum flow fetch_facets(struct listing *l);

static void got_facets(void *arg, enum code c, const struct page_result *result)
{
    struct listing *l = arg;
    for (size_t i = 0; c == OK && l->fetched < l->names.n && i < FACETS_AT_ONCE; i++, l->fetched++)
        if (!bitmap_join(&l->r->arena, redis_at(result->facets, i), &l->maps[l->fetched]))
            c = SYS_OVERLOADED;
    if (c != OK) {
        fail(l, c);
        return;
    }
    l->total = result->total;
    if (l->fetched < l->names.n)
        fetch_facets(l);
    else
        choose(l);
}

static enum flow fetch_facets(struct listing *l)
{
    size_t left = l->names.n - l->fetched;
    struct page_query q = page_query(l, PAGE_NONE);
    q.facets = l->names.list + l->fetched;
    q.facet_count = left < FACETS_AT_ONCE ? left : FACETS_AT_ONCE;
    return ask(l, &q, got_facets);
}

static enum flow begin_facets(struct listing *l)
{
    struct arena *a = &l->r->arena;
    if (!filter_split(a, l->query.filter, &l->facets, &l->rest) || !filter_names(a, l->facets, &l->names))
        return fail(l, SYS_OVERLOADED);
    l->maps = arena_array(a, l->names.n, sizeof *l->maps);
    return l->maps == NULL ? fail(l, SYS_OVERLOADED) : fetch_facets(l);
}

static enum flow begin(struct listing *l)
{
    if (l->query.filter == NULL && (l->query.sort.n <= 1 || sort_by_creation(&l->query.sort)))
        return plain_page(l);
    return begin_facets(l);
}

static void found_parent(void *arg, enum code c, const struct redis_value *v)
{
    struct listing *l = arg;
    if (c != OK || redis_int(v, 0) == 0)
        fail(l, c != OK ? c : RES_NOT_FOUND);
    else
        begin(l);
}

/* What is below a parent is listed only where there is one. */
static enum flow begin_below(struct listing *l)
{
    struct request *r = l->r;
    char parent[ID_UUID];
    if (!id_is_uuid(r->params[0], parent))
        return fail(l, RES_NOT_FOUND);
    const struct filter *own = filter_equal(&r->arena, l->of->fields, l->of->parent_field, str_z(parent));
    if (own == NULL || !filter_and(&r->arena, own, l->query.filter, &l->query.filter))
        return fail(l, SYS_OVERLOADED);
    const struct space space = {r->caller.partition, r->caller.tenant};
    const struct store_command exists =
        STORE_COMMAND(S("EXISTS"), key_document(&r->arena, space, l->of->parent, str_z(parent)));
    enum code c = store_read(r->worker->store, &exists, 1, &r->ops, found_parent, l);
    return c == OK ? WAIT : fail(l, c);
}

/* To the environments in which the caller may see it. */
static bool confine(struct listing *l)
{
    struct request *r = l->r;
    struct scope_ids scope;
    struct faults faults;
    const struct filter *own;
    static const struct str nowhere = {.p = "00000000-0000-0000-0000-000000000000", .n = 36};
    if (!scope_take(r, &scope))
        return true;
    const struct field *row = scope_row(l->of->fields);
    faults_init(&faults, &r->arena);
    return row != NULL &&
           filter_parameter(&r->arena, l->of->fields, str_z(row->name), scope.n == 0 ? &nowhere : scope.ids,
                            scope.n == 0 ? 1 : scope.n, &faults, &own) &&
           faults.n == 0 && filter_and(&r->arena, own, l->query.filter, &l->query.filter);
}

enum flow list_reply(struct request *r, const struct resource *of, const struct filter *scope)
{
    struct listing *l = arena_new(&r->arena, struct listing);
    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    l->r = r;
    l->of = of;
    arena_init(&l->scratch, 0);
    enum code c =
        arena_defer(&r->arena, close_scratch, &l->scratch) ? list_query_parse(r, of, &l->query) : SYS_OVERLOADED;
    if (c == OK && (!filter_and(&r->arena, scope, l->query.filter, &l->query.filter) || !confine(l)))
        c = SYS_OVERLOADED;
    if (c != OK)
        return fail(l, c);
    return of->parent != NULL ? begin_below(l) : begin(l);
}

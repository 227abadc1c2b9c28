#include "server/shelf.h"

#include "server/list.h"

static bool put_page(struct json_out *o, const struct json *const *items, const struct sort_key *keys, size_t matched,
                     const struct page *page)
{
    int64_t first = (page->page - 1) * page->size;

    json_open(o, '[');
    for (int64_t i = first; i < first + page->size && i < (int64_t)matched; i++)
        json_put(o, items[keys[i].ordinal]);
    json_close(o, ']');
    return !o->b->failed;
}

enum flow shelf_reply(struct request *r, const struct resource *of, const struct json *const *items, size_t n)
{
    struct sort_key *keys = arena_array(&r->arena, n + 1, sizeof *keys);
    struct list_query query;
    struct json_out o;
    struct buf b;
    size_t matched = 0;
    enum code c = keys == NULL ? SYS_OVERLOADED : list_query_parse(r, of, &query);

    for (size_t i = 0; i < n && c == OK; i++) {
        if (!filter_match(query.filter, items[i]))
            continue;
        if (!sort_key(&r->arena, &query.sort, items[i], &keys[matched]))
            c = SYS_OVERLOADED;
        keys[matched++].ordinal = (int64_t)i;
    }
    if (c != OK)
        return reply_error(r, c);
    sort_keys(&query.sort, keys, matched);
    query.page.total = (int64_t)matched;
    buf_init_arena(&b, &r->arena, 1024);
    json_out_init(&o, &b);
    if (!put_page(&o, items, keys, matched, &query.page))
        return reply_error(r, SYS_OVERLOADED);
    return reply_list(r, buf_view(&b), &query.page);
}

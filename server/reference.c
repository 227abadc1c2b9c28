#include "server/reference.h"

#include "server/bitmap.h"
#include "server/dialect.h"
#include "server/store/page.h"
#include "server/worker.h"

#include <string.h>

static bool leads_to_one(const struct field *row)
{
    return row->ref != NULL || (row->type == FIELD_OBJECT && row->fields != NULL);
}

static size_t count(const struct field *rows, const struct json *json)
{
    size_t n = 0;
    for (const struct field *row = rows; row->name != NULL; row++) {
        if (!leads_to_one(row))
            continue;
        const struct json *v = json_get(json, row->name);
        if (row->ref == NULL)
            n += count(row->fields, v);
        else
            n += row->type == FIELD_LIST ? json_count(v) : 1;
    }
    return n;
}

static void add(struct references *out, const struct field *row, struct str path, const struct json *v)
{
    if (json_is(v, JSON_STRING))
        out->list[out->n++] = (struct reference){.row = row, .path = path, .id = json_str(v)};
}

static bool collect(struct arena *a, const struct field *rows, struct str prefix, const struct json *json,
                    struct references *out)
{
    for (const struct field *row = rows; row->name != NULL; row++) {
        const struct json *v = leads_to_one(row) ? json_get(json, row->name) : NULL;
        if (v == NULL)
            continue;
        struct str path = arena_printf(a, STR_FMT "%s%s", STR_ARG(prefix), prefix.n > 0 ? "." : "", row->name);
        if (path.p == NULL)
            return false;
        if (row->ref == NULL) {
            if (!collect(a, row->fields, path, v, out))
                return false;
        } else if (row->type == FIELD_LIST) {
            for (size_t i = 0; i < json_count(v); i++)
                add(out, row, arena_printf(a, STR_FMT "[%zu]", STR_ARG(path), i), json_at(v, i));
        } else {
            add(out, row, path, v);
        }
    }
    return true;
}

bool references_of(struct arena *a, const struct field *rows, const struct json *json, struct references *out)
{
    *out = (struct references){arena_array(a, count(rows, json) + 1, sizeof(struct reference)), 0};
    return out->list != NULL && collect(a, rows, S(""), json, out);
}

bool references_has(const struct references *all, const struct reference *one)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].row == one->row && str_eq(all->list[i].id, one->id))
            return true;
    return false;
}

struct use {
    struct commit *commit;
    struct arena *arena;
    struct space space;
    const char *kind, *user;
    struct str id;
};

static void expect_unused(const struct use *u, const struct field *rows, const char *prefix)
{
    for (const struct field *row = rows; row->name != NULL; row++) {
        struct str path = arena_printf(u->arena, "%s%s%s", prefix, *prefix != '\0' ? "." : "", row->name);
        if (row->type == FIELD_OBJECT && row->fields != NULL && path.p != NULL)
            expect_unused(u, row->fields, path.p);
        if (row->ref == NULL || (row->flags & FIELD_FILTER) == 0 || strcmp(row->ref, u->kind) != 0)
            continue;
        struct str facet = arena_printf(u->arena, STR_FMT "=" STR_FMT, STR_ARG(path), STR_ARG(u->id));
        struct str label = arena_printf(u->arena, "%s." STR_FMT, u->user, STR_ARG(path));
        commit_expect_absent(u->commit, RES_IN_USE, label.p == NULL ? "" : label.p,
                             facet.p == NULL ? STR_NONE : key_facet(u->arena, u->space, u->user, facet));
    }
}

void reference_expect_unused(struct commit *c, struct arena *a, struct space s, const char *kind, struct str id)
{
    for (size_t i = 0; dialects[i] != NULL; i++)
        for (const struct resource *const *r = dialects[i]->resources; *r != NULL; r++) {
            const struct use u = {c, a, s, kind, (*r)->kind, id};
            if ((*r)->fields != NULL)
                expect_unused(&u, (*r)->fields, "");
        }
}

/* Who uses a document. */

struct search {
    struct request *r;
    const struct resource *of;
    struct str facet; /* "<path>=<id>" */
    struct commit *pin;
    reference_then *then;
    struct arena *arena;
    int64_t ordinals[REFERENCE_USERS];
    size_t n;
    struct reference_users users;
};

static enum flow ask(struct search *x, struct page_query q, page_then *then)
{
    q.space = (struct space){x->r->caller.partition, x->r->caller.tenant};
    q.kind = x->of->kind;
    enum code c = store_page(x->r->worker->store, x->arena, &q, &x->r->ops, then, x);
    return c == OK ? WAIT : reply_error(x->r, c);
}

static void pin(struct search *x, const struct redis_value *chunks)
{
    const struct space space = {x->r->caller.partition, x->r->caller.tenant};
    struct str key = key_facet(x->arena, space, x->of->kind, x->facet);
    size_t n = chunks == NULL ? 0 : chunks->count / 2;
    if (n == 0)
        commit_expect_absent(x->pin, RES_VERSION_CONFLICT, "pin", key);
    else
        commit_expect_at_most(x->pin, RES_VERSION_CONFLICT, "pin", key, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        commit_expect_field(x->pin, RES_VERSION_CONFLICT, "pin", key, redis_text(redis_at(chunks, 2 * i)),
                            redis_text(redis_at(chunks, 2 * i + 1)));
}

static void got_users(void *arg, enum code c, const struct page_result *result)
{
    struct search *x = arg;
    struct page_item item;
    x->users.list = arena_array(x->arena, x->n, sizeof *x->users.list);
    if (c == OK && x->users.list == NULL)
        c = SYS_OVERLOADED;
    for (size_t i = 0; c == OK && page_item(result, i, &item); i++) {
        struct document d = {.id = item.id, .json = item.json, .schema = item.schema};
        const struct json *json = item.json.p == NULL ? NULL : document_parse(x->arena, x->of, &d, &c);
        if (json != NULL)
            x->users.list[x->users.n++] = json;
    }
    if (c != OK)
        reply_error(x->r, c);
    else
        x->then(x->r, &x->users);
}

static void got_facet(void *arg, enum code c, const struct page_result *result)
{
    struct search *x = arg;
    struct bitmap bits;
    if (c == OK && !bitmap_join(x->arena, redis_at(result->facets, 0), &bits))
        c = SYS_OVERLOADED;
    if (c != OK) {
        reply_error(x->r, c);
        return;
    }
    if (x->pin != NULL)
        pin(x, redis_at(result->facets, 0));
    x->n = bitmap_pick(&bits, false, 0, REFERENCE_USERS, x->ordinals);
    x->users.more = bitmap_count(&bits) > REFERENCE_USERS;
    if (x->n == 0)
        x->then(x->r, &x->users);
    else
        ask(x, (struct page_query){.source = PAGE_ORDINALS, .ordinals = x->ordinals, .n = x->n}, got_users);
}

enum flow reference_users(struct request *r, const struct resource *of, const char *path, struct str id,
                          struct commit *pinned, reference_then *then)
{
    struct search *x = arena_new(&r->arena, struct search);
    if (x == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *x = (struct search){.r = r, .of = of, .pin = pinned, .then = then, .arena = &r->arena};
    x->facet = arena_printf(x->arena, "%s=" STR_FMT, path, STR_ARG(id));
    return ask(x, (struct page_query){.source = PAGE_NONE, .facets = &x->facet, .facet_count = 1}, got_facet);
}

struct used {
    struct str field, kind;
};

static enum flow reply_used(struct request *r, const struct reference_users *users)
{
    enum { NAMED = 10 };
    struct buf b;
    struct json_out o;
    const struct used *u = r->state;
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("usedBy"));
    json_open(&o, '[');
    for (size_t i = 0; i < users->n && i < NAMED; i++) {
        json_open(&o, '{');
        json_key(&o, S("field"));
        json_put_str(&o, u->field);
        json_key(&o, S("id"));
        json_put(&o, json_get(users->list[i], "id"));
        json_key(&o, S("resource"));
        json_put_str(&o, u->kind);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    json_close(&o, '}');
    r->details = b.failed ? STR_NONE : buf_view(&b);
    request_refuse(r, RES_IN_USE, "%zu%s " STR_FMT "%s to it", users->n, users->more ? " or more" : "",
                   STR_ARG(u->kind), users->n == 1 ? " refers" : "s refer");
    return reply_error(r, RES_IN_USE);
}

enum flow reference_reply_used(struct request *r, struct str label, struct str id)
{
    struct used *u = arena_new(&r->arena, struct used);
    struct str field = label, kind = str_cut(&field, '.');
    const char *kind_z = arena_z(&r->arena, kind), *field_z = arena_z(&r->arena, field);
    const struct resource *of = kind_z == NULL ? NULL : resource_find(kind_z);
    if (u == NULL || of == NULL || field_z == NULL)
        return reply_error(r, RES_IN_USE);
    *u = (struct used){str_z(field_z), str_z(kind_z)};
    r->state = u;
    return reference_users(r, of, field_z, id, NULL, reply_used);
}

#include "server/crud.h"

#include "lib/id.h"
#include "proto/http.h"
#include "server/list.h"
#include "server/worker.h"

#include <string.h>

struct str crud_id(const struct request *r)
{
    return r->params[r->resource->parent != NULL ? 1 : 0];
}

struct str crud_location(struct request *r, struct str id)
{
    return ARENA_CAT(&r->arena, r->head->path, S("/"), id);
}

/* Reading one. */

struct reading {
    struct request *r;
    const struct resource *of;
    struct document d;
    document_then *then;
    bool parse; /* somebody looks into it */
    char id[ID_UUID];
};

/* A document below another is only found there. */
static bool is_below(const struct reading *x, const struct json *parsed)
{
    char parent[ID_UUID];
    if (x->of->parent == NULL || x->of != x->r->resource)
        return true;
    return id_is_uuid(x->r->params[0], parent) && str_eqz(json_str(json_get(parsed, x->of->parent_field)), parent);
}

/* A plain answer is spliced as it is stored, without a look into it. */
static bool is_looked_into(const struct reading *x)
{
    bool nested = x->of->parent != NULL && x->of == x->r->resource;
    return x->parse || nested || x->d.schema != document_schema(x->of);
}

static void read_one(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *x = arg;
    struct request *r = x->r;
    const struct json *parsed = NULL;
    if (c == OK && redis_is_nil(redis_at(v, 0)))
        c = RES_NOT_FOUND;
    if (c == OK) {
        struct str sealed = redis_text(redis_at(v, 4));
        x->d.json = arena_str(&r->arena, redis_text(redis_at(v, 0)));
        x->d.revision = redis_int(redis_at(v, 1), 0);
        x->d.schema = redis_int(redis_at(v, 2), 1);
        x->d.ordinal = redis_int(redis_at(v, 3), 0);
        x->d.sealed = sealed.p == NULL ? STR_NONE : arena_str(&r->arena, sealed);
        c = x->d.json.p == NULL ? SYS_OVERLOADED : OK;
    }
    if (c == OK && is_looked_into(x) && (parsed = document_parse(&r->arena, x->of, &x->d, &c)) != NULL &&
        !is_below(x, parsed))
        c = RES_NOT_FOUND;
    if (c != OK)
        reply_error(r, c);
    else
        x->then(r, &x->d, parsed);
}

static enum flow read_document(struct request *r, const struct resource *of, struct str id, bool parse,
                               document_then *then)
{
    struct reading *x = arena_new(&r->arena, struct reading);
    if (x == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (!id_is_uuid(id, x->id))
        return reply_error(r, RES_NOT_FOUND);
    x->r = r;
    x->of = of;
    x->then = then;
    x->parse = parse;
    x->d.id = str_z(x->id);
    struct str key = key_document(&r->arena, (struct space){r->caller.partition, r->caller.tenant}, of->kind, x->d.id);
    const struct store_command command = STORE_COMMAND(S("HMGET"), key, S("j"), S("r"), S("sv"), S("o"), S("s"));
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, read_one, x);
    return c == OK ? WAIT : reply_error(r, c);
}

enum flow crud_read(struct request *r, const struct resource *of, struct str id, document_then *then)
{
    return read_document(r, of, id, true, then);
}

/* Answering. */

struct answer {
    int status;
    struct document *list;
    size_t n;
    const struct page *page; /* NULL: one document */
};

static enum flow answer_one(struct request *r, const struct answer *a)
{
    struct str data = document_answer(&r->arena, &a->list[0]);
    if (data.p == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (a->list[0].live.n == 0) {
        r->answer.kind = r->resource->kind;
        r->answer.id = a->list[0].id;
    }
    if (a->status == 201)
        return reply_created(r, a->list[0].id, data, a->list[0].revision);
    return reply_document(r, a->status, data, a->list[0].revision);
}

static enum flow answer_list(struct request *r, const struct answer *a)
{
    struct buf b;
    size_t room = 2;
    for (size_t i = 0; i < a->n; i++)
        room += a->list[i].json.n + a->list[i].live.n + 2;
    buf_init_arena(&b, &r->arena, room);
    buf_char(&b, '[');
    for (size_t i = 0; i < a->n; i++) {
        struct str one = document_answer(&r->arena, &a->list[i]);
        if (i > 0)
            buf_char(&b, ',');
        buf_str(&b, one);
        b.failed = b.failed || one.p == NULL;
    }
    buf_char(&b, ']');
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_list(r, buf_view(&b), a->page);
}

enum flow crud_enriched(struct request *r)
{
    const struct answer *a = r->state;
    return a->page != NULL ? answer_list(r, a) : answer_one(r, a);
}

static enum flow answer(struct request *r, struct answer with)
{
    struct answer *a = arena_new(&r->arena, struct answer);
    if (a == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *a = with;
    r->state = a;
    if (r->resource->live == NULL || a->n == 0)
        return crud_enriched(r);
    enum flow flow = r->resource->live(r, a->list, a->n);
    return flow == NEXT ? crud_enriched(r) : flow;
}

enum flow crud_answer(struct request *r, int status, struct document *d)
{
    return answer(r, (struct answer){status, d, 1, NULL});
}

enum flow crud_answer_list(struct request *r, struct document *list, size_t n, const struct page *page)
{
    return answer(r, (struct answer){200, list, n, page});
}

static enum flow got(struct request *r, struct document *d, const struct json *parsed)
{
    (void)parsed;
    return crud_answer(r, 200, d);
}

enum flow crud_get(struct request *r)
{
    return read_document(r, r->resource, crud_id(r), false, got); /* spliced into its envelope as it is */
}

enum flow crud_list(struct request *r)
{
    return list_reply(r, r->resource, NULL);
}

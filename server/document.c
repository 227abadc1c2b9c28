#include "server/document.h"

#include "lib/clock.h"
#include "lib/keyring.h"
#include "lib/log.h"
#include "server/dialect.h"
#include "server/filter.h"
#include "server/sort.h"

#include <math.h>
#include <string.h>

static void overlay(struct overlays *o, const char *name, const struct json *value)
{
    size_t i = 0;
    const struct str wanted = str_z(name);
    while (i < o->n && !str_eq(o->list[i].name, wanted))
        i++;
    if (i == ARRAY_LEN(o->list)) {
        o->failed = true;
        return;
    }
    o->list[i] = (struct overlay){wanted, value};
    o->n += i == o->n;
}

/* A value that was made for it: none is a failure. */
static void overlay_made(struct overlays *o, const char *name, const struct json *value)
{
    o->failed = o->failed || value == NULL;
    overlay(o, name, value);
}

void overlay_raw(struct overlays *o, const char *name, struct str json)
{
    if (json.p == NULL)
        overlay(o, name, NULL);
    else
        overlay_made(o, name, document_json(o->arena, json, NULL));
}

void overlay_json(struct overlays *o, const char *name, const struct json *value)
{
    overlay_made(o, name, value != NULL ? value : json_new(o->arena, JSON_NULL));
}

void overlay_str(struct overlays *o, const char *name, struct str value)
{
    overlay_made(o, name, json_new_str(o->arena, value));
}

void overlay_int(struct overlays *o, const char *name, int64_t value)
{
    overlay_made(o, name, json_new_int(o->arena, value));
}

void overlay_time(struct overlays *o, const char *name, int64_t unix_ms)
{
    char text[CLOCK_TEXT];
    clock_text(unix_ms, text);
    overlay_str(o, name, str_z(text));
}

void overlay_bool(struct overlays *o, const char *name, bool value)
{
    overlay(o, name, json_new_bool(value));
}

void overlay_null(struct overlays *o, const char *name)
{
    overlay_json(o, name, NULL);
}

void overlay_drop(struct overlays *o, const char *name)
{
    overlay(o, name, NULL);
}

static const struct overlay *overlay_find(const struct overlays *o, const char *name)
{
    const struct str wanted = str_z(name);
    for (size_t i = 0; o != NULL && i < o->n; i++)
        if (str_eq(o->list[i].name, wanted))
            return &o->list[i];
    return NULL;
}

static bool stored(const struct field *row)
{
    return (row->flags & (FIELD_LIVE | FIELD_SECRET | FIELD_WRITEONLY)) == 0 && row->alias == NULL;
}

static bool has_secrets(const struct field *rows)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++)
        if ((row->flags & FIELD_SECRET) != 0 || (row->type == FIELD_OBJECT && has_secrets(row->fields)))
            return true;
    return false;
}

/* An object's value without its secrets. */
static void put_stored(struct json_out *o, const struct field *row, const struct json *v)
{
    if (row->type != FIELD_OBJECT || !json_is(v, JSON_OBJECT) || !has_secrets(row->fields)) {
        json_put(o, v);
        return;
    }
    const int *order = field_order(row->fields);
    json_open(o, '{');
    for (; order != NULL && *order >= 0; order++) {
        const struct field *inner = &row->fields[*order];
        const struct json *member = json_get(v, inner->name);
        if (member == NULL || !stored(inner))
            continue;
        json_key(o, str_z(inner->name));
        put_stored(o, inner, member);
    }
    json_close(o, '}');
    o->b->failed = o->b->failed || order == NULL;
}

const struct json *draft_member(const struct draft *d, const struct field *row)
{
    const struct overlay *over = overlay_find(d->over, row->name);
    if (over != NULL)
        return over->value;
    const struct json *v = json_get(d->whole, row->name);
    return v == NULL && (row->flags & FIELD_READONLY) != 0 ? json_get(d->old, row->name) : v;
}

static void render_member(struct json_out *o, const struct field *row, const struct draft *d)
{
    const struct json *v = draft_member(d, row);
    if (v == NULL && ((row->flags & FIELD_NULLABLE) == 0 || overlay_find(d->over, row->name) != NULL))
        return;
    json_key(o, str_z(row->name));
    put_stored(o, row, v);
}

struct str document_render(struct arena *a, const struct field *rows, const struct json *whole, const struct json *old,
                           const struct overlays *over)
{
    struct buf b;
    struct json_out o;
    const struct draft draft = {whole, old, over};
    const int *order = field_order(rows);

    if (order == NULL || (over != NULL && over->failed))
        return STR_NONE;
    buf_init_arena(&b, a, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (; *order >= 0; order++)
        if (stored(&rows[*order]))
            render_member(&o, &rows[*order], &draft);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

struct json *document_writable(struct arena *a, const struct field *rows, const struct json *document)
{
    struct json *out = json_new(a, JSON_OBJECT);
    for (const struct field *row = rows; row->name != NULL; row++) {
        struct json *v = json_get(document, row->name);
        if (v == NULL || !stored(row) || (row->flags & FIELD_READONLY) != 0)
            continue;
        if (!json_set(a, out, str_z(row->name), v))
            return NULL;
    }
    return out;
}

struct str document_answer(struct arena *a, const struct document *d)
{
    if (d->live.n == 0)
        return d->json;
    return arena_printf(a, STR_FMT "%s" STR_FMT "}", (int)d->json.n - 1, d->json.p, d->json.n > 2 ? "," : "",
                        STR_ARG(d->live));
}

/* Index. */

struct indexing {
    struct commit_index *index;
    struct arena *arena;
    struct str parent; /* id; STR_NONE without */
};

static void index_one_facet(struct indexing *x, struct str path, const struct json *value)
{
    struct facet f;
    if (path.p == NULL)
        index_facet(x->index, path, STR_NONE); /* fails the index */
    else if (filter_facet(x->arena, path, value, &f))
        index_facet(x->index, f.field, f.value);
}

static void index_facets(struct indexing *x, const struct field *row, struct str path, const struct json *value)
{
    if (row->type == FIELD_LIST) {
        for (size_t i = 0; i < json_count(value); i++)
            index_one_facet(x, path, json_at(value, i));
    } else if (row->type == FIELD_MAP) {
        for (struct json_iter it = json_members(value); json_next(&it);)
            index_one_facet(x, filter_map_path(x->arena, path, it.name), it.value);
    } else {
        index_one_facet(x, path, value);
    }
}

static void index_order(struct indexing *x, const struct field *row, const char *path, const struct json *value)
{
    int64_t ms;
    switch (row->type) {
    case FIELD_STRING:
    case FIELD_ENUM:
    case FIELD_UUID:
        index_text(x->index, path, json_is(value, JSON_STRING) ? json_str(value) : S(""));
        break;
    case FIELD_TIME:
        index_number(x->index, path, clock_parse(json_str(value), &ms) ? (double)ms : -INFINITY);
        break;
    case FIELD_BOOL:
        index_number(x->index, path, json_is(value, JSON_BOOL) ? json_bool(value, false) : -INFINITY);
        break;
    default:
        index_number(x->index, path, json_real(value, -INFINITY));
    }
}

static void index_unique_value(struct indexing *x, const struct field *row, const char *path, const struct json *value)
{
    struct str text = json_is(value, JSON_INT) ? arena_int(x->arena, json_int(value, 0)) : json_str(value);
    if (value == NULL || json_is(value, JSON_NULL))
        return;
    index_unique(x->index, RES_ALREADY_EXISTS, row->flags & FIELD_PER_PARENT ? x->parent : STR_NONE, path, text);
}

static bool is_indexed(const struct field *row)
{
    bool nested = row->type == FIELD_OBJECT && row->fields != NULL;
    return stored(row) && (nested || (row->flags & (FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE)) != 0);
}

/* "a.b", NUL-terminated; of the outermost rows the name itself. */
static struct str path_of(struct arena *a, struct str prefix, const char *name)
{
    struct buf b;
    if (prefix.n == 0)
        return str_z(name);
    buf_init_arena(&b, a, prefix.n + strlen(name) + 2);
    buf_str(&b, prefix);
    buf_char(&b, '.');
    buf_z(&b, name);
    buf_char(&b, '\0');
    return b.failed ? STR_NONE : str_slice(buf_view(&b), 0, b.n - 1);
}

static void index_rows(struct indexing *x, const struct field *rows, struct str prefix, const struct draft *d)
{
    for (const struct field *row = rows; row->name != NULL; row++) {
        if (!is_indexed(row))
            continue;
        const struct json *value = draft_member(d, row);
        struct str path = path_of(x->arena, prefix, row->name);
        if (row->type == FIELD_OBJECT && row->fields != NULL)
            index_rows(x, row->fields, path, &(struct draft){.whole = value});
        if (row->flags & FIELD_FILTER)
            index_facets(x, row, path, value);
        if (row->flags & FIELD_SORT && !sort_is_creation(path))
            index_order(x, row, path.p, value);
        if (row->flags & FIELD_UNIQUE)
            index_unique_value(x, row, path.p, value);
    }
}

void document_index_draft(struct commit_index *x, struct arena *a, const struct resource *of, const struct draft *d)
{
    struct indexing in = {x, a, STR_NONE};
    if (of->parent_field != NULL)
        in.parent = json_str(draft_member(d, field_find(of->fields, str_z(of->parent_field))));
    index_begin(x, a);
    index_facet(x, FILTER_EVERY.field, FILTER_EVERY.value);
    index_rows(&in, of->fields, S(""), d);
}

void document_index(struct commit_index *x, struct arena *a, const struct resource *of, const struct json *json)
{
    document_index_draft(x, a, of, &(struct draft){.whole = json});
}

/* Secrets. */

static struct str seal_context(struct arena *a, struct space s, const struct resource *of, struct str id)
{
    return arena_printf(a, STR_FMT ":%s:" STR_FMT ":secrets", STR_ARG(s.tenant), of->kind, STR_ARG(id));
}

struct json *document_unseal(struct arena *a, const struct keyring *k, struct space s, const struct resource *of,
                             struct str id, struct str sealed)
{
    struct buf plain;
    struct str context = seal_context(a, s, of, id);
    if (sealed.n == 0)
        return json_new(a, JSON_OBJECT);
    buf_init_arena(&plain, a, sealed.n);
    if (context.p != NULL && keyring_unseal(k, context, sealed, &plain, NULL))
        return json_parse(a, buf_view(&plain), NULL, NULL);
    log_error("document.sealed", "kind=%s id=" STR_FMT, of->kind, STR_ARG(id));
    return NULL;
}

/* What a patch says of secrets, those of objects in them as well: a tree of the same form with nothing else in it. */
static struct json *secrets_of(struct arena *a, const struct field *rows, const struct json *from)
{
    struct json *out = json_new(a, JSON_OBJECT);
    for (const struct field *row = rows; row->name != NULL; row++) {
        bool nested = row->type == FIELD_OBJECT && has_secrets(row->fields);
        struct json *v = (row->flags & FIELD_SECRET) != 0 || nested ? json_get(from, row->name) : NULL;
        if (nested && json_is(v, JSON_OBJECT)) {
            v = secrets_of(a, row->fields, v);
            if (v == NULL)
                return NULL;
            if (json_count(v) == 0)
                continue;
        }
        if (v != NULL && !json_set(a, out, str_z(row->name), v))
            return NULL;
    }
    return out;
}

struct str document_seal(struct arena *a, const struct keyring *k, struct space s, const struct resource *of,
                         struct str id, struct str sealed, const struct json *patch, bool *failed)
{
    struct buf plain, out;
    struct json *secrets = secrets_of(a, of->fields, patch);
    if (json_count(secrets) == 0) {
        *failed = secrets == NULL;
        return STR_NONE;
    }
    struct json *before = document_unseal(a, k, s, of, id, sealed);
    struct json *merged = before == NULL ? NULL : json_merge(a, before, secrets);
    struct str context = seal_context(a, s, of, id);
    buf_init_arena(&plain, a, 256);
    json_write(&plain, merged);
    buf_init_arena(&out, a, plain.n + 64);
    keyring_seal(k, context, buf_view(&plain), &out);
    *failed = merged == NULL || context.p == NULL || plain.failed || out.failed;
    return *failed ? STR_NONE : buf_view(&out);
}

/* Schemas. */

unsigned document_schema(const struct resource *of)
{
    return of->schema == 0 ? 1 : (unsigned)of->schema;
}

struct json *document_json(struct arena *a, struct str text, struct json_fault *fault)
{
    const struct json_limits limits = {.depth = 1024, .nodes = 10000000};
    return json_parse(a, text, &limits, fault);
}

static struct json *unreadable(const struct resource *of, const struct document *d, const char *why, enum code *code)
{
    log_error("document.unreadable", "kind=%s id=" STR_FMT " schema=%lld why=%s", of->kind, STR_ARG(d->id),
              (long long)d->schema, why);
    *code = SYS_INTERNAL;
    return NULL;
}

struct json *document_parse(struct arena *a, const struct resource *of, struct document *d, enum code *why)
{
    struct json_fault fault;

    if (d->schema > document_schema(of))
        return unreadable(of, d, "a newer schema", why);
    for (; d->schema < document_schema(of); d->schema++)
        if (of->upcast == NULL || !of->upcast(a, d))
            return unreadable(of, d, "no way up from its schema", why);
    struct json *json = document_json(a, d->json, &fault);
    if (json == NULL && !fault.exhausted)
        return unreadable(of, d, fault.message, why);
    if (json == NULL)
        *why = SYS_OVERLOADED;
    return json;
}

const struct resource *resource_find(const char *kind)
{
    for (size_t i = 0; dialects[i] != NULL; i++)
        for (const struct resource *const *r = dialects[i]->resources; *r != NULL; r++)
            if (strcmp((*r)->kind, kind) == 0)
                return *r;
    return NULL;
}

#include "server/scope.h"

#include "lib/id.h"
#include "server/document.h"
#include "server/worker.h"

#include <string.h>

enum { DOCUMENTS_MOST = 8 };

/* One question: the documents it is about, and the environments that are granted. One trip. */
struct asked {
    struct worker *worker;
    struct arena *arena;
    struct space space;
    struct str ids[SCOPE_MOST]; /* granted */
    size_t n;
    struct str names[SCOPE_MOST]; /* granted by name: ids once they are known */
    size_t name_count;
    struct {
        const struct resource *of;
        struct str id;
        bool in_path; /* 404 when it is not there */
    } documents[DOCUMENTS_MOST];
    size_t document_count;
    struct str named[DOCUMENTS_MOST]; /* environments that a body names */
    size_t named_count;
    bool too_much;
    scope_then *then;
    void *arg;
};

struct scope_mark { /* of a request */
    struct asked *asked;
    bool judged;
};

/* What is granted. */

static bool next_place(struct str *rest, const char *permission, struct str *where)
{
    while (rest->n > 0) {
        struct str what;
        if (permission_narrowed(str_cut(rest, ','), &what, where) && permission_covers(what, permission))
            return true;
    }
    return false;
}

bool scope_granted(const struct caller *c, const char *permission)
{
    struct str rest = c->narrowed, where;
    return next_place(&rest, permission, &where);
}

bool scope_may(const struct caller *c, const char *permission, struct str id, struct str name)
{
    char uuid[ID_UUID];
    struct str rest = c->narrowed, where;
    if (caller_may(c, permission))
        return true;
    while (next_place(&rest, permission, &where))
        if (id_is_uuid(where, uuid) ? str_eqz(id, uuid) : str_eq(where, name))
            return true;
    return false;
}

static struct asked *asked_new(struct worker *w, struct arena *a, const struct caller *c, const char *permission)
{
    struct asked *q = arena_new(a, struct asked);
    struct str rest = c->narrowed, where;
    if (q == NULL)
        return NULL;
    memset(q, 0, sizeof *q);
    q->worker = w;
    q->arena = a;
    q->space = (struct space){c->partition, c->tenant};
    while (q->n + q->name_count < SCOPE_MOST && next_place(&rest, permission, &where)) {
        char id[ID_UUID];
        if (!id_is_uuid(where, id))
            q->names[q->name_count++] = where;
        else if ((q->ids[q->n] = arena_str(a, str_z(id))).p == NULL)
            return NULL;
        else
            q->n++;
    }
    return q;
}

static bool is_granted(const struct asked *q, struct str environment)
{
    for (size_t i = 0; i < q->n; i++)
        if (str_eq(q->ids[i], environment))
            return true;
    return false;
}

/* What it is about. */

const struct field *scope_row(const struct field *rows)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++)
        if ((row->flags & FIELD_SCOPE) != 0)
            return row;
    return NULL;
}

/* The resource whose document the first id of a path names. */
static const struct resource *path_resource(const struct resource *of)
{
    const char *kind = of->below != NULL ? of->below : of->parent;
    return kind == NULL ? of : resource_find(kind);
}

bool scope_applies(const struct resource *of)
{
    const struct resource *named = path_resource(of);
    return scope_row(of->fields) != NULL || (named != NULL && scope_row(named->fields) != NULL);
}

static void add_document(struct asked *q, const struct resource *of, struct str id, bool in_path)
{
    if (q->document_count == DOCUMENTS_MOST)
        q->too_much = true;
    else {
        q->documents[q->document_count].of = of;
        q->documents[q->document_count].id = id;
        q->documents[q->document_count++].in_path = in_path;
    }
}

static void add_named(struct asked *q, const struct field *row, struct str id)
{
    const struct resource *of =
        row->ref == NULL || strcmp(row->ref, "environment") == 0 ? NULL : resource_find(row->ref);
    if (of != NULL)
        add_document(q, of, id, false);
    else if (q->named_count == DOCUMENTS_MOST)
        q->too_much = true;
    else
        q->named[q->named_count++] = id;
}

/* What the body, valid and normalised, names. */
static void read_body(struct asked *q, const struct field *rows, const struct json *body)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL && body != NULL; row++) {
        const struct json *value = json_get(body, row->name);
        if (row->type == FIELD_OBJECT && row->fields != NULL)
            read_body(q, row->fields, value);
        else if ((row->flags & FIELD_SCOPE) != 0 && json_is(value, JSON_STRING))
            add_named(q, row, json_str(value));
    }
}

/* The verdict. */

static struct str environment_of(struct asked *q, const struct resource *of, struct document *d, enum code *why)
{
    const struct field *row = scope_row(of->fields);
    const struct json *json = document_parse(q->arena, of, d, why);
    return json == NULL || row == NULL ? STR_NONE : json_str(json_get(json, row->name));
}

static enum code judge_document(struct asked *q, size_t i, const struct redis_value *v)
{
    enum code c = OK;
    struct document d = {.id = q->documents[i].id, .schema = redis_int(redis_at(v, 1), 1)};
    if (redis_is_nil(redis_at(v, 0)))
        return q->documents[i].in_path ? RES_NOT_FOUND : PERM_ENVIRONMENT_SCOPE;
    d.json = arena_str(q->arena, redis_text(redis_at(v, 0)));
    if (d.json.p == NULL)
        return SYS_OVERLOADED;
    struct str environment = environment_of(q, q->documents[i].of, &d, &c);
    return c != OK ? c : environment.n > 0 && is_granted(q, environment) ? OK : PERM_ENVIRONMENT_SCOPE;
}

static enum code take_names(struct asked *q, const struct redis_value *v)
{
    for (size_t i = 0; i < q->name_count; i++) {
        struct str id = redis_text(redis_at(v, i));
        if (id.p == NULL)
            continue; /* there is no environment of this name */
        if ((q->ids[q->n] = arena_str(q->arena, id)).p == NULL)
            return SYS_OVERLOADED;
        q->n++;
    }
    return OK;
}

static enum code judge(struct asked *q)
{
    for (size_t i = 0; i < q->named_count; i++)
        if (!is_granted(q, q->named[i]))
            return PERM_ENVIRONMENT_SCOPE;
    return q->too_much ? PERM_ENVIRONMENT_SCOPE : OK;
}

static void answered(void *arg, enum code c, const struct redis_value *v)
{
    struct asked *q = arg;
    size_t parts = q->document_count + (q->name_count > 0 ? 1 : 0);
    if (c == OK && q->name_count > 0)
        c = take_names(q, parts == 1 ? v : redis_at(v, parts - 1));
    for (size_t i = 0; c == OK && i < q->document_count; i++)
        c = judge_document(q, i, parts == 1 ? v : redis_at(v, i));
    q->then(q->arg, c == OK ? judge(q) : c);
}

/* OK: q->then runs later. */
static enum code ask(struct asked *q, struct ops *asker, scope_then *then, void *arg)
{
    struct store_command commands[DOCUMENTS_MOST + 1];
    struct str argv[DOCUMENTS_MOST][4], names[2 + SCOPE_MOST];
    size_t n = 0;
    q->then = then;
    q->arg = arg;
    for (; n < q->document_count; n++) {
        argv[n][0] = S("HMGET");
        argv[n][1] = key_document(q->arena, q->space, q->documents[n].of->kind, q->documents[n].id);
        argv[n][2] = S("j");
        argv[n][3] = S("sv");
        commands[n] = (struct store_command){4, argv[n]};
    }
    if (q->name_count > 0) {
        names[0] = S("HMGET");
        names[1] = key_unique(q->arena, q->space, "environment", STR_NONE, "name");
        memcpy(names + 2, q->names, q->name_count * sizeof *names);
        commands[n++] = (struct store_command){2 + q->name_count, names};
    }
    return store_read(q->worker->store, commands, n, asker, answered, q);
}

enum code scope_judge(struct worker *w, struct arena *a, const struct caller *c, const char *permission,
                      const char *kind, struct str id, struct ops *asker, scope_then *then, void *arg)
{
    const struct resource *of = resource_find(kind);
    struct asked *q = asked_new(w, a, c, permission);
    if (q == NULL)
        return SYS_OVERLOADED;
    if (of == NULL || scope_row(of->fields) == NULL)
        return PERM_DENIED;
    add_document(q, of, id, true);
    return ask(q, asker, then, arg);
}

struct finding {
    struct asked *asked;
    scope_found *then;
    void *arg;
};

static void found(void *arg, enum code c)
{
    const struct finding *f = arg;
    const struct scope_ids ids = {f->asked->ids, f->asked->n};
    f->then(f->arg, c, &ids);
}

/* Names of environments are asked for even when there are none, so that the answer is never inside the call. */
enum code scope_find(struct worker *w, struct arena *a, const struct caller *c, const char *permission,
                     struct ops *asker, scope_found *then, void *arg)
{
    struct asked *q = asked_new(w, a, c, permission);
    struct finding *f = arena_new(a, struct finding);
    if (q == NULL || f == NULL)
        return SYS_OVERLOADED;
    *f = (struct finding){q, then, arg};
    if (q->name_count == 0)
        q->names[q->name_count++] = S("-");
    return ask(q, asker, found, f);
}

/* Requests. */

bool scope_enter(struct request *r)
{
    if (!scope_granted(&r->caller, r->route->permission) || !scope_applies(r->resource))
        return false;
    r->scope = arena_new(&r->arena, struct scope_mark);
    if (r->scope != NULL)
        memset(r->scope, 0, sizeof *r->scope);
    return r->scope != NULL;
}

static enum flow refuse(struct request *r, enum code c)
{
    if (c != PERM_ENVIRONMENT_SCOPE)
        return reply_error(r, c);
    request_lacks(r, r->route->permission);
    request_refuse(r, c, "the permission %s is narrowed to other environments", r->route->permission);
    return reply_error(r, c);
}

static void judged(void *arg, enum code c)
{
    struct request *r = arg;
    if (c != OK)
        refuse(r, c);
    else
        request_resume(r);
}

static const struct field *body_rows(const struct request *r)
{
    return r->route->body != NULL ? r->route->body : r->resource->fields;
}

enum flow scope_step(struct request *r)
{
    char id[ID_UUID];
    if (r->scope == NULL)
        return NEXT;
    struct asked *q = asked_new(r->worker, &r->arena, &r->caller, r->route->permission);
    if (q == NULL)
        return reply_error(r, SYS_OVERLOADED);
    bool in_path = r->params[0].p != NULL;
    if (in_path && !id_is_uuid(r->params[0], id))
        return reply_error(r, RES_NOT_FOUND);
    const struct resource *named = path_resource(r->resource);
    if (in_path && (named == NULL || scope_row(named->fields) == NULL))
        return refuse(r, PERM_ENVIRONMENT_SCOPE);
    if (in_path)
        add_document(q, named, arena_str(&r->arena, str_z(id)), true);
    read_body(q, body_rows(r), r->json);
    if (!in_path && r->method != GET && r->method != HEAD && q->document_count + q->named_count == 0)
        return refuse(r, PERM_ENVIRONMENT_SCOPE); /* what belongs to no environment lies outside of each */
    r->scope->judged = q->document_count + q->named_count > 0;
    r->scope->asked = q;
    if (q->document_count == 0 && q->name_count == 0) {
        enum code c = judge(q);
        return c == OK ? NEXT : refuse(r, c);
    }
    enum code c = ask(q, &r->ops, judged, r);
    return c == OK ? WAIT : reply_error(r, c);
}

bool scope_take(struct request *r, struct scope_ids *out)
{
    if (r->scope == NULL || r->scope->judged)
        return false;
    r->scope->judged = true;
    *out = (struct scope_ids){r->scope->asked->ids, r->scope->asked->n};
    return true;
}

bool scope_open(const struct request *r)
{
    return r->scope != NULL && !r->scope->judged;
}

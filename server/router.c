#include "server/router.h"

#include "proto/http.h"
#include "server/permission.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry { /* one route under one path */
    const struct dialect *dialect;
    const struct resource *resource;
    const struct route *route;
};

struct node {
    struct str segment;           /* literal; .p NULL for a parameter and the root */
    struct node *children, *next; /* literals only */
    struct node *parameter;
    unsigned allow;
    struct entry *entries;
    size_t count;
};

struct router {
    struct arena arena;
    struct node root;
    struct entry *all; /* for the check of overlaps */
    size_t count;
};

static const struct {
    const char *name;
    enum method method;
} methods[] = {{"GET", GET},     {"HEAD", HEAD},     {"POST", POST},      {"PUT", PUT},
               {"PATCH", PATCH}, {"DELETE", DELETE}, {"OPTIONS", OPTIONS}};

enum method method_parse(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eqz(name, methods[i].name))
            return methods[i].method;
    return 0;
}

const char *method_name(enum method method)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (methods[i].method == method)
            return methods[i].name;
    return "?";
}

void method_list(struct buf *b, unsigned set)
{
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if ((set & methods[i].method) != 0) {
            buf_z(b, comma);
            buf_z(b, methods[i].name);
            comma = ", ";
        }
}

/* The next segment of a path that starts with a slash; false at its end. */
static bool next_segment(struct str *path, struct str *segment)
{
    if (path->n == 0 || path->p[0] != '/')
        return false;
    struct str rest = str_slice(*path, 1, path->n);
    ptrdiff_t slash = str_index(rest, '/');
    size_t n = slash < 0 ? rest.n : (size_t)slash;
    *segment = str_slice(rest, 0, n);
    *path = str_slice(rest, n, rest.n);
    return true;
}

static bool is_parameter(struct str segment)
{
    return segment.n > 2 && segment.p[0] == '{';
}

/* Base and path of a row, walked as one. */
struct walk {
    struct str part, then;
};

static struct walk walk_of(const struct entry *e)
{
    return (struct walk){str_z(e->dialect->base), str_z(e->route->path)};
}

static bool walk_next(struct walk *w, struct str *segment)
{
    if (next_segment(&w->part, segment))
        return true;
    w->part = w->then;
    w->then = STR_NONE;
    return next_segment(&w->part, segment);
}

/* Whether one request could match both rows. */
static bool overlap(const struct entry *a, const struct entry *b)
{
    struct walk wa = walk_of(a), wb = walk_of(b);
    struct str sa, sb;
    if ((a->route->method & b->route->method) == 0)
        return false;
    for (;;) {
        bool more_a = walk_next(&wa, &sa), more_b = walk_next(&wb, &sb);
        if (!more_a || !more_b)
            return more_a == more_b;
        if (!is_parameter(sa) && !is_parameter(sb) && !str_eq(sa, sb))
            return false;
    }
}

static struct node *child_of(struct router *r, struct node *n, struct str segment)
{
    struct node **at = is_parameter(segment) ? &n->parameter : &n->children;
    while (*at != NULL && !is_parameter(segment) && !str_eq((*at)->segment, segment))
        at = &(*at)->next;
    if (*at == NULL && (*at = arena_new(&r->arena, struct node)) != NULL && !is_parameter(segment))
        (*at)->segment = segment;
    return *at;
}

/* What is wrong with a row by itself; NULL when nothing is. */
static const char *fault_of(const struct entry *e)
{
    struct walk w = walk_of(e);
    struct str segment;
    unsigned params = 0, segments = 0;
    const char *permission = e->route->permission;
    while (walk_next(&w, &segment)) {
        segments++;
        params += is_parameter(segment);
    }
    return e->route->handle == NULL                               ? "has no handler"
           : params > ROUTER_PARAMS || segments > ROUTER_SEGMENTS ? "has too many segments"
           : (permission == NULL) != ((e->route->flags & (ROUTE_PUBLIC | ROUTE_ANYONE)) != 0)
               ? "needs a permission, ROUTE_ANYONE or ROUTE_PUBLIC"
           : permission != NULL && permission_find(str_z(permission)) < 0 ? "names an unknown permission"
                                                                          : NULL;
}

static bool insert(struct router *r, const struct entry *e, char error[256])
{
    const char *why = fault_of(e);
    if (why != NULL) {
        snprintf(error, 256, "route %s%s %s", e->dialect->base, e->route->path, why);
        return false;
    }
    for (size_t i = 0; i < r->count; i++)
        if (overlap(&r->all[i], e)) {
            snprintf(error, 256, "routes %s%s and %s%s match the same requests", r->all[i].dialect->base,
                     r->all[i].route->path, e->dialect->base, e->route->path);
            return false;
        }
    struct walk w = walk_of(e);
    struct str segment;
    struct node *n = &r->root;
    while (n != NULL && walk_next(&w, &segment))
        n = child_of(r, n, segment);
    struct entry *entries = n == NULL ? NULL : arena_array(&r->arena, n->count + 1, sizeof *entries);
    if (entries == NULL) {
        snprintf(error, 256, "out of memory");
        return false;
    }
    if (n->count > 0)
        memcpy(entries, n->entries, n->count * sizeof *entries);
    entries[n->count++] = *e;
    n->entries = entries;
    n->allow |= e->route->method | OPTIONS | ((e->route->method & GET) != 0 ? HEAD : 0U);
    r->all[r->count++] = *e;
    return true;
}

static size_t count_routes(const struct dialect *const *all)
{
    size_t n = 0;
    for (; *all != NULL; all++)
        for (const struct resource *const *res = (*all)->resources; *res != NULL; res++)
            for (const struct route *route = (*res)->routes; route != NULL && route->path != NULL; route++)
                n++;
    return n;
}

struct router *router_new(const struct dialect *const *all, char error[256])
{
    struct router *r = calloc(1, sizeof *r);
    if (r != NULL) {
        arena_init(&r->arena, 0);
        r->all = arena_array(&r->arena, count_routes(all) + 1, sizeof *r->all);
    }
    if (r == NULL || r->all == NULL) {
        snprintf(error, 256, "out of memory");
        router_free(r);
        return NULL;
    }
    for (; *all != NULL; all++)
        for (const struct resource *const *res = (*all)->resources; *res != NULL; res++)
            for (const struct route *route = (*res)->routes; route != NULL && route->path != NULL; route++)
                if (!insert(r, &(struct entry){*all, *res, route}, error)) {
                    router_free(r);
                    return NULL;
                }
    return r;
}

void router_free(struct router *r)
{
    if (r == NULL)
        return;
    arena_fini(&r->arena);
    free(r);
}

static const struct node *literal_of(const struct node *n, struct str segment)
{
    for (const struct node *c = n->children; c != NULL; c = c->next)
        if (str_eq(c->segment, segment))
            return c;
    return NULL;
}

/* Literals first; goes back to the parameter when the literal leads nowhere. Depth is bounded by ROUTER_SEGMENTS. */
static const struct node *walk(const struct node *n, const struct str *segments, size_t count, struct str *params,
                               size_t used)
{
    if (count == 0)
        return n->allow != 0 ? n : NULL;
    const struct node *literal = literal_of(n, segments[0]);
    const struct node *found = literal == NULL ? NULL : walk(literal, segments + 1, count - 1, params, used);
    if (found != NULL || n->parameter == NULL || segments[0].n == 0 || used == ROUTER_PARAMS)
        return found;
    params[used] = segments[0];
    return walk(n->parameter, segments + 1, count - 1, params, used + 1);
}

/* A segment that does not decode names nothing: STR_NONE. */
static bool decode(struct arena *a, struct str *segment)
{
    struct buf b;
    if (str_index(*segment, '%') < 0)
        return true;
    buf_init_arena(&b, a, segment->n);
    *segment = http_segment(&b, *segment) ? buf_view(&b) : STR_NONE;
    return !b.failed;
}

bool router_find(const struct router *r, struct arena *a, enum method method, struct str path, struct router_match *out)
{
    struct str segments[ROUTER_SEGMENTS], rest = path;
    size_t count = 0;
    *out = (struct router_match){0};
    while (count < ROUTER_SEGMENTS && next_segment(&rest, &segments[count]))
        count++;
    const struct node *n = rest.n > 0 ? NULL : walk(&r->root, segments, count, out->params, 0);
    if (n == NULL)
        return true;
    out->allow = n->allow;
    for (size_t i = 0; i < n->count; i++) {
        const struct entry *e = &n->entries[i];
        if ((e->route->method & method) == 0 && !(method == HEAD && (e->route->method & GET) != 0))
            continue;
        out->route = e->route;
        out->resource = e->resource;
    }
    for (size_t i = 0; i < ROUTER_PARAMS; i++)
        if (!decode(a, &out->params[i]))
            return false;
    return true;
}

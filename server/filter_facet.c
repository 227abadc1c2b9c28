#include "server/filter_node.h"

#include "lib/crypto.h"

#include <string.h>

struct str filter_map_path(struct arena *a, struct str map, struct str name)
{
    struct buf b;
    buf_init_arena(&b, a, map.n + name.n + 8);
    buf_str(&b, map);
    buf_char(&b, '.');
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '%' || name.p[i] == '=' || name.p[i] == '!')
            buf_printf(&b, "%%%02X", (unsigned)(unsigned char)name.p[i]);
        else
            buf_char(&b, name.p[i]);
    return b.failed ? STR_NONE : buf_view(&b);
}

static struct str text_value(struct arena *a, struct str s)
{
    uint8_t hash[CRYPTO_HASH];
    struct buf b;
    if (s.n <= FILTER_FACET_MAX && (s.n == 0 || s.p[0] != '~'))
        return s;
    crypto_sha256(s, hash);
    buf_init_arena(&b, a, 2 * sizeof hash + 1);
    buf_char(&b, '~');
    buf_hex(&b, hash, sizeof hash);
    return b.failed ? STR_NONE : buf_view(&b);
}

bool filter_facet(struct arena *a, struct str path, const struct json *value, struct facet *out)
{
    *out = (struct facet){path, STR_NONE};
    switch (json_type(value)) {
    case JSON_ABSENT:
    case JSON_NULL:
        *out = (struct facet){arena_printf(a, STR_FMT "!", STR_ARG(path)), S("")};
        return out->field.p != NULL;
    case JSON_BOOL:
        out->value = json_bool(value, false) ? S("true") : S("false");
        break;
    case JSON_INT:
        out->value = arena_int(a, json_int(value, 0));
        break;
    case JSON_STRING:
        out->value = text_value(a, json_str(value));
        break;
    default:
        break;
    }
    return out->value.p != NULL && path.p != NULL;
}

/* Rows whose equality with `value` is a facet. Numbers that are no integers have none, and neither has the absence of a
 * list or of a map's member: those are not enumerated. */
static bool has_facet(const struct filter *f)
{
    if (f->op != OP_EQ || (f->row->flags & FIELD_FILTER) == 0)
        return false;
    if (json_is(f->value, JSON_NULL))
        return f->row->type != FIELD_LIST && f->row->type != FIELD_MAP && f->row->type != FIELD_OBJECT;
    return !json_is(f->value, JSON_REAL);
}

static bool facets_only(const struct filter *f)
{
    if (f->kind == FILTER_LEAF)
        return has_facet(f);
    for (size_t i = 0; i < f->n; i++)
        if (!facets_only(f->of[i]))
            return false;
    return true;
}

bool filter_split(struct arena *a, const struct filter *f, const struct filter **facets, const struct filter **rest)
{
    *facets = *rest = NULL;
    if (f == NULL)
        return true;
    if (f->kind != FILTER_AND || facets_only(f)) {
        *(facets_only(f) ? facets : rest) = f;
        return true;
    }
    for (size_t i = 0; i < f->n; i++) {
        const struct filter *x, *y;
        if (!filter_split(a, f->of[i], &x, &y) || !filter_and(a, *facets, x, facets) || !filter_and(a, *rest, y, rest))
            return false;
    }
    return true;
}

static struct str leaf_name(struct arena *a, const struct filter *f)
{
    struct facet facet;
    struct str path = f->name.p == NULL ? f->path : filter_map_path(a, f->path, f->name);
    if (path.p == NULL || !filter_facet(a, path, f->value, &facet))
        return STR_NONE;
    return arena_printf(a, STR_FMT "=" STR_FMT, STR_ARG(facet.field), STR_ARG(facet.value));
}

static size_t find_name(const struct filter_names *names, struct str name)
{
    size_t i = 0;
    while (i < names->n && !str_eq(names->list[i], name))
        i++;
    return i;
}

static size_t count_leaves(const struct filter *f)
{
    size_t n = 1;
    for (size_t i = 0; i < f->n; i++)
        n += count_leaves(f->of[i]);
    return n;
}

static bool collect(struct arena *a, const struct filter *f, struct filter_names *out)
{
    struct str name = STR_NONE;
    if (f->kind == FILTER_LEAF) {
        name = leaf_name(a, f);
        if (name.p == NULL)
            return false;
    } else if (f->kind == FILTER_NOT || (f->kind == FILTER_AND && f->n == 0)) {
        name = S("*=");
    }
    if (name.p != NULL && find_name(out, name) == out->n)
        out->list[out->n++] = name;
    for (size_t i = 0; i < f->n; i++)
        if (!collect(a, f->of[i], out))
            return false;
    return true;
}

bool filter_names(struct arena *a, const struct filter *facets, struct filter_names *out)
{
    *out = (struct filter_names){arena_array(a, facets == NULL ? 1 : count_leaves(facets), sizeof(struct str)), 0};
    if (out->list == NULL)
        return false;
    if (facets != NULL)
        return collect(a, facets, out);
    out->list[out->n++] = S("*=");
    return true;
}

struct algebra {
    struct arena *arena;
    const struct filter_names *names;
    const struct bitmap *maps;
};

/* A bitmap on the way: the caller's as long as nothing changes it. */
struct working {
    struct bitmap bits;
    bool own;
};

static bool duplicate(struct arena *a, struct working *w)
{
    if (w->own)
        return true;
    uint64_t *words = arena_array(a, w->bits.n == 0 ? 1 : w->bits.n, sizeof(uint64_t));
    if (words == NULL)
        return false;
    if (w->bits.n > 0)
        memcpy(words, w->bits.words, w->bits.n * sizeof(uint64_t));
    *w = (struct working){{words, w->bits.n}, true};
    return true;
}

static struct working named(const struct algebra *x, struct str name)
{
    size_t i = find_name(x->names, name);
    return (struct working){i == x->names->n ? (struct bitmap){NULL, 0} : x->maps[i], false};
}

static bool intersect(struct arena *a, struct working *into, const struct working *with)
{
    if (!duplicate(a, into))
        return false;
    if (into->bits.n > with->bits.n)
        into->bits.n = with->bits.n;
    for (size_t i = 0; i < into->bits.n; i++)
        into->bits.words[i] &= with->bits.words[i];
    return true;
}

static bool subtract(struct arena *a, struct working *from, const struct working *what)
{
    if (!duplicate(a, from))
        return false;
    for (size_t i = 0; i < from->bits.n && i < what->bits.n; i++)
        from->bits.words[i] &= ~what->bits.words[i];
    return true;
}

static bool unite(struct arena *a, struct working *into, struct working *with)
{
    struct working longer = *into, shorter = *with;
    if (longer.bits.n < shorter.bits.n) {
        longer = *with;
        shorter = *into;
    }
    if (!duplicate(a, &longer))
        return false;
    for (size_t i = 0; i < shorter.bits.n; i++)
        longer.bits.words[i] |= shorter.bits.words[i];
    *into = longer;
    return true;
}

static bool compute(const struct algebra *x, const struct filter *f, struct working *out)
{
    struct working one;

    if (f->kind == FILTER_LEAF) {
        struct str name = leaf_name(x->arena, f);
        *out = named(x, name);
        return name.p != NULL;
    }
    if (f->kind == FILTER_NOT) {
        *out = named(x, S("*="));
        return compute(x, f->of[0], &one) && subtract(x->arena, out, &one);
    }
    *out = f->kind == FILTER_AND ? named(x, S("*=")) : (struct working){{NULL, 0}, false};
    for (size_t i = 0; i < f->n; i++) {
        if (!compute(x, f->of[i], &one))
            return false;
        if (i == 0)
            *out = one;
        else if (f->kind == FILTER_AND ? !intersect(x->arena, out, &one) : !unite(x->arena, out, &one))
            return false;
    }
    return true;
}

bool filter_bitmap(struct arena *a, const struct filter *facets, const struct filter_names *names,
                   const struct bitmap *maps, struct bitmap *out)
{
    struct algebra x = {a, names, maps};
    struct working w;
    if (facets == NULL)
        w = named(&x, S("*="));
    else if (!compute(&x, facets, &w))
        return false;
    if (!duplicate(a, &w))
        return false;
    *out = w.bits;
    return true;
}

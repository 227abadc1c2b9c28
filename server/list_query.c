#include "server/list.h"

#include "proto/query.h"
#include "server/dialect.h"

static bool is_pager(const struct dialect *d, struct str name)
{
    return str_eqz(name, d->page) || str_eqz(name, d->page_size) || str_eqz(name, d->sort) || str_eqz(name, d->filter);
}

bool list_parameter(const struct dialect *d, const struct resource *of, struct str name)
{
    return is_pager(d, name) || filter_is_parameter(of->fields, name);
}

static void parse_number(struct request *r, struct faults *faults, const char *name, int64_t max, int64_t *out)
{
    int64_t n;
    struct str text = query_get(r->query, str_z(name));
    if (text.p == NULL)
        return;
    if (query_count(r->query, str_z(name)) == 1 && str_i64(text, &n) && n >= 1 && n <= max)
        *out = n;
    else
        fault_add(faults, arena_printf(&r->arena, "query.%s", name), "VAL_OUT_OF_RANGE",
                  "must be one whole number between 1 and %lld", (long long)max);
}

static bool once(struct request *r, struct faults *faults, const char *name)
{
    if (query_count(r->query, str_z(name)) <= 1)
        return true;
    fault_add(faults, arena_printf(&r->arena, "query.%s", name), "VAL_INVALID_FORMAT", "is given more than once");
    return false;
}

/* Every value of a parameter, at its first place. */
static const struct str *values_of(struct request *r, size_t first, size_t *n)
{
    const struct query *q = r->query;
    struct str *values = arena_array(&r->arena, q->n, sizeof *values);
    *n = 0;
    for (size_t i = 0; i < q->n && values != NULL; i++) {
        if (!str_eq(q->params[i].name, q->params[first].name))
            continue;
        if (i < first)
            return NULL; /* was read there */
        values[(*n)++] = q->params[i].value;
    }
    return values;
}

static bool parse_named(struct request *r, const struct resource *of, struct faults *faults, struct list_query *out)
{
    const struct query *q = r->query;
    for (size_t i = 0; i < q->n; i++) {
        const struct filter *one;
        size_t n;
        struct str name = q->params[i].name;
        if (!filter_is_parameter(of->fields, name) ||
            (r->route->query != NULL && field_find(r->route->query, name) != NULL))
            continue;
        const struct str *values = values_of(r, i, &n);
        if (values == NULL)
            continue;
        size_t before = faults->n;
        if (filter_parameter(&r->arena, of->fields, name, values, n, faults, &one)) {
            if (!filter_and(&r->arena, out->filter, one, &out->filter))
                return false;
        } else if (faults->n == before) {
            return false;
        }
    }
    return true;
}

static bool parse(struct request *r, const struct resource *of, struct faults *faults, struct list_query *out)
{
    const struct dialect *d = r->dialect;
    struct str sort = query_get(r->query, str_z(d->sort));
    if (sort.p == NULL)
        sort = str_z(of->sort == NULL ? "-createdAt" : of->sort);
    *out = (struct list_query){.page = {1, d->page_size_preset, 0}};
    parse_number(r, faults, d->page, LIST_PAGE_MAX, &out->page.page);
    parse_number(r, faults, d->page_size, d->page_size_max, &out->page.size);
    if (once(r, faults, d->sort))
        sort_parse(&r->arena, of->fields, sort, d->sort, faults, &out->sort);
    size_t before = faults->n;
    if (once(r, faults, d->filter) &&
        !filter_parse(&r->arena, of->fields, query_get(r->query, str_z(d->filter)), faults, &out->filter) &&
        faults->n == before)
        return false;
    return parse_named(r, of, faults, out);
}

bool list_query_check(struct request *r, const struct resource *of, struct faults *faults)
{
    struct list_query query;
    return parse(r, of, faults, &query);
}

enum code list_query_parse(struct request *r, const struct resource *of, struct list_query *out)
{
    struct faults *faults = r->faults != NULL ? r->faults : arena_new(&r->arena, struct faults);
    if (faults == NULL)
        return SYS_OVERLOADED;
    if (r->faults == NULL)
        faults_init(faults, &r->arena);
    r->faults = faults;
    if (!parse(r, of, faults, out))
        return SYS_OVERLOADED;
    return faults->n == 0 ? OK : request_refuse(r, VAL_FAILED, "the query has faults");
}

#include "server/sort.h"

#include <stdlib.h>

static bool sortable(const struct field *row)
{
    return row != NULL && (row->flags & FIELD_SORT) != 0;
}

/* "a, b, c" */
static struct str sortable_names(struct arena *a, const struct field *rows)
{
    struct buf b;
    buf_init_arena(&b, a, 128);
    for (const struct field *row = rows; row->name != NULL; row++)
        if (sortable(row)) {
            buf_z(&b, b.n > 0 ? ", " : "");
            buf_z(&b, row->name);
        }
    return buf_view(&b);
}

bool sort_parse(struct arena *a, const struct field *rows, struct str text, const char *parameter,
                struct faults *faults, struct sort *out)
{
    struct str place = arena_printf(a, "query.%s", parameter);

    out->n = 0;
    for (struct str rest = text; rest.p != NULL;) {
        struct str name = str_cut(&rest, ',');
        bool descending = name.n > 0 && name.p[0] == '-';
        name = str_slice(name, descending, name.n);
        const struct field *row = field_find(rows, name);
        if (out->n == SORT_FIELDS) {
            fault_add(faults, place, "VAL_INVALID_SORT", "names more than %d fields", SORT_FIELDS);
            return false;
        }
        if (!sortable(row)) {
            fault_add(faults, place, "VAL_INVALID_SORT", "\"" STR_FMT "\" is none of: " STR_FMT,
                      STR_ARG(str_slice(name, 0, 100)), STR_ARG(sortable_names(a, rows)));
            return false;
        }
        out->by[out->n].row = row;
        out->by[out->n].path = name;
        out->by[out->n++].descending = descending;
    }
    return true;
}

bool sort_is_creation(struct str path)
{
    return str_eqz(path, "createdAt") || str_eqz(path, "created_at");
}

bool sort_by_creation(const struct sort *s)
{
    return s->n == 0 || sort_is_creation(s->by[0].path); /* no two documents have the same ordinal */
}

bool sort_key(struct arena *a, const struct sort *s, const struct json *document, struct sort_key *out)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct json *v = json_path(document, s->by[i].path);
        struct sort_value *value = &out->values[i];
        *value = (struct sort_value){.type = JSON_NULL};
        switch (json_type(v)) {
        case JSON_BOOL:
            *value = (struct sort_value){JSON_REAL, json_bool(v, false), STR_NONE};
            break;
        case JSON_INT:
        case JSON_REAL:
            *value = (struct sort_value){JSON_REAL, json_real(v, 0), STR_NONE};
            break;
        case JSON_STRING:
            *value = (struct sort_value){JSON_STRING, 0, arena_str(a, json_str(v))};
            if (value->text.p == NULL)
                return false;
            break;
        default:
            break;
        }
    }
    return true;
}

static int compare_values(const struct sort_value *x, const struct sort_value *y)
{
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    if (x->type == JSON_STRING)
        return str_cmp(x->text, y->text);
    return (x->number > y->number) - (x->number < y->number);
}

int sort_compare(const struct sort *s, const struct sort_key *a, const struct sort_key *b)
{
    for (size_t i = 0; i < s->n; i++) {
        int c = sort_is_creation(s->by[i].path) ? (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal)
                                                : compare_values(&a->values[i], &b->values[i]);
        if (c != 0)
            return s->by[i].descending ? -c : c;
    }
    int c = str_cmp(a->id, b->id);
    return s->n > 0 && s->by[s->n - 1].descending ? -c : c;
}

static int compare(const void *a, const void *b, void *s)
{
    return sort_compare(s, a, b);
}

void sort_keys(const struct sort *s, struct sort_key *keys, size_t n)
{
    struct sort copy = *s;
    qsort_r(keys, n, sizeof *keys, compare, &copy);
}

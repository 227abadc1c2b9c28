#include "server/filter.h"
#include "server/filter_node.h"

#include "lib/clock.h"
#include "lib/id.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    struct arena *arena;
    const struct field *rows;
    struct faults *faults;
    unsigned leaves;
    bool failed; /* memory ran out */
};

/* Where a fault is: "filter", "filter.$or[1].status". */
#define FAULT(p, at, ...) fault_add((p)->faults, at, "VAL_INVALID_FILTER", __VA_ARGS__)

static struct str under(struct parser *p, struct str at, struct str name)
{
    struct str path = arena_printf(p->arena, STR_FMT "." STR_FMT, STR_ARG(at), STR_ARG(name));
    p->failed = p->failed || path.p == NULL;
    return path;
}

static struct filter *node(struct parser *p, enum filter_kind kind, size_t room)
{
    struct filter *f = arena_new(p->arena, struct filter);
    if (f != NULL) {
        f->kind = kind;
        f->of = arena_array(p->arena, room == 0 ? 1 : room, sizeof(struct filter *));
    }
    if (f != NULL && f->of != NULL)
        return f;
    p->failed = true;
    return NULL;
}

static struct filter *negation(struct parser *p, const struct filter *of)
{
    struct filter *f = of == NULL ? NULL : node(p, FILTER_NOT, 1);
    if (f != NULL)
        f->of[f->n++] = of;
    return f;
}

const struct field *filter_field(const struct field *rows, struct str name)
{
    const struct field *row = field_find(rows, name);
    if (row == NULL || (row->flags & (FIELD_FILTER | FIELD_SORT | FIELD_SEARCH)) == 0 ||
        (row->flags & (FIELD_LIVE | FIELD_SECRET)) != 0)
        return NULL;
    return row;
}

static enum field_type scalar_type(const struct field *row)
{
    return row->type == FIELD_LIST || row->type == FIELD_MAP ? row->item : row->type;
}

static const char *type_words(enum field_type type)
{
    static const char *const words[] = {
        [FIELD_STRING] = "a string", [FIELD_INT] = "a number", [FIELD_NUMBER] = "a number",
        [FIELD_BOOL] = "a boolean",  [FIELD_UUID] = "a UUID",  [FIELD_TIME] = "an RFC 3339 time",
        [FIELD_ENUM] = "a string",   [FIELD_ANY] = "a scalar",
    };
    return (size_t)type < ARRAY_LEN(words) && words[type] != NULL ? words[type] : "null";
}

static bool chosen(const char *const *choices, struct str s)
{
    for (; choices != NULL && *choices != NULL; choices++)
        if (str_eqz(s, *choices))
            return true;
    return false;
}

/* The value as documents have it; NULL with `code` when the type is another, with `code` NULL when memory ran out. */
static const struct json *normal(struct arena *a, const struct field *row, const struct json *v, const char **code)
{
    char text[ID_UUID];
    int64_t ms;
    bool number = json_is(v, JSON_INT) || json_is(v, JSON_REAL), string = json_is(v, JSON_STRING);

    *code = "VAL_INVALID_TYPE";
    switch (scalar_type(row)) {
    case FIELD_STRING:
        return string ? v : NULL;
    case FIELD_INT:
    case FIELD_NUMBER:
        return number ? v : NULL;
    case FIELD_BOOL:
        return json_is(v, JSON_BOOL) ? v : NULL;
    case FIELD_ANY:
        return string || number || json_is(v, JSON_BOOL) ? v : NULL;
    case FIELD_ENUM:
        if (string)
            *code = "VAL_INVALID_ENUM";
        return string && chosen(row->choices, json_str(v)) ? v : NULL;
    case FIELD_UUID:
        if (string)
            *code = "VAL_INVALID_FORMAT";
        if (!string || !id_is_uuid(json_str(v), text))
            return NULL;
        break;
    case FIELD_TIME:
        if (string)
            *code = "VAL_INVALID_FORMAT";
        if (!string || !clock_parse(json_str(v), &ms))
            return NULL;
        clock_text(ms, text);
        break;
    default:
        return NULL;
    }
    *code = NULL;
    return json_new_str(a, str_z(text));
}

/* Behind a map's own path: the name of its member. STR_NONE for the map as a whole, and for what is no map. */
static struct str map_member(const struct field *rows, const struct field *row, struct str path)
{
    const struct field *at = NULL;
    while (row->type == FIELD_MAP && at != row && rows != NULL) {
        at = field_find(rows, str_cut(&path, '.'));
        rows = at == NULL ? NULL : at->fields;
    }
    return at == row ? path : STR_NONE;
}

static struct filter *leaf(struct parser *p, const struct field *row, struct str path, enum filter_op op,
                           const struct json *value)
{
    struct filter *f = node(p, FILTER_LEAF, 0);
    if (f == NULL)
        return NULL;
    f->op = op;
    f->row = row;
    f->value = value;
    f->name = map_member(p->rows, row, path);
    f->path = f->name.p == NULL ? path : str_slice(path, 0, (size_t)(f->name.p - path.p) - 1);
    p->failed = p->failed || value == NULL;
    return f;
}

static const struct filter *equal_null(struct parser *p, const struct field *row, struct str path)
{
    return leaf(p, row, path, OP_EQ, json_new(p->arena, JSON_NULL));
}

static bool is_container(const struct field *rows, const struct field *row, struct str path)
{
    return row->type == FIELD_OBJECT || (row->type == FIELD_MAP && map_member(rows, row, path).p == NULL);
}

bool filter_is_parameter(const struct field *rows, struct str name)
{
    const struct field *row = filter_field(rows, name);
    return row != NULL && !is_container(rows, row, name);
}

static const struct filter *comparison(struct parser *p, const struct field *row, struct str path, enum filter_op op,
                                       const struct json *v, struct str at)
{
    const char *code;
    enum field_type type = scalar_type(row);

    if (op == OP_EQ && json_is(v, JSON_NULL))
        return equal_null(p, row, path);
    if (is_container(p->rows, row, path)) {
        FAULT(p, at, "can only be compared with null; name a member, as %s.name", row->name);
        return NULL;
    }
    if ((op == OP_CONTAINS || op == OP_STARTS) && type != FIELD_STRING) {
        FAULT(p, at, "takes strings only, and this is %s", type_words(type));
        return NULL;
    }
    if (op >= OP_GT && op <= OP_LTE && (type == FIELD_BOOL || type == FIELD_UUID || type == FIELD_ENUM)) {
        FAULT(p, at, "has no order");
        return NULL;
    }
    const struct json *value = normal(p->arena, row, v, &code);
    if (value != NULL)
        return leaf(p, row, path, op, value);
    if (code == NULL)
        p->failed = true;
    else if (strcmp(code, "VAL_INVALID_ENUM") == 0)
        FAULT(p, at, "is not one of the values this field can have");
    else
        FAULT(p, at, "must be %s", type_words(type));
    return NULL;
}

static const struct filter *any_of(struct parser *p, const struct field *row, struct str path, const struct json *list,
                                   struct str at)
{
    size_t n = json_count(list);
    if (!json_is(list, JSON_ARRAY) || n > FILTER_VALUES) {
        FAULT(p, at, "must be an array of at most %d values", FILTER_VALUES);
        return NULL;
    }
    struct filter *f = node(p, FILTER_OR, n);
    for (size_t i = 0; f != NULL && i < n; i++) {
        const struct filter *one = comparison(p, row, path, OP_EQ, json_at(list, i), at);
        if (one == NULL)
            return NULL;
        f->of[f->n++] = one;
    }
    return f;
}

static const struct filter *exists(struct parser *p, const struct field *row, struct str path, const struct json *v,
                                   struct str at)
{
    if (!json_is(v, JSON_BOOL)) {
        FAULT(p, at, "must be true or false");
        return NULL;
    }
    const struct filter *absent = equal_null(p, row, path);
    return json_bool(v, false) ? negation(p, absent) : absent;
}

static const struct {
    const char *name;
    enum filter_op op;
} comparisons[] = {
    {"$eq", OP_EQ},
    {"$gt", OP_GT},
    {"$gte", OP_GTE},
    {"$lt", OP_LT},
    {"$lte", OP_LTE},
    {"$contains", OP_CONTAINS},
    {"$startsWith", OP_STARTS},
};

static const struct filter *condition(struct parser *p, const struct field *row, struct str path, struct str op,
                                      const struct json *v, struct str at)
{
    if (++p->leaves > FILTER_LEAVES) {
        if (p->leaves == FILTER_LEAVES + 1)
            FAULT(p, S("filter"), "has more than %d conditions", FILTER_LEAVES);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(comparisons); i++)
        if (str_eqz(op, comparisons[i].name))
            return comparison(p, row, path, comparisons[i].op, v, at);
    if (str_eqz(op, "$ne"))
        return negation(p, comparison(p, row, path, OP_EQ, v, at));
    if (str_eqz(op, "$in"))
        return any_of(p, row, path, v, at);
    if (str_eqz(op, "$nin"))
        return negation(p, any_of(p, row, path, v, at));
    if (str_eqz(op, "$exists"))
        return exists(p, row, path, v, at);
    FAULT(p, at, "is not an operator");
    return NULL;
}

/* {"field": scalar} or {"field": {"$op": value, ...}} */
static const struct filter *member(struct parser *p, struct str name, const struct json *v, struct str up)
{
    const struct field *row = filter_field(p->rows, name);
    struct str at = under(p, up, name);

    if (row == NULL) {
        FAULT(p, at, "is not a field that can be filtered by");
        return NULL;
    }
    if (!json_is(v, JSON_OBJECT))
        return condition(p, row, name, S("$eq"), v, at);
    struct filter *f = node(p, FILTER_AND, json_count(v));
    for (struct json_iter it = json_members(v); f != NULL && json_next(&it);) {
        const struct filter *one = condition(p, row, name, it.name, it.value, under(p, at, it.name));
        if (one == NULL)
            return NULL;
        f->of[f->n++] = one;
    }
    if (f != NULL && f->n == 0) {
        FAULT(p, at, "has no operator");
        return NULL;
    }
    return f;
}

static const struct filter *object(struct parser *p, const struct json *o, struct str at, unsigned depth);

static const struct filter *combination(struct parser *p, enum filter_kind kind, const struct json *list, struct str at,
                                        unsigned depth)
{
    size_t n = json_count(list);
    if (!json_is(list, JSON_ARRAY) || n == 0) {
        FAULT(p, at, "must be an array of expressions, and not an empty one");
        return NULL;
    }
    struct filter *f = node(p, kind, n);
    bool good = f != NULL;
    for (size_t i = 0; f != NULL && i < n && !p->failed; i++) {
        struct str here = arena_printf(p->arena, STR_FMT "[%zu]", STR_ARG(at), i);
        const struct filter *one = object(p, json_at(list, i), here, depth + 1);
        good = good && one != NULL;
        if (one != NULL)
            f->of[f->n++] = one;
    }
    return good ? f : NULL;
}

static const struct filter *part(struct parser *p, struct str name, const struct json *v, struct str up, unsigned depth)
{
    if (str_eqz(name, "$and"))
        return combination(p, FILTER_AND, v, under(p, up, name), depth);
    if (str_eqz(name, "$or"))
        return combination(p, FILTER_OR, v, under(p, up, name), depth);
    if (str_eqz(name, "$not"))
        return negation(p, object(p, v, under(p, up, name), depth + 1));
    if (name.n > 0 && name.p[0] == '$') {
        FAULT(p, under(p, up, name), "is not a combinator; those are $and, $or and $not");
        return NULL;
    }
    return member(p, name, v, up);
}

static const struct filter *object(struct parser *p, const struct json *o, struct str at, unsigned depth)
{
    if (!json_is(o, JSON_OBJECT)) {
        FAULT(p, at, "must be an object");
        return NULL;
    }
    if (depth > FILTER_DEPTH) {
        FAULT(p, at, "is nested deeper than %d", FILTER_DEPTH);
        return NULL;
    }
    struct filter *f = node(p, FILTER_AND, json_count(o));
    bool good = f != NULL;
    for (struct json_iter it = json_members(o); f != NULL && !p->failed && json_next(&it);) {
        const struct filter *one = part(p, it.name, it.value, at, depth);
        good = good && one != NULL;
        if (one != NULL)
            f->of[f->n++] = one;
    }
    return good ? f : NULL;
}

bool filter_parse(struct arena *a, const struct field *rows, struct str text, struct faults *faults,
                  const struct filter **out)
{
    struct parser p = {a, rows, faults, 0, false};
    struct json_fault why;
    const struct json_limits limits = {.depth = 2 * FILTER_DEPTH + 2};

    *out = NULL;
    if (text.p == NULL)
        return true;
    if (text.n > FILTER_BYTES) {
        FAULT(&p, S("filter"), "is longer than %d bytes", FILTER_BYTES);
        return false;
    }
    const struct json *tree = json_parse(a, text, &limits, &why);
    if (tree == NULL) {
        if (!why.exhausted)
            FAULT(&p, S("filter"), "is not JSON: %s at byte %zu", why.message, why.offset);
        return false;
    }
    const struct filter *f = object(&p, tree, S("filter"), 1);
    if (f == NULL || p.failed)
        return false;
    *out = f->n == 0 ? NULL : f;
    return true;
}

/* One value of a parameter as JSON of the row's type; NULL when it is none. */
static struct json *typed(struct arena *a, const struct field *row, struct str text)
{
    int64_t n;
    char *end;
    enum field_type type = scalar_type(row);

    if (type == FIELD_BOOL)
        return str_eqz(text, "true") ? json_new_bool(true) : str_eqz(text, "false") ? json_new_bool(false) : NULL;
    if (type == FIELD_INT || type == FIELD_NUMBER) {
        if (str_i64(text, &n))
            return json_new_int(a, n);
        char *z = type == FIELD_NUMBER && text.n > 0 && text.n < 40 ? arena_z(a, text) : NULL;
        double real = z == NULL ? 0 : strtod(z, &end);
        return z != NULL && *end == '\0' ? json_new_real(a, real) : NULL;
    }
    return json_new_str(a, text);
}

static const struct filter *parameter_value(struct parser *p, const struct field *row, struct str name, struct str text)
{
    const char *code = "VAL_INVALID_TYPE";
    struct json *v = typed(p->arena, row, text);
    const struct json *value = v == NULL ? NULL : normal(p->arena, row, v, &code);

    if (value != NULL)
        return leaf(p, row, name, OP_EQ, value);
    if (code == NULL) {
        p->failed = true;
        return NULL;
    }
    if (strcmp(code, "VAL_INVALID_ENUM") == 0)
        fault_add(p->faults, under(p, S("query"), name), code, "is not one of the values this field can have");
    else
        fault_add(p->faults, under(p, S("query"), name), code, "must be %s", type_words(scalar_type(row)));
    return NULL;
}

bool filter_parameter(struct arena *a, const struct field *rows, struct str name, const struct str *values, size_t n,
                      struct faults *faults, const struct filter **out)
{
    struct parser p = {a, rows, faults, 0, false};
    const struct field *row = filter_field(rows, name);

    *out = NULL;
    if (row == NULL || is_container(rows, row, name)) {
        fault_add(faults, under(&p, S("query"), name), "VAL_UNKNOWN_FIELD", "is not a parameter of this operation");
        return false;
    }
    struct filter *f = node(&p, FILTER_OR, FILTER_VALUES);
    for (size_t i = 0; f != NULL && i < n; i++)
        for (struct str rest = values[i]; rest.p != NULL;) {
            struct str text = str_cut(&rest, ',');
            if (f->n == FILTER_VALUES) {
                fault_add(faults, under(&p, S("query"), name), "VAL_OUT_OF_RANGE", "has more than %d values",
                          FILTER_VALUES);
                return false;
            }
            const struct filter *one = parameter_value(&p, row, name, text);
            if (one == NULL)
                return false;
            f->of[f->n++] = one;
        }
    *out = f;
    return f != NULL && !p.failed;
}

const struct filter *filter_equal(struct arena *a, const struct field *rows, const char *name, struct str value)
{
    struct parser p = {a, rows, NULL, 0, false};
    return leaf(&p, field_find(rows, str_z(name)), str_z(name), OP_EQ, json_new_str(a, value));
}

bool filter_and(struct arena *a, const struct filter *x, const struct filter *y, const struct filter **out)
{
    struct parser p = {a, NULL, NULL, 0, false};
    *out = x == NULL ? y : x;
    if (x == NULL || y == NULL)
        return true;
    struct filter *f = node(&p, FILTER_AND, 2);
    if (f == NULL)
        return false;
    f->of[f->n++] = x;
    f->of[f->n++] = y;
    *out = f;
    return true;
}

static int order(const struct json *x, const struct json *y)
{
    if (json_is(x, JSON_INT) && json_is(y, JSON_INT))
        return (json_int(x, 0) > json_int(y, 0)) - (json_int(x, 0) < json_int(y, 0));
    if (json_is(x, JSON_STRING))
        return str_cmp(json_str(x), json_str(y));
    double a = json_real(x, 0), b = json_real(y, 0);
    return (a > b) - (a < b);
}

static bool comparable(const struct json *x, const struct json *y)
{
    bool x_number = json_is(x, JSON_INT) || json_is(x, JSON_REAL),
         y_number = json_is(y, JSON_INT) || json_is(y, JSON_REAL);
    return x_number ? y_number : json_is(x, JSON_STRING) && json_is(y, JSON_STRING);
}

static bool holds(const struct filter *f, const struct json *v)
{
    switch (f->op) {
    case OP_EQ:
        return json_equal(v, f->value);
    case OP_CONTAINS:
        return json_is(v, JSON_STRING) && str_find(json_str(v), json_str(f->value)) >= 0;
    case OP_STARTS:
        return json_is(v, JSON_STRING) && str_starts(json_str(v), json_str(f->value));
    case OP_GT:
        return comparable(v, f->value) && order(v, f->value) > 0;
    case OP_GTE:
        return comparable(v, f->value) && order(v, f->value) >= 0;
    case OP_LT:
        return comparable(v, f->value) && order(v, f->value) < 0;
    case OP_LTE:
        return comparable(v, f->value) && order(v, f->value) <= 0;
    }
    return false;
}

static bool leaf_matches(const struct filter *f, const struct json *document)
{
    const struct json *v = json_path(document, f->path);
    if (f->name.p != NULL)
        v = json_get_str(v, f->name);
    if (json_is(f->value, JSON_NULL))
        return v == NULL || json_is(v, JSON_NULL);
    if (!json_is(v, JSON_ARRAY))
        return v != NULL && holds(f, v);
    for (size_t i = 0; i < json_count(v); i++)
        if (holds(f, json_at(v, i)))
            return true;
    return false;
}

bool filter_match(const struct filter *f, const struct json *document)
{
    if (f == NULL)
        return true;
    switch (f->kind) {
    case FILTER_AND:
        for (size_t i = 0; i < f->n; i++)
            if (!filter_match(f->of[i], document))
                return false;
        return true;
    case FILTER_OR:
        for (size_t i = 0; i < f->n; i++)
            if (filter_match(f->of[i], document))
                return true;
        return false;
    case FILTER_NOT:
        return !filter_match(f->of[0], document);
    case FILTER_LEAF:
        return leaf_matches(f, document);
    }
    return false;
}

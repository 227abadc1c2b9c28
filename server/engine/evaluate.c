#include "server/engine/expression.h"

#include "server/engine/expression_node.h"
#include "server/engine/redact.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static const struct value null_value = {.type = JSON_NULL};

bool expression_fault_at(struct expression_fault *f, size_t offset, const char *fmt, ...)
{
    va_list ap;

    f->offset = offset;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    return false;
}

bool value_true(const struct value *v)
{
    switch (v->type) {
    case JSON_BOOL:
        return v->truth;
    case JSON_INT:
        return v->integer != 0;
    case JSON_REAL:
        return v->real != 0 && !isnan(v->real);
    case JSON_STRING:
        return v->text.n > 0;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return true;
    default:
        return false;
    }
}

struct value value_of(const struct json *j)
{
    struct value v = {.type = json_type(j)};

    if (v.type == JSON_ABSENT)
        v.type = JSON_NULL;
    v.truth = json_bool(j, false);
    if (v.type == JSON_INT)
        v.integer = json_int(j, 0);
    if (v.type == JSON_REAL)
        v.real = json_real(j, 0);
    if (v.type == JSON_STRING)
        v.text = json_str(j);
    if (v.type == JSON_ARRAY || v.type == JSON_OBJECT)
        v.tree = j;
    return v;
}

void value_write(struct json_out *o, const struct value *v, bool redact)
{
    switch (v->type) {
    case JSON_BOOL:
        json_put_bool(o, v->truth);
        break;
    case JSON_INT:
        json_put_int(o, v->integer);
        break;
    case JSON_REAL:
        json_put_real(o, v->real);
        break;
    case JSON_STRING:
        json_put_str(o, v->text);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (redact)
            redact_write(o, v->tree);
        else
            json_put(o, v->tree);
        break;
    default:
        json_put_null(o);
    }
}

static struct value truth_value(bool truth)
{
    return (struct value){.type = JSON_BOOL, .truth = truth};
}

static bool both_texts(struct evaluation *ev, const struct expression *e, const struct value *args)
{
    if (args[0].type == JSON_STRING && args[1].type == JSON_STRING)
        return true;
    return expression_fault_at(ev->fault, e->offset, "%s takes two texts", e->function->name);
}

static bool numeric(const struct value *v)
{
    return v->type == JSON_INT || v->type == JSON_REAL;
}
static double number(const struct value *v)
{
    return v->type == JSON_INT ? (double)v->integer : v->real;
}

static bool equal(const struct value *a, const struct value *b)
{
    if (numeric(a) && numeric(b))
        return a->type == JSON_INT && b->type == JSON_INT ? a->integer == b->integer : number(a) == number(b);
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case JSON_BOOL:
        return a->truth == b->truth;
    case JSON_STRING:
        return str_eq(a->text, b->text);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return json_equal(a->tree, b->tree);
    default:
        return true;
    }
}

static bool call_contains(struct evaluation *ev, const struct expression *e, const struct value *args,
                          struct value *out)
{
    bool found = false;

    switch (args[0].type) {
    case JSON_NULL:
        break;
    case JSON_STRING:
        if (!both_texts(ev, e, args))
            return false;
        found = str_find(args[0].text, args[1].text) >= 0;
        break;
    case JSON_ARRAY:
        for (size_t i = 0; i < json_count(args[0].tree) && !found; i++) {
            struct value element = value_of(json_at(args[0].tree, i));

            found = equal(&element, &args[1]);
        }
        break;
    case JSON_OBJECT:
        found = args[1].type == JSON_STRING && json_get_str(args[0].tree, args[1].text) != NULL;
        break;
    default:
        return expression_fault_at(ev->fault, e->offset, "contains looks into a text, an array or an object");
    }
    *out = truth_value(found);
    return true;
}

static bool call_starts(struct evaluation *ev, const struct expression *e, const struct value *args, struct value *out)
{
    if (!both_texts(ev, e, args))
        return false;
    *out = truth_value(str_starts(args[0].text, args[1].text));
    return true;
}

static bool call_ends(struct evaluation *ev, const struct expression *e, const struct value *args, struct value *out)
{
    if (!both_texts(ev, e, args))
        return false;
    *out = truth_value(str_ends(args[0].text, args[1].text));
    return true;
}

static bool call_length(struct evaluation *ev, const struct expression *e, const struct value *args, struct value *out)
{
    size_t n = 0;

    if (args[0].type == JSON_STRING)
        n = str_utf8_length(args[0].text);
    else if (args[0].type == JSON_ARRAY || args[0].type == JSON_OBJECT)
        n = json_count(args[0].tree);
    else if (args[0].type != JSON_NULL)
        return expression_fault_at(ev->fault, e->offset, "length takes a text, an array or an object");
    *out = (struct value){.type = JSON_INT, .integer = (int64_t)n};
    return true;
}

static bool call_coalesce(struct evaluation *ev, const struct expression *e, const struct value *args,
                          struct value *out)
{
    (void)ev;
    *out = null_value;
    for (unsigned i = 0; i < e->n && out->type == JSON_NULL; i++)
        *out = args[i];
    return true;
}

static bool call_to_json(struct evaluation *ev, const struct expression *e, const struct value *args, struct value *out)
{
    struct buf b;
    struct json_out o;

    buf_init_arena(&b, ev->arena, 64);
    json_out_init(&o, &b);
    value_write(&o, &args[0], ev->scope->redact);
    if (b.failed)
        return expression_fault_at(ev->fault, e->offset, "out of memory");
    *out = (struct value){.type = JSON_STRING, .text = buf_view(&b)};
    return true;
}

// clang-format off
static const struct function functions[] = {
    {"contains",   2, 2,         call_contains},
    {"startsWith", 2, 2,         call_starts},
    {"endsWith",   2, 2,         call_ends},
    {"length",     1, 1,         call_length},
    {"coalesce",   1, EXPRESSION_ARGUMENTS, call_coalesce},
    {"toJson",     1, 1,         call_to_json},
};
// clang-format on

const struct function *function_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (str_eqz(name, functions[i].name))
            return &functions[i];
    return NULL;
}

static const struct json *follow(const struct json *j, const struct expression_path *path, unsigned from)
{
    for (unsigned i = from; i < path->n && j != NULL; i++) {
        const struct expression_part *part = &path->parts[i];

        if (part->name.p == NULL)
            j = json_is(j, JSON_ARRAY) ? json_at(j, (size_t)part->index) : NULL;
        else
            j = json_is(j, JSON_OBJECT) ? json_get_str(j, part->name) : NULL;
    }
    return j;
}

static struct value step_value(const struct scope *s, const struct expression_path *path)
{
    struct str status = STR_NONE;
    const struct json *outputs = NULL;

    if (path->n < 3 || s->step == NULL || !s->step(s->arg, path->parts[1].name, &status, &outputs))
        return null_value;
    if (str_eqz(path->parts[2].name, "status") && path->n == 3)
        return (struct value){.type = JSON_STRING, .text = status};
    return str_eqz(path->parts[2].name, "outputs") ? value_of(follow(outputs, path, 3)) : null_value;
}

static struct value path_value(const struct scope *s, const struct expression_path *path)
{
    if (str_eqz(path->parts[0].name, "steps"))
        return step_value(s, path);
    return value_of(follow(str_eqz(path->parts[0].name, "inputs") ? s->inputs : s->context, path, 1));
}

static bool ordered(struct evaluation *ev, const struct expression *e, const struct value *v, struct value *out)
{
    int order;

    if (numeric(&v[0]) && numeric(&v[1])) {
        double a = number(&v[0]), b = number(&v[1]);

        order = (a > b) - (a < b);
        if (v[0].type == JSON_INT && v[1].type == JSON_INT)
            order = (v[0].integer > v[1].integer) - (v[0].integer < v[1].integer);
    } else if (v[0].type == JSON_STRING && v[1].type == JSON_STRING) {
        order = str_cmp(v[0].text, v[1].text);
    } else {
        return expression_fault_at(ev->fault, e->offset, "only two numbers or two texts have an order");
    }
    *out = truth_value(e->kind == LESS            ? order < 0
                       : e->kind == LESS_EQUAL    ? order <= 0
                       : e->kind == GREATER_EQUAL ? order >= 0
                                                  : order > 0);
    return true;
}

static bool eval(struct evaluation *ev, const struct expression *e, struct value *out)
{
    struct value v[EXPRESSION_ARGUMENTS];

    if (e->kind == LITERAL || e->kind == PATH) {
        *out = e->kind == LITERAL ? e->literal : path_value(ev->scope, &e->path);
        return true;
    }
    for (unsigned i = 0; i < e->n; i++) {
        if (!eval(ev, e->operands[i], &v[i]))
            return false;
        if (e->kind == (value_true(&v[i]) ? OR : AND)) { /* decided; what follows is not looked at */
            *out = truth_value(e->kind == OR);
            return true;
        }
    }
    switch (e->kind) {
    case CALL:
        return e->function->call(ev, e, v, out);
    case NOT:
        *out = truth_value(!value_true(&v[0]));
        return true;
    case AND:
    case OR:
        *out = truth_value(e->kind == AND);
        return true;
    case EQUAL:
    case UNEQUAL:
        *out = truth_value(equal(&v[0], &v[1]) == (e->kind == EQUAL));
        return true;
    default:
        return ordered(ev, e, v, out);
    }
}

bool expression_eval(struct arena *a, const struct expression *e, const struct scope *scope, struct value *out,
                     struct expression_fault *fault)
{
    struct evaluation ev = {a, scope, fault};

    return eval(&ev, e, out);
}

#include "server/engine/text.h"

#include "server/engine/expression_node.h"
#include "server/engine/redact.h"

/* Walks a text: each step yields literal bytes and, unless the text ends there, the expression behind them. */
struct walk {
    struct str text;
    size_t at;
    struct str literal;
    struct str expression; /* with its braces; STR_NONE at the end */
    size_t offset;         /* of the expression */
    bool escaped;          /* a `$` belongs to `$${{`: the literal ends behind it and `{{` follows as text */
    bool open;             /* the braces are not closed */
};

/* Index behind the closing braces, or 0. Quotes hide braces. */
static size_t closing(struct str text, size_t from)
{
    char quote = '\0';

    for (size_t i = from; i + 1 < text.n; i++) {
        char c = text.p[i];

        if (quote != '\0') {
            if (c == '\\')
                i++;
            else if (c == quote)
                quote = '\0';
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '}' && text.p[i + 1] == '}') {
            return i + 2;
        }
    }
    return 0;
}

static bool walk_next(struct walk *w)
{
    struct str rest = str_slice(w->text, w->at, w->text.n);
    ptrdiff_t found = str_find(rest, S("${{"));
    size_t end;

    w->expression = STR_NONE;
    w->escaped = w->open = false;
    if (rest.n == 0)
        return false;
    if (found < 0) {
        w->literal = rest;
        w->at = w->text.n;
        return true;
    }
    w->literal = str_slice(rest, 0, (size_t)found);
    w->offset = w->at + (size_t)found;
    if (found > 0 && rest.p[found - 1] == '$') {
        w->escaped = true; /* the literal ends with the first `$`; what follows the second is plain */
        w->at = w->offset + 3;
        return true;
    }
    end = closing(w->text, w->offset + 3);
    w->open = end == 0;
    w->at = end == 0 ? w->text.n : end;
    w->expression = str_slice(w->text, w->offset, w->at);
    return true;
}

bool text_is_expression(struct str text)
{
    struct walk w = {.text = str_trim(text)};

    return walk_next(&w) && w.literal.n == 0 && w.expression.n > 0 && !w.open && w.at == w.text.n;
}

bool text_has_expression(struct str text)
{
    struct walk w = {.text = text};

    while (walk_next(&w))
        if (w.expression.n > 0)
            return true;
    return false;
}

static const struct expression *walk_parse(struct arena *a, const struct walk *w, struct expression_fault *fault)
{
    const struct expression *e;

    if (w->open) {
        expression_fault_at(fault, w->offset, "'}}' is missing");
        return NULL;
    }
    e = expression_parse(a, w->expression, fault);
    if (e == NULL)
        fault->offset += w->offset + 3;
    return e;
}

bool text_check(struct arena *a, struct str text, void (*visit)(void *arg, const struct expression_path *path),
                void *arg, struct expression_fault *fault)
{
    struct walk w = {.text = text};

    while (walk_next(&w)) {
        const struct expression *e;

        if (w.expression.n == 0)
            continue;
        e = walk_parse(a, &w, fault);
        if (e == NULL)
            return false;
        expression_visit(e, visit, arg);
    }
    return true;
}

static bool evaluate(struct arena *a, const struct walk *w, const struct scope *scope, struct value *out,
                     struct expression_fault *fault)
{
    const struct expression *e = walk_parse(a, w, fault);

    return e != NULL && expression_eval(a, e, scope, out, fault);
}

static void add_value(struct buf *b, const struct value *v, bool redact)
{
    struct json_out o;

    if (v->type == JSON_STRING) {
        buf_str(b, v->text);
    } else if (v->type != JSON_NULL) {
        json_out_init(&o, b);
        value_write(&o, v, redact);
    }
}

bool text_render(struct arena *a, struct str text, const struct scope *scope, struct value *out,
                 struct expression_fault *fault)
{
    struct walk w = {.text = text};
    struct value v;
    struct buf b;

    if (str_find(text, S("${{")) < 0) {
        *out = (struct value){.type = JSON_STRING, .text = text};
        return true;
    }
    if (text_is_expression(text)) {
        w.text = str_trim(text);
        walk_next(&w);
        return evaluate(a, &w, scope, out, fault);
    }
    buf_init_arena(&b, a, text.n + 64);
    b.max = TEXT_RENDERED_MAX;
    while (walk_next(&w)) {
        buf_str(&b, w.literal);
        if (w.escaped)
            buf_z(&b, "{{");
        if (w.expression.n == 0)
            continue;
        if (!evaluate(a, &w, scope, &v, fault))
            return false;
        add_value(&b, &v, scope->redact);
    }
    if (b.failed)
        return expression_fault_at(fault, 0, "the rendered text is larger than %d bytes", (int)TEXT_RENDERED_MAX);
    *out = (struct value){.type = JSON_STRING, .text = buf_view(&b)};
    return true;
}

static bool render_object(struct arena *a, struct json_out *o, const struct json *j, const struct scope *scope,
                          struct expression_fault *fault)
{
    json_open(o, '{');
    for (struct json_iter it = json_members(j); json_next(&it);) {
        enum json_type type = json_type(it.value);

        json_key(o, it.name);
        if (scope->redact && redact_name(it.name) && type != JSON_NULL && type != JSON_BOOL)
            json_put_str(o, S(REDACTED));
        else if (!text_render_tree(a, o, it.value, scope, fault))
            return false;
    }
    json_close(o, '}');
    return true;
}

bool text_render_tree(struct arena *a, struct json_out *o, const struct json *j, const struct scope *scope,
                      struct expression_fault *fault)
{
    struct value v;

    switch (json_type(j)) {
    case JSON_STRING:
        if (!text_render(a, json_str(j), scope, &v, fault))
            return false;
        value_write(o, &v, scope->redact);
        break;
    case JSON_OBJECT:
        if (!render_object(a, o, j, scope, fault))
            return false;
        break;
    case JSON_ARRAY:
        json_open(o, '[');
        for (size_t i = 0; i < json_count(j); i++)
            if (!text_render_tree(a, o, json_at(j, i), scope, fault))
                return false;
        json_close(o, ']');
        break;
    default:
        json_put(o, j);
    }
    if (o->b->failed || o->b->n > TEXT_RENDERED_MAX)
        return expression_fault_at(fault, 0, "the rendered configuration is larger than %d bytes",
                                   (int)TEXT_RENDERED_MAX);
    return true;
}

/* Any bytes as an expression and as a text with expressions: parsed, visited, evaluated, rendered, masked. What was
 * accepted must be accepted again, with the same result. */
#include "server/engine/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool step(const void *arg, struct str node, struct str *status, const struct json **outputs)
{
    *status = S("succeeded");
    *outputs = arg;
    return node.n > 1;
}

static void visit(void *arg, const struct expression_path *path)
{
    unsigned *n = arg;

    *n += path->n;
    if (path->n == 0 || path->parts[0].name.n == 0)
        abort();
}

static struct str evaluate(struct arena *a, const struct expression *e, const struct scope *scope)
{
    struct expression_fault fault;
    struct json_out o;
    struct value v;
    struct buf b;

    buf_init_arena(&b, a, 64);
    json_out_init(&o, &b);
    if (!expression_eval(a, e, scope, &v, &fault))
        return STR_NONE;
    value_true(&v);
    value_write(&o, &v, scope->redact);
    return buf_view(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct expression_fault fault;
    struct arena a;
    struct str text = {(const char *)data, size};
    struct scope scope = {.step = step};
    const struct expression *e;
    struct value v;
    unsigned n = 0;

    arena_init(&a, 16 << 20);
    scope.inputs =
        json_parse(&a, S("{\"a\":1,\"b\":\"two\",\"token\":\"t\",\"l\":[1,2,{\"x\":null}],\"o\":{\"p\":{}}}"), NULL,
                   &(struct json_fault){0});
    scope.context = scope.arg = scope.inputs;
    for (int redact = 0; redact < 2; redact++) {
        scope.redact = redact != 0;
        e = expression_parse(&a, text, &fault);
        if (e != NULL) {
            expression_visit(e, visit, &n);
            if (!str_eq(evaluate(&a, e, &scope), evaluate(&a, e, &scope)))
                abort();
        }
        if (text_render(&a, text, &scope, &v, &fault) && !text_check(&a, text, visit, &n, &fault))
            abort();
    }
    arena_fini(&a);
    return 0;
}

/* Forms: what is taken keeps the bounds, has no name twice, and means the same when it is written again. */
#include "proto/form.h"

#include "lib/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_form(struct arena *a, const struct form *f)
{
    const struct query *q = &f->parameters;
    struct buf text = {0};
    struct form again = {0};
    must(q->n <= FORM_PARAMS_MAX);
    for (size_t i = 0; i < q->n; i++) {
        struct str name = q->params[i].name, value = q->params[i].value;
        must(name.n <= FORM_NAME_MAX && value.n <= FORM_VALUE_MAX && str_utf8(name) && str_utf8(value));
        must(query_count(q, name) == 1);
        must(value.n == 0 ? form_get(f, name).p == NULL : str_eq(form_get(f, name), value));
        query_encode(&text, name);
        buf_char(&text, '=');
        query_encode(&text, value);
        buf_char(&text, '&');
    }
    if (text.n <= FORM_LENGTH_MAX) {
        must(form_parse(a, buf_view(&text), &again) == FORM_OK);
        must(again.parameters.n == q->n);
    }
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct form f = {{NULL, 0}};
    struct str body = {(const char *)data, size};
    arena_init(&a, 0);
    form_is(body);
    enum form_fault fault = form_parse(&a, body, &f);
    must(fault != FORM_MEMORY && form_why(fault)[0] != '\0');
    if (fault == FORM_OK)
        check_form(&a, &f);
    else
        must(f.parameters.n == 0);
    arena_fini(&a);
    return 0;
}

/* Query strings: what was decoded, encoded again, decodes to the same pairs. */
#include "proto/query.h"

#include "lib/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode_and_decode(struct arena *a, const struct query *q)
{
    struct buf text = {0};
    struct query again = {0};
    for (size_t i = 0; i < q->n; i++) {
        must(str_utf8(q->params[i].name) && str_utf8(q->params[i].value));
        must(str_index(q->params[i].value, '\0') < 0);
        query_encode(&text, q->params[i].name);
        buf_char(&text, '=');
        query_encode(&text, q->params[i].value);
        buf_char(&text, '&');
    }
    must(query_parse(a, buf_view(&text), &again) == QUERY_OK);
    must(again.n == q->n);
    for (size_t i = 0; i < q->n; i++) {
        must(str_eq(again.params[i].name, q->params[i].name));
        must(str_eq(again.params[i].value, q->params[i].value));
        must(query_count(q, q->params[i].name) >= 1);
        must(query_get(q, q->params[i].name).p != NULL);
    }
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct query q = {0};
    arena_init(&a, 0);
    enum query_fault fault = query_parse(&a, (struct str){(const char *)data, size}, &q);
    must(fault != QUERY_MEMORY);
    if (fault == QUERY_OK)
        encode_and_decode(&a, &q);
    else
        must(q.n == 0 && query_why(fault)[0] != '\0');
    arena_fini(&a);
    return 0;
}

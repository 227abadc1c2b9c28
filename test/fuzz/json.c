/* JSON: what was parsed is written canonically, and that reads back as the same tree and the same bytes. The first byte
 * chooses how much memory there is, so that parsing also ends in every place where memory can. */
#include "lib/json.h"
#include "lib/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read_again(struct arena *a, const struct json *j)
{
    const struct json_limits limits = {.depth = 64, .nodes = 100000};
    struct json_fault fault;
    struct buf first = {0}, second = {0};
    json_write(&first, j);
    const struct json *again = json_parse(a, buf_view(&first), &limits, &fault);
    must(again != NULL);
    must(json_equal(j, again));
    json_write(&second, again);
    must(str_eq(buf_view(&first), buf_view(&second)));
    must(str_utf8(buf_view(&first)));
    if (json_is(j, JSON_OBJECT)) {
        struct json *copy = json_copy_tree(a, j);
        must(json_equal(copy, j));
        must(json_count(json_merge(a, copy, again)) <= json_count(j)); /* nulls take members away */
    }
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena small, large;
    struct str text = {(const char *)data + 1, size - 1};
    struct json_fault fault = {0};
    arena_init(&small, (size_t)data[0] * 16 + 1);
    must(json_parse(&small, text, NULL, &fault) != NULL || fault.message[0] != '\0');
    must(str_utf8(str_z(fault.message)));
    arena_fini(&small);

    arena_init(&large, 0);
    const struct json *j = json_parse(&large, text, NULL, &fault);
    if (j != NULL)
        write_and_read_again(&large, j);
    else
        must(!fault.exhausted && fault.offset <= text.n);
    arena_fini(&large);
    return 0;
}

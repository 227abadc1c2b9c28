/* What the foundation does when memory ends: nothing aborts, nothing leaks (the sanitizer build looks), and what was
 * there stays. */
#include "test/lib/fault.h"

#include "lib/json.h"
#include "lib/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void grow_a_buffer(void *arg)
{
    (void)arg;
    struct buf b = {0};
    size_t before = 0;
    for (int i = 0; i < 200 && !b.failed; i++) {
        before = b.n;
        buf_printf(&b, "%d-", i);
        buf_base64(&b, "abcdef", 6);
    }
    assert_int_equal(b.failed, fault_fired());
    assert_true(b.n >= before);
    buf_free(&b);
}

static void fill_an_arena(void *arg)
{
    (void)arg;
    struct arena a;
    arena_init(&a, 0);
    bool all = true;
    for (int i = 0; i < 50; i++)
        all = arena_alloc(&a, 1000) != NULL && all;
    all = arena_printf(&a, "%0900d", 1).p != NULL && all;
    assert_int_equal(all, !fault_fired());
    arena_fini(&a);
}

static void fill_a_map(void *arg)
{
    (void)arg;
    struct map m;
    map_init(&m, sizeof(int));
    size_t there = 0;
    for (int i = 0; i < 60; i++) {
        char key[2] = {(char)('0' + i), 0};
        int *v = map_put(&m, str_z(key), NULL);
        if (v == NULL)
            continue;
        *v = i;
        there++;
    }
    assert_int_equal(m.n, there);
    assert_int_equal(there, 60 - fault_fired());
    for (int i = 0; i < 60; i++) {
        char key[2] = {(char)('0' + i), 0};
        const int *v = map_get(&m, str_z(key));
        assert_true(v == NULL || *v == i);
        there -= v != NULL;
    }
    assert_int_equal(there, 0);
    map_fini(&m);
}

/* A document large enough for several blocks: parsed, merged, written. */
static void handle_a_document(void *arg)
{
    struct str text = *(struct str *)arg;
    struct arena a;
    struct buf out = {0};
    struct json_fault fault = {0};
    arena_init(&a, 0);
    const struct json *j = json_parse(&a, text, NULL, &fault);
    if (j == NULL) {
        assert_true(fault_fired());
        assert_true(fault.exhausted);
    } else {
        j = json_merge(&a, j, j);
        json_write(&out, j);
        assert_true(fault_fired() ? j == NULL || out.failed : str_eq(buf_view(&out), text));
    }
    buf_free(&out);
    arena_fini(&a);
}

static void each_allocation_of_a_buffer_may_fail(void **state)
{
    (void)state;
    assert_true(fault_each(grow_a_buffer, NULL) >= 5);
}

static void each_allocation_of_an_arena_may_fail(void **state)
{
    (void)state;
    assert_true(fault_each(fill_an_arena, NULL) >= 3);
}

static void each_allocation_of_a_map_may_fail(void **state)
{
    (void)state;
    assert_true(fault_each(fill_a_map, NULL) >= 60);
}

static void each_allocation_for_a_document_may_fail(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_char(&text, '{');
    for (int i = 100; i < 400; i++)
        buf_printf(&text, "\"k%d\":[%d,{\"text\":\"value \\\" of %d\"},1.5,true,null]%s", i, i, i,
                   i == 399 ? "}" : ",");
    struct str view = buf_view(&text);
    assert_true(fault_each(handle_a_document, &view) >= 5);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_buffer_may_fail),
        cmocka_unit_test(each_allocation_of_an_arena_may_fail),
        cmocka_unit_test(each_allocation_of_a_map_may_fail),
        cmocka_unit_test(each_allocation_for_a_document_may_fail),
    };
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}

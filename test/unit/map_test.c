#include "lib/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct str name(int i)
{
    static char text[16];
    return (struct str){text, (size_t)snprintf(text, sizeof text, "k%d", i)};
}

static void an_empty_map_has_nothing(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, sizeof(int));
    size_t at = 0;
    assert_null(map_get(&m, S("a")));
    assert_false(map_remove(&m, S("a")));
    assert_false(map_next(&m, &at, NULL, NULL));
    map_fini(&m);
}

static void a_value_is_found_under_its_key(void **state)
{
    (void)state;
    struct map m;
    bool fresh;
    map_init(&m, sizeof(int));
    int *v = map_put(&m, S("a"), &fresh);
    assert_true(fresh);
    assert_int_equal(*v, 0);
    *v = 7;
    v = map_put(&m, S("a"), &fresh);
    assert_false(fresh);
    assert_int_equal(*v, 7);
    assert_non_null(map_put(&m, S(""), NULL));
    assert_non_null(map_put(&m, S("a\0b"), NULL));
    assert_true(map_has(&m, STR_NONE));
    assert_true(map_has(&m, S("a\0b")));
    assert_false(map_has(&m, S("a\0")));
    assert_int_equal(m.n, 3);
    map_clear(&m);
    assert_int_equal(m.n, 0);
    assert_false(map_has(&m, S("a")));
    assert_int_equal(*(int *)map_put(&m, S("a"), NULL), 0);
    map_fini(&m);
}

/* Against a plain array, with keys put and removed in a scattered order. */
static void it_agrees_with_an_array(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    struct map m;
    int want[KEYS] = {0};
    uint32_t r = 12345;
    map_init(&m, sizeof(int));
    for (int step = 1; step < 30000; step++) {
        r = r * 1664525 + 1013904223;
        int i = (int)(r >> 8) % KEYS;
        if ((r >> 28) < 7) {
            assert_int_equal(map_remove(&m, name(i)), want[i] != 0);
            want[i] = 0;
        } else {
            *(int *)map_put(&m, name(i), NULL) = step;
            want[i] = step;
        }
        if (step % 997 != 0)
            continue;
        size_t n = 0, at = 0;
        for (int k = 0; k < KEYS; k++) {
            const int *v = map_get(&m, name(k));
            n += want[k] != 0;
            assert_int_equal(v == NULL ? 0 : *v, want[k]);
        }
        assert_int_equal(m.n, n);
        struct str key;
        void *value;
        while (map_next(&m, &at, &key, &value)) {
            int k = atoi(key.p + 1);
            assert_int_equal(*(int *)value, want[k]);
            n--;
        }
        assert_int_equal(n, 0);
    }
    map_fini(&m);
}

static void a_set_needs_no_values(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, 0);
    for (int i = 0; i < 100; i++)
        assert_non_null(map_put(&m, name(i), NULL));
    for (int i = 0; i < 100; i += 2)
        assert_true(map_remove(&m, name(i)));
    for (int i = 0; i < 100; i++)
        assert_int_equal(map_has(&m, name(i)), i % 2);
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(a_value_is_found_under_its_key),
        cmocka_unit_test(it_agrees_with_an_array),
        cmocka_unit_test(a_set_needs_no_values),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}

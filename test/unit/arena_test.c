#include "lib/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    unsigned char *before = NULL;
    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_ptr_not_equal(p, before);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xaa, n);
        before = p;
    }
    arena_fini(&a);
    arena_fini(&a);
}

static void texts_are_put_one_behind_the_other(void **state)
{
    struct arena a;
    (void)state;
    arena_init(&a, 0);
    assert_string_equal(ARENA_CAT(&a, S("key:"), STR_NONE, S("k1")).p, "key:k1");
    assert_int_equal(ARENA_CAT(&a, STR_NONE).n, 0);
    arena_fini(&a);
}

static void numbers_are_written_as_people_write_them(void **state)
{
    struct arena a;
    (void)state;
    arena_init(&a, 0);
    assert_string_equal(arena_int(&a, 0).p, "0");
    assert_string_equal(arena_int(&a, -7).p, "-7");
    assert_string_equal(arena_int(&a, INT64_MAX).p, "9223372036854775807");
    assert_string_equal(arena_int(&a, INT64_MIN).p, "-9223372036854775808");
    arena_fini(&a);
}

static void a_large_piece_does_not_waste_the_current_block(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    char *first = arena_alloc(&a, 16);
    assert_non_null(arena_alloc(&a, 1000000));
    char *next = arena_alloc(&a, 16);
    assert_true(next > first && next - first <= 64);
    arena_fini(&a);
}

static void the_limit_counts_what_was_handed_out(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    size_t n = 0;
    while (arena_alloc(&a, 100) != NULL)
        n++;
    assert_true(n >= 28 && n <= 36);
    assert_true(a.failed);
    assert_null(arena_alloc(&a, 4096));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 100));
    assert_false(a.failed);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_array(&a, SIZE_MAX / 2, 3));
    assert_null(arena_str(&a, (struct str){"", SIZE_MAX}).p);
    arena_fini(&a);
}

static void after_a_reset_one_block_serves_again(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    char *p = arena_alloc(&a, 100);
    arena_reset(&a);
    char *again = arena_alloc(&a, 100);
    assert_ptr_equal(p, again);
    assert_int_equal(again[0], 0);
    for (int i = 0; i < 1000; i++)
        assert_non_null(arena_alloc(&a, 1000));
    arena_reset(&a);
    assert_int_equal(a.used, 0);
    arena_fini(&a);
}

static void copies_end_with_a_nul(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    struct str s = arena_str(&a, S("abc"));
    assert_int_equal(s.n, 3);
    assert_string_equal(s.p, "abc");
    assert_string_equal(arena_z(&a, STR_NONE), "");
    assert_non_null(arena_str(&a, STR_NONE).p);
    s = arena_printf(&a, "%s-%d", "x", 7);
    assert_string_equal(s.p, "x-7");
    assert_int_equal(s.n, 3);
    arena_fini(&a);
}

static char order[8];

static void note(void *p)
{
    strcat(order, p);
}

static void destructors_run_last_first_and_once(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    order[0] = '\0';
    assert_true(arena_defer(&a, note, (char[]){'a', 0}));
    assert_true(arena_defer(&a, note, (char[]){'b', 0}));
    arena_reset(&a);
    assert_string_equal(order, "ba");
    assert_true(arena_defer(&a, note, (char[]){'c', 0}));
    arena_fini(&a);
    assert_string_equal(order, "bac");
}

static void a_destructor_that_finds_no_room_runs_at_once(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 16);
    order[0] = '\0';
    assert_false(arena_defer(&a, note, (char[]){'x', 0}));
    assert_string_equal(order, "x");
    arena_fini(&a);
    assert_string_equal(order, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_apart),
        cmocka_unit_test(texts_are_put_one_behind_the_other),
        cmocka_unit_test(numbers_are_written_as_people_write_them),
        cmocka_unit_test(a_large_piece_does_not_waste_the_current_block),
        cmocka_unit_test(the_limit_counts_what_was_handed_out),
        cmocka_unit_test(after_a_reset_one_block_serves_again),
        cmocka_unit_test(copies_end_with_a_nul),
        cmocka_unit_test(destructors_run_last_first_and_once),
        cmocka_unit_test(a_destructor_that_finds_no_room_runs_at_once),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}

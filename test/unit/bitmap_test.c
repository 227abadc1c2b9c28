#include "server/bitmap.h"

#include "server/store/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const struct redis_value *text(const char *p, size_t n)
{
    struct redis_value *v = arena_new(&arena, struct redis_value);
    *v = (struct redis_value){.type = REDIS_STRING, .text = {p, n}};
    return v;
}

static struct redis_value array(const struct redis_value **items, size_t n)
{
    return (struct redis_value){.type = REDIS_ARRAY, .count = n, .items = items};
}

static void chunks_are_joined_whatever_their_order(void **state)
{
    (void)state;
    const struct redis_value *items[] = {text("2", 1), text("\x81", 1), text("0", 1), text("\x00\x02", 2)};
    struct redis_value hash = array(items, 4);
    struct bitmap b;
    int64_t found[8];
    assert_true(bitmap_join(&arena, &hash, &b));
    assert_int_equal(bitmap_count(&b), 3);
    assert_int_equal(bitmap_pick(&b, false, 0, 8, found), 3);
    assert_int_equal(found[0], 9);
    assert_int_equal(found[1], 2 * KEY_CHUNK);
    assert_int_equal(found[2], 2 * KEY_CHUNK + 7);
    assert_true(bitmap_has(&b, 9));
    assert_false(bitmap_has(&b, 8));
    assert_false(bitmap_has(&b, -1));
    assert_false(bitmap_has(&b, 1000000));
}

static void nothing_and_nonsense_are_empty(void **state)
{
    (void)state;
    char large[KEY_CHUNK / 8 + 1] = {1};
    const struct redis_value *items[] = {text("x", 1),    text("\xff", 1), text("-1", 2),
                                         text("\xff", 1), text("0", 1),    text(large, sizeof large)};
    struct redis_value hash = array(items, 6), none = array(NULL, 0);
    struct bitmap b;
    assert_true(bitmap_join(&arena, NULL, &b));
    assert_int_equal(bitmap_count(&b), 0);
    assert_true(bitmap_join(&arena, &none, &b));
    assert_int_equal(bitmap_count(&b), 0);
    assert_true(bitmap_join(&arena, &hash, &b));
    assert_int_equal(bitmap_count(&b), 0);
}

static void any_page_is_picked_from_either_end(void **state)
{
    (void)state;
    enum { WORDS = 7, MOST = 64 * WORDS };
    uint64_t words[WORDS];
    int64_t all[MOST], got[MOST];
    uint64_t seed = 1;
    for (size_t i = 0; i < WORDS; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        words[i] = i == 3 ? 0 : i == 5 ? UINT64_MAX : seed;
    }
    struct bitmap b = {words, WORDS};
    size_t n = bitmap_pick(&b, false, 0, MOST, all);
    assert_int_equal(n, bitmap_count(&b));
    for (size_t skip = 0; skip <= n + 1; skip++)
        for (size_t most = 0; most <= 9; most += 3) {
            size_t left = skip > n ? 0 : n - skip, want = left < most ? left : most;
            assert_int_equal(bitmap_pick(&b, false, (int64_t)skip, most, got), want);
            for (size_t i = 0; i < want; i++)
                assert_int_equal(got[i], all[skip + i]);
            assert_int_equal(bitmap_pick(&b, true, (int64_t)skip, most, got), want);
            for (size_t i = 0; i < want; i++)
                assert_int_equal(got[i], all[n - 1 - skip - i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chunks_are_joined_whatever_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_and_nonsense_are_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(any_page_is_picked_from_either_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

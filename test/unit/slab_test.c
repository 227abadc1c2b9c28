#include "lib/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 1000, SIZE = 200 };

static void objects_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    static unsigned char *all[MANY];
    struct slab s;
    slab_init(&s, SIZE);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            all[i] = slab_get(&s);
            assert_non_null(all[i]);
            assert_int_equal((uintptr_t)all[i] % 16, 0);
            for (unsigned at = 0; at < SIZE; at++)
                assert_int_equal(all[i][at], 0);
            memset(all[i], (int)(i % 255 + 1), SIZE);
        }
        for (unsigned i = 0; i < MANY; i++)
            for (unsigned at = 0; at < SIZE; at++)
                assert_int_equal(all[i][at], i % 255 + 1);
        for (unsigned i = round % 2; i < MANY; i += 2) /* every other one, then the rest */
            slab_put(&s, all[i]);
        for (unsigned i = 1 - round % 2; i < MANY; i += 2)
            slab_put(&s, all[i]);
    }
    slab_fini(&s);
}

static void what_is_given_back_is_used_again(void **state)
{
    (void)state;
    static void *all[MANY];
    struct slab s;
    slab_init(&s, SIZE);
    for (unsigned i = 0; i < MANY; i++)
        all[i] = slab_get(&s);
    for (unsigned n = 0; n < 10 * MANY; n++) {
        unsigned i = n * 7919 % MANY;
        slab_put(&s, all[i]);
        all[i] = slab_get(&s);
        assert_non_null(all[i]);
    }
    for (unsigned i = 0; i < MANY; i++)
        slab_put(&s, all[i]);
    slab_put(&s, NULL);
    slab_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(what_is_given_back_is_used_again),
    };
    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}

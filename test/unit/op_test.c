#include "lib/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_finished_operation_calls_a_live_asker(void **state)
{
    (void)state;
    struct ops asker;
    struct op a, b;
    ops_init(&asker);
    assert_true(ops_idle(&asker));
    op_begin(&a, &asker);
    op_begin(&b, &asker);
    assert_false(ops_idle(&asker));
    assert_true(op_finish(&a));
    assert_false(ops_idle(&asker));
    assert_true(op_finish(&b));
    assert_true(ops_idle(&asker));
}

static void an_asker_that_left_is_not_called_but_counted(void **state)
{
    (void)state;
    struct op a, b;
    uint64_t before = op_orphans;
    {
        struct ops asker;
        ops_init(&asker);
        op_begin(&a, &asker);
        op_begin(&b, &asker);
        ops_detach(&asker);
        assert_true(ops_idle(&asker));
        memset(&asker, 0xaa, sizeof asker);
    }
    assert_false(op_finish(&a));
    assert_false(op_finish(&b));
    assert_int_equal(op_orphans - before, 2);
}

static void nobody_may_wait(void **state)
{
    (void)state;
    struct op a;
    op_begin(&a, NULL);
    assert_false(op_finish(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finished_operation_calls_a_live_asker),
        cmocka_unit_test(an_asker_that_left_is_not_called_but_counted),
        cmocka_unit_test(nobody_may_wait),
    };
    return cmocka_run_group_tests_name("op", tests, NULL, NULL);
}

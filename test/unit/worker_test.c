#include "server/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Workers without threads: nobody goes round their loops. */
static void a_worker_that_stands_still_is_seen_at_the_second_beat(void **state)
{
    (void)state;
    static struct worker workers[2];
    struct process p = {.workers = workers, .count = 2};
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(loop_init(&workers[i].loop), 0);

    assert_true(process_beat(&p));
    assert_false(process_beat(&p));
    workers[0].beaten = workers[1].beaten = p.beat;
    assert_true(process_beat(&p));
    workers[0].beaten = p.beat;
    assert_false(process_beat(&p));
    workers[0].beaten = p.beat;
    workers[1].state = WORKER_ENDED; /* has no loop to go round any more */
    assert_true(process_beat(&p));

    for (unsigned i = 0; i < 2; i++)
        loop_fini(&workers[i].loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_worker_that_stands_still_is_seen_at_the_second_beat)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

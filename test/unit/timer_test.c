#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "lib/id.h"
#include "lib/timer.h"

static int make_loop(void **state)
{
    static struct loop loop;

    *state = &loop;
    return loop_init(&loop);
}

static int end_loop(void **state)
{
    loop_fini(*state);
    return 0;
}

struct note {
    struct timer timer;
    struct loop *loop;
    int fired, again, order, expected;
    struct timer *stops;
};

static int fired_so_far;

static void on_note(void *arg)
{
    struct note *n = arg;

    n->fired++;
    n->order = ++fired_so_far;
    if (n->stops)
        timer_stop(n->stops);
    if (n->again-- > 0)
        timer_start(&n->timer, n->loop, 0, on_note, n);
}

static void timers_fire_in_the_order_of_their_time(void **state)
{
    struct loop *loop = *state;
    static const int ms[] = {7, 1, 5, 3, 0, 6, 2, 4};
    struct note notes[ARRAY_LEN(ms)] = {0};

    fired_so_far = 0;
    for (size_t i = 0; i < ARRAY_LEN(ms); i++)
        timer_start(&notes[i].timer, loop, ms[i], on_note, &notes[i]);
    loop_run(loop);
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        assert_int_equal(notes[i].fired, 1);
        assert_int_equal(notes[i].order, ms[i] + 1);
        assert_false(timer_running(&notes[i].timer));
    }
}

static void a_timer_never_fires_inside_the_call_that_starts_it(void **state)
{
    struct loop *loop = *state;
    struct note n = {.loop = loop, .again = 3};

    timer_start(&n.timer, loop, -5, on_note, &n);
    assert_int_equal(n.fired, 0);
    loop_run(loop);
    assert_int_equal(n.fired, 4);
}

static void a_stopped_timer_does_not_fire(void **state)
{
    struct loop *loop = *state;
    struct note a = {0}, b = {0}, c = {0};

    a.stops = &b.timer;
    timer_start(&a.timer, loop, 0, on_note, &a);
    timer_start(&b.timer, loop, 0, on_note, &b);
    timer_start(&c.timer, loop, 60000, on_note, &c);
    timer_stop(&c.timer);
    timer_stop(&c.timer);
    loop_run(loop);
    assert_int_equal(a.fired + b.fired, 1);
    assert_int_equal(c.fired, 0);
}

static void a_timer_that_is_moved_fires_once_at_its_last_time(void **state)
{
    struct loop *loop = *state;
    struct note later = {0}, sooner = {0}, mark = {0};

    fired_so_far = 0;
    timer_start(&later.timer, loop, 1, on_note, &later);
    timer_start(&later.timer, loop, 20, on_note, &later);
    timer_start(&sooner.timer, loop, 60000, on_note, &sooner);
    timer_start(&sooner.timer, loop, 2, on_note, &sooner);
    timer_start(&mark.timer, loop, 10, on_note, &mark);
    loop_run(loop);
    assert_int_equal(sooner.order, 1);
    assert_int_equal(mark.order, 2);
    assert_int_equal(later.order, 3);
}

/* Against a plain array: random starts, moves and stops; then every timer that should fire does, and in order. */
static void the_heap_agrees_with_an_array(void **state)
{
    struct loop *loop = *state;
    enum { N = 300 };
    static struct note notes[N];
    int64_t last = -1;

    for (int i = 0; i < N; i++)
        notes[i] = (struct note){0};
    fired_so_far = 0;
    for (int round = 0; round < 3000; round++) {
        struct note *n = &notes[random_below(N)];

        if (random_below(4) == 0)
            timer_stop(&n->timer);
        else
            timer_start(&n->timer, loop, random_below(30), on_note, n);
    }
    for (int i = 0; i < N; i++)
        notes[i].expected = timer_running(&notes[i].timer);
    loop_run(loop);
    for (int order = 1; order <= fired_so_far; order++)
        for (int i = 0; i < N; i++)
            if (notes[i].order == order) {
                assert_true(notes[i].timer.due >= last);
                last = notes[i].timer.due;
            }
    for (int i = 0; i < N; i++)
        assert_int_equal(notes[i].fired, notes[i].expected);
}

static void count_up(void *arg)
{
    ++*(int *)arg;
}

static void a_deferred_task_runs_once_at_the_next_turn(void **state)
{
    struct loop *loop = *state;
    struct loop_task task = {0}, gone = {0};
    int runs = 0, gone_runs = 0;

    loop_defer(loop, &task, count_up, &runs);
    loop_defer(loop, &task, count_up, &runs);
    loop_defer(loop, &gone, count_up, &gone_runs);
    loop_undefer(&gone);
    loop_undefer(&gone);
    assert_int_equal(runs, 0);
    loop_run(loop);
    assert_int_equal(runs, 1);
    assert_int_equal(gone_runs, 0);
}

struct chain {
    struct loop *loop;
    struct loop_task task;
    struct loop_hook hook;
    int left, flushes;
};

static void defer_again(void *arg)
{
    struct chain *c = arg;

    if (--c->left > 0)
        loop_defer(c->loop, &c->task, defer_again, c);
}

static void on_flush(void *arg)
{
    ((struct chain *)arg)->flushes++;
}

static void hooks_run_once_a_turn(void **state)
{
    struct chain c = {.loop = *state, .left = 5};

    loop_on_flush(c.loop, &c.hook, on_flush, &c);
    loop_defer(c.loop, &c.task, defer_again, &c);
    loop_run(c.loop);
    assert_int_equal(c.left, 0);
    assert_int_equal(c.flushes, 5);
    loop_off_flush(&c.hook);
}

static void *wake_from_outside(void *arg)
{
    loop_wake(arg);
    return NULL;
}

static void stop_it(void *arg)
{
    loop_stop(arg);
}

static void another_thread_wakes_the_loop(void **state)
{
    struct loop *loop = *state;
    struct note keep = {0};
    pthread_t thread;

    loop_on_wake(loop, stop_it, loop);
    timer_start(&keep.timer, loop, 600000, on_note, &keep);
    assert_int_equal(pthread_create(&thread, NULL, wake_from_outside, loop), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    assert_int_equal(keep.fired, 0);
    timer_stop(&keep.timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_in_the_order_of_their_time, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_timer_never_fires_inside_the_call_that_starts_it, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_stopped_timer_does_not_fire, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_timer_that_is_moved_fires_once_at_its_last_time, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(the_heap_agrees_with_an_array, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_deferred_task_runs_once_at_the_next_turn, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(hooks_run_once_a_turn, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(another_thread_wakes_the_loop, make_loop, end_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include "lib/process.h"
#include "lib/signal.h"
#include "lib/timer.h"
#include "lib/work.h"

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

struct child {
    struct process process;
    struct buf out, err;
    int ended, exits, status, signal, closed;
};

static void on_output(struct process *p, int fd, struct str bytes)
{
    struct child *c = list_entry(p, struct child, process);

    if (!bytes.n)
        c->ended++;
    buf_str(fd == 1 ? &c->out : &c->err, bytes);
}

static void on_exit_(struct process *p, int status, int signum)
{
    struct child *c = list_entry(p, struct child, process);

    c->exits++;
    c->status = status;
    c->signal = signum;
}

static void on_closed(void *arg)
{
    ((struct child *)arg)->closed++;
}

static const struct process_events events = {on_output, on_exit_};

static void end_child(struct loop *loop, struct child *c)
{
    process_close(&c->process, on_closed, c);
    loop_run(loop);
    assert_int_equal(c->closed, 1);
    buf_free(&c->out);
    buf_free(&c->err);
}

static void output_and_status_are_told_apart(void **state)
{
    const char *const argv[] = {"sh", "-c", "echo out; echo err >&2; exit 7", NULL};
    struct process_spec spec = {.file = "sh", .argv = argv, .io = {PROCESS_NULL, PROCESS_PIPE, PROCESS_PIPE}};
    struct child c = {0};

    assert_int_equal(process_open(&c.process, *state, &spec, &events), 0);
    assert_true(c.process.pid > 0);
    while (!c.exits || c.ended < 2)
        loop_turn(*state, true);
    assert_int_equal(c.status, 7);
    assert_int_equal(c.signal, 0);
    assert_int_equal(c.process.pid, 0);
    assert_true(str_eq(buf_view(&c.out), S("out\n")));
    assert_true(str_eq(buf_view(&c.err), S("err\n")));
    assert_int_equal(process_signal(&c.process, SIGTERM), -ESRCH);
    end_child(*state, &c);
}

static void a_signal_reaches_the_whole_group(void **state)
{
    const char *const argv[] = {"sh", "-c", "(sleep 600 & echo started; wait) | cat; exit 3", NULL};
    struct process_spec spec = {
        .file = "sh", .argv = argv, .session = true, .io = {PROCESS_NULL, PROCESS_PIPE, PROCESS_NULL}};
    struct child c = {0};

    assert_int_equal(process_open(&c.process, *state, &spec, &events), 0);
    while (!c.out.n)
        loop_turn(*state, true);
    assert_int_equal(process_signal(&c.process, SIGKILL), 0);
    while (!c.exits || !c.ended) /* the output ends when the last of the group is gone */
        loop_turn(*state, true);
    assert_int_equal(c.signal, SIGKILL);
    end_child(*state, &c);
}

static void a_missing_program_is_an_error_and_nothing_runs(void **state)
{
    const char *const argv[] = {"nothing", NULL};
    struct process_spec spec = {.file = "/nonexistent/nothing", .argv = argv};
    struct child c = {0};

    assert_int_equal(process_open(&c.process, *state, &spec, &events), -ENOENT);
    end_child(*state, &c);
    assert_int_equal(c.exits, 0);
}

static void a_descriptor_is_handed_down_and_no_other(void **state)
{
    const char *const argv[] = {"sh", "-c", "echo kept >&3; (echo lost >&9) 2>/dev/null || echo closed", NULL};
    int given[2], other;
    struct process_spec spec = {.file = "sh",
                                .argv = argv,
                                .io = {PROCESS_NULL, PROCESS_PIPE, PROCESS_NULL},
                                .extra = &given[1],
                                .extra_count = 1};
    struct child c = {0};
    char text[16] = "";

    assert_int_equal(pipe2(given, O_CLOEXEC), 0);
    other = fcntl(given[1], F_DUPFD_CLOEXEC, 9);
    assert_int_equal(process_open(&c.process, *state, &spec, &events), 0);
    while (!c.exits || !c.ended)
        loop_turn(*state, true);
    assert_int_equal(read(given[0], text, sizeof text), 5);
    assert_string_equal(text, "kept\n");
    assert_true(str_eq(buf_view(&c.out), other == 9 ? S("closed\n") : buf_view(&c.out)));
    close(given[0]);
    close(given[1]);
    close(other);
    end_child(*state, &c);
}

static void on_signal(void *arg, int signum)
{
    *(int *)arg = signum;
}

static void never(void *arg)
{
    *(int *)arg = -1;
}

static void signals_become_callbacks(void **state)
{
    struct signal_watch watch;
    struct timer keep = {0}; /* a watch alone does not keep the loop going */
    int seen = 0;

    timer_start(&keep, *state, 600000, never, &seen);
    assert_int_equal(signal_open(&watch, *state, SIGUSR2, on_signal, &seen), 0);
    kill(getpid(), SIGUSR2);
    while (!seen)
        loop_turn(*state, true);
    assert_int_equal(seen, SIGUSR2);
    timer_stop(&keep);
    signal_close(&watch, NULL, NULL);
    loop_run(*state);
}

/* --- work --- */

struct sum {
    int a, b, result;
};

static void add(void *data)
{
    struct sum *s = data;

    s->result = s->a + s->b;
}

static int dropped;
static void on_drop(void *data)
{
    (void)data;
    dropped++;
}

static const struct work_kind adding = {add, on_drop};

static void on_sum(void *arg, void *data)
{
    *(int *)arg = ((struct sum *)data)->result;
}

static void work_runs_elsewhere_and_comes_back(void **state)
{
    struct ops asker;
    int result = 0;

    dropped = 0;
    ops_init(&asker);
    assert_int_equal(work_start(*state, &asker, &adding, &(struct sum){2, 3, 0}, sizeof(struct sum), on_sum, &result),
                     0);
    assert_int_equal(result, 0);
    assert_false(ops_idle(&asker));
    loop_run(*state);
    assert_int_equal(result, 5);
    assert_int_equal(dropped, 1);
    assert_true(ops_idle(&asker));
}

static void work_whose_asker_has_gone_is_only_dropped(void **state)
{
    struct ops asker;
    int result = 0;

    dropped = 0;
    ops_init(&asker);
    assert_int_equal(work_start(*state, &asker, &adding, &(struct sum){2, 3, 0}, sizeof(struct sum), on_sum, &result),
                     0);
    ops_detach(&asker);
    loop_run(*state);
    assert_int_equal(result, 0);
    assert_int_equal(dropped, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(output_and_status_are_told_apart, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_signal_reaches_the_whole_group, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_missing_program_is_an_error_and_nothing_runs, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_descriptor_is_handed_down_and_no_other, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(signals_become_callbacks, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(work_runs_elsewhere_and_comes_back, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(work_whose_asker_has_gone_is_only_dropped, make_loop, end_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

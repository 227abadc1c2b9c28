/* The agent's table of tasks against a scripted server; the tasks are real processes, launched as this very program. */
#include "server/agent/tasks.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "server/agent/file.h"
#include "server/agent/protocol.h"
#include "server/agent/task.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN "018f0000-0000-7000-8000-000000000001"
enum { DEADLINE_MS = 60000 };

static char root[64];
static int data;
static struct arena arena;
static struct tasks tasks;
static const char *const capabilities[] = {"script"};
static struct tasks_settings settings = {
    .path = root, .exe = "/proc/self/exe", .capabilities = capabilities, .capability_count = 1, .most = 3};

/* --- a server that keeps what it is told --- */

static struct {
    bool deaf;       /* takes nothing */
    bool silent;     /* acknowledges neither lines nor ends */
    bool mute;       /* acknowledges nothing */
    struct buf log;  /* "<task> <type> ..." by line; lines as "<task> > text" */
    struct buf acks; /* refs to acknowledge, by line */
    unsigned messages;
    int64_t next; /* number of the next line expected, of the one task that is watched */
} server;

static bool take(void *arg, struct str message)
{
    (void)arg;
    if (server.deaf)
        return false;
    struct arena a;
    arena_init(&a, 0);
    const struct json *j = json_parse(&a, message, NULL, NULL);
    assert_non_null(j);
    assert_true(message.n <= PROTOCOL_MESSAGE);
    struct str type = json_str(json_get(j, "type")), id = json_str(json_get(j, "taskId"));
    struct task_place place;
    struct str node = task_place(id, &place) ? place.node : id;
    server.messages++;
    if (str_eqz(type, "task_log")) {
        const struct json *lines = json_get(j, "lines");
        int64_t seq = json_int(json_get(j, "seq"), 0);
        assert_in_range(json_count(lines), 1, PROTOCOL_LINES);
        for (size_t i = 0; i < json_count(lines); i++, seq++)
            if (seq >= server.next) {
                assert_int_equal(seq, server.next);
                server.next++;
                buf_printf(&server.log, STR_FMT " > " STR_FMT "\n", STR_ARG(node),
                           STR_ARG(json_str(json_get(json_at(lines, i), "line"))));
            }
    } else if (str_eqz(type, "task_completed")) {
        buf_printf(&server.log, STR_FMT " task_completed %s " STR_FMT " %lld lines\n", STR_ARG(node),
                   json_bool(json_get(j, "success"), false) ? "success" : "failure",
                   STR_ARG(json_str(json_get(j, "errorType"))), (long long)json_int(json_get(j, "lines"), -1));
    } else {
        buf_printf(&server.log, STR_FMT " " STR_FMT " " STR_FMT "\n", STR_ARG(node), STR_ARG(type),
                   STR_ARG(json_str(json_get(j, "reason"))));
    }
    struct str ref = json_str(json_get(j, "id"));
    if (!server.mute && (!server.silent || str_ends(ref, S("|a")) || str_ends(ref, S("|s"))))
        buf_printf(&server.acks, STR_FMT "\n", STR_ARG(json_str(json_get(j, "id"))));
    arena_fini(&a);
    return true;
}

static void acknowledge(void)
{
    struct buf acks = server.acks;
    server.acks = (struct buf){0};
    for (struct str rest = buf_view(&acks); rest.n > 0;)
        tasks_ack(&tasks, str_cut(&rest, '\n'));
    buf_free(&acks);
}

static bool logged(const char *text)
{
    return str_find(buf_view(&server.log), str_z(text)) >= 0;
}

static void until(const char *text)
{
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (!logged(text)) {
        if (clock_mono_ms() > deadline)
            fail_msg("never came: %s\nbut:\n" STR_FMT, text, STR_ARG(buf_view(&server.log)));
        tasks_tick(&tasks);
        acknowledge();
        poll(NULL, 0, 2);
    }
}

static void until_done(void)
{
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (tasks_tick(&tasks)) {
        if (clock_mono_ms() > deadline)
            fail_msg("never done:\n" STR_FMT, STR_ARG(buf_view(&server.log)));
        acknowledge();
        poll(NULL, 0, 2);
    }
}

/* --- fixture --- */

static int begin(void **state)
{
    (void)state;
    log_setup(LOG_NONE, LOG_TEXT, 2);
    snprintf(root, sizeof root, "/tmp/tasks-test-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    memset(&server, 0, sizeof server);
    server.next = 1;
    arena_init(&arena, 0);
    data = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks_open(&tasks, &settings, data) != 0)
        return -1;
    tasks_link(&tasks, take, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tasks_cancel_all(&tasks, S("test"));
    tasks_close(&tasks);
    close(data);
    arena_fini(&arena);
    buf_free(&server.log);
    buf_free(&server.acks);
    file_remove(AT_FDCWD, root);
    return 0;
}

static void assign_with(const char *node, const char *command, const char *more)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    buf_printf(&b,
               "{\"id\":\"" RUN ":%s:1\",\"idempotencyKey\":\"key-%s\",\"type\":\"execute-command\"%s,\"payload\":"
               "{\"command\":[\"sh\",\"-c\",",
               node, node, more);
    json_write_string(&b, str_z(command));
    buf_z(&b, "]}}");
    const struct json *j = json_parse(&arena, arena_str(&arena, buf_view(&b)), NULL, NULL);
    assert_non_null(j);
    tasks_assign(&tasks, j, clock_wall_ms());
    buf_free(&b);
}

static void assign(const char *node, const char *command)
{
    assign_with(node, command, "");
}

/* As after a kill -9: nothing is said, nothing is written, descriptors are gone. */
static void restart(void)
{
    tasks_close(&tasks);
    assert_int_equal(tasks_open(&tasks, &settings, data), 0);
}

/* --- tests --- */

static void a_task_is_told_in_order(void **state)
{
    (void)state;
    assign("a", "echo one; echo two");
    until_done();
    buf_char(&server.log, '\0');
    assert_string_equal(server.log.p, "a task_accepted \na task_started \na > one\na > two\n"
                                      "a task_completed success  2 lines\n");
}

static void failure_and_progress_are_told(void **state)
{
    (void)state;
    assign("a", "echo '##slipway[progress 40] half'; exit 3");
    until_done();
    assert_true(logged("a task_progress \n"));
    assert_true(logged("a task_completed failure exit_code 1 lines\n"));
}

static void what_is_not_acknowledged_is_said_again_after_a_restart(void **state)
{
    (void)state;
    server.mute = true;
    assign("a", "echo one; echo two; sleep 1000");
    until("a task_accepted");
    restart();
    assert_int_equal(tasks.running, 1);
    buf_clear(&server.log);
    server.mute = false;
    server.silent = true;
    tasks_link(&tasks, take, NULL);
    until("a > two\n");
    assert_true(logged("a task_accepted \na task_started \na > one\na > two\n"));
    restart();
    buf_clear(&server.log);
    server.next = 1;
    server.silent = false;
    tasks_link(&tasks, take, NULL);
    until("a > two\n");
    assert_false(logged("a task_"));
    tasks_cancel(&tasks, S(RUN ":a:1"), S("enough"), 10);
    until("a task_completed failure cancelled 3 lines\n"); /* ours says that it sent TERM */
}

static void lines_of_an_absence_come_once_and_in_order(void **state)
{
    (void)state;
    assign("a", "seq 1 20000; touch over; until [ -e go ]; do sleep 0.01; done; echo last");
    until("a > 1\n");
    tasks_link(&tasks, NULL, NULL);
    char path[128];
    snprintf(path, sizeof path, "%s/tasks/" RUN ":a:1/work/over", root);
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (access(path, F_OK) != 0 && clock_mono_ms() < deadline) {
        tasks_tick(&tasks);
        poll(NULL, 0, 2);
    }
    restart();
    tasks_link(&tasks, take, NULL);
    until("a > 20000\n");
    snprintf(path, sizeof path, "%s/tasks/" RUN ":a:1/work/go", root);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    until("a task_completed success  20001 lines\n");
    assert_int_equal(server.next, 20002);
}

static void a_deaf_connection_is_waited_for(void **state)
{
    (void)state;
    server.deaf = true;
    assign("a", "seq 1 500");
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (!tasks_idle(&tasks) && clock_mono_ms() < deadline) {
        tasks_tick(&tasks);
        poll(NULL, 0, 2);
    }
    assert_int_equal(server.messages, 0);
    server.deaf = false;
    until("a task_completed success  500 lines\n");
}

static void no_more_lines_than_the_window_are_under_way(void **state)
{
    (void)state;
    server.silent = true;
    assign("a", "seq 1 5000");
    until("a > 1000\n");
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (!tasks_idle(&tasks) && clock_mono_ms() < deadline) {
        tasks_tick(&tasks);
        poll(NULL, 0, 2);
    }
    tasks_tick(&tasks);
    assert_int_equal(server.next, PROTOCOL_WINDOW + 1);
    assert_false(logged("task_completed"));
    server.silent = false;
    tasks_link(&tasks, take, NULL);
    until("a task_completed success  5000 lines\n");
}

static void a_nack_makes_it_go_back(void **state)
{
    (void)state;
    server.silent = true;
    assign("a", "seq 1 50");
    until("a > 50\n");
    server.next = 1;
    server.silent = false;
    buf_clear(&server.log);
    tasks_nack(&tasks, S(RUN ":a:1|l50"), 1);
    until("a task_completed success  50 lines\n");
    assert_true(logged("a > 1\n"));
}

static void a_task_sent_again_is_not_run_again(void **state)
{
    (void)state;
    assign("a", "echo once");
    until_done();
    buf_clear(&server.log);
    assign("a", "echo once");
    until_done();
    assert_true(logged("a task_accepted \na task_started \na task_completed success  1 lines\n"));
    assert_false(logged("a > once"));
    restart();
    tasks_link(&tasks, take, NULL);
    buf_clear(&server.log);
    assign("a", "echo once");
    until_done();
    assert_true(logged("a task_completed success  1 lines\n"));
}

static void refusals_name_their_reason(void **state)
{
    (void)state;
    assign("a", "sleep 1000");
    assign("b", "sleep 1000");
    assign_with("c", "true", ",\"expiresAt\":\"2020-01-01T00:00:00Z\"");
    assert_true(logged("c task_refused expired\n"));
}

static void a_full_agent_refuses_and_a_draining_one_too(void **state)
{
    (void)state;
    assign("a", "sleep 1000");
    assign("b", "sleep 1000");
    assign("c", "sleep 1000");
    assign("d", "true");
    assert_true(logged("d task_refused busy\n"));
    tasks_cancel_all(&tasks, S("test"));
    until_done();
    tasks_drain(&tasks);
    assign("e", "true");
    assert_true(logged("e task_refused busy\n"));
}

static void other_types_and_broken_envelopes_are_refused(void **state)
{
    (void)state;
    const struct json *j =
        json_parse(&arena, S("{\"id\":\"x\",\"idempotencyKey\":\"k\",\"type\":\"deploy\",\"payload\":{}}"), NULL, NULL);
    tasks_assign(&tasks, j, 0);
    assert_true(logged("x task_refused capability_missing\n"));
    tasks_assign(&tasks, json_parse(&arena, S("{\"id\":\"y\"}"), NULL, NULL), 0);
    assert_true(logged("y task_refused invalid\n"));
    assign("a", "sleep 1000");
    j = json_parse(&arena, S("{\"id\":\"z\",\"idempotencyKey\":\"key-a\",\"type\":\"execute-command\",\"payload\":{}}"),
                   NULL, NULL);
    tasks_assign(&tasks, j, 0);
    assert_true(logged("z task_refused invalid\n"));
    assert_int_equal(tasks.running, 1);
}

static void a_killed_parent_is_told_as_lost(void **state)
{
    (void)state;
    assign("a", "echo one; sleep 1000");
    until("a > one\n");
    struct journal_started s;
    int dir = journal_folder(&tasks.journal, S(RUN ":a:1"));
    assert_true(journal_started_read(dir, &arena, &s));
    close(dir);
    assert_true(s.here);
    kill((pid_t)s.parent, SIGKILL);
    until("a task_completed failure agent_lost 1 lines\n");
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (process_lives(s.pid, s.pid_start) && clock_mono_ms() < deadline)
        poll(NULL, 0, 2);
    assert_false(process_lives(s.pid, s.pid_start));
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "agent") == 0)
        return task_run(argv[3], NULL);
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_task_is_told_in_order),
        T(failure_and_progress_are_told),
        T(what_is_not_acknowledged_is_said_again_after_a_restart),
        T(lines_of_an_absence_come_once_and_in_order),
        T(a_deaf_connection_is_waited_for),
        T(no_more_lines_than_the_window_are_under_way),
        T(a_nack_makes_it_go_back),
        T(a_task_sent_again_is_not_run_again),
        T(refusals_name_their_reason),
        T(a_full_agent_refuses_and_a_draining_one_too),
        T(other_types_and_broken_envelopes_are_refused),
        T(a_killed_parent_is_told_as_lost),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

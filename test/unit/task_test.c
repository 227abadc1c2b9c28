/* Real processes under a real parent: each test forks one that runs task_run. */
#include "server/agent/task.h"
#include "lib/clock.h"
#include "server/agent/file.h"
#include "server/agent/journal.h"
#include "server/agent/protocol.h"
#include "server/agent/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "018f0000-0000-7000-8000-000000000001:build:1"
enum { DEADLINE_MS = 30000 };

static char root[64], path[256];
static int data, dir;
static struct journal journal;
static struct arena arena;
static pid_t parent;

static int begin(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/task-test-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/tasks/" ID, root);
    arena_init(&arena, 0);
    data = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = -1;
    parent = 0;
    return journal_open(&journal, data);
}

static int end(void **state)
{
    (void)state;
    if (parent > 0) {
        kill(parent, SIGKILL);
        waitpid(parent, NULL, 0);
    }
    if (dir >= 0)
        close(dir);
    journal_close(&journal);
    close(data);
    arena_fini(&arena);
    file_remove(AT_FDCWD, root);
    return 0;
}

static void fork_parent(const struct spool_limits *limits)
{
    parent = fork();
    if (parent == 0) {
        setsid();
        _exit(task_run(path, limits));
    }
}

/* members: of the envelope, beside the identifying ones. */
static void launch_type(const char *type, const char *members, const struct spool_limits *limits)
{
    struct buf b = {0};
    buf_printf(&b, "{\"id\":\"" ID "\",\"idempotencyKey\":\"k\",\"type\":\"%s\",%s}", type, members);
    assert_int_equal(journal_add(&journal, S(ID), buf_view(&b)), 0);
    buf_free(&b);
    dir = journal_folder(&journal, S(ID));
    assert_true(dir >= 0);
    fork_parent(limits);
}

static void launch(const char *members, const struct spool_limits *limits)
{
    launch_type("execute-command", members, limits);
}

static int reap(void)
{
    int status;
    assert_int_equal(waitpid(parent, &status, 0), parent);
    parent = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct journal_exit ended(void)
{
    struct journal_exit e;
    assert_int_equal(reap(), 0);
    assert_true(journal_exit_read(dir, &arena, &e));
    assert_false(journal_locked(dir));
    return e;
}

/* All lines as "<stream>|<text>\n". */
static const char *output(void)
{
    struct spool_reader r;
    struct str record;
    struct task_line line;
    struct buf all = {0};
    int out = openat(dir, "out", O_RDONLY | O_DIRECTORY);
    assert_true(out >= 0);
    assert_int_equal(spool_reader_open(&r, out), 0);
    close(out);
    while (spool_read(&r, &record) == SPOOL_RECORD) {
        assert_true(task_line_read(record, &line));
        assert_in_range(line.ms, clock_wall_ms() - 120000, clock_wall_ms() + 1000);
        buf_printf(&all, "%s|" STR_FMT "\n", task_stream_name(line.stream), STR_ARG(line.text));
    }
    spool_reader_close(&r);
    char *z = arena_z(&arena, buf_view(&all));
    buf_free(&all);
    return z != NULL ? z : "";
}

static bool soon(bool (*condition)(void))
{
    int64_t until = clock_mono_ms() + DEADLINE_MS;
    while (!condition()) {
        if (clock_mono_ms() > until)
            return false;
        poll(NULL, 0, 5);
    }
    return true;
}

static bool says_ready(void)
{
    return faccessat(dir, "out", F_OK, 0) == 0 && strstr(output(), "stdout|ready\n") != NULL;
}

static void a_command_runs_and_its_lines_and_status_are_kept(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"/bin/sh\",\"-c\",\"echo one; echo two >&2; printf three; exit 3\"]}", NULL);
    struct journal_exit e = ended();
    assert_string_equal(e.cause, PROTOCOL_EXIT);
    assert_int_equal(e.exit_code, 3);
    assert_int_equal(e.lines, 3);
    assert_true(str_eqz(e.tail, "one\nthree\n"));
    assert_true(str_eqz(e.message, "the command ended with exit status 3"));
    assert_true(e.started_ms <= e.finished_ms);
    const char *all = output();
    assert_non_null(strstr(all, "stdout|one\n"));
    assert_non_null(strstr(all, "stderr|two\n"));
    assert_non_null(strstr(all, "stdout|three\n"));
}

static void a_text_goes_to_the_shell_and_success_has_no_cause(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":\"exit 0\"}", NULL);
    struct journal_exit e = ended();
    assert_null(e.cause);
    assert_int_equal(e.exit_code, 0);
    assert_string_equal(output(), "");
}

static void the_environment_is_clean_and_the_folder_its_own(void **state)
{
    (void)state;
    setenv("SLIPWAY_LEAK", "agent-secret", 1);
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"pwd; echo $GREETING; env\"],\"env\":{\"GREETING\":\"hello\"}}",
           NULL);
    assert_null(ended().cause);
    unsetenv("SLIPWAY_LEAK");
    const char *all = output();
    assert_null(strstr(all, "agent-secret"));
    assert_non_null(strstr(all, "/tasks/" ID "/work\n"));
    assert_non_null(strstr(all, "stdout|hello\n"));
    assert_non_null(strstr(all, "SLIPWAY_NODE_ID=build\n"));
    assert_non_null(strstr(all, "SLIPWAY_ATTEMPT=1\n"));
    assert_non_null(strstr(all, "PATH="));
}

static void credentials_reach_the_command_but_not_the_disk(void **state)
{
    (void)state;
    launch("\"credentials\":{\"PASSWORD\":\"hunter22\",\"input:x\":\"other-secret\"},\"payload\":{\"command\":[\"sh\","
           "\"-c\","
           "\"echo $PASSWORD; printf hun; sleep 0.05; echo ter22; printf %s $PASSWORD | base64; echo other-secret\"]}",
           NULL);
    struct journal_exit e = ended();
    assert_null(e.cause);
    const char *all = output();
    assert_null(strstr(all, "hunter22"));
    assert_null(strstr(all, "aHVudGVyMj"));
    assert_null(strstr(all, "other-secret"));
    assert_int_equal(strncmp(all, "stdout|***\nstdout|***\nstdout|***", 31), 0);
    assert_true(str_find(e.tail, S("hunter")) < 0);
    struct buf b = {0};
    assert_int_equal(journal_envelope(dir, &b), 0);
    assert_true(str_find(buf_view(&b), S("hunter22")) < 0);
    buf_free(&b);
}

static void a_timeout_sends_term_then_kill(void **state)
{
    (void)state;
    launch("\"timeout\":2,\"payload\":{\"graceSeconds\":3,\"command\":[\"sh\",\"-c\",\"trap 'echo term' TERM; "
           "while :; do sleep 1; done\"]}",
           NULL);
    struct journal_exit e = ended();
    assert_string_equal(e.cause, PROTOCOL_TIMEOUT);
    assert_int_equal(e.signal, SIGKILL);
    const char *all = output();
    assert_non_null(strstr(all, "system|the time-out of 2 s is over"));
    assert_non_null(strstr(all, "stdout|term\n"));
    assert_non_null(strstr(all, "sent KILL\n"));
}

static void cancelling_lets_the_command_say_goodbye(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep "
           "0.01; done\"]}",
           NULL);
    assert_true(soon(says_ready));
    assert_true(journal_locked(dir));
    assert_int_equal(journal_cancel_write(dir, &(struct journal_cancel){30, S("enough")}), 0);
    kill(parent, SIGTERM);
    struct journal_exit e = ended();
    assert_string_equal(e.cause, PROTOCOL_CANCELLED);
    assert_int_equal(e.exit_code, 5);
    assert_true(str_eqz(e.message, "cancelled: enough"));
    assert_non_null(strstr(output(), "stdout|bye\n"));
}

static void cancelled_before_it_began_it_never_runs(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_z(&b, "{\"id\":\"" ID
              "\",\"idempotencyKey\":\"k\",\"type\":\"execute-command\",\"payload\":{\"command\":\"echo no\"}}");
    assert_int_equal(journal_add(&journal, S(ID), buf_view(&b)), 0);
    assert_int_equal(journal_add(&journal, S(ID), buf_view(&b)), EEXIST);
    buf_free(&b);
    dir = journal_folder(&journal, S(ID));
    assert_int_equal(journal_cancel_write(dir, &(struct journal_cancel){30, S("")}), 0);
    fork_parent(NULL);
    struct journal_exit e = ended();
    assert_string_equal(e.cause, PROTOCOL_CANCELLED);
    assert_int_equal(e.exit_code, -1);
    assert_null(strstr(output(), "stdout|"));
}

static bool command_is_dead(void)
{
    struct journal_started s;
    return journal_started_read(dir, &arena, &s) && !process_lives(s.pid, s.pid_start);
}

static void a_killed_parent_takes_the_command_along_and_it_never_runs_again(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"echo ready; exec sleep 1000\"]}", NULL);
    assert_true(soon(says_ready));
    struct journal_started s;
    struct journal_exit e;
    assert_true(journal_started_read(dir, &arena, &s));
    assert_int_equal(s.parent, parent);
    assert_true(process_lives(s.parent, s.parent_start));
    assert_true(process_lives(s.pid, s.pid_start));
    assert_false(process_lives(s.pid, s.pid_start + 1));
    kill(parent, SIGKILL);
    assert_int_equal(reap(), -1);
    assert_true(soon(command_is_dead));
    assert_false(journal_locked(dir));
    assert_false(journal_exit_read(dir, &arena, &e));
    fork_parent(NULL);
    assert_int_equal(reap(), 1);
    assert_false(journal_exit_read(dir, &arena, &e));
}

static void what_cannot_start_says_why(void **state)
{
    static const struct {
        const char *members, *why;
    } rows[] = {
        {"\"payload\":{\"command\":[\"/no/such/program\"]}", "/no/such/program: No such file or directory"},
        {"\"payload\":{\"command\":\"true\",\"workingDirectory\":\"no/such\"}", "no/such: No such file or directory"},
        {"\"payload\":{\"command\":[]}", "payload.command is neither"},
        {"\"payload\":{\"command\":\"true\",\"env\":{\"A=B\":\"c\"}}", "payload.env has a name"},
        {"\"payload\":{\"command\":[\"a\",1]}", "payload.command has an element"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        launch(rows[i].members, NULL);
        struct journal_exit e = ended();
        assert_string_equal(e.cause, PROTOCOL_START);
        assert_true(str_starts(e.message, str_z(rows[i].why)));
        assert_non_null(strstr(output(), rows[i].why));
        if (i + 1 < ARRAY_LEN(rows)) {
            end(state);
            assert_int_equal(begin(state), 0);
        }
    }
}

static int64_t left;

static bool left_is_dead(void)
{
    uint64_t start;
    return !process_start(left, &start);
}

static void the_rest_of_the_group_does_not_outlive_the_command(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"sleep 1000 & echo $!; exit 0\"]}", NULL);
    struct journal_exit e = ended();
    assert_null(e.cause);
    left = strtoll(output() + strlen("stdout|"), NULL, 10);
    assert_true(left > 1);
    assert_true(soon(left_is_dead));
}

static void a_daemon_stays_and_does_not_hold_the_task(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"setsid sh -c ': > up; exec sleep 1000' & echo $!; until [ -e up "
           "]; do sleep 0.01; done\"]}",
           NULL);
    struct journal_exit e = ended();
    assert_null(e.cause);
    pid_t pid = (pid_t)strtol(output() + strlen("stdout|"), NULL, 10);
    uint64_t start;
    assert_true(pid > 1);
    assert_true(process_start(pid, &start));
    kill(pid, SIGKILL);
}

static void a_line_that_is_too_long_is_split_between_characters(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"printf x; i=0; while [ $i -lt 10000 ]; do printf "
           "'\xc3\xa9\xc3\xa9'; i=$((i+1)); done; echo; echo\"]}",
           NULL);
    struct journal_exit e = ended();
    assert_int_equal(e.lines, 4);
    const char *all = output();
    struct str rest = str_z(all);
    size_t total = 0;
    for (int i = 0; i < 4; i++) {
        struct str line = str_cut(&rest, '\n');
        line = str_slice(line, strlen("stdout|"), line.n);
        assert_true(str_utf8(line));
        assert_true(line.n <= PROTOCOL_LINE);
        total += line.n;
        assert_true(i < 3 || line.n == 0);
    }
    assert_int_equal(total, 40001);
}

static struct spool_reader reader;
static unsigned numbers;

static bool drained(void)
{
    struct str record;
    struct task_line line;
    struct journal_exit e;
    bool over = journal_exit_read(dir, &arena, &e);
    while (spool_read(&reader, &record) == SPOOL_RECORD) {
        char want[16];
        assert_true(task_line_read(record, &line));
        snprintf(want, sizeof want, "%u", ++numbers);
        assert_true(str_eqz(line.text, want));
    }
    spool_ack(&reader, numbers);
    return over;
}

static void a_full_spool_makes_the_command_wait_and_nothing_is_lost(void **state)
{
    (void)state;
    enum { LINES = 30000 };
    static const struct spool_limits small = {.segment = 8192, .total = 128 * 1024, .sync = SPOOL_SYNC_NEVER};
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"seq 1 30000\"]}", &small);
    struct journal_started s;
    int64_t until = clock_mono_ms() + DEADLINE_MS;
    while (faccessat(dir, "out/00000000000000000001.s1", F_OK, 0) != 0 && clock_mono_ms() < until)
        poll(NULL, 0, 5);
    assert_true(journal_started_read(dir, &arena, &s));
    poll(NULL, 0, 3 * TASK_BLOCKED_MS); /* gives a parent that does not wait the time to be found out */
    assert_true(process_lives(s.parent, s.parent_start));
    int out = openat(dir, "out", O_RDONLY | O_DIRECTORY);
    numbers = 0;
    assert_int_equal(spool_reader_open(&reader, out), 0);
    close(out);
    assert_true(soon(drained));
    assert_int_equal(numbers, LINES);
    spool_reader_close(&reader);
    struct journal_exit e = ended();
    assert_null(e.cause);
    assert_int_equal(e.lines, LINES);
}

static void a_parent_whose_folder_was_taken_away_ends_with_its_command(void **state)
{
    (void)state;
    launch("\"payload\":{\"command\":[\"sh\",\"-c\",\"rm -rf ../out; echo hi; exec sleep 600\"]}", NULL);
    assert_int_equal(reap(), 0);
}

/* A deployment of a release of no components: nothing to download. */
static void launch_deploy(const char *release, const char *hooks)
{
    launch_type("deploy",
                arena_printf(&arena,
                             "\"payload\":{\"root\":\"%s/srv\",\"graceSeconds\":0.2,\"hooks\":{%s},"
                             "\"release\":{\"name\":\"%s\",\"components\":[]}}",
                             root, hooks, release)
                    .p,
                NULL);
}

static void deployed(void **state, const char *release)
{
    launch_deploy(release, "");
    assert_null(ended().cause);
    journal_remove(&journal, S(ID));
    close(dir);
    (void)state;
}

static const char *current(void)
{
    char to[100] = "";
    ssize_t n = readlink(arena_printf(&arena, "%s/srv/current", root).p, to, sizeof to - 1);
    return arena_printf(&arena, "%.*s", n > 0 ? (int)n : 0, to).p;
}

static void the_agents_own_task_says_what_it_did_and_what_came_of_it(void **state)
{
    (void)state;
    launch_deploy("one", "\"postDeploy\":[\"/bin/sh\",\"-c\",\"echo from the hook; echo oops >&2\"]");
    struct journal_exit e = ended();
    assert_null(e.cause);
    assert_string_equal(current(), "releases/one");
    const struct json *outputs = json_parse(&arena, e.outputs, NULL, NULL);
    assert_true(json_bool(json_get(outputs, "unpacked"), false));
    const char *all = output();
    assert_non_null(strstr(all, "system|##slipway[progress 90] switched from nothing to one\n"));
    assert_non_null(strstr(all, "stdout|from the hook\n"));
    assert_non_null(strstr(all, "stderr|oops\n"));
}

#define DEAF "\"postDeploy\":[\"/bin/sh\",\"-c\",\"trap '' TERM; echo ready; while :; do sleep 0.05; done\"]"

static void a_cancel_of_a_deaf_hook_kills_it_and_switches_back(void **state)
{
    deployed(state, "one");
    launch_deploy("two", DEAF);
    assert_true(soon(says_ready));
    assert_string_equal(current(), "releases/two");
    assert_int_equal(journal_cancel_write(dir, &(struct journal_cancel){0.1, S("enough")}), 0);
    kill(parent, SIGTERM);
    struct journal_exit e = ended();
    assert_string_equal(e.cause, PROTOCOL_CANCELLED);
    assert_false(e.retriable);
    assert_string_equal(current(), "releases/one");
    assert_non_null(strstr(output(), "system|switched back to one\n"));
}

static void what_a_killed_child_left_half_done_is_taken_back(void **state)
{
    struct journal_started s;
    deployed(state, "one");
    launch_deploy("two", DEAF);
    assert_true(soon(says_ready));
    assert_true(journal_started_read(dir, &arena, &s));
    kill((pid_t)s.pid, SIGKILL);
    struct journal_exit e = ended();
    assert_string_equal(e.cause, PROTOCOL_SIGNAL);
    assert_true(e.retriable);
    assert_string_equal(current(), "releases/one");
    assert_non_null(strstr(output(), "system|switched back to one\n"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_parent_whose_folder_was_taken_away_ends_with_its_command),
        T(a_command_runs_and_its_lines_and_status_are_kept),
        T(a_text_goes_to_the_shell_and_success_has_no_cause),
        T(the_environment_is_clean_and_the_folder_its_own),
        T(credentials_reach_the_command_but_not_the_disk),
        T(a_timeout_sends_term_then_kill),
        T(cancelling_lets_the_command_say_goodbye),
        T(cancelled_before_it_began_it_never_runs),
        T(a_killed_parent_takes_the_command_along_and_it_never_runs_again),
        T(what_cannot_start_says_why),
        T(the_rest_of_the_group_does_not_outlive_the_command),
        T(a_daemon_stays_and_does_not_hold_the_task),
        T(a_line_that_is_too_long_is_split_between_characters),
        T(the_agents_own_task_says_what_it_did_and_what_came_of_it),
        T(a_cancel_of_a_deaf_hook_kills_it_and_switches_back),
        T(what_a_killed_child_left_half_done_is_taken_back),
        T(a_full_spool_makes_the_command_wait_and_nothing_is_lost),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

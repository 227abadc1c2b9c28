#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/signal.h"
#include "proto/redis.h"
#include "server/embedded.h"

/* A server's side of it: a loop, its Redis, and what it was told. */
struct user {
    struct loop loop;
    struct embedded *embedded;
    int ups, downs, failures, closed;
    char why[512];
};

static char folder[64];

static void on_up(void *arg)
{
    ((struct user *)arg)->ups++;
}

static void on_down(void *arg, const char *why)
{
    struct user *u = arg;

    u->downs++;
    snprintf(u->why, sizeof u->why, "%s", why);
}

static void on_failed(void *arg, const char *why)
{
    struct user *u = arg;

    u->failures++;
    snprintf(u->why, sizeof u->why, "%s", why);
}

static void on_closed(void *arg)
{
    ++*(int *)arg;
}

static const struct embedded_events events = {on_up, on_down, on_failed};

static void user_open(struct user *u, const struct embedded_settings *settings)
{
    struct embedded_settings mine = {.data = folder, .everysec = true};

    memset(u, 0, sizeof *u);
    assert_int_equal(loop_init(&u->loop), 0);
    u->embedded = embedded_open(&u->loop, settings ? settings : &mine, &events, u);
    assert_non_null(u->embedded);
}

static void turn_until(struct user *u, const int *what, int at_least)
{
    while (*what < at_least && (what == &u->failures || !u->failures))
        loop_turn(&u->loop, true);
    if (*what < at_least)
        fail_msg("%s", u->why);
}

static void user_close(struct user *u)
{
    embedded_close(u->embedded, on_closed, &u->closed);
    while (!u->closed)
        loop_turn(&u->loop, true);
    loop_run(&u->loop);
    loop_fini(&u->loop);
}

/* Runs `SET key value` or `GET key` on the socket; the answer is `said`. */
struct question {
    struct redis *redis;
    struct ops ops;
    const char *key, *value;
    char said[64];
    int answered, closed;
};

static void on_answer(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct question *q = arg;

    assert_int_equal(e, REDIS_OK);
    snprintf(q->said, sizeof q->said, STR_FMT, (int)redis_text(v).n, redis_text(v).p ? redis_text(v).p : "");
    q->answered = 1;
}

static void on_ready(void *arg)
{
    struct question *q = arg;
    struct str argv[] = {q->value ? S("SET") : S("GET"), str_z(q->key), str_z(q->value)};

    redis_call(q->redis, &q->ops, q->value ? 3 : 2, argv, on_answer, q);
}

static const char *ask(struct user *u, const char *key, const char *value)
{
    static const struct redis_events to = {.on_ready = on_ready};
    static struct question q;
    struct redis_target target;

    q = (struct question){.key = key, .value = value};
    ops_init(&q.ops);
    assert_true(redis_target_parse(str_z(embedded_socket(u->embedded)), &target, NULL));
    q.redis = redis_open(&u->loop, &target, NULL, &to, &q);
    while (!q.answered)
        loop_turn(&u->loop, true);
    redis_close(q.redis, on_closed, &q.closed);
    while (!q.closed)
        loop_turn(&u->loop, true);
    return q.said;
}

static void it_starts_keeps_data_and_stops(void **state)
{
    struct user u;
    struct stat st;
    int pid;

    (void)state;
    user_open(&u, NULL);
    assert_int_equal(u.ups, 0);
    turn_until(&u, &u.ups, 1);
    pid = embedded_pid(u.embedded);
    assert_true(pid > 0);
    assert_false(embedded_adopted(u.embedded));
    assert_int_equal(getsid(pid), pid); /* out of the terminal's reach */
    assert_string_equal(ask(&u, "key", "value"), "OK");
    assert_int_equal(stat(embedded_socket(u.embedded), &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    user_close(&u);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(u.downs, 0);

    user_open(&u, NULL);
    turn_until(&u, &u.ups, 1);
    assert_string_equal(ask(&u, "key", NULL), "value");
    user_close(&u);
}

static void a_killed_one_is_started_again(void **state)
{
    struct user u;
    int pid;

    (void)state;
    user_open(&u, NULL);
    turn_until(&u, &u.ups, 1);
    ask(&u, "survives", "yes");
    for (int i = 0; i < 3; i++) {
        pid = embedded_pid(u.embedded);
        kill(pid, SIGKILL);
        turn_until(&u, &u.downs, i + 1);
        turn_until(&u, &u.ups, i + 2);
        assert_int_not_equal(embedded_pid(u.embedded), pid);
    }
    assert_string_equal(ask(&u, "survives", NULL), "yes");
    user_close(&u);
}

/* Another process with a server's side of its own; says its Redis' pid once it is up, and lives until it is killed. */
static pid_t other_server(int *redis_pid)
{
    int pipes[2];
    pid_t pid;

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct user u;
        int mine;

        user_open(&u, NULL);
        turn_until(&u, &u.ups, 1);
        mine = embedded_pid(u.embedded);
        if (write(pipes[1], &mine, sizeof mine) != sizeof mine)
            _exit(1);
        loop_run(&u.loop);
        _exit(0);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], redis_pid, sizeof *redis_pid), sizeof *redis_pid);
    close(pipes[0]);
    return pid;
}

static void end_other(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
}

static void a_left_one_is_adopted_and_never_doubled(void **state)
{
    int redis_pid;
    pid_t other = other_server(&redis_pid);
    struct user u;

    (void)state;
    end_other(other);
    assert_int_equal(kill(redis_pid, 0), 0);
    user_open(&u, NULL);
    turn_until(&u, &u.ups, 1);
    assert_int_equal(embedded_pid(u.embedded), redis_pid);
    assert_true(embedded_adopted(u.embedded));
    ask(&u, "adopted", "yes");

    kill(redis_pid, SIGKILL); /* an adopted one that dies is started anew */
    turn_until(&u, &u.ups, 2);
    assert_int_not_equal(embedded_pid(u.embedded), redis_pid);
    assert_false(embedded_adopted(u.embedded));
    assert_string_equal(ask(&u, "adopted", NULL), "yes");
    user_close(&u);
}

static void an_adopted_one_is_stopped_at_the_end(void **state)
{
    int redis_pid;
    pid_t other = other_server(&redis_pid);
    struct user u;

    (void)state;
    end_other(other);
    user_open(&u, NULL);
    turn_until(&u, &u.ups, 1);
    user_close(&u);
    user_open(&u, NULL); /* it has gone: this is another */
    turn_until(&u, &u.ups, 1);
    assert_false(embedded_adopted(u.embedded));
    assert_int_not_equal(embedded_pid(u.embedded), redis_pid);
    user_close(&u);
}

static void one_that_others_use_is_left_running(void **state)
{
    int redis_pid;
    pid_t other = other_server(&redis_pid);
    struct user u;

    (void)state;
    user_open(&u, NULL);
    turn_until(&u, &u.ups, 1);
    assert_int_equal(embedded_pid(u.embedded), redis_pid);
    user_close(&u);
    assert_int_equal(kill(redis_pid, 0), 0);
    end_other(other);
    user_open(&u, NULL);
    turn_until(&u, &u.ups, 1);
    assert_int_equal(embedded_pid(u.embedded), redis_pid);
    user_close(&u);
}

static void what_cannot_work_says_why(void **state)
{
    char deep[200], script[80];
    struct embedded_settings none = {.data = folder, .program = "/nonexistent/redis-server"};
    struct embedded_settings broken = {.data = folder, .program = script};
    struct embedded_settings nowhere = {.data = "/proc/nowhere"};
    struct embedded_settings long_path = {.data = deep};
    FILE *f;
    struct user u;

    (void)state;
    user_open(&u, &none);
    turn_until(&u, &u.failures, 1);
    assert_non_null(strstr(u.why, "install"));
    user_close(&u);

    snprintf(script, sizeof script, "%s/ends", folder);
    f = fopen(script, "w");
    assert_non_null(f);
    fputs("#!/bin/sh\nexit 3\n", f);
    fclose(f);
    chmod(script, 0700);
    user_open(&u, &broken);
    turn_until(&u, &u.failures, 1);
    assert_non_null(strstr(u.why, "redis.log"));
    user_close(&u);

    user_open(&u, &nowhere);
    turn_until(&u, &u.failures, 1);
    user_close(&u);

    snprintf(deep, sizeof deep, "%s/%0100d", folder, 0);
    user_open(&u, &long_path);
    turn_until(&u, &u.failures, 1);
    assert_non_null(strstr(u.why, "too long"));
    user_close(&u);
}

static void closing_before_it_has_started(void **state)
{
    struct user u;

    (void)state;
    user_open(&u, NULL);
    user_close(&u);
    user_open(&u, NULL);
    loop_turn(&u.loop, false); /* under way, not yet up */
    user_close(&u);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/embedded-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_starts_keeps_data_and_stops),          TEST(a_killed_one_is_started_again),
        TEST(a_left_one_is_adopted_and_never_doubled), TEST(an_adopted_one_is_stopped_at_the_end),
        TEST(one_that_others_use_is_left_running),     TEST(what_cannot_work_says_why),
        TEST(closing_before_it_has_started),
    };

    alarm(120);
    signal_ignore_pipe();
    log_setup(getenv("VERBOSE") ? LOG_DEBUG : LOG_NONE, LOG_TEXT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

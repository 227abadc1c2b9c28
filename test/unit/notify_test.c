#include "lib/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* Binds what a service manager would listen on, and puts its name into the environment. */
static int listen_as(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t n = strlen(name);
    memcpy(at.sun_path, name, n);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void assert_received(int fd, const char *text)
{
    char got[64];
    ssize_t n = recv(fd, got, sizeof got, MSG_DONTWAIT);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, (size_t)n);
}

static void a_state_arrives_as_one_datagram(void **state)
{
    (void)state;
    char names[2][64];
    snprintf(names[0], sizeof names[0], "/tmp/notify-%d.sock", getpid());
    snprintf(names[1], sizeof names[1], "@notify-%d", getpid());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int fd = listen_as(names[i]);
        assert_true(notify_send("READY=1"));
        assert_received(fd, "READY=1");
        close(fd);
        assert_false(notify_send("WATCHDOG=1")); /* nobody listens any more */
    }
    unlink(names[0]);
}

static void without_a_service_manager_nothing_is_sent(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "", "relative", "@", "/"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsetenv("NOTIFY_SOCKET");
        if (names[i] != NULL)
            setenv("NOTIFY_SOCKET", names[i], 1);
        assert_false(notify_send("READY=1"));
    }
}

static void the_watchdog_is_ours_only_with_our_pid(void **state)
{
    (void)state;
    char own[32];
    snprintf(own, sizeof own, "%d", getpid());
    const struct {
        const char *usec, *pid;
        int64_t ms;
    } rows[] = {
        {NULL, NULL, 0},
        {"30000000", NULL, 30000},
        {"30000000", own, 30000},
        {"30000000", "1", 0},
        {"1", own, 1},
        {"0", own, 0},
        {"-5", own, 0},
        {"soon", own, 0},
        {"1500", "me", 0},
        {"", own, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (rows[i].usec != NULL)
            setenv("WATCHDOG_USEC", rows[i].usec, 1);
        if (rows[i].pid != NULL)
            setenv("WATCHDOG_PID", rows[i].pid, 1);
        assert_int_equal(notify_watchdog_ms(), rows[i].ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_arrives_as_one_datagram),
        cmocka_unit_test(without_a_service_manager_nothing_is_sent),
        cmocka_unit_test(the_watchdog_is_ours_only_with_our_pid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

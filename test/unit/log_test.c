#include "lib/log.h"

#include "lib/clock.h"
#include "lib/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int pipe_ends[2];
static char text[65536];

static int setup(void **state)
{
    (void)state;
    clock_fake(1795888200000);
    return pipe(pipe_ends);
}

static int teardown(void **state)
{
    (void)state;
    clock_fake(-1);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    log_setup(LOG_INFO, LOG_TEXT, 2);
    return 0;
}

static const char *written(void)
{
    ssize_t n = read(pipe_ends[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    return text;
}

static void a_line_has_time_level_event_and_fields(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, pipe_ends[1]);
    log_info("store.lost", "after_ms=%d address=%s:%u part=%.*s", 12, "::1", 80u, STR_ARG(S("xy")));
    assert_string_equal(written(), "2026-11-28T17:50:00.000Z info store.lost after_ms=12 address=::1:80 part=xy\n");
    log_info("server.ready");
    assert_string_equal(written(), "2026-11-28T17:50:00.000Z info server.ready\n");
}

static void a_value_can_make_no_field_and_no_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, pipe_ends[1]);
    log_info("a.b", "x=%s y=%s z=%s", "1 level=fake\n2026 forged", "say \"hi\"\x1b[31m", "");
    assert_string_equal(written(), "2026-11-28T17:50:00.000Z info a.b x=\"1 level=fake\\n2026 forged\" "
                                   "y=\"say \\\"hi\\\"\\u001b[31m\" z=\"\"\n");
}

static void json_lines_keep_numbers_numbers(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, LOG_JSON, pipe_ends[1]);
    log_request("0190");
    const char *volatile none = NULL;
    log_debug("a.b", "i=%d l=%lld z=%zu f=%.2f h=%x s=%s n=%s two=%d%d bad=%f pct=5%%", -1, 1234567890123LL, (size_t)7,
              0.125, 255u, "1", none, 1, 2, (double)INFINITY);
    log_request(NULL);
    assert_string_equal(written(),
                        "{\"time\":\"2026-11-28T17:50:00.000Z\",\"level\":\"debug\",\"event\":\"a.b\",\"i\":-1,"
                        "\"l\":1234567890123,\"z\":7,\"f\":0.12,\"h\":\"ff\",\"s\":\"1\",\"n\":\"\","
                        "\"two\":\"12\",\"bad\":\"nan\",\"pct\":\"5%\",\"request\":\"0190\"}\n");
}

static void below_the_threshold_nothing_is_written(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_TEXT, pipe_ends[1]);
    log_info("quiet.event", "a=%d", 1);
    log_warn("loud.event", "a=%d", 2);
    assert_string_equal(written(), "2026-11-28T17:50:00.000Z warn loud.event a=2\n");
}

static void long_text_is_cut_and_the_line_stays_whole(void **state)
{
    (void)state;
    char *huge = malloc(10001);
    memset(huge, '\n', 10000);
    huge[10000] = '\0';
    struct arena a;
    arena_init(&a, 0);
    log_setup(LOG_INFO, LOG_JSON, pipe_ends[1]);
    log_request("r-1");
    log_info("big.event", "a=%s b=%s c=%s d=%d", huge, huge, huge, 4);
    log_request(NULL);
    struct str line = str_z(written());
    assert_true(line.n <= LOG_LINE);
    struct json *j = json_parse(&a, line, NULL, NULL);
    assert_true(str_ends(json_str(json_get(j, "a")), S("\n\xe2\x80\xa6")));
    assert_true(json_bool(json_get(j, "cut"), false));
    assert_true(str_eqz(json_str(json_get(j, "request")), "r-1"));
    arena_fini(&a);
    free(huge);
}

static size_t lines(void)
{
    size_t n = 0;
    for (const char *p = written(); *p != '\0'; p++)
        n += *p == '\n';
    return n;
}

static void a_repeated_warning_is_held_back_and_counted(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, pipe_ends[1]);
    for (int i = 0; i < 100; i++)
        log_warn("same.event", "i=%d", i);
    for (int i = 0; i < 100; i++)
        log_info("free.event", "i=%d", i);
    assert_int_equal(lines(), LOG_BURST + 100);
    clock_fake(1795888200000 + LOG_WINDOW_MS);
    log_warn("same.event", "i=%d", 100);
    assert_string_equal(written(), "2026-11-28T17:50:10.000Z warn same.event i=100 suppressed=90\n");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_line_has_time_level_event_and_fields),    test(a_value_can_make_no_field_and_no_line),
        test(json_lines_keep_numbers_numbers),           test(below_the_threshold_nothing_is_written),
        test(long_text_is_cut_and_the_line_stays_whole), test(a_repeated_warning_is_held_back_and_counted),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}

#include "lib/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct values {
    const char *listen, *password, *url;
    int64_t workers, timeout, size;
    bool test, local;
    struct config_list allow;
    int mode;
};

static const char *const modes[] = {"always", "everysec", NULL};
#define AT(m) offsetof(struct values, m)
// clang-format off
static const struct config_row rows[] = {
    {"listen", CONFIG_STRING, AT(listen), "here:1", .flags = CONFIG_REQUIRED, .doc = "Where."},
    {"password", CONFIG_STRING, AT(password), "", .flags = CONFIG_SECRET, .doc = "Secret."},
    {"redis", CONFIG_STRING, AT(url), "embedded", .flags = CONFIG_URL, .doc = "URL."},
    {"workers", CONFIG_INT, AT(workers), "2", 1, 64, .doc = "Threads."},
    {"idle.timeout", CONFIG_DURATION, AT(timeout), "1.5s", 100, 60000, .code = "SYS_TIMEOUT", .doc = "How long."},
    {"body-max", CONFIG_SIZE, AT(size), "1MiB", 1, 1 << 30, .code = "RES_BODY_TOO_LARGE", .doc = "How much."},
    {"test", CONFIG_BOOL, AT(test), "false", .doc = "Switch."},
    {"local", CONFIG_BOOL, AT(local), "false", .flags = CONFIG_LOCAL, .doc = "Of this call."},
    {"outbound.allow", CONFIG_LIST, AT(allow), "", .doc = "List."},
    {"fsync", CONFIG_CHOICE, AT(mode), "always", .choices = modes, .doc = "When."},
    {0},
};
// clang-format on

struct run {
    struct config config;
    struct values values;
    char *text; /* what was said */
    size_t n;
    FILE *out;
    char path[64];
};

static int setup(void **state)
{
    struct run *r = calloc(1, sizeof *r);
    snprintf(r->path, sizeof r->path, "/tmp/slipway-config-%ld", (long)getpid());
    *state = r;
    return 0;
}

static void again(struct run *r)
{
    if (r->out != NULL) {
        fclose(r->out);
        config_fini(&r->config);
    }
    free(r->text);
    r->text = NULL;
    r->out = open_memstream(&r->text, &r->n);
    assert_non_null(r->out);
    r->values = (struct values){0};
    config_init(&r->config, "test", "Tests.", r->out);
    config_table(&r->config, rows, &r->values);
}

static int teardown(void **state)
{
    struct run *r = *state;
    if (r->out != NULL) {
        fclose(r->out);
        config_fini(&r->config);
    }
    free(r->text);
    unlink(r->path);
    unsetenv("SLIPWAY_CONFIG");
    unsetenv("SLIPWAY_WORKERS");
    unsetenv("SLIPWAY_OUTBOUND_ALLOW");
    unsetenv("SLIPWAY_LOCAL");
    free(r);
    return 0;
}

#define PARSE(r, ...)                                                                                                  \
    parse(r, (char *[]){(char[]){"test"}, __VA_ARGS__, NULL},                                                          \
          (int)(sizeof((char *[]){(char[]){"test"}, __VA_ARGS__}) / sizeof(char *)))
#define ARG(s) ((char[]){s})

static int parse(struct run *r, char **argv, int argc)
{
    again(r);
    int status = config_parse(&r->config, argc, argv);
    fflush(r->out);
    return status;
}

static void write_file(struct run *r, const char *text)
{
    FILE *f = fopen(r->path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    setenv("SLIPWAY_CONFIG", r->path, 1);
}

static void defaults_hold_when_nothing_is_said(void **state)
{
    struct run *r = *state;
    assert_int_equal(PARSE(r, ARG("--")), CONFIG_READ);
    assert_string_equal(r->values.listen, "here:1");
    assert_string_equal(r->values.password, "");
    assert_int_equal(r->values.workers, 2);
    assert_int_equal(r->values.timeout, 1500);
    assert_int_equal(r->values.size, 1 << 20);
    assert_false(r->values.test);
    assert_int_equal(r->values.allow.n, 0);
    assert_int_equal(r->values.mode, 0);
    assert_string_equal(config_source(&r->config, "workers"), "default");
    assert_null(config_source(&r->config, "nothing"));
}

static void flags_outrank_environment_outranks_file(void **state)
{
    struct run *r = *state;
    write_file(r, "# a comment\n\n  workers = 3 \nlisten=file:1\r\noutbound.allow = 10.0.0.0/8, ::1/128\n");
    assert_int_equal(PARSE(r, ARG("x")), CONFIG_READ);
    assert_int_equal(r->values.workers, 3);
    assert_string_equal(r->values.listen, "file:1");
    assert_int_equal(r->values.allow.n, 2);
    assert_string_equal(r->values.allow.items[1], "::1/128");
    assert_non_null(strstr(config_source(&r->config, "workers"), ":3"));
    setenv("SLIPWAY_WORKERS", "4", 1);
    assert_int_equal(PARSE(r, ARG("x")), CONFIG_READ);
    assert_int_equal(r->values.workers, 4);
    assert_string_equal(config_source(&r->config, "workers"), "environment SLIPWAY_WORKERS");
    assert_int_equal(PARSE(r, ARG("--workers"), ARG("5")), CONFIG_READ);
    assert_int_equal(r->values.workers, 5);
    assert_string_equal(config_source(&r->config, "workers"), "flag --workers");
    assert_int_equal(PARSE(r, ARG("--workers=5"), ARG("--workers=6")), CONFIG_READ);
    assert_int_equal(r->values.workers, 6);
}

static void a_file_can_be_named_by_flag(void **state)
{
    struct run *r = *state;
    char flag[80];
    write_file(r, "workers = 7\n");
    setenv("SLIPWAY_CONFIG", "/nonexistent", 1);
    snprintf(flag, sizeof flag, "--config=%s", r->path);
    assert_int_equal(PARSE(r, flag), CONFIG_READ);
    assert_int_equal(r->values.workers, 7);
    assert_int_equal(PARSE(r, ARG("x")), CONFIG_BAD);
    assert_non_null(strstr(r->text, "/nonexistent"));
}

static void files_are_read_strictly(void **state)
{
    struct run *r = *state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"workers\n", ":1: a line is"},
        {"nothing = 1\n", "no setting 'nothing'"},
        {"\nworkers = 1\nworkers = 2\n", ":3: 'workers' was set before"},
        {"local = true\n", "no setting 'local'"},
        {"workers = 0\n", "from 1 to 64"},
        {"workers =\n", "'' is not allowed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_file(r, cases[i].text);
        assert_int_equal(PARSE(r, ARG("x")), CONFIG_BAD);
        assert_non_null(strstr(r->text, cases[i].want));
    }
}

static void bad_values_name_source_value_and_range(void **state)
{
    struct run *r = *state;
    assert_int_equal(PARSE(r, ARG("--workers"), ARG("65")), CONFIG_BAD);
    assert_string_equal(
        r->text, "slipway test: flag --workers: '65' is not allowed; workers takes a whole number from 1 to 64\n");
    assert_int_equal(PARSE(r, ARG("--fsync=never")), CONFIG_BAD);
    assert_non_null(strstr(r->text, "fsync takes always or everysec"));
    assert_int_equal(PARSE(r, ARG("--idle-timeout=1h")), CONFIG_BAD);
    assert_non_null(strstr(r->text, "from 100ms to 1m"));
    assert_int_equal(PARSE(r, ARG("--listen=")), CONFIG_BAD);
    assert_int_equal(PARSE(r, ARG("--test=maybe")), CONFIG_BAD);
    setenv("SLIPWAY_WORKERS", "many", 1);
    assert_int_equal(PARSE(r, ARG("x")), CONFIG_BAD);
    assert_non_null(strstr(r->text, "environment SLIPWAY_WORKERS: 'many'"));
}

static void unknown_options_are_refused(void **state)
{
    struct run *r = *state;
    assert_int_equal(PARSE(r, ARG("--nothing")), CONFIG_BAD);
    assert_non_null(strstr(r->text, "no option --nothing"));
    assert_int_equal(PARSE(r, ARG("-x")), CONFIG_BAD);
    assert_int_equal(PARSE(r, ARG("--workers")), CONFIG_BAD);
    assert_non_null(strstr(r->text, "needs a value"));
    assert_int_equal(PARSE(r, ARG("--no-workers")), CONFIG_BAD);
    assert_int_equal(PARSE(r, ARG("--no-test=1")), CONFIG_BAD);
}

static void switches_need_no_value(void **state)
{
    struct run *r = *state;
    assert_int_equal(PARSE(r, ARG("--test"), ARG("word")), CONFIG_READ);
    assert_true(r->values.test);
    assert_int_equal(r->config.rest_count, 1);
    assert_int_equal(PARSE(r, ARG("--test"), ARG("--no-test")), CONFIG_READ);
    assert_false(r->values.test);
    assert_int_equal(PARSE(r, ARG("--test=yes")), CONFIG_READ);
    assert_true(r->values.test);
}

static void what_is_no_option_is_kept_in_order(void **state)
{
    struct run *r = *state;
    assert_int_equal(PARSE(r, ARG("a"), ARG("--workers"), ARG("3"), ARG("-"), ARG("--"), ARG("--workers")),
                     CONFIG_READ);
    assert_int_equal(r->config.rest_count, 3);
    assert_string_equal(r->config.rest[0], "a");
    assert_string_equal(r->config.rest[1], "-");
    assert_string_equal(r->config.rest[2], "--workers");
}

static void options_of_one_call_have_no_other_source(void **state)
{
    struct run *r = *state;
    setenv("SLIPWAY_LOCAL", "true", 1);
    assert_int_equal(PARSE(r, ARG("x")), CONFIG_READ);
    assert_false(r->values.local);
    assert_int_equal(PARSE(r, ARG("--local")), CONFIG_READ);
    assert_true(r->values.local);
}

static void secrets_are_never_printed(void **state)
{
    struct run *r = *state;
    assert_int_equal(PARSE(r, ARG("--password=hunter2"), ARG("--redis=redis://joe:hunter2@host:6379/1")), CONFIG_READ);
    config_print(&r->config, r->out, false);
    config_print(&r->config, r->out, true);
    config_help(&r->config, r->out);
    fflush(r->out);
    assert_null(strstr(r->text, "hunter2"));
    assert_null(strstr(r->text, "joe"));
    assert_non_null(strstr(r->text, "redis://(secret)@host:6379/1"));
    assert_string_equal(r->values.password, "hunter2");
}

static void times_and_sizes_are_whole(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } times[] = {{"0", 0},
                 {"500ms", 500},
                 {"1.5s", 1500},
                 {"2", 2000},
                 {"10m", 600000},
                 {"24h", 86400000},
                 {"30d", 2592000000},
                 {"", -1},
                 {"s", -1},
                 {"1 s", -1},
                 {"-1s", -1},
                 {"1.5ms", -1},
                 {"1e3", -1},
                 {"1.0001s", -1},
                 {"1.s", -1},
                 {"1S", -1},
                 {"9223372036854775807d", -1}};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        int64_t ms = -1;
        assert_int_equal(config_duration(str_z(times[i].text), &ms), times[i].ms >= 0);
        assert_int_equal(ms, times[i].ms);
    }
    int64_t bytes = -1;
    assert_true(config_size(S("64KiB"), &bytes) && bytes == 65536);
    assert_true(config_size(S("1.5MiB"), &bytes) && bytes == 3 << 19);
    assert_true(config_size(S("7"), &bytes) && bytes == 7);
    assert_false(config_size(S("0.3B"), &bytes));
    assert_false(config_size(S("1KB"), &bytes));
    assert_false(config_size(S("9223372036854775807GiB"), &bytes));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(defaults_hold_when_nothing_is_said),
        T(flags_outrank_environment_outranks_file),
        T(a_file_can_be_named_by_flag),
        T(files_are_read_strictly),
        T(bad_values_name_source_value_and_range),
        T(unknown_options_are_refused),
        T(switches_need_no_value),
        T(what_is_no_option_is_kept_in_order),
        T(options_of_one_call_have_no_other_source),
        T(secrets_are_never_printed),
        T(times_and_sizes_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

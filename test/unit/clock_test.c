#include "lib/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void times_print_and_read_back(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {1795888200123, "2026-11-28T17:50:00.123Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {4107542399999, "2100-02-28T23:59:59.999Z"},
        {-62167219200000, "0000-01-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[CLOCK_TEXT];
        int64_t ms = 5;
        clock_text(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
        assert_true(clock_parse(str_z(text), &ms));
        assert_int_equal(ms, rows[i].ms);
    }
}

static void every_day_of_four_centuries_reads_back(void **state)
{
    (void)state;
    for (int64_t day = -80000; day < 80000; day++) {
        char text[CLOCK_TEXT];
        int64_t ms;
        clock_text(day * 86400000 + 3661001, text);
        assert_true(clock_parse(str_z(text), &ms));
        assert_int_equal(ms, day * 86400000 + 3661001);
    }
}

static void what_has_no_year_of_four_digits_is_clamped(void **state)
{
    (void)state;
    char text[CLOCK_TEXT];
    clock_text(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    clock_text(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
}

static void offsets_and_fractions_become_utc_milliseconds(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"2026-11-28T17:50:00Z", "2026-11-28T17:50:00.000Z"},
        {"2026-11-28t17:50:00z", "2026-11-28T17:50:00.000Z"},
        {"2026-11-28T17:50:00.5Z", "2026-11-28T17:50:00.500Z"},
        {"2026-11-28T17:50:00.123999999Z", "2026-11-28T17:50:00.123Z"},
        {"2026-11-28T17:50:00+01:00", "2026-11-28T16:50:00.000Z"},
        {"2026-01-01T00:30:00+14:00", "2025-12-31T10:30:00.000Z"},
        {"2026-12-31T23:30:00-05:30", "2027-01-01T05:00:00.000Z"},
        {"2026-11-28T17:50:00-00:00", "2026-11-28T17:50:00.000Z"},
        {"2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"},
        {"2017-01-01T00:59:60.25+01:00", "2016-12-31T23:59:59.999Z"},
        {"2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[CLOCK_TEXT];
        int64_t ms;
        assert_true(clock_parse(str_z(rows[i][0]), &ms));
        clock_text(ms, text);
        assert_string_equal(text, rows[i][1]);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026",
        "2026-11-28",
        "2026-11-28T17:50Z",
        "2026-11-28T17:50:00",
        "2026-11-28 17:50:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T12:00:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+1:00",
        "2026-01-01T00:00:00ZZ",
        "2026-1-01T00:00:00Z",
        "+026-01-01T00:00:00Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-01-01T00:00:-1Z",
        "2026-01-01T00:00:00,5Z",
        " 2026-01-01T00:00:00Z",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms = 77;
        if (clock_parse(str_z(bad[i]), &ms))
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(ms, 77);
    }
}

static void a_fake_clock_stands_still(void **state)
{
    (void)state;
    int64_t before = clock_wall_ms();
    assert_true(before > 1700000000000);
    clock_fake(12345);
    assert_int_equal(clock_wall_ms(), 12345);
    assert_int_equal(clock_mono_ms(), 12345);
    assert_int_equal(clock_mono_ns(), 12345000000);
    clock_fake(-1);
    assert_true(clock_wall_ms() >= before);
    uint64_t mono = clock_mono_ns();
    assert_true(clock_mono_ns() >= mono);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_print_and_read_back),
        cmocka_unit_test(every_day_of_four_centuries_reads_back),
        cmocka_unit_test(what_has_no_year_of_four_digits_is_clamped),
        cmocka_unit_test(offsets_and_fractions_become_utc_milliseconds),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(a_fake_clock_stands_still),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}

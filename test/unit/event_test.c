#include "server/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LOG                                                                                                            \
    "{\"seq\":7,\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"attempt\":1,\"level\":\"warn\",\"line\":\"a \\\"}, "      \
    "\\\\\",\"nodeId\":\"build\",\"outputs\":{\"type\":\"no\",\"x\":[1,{\"y\":\"]\"}]},\"type\":\"step_log\"}"
#define DONE                                                                                                           \
    "{\"seq\":8,\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"status\":\"succeeded\",\"type\":\"workflow_completed\"}"

static void is(struct str got, const char *want)
{
    if (want == NULL) {
        assert_null(got.p);
        return;
    }
    assert_int_equal(got.n, strlen(want));
    assert_memory_equal(got.p, want, got.n);
}

static void joined_events_are_cut_apart_with_their_numbers(void **state)
{
    (void)state;
    struct str events = S(LOG "\n" DONE), event;
    int64_t seq;
    assert_true(event_next(&events, &event, &seq));
    assert_int_equal(seq, 7);
    is(event, LOG);
    assert_true(event_next(&events, &event, &seq));
    assert_int_equal(seq, 8);
    is(event, DONE);
    assert_false(event_next(&events, &event, &seq));
}

static void what_is_no_event_is_not_cut(void **state)
{
    (void)state;
    const char *bad[] = {"", "\n", "{}", "{\"seq\":}", "{\"seq\":0,\"timestamp\":\"\"}", "{\"seq\":x,}", "[1]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct str events = str_z(bad[i]), event;
        int64_t seq;
        assert_false(event_next(&events, &event, &seq));
    }
}

static void a_member_is_found_at_the_top_level_only(void **state)
{
    (void)state;
    is(event_member(S(LOG), "type"), "step_log");
    is(event_member(S(LOG), "level"), "warn");
    is(event_member(S(LOG), "line"), "a \\\"}, \\\\");
    is(event_member(S(LOG), "seq"), "7");
    is(event_member(S(LOG), "outputs"), "{\"type\":\"no\",\"x\":[1,{\"y\":\"]\"}]}");
    is(event_member(S(LOG), "x"), NULL);
    is(event_member(S("{}"), "x"), NULL);
}

static void a_cut_event_has_no_member_and_is_never_read_past_its_end(void **state)
{
    (void)state;
    struct str whole = S(LOG);
    for (size_t n = 0; n < whole.n; n++) {
        char *copy = malloc(n + 1); /* its own allocation, so that a sanitizer sees one byte too far */
        assert_non_null(copy);
        memcpy(copy, whole.p, n);
        struct str part = {copy, n};
        struct str type = event_member(part, "type");
        assert_true(type.p == NULL);
        event_passes(part, S("a|b|warn"));
        free(copy);
    }
}

static void a_filter_has_one_text_whatever_the_order(void **state)
{
    (void)state;
    struct buf out = {0};
    const char *fault;
    assert_true(event_filter(S("step_log, step_started,step_log"), S("b,a"), S("warn"), &out, &fault));
    is(buf_view(&out), "step_log,step_started|a,b|warn");
    buf_clear(&out);
    assert_true(event_filter(STR_NONE, STR_NONE, STR_NONE, &out, &fault));
    is(buf_view(&out), "||");
    buf_free(&out);
}

static void a_bad_filter_is_named(void **state)
{
    (void)state;
    struct buf out = {0};
    const char *fault = NULL;
    assert_false(event_filter(S("a,,b"), STR_NONE, STR_NONE, &out, &fault));
    assert_string_equal(fault, "types");
    assert_false(event_filter(STR_NONE, S("a|b"), STR_NONE, &out, &fault));
    assert_string_equal(fault, "nodeIds");
    assert_false(event_filter(STR_NONE, STR_NONE, S("loud"), &out, &fault));
    assert_string_equal(fault, "level");
    buf_free(&out);
}

static void a_filter_judges_type_node_and_level(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        bool log, done;
    } rows[] = {
        {"", true, true},
        {"||", true, true},
        {"step_log||", true, false},
        {"a,step_log||", true, false},
        {"step||", false, false},
        {"|build|", true, true},
        {"|other|", false, true},
        {"||info", true, true},
        {"||warn", true, true},
        {"||error", false, true},
        {"step_log|build|warn", true, false},
        {"step_log|x|", false, false},
        {"|||dev", false, false}, /* strict: what belongs to no environment belongs to none of these */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(event_passes(S(LOG), str_z(rows[i].filter)), rows[i].log);
        assert_int_equal(event_passes(S(DONE), str_z(rows[i].filter)), rows[i].done);
    }
}

static void a_filter_by_environments_is_strict(void **state)
{
    (void)state;
    struct str event = S("{\"seq\":1,\"timestamp\":\"t\",\"type\":\"freeze_started\",\"environmentId\":\"dev\"}");
    assert_true(event_passes(event, S("|||dev")));
    assert_true(event_passes(event, S("freeze_started|||prod,dev")));
    assert_false(event_passes(event, S("|||prod")));
    assert_false(event_passes(event, S("|||-")));
    assert_false(event_passes(event, S("other|||dev")));
    assert_true(event_lets(S("a,b|x|warn|dev"), "b"));
    assert_false(event_lets(S("a,b|||"), "c"));
    assert_true(event_lets(S("|x||dev"), "c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joined_events_are_cut_apart_with_their_numbers),
        cmocka_unit_test(what_is_no_event_is_not_cut),
        cmocka_unit_test(a_member_is_found_at_the_top_level_only),
        cmocka_unit_test(a_cut_event_has_no_member_and_is_never_read_past_its_end),
        cmocka_unit_test(a_filter_has_one_text_whatever_the_order),
        cmocka_unit_test(a_bad_filter_is_named),
        cmocka_unit_test(a_filter_judges_type_node_and_level),
        cmocka_unit_test(a_filter_by_environments_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

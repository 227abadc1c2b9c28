#include "server/engine/environment_private.h"

#include "lib/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static int open_arena(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}
static int close_arena(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const struct json *json_of(struct str text)
{
    const struct json *j = json_parse(&arena, text, NULL, NULL);
    assert_non_null(j);
    return j;
}

static const struct json *json(const char *text)
{
    return json_of(str_z(text));
}

static int64_t at(const char *time)
{
    int64_t ms;
    assert_true(clock_parse(str_z(time), &ms));
    return ms;
}

static void assert_text(struct str s, const char *expected)
{
    const char *text = arena_z(&arena, s);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

/* --- freezes --- */

#define WINDOW                                                                                                         \
    "{\"id\":\"w\",\"start\":\"2026-01-01T00:00:00Z\",\"end\":\"2026-01-02T00:00:00Z\",\"reason\":\"audit\","          \
    "\"exceptions\":[\"ann\"]}"

static void a_window_holds_from_its_start_up_to_its_end(void **state)
{
    const struct json *w = json(WINDOW);
    (void)state;
    assert_false(freeze_active(w, at("2025-12-31T23:59:59.999Z")));
    assert_true(freeze_active(w, at("2026-01-01T00:00:00Z")));
    assert_true(freeze_active(w, at("2026-01-01T23:59:59.999Z")));
    assert_false(freeze_active(w, at("2026-01-02T00:00:00Z")));
}

static void a_window_whose_times_cannot_be_read_holds_for_ever(void **state)
{
    (void)state;
    assert_true(freeze_active(json("{\"id\":\"w\"}"), 0));
    assert_true(freeze_active(json("{\"id\":\"w\",\"start\":\"soon\",\"end\":\"late\"}"), at("2030-01-01T00:00:00Z")));
}

static void a_window_is_overridden_by_name_alone(void **state)
{
    const struct json *w = json(WINDOW);
    (void)state;
    assert_false(freeze_overridden(w, NULL));
    assert_false(freeze_overridden(w, json("{\"reason\":\"x\"}")));
    assert_false(freeze_overridden(w, json("{\"windowIds\":[\"v\"]}")));
    assert_true(freeze_overridden(w, json("{\"windowIds\":[\"v\",\"w\"]}")));
    assert_false(freeze_overridden(json("{}"), json("{\"windowIds\":[\"\"]}")));
}

static void exceptions_and_the_right_may_override(void **state)
{
    const struct json *w = json(WINDOW);
    (void)state;
    assert_true(freeze_may_override(w, S("ann"), false));
    assert_true(freeze_may_override(w, S("bob"), true));
    assert_false(freeze_may_override(w, S("bob"), false));
    assert_false(freeze_may_override(w, S(""), false));
}

static void the_first_end_among_those_that_block_is_when_to_look_again(void **state)
{
    const struct json *list[] = {
        json(WINDOW), json("{\"id\":\"later\",\"start\":\"2026-01-01T00:00:00Z\",\"end\":\"2026-01-03T00:00:00Z\"}"),
        json("{\"id\":\"over\",\"start\":\"2025-01-01T00:00:00Z\",\"end\":\"2025-01-03T00:00:00Z\"}")};
    int64_t now = at("2026-01-01T12:00:00Z");
    (void)state;
    struct freeze_outlook o = freeze_judge(list, 3, NULL, now);
    assert_int_equal(o.blocking, 2);
    assert_int_equal(o.until_ms, at("2026-01-02T00:00:00Z"));
    o = freeze_judge(list, 3, json("{\"windowIds\":[\"w\"]}"), now);
    assert_int_equal(o.blocking, 1);
    assert_int_equal(o.until_ms, at("2026-01-03T00:00:00Z"));
    o = freeze_judge(list, 3, json("{\"windowIds\":[\"later\",\"w\"]}"), now);
    assert_int_equal(o.blocking, 0);
    assert_int_equal(o.until_ms, 0);
}

static void blockers_name_windows_and_the_holder(void **state)
{
    const struct json *list[] = {json(WINDOW)};
    const struct freeze_set set = {.windows = list, .count = 1};
    int64_t now = at("2026-01-01T12:00:00Z");
    (void)state;
    assert_text(settle_blockers(&arena, json("{}"), STR_NONE, &(struct freeze_set){0}, now), "[]");
    const struct json *b = json_of(settle_blockers(&arena, json("{}"), S("promotion:p"), &set, now));
    assert_int_equal(json_count(b), 2);
    assert_text(json_str(json_get(json_at(b, 0), "windowId")), "w");
    assert_text(json_str(json_get(json_at(b, 0), "gate")), FREEZE_GATE);
    assert_text(json_str(json_get(json_at(b, 1), "promotionId")), "p");
    b = json_of(
        settle_blockers(&arena, json("{\"freezeOverride\":{\"windowIds\":[\"w\"]}}"), S("rollback:r"), &set, now));
    assert_int_equal(json_count(b), 1);
    assert_text(json_str(json_get(json_at(b, 0), "rollbackId")), "r");
}

/* --- promotions --- */

static void every_status_has_its_name_and_the_end_is_known(void **state)
{
    (void)state;
    for (enum promotion_status s = PROMOTION_PENDING; s < PROMOTION_STATUSES; s++) {
        struct str text = arena_printf(&arena, "{\"status\":\"%s\"}", promotion_statuses[s]);
        assert_int_equal(promotion_status(json_of(text)), s);
        assert_int_equal(promotion_is_over(s), s > PROMOTION_DEPLOYING);
        bool cancels = promotion_actions(s)[0] != NULL && strcmp(promotion_actions(s)[0], "cancel") == 0;
        assert_int_equal(cancels, s < PROMOTION_DEPLOYING);
    }
    assert_null(promotion_statuses[PROMOTION_STATUSES]);
    assert_int_equal(promotion_status(NULL), PROMOTION_STATUSES);
    assert_null(promotion_actions(PROMOTION_STATUSES)[0]);
}

static void run_and_job_say_when_they_have_ended(void **state)
{
    (void)state;
    assert_true(settle_run_ended(NULL));
    assert_false(settle_run_ended(json("{\"status\":\"cancelling\"}")));
    assert_true(settle_run_ended(json("{\"status\":\"cancelled\"}")));
    assert_true(settle_job_ended(NULL));
    assert_false(settle_job_ended(json("{\"status\":\"rolling_back\"}")));
    assert_true(settle_job_ended(json("{\"status\":\"rollback_failed\"}")));
}

static void the_outcome_is_that_of_run_and_job(void **state)
{
    static const struct {
        const char *run, *job;
        enum promotion_status status;
        const char *code;
    } cases[] = {
        {"succeeded", NULL, PROMOTION_DEPLOYED, NULL},
        {"succeeded", "succeeded", PROMOTION_DEPLOYED, NULL},
        {"succeeded", "failed", PROMOTION_FAILED, "DEPLOY_TARGET_FAILED"}, /* the template let it pass */
        {"succeeded", "rolled_back", PROMOTION_ROLLED_BACK, "DEPLOY_TARGET_FAILED"},
        {"failed", NULL, PROMOTION_FAILED, "WF_STEP_FAILED"},
        {"failed", "succeeded", PROMOTION_FAILED, "WF_STEP_FAILED"},
        {"failed", "rolled_back", PROMOTION_ROLLED_BACK, "DEPLOY_TARGET_FAILED"},
        {"failed", "rollback_failed", PROMOTION_FAILED, "DEPLOY_TARGET_FAILED"},
        {"cancelled", NULL, PROMOTION_FAILED, "WF_CANCELLED"},
        {"cancelled", "cancelled", PROMOTION_FAILED, "WF_CANCELLED"},
        {"cancelled", "rolled_back", PROMOTION_ROLLED_BACK, "DEPLOY_TARGET_FAILED"},
        {NULL, NULL, PROMOTION_FAILED, "RES_NOT_FOUND"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct json *run = NULL, *job = NULL;
        if (cases[i].run != NULL)
            run = json(arena_printf(&arena, "{\"status\":\"%s\"}", cases[i].run).p);
        if (cases[i].job != NULL)
            job = json(arena_printf(&arena, "{\"status\":\"%s\"}", cases[i].job).p);
        const struct settle_outcome o = settle_outcome(&arena, run, job);
        assert_int_equal(o.status, cases[i].status);
        assert_int_equal(o.code == NULL, cases[i].code == NULL);
        if (o.code != NULL)
            assert_string_equal(o.code, cases[i].code);
        assert_int_equal(o.message.n > 0, o.code != NULL);
    }
}

static void a_failure_keeps_its_own_code_and_words(void **state)
{
    (void)state;
    const struct settle_outcome o = settle_outcome(
        &arena, json("{\"status\":\"failed\",\"error\":{\"code\":\"SYS_TIMEOUT\",\"message\":\"too late\"}}"), NULL);
    assert_string_equal(o.code, "SYS_TIMEOUT");
    assert_text(o.message, "too late");
}

static void the_latest_job_is_the_runs_own(void **state)
{
    const struct json *jobs[] = {json("{\"id\":\"3\",\"workflowRunId\":\"r\",\"rollbackId\":\"b\"}"),
                                 json("{\"id\":\"1\",\"workflowRunId\":\"r\"}"),
                                 json("{\"id\":\"2\",\"workflowRunId\":\"r\"}"),
                                 json("{\"id\":\"4\",\"workflowRunId\":\"s\"}")};
    (void)state;
    assert_ptr_equal(settle_latest_job(jobs, ARRAY_LEN(jobs), S("r")), jobs[2]);
    assert_null(settle_latest_job(jobs, ARRAY_LEN(jobs), S("t")));
    assert_null(settle_latest_job(NULL, 0, S("r")));
}

static const struct json *fact(const struct json *promotion, const struct json *job, const struct json *before)
{
    return json(arena_z(&arena, promotion_deployed_fact(&arena, promotion, job, before, 0)));
}

static void what_is_deployed_remembers_what_was_there_before(void **state)
{
    const struct json *promotion =
        json("{\"id\":\"p\",\"releaseId\":\"new\",\"releaseName\":\"n2\",\"requestedBy\":\"ann\"}");
    const struct json *before =
        json("{\"id\":\"old\",\"name\":\"n1\",\"previous\":{\"id\":\"older\",\"name\":\"n0\"}}");
    (void)state;
    const struct json *first = fact(promotion, NULL, NULL);
    assert_true(json_is(json_get(first, "previous"), JSON_NULL));
    const struct json *then = fact(promotion, json("\"j\""), before);
    assert_text(json_str(json_path(then, S("previous.id"))), "old");
    assert_text(json_str(json_get(then, "deploymentJobId")), "j");
    const struct json *again = fact(promotion, NULL, then);
    assert_text(json_str(json_path(again, S("previous.id"))), "old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_window_holds_from_its_start_up_to_its_end, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(a_window_whose_times_cannot_be_read_holds_for_ever, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(a_window_is_overridden_by_name_alone, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(exceptions_and_the_right_may_override, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(the_first_end_among_those_that_block_is_when_to_look_again, open_arena,
                                        close_arena),
        cmocka_unit_test_setup_teardown(blockers_name_windows_and_the_holder, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(every_status_has_its_name_and_the_end_is_known, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(run_and_job_say_when_they_have_ended, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(the_outcome_is_that_of_run_and_job, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(a_failure_keeps_its_own_code_and_words, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(the_latest_job_is_the_runs_own, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(what_is_deployed_remembers_what_was_there_before, open_arena, close_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

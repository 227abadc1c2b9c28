#include "server/engine/rollback_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

#define R(id)               "{\"id\":\"" id "\",\"name\":\"n-" id "\",\"components\":[]}"
#define TARGET(id, now, to) "{\"id\":\"" id "\",\"name\":\"t-" id "\",\"previous\":" now ",\"release\":" to "}"
#define SKIPPED(id, now, to, why)                                                                                      \
    "{\"id\":\"" id "\",\"name\":\"t-" id "\",\"previous\":" now ",\"release\":" to ",\"skip\":\"" why "\"}"
#define PLAN(...) "{\"targets\":[" __VA_ARGS__ "]}"

static const struct json *parse(const char *text)
{
    const struct json *j = json_parse(&arena, str_z(text), NULL, NULL);

    assert_non_null(j);
    return j;
}

static struct rollback_plan planned(const char *plan, const char *from)
{
    struct rollback_plan out;

    assert_true(rollback_plan(&arena, parse(plan), from == NULL ? NULL : parse(from), false, &out));
    parse(arena_z(&arena, out.text));
    return out;
}

static bool warns(const struct rollback_plan *p, const char *text)
{
    const struct json *warnings = json_get(parse(arena_z(&arena, p->text)), "warnings");

    for (size_t i = 0; i < json_count(warnings); i++)
        if (strstr(arena_z(&arena, json_str(json_at(warnings, i))), text) != NULL)
            return true;
    return false;
}

static void every_target_goes_back_to_what_it_had(void **state)
{
    (void)state;
    struct rollback_plan p = planned(PLAN(TARGET("a", R("2"), R("1")) "," TARGET("b", R("2"), R("1"))), R("2"));

    assert_string_equal(
        arena_z(&arena, p.text),
        "{\"affectedTargets\":[{\"id\":\"a\",\"name\":\"t-a\"},{\"id\":\"b\",\"name\":\"t-b\"}],"
        "\"fromReleaseId\":\"2\",\"fromReleaseName\":\"n-2\",\"partial\":false,\"steps\":["
        "{\"fromRelease\":{\"id\":\"2\",\"name\":\"n-2\"},\"order\":1,\"targetId\":\"a\",\"targetName\":"
        "\"t-a\",\"toRelease\":{\"id\":\"1\",\"name\":\"n-1\"}},"
        "{\"fromRelease\":{\"id\":\"2\",\"name\":\"n-2\"},\"order\":2,\"targetId\":\"b\",\"targetName\":"
        "\"t-b\",\"toRelease\":{\"id\":\"1\",\"name\":\"n-1\"}}],"
        "\"toReleaseId\":\"1\",\"toReleaseName\":\"n-1\",\"warnings\":[]}");
    assert_int_equal(p.affected, 2);
    assert_int_equal(p.n_releases, 1);
    assert_false(p.partial);
}

static void all_go_to_the_release_that_is_asked_for(void **state)
{
    (void)state;
    struct rollback_plan p =
        planned("{\"release\":" R("0") ",\"targets\":["
                                       "{\"id\":\"a\",\"name\":\"t-a\",\"previous\":" R(
                                           "2") "},"
                                                "{\"id\":\"b\",\"name\":\"t-b\",\"previous\":null}]}",
                R("2"));

    assert_true(str_eqz(json_str(json_get(p.to, "id")), "0"));
    assert_false(p.partial);
}

static void different_releases_are_partial_and_told(void **state)
{
    (void)state;
    struct rollback_plan p = planned(PLAN(TARGET("a", R("2"), R("1")) "," TARGET("b", R("2"), R("0"))), R("2"));

    assert_null(p.to);
    assert_true(p.partial);
    assert_int_equal(p.n_releases, 2);
    assert_true(warns(&p, "2 different releases"));
}

static void a_target_that_had_nothing_is_told(void **state)
{
    (void)state;
    struct rollback_plan p = planned(PLAN(TARGET("a", R("2"), R("1")) "," TARGET("b", R("2"), "null")), R("2"));

    assert_true(p.partial);
    assert_true(warns(&p, "t-b had nothing before"));
}

static void a_target_left_out_is_partial_only_when_it_keeps_what_is_taken_back(void **state)
{
    (void)state;
    struct rollback_plan p =
        planned(PLAN(TARGET("a", R("2"), R("1")) "," SKIPPED("b", R("2"), R("1"), "in maintenance")), R("2"));

    assert_true(p.partial);
    assert_int_equal(p.affected, 1);
    assert_true(warns(&p, "t-b is left out: in maintenance"));
    p = planned(PLAN(TARGET("a", R("2"), R("1")) "," SKIPPED("b", R("1"), "null", "nothing to do")), R("2"));
    assert_false(p.partial);
    p = planned(PLAN(TARGET("a", R("2"), R("1")) "," SKIPPED("b", "null", "null", "nothing is deployed there")), NULL);
    assert_false(p.partial);
}

static void a_choice_of_targets_is_always_partial(void **state)
{
    (void)state;
    struct rollback_plan p;

    assert_true(rollback_plan(&arena, parse(PLAN(TARGET("a", R("2"), R("1")))), parse(R("2")), true, &p));
    assert_true(p.partial);
    assert_non_null(p.to);
}

static void warnings_are_bounded(void **state)
{
    (void)state;
    struct buf b;

    buf_init_arena(&b, &arena, 4096);
    buf_z(&b, "{\"targets\":[" TARGET("a", R("2"), R("1")));
    for (int i = 0; i < 150; i++)
        buf_z(&b, "," SKIPPED("b", "null", "null", "x"));
    buf_z(&b, "]}");
    struct rollback_plan p = planned(arena_z(&arena, buf_view(&b)), R("2"));
    const struct json *warnings = json_get(parse(arena_z(&arena, p.text)), "warnings");

    assert_int_equal(json_count(warnings), ROLLBACK_WARNINGS + 1);
    assert_true(warns(&p, "and 50 more"));
}

static void no_plan_has_no_step(void **state)
{
    (void)state;
    struct rollback_plan p = planned("{}", NULL);

    assert_int_equal(p.affected, 0);
    assert_true(p.partial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
        T(every_target_goes_back_to_what_it_had),
        T(all_go_to_the_release_that_is_asked_for),
        T(different_releases_are_partial_and_told),
        T(a_target_that_had_nothing_is_told),
        T(a_target_left_out_is_partial_only_when_it_keeps_what_is_taken_back),
        T(a_choice_of_targets_is_always_partial),
        T(warnings_are_bounded),
        T(no_plan_has_no_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

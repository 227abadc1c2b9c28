#include "server/engine/strategy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct faults faults;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
    faults_init(&f->faults, &f->arena);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    arena_fini(&f->arena);
    free(f);
    return 0;
}

static struct json *parse(struct fixture *f, const char *text)
{
    return text == NULL ? NULL : json_parse(&f->arena, str_z(text), NULL, NULL);
}

static const char *normal(struct fixture *f, const char *strategy, const char *environment)
{
    struct json *j;
    struct buf b;

    faults_init(&f->faults, &f->arena);
    j = strategy_normalise(&f->arena, parse(f, strategy), parse(f, environment), S("strategy"), &f->faults);
    if (j == NULL)
        return NULL;
    buf_init_arena(&b, &f->arena, 256);
    json_write(&b, j);
    return arena_z(&f->arena, buf_view(&b));
}

static void assert_fault(struct fixture *f, const char *strategy, const char *field)
{
    if (normal(f, strategy, NULL) != NULL)
        fail_msg("accepted: %s", strategy);
    assert_int_equal(f->faults.n, 1);
    if (!str_eqz(f->faults.list[0].field, field))
        fail_msg("%s: the fault is at " STR_FMT, strategy, STR_ARG(f->faults.list[0].field));
}

#define COMMON "\"maxConcurrent\":0,\"maxFailures\":0,\"onUnavailableTarget\":\"wait\""
#define HTTP_CHECK(PORT, PATH)                                                                                         \
    "\"healthCheck\":{\"host\":\"127.0.0.1\",\"interval\":10,\"path\":\"" PATH "\",\"port\":" PORT                     \
    ",\"retries\":3,\"timeout\":30,\"type\":\"http\"}"

static void no_strategy_is_all_at_once_with_every_default(void **state)
{
    assert_string_equal(normal(*state, NULL, NULL),
                        "{\"config\":{\"failureBehavior\":\"rollback\"," COMMON "},\"type\":\"all-at-once\"}");
    assert_string_equal(normal(*state, "{\"type\":\"all-at-once\"}", "{\"healthCheckConfig\":{\"type\":\"http\"}}"),
                        "{\"config\":{\"failureBehavior\":\"rollback\"," COMMON "},\"type\":\"all-at-once\"}");
}

static void rolling_goes_target_by_target_in_the_order_of_names(void **state)
{
    assert_string_equal(normal(*state, "{\"type\":\"rolling\",\"config\":{}}", NULL),
                        "{\"config\":{\"batchSize\":1,\"failureBehavior\":\"rollback\"," COMMON
                        ",\"order\":\"name\",\"orderLabel\":\"order\",\"pauseBetweenBatchesSeconds\":0},"
                        "\"type\":\"rolling\"}");
}

static void a_per_cent_takes_the_place_of_the_size(void **state)
{
    struct json *j = parse(*state, normal(*state, "{\"type\":\"rolling\",\"config\":{\"batchPercent\":25}}", NULL));

    assert_int_equal(json_int(json_path(j, S("config.batchPercent")), 0), 25);
    assert_null(json_path(j, S("config.batchSize")));
    assert_fault(*state, "{\"type\":\"rolling\",\"config\":{\"batchPercent\":25,\"batchSize\":2}}",
                 "strategy.config.batchPercent");
}

static void the_environments_check_is_taken_when_it_can_be_made(void **state)
{
    assert_string_equal(
        normal(*state, NULL, "{\"healthCheckConfig\":{\"type\":\"http\",\"path\":\"/up\",\"port\":8080}}"),
        "{\"config\":{\"failureBehavior\":\"rollback\"," HTTP_CHECK("8080", "/up") "," COMMON
                                                                                   "},\"type\":\"all-at-once\"}");
    assert_null(strstr(normal(*state, NULL, "{\"healthCheckConfig\":{\"type\":\"command\",\"port\":1}}"), "health"));
    assert_null(strstr(normal(*state, NULL, "{\"healthCheckConfig\":{\"type\":\"none\",\"port\":1}}"), "health"));
}

static void a_strategys_check_comes_before_the_environments(void **state)
{
    const char *environment = "{\"healthCheckConfig\":{\"type\":\"http\",\"port\":8080}}";
    const char *none = "{\"type\":\"all-at-once\",\"config\":{\"healthCheck\":{\"type\":\"none\"}}}";
    const char *first = normal(*state, none, environment);

    assert_non_null(strstr(first, "\"healthCheck\":{\"type\":\"none\"}"));
    assert_string_equal(normal(*state, first, environment), first);
    assert_non_null(
        strstr(normal(*state, "{\"type\":\"all-at-once\",\"config\":{\"healthCheck\":{\"port\":81}}}", environment),
               HTTP_CHECK("81", "/health")));
}

static void what_is_normal_stays_as_it_is(void **state)
{
    static const char *const strategies[] = {
        "{\"type\":\"all-at-once\",\"config\":{\"healthCheck\":{\"type\":\"tcp\",\"port\":5}}}",
        "{\"type\":\"rolling\",\"config\":{\"batchPercent\":50,\"order\":\"random\"}}",
        "{\"type\":\"rolling\",\"config\":{\"healthCheck\":{\"type\":\"command\",\"command\":[\"true\"]}}}"};

    for (size_t i = 0; i < ARRAY_LEN(strategies); i++) {
        const char *once = normal(*state, strategies[i], NULL);

        assert_non_null(once);
        assert_string_equal(normal(*state, once, NULL), once);
    }
}

static void a_check_without_a_port_connects_to_each_targets_own(void **state)
{
    assert_non_null(normal(*state, "{\"type\":\"all-at-once\",\"config\":{\"healthCheck\":{}}}", NULL));
    assert_non_null(normal(*state, "{\"type\":\"rolling\",\"config\":{\"healthCheck\":{\"type\":\"tcp\"}}}", NULL));
}

static void a_check_that_cannot_be_made_is_a_fault(void **state)
{
    assert_fault(*state, "{\"type\":\"rolling\",\"config\":{\"healthCheck\":{\"type\":\"command\"}}}",
                 "strategy.config.healthCheck.command");
    assert_non_null(normal(
        *state, "{\"type\":\"rolling\",\"config\":{\"healthCheck\":{\"url\":\"http://127.0.0.1:8080/\"}}}", NULL));
}

static void members_of_another_type_and_types_not_offered_are_faults(void **state)
{
    assert_fault(*state, "{\"type\":\"all-at-once\",\"config\":{\"batchSize\":2}}", "strategy.config.batchSize");
    assert_fault(*state, "{\"type\":\"canary\",\"config\":{}}", "strategy.type");
    assert_fault(*state, "{\"type\":\"blue-green\"}", "strategy.type");
    assert_fault(*state, "{\"type\":\"rolling\",\"config\":{\"order\":\"size\"}}", "strategy.config.order");
    assert_fault(*state, "{\"type\":\"rolling\",\"config\":{\"batchPercent\":101}}", "strategy.config.batchPercent");
}

static void the_rows_of_a_body_take_what_any_type_takes_and_fill_nothing_in(void **state)
{
    struct fixture *f = *state;
    const char *text = "{\"config\":{\"batchSize\":2,\"healthCheck\":{\"port\":80}},\"type\":\"rolling\"}";
    struct json *j = field_check(strategy_fields, parse(f, text), FIELD_CREATE, &f->faults);
    struct buf b;

    buf_init_arena(&b, &f->arena, 128);
    json_write(&b, j);
    assert_int_equal(f->faults.n, 0);
    assert_string_equal(arena_z(&f->arena, buf_view(&b)), text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(no_strategy_is_all_at_once_with_every_default),
        TEST(rolling_goes_target_by_target_in_the_order_of_names),
        TEST(a_per_cent_takes_the_place_of_the_size),
        TEST(the_environments_check_is_taken_when_it_can_be_made),
        TEST(a_strategys_check_comes_before_the_environments),
        TEST(what_is_normal_stays_as_it_is),
        TEST(a_check_without_a_port_connects_to_each_targets_own),
        TEST(a_check_that_cannot_be_made_is_a_fault),
        TEST(members_of_another_type_and_types_not_offered_are_faults),
        TEST(the_rows_of_a_body_take_what_any_type_takes_and_fill_nothing_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What becomes of a request and the documents it names: the plan of a job, or a refusal. */
#include "server/engine/job_start_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TARGETS = 4 };

struct fixture {
    struct arena arena;
    struct job_request request;
    struct plan_target targets[TARGETS];
    struct plan_parts parts;
    struct str why;
    struct json *plan;
};

static struct json *parse(struct fixture *f, const char *text)
{
    struct json_fault fault = {0};
    struct json *j = json_parse(&f->arena, str_z(text), NULL, &fault);

    if (j == NULL)
        fail_msg("%s at %zu of %s", fault.message, fault.offset, text);
    return j;
}

static struct json *target(struct fixture *f, const char *name, const char *rest)
{
    return parse(f, arena_printf(&f->arena,
                                 "{\"id\":\"id-%s\",\"name\":\"%s\",\"environmentId\":\"e\","
                                 "\"connection\":{\"path\":\"/srv/%s\",\"keep\":2}%s}",
                                 name, name, name, rest)
                        .p);
}

/* An environment of three targets, c, a, b, and a release of one component. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    static const char *const names[] = {"c", "a", "b"};

    arena_init(&f->arena, 0);
    f->request = (struct job_request){.environment_id = S("e"), .release_id = S("r"), .created_by = S("me")};
    f->parts.request = &f->request;
    f->parts.environment =
        parse(f, "{\"id\":\"e\",\"name\":\"test\",\"config\":{\"deploymentTimeout\":90,\"variables\":{\"A\":\"1\"},"
                 "\"agentLabels\":[\"zone=x\"]}}");
    f->parts.release = parse(f, "{\"id\":\"r\",\"name\":\"site-1\",\"status\":\"ready\",\"createdAt\":\"now\"}");
    f->parts.components[0] = (struct plan_component){
        parse(f, "{\"componentId\":\"c1\",\"name\":\"site\",\"role\":\"primary\",\"tag\":\"1.0\",\"digest\":\"d\","
                 "\"versionId\":\"v1\"}"),
        parse(f, "{\"artifactUrl\":\"http://host/site.tar\"}")};
    f->parts.n_components = 1;
    f->parts.targets = f->targets;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        f->targets[f->parts.n_targets++].document = target(f, names[i], ",\"labels\":{}");
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

static enum code compile(struct fixture *f)
{
    struct buf b;
    enum code c;

    buf_init_arena(&b, &f->arena, 512);
    c = job_compile(&f->arena, &f->parts, &b, &f->why);
    f->plan = c == OK ? json_parse(&f->arena, buf_view(&b), NULL, NULL) : NULL;
    assert_true(c != OK || f->plan != NULL);
    return c;
}

static void assert_refused(struct fixture *f, enum code wanted)
{
    assert_int_equal(compile(f), wanted);
    assert_true(f->why.n > 0);
}

static void assert_at(struct fixture *f, const char *path, const char *wanted)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 128);
    json_write(&b, json_path(f->plan, str_z(path)));
    assert_string_equal(arena_z(&f->arena, buf_view(&b)), wanted);
}

static const char *names(struct fixture *f)
{
    const struct json *targets = json_get(f->plan, "targets");
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    for (size_t i = 0; i < json_count(targets); i++)
        buf_str(&b, json_str(json_get(json_at(targets, i), "name")));
    return arena_z(&f->arena, buf_view(&b));
}

static void a_plan_has_all_that_will_be_needed(void **state)
{
    struct fixture *f = *state;
    struct buf b;

    f->request.parent_run = S("run");
    f->request.parent_node = S("deploy");
    f->request.parent_attempt = 2;
    f->request.promotion_id = S("p");
    f->request.hooks = parse(f, "{\"postDeploy\":[\"true\"],\"timeoutSeconds\":300}");
    assert_int_equal(compile(f), OK);
    assert_at(f, "environment",
              "{\"agentLabels\":[\"zone=x\"],\"id\":\"e\",\"name\":\"test\",\"variables\":{\"A\":\"1\"}}");
    assert_at(f, "release",
              "{\"components\":[{\"artifactUrl\":\"http://host/site.tar\",\"componentId\":\"c1\",\"digest\":\"d\","
              "\"name\":\"site\",\"role\":\"primary\",\"tag\":\"1.0\",\"versionId\":\"v1\"}],\"createdAt\":\"now\","
              "\"id\":\"r\",\"name\":\"site-1\"}");
    assert_at(f, "parent", "{\"attempt\":2,\"node\":\"deploy\",\"run\":\"run\"}");
    assert_at(f, "promotionId", "\"p\"");
    assert_at(f, "createdBy", "\"me\"");
    assert_at(f, "timeoutSeconds", "90");
    assert_at(f, "strategy", "\"all-at-once\"");
    assert_at(f, "config.failureBehavior", "\"rollback\"");
    assert_at(f, "hooks", "{\"postDeploy\":[\"true\"],\"timeoutSeconds\":300}");
    buf_init_arena(&b, &f->arena, 128);
    json_write(&b, json_at(json_get(f->plan, "targets"), 0));
    assert_string_equal(
        arena_z(&f->arena, buf_view(&b)),
        "{\"id\":\"id-a\",\"keep\":2,\"labels\":{},\"name\":\"a\",\"path\":\"/srv/a\",\"previous\":null}");
}

static void targets_go_by_name(void **state)
{
    assert_int_equal(compile(*state), OK);
    assert_string_equal(names(*state), "abc");
}

static void targets_go_by_a_label_numbers_first_and_those_without_it_last(void **state)
{
    struct fixture *f = *state;

    f->request.strategy = parse(f, "{\"type\":\"rolling\",\"config\":{\"order\":\"label\",\"orderLabel\":\"wave\"}}");
    f->targets[0].document = target(f, "c", ",\"labels\":{\"wave\":\"9\"}");
    f->targets[1].document = target(f, "a", ",\"labels\":{}");
    f->targets[2].document = target(f, "b", ",\"labels\":{\"wave\":\"10\"}");
    f->targets[3].document = target(f, "d", ",\"labels\":{\"wave\":\"late\"}");
    f->parts.n_targets = 4;
    assert_int_equal(compile(f), OK);
    assert_string_equal(names(f), "cbda");
}

static void a_random_order_loses_and_doubles_nobody(void **state)
{
    struct fixture *f = *state;
    const char *order;

    f->request.strategy = parse(f, "{\"type\":\"rolling\",\"config\":{\"order\":\"random\"}}");
    assert_int_equal(compile(f), OK);
    order = names(f);
    assert_int_equal(strlen(order), 3);
    for (const char *one = "abc"; *one != 0; one++)
        assert_non_null(strchr(order, *one));
}

static void targets_in_maintenance_are_left_out(void **state)
{
    struct fixture *f = *state;

    f->targets[1].document = target(f, "a", ",\"maintenance\":true");
    assert_int_equal(compile(f), OK);
    assert_string_equal(names(f), "abc");
    assert_true(
        str_eqz(json_str(json_get(json_at(json_get(f->plan, "targets"), 0), "skip")), "the target is in maintenance"));
    for (size_t i = 0; i < f->parts.n_targets; i++)
        f->targets[i].document = target(f, "a", ",\"maintenance\":true");
    assert_refused(f, DEPLOY_NO_TARGET);
}

static void an_environment_without_targets_is_refused(void **state)
{
    struct fixture *f = *state;

    f->parts.n_targets = 0;
    assert_refused(f, DEPLOY_NO_TARGET);
}

static void an_uploaded_artifact_is_fetched_from_this_server(void **state)
{
    struct fixture *f = *state;

    f->parts.components[0].version = parse(f, "{\"artifact\":{\"size\":1}}");
    assert_int_equal(compile(f), OK);
    assert_true(str_eqz(json_str(json_get(json_at(json_path(f->plan, S("release.components")), 0), "artifactUrl")),
                        "/api/v1/components/c1/versions/v1/artifact"));
    f->parts.components[0].version = parse(f, "{}");
    assert_refused(f, DEPLOY_ARTIFACT_MISSING);
    f->parts.components[0].version = NULL;
    assert_refused(f, DEPLOY_ARTIFACT_MISSING);
}

static void what_does_not_exist_and_drafts_are_refused(void **state)
{
    struct fixture *f = *state;

    f->parts.release = parse(f, "{\"id\":\"r\",\"name\":\"site-1\",\"status\":\"draft\"}");
    assert_refused(f, REL_NOT_READY);
    f->parts.release = NULL;
    assert_refused(f, RES_REFERENCE_UNKNOWN);
    f->parts.environment = NULL;
    assert_refused(f, RES_REFERENCE_UNKNOWN);
}

static void a_promotions_strategy_comes_before_the_steps(void **state)
{
    struct fixture *f = *state;

    f->request.strategy = parse(f, "{\"type\":\"all-at-once\",\"config\":{\"maxConcurrent\":7}}");
    f->parts.promotion = parse(f, "{\"strategy\":{\"type\":\"rolling\",\"config\":{\"batchSize\":2}}}");
    assert_int_equal(compile(f), OK);
    assert_at(f, "strategy", "\"rolling\"");
    f->parts.promotion = parse(f, "{\"strategy\":null}");
    assert_int_equal(compile(f), OK);
    assert_at(f, "config.maxConcurrent", "7");
}

static void a_strategy_that_does_not_hold_is_refused_with_its_member(void **state)
{
    struct fixture *f = *state;

    f->request.strategy = parse(f, "{\"type\":\"rolling\",\"config\":{\"healthCheck\":{\"type\":\"tcp\"}}}");
    assert_refused(f, VAL_FAILED);
    assert_true(str_find(f->why, S("strategy.config.healthCheck.port")) >= 0);
}

static void what_is_deployed_is_the_way_back(void **state)
{
    struct fixture *f = *state;

    f->targets[1].facts = S("{\"release\":{\"id\":\"old\"},\"releaseJobId\":\"j\","
                            "\"previous\":{\"id\":\"older\"},\"previousJobId\":\"i\"}");
    assert_int_equal(compile(f), OK);
    assert_true(str_eqz(json_str(json_path(json_at(json_get(f->plan, "targets"), 0), S("previous.id"))), "old"));
    assert_true(str_eqz(json_str(json_get(json_at(json_get(f->plan, "targets"), 0), "previousJobId")), "j"));
    assert_true(str_eqz(json_str(json_get(json_at(json_get(f->plan, "targets"), 0), "beforeJobId")), "i"));
    assert_null(json_get(json_at(json_get(f->plan, "targets"), 0), "release"));
}

static void the_same_release_once_more_goes_back_to_the_one_before(void **state)
{
    struct fixture *f = *state;

    f->targets[1].facts = S("{\"release\":{\"id\":\"r\"},\"previous\":{\"id\":\"older\"}}");
    f->targets[2].facts = S("{\"release\":{\"id\":\"r\"},\"previous\":null}");
    assert_int_equal(compile(f), OK);
    assert_true(str_eqz(json_str(json_path(json_at(json_get(f->plan, "targets"), 0), S("previous.id"))), "older"));
    assert_true(str_eqz(json_str(json_path(json_at(json_get(f->plan, "targets"), 1), S("previous.id"))), "r"));
}

/* a goes back to older, b had nothing before, c was never deployed to. */
static void to_previous_brings_each_target_to_what_it_had(void **state)
{
    struct fixture *f = *state;
    const struct json *targets;

    f->request.to_previous = true;
    f->parts.release = NULL;
    f->parts.n_components = 0;
    f->targets[1].facts = S("{\"release\":{\"id\":\"old\"},\"releaseJobId\":\"j\",\"previous\":{\"id\":\"older\"}}");
    f->targets[2].facts = S("{\"release\":{\"id\":\"old\"},\"releaseJobId\":\"k\",\"previous\":null}");
    assert_int_equal(compile(f), OK);
    targets = json_get(f->plan, "targets");
    assert_null(json_get(f->plan, "release"));
    assert_true(str_eqz(json_str(json_path(json_at(targets, 0), S("release.id"))), "older"));
    assert_true(str_eqz(json_str(json_path(json_at(targets, 0), S("previous.id"))), "old"));
    assert_true(json_is(json_get(json_at(targets, 1), "release"), JSON_NULL));
    assert_null(json_get(json_at(targets, 1), "skip"));
    assert_true(str_eqz(json_str(json_get(json_at(targets, 2), "skip")), "nothing is deployed there"));
}

/* a is done, b has it and is unwell, c was done by somebody else. */
static void a_further_attempt_leaves_out_what_is_done(void **state)
{
    struct fixture *f = *state;
    const struct json *targets;

    f->request.jobs = parse(f, "[\"j\"]");
    f->targets[1].facts = S("{\"release\":{\"id\":\"r\"},\"releaseJobId\":\"j\"}");
    f->targets[2].facts = S("{\"healthStatus\":\"unhealthy\",\"release\":{\"id\":\"r\"},\"releaseJobId\":\"j\"}");
    f->targets[0].facts = S("{\"release\":{\"id\":\"r\"},\"releaseJobId\":\"k\"}");
    assert_int_equal(compile(f), OK);
    targets = json_get(f->plan, "targets");
    assert_non_null(json_get(json_at(targets, 0), "skip"));
    assert_null(json_get(json_at(targets, 1), "skip"));
    assert_null(json_get(json_at(targets, 2), "skip"));
}

static void when_all_is_done_a_further_attempt_does_all_again(void **state)
{
    struct fixture *f = *state;

    f->request.jobs = parse(f, "[\"j\"]");
    for (size_t i = 0; i < f->parts.n_targets; i++)
        f->targets[i].facts = S("{\"release\":{\"id\":\"r\"},\"releaseJobId\":\"j\"}");
    assert_int_equal(compile(f), OK);
    for (size_t i = 0; i < f->parts.n_targets; i++)
        assert_null(json_get(json_at(json_get(f->plan, "targets"), i), "skip"));
}

static void again_gives_each_target_what_it_has_and_keeps_the_way_back(void **state)
{
    struct fixture *f = *state;
    const struct json *targets;

    f->request.again = true;
    f->parts.release = NULL;
    f->parts.n_components = 0;
    assert_refused(f, DEPLOY_NO_TARGET);
    f->parts.promotion = parse(f, "{\"strategy\":{\"type\":\"rolling\"}}");
    f->targets[1].facts = S("{\"release\":{\"id\":\"old\"},\"releaseJobId\":\"j\","
                            "\"previous\":{\"id\":\"older\"},\"previousJobId\":\"i\"}");
    assert_int_equal(compile(f), OK);
    targets = json_get(f->plan, "targets");
    assert_true(str_eqz(json_str(json_get(json_at(targets, 0), "releaseJobId")), "j"));
    assert_true(str_eqz(json_str(json_get(json_at(targets, 0), "previousJobId")), "i"));
    assert_at(f, "strategy", "\"all-at-once\"");
    assert_true(str_eqz(json_str(json_path(json_at(targets, 0), S("release.id"))), "old"));
    assert_true(str_eqz(json_str(json_path(json_at(targets, 0), S("previous.id"))), "older"));
    assert_true(str_eqz(json_str(json_get(json_at(targets, 1), "skip")), "nothing is deployed there"));
}

static void taking_back_a_job_leaves_alone_what_another_one_deployed(void **state)
{
    struct fixture *f = *state;

    to_previous_brings_each_target_to_what_it_had(state);
    f->request.jobs = parse(f, "[\"i\",\"j\"]");
    assert_int_equal(compile(f), OK);
    assert_null(json_get(json_at(json_get(f->plan, "targets"), 0), "skip"));
    assert_true(str_eqz(json_str(json_get(json_at(json_get(f->plan, "targets"), 1), "skip")),
                        "another job has been there since"));
    f->request.jobs = parse(f, "[\"k\"]");
    assert_refused(f, DEPLOY_NO_PREVIOUS_RELEASE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_plan_has_all_that_will_be_needed),
        TEST(targets_go_by_name),
        TEST(targets_go_by_a_label_numbers_first_and_those_without_it_last),
        TEST(a_random_order_loses_and_doubles_nobody),
        TEST(targets_in_maintenance_are_left_out),
        TEST(an_environment_without_targets_is_refused),
        TEST(an_uploaded_artifact_is_fetched_from_this_server),
        TEST(what_does_not_exist_and_drafts_are_refused),
        TEST(a_promotions_strategy_comes_before_the_steps),
        TEST(a_strategy_that_does_not_hold_is_refused_with_its_member),
        TEST(what_is_deployed_is_the_way_back),
        TEST(the_same_release_once_more_goes_back_to_the_one_before),
        TEST(to_previous_brings_each_target_to_what_it_had),
        TEST(a_further_attempt_leaves_out_what_is_done),
        TEST(when_all_is_done_a_further_attempt_does_all_again),
        TEST(again_gives_each_target_what_it_has_and_keeps_the_way_back),
        TEST(taking_back_a_job_leaves_alone_what_another_one_deployed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

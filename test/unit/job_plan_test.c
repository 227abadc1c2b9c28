/* How a job's plan becomes a template. */
#include "test/unit/job_fixture.h"

#define CHECK "\"healthCheck\":{\"type\":\"tcp\",\"port\":80,\"timeout\":5,\"retries\":2,\"interval\":1}"

static const struct job *job(struct job_fixture *f)
{
    return job_of(f->r);
}

static void each_target_has_its_tasks_named_by_its_place(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", CHECK, "a,b");
    assert_int_equal(f->r->template->n, 6);
    assert_int_equal(template_find(f->r->template, S("2-health-check")), job(f)->targets[1].task[JOB_CHECK]);
    assert_int_equal(f->r->template->nodes[job(f)->targets[1].task[JOB_ROLLBACK]].compensates,
                     job(f)->targets[1].task[JOB_DEPLOY]);
    assert_int_equal(template_find(f->r->template, S("3-deploy")), -1);
    assert_ptr_equal(run_kind_of_node(S("2-deploy:1")), &job_kind);
    assert_ptr_equal(f->r->template->kind, &job_kind);
}

static void without_a_health_check_there_is_no_task_for_it(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a");
    assert_int_equal(f->r->template->n, 2);
    assert_int_equal(job(f)->targets[0].task[JOB_CHECK], -1);
    job_make(f, "all-at-once", "\"healthCheck\":{\"type\":\"none\"}", "a");
    assert_int_equal(f->r->template->n, 2);
}

static void batches(struct job_fixture *f, const char *strategy, const char *config, const char *targets,
                    const char *expected)
{
    struct buf b;

    job_make(f, strategy, config, targets);
    buf_init_arena(&b, &f->arena, 64);
    for (int i = 0; i < job(f)->n_targets; i++)
        buf_printf(&b, "%d", job(f)->targets[i].batch);
    assert_string_equal(arena_z(&f->arena, buf_view(&b)), expected);
}

static void targets_are_cut_into_batches(void **state)
{
    struct job_fixture *f = *state;

    batches(f, "all-at-once", "", "a,b,c", "111");
    batches(f, "rolling", "\"batchSize\":1", "a,b,c", "123");
    batches(f, "rolling", "\"batchSize\":2", "a,b,c", "112");
    batches(f, "rolling", "\"batchSize\":9", "a,b,c", "111");
    batches(f, "rolling", "\"batchPercent\":34", "a,b,c,d", "1122"); /* 1.36 rounded up */
    batches(f, "rolling", "\"batchPercent\":1", "a,b,c", "123");
    batches(f, "rolling", "\"batchPercent\":100", "a,b,c", "111");
}

static void skipped_targets_are_in_no_batch_and_do_not_count(void **state)
{
    struct job_fixture *f = *state;

    batches(f, "rolling", "\"batchSize\":2", "a,-b,c,d", "1012");
    batches(f, "rolling", "\"batchPercent\":50", "-a,b,-c,d", "0102");
    batches(f, "all-at-once", "", "-a,-b", "00");
    assert_int_equal(job(f)->n_batches, 0);
}

static void a_job_that_nobody_could_resume_stops_instead_of_pausing(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"failureBehavior\":\"pause\"", "a");
    assert_int_equal(job(f)->behaviour, JOB_PAUSES);
    job_of_plan(f, "{\"config\":{\"failureBehavior\":\"pause\"},\"targets\":[{\"id\":\"a\"}]}");
    assert_int_equal(job(f)->behaviour, JOB_STOPS);
}

static void what_is_no_plan_is_refused(void **state)
{
    struct job_fixture *f = *state;

    assert_null(job_parse(&f->arena, job_json(f, "[]")));
    assert_null(job_parse(&f->arena, job_json(f, "{}")));
    assert_null(job_parse(&f->arena, job_json(f, "{\"targets\":{}}")));
    assert_null(job_parse(&f->arena, job_json(f, "{\"targets\":[{\"name\":\"a\"}]}")));
    assert_null(job_parse(&f->arena, NULL));
}

static void a_check_has_the_time_its_samples_may_take(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", CHECK, "a");
    assert_int_equal(f->r->template->nodes[job(f)->targets[0].task[JOB_CHECK]].timeout_ms, (5 + 1) * 3 * 1000 + 30000);
    assert_int_equal(f->r->template->nodes[job(f)->targets[0].task[JOB_DEPLOY]].timeout_ms, 600000);
}

static void a_thousand_targets_are_parsed_and_found(void **state)
{
    struct job_fixture *f = *state;
    struct buf b;

    buf_init_arena(&b, &f->arena, 65536);
    buf_z(&b, "{\"config\":{" CHECK "},\"targets\":[");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%s{\"id\":\"t%d\"}", i == 0 ? "" : ",", i);
    buf_z(&b, "]}");
    job_of_plan(f, arena_z(&f->arena, buf_view(&b)));
    assert_int_equal(f->r->template->n, 3000);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(template_find(f->r->template, f->r->template->nodes[i].id), i);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, job_set_up, job_tear_down)
    const struct CMUnitTest tests[] = {
        T(each_target_has_its_tasks_named_by_its_place),
        T(without_a_health_check_there_is_no_task_for_it),
        T(targets_are_cut_into_batches),
        T(skipped_targets_are_in_no_batch_and_do_not_count),
        T(a_job_that_nobody_could_resume_stops_instead_of_pausing),
        T(what_is_no_plan_is_refused),
        T(a_check_has_the_time_its_samples_may_take),
        T(a_thousand_targets_are_parsed_and_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

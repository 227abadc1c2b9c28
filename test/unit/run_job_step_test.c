/* Steps that a job carries out. */
#include "test/unit/run_fixture.h"

#define JOB_NODE "{'id':'d','name':'job','timeoutSeconds':100,'retry':{'maxAttempts':2,'initialDelaySeconds':5},$}"

static void job_started(struct run_fixture *f, int64_t attempt, const char *job)
{
    run_send(f, (struct run_event){.type = EVENT_JOB_STARTED, .node = S("d"), .attempt = attempt, .agent = str_z(job)});
}

static void job_ended(struct run_fixture *f, int64_t attempt, const char *error_type)
{
    run_send(f, (struct run_event){.type = EVENT_WORK_COMPLETED,
                                   .node = S("d"),
                                   .attempt = attempt,
                                   .success = error_type == NULL,
                                   .error_type = str_z(error_type),
                                   .retriable = true});
}

static void is_told(struct run_fixture *f, const char *job, enum run_event_type type)
{
    const struct effect *e = run_effect_of(f, EFFECT_TELL);
    struct run_event told;

    assert_non_null(e);
    assert_string_equal(e->kind, "job");
    assert_true(str_eqz(e->run, job));
    assert_true(run_event_read(&f->arena, e->text, &told));
    assert_int_equal(told.type, type);
}

static void a_job_is_asked_for_known_and_ends_its_step(void **state)
{
    struct run_fixture *f = *state;
    struct buf b;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    run_is_step(f, "d", STEP_RUNNING);
    assert_non_null(run_effect_of(f, EFFECT_WORK));
    job_started(f, 1, "job-1");
    assert_true(str_eqz(run_step_of(f, "d")->job, "job-1"));
    buf_init_arena(&b, &f->arena, 512);
    run_step_document_write(&b, f->r, 0);
    assert_true(str_find(buf_view(&b), S("\"deploymentJobId\":\"job-1\"")) >= 0);
    job_started(f, 1, "job-1");
    assert_int_equal(f->fx.n, f->seen);
    job_ended(f, 1, NULL);
    assert_non_null(run_effect_of(f, EFFECT_WORK_OVER));
    run_is(f, RUN_SUCCEEDED);
    job_started(f, 1, "job-1");
    assert_int_equal(f->fx.n, f->seen);
}

static void another_attempt_is_another_job(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    job_ended(f, 1, "deployment_failed");
    run_is_step(f, "d", STEP_RETRYING);
    run_tick(f, 5000);
    run_is_step(f, "d", STEP_RUNNING);
    assert_int_equal(run_step_of(f, "d")->job.n, 0);
    assert_true(str_ends(run_effect_of(f, EFFECT_WORK)->task, S(":d:2")));
    job_ended(f, 1, NULL); /* of the first */
    run_is_step(f, "d", STEP_RUNNING);
    job_started(f, 2, "job-2");
    job_ended(f, 2, NULL);
    run_is(f, RUN_SUCCEEDED);
}

static void a_cancelled_step_tells_its_job_and_waits_for_it(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    run_send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("someone")});
    is_told(f, "job-1", EVENT_CANCEL);
    run_is_step(f, "d", STEP_RUNNING);
    run_tick(f, RUN_GRACE_MS);
    run_is_step(f, "d", STEP_RUNNING);
    job_ended(f, 1, "cancelled");
    run_is_step(f, "d", STEP_CANCELLED);
    run_is(f, RUN_CANCELLED);
}

static void a_job_that_does_not_stop_is_given_up_after_its_grace(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    run_send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("someone")});
    run_tick(f, RUN_JOB_GRACE_MS);
    run_is_step(f, "d", STEP_CANCELLED);
    run_is(f, RUN_CANCELLED);
    job_ended(f, 1, NULL);
    run_is_step(f, "d", STEP_CANCELLED);
    assert_true(str_eqz(run_step_of(f, "d")->attempts[0].late, "succeeded"));
}

static void a_step_whose_time_is_up_stops_its_job_and_has_timed_out(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    run_tick(f, 100000 + RUN_EXPIRY_MS);
    is_told(f, "job-1", EVENT_CANCEL);
    run_is_step(f, "d", STEP_RUNNING);
    job_ended(f, 1, "cancelled");
    run_is_step(f, "d", STEP_RETRYING);
    assert_int_equal(run_step_of(f, "d")->attempts[0].status, STEP_TIMED_OUT);
}

static void a_job_that_comes_too_late_is_told_to_stop(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE ",{'id':'a',$}]}");
    run_send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("someone")});
    run_is_step(f, "d", STEP_CANCELLED);
    job_started(f, 1, "job-1");
    is_told(f, "job-1", EVENT_CANCEL);
    run_fail_with(f, "a", "cancelled");
    run_is(f, RUN_CANCELLED);
    job_started(f, 1, "job-2");
    is_told(f, "job-2", EVENT_CANCEL);
    job_started(f, 7, "job-3");
    is_told(f, "job-3", EVENT_CANCEL);
}

static void resuming_is_told_to_jobs_also_to_one_that_is_known_later(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1")});
    run_send(f, (struct run_event){.type = EVENT_RESUME, .by = S("someone")});
    assert_null(run_effect_of(f, EFFECT_TELL));
    job_started(f, 1, "job-1");
    is_told(f, "job-1", EVENT_RESUME);
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1")});
    run_send(f, (struct run_event){.type = EVENT_RESUME, .by = S("someone")});
    is_told(f, "job-1", EVENT_RESUME);
}

static void the_time_of_a_job_stands_still_while_the_run_is_paused(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1"), .node = S("d"), .attempt = 1});
    run_is(f, RUN_PAUSED);
    run_tick(f, 500000);
    assert_null(run_effect_of(f, EFFECT_TELL));
    run_send(f, (struct run_event){.type = EVENT_RESUME, .by = S("someone")});
    run_tick(f, 90000);
    run_is_step(f, "d", STEP_RUNNING);
    assert_null(run_effect_of(f, EFFECT_TELL));
    run_tick(f, 70000);
    is_told(f, "job-1", EVENT_CANCEL);
}

static void a_job_whose_step_has_ended_pauses_nothing(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[" JOB_NODE ",{'id':'a',$}]}");
    job_started(f, 1, "job-1");
    job_ended(f, 1, "deployment_failed");
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1"), .node = S("d"), .attempt = 1});
    run_is(f, RUN_RUNNING);
    run_tick(f, 5000);
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1"), .node = S("d"), .attempt = 1});
    run_is(f, RUN_RUNNING);
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-2"), .node = S("d"), .attempt = 2});
    run_is(f, RUN_PAUSED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, run_set_up, run_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_job_is_asked_for_known_and_ends_its_step),
        TEST(another_attempt_is_another_job),
        TEST(a_cancelled_step_tells_its_job_and_waits_for_it),
        TEST(a_job_that_does_not_stop_is_given_up_after_its_grace),
        TEST(a_step_whose_time_is_up_stops_its_job_and_has_timed_out),
        TEST(a_job_that_comes_too_late_is_told_to_stop),
        TEST(resuming_is_told_to_jobs_also_to_one_that_is_known_later),
        TEST(the_time_of_a_job_stands_still_while_the_run_is_paused),
        TEST(a_job_whose_step_has_ended_pauses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The rules by which deployment jobs move, one at a time. The simulator (test/sim/job_test) plays them all together. */
#include "server/engine/choose.h"
#include "test/unit/job_fixture.h"

#define CHECK "\"healthCheck\":{\"type\":\"tcp\",\"port\":80}"
#define NOISE "task_assigned task_started task_progress job_progress task_retrying"

static const struct json *told(struct job_fixture *f)
{
    const struct effect *e = job_effect(f, EFFECT_TELL);

    assert_non_null(e);
    assert_string_equal(e->kind, "run");
    assert_true(str_eqz(e->run, "run-1"));
    return job_json(f, arena_z(&f->arena, e->text));
}

#define member_is(object, name, value) assert_true(str_eqz(json_str(json_path(object, S(name))), value))

/* --- batches --- */

static void all_at_once_deploys_to_every_target(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a,b,c");
    job_is(f, "pending");
    job_start(f);
    job_is(f, "running");
    assert_string_equal(job_tasks(f, "assigned"), "1-deploy 2-deploy 3-deploy");
    job_done(f, "2-deploy");
    job_done(f, "1-deploy");
    job_is(f, "running");
    job_done(f, "3-deploy");
    job_is(f, "succeeded");
    assert_string_equal(job_frames(f, NOISE), "job_started batch_started:1 task_completed:2-deploy "
                                              "task_completed:1-deploy task_completed:3-deploy batch_completed:1 "
                                              "job_completed");
}

static void rolling_goes_batch_after_batch(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":2", "a,b,c");
    job_start(f);
    assert_string_equal(job_tasks(f, "assigned"), "1-deploy 2-deploy");
    job_done(f, "1-deploy");
    assert_string_equal(job_tasks(f, "pending"), "3-deploy");
    job_done(f, "2-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "3-deploy");
    job_done(f, "3-deploy");
    assert_string_equal(job_frames(f, NOISE), "job_started batch_started:1 task_completed:1-deploy "
                                              "task_completed:2-deploy batch_completed:1 batch_started:2 "
                                              "task_completed:3-deploy batch_completed:2 job_completed");
}

static void between_batches_it_pauses(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"pauseBetweenBatchesSeconds\":60", "a,b");
    job_start(f);
    job_done(f, "1-deploy");
    assert_int_equal(f->r->timer_ms, f->now + 60000);
    job_wait(f, 59);
    assert_string_equal(job_tasks(f, "pending"), "2-deploy");
    job_wait(f, 1);
    assert_string_equal(job_tasks(f, "assigned"), "2-deploy");
}

static void the_pause_between_batches_stands_still_while_the_job_is_paused(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"pauseBetweenBatchesSeconds\":60", "a,b");
    job_start(f);
    job_done(f, "1-deploy");
    job_wait(f, 20);
    job_event(f, EVENT_PAUSE);
    job_is(f, "paused");
    job_wait(f, 100);
    job_event(f, EVENT_RESUME);
    job_wait(f, 39);
    assert_string_equal(job_tasks(f, "pending"), "2-deploy");
    job_wait(f, 1);
    assert_string_equal(job_tasks(f, "assigned"), "2-deploy");
}

static void no_more_than_max_concurrent_tasks_are_under_way(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"maxConcurrent\":2," CHECK, "a,b,c");
    job_start(f);
    assert_string_equal(job_tasks(f, "assigned"), "1-deploy 2-deploy");
    job_done(f, "1-deploy"); /* its check comes before a new target */
    assert_string_equal(job_tasks(f, "assigned"), "1-health-check 2-deploy");
    job_stumbles(f, "2-deploy"); /* what waits to be tried again counts */
    assert_string_equal(job_tasks(f, "assigned"), "1-health-check");
    job_done(f, "1-health-check");
    assert_string_equal(job_tasks(f, "assigned"), "3-deploy");
}

static void health_is_checked_after_each_deployment(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1," CHECK, "a,b");
    job_start(f);
    job_done(f, "1-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "1-health-check");
    job_done(f, "1-health-check");
    assert_string_equal(job_tasks(f, "assigned"), "2-deploy");
}

/* --- attempts --- */

static void a_task_has_three_attempts_while_failing_is_retriable(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"failureBehavior\":\"continue\"", "a,b");
    job_start(f);
    job_stumbles(f, "1-deploy");
    assert_string_equal(job_task(f, "1-deploy"), "pending");
    assert_int_equal(job_step_of(f, "1-deploy")->attempt, 1);
    job_wait(f, 60);
    job_stumbles(f, "1-deploy");
    job_wait(f, 60);
    assert_string_equal(job_task(f, "1-deploy"), "assigned");
    job_stumbles(f, "1-deploy");
    assert_string_equal(job_task(f, "1-deploy"), "failed");
    job_fails(f, "2-deploy"); /* not retriable: once */
    assert_int_equal(job_step_of(f, "2-deploy")->attempt, 1);
    job_is(f, "failed");
}

/* --- failures --- */

static void with_rollback_running_tasks_end_and_touched_targets_go_back(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":2", "a,b,c");
    job_start(f);
    job_fails(f, "1-deploy");
    job_is(f, "running");
    assert_string_equal(job_tasks(f, "assigned"), "2-deploy");
    assert_string_equal(job_tasks(f, "cancelled"), "3-deploy");
    job_done(f, "2-deploy");
    job_is(f, "rolling_back");
    assert_string_equal(job_tasks(f, "assigned"), "1-rollback 2-rollback");
    job_done(f, "2-rollback");
    job_done(f, "1-rollback");
    job_is(f, "rolled_back");
    assert_string_equal(job_frames(f, NOISE),
                        "job_started batch_started:1 task_completed:1-deploy task_completed:3-deploy "
                        "task_completed:2-deploy rollback_started task_completed:2-rollback "
                        "task_completed:1-rollback job_completed");
    member_is(told(f), "errorType", "deployment_rolled_back");
}

static void a_rollback_that_fails_is_told(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"maxConcurrent\":1", "a,b");
    job_start(f);
    job_done(f, "1-deploy");
    job_fails(f, "2-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "2-rollback"); /* the last one first */
    job_fails(f, "2-rollback");
    job_done(f, "1-rollback");
    job_is(f, "rollback_failed");
    member_is(told(f), "errorType", "deployment_failed");
}

static void a_failed_health_check_fails_its_target(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", CHECK, "a");
    job_start(f);
    job_done(f, "1-deploy");
    job_fails(f, "1-health-check");
    job_is(f, "rolling_back");
    assert_int_equal(job_count(f->r).failed, 1);
}

static void max_failures_targets_may_fail(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"maxFailures\":1", "a,b,c");
    job_start(f);
    job_fails(f, "1-deploy");
    job_done(f, "2-deploy");
    job_done(f, "3-deploy");
    job_is(f, "succeeded");
    assert_int_equal(job_count(f->r).failed, 1);
}

static void rolling_stops_at_the_first_failure_beyond_max_failures(void **state) /* W26 */
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"maxFailures\":1", "a,b,c,d");
    job_start(f);
    job_fails(f, "1-deploy");
    job_fails(f, "2-deploy");
    assert_string_equal(job_tasks(f, "cancelled"), "3-deploy 4-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "1-rollback 2-rollback");
    assert_int_equal(job_step_of(f, "3-deploy")->attempt, 0);
}

static void with_continue_all_batches_go_on_and_the_job_fails(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"failureBehavior\":\"continue\"", "a,b");
    job_start(f);
    job_fails(f, "1-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "2-deploy");
    job_done(f, "2-deploy");
    job_is(f, "failed");
    member_is(job_doc(f), "error.code", "DEPLOY_TARGET_FAILED");
    member_is(job_doc(f), "error.targetId", "a");
    member_is(told(f), "errorType", "deployment_failed");
}

static void with_pause_it_waits_for_a_person_and_tells_its_run(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"failureBehavior\":\"pause\"", "a,b");
    job_start(f);
    job_fails(f, "1-deploy");
    job_is(f, "paused");
    member_is(told(f), "event", "pause");
    assert_true(job_frame(f, "job_paused") != NULL);
    job_wait(f, 3000); /* the deadline stands still */
    job_is(f, "paused");
    assert_string_equal(job_tasks(f, "pending"), "2-deploy");
}

static void resuming_gives_failed_targets_another_attempt_and_keeps_the_restriction(void **state) /* W26 */
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":2,\"failureBehavior\":\"pause\"," CHECK, "a,-b,c,d");
    job_start(f);
    job_fails(f, "1-deploy");
    job_done(f, "3-deploy");
    job_event(f, EVENT_RESUME);
    job_is(f, "running");
    assert_string_equal(job_tasks(f, "assigned"), "1-deploy 3-health-check");
    assert_int_equal(job_step_of(f, "1-deploy")->attempt, 2);
    assert_string_equal(job_tasks(f, "skipped"), "2-deploy 2-health-check"); /* excluded stays excluded */
    job_done(f, "3-health-check");
    job_done(f, "1-deploy");
    job_done(f, "1-health-check");
    job_done(f, "4-deploy");
    job_done(f, "4-health-check");
    job_is(f, "succeeded");
    assert_int_equal(job_count(f->r).failed, 0);
}

static void a_target_that_fails_again_pauses_again(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"failureBehavior\":\"pause\"", "a");
    job_start(f);
    for (int i = 1; i < 6; i++) {
        job_stumbles(f, "1-deploy");
        job_wait(f, 60);
        if (strcmp(job_status_name(f->r), "paused") == 0)
            job_event(f, EVENT_RESUME);
    }
    assert_true(job_step_of(f, "1-deploy")->attempt > JOB_ATTEMPTS);
    job_done(f, "1-deploy");
    job_is(f, "succeeded");
}

/* --- targets that are left out --- */

static void targets_the_plan_skips_are_listed_with_the_reason(void **state) /* W19 */
{
    struct job_fixture *f = *state;
    const struct json *skipped;

    job_make(f, "all-at-once", CHECK, "a,-b");
    job_start(f);
    job_done(f, "1-deploy");
    job_done(f, "1-health-check");
    job_is(f, "succeeded");
    skipped = json_get(job_doc(f), "skipped");
    assert_int_equal(json_count(skipped), 1);
    member_is(json_at(skipped, 0), "targetId", "b");
    member_is(json_at(skipped, 0), "reason", "in maintenance");
    assert_string_equal(job_task(f, "2-health-check"), "skipped");
    member_is(job_task_doc(f, "2-deploy"), "reason", "in maintenance");
}

static void with_skip_an_unavailable_target_is_left_out(void **state) /* W19 */
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"onUnavailableTarget\":\"skip\"," CHECK, "a,b");
    f->deaf = "the agent asked for is not registered";
    f->deaf_to = "2-deploy";
    job_start(f);
    assert_string_equal(job_tasks(f, "skipped"), "2-deploy 2-health-check");
    job_done(f, "1-deploy");
    job_done(f, "1-health-check");
    job_is(f, "succeeded");
    assert_int_equal(job_count(f->r).skipped, 1);
    assert_int_equal(job_count(f->r).failed, 0);
    member_is(json_at(json_get(job_doc(f), "skipped"), 0), "reason", "the agent asked for is not registered");
    member_is(job_frame(f, "job_completed"), "status", "succeeded");
}

static void with_fail_it_has_failed_after_a_minute(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"onUnavailableTarget\":\"fail\",\"failureBehavior\":\"continue\"", "a,b");
    f->deaf = "of 1 agent 1 is not online";
    f->deaf_to = "2-deploy";
    job_start(f);
    job_done(f, "1-deploy");
    job_wait(f, 30);
    job_is(f, "running");
    assert_string_equal(job_tasks(f, "pending"), "2-deploy");
    job_wait(f, 30);
    job_is(f, "failed");
    assert_string_equal(job_task(f, "2-deploy"), "failed");
}

static void with_wait_it_waits_for_the_jobs_time(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"failureBehavior\":\"continue\"", "a");
    f->deaf = "of 1 agent 1 is not online";
    job_start(f);
    for (int i = 0; i < 19; i++)
        job_wait(f, 30);
    job_is(f, "running");
    job_wait(f, 30);
    job_is(f, "failed");
    member_is(job_doc(f), "error.code", "SYS_TIMEOUT");
}

static void a_busy_agent_is_not_an_unavailable_one(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"onUnavailableTarget\":\"skip\"", "a");
    f->deaf = "of 2 agents 1 is not online, 1 is busy";
    job_start(f);
    job_wait(f, 30);
    job_wait(f, 60);
    assert_string_equal(job_tasks(f, "pending"), "1-deploy");
    f->deaf = NULL;
    job_event(f, EVENT_OFFER);
    assert_string_equal(job_tasks(f, "assigned"), "1-deploy");
}

static void a_target_that_was_touched_is_not_skipped_but_fails(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"onUnavailableTarget\":\"skip\",\"failureBehavior\":\"continue\"", "a,b");
    job_start(f);
    job_done(f, "2-deploy");
    job_stumbles(f, "1-deploy");
    f->deaf = "of 1 agent 1 is not online";
    job_wait(f, 10);
    assert_string_equal(job_task(f, "1-deploy"), "pending");
    job_wait(f, 30);
    job_wait(f, 30);
    assert_string_equal(job_task(f, "1-deploy"), "failed");
    job_is(f, "failed");
}

static void a_job_all_of_whose_targets_are_skipped_fails(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "-a,-b");
    job_start(f);
    job_is(f, "failed");
    member_is(job_doc(f), "error.code", "DEPLOY_NO_TARGET");
    job_make(f, "rolling", "\"batchSize\":1,\"onUnavailableTarget\":\"skip\"", "a,b");
    f->deaf = "no agent is registered";
    job_start(f);
    job_is(f, "failed");
    member_is(job_doc(f), "error.code", "DEPLOY_NO_TARGET");
    assert_int_equal(f->r->rollback, ROLLBACK_NONE);
}

/* --- cancel and time --- */

static void cancel_stops_what_runs_and_rolls_nothing_back(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1", "a,b,c");
    job_start(f);
    job_done(f, "1-deploy");
    job_event(f, EVENT_CANCEL);
    job_is(f, "cancelling");
    assert_true(job_effect(f, EFFECT_CANCEL) != NULL);
    assert_string_equal(job_tasks(f, "cancelled"), "3-deploy");
    job_fails(f, "2-deploy");
    job_is(f, "cancelled");
    assert_string_equal(job_tasks(f, "cancelled"), "2-deploy 3-deploy");
    member_is(told(f), "errorType", "cancelled");
}

static void an_agent_that_does_not_stop_has_its_grace(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a");
    job_start(f);
    job_event(f, EVENT_CANCEL);
    job_wait(f, 29);
    job_is(f, "cancelling");
    job_wait(f, 1);
    job_is(f, "cancelled");
}

static void a_job_is_cancelled_before_it_began(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a");
    job_event(f, EVENT_CANCEL);
    job_is(f, "cancelled");
    job_start(f);
    job_is(f, "cancelled");
}

static void a_rollback_that_is_cancelled_stays_where_it_is(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "\"maxConcurrent\":1", "a,b");
    job_start(f);
    job_done(f, "1-deploy");
    job_fails(f, "2-deploy");
    job_is(f, "rolling_back");
    job_event(f, EVENT_CANCEL);
    job_fails(f, "2-rollback");
    job_is(f, "cancelled");
    assert_false(job_task_shown(f->r, template_find(f->r->template, S("1-rollback"))));
}

static void the_deadline_stops_the_job_and_still_rolls_back(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1", "a,b,c");
    job_start(f);
    job_done(f, "1-deploy");
    job_wait(f, 600);
    job_wait(f, 30); /* 2-deploy's grace */
    job_is(f, "rolling_back");
    assert_string_equal(job_tasks(f, "assigned"), "1-rollback 2-rollback");
    job_done(f, "1-rollback");
    job_done(f, "2-rollback");
    job_is(f, "rolled_back");
    member_is(job_doc(f), "error.code", "SYS_TIMEOUT");
}

static void pausing_starts_nothing_new_and_lets_run_what_runs(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1," CHECK, "a,b");
    job_start(f);
    job_event(f, EVENT_PAUSE);
    job_done(f, "1-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "");
    job_event(f, EVENT_RESUME);
    assert_string_equal(job_tasks(f, "assigned"), "1-health-check");
}

/* --- whom it tells --- */

static void the_end_is_told_to_the_step_that_made_it(void **state)
{
    struct job_fixture *f = *state;
    const struct json *end;

    job_make(f, "all-at-once", "\"maxFailures\":1", "a,-b,c");
    job_start(f);
    job_done(f, "1-deploy");
    job_fails(f, "3-deploy");
    end = told(f);
    member_is(end, "event", "work_completed");
    member_is(end, "node", "deploy");
    assert_int_equal(json_int(json_get(end, "attempt"), 0), 2);
    assert_true(json_bool(json_get(end, "success"), false));
    member_is(end, "outputs.deploymentJobId", "job-1");
    member_is(end, "outputs.status", "succeeded");
    assert_int_equal(json_int(json_path(end, S("outputs.targets")), 0), 3);
    assert_int_equal(json_int(json_path(end, S("outputs.completed")), 0), 1);
    assert_int_equal(json_int(json_path(end, S("outputs.failed")), 0), 1);
    assert_int_equal(json_int(json_path(end, S("outputs.skipped")), 0), 1);
    assert_true(str_eqz(job_effect(f, EFFECT_TELL)->id, "run-1:deploy:2"));
}

static void an_ended_job_is_rolled_back_by_another(void **state)
{
    struct job_fixture *f = *state;
    size_t frames;

    job_make(f, "all-at-once", "", "a");
    job_start(f);
    job_done(f, "1-deploy");
    frames = strlen(job_frames(f, ""));
    job_send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-1")});
    job_is(f, "rolling_back");
    member_is(job_doc(f), "rolledBackBy", "rollback-1");
    job_send(f, (struct run_event){.type = EVENT_ROLLBACK_ENDED, .success = true});
    job_is(f, "rolled_back");
    job_send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-2")});
    job_send(f, (struct run_event){.type = EVENT_ROLLBACK_ENDED});
    job_is(f, "rollback_failed");
    assert_int_equal(strlen(job_frames(f, "")), frames); /* job_completed stays the last frame */
}

static void every_change_of_status_is_announced_once(void **state)
{
    struct job_fixture *f = *state;
    size_t n = 0;

    job_make(f, "all-at-once", "", "a");
    job_start(f);
    job_event(f, EVENT_TICK);
    job_event(f, EVENT_PAUSE);
    job_event(f, EVENT_RESUME);
    job_done(f, "1-deploy");
    for (size_t i = 0; i < f->fx.n; i++)
        n += f->fx.list[i].type == EFFECT_STATUS;
    assert_int_equal(n, 4); /* running, paused, running, succeeded */
}

/* --- the whole table: what each event, spoken of the job alone, makes of each status --- */

static void bring_to(struct job_fixture *f, enum job_status status)
{
    job_make(f, "rolling", "\"batchSize\":1", "a,b");
    if (status == JOB_STATUS_PENDING)
        return;
    job_start(f);
    if (status == JOB_STATUS_PAUSED)
        job_event(f, EVENT_PAUSE);
    if (status == JOB_STATUS_CANCELLING || status == JOB_STATUS_CANCELLED)
        job_event(f, EVENT_CANCEL);
    if (status == JOB_STATUS_CANCELLED || status == JOB_STATUS_ROLLING_BACK || status >= JOB_STATUS_ROLLED_BACK)
        job_fails(f, "1-deploy");
    if (status == JOB_STATUS_ROLLED_BACK)
        job_done(f, "1-rollback");
    if (status == JOB_STATUS_ROLLBACK_FAILED)
        job_fails(f, "1-rollback");
    if (status == JOB_STATUS_SUCCEEDED) {
        job_done(f, "1-deploy");
        job_done(f, "2-deploy");
    }
    if (status == JOB_STATUS_FAILED) {
        job_make(f, "all-at-once", "\"failureBehavior\":\"continue\"", "a");
        job_start(f);
        job_fails(f, "1-deploy");
    }
}

static void each_event_in_each_status(void **state)
{
    static const struct {
        enum job_status from;
        enum run_event_type event;
        enum job_status to;
    } moves[] = {
        {JOB_STATUS_PENDING, EVENT_START, JOB_STATUS_RUNNING},
        {JOB_STATUS_PENDING, EVENT_CANCEL, JOB_STATUS_CANCELLED},
        {JOB_STATUS_RUNNING, EVENT_PAUSE, JOB_STATUS_PAUSED},
        {JOB_STATUS_RUNNING, EVENT_CANCEL, JOB_STATUS_CANCELLING},
        {JOB_STATUS_PAUSED, EVENT_RESUME, JOB_STATUS_RUNNING},
        {JOB_STATUS_PAUSED, EVENT_CANCEL, JOB_STATUS_CANCELLING},
        {JOB_STATUS_ROLLING_BACK, EVENT_PAUSE, JOB_STATUS_PAUSED},
        {JOB_STATUS_ROLLING_BACK, EVENT_CANCEL, JOB_STATUS_CANCELLING},
        {JOB_STATUS_SUCCEEDED, EVENT_ROLLBACK_STARTED, JOB_STATUS_ROLLING_BACK},
        {JOB_STATUS_FAILED, EVENT_ROLLBACK_STARTED, JOB_STATUS_ROLLING_BACK},
        {JOB_STATUS_CANCELLED, EVENT_ROLLBACK_STARTED, JOB_STATUS_ROLLING_BACK},
        {JOB_STATUS_ROLLED_BACK, EVENT_ROLLBACK_STARTED, JOB_STATUS_ROLLING_BACK},
        {JOB_STATUS_ROLLBACK_FAILED, EVENT_ROLLBACK_STARTED, JOB_STATUS_ROLLING_BACK},
    };
    struct job_fixture *f = *state;

    for (int status = 0; status < JOB_STATUSES; status++)
        for (int event = 0; event < EVENT_TYPES; event++) {
            enum job_status to = (enum job_status)status;

            bring_to(f, (enum job_status)status);
            job_is(f, job_statuses[status]);
            for (size_t i = 0; i < ARRAY_LEN(moves); i++)
                if (moves[i].from == (enum job_status)status && moves[i].event == (enum run_event_type)event)
                    to = moves[i].to;
            job_event(f, (enum run_event_type)event);
            if (strcmp(job_status_name(f->r), job_statuses[to]) != 0)
                fail_msg("%s in %s: %s", run_event_name((enum run_event_type)event), job_statuses[status],
                         job_status_name(f->r));
        }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, job_set_up, job_tear_down)
    const struct CMUnitTest tests[] = {
        T(all_at_once_deploys_to_every_target),
        T(rolling_goes_batch_after_batch),
        T(between_batches_it_pauses),
        T(the_pause_between_batches_stands_still_while_the_job_is_paused),
        T(no_more_than_max_concurrent_tasks_are_under_way),
        T(health_is_checked_after_each_deployment),
        T(a_task_has_three_attempts_while_failing_is_retriable),
        T(with_rollback_running_tasks_end_and_touched_targets_go_back),
        T(a_rollback_that_fails_is_told),
        T(a_failed_health_check_fails_its_target),
        T(max_failures_targets_may_fail),
        T(rolling_stops_at_the_first_failure_beyond_max_failures),
        T(with_continue_all_batches_go_on_and_the_job_fails),
        T(with_pause_it_waits_for_a_person_and_tells_its_run),
        T(resuming_gives_failed_targets_another_attempt_and_keeps_the_restriction),
        T(a_target_that_fails_again_pauses_again),
        T(targets_the_plan_skips_are_listed_with_the_reason),
        T(with_skip_an_unavailable_target_is_left_out),
        T(with_fail_it_has_failed_after_a_minute),
        T(with_wait_it_waits_for_the_jobs_time),
        T(a_busy_agent_is_not_an_unavailable_one),
        T(a_target_that_was_touched_is_not_skipped_but_fails),
        T(a_job_all_of_whose_targets_are_skipped_fails),
        T(cancel_stops_what_runs_and_rolls_nothing_back),
        T(an_agent_that_does_not_stop_has_its_grace),
        T(a_job_is_cancelled_before_it_began),
        T(a_rollback_that_is_cancelled_stays_where_it_is),
        T(the_deadline_stops_the_job_and_still_rolls_back),
        T(pausing_starts_nothing_new_and_lets_run_what_runs),
        T(the_end_is_told_to_the_step_that_made_it),
        T(an_ended_job_is_rolled_back_by_another),
        T(every_change_of_status_is_announced_once),
        T(each_event_in_each_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

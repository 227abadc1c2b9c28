/* The rules by which runs move, one at a time. The simulator (test/sim) plays them all together. */
#include "test/unit/run_fixture.h"

static void a_chain_runs_step_by_step_to_its_end(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$}]," CHAIN
                 ",'outputs':{'code':'steps.c.outputs.exitCode'}}");
    run_is(f, RUN_RUNNING);
    run_is_step(f, "a", STEP_READY);
    run_is_step(f, "b", STEP_PENDING);
    assert_non_null(run_effect_of(f, EFFECT_ASSIGN));
    run_say(f, EVENT_TASK_ACCEPTED, "a");
    run_is_step(f, "a", STEP_READY);
    run_say(f, EVENT_TASK_STARTED, "a");
    run_is_step(f, "a", STEP_RUNNING);
    assert_true(run_framed(f, "\"type\":\"step_started\",\"nodeId\":\"a\",\"stepType\":\"script\",\"attempt\":1"));
    f->now += 1500;
    run_succeed(f, "a");
    run_is_step(f, "a", STEP_SUCCEEDED);
    assert_true(run_framed(f, "\"type\":\"step_log_end\",\"nodeId\":\"a\",\"attempt\":1}"));
    assert_true(
        run_framed(f, "\"type\":\"step_completed\",\"nodeId\":\"a\",\"stepType\":\"script\",\"status\":\"succeeded\","
                      "\"attempt\":1,\"duration\":1.5,\"outputs\":{\"exitCode\":0}}"));
    assert_non_null(run_effect_of(f, EFFECT_FORGET));
    run_succeed(f, "b");
    run_succeed(f, "c");
    run_is(f, RUN_SUCCEEDED);
    assert_true(run_framed(
        f, "\"type\":\"workflow_completed\",\"status\":\"succeeded\",\"duration\":1.5,\"outputs\":{\"code\":0}}"));
    assert_non_null(run_effect_of(f, EFFECT_FINISHED));
    assert_int_equal(f->r->timer_ms, 0);
}

static void a_false_condition_skips_and_the_join_goes_on(void **state)
{
    struct run_fixture *f = *state;

    run_begin(
        f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'a',$},{'id':'b','condition':'!inputs.flag',$"
           "},{'id':'c',$},"
           "{'id':'d',$}],'edges':[{'from':'a','to':'b'},{'from':'a','to':'c'},{'from':'b','to':'d'},{'from':'c','to'"
           ":'d'}]}");
    run_succeed(f, "a");
    run_is_step(f, "b", STEP_SKIPPED);
    assert_true(run_framed(f, "\"type\":\"step_skipped\",\"nodeId\":\"b\",\"reason\":\"its condition is false\"}"));
    run_is_step(f, "d", STEP_PENDING);
    run_succeed(f, "c");
    run_is_step(f, "d", STEP_READY);
    run_succeed(f, "d");
    run_is(f, RUN_SUCCEEDED);
}

static void skips_spread_to_what_has_no_live_edge(void **state)
{
    struct run_fixture *f = *state;

    run_begin(
        f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'a','condition':'!inputs.flag',$},{'id':'b',$"
           "},{'id':'c',$}]," CHAIN "}");
    run_is_step(f, "a", STEP_SKIPPED);
    run_is_step(f, "b", STEP_SKIPPED);
    run_is_step(f, "c", STEP_SKIPPED);
    run_is(f, RUN_SUCCEEDED);
}

static void join_any_starts_with_the_first_live_edge(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'onFailure':'continue','nodes':[{'id':'a',$},{'id':'b',$},{'id':'c','join':'any',$}],"
                 "'edges':[{'from':'a','to':'c'},{'from':'b','to':'c'}]}");
    run_fail_step(f, "a");
    run_is_step(f, "c", STEP_PENDING);
    run_succeed(f, "b");
    run_is_step(f, "c", STEP_READY);
    run_succeed(f, "c");
    run_is(f, RUN_FAILED);
}

static void what_needs_a_failed_step_does_not_run_under_join_all(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'onFailure':'continue','nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'d',$}],"
                 "'edges':[{'from':'a','to':'c'},{'from':'b','to':'d'},{'from':'c','to':'d'}]}");
    run_fail_step(f, "a");
    run_is_step(f, "c", STEP_SKIPPED);
    run_succeed(f, "b");
    run_is_step(f, "d", STEP_SKIPPED);
    run_is(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_node, "a"));
    assert_true(str_eqz(f->r->error_code, "WF_STEP_FAILED"));
}

static void fail_fast_starts_nothing_new_and_lets_running_steps_end(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'w','type':'wait','config':{'seconds':900}}],"
                 "'edges':[{'from':'b','to':'c'}]}");
    run_say(f, EVENT_TASK_STARTED, "b");
    run_fail_step(f, "a");
    run_is_step(f, "c", STEP_SKIPPED);
    run_is_step(f, "w", STEP_CANCELLED);
    run_is_step(f, "b", STEP_RUNNING);
    run_is(f, RUN_RUNNING);
    run_succeed(f, "b");
    run_is_step(f, "b", STEP_SUCCEEDED);
    run_is(f, RUN_FAILED);
}

static void a_failure_edge_catches(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'h',$},{'id':'d',$}],'edges':[{'from':'a','to':'b'},"
                 "{'from':'a','to':'h','on':'failure'},{'from':'b','to':'d'},{'from':'h','to':'d'}]}");
    run_fail_step(f, "a");
    run_is_step(f, "b", STEP_SKIPPED);
    run_is_step(f, "h", STEP_READY);
    run_succeed(f, "h");
    run_is_step(f, "d", STEP_READY);
    run_succeed(f, "d");
    run_is(f, RUN_SUCCEEDED);
}

static void an_always_edge_goes_on_but_the_run_fails(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$}],'edges':[{'from':'a','to':'b','on':'always'}]}");
    run_fail_step(f, "a");
    run_is_step(f, "b", STEP_READY);
    run_succeed(f, "b");
    run_is(f, RUN_FAILED);
}

static void on_failure_continue_counts_as_done(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','onFailure':'continue',$},{'id':'b',$}],'edges':[{'from':'a','to':'b'}]}");
    run_fail_step(f, "a");
    run_is_step(f, "a", STEP_FAILED);
    run_is_step(f, "b", STEP_READY);
    run_succeed(f, "b");
    run_is(f, RUN_SUCCEEDED);
}

static void goto_jumps_over_what_is_between(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','onFailure':'goto:c',$},{'id':'b',$},{'id':'c',$}]," CHAIN "}");
    run_fail_step(f, "a");
    run_is_step(f, "b", STEP_SKIPPED);
    run_is_step(f, "c", STEP_READY);
    run_succeed(f, "c");
    run_is(f, RUN_SUCCEEDED);
}

static void a_goto_not_taken_does_not_hold_its_target(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','onFailure':'goto:c',$},{'id':'b',$},{'id':'c',$}]," CHAIN "}");
    run_succeed(f, "a");
    run_succeed(f, "b");
    run_is_step(f, "c", STEP_READY);
}

static void the_target_of_goto_alone_is_skipped_when_nothing_jumps(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','onFailure':'goto:c',$},{'id':'c',$}]}");
    run_is_step(f, "c", STEP_PENDING);
    run_succeed(f, "a");
    run_is_step(f, "c", STEP_SKIPPED);
    run_is(f, RUN_SUCCEEDED);
}

static void on_failure_pause_waits_for_a_person_and_tries_again(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','onFailure':'pause',$}]}");
    run_fail_step(f, "a");
    run_is(f, RUN_PAUSED);
    run_is_step(f, "a", STEP_RETRYING);
    assert_true(str_starts(f->r->pause_reason, S("step a failed")));
    run_tick(f, 100000);
    run_is_step(f, "a", STEP_RETRYING);
    run_send(f, (struct run_event){.type = EVENT_RESUME});
    run_is_step(f, "a", STEP_READY);
    assert_int_equal(run_step_of(f, "a")->attempt, 2);
    run_succeed(f, "a");
    run_is(f, RUN_SUCCEEDED);
}

static void retries_back_off_and_end(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':3,'backoff':'exponential','initialDelaySeconds':10,'"
                 "maxDelaySeconds':15},$}]}");
    run_fail_step(f, "a");
    run_is_step(f, "a", STEP_RETRYING);
    run_is(f, RUN_WAITING);
    assert_true(run_framed(
        f, "\"type\":\"step_retrying\",\"nodeId\":\"a\",\"attempt\":2,\"maxAttempts\":3,\"delaySeconds\":10"));
    assert_int_equal(f->r->timer_ms, f->now + 10000);
    run_tick(f, 9999);
    run_is_step(f, "a", STEP_RETRYING);
    run_tick(f, 1);
    run_is_step(f, "a", STEP_READY);
    run_fail_step(f, "a");
    assert_true(run_framed(f, "\"delaySeconds\":15"));
    run_tick(f, 15000);
    run_fail_step(f, "a");
    run_is_step(f, "a", STEP_FAILED);
    run_is(f, RUN_FAILED);
    assert_int_equal(run_step_of(f, "a")->n_attempts, 3);
}

static void only_what_retry_on_names_is_retried(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':3,'retryOn':['agent_lost']},$}]}");
    run_fail_with(f, "a", "agent_lost");
    run_is_step(f, "a", STEP_RETRYING);
    run_tick(f, 5000);
    run_fail_step(f, "a");
    run_is_step(f, "a", STEP_FAILED);
}

static void a_wait_waits_and_stands_still_while_paused(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'w','type':'wait','config':{'seconds':60}}]}");
    run_is(f, RUN_WAITING);
    assert_true(run_framed(f, "\"type\":\"step_waiting\",\"nodeId\":\"w\",\"waitingFor\":\"timer\""));
    run_tick(f, 20000);
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("me"), .reason = S("lunch")});
    run_is(f, RUN_PAUSED);
    assert_int_equal(f->r->timer_ms, 0);
    run_tick(f, 1000000);
    run_is_step(f, "w", STEP_WAITING);
    run_send(f, (struct run_event){.type = EVENT_RESUME});
    run_is(f, RUN_WAITING);
    assert_int_equal(f->r->timer_ms, f->now + 40000);
    run_tick(f, 40000);
    run_is_step(f, "w", STEP_SUCCEEDED);
    run_is(f, RUN_SUCCEEDED);
}

static void a_retry_that_came_while_paused_waits_its_whole_delay_after_resuming(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':2,'initialDelaySeconds':5},$}]}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_send(f, (struct run_event){.type = EVENT_PAUSE});
    f->now += 500000;
    run_fail_step(f, "a");
    run_is_step(f, "a", STEP_RETRYING);
    assert_true(run_framed(f, "\"delaySeconds\":5"));
    f->now += 500000;
    run_send(f, (struct run_event){.type = EVENT_RESUME});
    assert_int_equal(f->r->timer_ms, f->now + 5000);
}

static void pause_starts_nothing_and_lets_running_steps_finish(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$}],'edges':[{'from':'a','to':'b'}]}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_send(f, (struct run_event){.type = EVENT_PAUSE});
    run_succeed(f, "a");
    run_is_step(f, "a", STEP_SUCCEEDED);
    run_is_step(f, "b", STEP_PENDING);
    run_is(f, RUN_PAUSED);
    run_send(f, (struct run_event){.type = EVENT_RESUME});
    run_is_step(f, "b", STEP_READY);
    run_succeed(f, "b");
    run_is(f, RUN_SUCCEEDED);
}

static void a_paused_run_does_not_end_until_it_is_resumed(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    run_send(f, (struct run_event){.type = EVENT_PAUSE});
    run_succeed(f, "a");
    run_is(f, RUN_PAUSED);
    run_send(f, (struct run_event){.type = EVENT_RESUME});
    run_is(f, RUN_SUCCEEDED);
}

static void cancel_signals_running_steps_and_gives_them_their_grace(void **state)
{
    struct run_fixture *f = *state;

    run_begin(
        f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'z',$}],'edges':[{'from':'b','to':'c'}],'finally':"
           "['z']}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_say(f, EVENT_TASK_STARTED, "b");
    run_send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("me"), .reason = S("enough")});
    run_is(f, RUN_CANCELLING);
    run_is_step(f, "c", STEP_CANCELLED);
    run_is_step(f, "a", STEP_RUNNING);
    assert_non_null(run_effect_of(f, EFFECT_CANCEL));
    run_fail_with(f, "a", "cancelled");
    run_is_step(f, "a", STEP_CANCELLED);
    run_tick(f, RUN_GRACE_MS - 1);
    run_is_step(f, "b", STEP_RUNNING);
    run_tick(f, 1);
    run_is_step(f, "b", STEP_CANCELLED);
    run_is_step(f, "z", STEP_READY);
    run_is(f, RUN_CANCELLING);
    run_succeed(f, "z");
    run_is(f, RUN_CANCELLED);
}

static void a_step_that_succeeds_while_cancelling_has_succeeded(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_send(f, (struct run_event){.type = EVENT_CANCEL});
    run_succeed(f, "a");
    run_is_step(f, "a", STEP_SUCCEEDED);
    run_is(f, RUN_CANCELLED);
}

static void finally_runs_after_success_and_after_failure(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'z',$}],'edges':[{'from':'a','to':'b'}],'finally':['z']}");
    run_is_step(f, "z", STEP_PENDING);
    run_fail_step(f, "a");
    run_is_step(f, "b", STEP_SKIPPED);
    run_is_step(f, "z", STEP_READY);
    run_is(f, RUN_RUNNING);
    run_succeed(f, "z");
    run_is(f, RUN_FAILED);
}

static void a_failing_finally_step_fails_the_run(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'z',$}],'finally':['z']}");
    run_succeed(f, "a");
    run_fail_step(f, "z");
    run_is(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_node, "z"));
}

static void rollback_undoes_in_reverse_order_of_completion(void **state)
{
    struct run_fixture *f = *state;

    run_begin(
        f, "{'onFailure':'rollback','nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'ua','compensates':'a',$},"
           "{'id':'ub','compensates':'b',$},{'id':'uc','compensates':'c',$}],'edges':[{'from':'a','to':'c'},{'from':'"
           "b','to':'c'}]}");
    run_is_step(f, "ua", STEP_PENDING);
    run_succeed(f, "b");
    run_succeed(f, "a");
    run_fail_step(f, "c");
    run_is_step(f, "ua", STEP_READY);
    run_is_step(f, "ub", STEP_PENDING);
    run_succeed(f, "ua");
    run_is_step(f, "ub", STEP_READY);
    run_fail_step(f, "ub");
    run_is_step(f, "uc", STEP_SKIPPED);
    run_is(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_node, "c"));
}

static void nothing_is_undone_when_all_went_well(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'onFailure':'rollback','nodes':[{'id':'a',$},{'id':'ua','compensates':'a',$}]}");
    run_succeed(f, "a");
    run_is_step(f, "ua", STEP_SKIPPED);
    run_is(f, RUN_SUCCEEDED);
}

static void the_run_times_out_and_still_cleans_up(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f,
              "{'timeoutSeconds':60,'nodes':[{'id':'a',$},{'id':'b',$},{'id':'z',$}],'edges':[{'from':'a','to':'b'}],'"
              "finally':['z']}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_tick(f, 60000);
    assert_non_null(run_effect_of(f, EFFECT_CANCEL));
    run_is_step(f, "b", STEP_SKIPPED);
    run_fail_with(f, "a", "cancelled");
    run_is_step(f, "a", STEP_CANCELLED);
    run_is_step(f, "z", STEP_READY);
    run_succeed(f, "z");
    run_is(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_code, "SYS_TIMEOUT"));
}

static void a_configuration_that_cannot_be_rendered_fails_the_step(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f,
              "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'w','type':'wait','config':{'seconds':'${{ "
              "inputs.flag }}'}}]}");
    run_is_step(f, "w", STEP_FAILED);
    assert_true(str_eqz(run_step_of(f, "w")->error_type, "config"));
    run_is(f, RUN_FAILED);
}

static void a_condition_that_cannot_be_evaluated_fails_the_step(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'a','condition':'inputs.flag < 1',$}]}");
    run_is_step(f, "a", STEP_FAILED);
    assert_true(str_eqz(run_step_of(f, "a")->error_type, "expression"));
}

static void server_work_is_queued_and_its_result_counts_once(void **state)
{
    struct run_fixture *f = *state;
    struct run_event done = {.type = EVENT_WORK_COMPLETED, .node = S("h"), .attempt = 1, .success = true};

    run_begin(f, "{'nodes':[{'id':'h','type':'http-request','config':{'url':'http://x.test/'}},{'id':'a',$}]}");
    run_is_step(f, "h", STEP_RUNNING);
    assert_non_null(run_effect_of(f, EFFECT_WORK));
    run_send(f, done);
    run_is_step(f, "h", STEP_SUCCEEDED);
    assert_non_null(run_effect_of(f, EFFECT_WORK_OVER));
    run_send(f, done);
    assert_int_equal(f->fx.n, f->seen);
}

static void a_run_that_has_ended_can_be_told_that_it_is_undone(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    run_send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-1")});
    assert_int_equal(f->r->rollback, ROLLBACK_NONE);
    run_succeed(f, "a");
    run_send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-1")});
    assert_int_equal(f->r->rollback, ROLLBACK_RUNNING);
    assert_true(str_eqz(f->r->rolled_back_by, "rollback-1"));
    run_send(f, (struct run_event){.type = EVENT_ROLLBACK_ENDED, .success = true});
    assert_int_equal(f->r->rollback, ROLLBACK_DONE);
    run_is(f, RUN_SUCCEEDED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, run_set_up, run_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_chain_runs_step_by_step_to_its_end),
        TEST(a_false_condition_skips_and_the_join_goes_on),
        TEST(skips_spread_to_what_has_no_live_edge),
        TEST(join_any_starts_with_the_first_live_edge),
        TEST(what_needs_a_failed_step_does_not_run_under_join_all),
        TEST(fail_fast_starts_nothing_new_and_lets_running_steps_end),
        TEST(a_failure_edge_catches),
        TEST(an_always_edge_goes_on_but_the_run_fails),
        TEST(on_failure_continue_counts_as_done),
        TEST(goto_jumps_over_what_is_between),
        TEST(a_goto_not_taken_does_not_hold_its_target),
        TEST(the_target_of_goto_alone_is_skipped_when_nothing_jumps),
        TEST(on_failure_pause_waits_for_a_person_and_tries_again),
        TEST(retries_back_off_and_end),
        TEST(only_what_retry_on_names_is_retried),
        TEST(a_wait_waits_and_stands_still_while_paused),
        TEST(a_retry_that_came_while_paused_waits_its_whole_delay_after_resuming),
        TEST(pause_starts_nothing_and_lets_running_steps_finish),
        TEST(a_paused_run_does_not_end_until_it_is_resumed),
        TEST(cancel_signals_running_steps_and_gives_them_their_grace),
        TEST(a_step_that_succeeds_while_cancelling_has_succeeded),
        TEST(finally_runs_after_success_and_after_failure),
        TEST(a_failing_finally_step_fails_the_run),
        TEST(rollback_undoes_in_reverse_order_of_completion),
        TEST(nothing_is_undone_when_all_went_well),
        TEST(the_run_times_out_and_still_cleans_up),
        TEST(a_configuration_that_cannot_be_rendered_fails_the_step),
        TEST(a_condition_that_cannot_be_evaluated_fails_the_step),
        TEST(server_work_is_queued_and_its_result_counts_once),
        TEST(a_run_that_has_ended_can_be_told_that_it_is_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Steps that agents carry out: who has a task, who is asked next, whose word counts. */
#include "test/unit/run_fixture.h"

static void an_assignment_not_accepted_is_made_again(void **state)
{
    struct run_fixture *f = *state;
    struct str task;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    task = run_effect_of(f, EFFECT_ASSIGN)->task;
    run_tick(f, RUN_ACCEPT_MS - 1);
    assert_null(run_effect_of(f, EFFECT_ASSIGN));
    run_tick(f, 1);
    assert_non_null(run_effect_of(f, EFFECT_ASSIGN));
    assert_true(str_eq(task, run_effect_of(f, EFFECT_ASSIGN)->task));
    assert_int_equal(run_step_of(f, "a")->assignment, 2);
    assert_int_equal(run_step_of(f, "a")->attempt, 1);
}

static void a_lost_agents_task_runs_until_it_expires(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','timeoutSeconds':100,$}]}");
    run_say(f, EVENT_TASK_ACCEPTED, "a");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_tick(f, 100000 + RUN_EXPIRY_MS - 1);
    run_is_step(f, "a", STEP_RUNNING);
    run_tick(f, 1);
    run_is_step(f, "a", STEP_TIMED_OUT);
    run_is(f, RUN_FAILED);
}

static void a_late_result_is_noted_and_changes_nothing(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','timeoutSeconds':100,$},{'id':'b',$}]}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_tick(f, 100000 + RUN_EXPIRY_MS);
    run_is_step(f, "a", STEP_TIMED_OUT);
    run_succeed(f, "a");
    run_is_step(f, "a", STEP_TIMED_OUT);
    assert_true(str_eqz(run_step_of(f, "a")->attempts[0].late, "succeeded"));
    assert_true(run_step_of(f, "a")->dirty);
}

static void a_doubled_result_changes_nothing(void **state)
{
    struct run_fixture *f = *state;
    size_t n;

    run_begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$}]}");
    run_succeed(f, "a");
    n = f->fx.n;
    run_succeed(f, "a");
    for (size_t i = n; i < f->fx.n; i++)
        assert_int_equal(f->fx.list[i].type, EFFECT_FORGET);
    assert_int_equal(run_step_of(f, "a")->n_attempts, 1);
    assert_int_equal(run_step_of(f, "a")->attempts[0].late.n, 0);
}

static void a_step_without_an_agent_waits_for_an_offer(void **state)
{
    struct run_fixture *f = *state;

    f->deaf = true;
    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    run_is_step(f, "a", STEP_READY);
    assert_non_null(run_effect_of(f, EFFECT_WAIT));
    assert_true(str_eqz(run_step_of(f, "a")->reason, "nobody is there"));
    f->deaf = false;
    run_send(f, (struct run_event){.type = EVENT_OFFER});
    assert_non_null(run_effect_of(f, EFFECT_WAIT_OVER));
    assert_non_null(run_effect_of(f, EFFECT_ASSIGN));
}

static void a_step_that_never_gets_an_agent_times_out(void **state)
{
    struct run_fixture *f = *state;

    f->deaf = true;
    run_begin(f, "{'nodes':[{'id':'a','timeoutSeconds':100,$}]}");
    run_tick(f, 100000);
    run_is_step(f, "a", STEP_TIMED_OUT);
    assert_true(str_eqz(run_step_of(f, "a")->error_type, "no_agent"));
    run_is(f, RUN_FAILED);
}

static void a_refusal_is_asked_elsewhere_a_little_later(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    run_send(f, (struct run_event){.type = EVENT_TASK_REFUSED,
                                   .node = S("a"),
                                   .attempt = 1,
                                   .agent = S("agent-1"),
                                   .reason = S("capability_missing")});
    assert_non_null(run_effect_of(f, EFFECT_FORGET));
    assert_null(run_effect_of(f, EFFECT_CHOOSE));
    assert_int_equal(run_step_of(f, "a")->n_refused, 1);
    run_tick(f, 1000);
    assert_non_null(run_effect_of(f, EFFECT_ASSIGN));
}

static void another_agents_late_accept_is_told_to_stop(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    run_say(f, EVENT_TASK_ACCEPTED, "a");
    run_send(f, (struct run_event){.type = EVENT_TASK_ACCEPTED, .node = S("a"), .attempt = 1, .agent = S("agent-2")});
    assert_true(str_eqz(run_effect_of(f, EFFECT_CANCEL)->agent, "agent-2"));
    assert_true(str_eqz(run_step_of(f, "a")->agent, "agent-1"));
}

static void send_from(struct run_fixture *f, enum run_event_type type, const char *agent, const char *reason)
{
    run_send(f, (struct run_event){.type = type,
                                   .node = S("a"),
                                   .attempt = 1,
                                   .agent = str_z(agent),
                                   .reason = str_z(reason),
                                   .success = true});
}

static void an_agent_that_was_never_asked_gets_no_step(void **state)
{
    struct run_fixture *f = *state;
    static const enum run_event_type said[] = {EVENT_TASK_ACCEPTED, EVENT_TASK_STARTED, EVENT_TASK_PROGRESS,
                                               EVENT_TASK_COMPLETED};

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        send_from(f, said[i], "agent-2", "");
        assert_true(str_eqz(run_effect_of(f, EFFECT_CANCEL)->agent, "agent-2"));
        run_is_step(f, "a", STEP_READY);
        assert_true(str_eqz(run_step_of(f, "a")->agent, "agent-1"));
        assert_false(run_step_of(f, "a")->accepted);
    }
}

static void a_step_that_is_asked_for_twice_is_given_to_one_agent(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    send_from(f, EVENT_TASK_ASSIGNED, "agent-2", "");
    assert_null(run_effect_of(f, EFFECT_CANCEL));
    assert_null(run_effect_of(f, EFFECT_ASSIGN));
    assert_true(str_eqz(run_step_of(f, "a")->agent, "agent-1"));
    assert_int_equal(run_step_of(f, "a")->assignment, 1);
}

static void an_agent_told_to_leave_a_step_cannot_take_it_back(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    f->deaf = true;
    run_tick(f, RUN_ACCEPT_MS);
    send_from(f, EVENT_TASK_ASSIGNED, "agent-2", "");
    assert_true(str_eqz(run_effect_of(f, EFFECT_CANCEL)->agent, "agent-1"));
    send_from(f, EVENT_TASK_ACCEPTED, "agent-1", "");
    assert_true(str_eqz(run_effect_of(f, EFFECT_CANCEL)->agent, "agent-1"));
    assert_true(str_eqz(run_step_of(f, "a")->agent, "agent-2"));
    send_from(f, EVENT_TASK_ACCEPTED, "agent-2", "");
    run_send(f, (struct run_event){.type = EVENT_TASK_COMPLETED,
                                   .node = S("a"),
                                   .attempt = 1,
                                   .agent = S("agent-1"),
                                   .error_type = S("cancelled")});
    run_is_step(f, "a", STEP_READY);
    send_from(f, EVENT_TASK_COMPLETED, "agent-2", "");
    run_is_step(f, "a", STEP_SUCCEEDED);
}

static void an_agent_that_was_asked_before_may_still_take_the_step(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a',$}]}");
    send_from(f, EVENT_TASK_REFUSED, "agent-1", "busy");
    assert_true(str_eqz(run_step_of(f, "a")->busy, "agent-1"));
    assert_int_equal(run_step_of(f, "a")->n_refused, 0);
    send_from(f, EVENT_TASK_ASSIGNED, "agent-2", "");
    send_from(f, EVENT_TASK_ACCEPTED, "agent-1", "");
    assert_true(run_step_of(f, "a")->accepted);
    assert_true(str_eqz(run_step_of(f, "a")->agent, "agent-1"));
    send_from(f, EVENT_TASK_COMPLETED, "agent-3", "");
    run_is_step(f, "a", STEP_READY);
    send_from(f, EVENT_TASK_COMPLETED, "agent-2", "");
    run_is_step(f, "a", STEP_SUCCEEDED);
}

static void a_revoked_agents_tasks_fail_at_once(void **state)
{
    struct run_fixture *f = *state;

    run_begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':2},$}]}");
    run_say(f, EVENT_TASK_STARTED, "a");
    run_send(f, (struct run_event){.type = EVENT_AGENT_GONE, .agent = S("agent-1")});
    run_is_step(f, "a", STEP_RETRYING);
    assert_true(str_eqz(run_step_of(f, "a")->error_type, "agent_lost"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, run_set_up, run_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_assignment_not_accepted_is_made_again),
        TEST(a_lost_agents_task_runs_until_it_expires),
        TEST(a_late_result_is_noted_and_changes_nothing),
        TEST(a_doubled_result_changes_nothing),
        TEST(a_step_without_an_agent_waits_for_an_offer),
        TEST(a_step_that_never_gets_an_agent_times_out),
        TEST(a_refusal_is_asked_elsewhere_a_little_later),
        TEST(another_agents_late_accept_is_told_to_stop),
        TEST(an_agent_that_was_never_asked_gets_no_step),
        TEST(a_step_that_is_asked_for_twice_is_given_to_one_agent),
        TEST(an_agent_told_to_leave_a_step_cannot_take_it_back),
        TEST(an_agent_that_was_asked_before_may_still_take_the_step),
        TEST(a_revoked_agents_tasks_fail_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

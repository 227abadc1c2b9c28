/* The rules by which runs move, one at a time. The simulator (test/sim) plays them all together. */
#include "server/engine/kind.h"
#include "server/engine/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct run *r;
    struct effects fx;
    int64_t now;
    size_t seen; /* effects of earlier events */
    bool deaf;   /* no agent answers EFFECT_CHOOSE */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
    f->now = 1000000;
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

static struct json *parse(struct fixture *f, struct str text)
{
    struct json_fault fault = {0};
    struct json *j = json_parse(&f->arena, text, NULL, &fault);

    if (j == NULL)
        fail_msg("%s at %zu of " STR_FMT, fault.message, fault.offset, STR_ARG(text));
    return j;
}

static void send(struct fixture *f, struct run_event e)
{
    f->seen = f->fx.n;
    run_transition(f->r, &e, f->now, &f->fx);
    for (size_t i = f->seen; i < f->fx.n; i++) {
        int step = f->fx.list[i].step;

        if (f->fx.list[i].type == EFFECT_CHOOSE)
            run_transition(f->r,
                           &(struct run_event){.type = f->deaf ? EVENT_TASK_UNASSIGNED : EVENT_TASK_ASSIGNED,
                                               .node = f->r->template->nodes[step].id,
                                               .attempt = f->r->steps[step].attempt,
                                               .agent = f->deaf ? STR_NONE : S("agent-1"),
                                               .message = f->deaf ? S("nobody is there") : STR_NONE},
                           f->now, &f->fx);
    }
    assert_false(f->fx.failed);
}

/* Nodes named "job" are carried out by one. */
static void give_jobs(const struct template *t)
{
    static const struct field none[] = {{0}};
    static const struct step_type by_job = {
        .key = "job", .name = "Job", .category = "deploy", .executor = BY_JOB, .config = none, .outputs = none};

    for (int i = 0; i < t->n; i++)
        if (str_eqz(t->nodes[i].name, "job")) {
            t->nodes[i].type = &by_job;
            t->nodes[i].config = NULL;
        }
}

/* A definition with single quotes for double ones. `s` nodes are scripts: {'id':'a',$} */
static void begin(struct fixture *f, const char *text)
{
    struct template_report report;
    struct run_origin origin = {.id = S("0190a0b0-0000-7000-8000-000000000001"),
                                .tenant = S("0190a0b0-0000-7000-8000-000000000002"),
                                .template_id = S("0190a0b0-0000-7000-8000-000000000003"),
                                .template_version = 1,
                                .triggered_by = S("someone"),
                                .trigger = S("api")};
    const struct template *t;
    struct buf b;

    buf_init_arena(&b, &f->arena, 1024);
    for (; *text != '\0'; text++)
        if (*text == '$' && text[1] != '{')
            buf_z(&b, "\"type\":\"script\",\"config\":{\"command\":[\"true\"]}");
        else
            buf_char(&b, *text == '\'' ? '"' : *text);
    origin.inputs = parse(f, S("{\"flag\":true,\"password\":\"hunter22\"}"));
    origin.facts = parse(f, S("{}"));
    t = template_parse(&f->arena, parse(f, buf_view(&b)), &report);
    if (t == NULL)
        fail_msg("%s " STR_FMT ": " STR_FMT, report.errors[0].code, STR_ARG(report.errors[0].path),
                 STR_ARG(report.errors[0].message));
    give_jobs(t);
    f->r = run_new(&f->arena, t, &origin);
    effects_init(&f->fx, &f->arena);
    send(f, (struct run_event){.type = EVENT_START});
}

static struct step *step(struct fixture *f, const char *id)
{
    int i = template_find(f->r->template, str_z(id));

    assert_true(i >= 0);
    return &f->r->steps[i];
}

static void say(struct fixture *f, enum run_event_type type, const char *id)
{
    send(f, (struct run_event){
                .type = type, .node = str_z(id), .attempt = step(f, id)->attempt, .agent = step(f, id)->agent});
}

static void succeed(struct fixture *f, const char *id)
{
    send(f, (struct run_event){.type = EVENT_TASK_COMPLETED,
                               .node = str_z(id),
                               .attempt = step(f, id)->attempt,
                               .agent = step(f, id)->agent,
                               .success = true,
                               .outputs = parse(f, S("{\"exitCode\":0}"))});
}

static void fail_with(struct fixture *f, const char *id, const char *type)
{
    send(f, (struct run_event){.type = EVENT_TASK_COMPLETED,
                               .node = str_z(id),
                               .attempt = step(f, id)->attempt,
                               .agent = step(f, id)->agent,
                               .error_type = str_z(type),
                               .message = S("it went wrong"),
                               .retriable = true});
}

static void fail_step(struct fixture *f, const char *id)
{
    fail_with(f, id, "exit_code");
}
static void tick(struct fixture *f, int64_t ms)
{
    f->now += ms;
    send(f, (struct run_event){.type = EVENT_TICK});
}

static void is_step(struct fixture *f, const char *id, enum step_status status)
{
    if (step(f, id)->status != status)
        fail_msg("step %s is %s, not %s", id, step_status_name(step(f, id)->status), step_status_name(status));
}

static void is_run(struct fixture *f, enum run_status status)
{
    if (f->r->status != status)
        fail_msg("the run is %s, not %s", run_status_name(f->r->status), run_status_name(status));
}

/* Effects of the last event. */
static const struct effect *effect(struct fixture *f, enum effect_type type)
{
    for (size_t i = f->seen; i < f->fx.n; i++)
        if (f->fx.list[i].type == type)
            return &f->fx.list[i];
    return NULL;
}

static bool framed(struct fixture *f, const char *part)
{
    for (size_t i = f->seen; i < f->fx.n; i++)
        if (f->fx.list[i].type == EFFECT_EVENT && str_find(f->fx.list[i].text, str_z(part)) >= 0)
            return true;
    return false;
}

#define CHAIN "'edges':[{'from':'a','to':'b'},{'from':'b','to':'c'}]"

static void a_chain_runs_step_by_step_to_its_end(void **state)
{
    struct fixture *f = *state;

    begin(f,
          "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$}]," CHAIN ",'outputs':{'code':'steps.c.outputs.exitCode'}}");
    is_run(f, RUN_RUNNING);
    is_step(f, "a", STEP_READY);
    is_step(f, "b", STEP_PENDING);
    assert_non_null(effect(f, EFFECT_ASSIGN));
    say(f, EVENT_TASK_ACCEPTED, "a");
    is_step(f, "a", STEP_READY);
    say(f, EVENT_TASK_STARTED, "a");
    is_step(f, "a", STEP_RUNNING);
    assert_true(framed(f, "\"type\":\"step_started\",\"nodeId\":\"a\",\"stepType\":\"script\",\"attempt\":1"));
    f->now += 1500;
    succeed(f, "a");
    is_step(f, "a", STEP_SUCCEEDED);
    assert_true(framed(f, "\"type\":\"step_log_end\",\"nodeId\":\"a\",\"attempt\":1}"));
    assert_true(framed(f,
                       "\"type\":\"step_completed\",\"nodeId\":\"a\",\"stepType\":\"script\",\"status\":\"succeeded\","
                       "\"attempt\":1,\"duration\":1.5,\"outputs\":{\"exitCode\":0}}"));
    assert_non_null(effect(f, EFFECT_FORGET));
    succeed(f, "b");
    succeed(f, "c");
    is_run(f, RUN_SUCCEEDED);
    assert_true(framed(
        f, "\"type\":\"workflow_completed\",\"status\":\"succeeded\",\"duration\":1.5,\"outputs\":{\"code\":0}}"));
    assert_non_null(effect(f, EFFECT_FINISHED));
    assert_int_equal(f->r->timer_ms, 0);
}

static void a_false_condition_skips_and_the_join_goes_on(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'a',$},{'id':'b','condition':'!inputs.flag',$"
             "},{'id':'c',$},"
             "{'id':'d',$}],'edges':[{'from':'a','to':'b'},{'from':'a','to':'c'},{'from':'b','to':'d'},{'from':'c','to'"
             ":'d'}]}");
    succeed(f, "a");
    is_step(f, "b", STEP_SKIPPED);
    assert_true(framed(f, "\"type\":\"step_skipped\",\"nodeId\":\"b\",\"reason\":\"its condition is false\"}"));
    is_step(f, "d", STEP_PENDING);
    succeed(f, "c");
    is_step(f, "d", STEP_READY);
    succeed(f, "d");
    is_run(f, RUN_SUCCEEDED);
}

static void skips_spread_to_what_has_no_live_edge(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'a','condition':'!inputs.flag',$},{'id':'b',$"
             "},{'id':'c',$}]," CHAIN "}");
    is_step(f, "a", STEP_SKIPPED);
    is_step(f, "b", STEP_SKIPPED);
    is_step(f, "c", STEP_SKIPPED);
    is_run(f, RUN_SUCCEEDED);
}

static void join_any_starts_with_the_first_live_edge(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'onFailure':'continue','nodes':[{'id':'a',$},{'id':'b',$},{'id':'c','join':'any',$}],"
             "'edges':[{'from':'a','to':'c'},{'from':'b','to':'c'}]}");
    fail_step(f, "a");
    is_step(f, "c", STEP_PENDING);
    succeed(f, "b");
    is_step(f, "c", STEP_READY);
    succeed(f, "c");
    is_run(f, RUN_FAILED);
}

static void what_needs_a_failed_step_does_not_run_under_join_all(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'onFailure':'continue','nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'d',$}],"
             "'edges':[{'from':'a','to':'c'},{'from':'b','to':'d'},{'from':'c','to':'d'}]}");
    fail_step(f, "a");
    is_step(f, "c", STEP_SKIPPED);
    succeed(f, "b");
    is_step(f, "d", STEP_SKIPPED);
    is_run(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_node, "a"));
    assert_true(str_eqz(f->r->error_code, "WF_STEP_FAILED"));
}

static void fail_fast_starts_nothing_new_and_lets_running_steps_end(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'w','type':'wait','config':{'seconds':900}}],"
             "'edges':[{'from':'b','to':'c'}]}");
    say(f, EVENT_TASK_STARTED, "b");
    fail_step(f, "a");
    is_step(f, "c", STEP_SKIPPED);
    is_step(f, "w", STEP_CANCELLED);
    is_step(f, "b", STEP_RUNNING);
    is_run(f, RUN_RUNNING);
    succeed(f, "b");
    is_step(f, "b", STEP_SUCCEEDED);
    is_run(f, RUN_FAILED);
}

static void a_failure_edge_catches(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'h',$},{'id':'d',$}],'edges':[{'from':'a','to':'b'},"
             "{'from':'a','to':'h','on':'failure'},{'from':'b','to':'d'},{'from':'h','to':'d'}]}");
    fail_step(f, "a");
    is_step(f, "b", STEP_SKIPPED);
    is_step(f, "h", STEP_READY);
    succeed(f, "h");
    is_step(f, "d", STEP_READY);
    succeed(f, "d");
    is_run(f, RUN_SUCCEEDED);
}

static void an_always_edge_goes_on_but_the_run_fails(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$}],'edges':[{'from':'a','to':'b','on':'always'}]}");
    fail_step(f, "a");
    is_step(f, "b", STEP_READY);
    succeed(f, "b");
    is_run(f, RUN_FAILED);
}

static void on_failure_continue_counts_as_done(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','onFailure':'continue',$},{'id':'b',$}],'edges':[{'from':'a','to':'b'}]}");
    fail_step(f, "a");
    is_step(f, "a", STEP_FAILED);
    is_step(f, "b", STEP_READY);
    succeed(f, "b");
    is_run(f, RUN_SUCCEEDED);
}

static void goto_jumps_over_what_is_between(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','onFailure':'goto:c',$},{'id':'b',$},{'id':'c',$}]," CHAIN "}");
    fail_step(f, "a");
    is_step(f, "b", STEP_SKIPPED);
    is_step(f, "c", STEP_READY);
    succeed(f, "c");
    is_run(f, RUN_SUCCEEDED);
}

static void a_goto_not_taken_does_not_hold_its_target(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','onFailure':'goto:c',$},{'id':'b',$},{'id':'c',$}]," CHAIN "}");
    succeed(f, "a");
    succeed(f, "b");
    is_step(f, "c", STEP_READY);
}

static void the_target_of_goto_alone_is_skipped_when_nothing_jumps(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','onFailure':'goto:c',$},{'id':'c',$}]}");
    is_step(f, "c", STEP_PENDING);
    succeed(f, "a");
    is_step(f, "c", STEP_SKIPPED);
    is_run(f, RUN_SUCCEEDED);
}

static void on_failure_pause_waits_for_a_person_and_tries_again(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','onFailure':'pause',$}]}");
    fail_step(f, "a");
    is_run(f, RUN_PAUSED);
    is_step(f, "a", STEP_RETRYING);
    assert_true(str_starts(f->r->pause_reason, S("step a failed")));
    tick(f, 100000);
    is_step(f, "a", STEP_RETRYING);
    send(f, (struct run_event){.type = EVENT_RESUME});
    is_step(f, "a", STEP_READY);
    assert_int_equal(step(f, "a")->attempt, 2);
    succeed(f, "a");
    is_run(f, RUN_SUCCEEDED);
}

static void retries_back_off_and_end(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':3,'backoff':'exponential','initialDelaySeconds':10,'"
             "maxDelaySeconds':15},$}]}");
    fail_step(f, "a");
    is_step(f, "a", STEP_RETRYING);
    is_run(f, RUN_WAITING);
    assert_true(
        framed(f, "\"type\":\"step_retrying\",\"nodeId\":\"a\",\"attempt\":2,\"maxAttempts\":3,\"delaySeconds\":10"));
    assert_int_equal(f->r->timer_ms, f->now + 10000);
    tick(f, 9999);
    is_step(f, "a", STEP_RETRYING);
    tick(f, 1);
    is_step(f, "a", STEP_READY);
    fail_step(f, "a");
    assert_true(framed(f, "\"delaySeconds\":15"));
    tick(f, 15000);
    fail_step(f, "a");
    is_step(f, "a", STEP_FAILED);
    is_run(f, RUN_FAILED);
    assert_int_equal(step(f, "a")->n_attempts, 3);
}

static void only_what_retry_on_names_is_retried(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':3,'retryOn':['agent_lost']},$}]}");
    fail_with(f, "a", "agent_lost");
    is_step(f, "a", STEP_RETRYING);
    tick(f, 5000);
    fail_step(f, "a");
    is_step(f, "a", STEP_FAILED);
}

static void a_wait_waits_and_stands_still_while_paused(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'w','type':'wait','config':{'seconds':60}}]}");
    is_run(f, RUN_WAITING);
    assert_true(framed(f, "\"type\":\"step_waiting\",\"nodeId\":\"w\",\"waitingFor\":\"timer\""));
    tick(f, 20000);
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("me"), .reason = S("lunch")});
    is_run(f, RUN_PAUSED);
    assert_int_equal(f->r->timer_ms, 0);
    tick(f, 1000000);
    is_step(f, "w", STEP_WAITING);
    send(f, (struct run_event){.type = EVENT_RESUME});
    is_run(f, RUN_WAITING);
    assert_int_equal(f->r->timer_ms, f->now + 40000);
    tick(f, 40000);
    is_step(f, "w", STEP_SUCCEEDED);
    is_run(f, RUN_SUCCEEDED);
}

static void a_retry_that_came_while_paused_waits_its_whole_delay_after_resuming(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':2,'initialDelaySeconds':5},$}]}");
    say(f, EVENT_TASK_STARTED, "a");
    send(f, (struct run_event){.type = EVENT_PAUSE});
    f->now += 500000;
    fail_step(f, "a");
    is_step(f, "a", STEP_RETRYING);
    assert_true(framed(f, "\"delaySeconds\":5"));
    f->now += 500000;
    send(f, (struct run_event){.type = EVENT_RESUME});
    assert_int_equal(f->r->timer_ms, f->now + 5000);
}

static void pause_starts_nothing_and_lets_running_steps_finish(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$}],'edges':[{'from':'a','to':'b'}]}");
    say(f, EVENT_TASK_STARTED, "a");
    send(f, (struct run_event){.type = EVENT_PAUSE});
    succeed(f, "a");
    is_step(f, "a", STEP_SUCCEEDED);
    is_step(f, "b", STEP_PENDING);
    is_run(f, RUN_PAUSED);
    send(f, (struct run_event){.type = EVENT_RESUME});
    is_step(f, "b", STEP_READY);
    succeed(f, "b");
    is_run(f, RUN_SUCCEEDED);
}

static void a_paused_run_does_not_end_until_it_is_resumed(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    send(f, (struct run_event){.type = EVENT_PAUSE});
    succeed(f, "a");
    is_run(f, RUN_PAUSED);
    send(f, (struct run_event){.type = EVENT_RESUME});
    is_run(f, RUN_SUCCEEDED);
}

static void cancel_signals_running_steps_and_gives_them_their_grace(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'z',$}],'edges':[{'from':'b','to':'c'}],'finally':"
             "['z']}");
    say(f, EVENT_TASK_STARTED, "a");
    say(f, EVENT_TASK_STARTED, "b");
    send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("me"), .reason = S("enough")});
    is_run(f, RUN_CANCELLING);
    is_step(f, "c", STEP_CANCELLED);
    is_step(f, "a", STEP_RUNNING);
    assert_non_null(effect(f, EFFECT_CANCEL));
    fail_with(f, "a", "cancelled");
    is_step(f, "a", STEP_CANCELLED);
    tick(f, RUN_GRACE_MS - 1);
    is_step(f, "b", STEP_RUNNING);
    tick(f, 1);
    is_step(f, "b", STEP_CANCELLED);
    is_step(f, "z", STEP_READY);
    is_run(f, RUN_CANCELLING);
    succeed(f, "z");
    is_run(f, RUN_CANCELLED);
}

static void a_step_that_succeeds_while_cancelling_has_succeeded(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    say(f, EVENT_TASK_STARTED, "a");
    send(f, (struct run_event){.type = EVENT_CANCEL});
    succeed(f, "a");
    is_step(f, "a", STEP_SUCCEEDED);
    is_run(f, RUN_CANCELLED);
}

static void finally_runs_after_success_and_after_failure(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$},{'id':'z',$}],'edges':[{'from':'a','to':'b'}],'finally':['z']}");
    is_step(f, "z", STEP_PENDING);
    fail_step(f, "a");
    is_step(f, "b", STEP_SKIPPED);
    is_step(f, "z", STEP_READY);
    is_run(f, RUN_RUNNING);
    succeed(f, "z");
    is_run(f, RUN_FAILED);
}

static void a_failing_finally_step_fails_the_run(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'z',$}],'finally':['z']}");
    succeed(f, "a");
    fail_step(f, "z");
    is_run(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_node, "z"));
}

static void rollback_undoes_in_reverse_order_of_completion(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'onFailure':'rollback','nodes':[{'id':'a',$},{'id':'b',$},{'id':'c',$},{'id':'ua','compensates':'a',$},"
             "{'id':'ub','compensates':'b',$},{'id':'uc','compensates':'c',$}],'edges':[{'from':'a','to':'c'},{'from':'"
             "b','to':'c'}]}");
    is_step(f, "ua", STEP_PENDING);
    succeed(f, "b");
    succeed(f, "a");
    fail_step(f, "c");
    is_step(f, "ua", STEP_READY);
    is_step(f, "ub", STEP_PENDING);
    succeed(f, "ua");
    is_step(f, "ub", STEP_READY);
    fail_step(f, "ub");
    is_step(f, "uc", STEP_SKIPPED);
    is_run(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_node, "c"));
}

static void nothing_is_undone_when_all_went_well(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'onFailure':'rollback','nodes':[{'id':'a',$},{'id':'ua','compensates':'a',$}]}");
    succeed(f, "a");
    is_step(f, "ua", STEP_SKIPPED);
    is_run(f, RUN_SUCCEEDED);
}

static void an_assignment_not_accepted_is_made_again(void **state)
{
    struct fixture *f = *state;
    struct str task;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    task = effect(f, EFFECT_ASSIGN)->task;
    tick(f, RUN_ACCEPT_MS - 1);
    assert_null(effect(f, EFFECT_ASSIGN));
    tick(f, 1);
    assert_non_null(effect(f, EFFECT_ASSIGN));
    assert_true(str_eq(task, effect(f, EFFECT_ASSIGN)->task));
    assert_int_equal(step(f, "a")->assignment, 2);
    assert_int_equal(step(f, "a")->attempt, 1);
}

static void a_lost_agents_task_runs_until_it_expires(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','timeoutSeconds':100,$}]}");
    say(f, EVENT_TASK_ACCEPTED, "a");
    say(f, EVENT_TASK_STARTED, "a");
    tick(f, 100000 + RUN_EXPIRY_MS - 1);
    is_step(f, "a", STEP_RUNNING);
    tick(f, 1);
    is_step(f, "a", STEP_TIMED_OUT);
    is_run(f, RUN_FAILED);
}

static void a_late_result_is_noted_and_changes_nothing(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','timeoutSeconds':100,$},{'id':'b',$}]}");
    say(f, EVENT_TASK_STARTED, "a");
    tick(f, 100000 + RUN_EXPIRY_MS);
    is_step(f, "a", STEP_TIMED_OUT);
    succeed(f, "a");
    is_step(f, "a", STEP_TIMED_OUT);
    assert_true(str_eqz(step(f, "a")->attempts[0].late, "succeeded"));
    assert_true(step(f, "a")->dirty);
}

static void a_doubled_result_changes_nothing(void **state)
{
    struct fixture *f = *state;
    size_t n;

    begin(f, "{'nodes':[{'id':'a',$},{'id':'b',$}]}");
    succeed(f, "a");
    n = f->fx.n;
    succeed(f, "a");
    for (size_t i = n; i < f->fx.n; i++)
        assert_int_equal(f->fx.list[i].type, EFFECT_FORGET);
    assert_int_equal(step(f, "a")->n_attempts, 1);
    assert_int_equal(step(f, "a")->attempts[0].late.n, 0);
}

static void a_step_without_an_agent_waits_for_an_offer(void **state)
{
    struct fixture *f = *state;

    f->deaf = true;
    begin(f, "{'nodes':[{'id':'a',$}]}");
    is_step(f, "a", STEP_READY);
    assert_non_null(effect(f, EFFECT_WAIT));
    assert_true(str_eqz(step(f, "a")->reason, "nobody is there"));
    f->deaf = false;
    send(f, (struct run_event){.type = EVENT_OFFER});
    assert_non_null(effect(f, EFFECT_WAIT_OVER));
    assert_non_null(effect(f, EFFECT_ASSIGN));
}

static void a_step_that_never_gets_an_agent_times_out(void **state)
{
    struct fixture *f = *state;

    f->deaf = true;
    begin(f, "{'nodes':[{'id':'a','timeoutSeconds':100,$}]}");
    tick(f, 100000);
    is_step(f, "a", STEP_TIMED_OUT);
    assert_true(str_eqz(step(f, "a")->error_type, "no_agent"));
    is_run(f, RUN_FAILED);
}

static void a_refusal_is_asked_elsewhere_a_little_later(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    send(f, (struct run_event){.type = EVENT_TASK_REFUSED,
                               .node = S("a"),
                               .attempt = 1,
                               .agent = S("agent-1"),
                               .reason = S("capability_missing")});
    assert_non_null(effect(f, EFFECT_FORGET));
    assert_null(effect(f, EFFECT_CHOOSE));
    assert_int_equal(step(f, "a")->n_refused, 1);
    tick(f, 1000);
    assert_non_null(effect(f, EFFECT_ASSIGN));
}

static void another_agents_late_accept_is_told_to_stop(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    say(f, EVENT_TASK_ACCEPTED, "a");
    send(f, (struct run_event){.type = EVENT_TASK_ACCEPTED, .node = S("a"), .attempt = 1, .agent = S("agent-2")});
    assert_true(str_eqz(effect(f, EFFECT_CANCEL)->agent, "agent-2"));
    assert_true(str_eqz(step(f, "a")->agent, "agent-1"));
}

static void send_from(struct fixture *f, enum run_event_type type, const char *agent, const char *reason)
{
    send(f, (struct run_event){.type = type,
                               .node = S("a"),
                               .attempt = 1,
                               .agent = str_z(agent),
                               .reason = str_z(reason),
                               .success = true});
}

static void an_agent_that_was_never_asked_gets_no_step(void **state)
{
    struct fixture *f = *state;
    static const enum run_event_type said[] = {EVENT_TASK_ACCEPTED, EVENT_TASK_STARTED, EVENT_TASK_PROGRESS,
                                               EVENT_TASK_COMPLETED};

    begin(f, "{'nodes':[{'id':'a',$}]}");
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        send_from(f, said[i], "agent-2", "");
        assert_true(str_eqz(effect(f, EFFECT_CANCEL)->agent, "agent-2"));
        is_step(f, "a", STEP_READY);
        assert_true(str_eqz(step(f, "a")->agent, "agent-1"));
        assert_false(step(f, "a")->accepted);
    }
}

static void a_step_that_is_asked_for_twice_is_given_to_one_agent(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    send_from(f, EVENT_TASK_ASSIGNED, "agent-2", "");
    assert_null(effect(f, EFFECT_CANCEL));
    assert_null(effect(f, EFFECT_ASSIGN));
    assert_true(str_eqz(step(f, "a")->agent, "agent-1"));
    assert_int_equal(step(f, "a")->assignment, 1);
}

static void an_agent_told_to_leave_a_step_cannot_take_it_back(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    f->deaf = true;
    tick(f, RUN_ACCEPT_MS);
    send_from(f, EVENT_TASK_ASSIGNED, "agent-2", "");
    assert_true(str_eqz(effect(f, EFFECT_CANCEL)->agent, "agent-1"));
    send_from(f, EVENT_TASK_ACCEPTED, "agent-1", "");
    assert_true(str_eqz(effect(f, EFFECT_CANCEL)->agent, "agent-1"));
    assert_true(str_eqz(step(f, "a")->agent, "agent-2"));
    send_from(f, EVENT_TASK_ACCEPTED, "agent-2", "");
    send(f, (struct run_event){.type = EVENT_TASK_COMPLETED,
                               .node = S("a"),
                               .attempt = 1,
                               .agent = S("agent-1"),
                               .error_type = S("cancelled")});
    is_step(f, "a", STEP_READY);
    send_from(f, EVENT_TASK_COMPLETED, "agent-2", "");
    is_step(f, "a", STEP_SUCCEEDED);
}

static void an_agent_that_was_asked_before_may_still_take_the_step(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    send_from(f, EVENT_TASK_REFUSED, "agent-1", "busy");
    assert_true(str_eqz(step(f, "a")->busy, "agent-1"));
    assert_int_equal(step(f, "a")->n_refused, 0);
    send_from(f, EVENT_TASK_ASSIGNED, "agent-2", "");
    send_from(f, EVENT_TASK_ACCEPTED, "agent-1", "");
    assert_true(step(f, "a")->accepted);
    assert_true(str_eqz(step(f, "a")->agent, "agent-1"));
    send_from(f, EVENT_TASK_COMPLETED, "agent-3", "");
    is_step(f, "a", STEP_READY);
    send_from(f, EVENT_TASK_COMPLETED, "agent-2", "");
    is_step(f, "a", STEP_SUCCEEDED);
}

static void a_revoked_agents_tasks_fail_at_once(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':2},$}]}");
    say(f, EVENT_TASK_STARTED, "a");
    send(f, (struct run_event){.type = EVENT_AGENT_GONE, .agent = S("agent-1")});
    is_step(f, "a", STEP_RETRYING);
    assert_true(str_eqz(step(f, "a")->error_type, "agent_lost"));
}

static void the_run_times_out_and_still_cleans_up(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'timeoutSeconds':60,'nodes':[{'id':'a',$},{'id':'b',$},{'id':'z',$}],'edges':[{'from':'a','to':'b'}],'"
             "finally':['z']}");
    say(f, EVENT_TASK_STARTED, "a");
    tick(f, 60000);
    assert_non_null(effect(f, EFFECT_CANCEL));
    is_step(f, "b", STEP_SKIPPED);
    fail_with(f, "a", "cancelled");
    is_step(f, "a", STEP_CANCELLED);
    is_step(f, "z", STEP_READY);
    succeed(f, "z");
    is_run(f, RUN_FAILED);
    assert_true(str_eqz(f->r->error_code, "SYS_TIMEOUT"));
}

static void a_configuration_that_cannot_be_rendered_fails_the_step(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'w','type':'wait','config':{'seconds':'${{ "
             "inputs.flag }}'}}]}");
    is_step(f, "w", STEP_FAILED);
    assert_true(str_eqz(step(f, "w")->error_type, "config"));
    is_run(f, RUN_FAILED);
}

static void a_condition_that_cannot_be_evaluated_fails_the_step(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'inputs':[{'name':'flag','type':'boolean'}],'nodes':[{'id':'a','condition':'inputs.flag < 1',$}]}");
    is_step(f, "a", STEP_FAILED);
    assert_true(str_eqz(step(f, "a")->error_type, "expression"));
}

static void server_work_is_queued_and_its_result_counts_once(void **state)
{
    struct fixture *f = *state;
    struct run_event done = {.type = EVENT_WORK_COMPLETED, .node = S("h"), .attempt = 1, .success = true};

    begin(f, "{'nodes':[{'id':'h','type':'http-request','config':{'url':'http://x.test/'}},{'id':'a',$}]}");
    is_step(f, "h", STEP_RUNNING);
    assert_non_null(effect(f, EFFECT_WORK));
    send(f, done);
    is_step(f, "h", STEP_SUCCEEDED);
    assert_non_null(effect(f, EFFECT_WORK_OVER));
    send(f, done);
    assert_int_equal(f->fx.n, f->seen);
}

/* --- steps that a job carries out --- */

#define JOB_NODE "{'id':'d','name':'job','timeoutSeconds':100,'retry':{'maxAttempts':2,'initialDelaySeconds':5},$}"

static void job_started(struct fixture *f, int64_t attempt, const char *job)
{
    send(f, (struct run_event){.type = EVENT_JOB_STARTED, .node = S("d"), .attempt = attempt, .agent = str_z(job)});
}

static void job_ended(struct fixture *f, int64_t attempt, const char *error_type)
{
    send(f, (struct run_event){.type = EVENT_WORK_COMPLETED,
                               .node = S("d"),
                               .attempt = attempt,
                               .success = error_type == NULL,
                               .error_type = str_z(error_type),
                               .retriable = true});
}

static void is_told(struct fixture *f, const char *job, enum run_event_type type)
{
    const struct effect *e = effect(f, EFFECT_TELL);
    struct run_event told;

    assert_non_null(e);
    assert_string_equal(e->kind, "job");
    assert_true(str_eqz(e->run, job));
    assert_true(run_event_read(&f->arena, e->text, &told));
    assert_int_equal(told.type, type);
}

static void a_job_is_asked_for_known_and_ends_its_step(void **state)
{
    struct fixture *f = *state;
    struct buf b;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    is_step(f, "d", STEP_RUNNING);
    assert_non_null(effect(f, EFFECT_WORK));
    job_started(f, 1, "job-1");
    assert_true(str_eqz(step(f, "d")->job, "job-1"));
    buf_init_arena(&b, &f->arena, 512);
    run_step_document_write(&b, f->r, 0);
    assert_true(str_find(buf_view(&b), S("\"deploymentJobId\":\"job-1\"")) >= 0);
    job_started(f, 1, "job-1");
    assert_int_equal(f->fx.n, f->seen);
    job_ended(f, 1, NULL);
    assert_non_null(effect(f, EFFECT_WORK_OVER));
    is_run(f, RUN_SUCCEEDED);
    job_started(f, 1, "job-1");
    assert_int_equal(f->fx.n, f->seen);
}

static void another_attempt_is_another_job(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    job_ended(f, 1, "deployment_failed");
    is_step(f, "d", STEP_RETRYING);
    tick(f, 5000);
    is_step(f, "d", STEP_RUNNING);
    assert_int_equal(step(f, "d")->job.n, 0);
    assert_true(str_ends(effect(f, EFFECT_WORK)->task, S(":d:2")));
    job_ended(f, 1, NULL); /* of the first */
    is_step(f, "d", STEP_RUNNING);
    job_started(f, 2, "job-2");
    job_ended(f, 2, NULL);
    is_run(f, RUN_SUCCEEDED);
}

static void a_cancelled_step_tells_its_job_and_waits_for_it(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("someone")});
    is_told(f, "job-1", EVENT_CANCEL);
    is_step(f, "d", STEP_RUNNING);
    tick(f, RUN_GRACE_MS);
    is_step(f, "d", STEP_RUNNING);
    job_ended(f, 1, "cancelled");
    is_step(f, "d", STEP_CANCELLED);
    is_run(f, RUN_CANCELLED);
}

static void a_job_that_does_not_stop_is_given_up_after_its_grace(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("someone")});
    tick(f, RUN_JOB_GRACE_MS);
    is_step(f, "d", STEP_CANCELLED);
    is_run(f, RUN_CANCELLED);
    job_ended(f, 1, NULL);
    is_step(f, "d", STEP_CANCELLED);
    assert_true(str_eqz(step(f, "d")->attempts[0].late, "succeeded"));
}

static void a_step_whose_time_is_up_stops_its_job_and_has_timed_out(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    tick(f, 100000 + RUN_EXPIRY_MS);
    is_told(f, "job-1", EVENT_CANCEL);
    is_step(f, "d", STEP_RUNNING);
    job_ended(f, 1, "cancelled");
    is_step(f, "d", STEP_RETRYING);
    assert_int_equal(step(f, "d")->attempts[0].status, STEP_TIMED_OUT);
}

static void a_job_that_comes_too_late_is_told_to_stop(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE ",{'id':'a',$}]}");
    send(f, (struct run_event){.type = EVENT_CANCEL, .by = S("someone")});
    is_step(f, "d", STEP_CANCELLED);
    job_started(f, 1, "job-1");
    is_told(f, "job-1", EVENT_CANCEL);
    fail_with(f, "a", "cancelled");
    is_run(f, RUN_CANCELLED);
    job_started(f, 1, "job-2");
    is_told(f, "job-2", EVENT_CANCEL);
    job_started(f, 7, "job-3");
    is_told(f, "job-3", EVENT_CANCEL);
}

static void resuming_is_told_to_jobs_also_to_one_that_is_known_later(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1")});
    send(f, (struct run_event){.type = EVENT_RESUME, .by = S("someone")});
    assert_null(effect(f, EFFECT_TELL));
    job_started(f, 1, "job-1");
    is_told(f, "job-1", EVENT_RESUME);
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1")});
    send(f, (struct run_event){.type = EVENT_RESUME, .by = S("someone")});
    is_told(f, "job-1", EVENT_RESUME);
}

static void the_time_of_a_job_stands_still_while_the_run_is_paused(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE "]}");
    job_started(f, 1, "job-1");
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1"), .node = S("d"), .attempt = 1});
    is_run(f, RUN_PAUSED);
    tick(f, 500000);
    assert_null(effect(f, EFFECT_TELL));
    send(f, (struct run_event){.type = EVENT_RESUME, .by = S("someone")});
    tick(f, 90000);
    is_step(f, "d", STEP_RUNNING);
    assert_null(effect(f, EFFECT_TELL));
    tick(f, 70000);
    is_told(f, "job-1", EVENT_CANCEL);
}

static void a_job_whose_step_has_ended_pauses_nothing(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[" JOB_NODE ",{'id':'a',$}]}");
    job_started(f, 1, "job-1");
    job_ended(f, 1, "deployment_failed");
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1"), .node = S("d"), .attempt = 1});
    is_run(f, RUN_RUNNING);
    tick(f, 5000);
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-1"), .node = S("d"), .attempt = 1});
    is_run(f, RUN_RUNNING);
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("job-2"), .node = S("d"), .attempt = 2});
    is_run(f, RUN_PAUSED);
}

static void a_run_that_has_ended_can_be_told_that_it_is_undone(void **state)
{
    struct fixture *f = *state;

    begin(f, "{'nodes':[{'id':'a',$}]}");
    send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-1")});
    assert_int_equal(f->r->rollback, ROLLBACK_NONE);
    succeed(f, "a");
    send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-1")});
    assert_int_equal(f->r->rollback, ROLLBACK_RUNNING);
    assert_true(str_eqz(f->r->rolled_back_by, "rollback-1"));
    send(f, (struct run_event){.type = EVENT_ROLLBACK_ENDED, .success = true});
    assert_int_equal(f->r->rollback, ROLLBACK_DONE);
    is_run(f, RUN_SUCCEEDED);
}

static void kinds_are_found_by_name_and_by_node(void **state)
{
    (void)state;
    assert_ptr_equal(run_kind_find(S("run")), &workflow_kind);
    assert_null(run_kind_find(S("agent")));
    assert_null(run_kind_find(STR_NONE));
    assert_ptr_equal(run_kind_of_node(S("build-it:3")), &workflow_kind);
    assert_ptr_equal(run_kind_of_node(S("12-deploy")), run_kind_find(S("job")));
    assert_ptr_equal(run_kind_of_node(S("0-read-sticker")), run_kind_find(S("probe")));
    assert_null(run_kind_of_node(S("-a")));
    assert_null(run_kind_of_node(STR_NONE));
}

static void secrets_are_masked_in_documents_and_travel_as_credentials(void **state)
{
    struct fixture *f = *state;
    struct str envelope;
    struct buf b;

    begin(f, "{'inputs':[{'name':'password','type':'string'}],'nodes':[{'id':'a','type':'script','config':{'command':['"
             "login','${{ "
             "inputs.password }}'],'env':{'DB_PASSWORD':'${{ inputs.password }}','MODE':'x'}}}]}");
    envelope = effect(f, EFFECT_ASSIGN)->text;
    assert_true(
        str_find(envelope, S("\"credentials\":{\"DB_PASSWORD\":\"hunter22\",\"inputs.password\":\"hunter22\"}")) >= 0);
    assert_true(str_find(envelope, S("\"env\":{\"MODE\":\"x\"}")) >= 0);
    buf_init_arena(&b, &f->arena, 512);
    run_document_write(&b, f->r, 1, f->now);
    run_step_document_write(&b, f->r, 0);
    assert_true(str_find(buf_view(&b), S("hunter22")) < 0);
    assert_true(str_find(buf_view(&b), S("\"command\":[\"login\",\"***\"]")) >= 0);
}

static void documents_say_what_blocks_a_step(void **state)
{
    struct fixture *f = *state;
    struct buf b;

    f->deaf = true;
    begin(f, "{'nodes':[{'id':'a','name':'First',$},{'id':'b',$}],'edges':[{'from':'a','to':'b'}]}");
    buf_init_arena(&b, &f->arena, 512);
    run_step_document_write(&b, f->r, 1);
    assert_true(str_find(buf_view(&b), S("\"blockedBy\":[{\"nodeId\":\"a\",\"type\":\"step\"}]")) >= 0);
    buf_clear(&b);
    run_step_document_write(&b, f->r, 0);
    assert_true(str_find(buf_view(&b), S("\"blockedBy\":[{\"reason\":\"nobody is there\",\"type\":\"agent\"}]")) >= 0);
    buf_clear(&b);
    run_document_write(&b, f->r, 1, f->now);
    assert_true(str_find(buf_view(&b), S("\"activeSteps\":[\"a\"]")) >= 0);
    assert_true(str_find(buf_view(&b), S("\"progress\":0")) >= 0);
}

/* The whole table of the specification (6.3). It is seen from outside in test/api/workflow.test.mjs, its row `pending` in
 * test/api/pending.test.mjs. */
static void every_action_meets_every_state_as_in_the_table_pending_too(void **state)
{
    enum { NO = VERDICT_REFUSED, OK = VERDICT_ALLOWED, BY = VERDICT_DONE };
    static const struct {
        enum run_status status;
        int verdict[ACTIONS];
    } rows[] = {
        {RUN_PENDING, {[ACTION_PAUSE] = NO, [ACTION_RESUME] = NO, [ACTION_CANCEL] = OK}},
        {RUN_RUNNING, {[ACTION_PAUSE] = OK, [ACTION_RESUME] = NO, [ACTION_CANCEL] = OK}},
        {RUN_WAITING, {[ACTION_PAUSE] = OK, [ACTION_RESUME] = NO, [ACTION_CANCEL] = OK}},
        {RUN_PAUSED, {[ACTION_PAUSE] = NO, [ACTION_RESUME] = OK, [ACTION_CANCEL] = OK}},
        {RUN_CANCELLING, {[ACTION_PAUSE] = NO, [ACTION_RESUME] = NO, [ACTION_CANCEL] = BY}},
        {RUN_SUCCEEDED, {[ACTION_PAUSE] = NO, [ACTION_RESUME] = NO, [ACTION_CANCEL] = NO}},
        {RUN_FAILED, {[ACTION_PAUSE] = NO, [ACTION_RESUME] = NO, [ACTION_CANCEL] = NO}},
        {RUN_CANCELLED, {[ACTION_PAUSE] = NO, [ACTION_RESUME] = NO, [ACTION_CANCEL] = NO}},
    };

    (void)state;
    assert_int_equal(sizeof rows / sizeof *rows, RUN_STATUSES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(rows[i].status, i); /* each once */
        for (int a = 0; a < ACTIONS; a++)
            if ((int)run_action_verdict(rows[i].status, (enum run_action)a) != rows[i].verdict[a])
                fail_msg("status %zu, action %d: not as in the table", i, a);
    }
}

static void what_is_written_reads_back_the_same(void **state)
{
    struct fixture *f = *state;
    struct buf header, a, b;
    struct run *copy;

    begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':2},$},{'id':'w','type':'wait','config':{'seconds':9}}]}");
    fail_step(f, "a");
    send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("\"q\" \xc3\xa9"), .reason = S("r")});
    buf_init_arena(&header, &f->arena, 64);
    run_header_write(&header, f->r);
    copy = run_new(&f->arena, f->r->template, &f->r->origin);
    assert_true(run_header_read(copy, buf_view(&header)));
    for (int i = 0; i < 2; i++) {
        buf_init_arena(&a, &f->arena, 64);
        buf_init_arena(&b, &f->arena, 64);
        run_step_write(&a, f->r, i);
        assert_true(run_step_read(copy, i, buf_view(&a)));
        run_step_write(&b, copy, i);
        assert_true(str_eq(buf_view(&a), buf_view(&b)));
    }
    buf_init_arena(&a, &f->arena, 64);
    run_header_write(&a, copy);
    assert_true(str_eq(buf_view(&header), buf_view(&a)));
    assert_false(run_header_read(copy, S("{\"status\":\"odd\"}")));
    assert_false(run_step_read(copy, 0, S("[]")));
}

static void entries_read_back_and_bound_their_outputs(void **state)
{
    struct fixture *f = *state;
    struct run_event e = {.type = EVENT_TASK_COMPLETED,
                          .node = S("a"),
                          .attempt = 3,
                          .agent = S("x"),
                          .success = true,
                          .outputs = parse(f, S("{\"k\":[1,2]}"))},
                     back;
    struct buf b;
    char *big = malloc(RUN_OUTPUTS_MAX + 1);

    buf_init_arena(&b, &f->arena, 64);
    run_event_write(&b, &e);
    assert_true(run_event_read(&f->arena, buf_view(&b), &back));
    assert_int_equal(back.attempt, 3);
    assert_true(back.success);
    assert_true(json_equal(back.outputs, e.outputs));
    memset(big, 'x', RUN_OUTPUTS_MAX);
    big[RUN_OUTPUTS_MAX] = '\0';
    buf_clear(&b);
    buf_printf(
        &b, "{\"event\":\"task_completed\",\"node\":\"a\",\"attempt\":1,\"success\":true,\"outputs\":{\"k\":\"%s\"}}",
        big);
    free(big);
    assert_true(run_event_read(&f->arena, buf_view(&b), &back));
    assert_false(back.success);
    assert_true(str_eqz(back.error_type, "outputs_too_large"));
    assert_false(run_event_read(&f->arena, S("{\"event\":\"odd\"}"), &back));
    assert_false(run_event_read(&f->arena, S("nonsense"), &back));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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
        TEST(the_run_times_out_and_still_cleans_up),
        TEST(a_configuration_that_cannot_be_rendered_fails_the_step),
        TEST(a_condition_that_cannot_be_evaluated_fails_the_step),
        TEST(server_work_is_queued_and_its_result_counts_once),
        TEST(a_job_is_asked_for_known_and_ends_its_step),
        TEST(another_attempt_is_another_job),
        TEST(a_cancelled_step_tells_its_job_and_waits_for_it),
        TEST(a_job_that_does_not_stop_is_given_up_after_its_grace),
        TEST(a_step_whose_time_is_up_stops_its_job_and_has_timed_out),
        TEST(a_job_that_comes_too_late_is_told_to_stop),
        TEST(resuming_is_told_to_jobs_also_to_one_that_is_known_later),
        TEST(the_time_of_a_job_stands_still_while_the_run_is_paused),
        TEST(a_job_whose_step_has_ended_pauses_nothing),
        TEST(a_run_that_has_ended_can_be_told_that_it_is_undone),
        TEST(kinds_are_found_by_name_and_by_node),
        TEST(secrets_are_masked_in_documents_and_travel_as_credentials),
        TEST(documents_say_what_blocks_a_step),
        TEST(every_action_meets_every_state_as_in_the_table_pending_too),
        TEST(what_is_written_reads_back_the_same),
        TEST(entries_read_back_and_bound_their_outputs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

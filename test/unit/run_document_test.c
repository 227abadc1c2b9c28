/* Runs as they are kept and shown. */
#include "test/unit/run_fixture.h"

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
    struct run_fixture *f = *state;
    struct str envelope;
    struct buf b;

    run_begin(
        f, "{'inputs':[{'name':'password','type':'string'}],'nodes':[{'id':'a','type':'script','config':{'command':['"
           "login','${{ "
           "inputs.password }}'],'env':{'DB_PASSWORD':'${{ inputs.password }}','MODE':'x'}}}]}");
    envelope = run_effect_of(f, EFFECT_ASSIGN)->text;
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
    struct run_fixture *f = *state;
    struct buf b;

    f->deaf = true;
    run_begin(f, "{'nodes':[{'id':'a','name':'First',$},{'id':'b',$}],'edges':[{'from':'a','to':'b'}]}");
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
    struct run_fixture *f = *state;
    struct buf header, a, b;
    struct run *copy;

    run_begin(f, "{'nodes':[{'id':'a','retry':{'maxAttempts':2},$},{'id':'w','type':'wait','config':{'seconds':9}}]}");
    run_fail_step(f, "a");
    run_send(f, (struct run_event){.type = EVENT_PAUSE, .by = S("\"q\" \xc3\xa9"), .reason = S("r")});
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
    struct run_fixture *f = *state;
    struct run_event e = {.type = EVENT_TASK_COMPLETED,
                          .node = S("a"),
                          .attempt = 3,
                          .agent = S("x"),
                          .success = true,
                          .outputs = run_parse(f, S("{\"k\":[1,2]}"))},
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, run_set_up, run_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(kinds_are_found_by_name_and_by_node), TEST(secrets_are_masked_in_documents_and_travel_as_credentials),
        TEST(documents_say_what_blocks_a_step),    TEST(every_action_meets_every_state_as_in_the_table_pending_too),
        TEST(what_is_written_reads_back_the_same), TEST(entries_read_back_and_bound_their_outputs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

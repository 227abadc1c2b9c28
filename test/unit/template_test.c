#include "server/engine/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SCRIPT "\"type\":\"script\",\"config\":{\"command\":[\"true\"]}"

struct fixture {
    struct arena arena;
    struct template_report report;
    const struct template *t;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
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
    struct json_fault fault = {0};
    struct json *j = json_parse(&f->arena, str_z(text), NULL, &fault);

    if (j == NULL)
        fail_msg("%s at %zu of %s", fault.message, fault.offset, text);
    return j;
}

static const struct template *check(struct fixture *f, const char *text)
{
    f->t = template_parse(&f->arena, parse(f, text), &f->report);
    return f->t;
}

static void assert_valid(struct fixture *f, const char *text)
{
    if (check(f, text) == NULL)
        fail_msg("%s: " STR_FMT " (" STR_FMT ")", f->report.errors[0].code, STR_ARG(f->report.errors[0].message),
                 STR_ARG(f->report.errors[0].path));
}

static void assert_error(struct fixture *f, const char *text, const char *code, const char *path)
{
    assert_null(check(f, text));
    for (int i = 0; i < f->report.n_errors; i++)
        if (strcmp(f->report.errors[i].code, code) == 0 && str_eqz(f->report.errors[i].path, path))
            return;
    for (int i = 0; i < f->report.n_errors; i++)
        print_error("%s at " STR_FMT ": " STR_FMT "\n", f->report.errors[i].code, STR_ARG(f->report.errors[i].path),
                    STR_ARG(f->report.errors[i].message));
    fail_msg("no %s at %s", code, path);
}

static const char *report_text(struct fixture *f)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &f->arena, 256);
    json_out_init(&o, &b);
    template_report_write(&o, f->t, &f->report);
    buf_char(&b, '\0');
    assert_false(b.failed);
    return b.p;
}

static const char diamond[] =
    "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"b\"," SCRIPT ",\"timeoutSeconds\":10},{\"id\":\"c\"," SCRIPT
    ",\"timeoutSeconds\":20},{\"id\":\"d\"," SCRIPT
    "}],\"edges\":[{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"a\",\"to\":\"c\"},"
    "{\"from\":\"b\",\"to\":\"d\"},{\"from\":\"c\",\"to\":\"d\"}]}";

static void a_diamond_has_three_layers_and_its_slower_side_is_critical(void **state)
{
    struct fixture *f = *state;

    assert_valid(f, diamond);
    assert_string_equal(report_text(f),
                        "{\"criticalPath\":[\"a\",\"c\",\"d\"],\"errors\":[],\"plan\":[[\"a\"],[\"b\",\"c\"],[\"d\"]],"
                        "\"valid\":true,\"warnings\":[]}");
}

static void nodes_take_their_defaults_from_the_step_type(void **state)
{
    struct fixture *f = *state;

    assert_valid(
        f, "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"n\",\"type\":\"notify\",\"config\":{\"url\":\"http://x\","
           "\"message\":\"m\"}},{\"id\":\"r\"," SCRIPT ",\"retry\":{\"maxAttempts\":4,\"backoff\":\"linear\"}}]}");
    assert_int_equal(f->t->nodes[0].timeout_ms, 3600000);
    assert_int_equal(f->t->nodes[0].retry.attempts, 1);
    assert_int_equal(f->t->nodes[1].retry.attempts, 3);
    assert_int_equal(f->t->nodes[2].retry.attempts, 4);
    assert_int_equal(f->t->nodes[2].retry.backoff, BACKOFF_LINEAR);
    assert_int_equal(f->t->nodes[2].retry.delay_ms, 5000);
    assert_int_equal(f->t->timeout_ms, 86400000);
}

static void a_cycle_is_listed(void **state)
{
    struct fixture *f = *state;

    assert_error(f,
                 "{\"nodes\":[{\"id\":\"s\"," SCRIPT "},{\"id\":\"a\"," SCRIPT "},{\"id\":\"b\"," SCRIPT
                 "},{\"id\":\"c\"," SCRIPT "}],\"edges\":[{\"from\":\"s\",\"to\":\"a\"},{\"from\":\"a\",\"to\":\"b\"},{"
                 "\"from\":\"b\",\"to\":\"c\"},{\"from\":"
                 "\"c\",\"to\":\"a\"}]}",
                 "WF_CYCLE", "edges");
    assert_true(str_find(f->report.errors[0].message, S("a -> b -> c -> a")) >= 0 ||
                str_find(f->report.errors[0].message, S("b -> c -> a -> b")) >= 0 ||
                str_find(f->report.errors[0].message, S("c -> a -> b -> c")) >= 0);
}

static void goto_counts_as_an_edge_of_a_cycle(void **state)
{
    assert_error(*state,
                 "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"b\"," SCRIPT ",\"onFailure\":\"goto:a\"}],"
                 "\"edges\":[{\"from\":\"a\",\"to\":\"b\"}]}",
                 "WF_CYCLE", "edges");
}

static void edges_lead_from_known_nodes_to_other_known_nodes_once(void **state)
{
#define TWO "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"b\"," SCRIPT "}],\"edges\":["
    assert_error(*state, TWO "{\"from\":\"a\",\"to\":\"x\"}]}", "WF_NODE_UNKNOWN", "edges[0]");
    assert_error(*state, TWO "{\"from\":\"a\",\"to\":\"a\"}]}", "WF_EDGE_SELF", "edges[0]");
    assert_error(*state, TWO "{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"a\",\"to\":\"b\",\"on\":\"failure\"}]}",
                 "WF_EDGE_DUPLICATE", "edges[1]");
    assert_error(*state, TWO "{\"from\":\"a\",\"to\":\"b\",\"on\":\"maybe\"}]}", "VAL_INVALID_ENUM", "edges[0].on");
}

static void ids_are_unique_and_well_formed(void **state)
{
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"a\"," SCRIPT "}]}", "WF_NODE_DUPLICATE",
                 "nodes[1].id");
    assert_error(*state, "{\"nodes\":[{\"id\":\"A\"," SCRIPT "}]}", "VAL_INVALID_FORMAT", "nodes[0].id");
}

static void step_types_are_known_and_configurations_fit(void **state)
{
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\",\"type\":\"magic\"}]}", "WF_STEP_TYPE_UNKNOWN", "nodes[0].type");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\",\"type\":\"script\"}]}", "VAL_REQUIRED", "nodes[0].config.command");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\",\"type\":\"script\",\"config\":{\"command\":[\"x\"],\"zeal\":1}}]}",
                 "VAL_UNKNOWN_FIELD", "nodes[0].config.zeal");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\",\"type\":\"wait\",\"config\":{}}]}", "VAL_REQUIRED",
                 "nodes[0].config");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\",\"type\":\"wait\",\"config\":{\"seconds\":\"soon\"}}]}",
                 "VAL_INVALID_TYPE", "nodes[0].config.seconds");
}

static void an_expression_may_stand_for_a_value_of_any_type(void **state)
{
    assert_valid(
        *state,
        "{\"inputs\":[{\"name\":\"s\",\"type\":\"number\"}],\"nodes\":[{\"id\":\"a\",\"type\":\"wait\",\"config\":{"
        "\"seconds\":\"${{ inputs.s }}\"}}]}");
}

static void expressions_refer_to_declared_inputs_and_to_ancestors(void **state)
{
#define WITH(config, rest)                                                                                             \
    "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"b\",\"type\":\"script\",\"config\":{\"command\":[\"" config       \
    "\"]}" rest "},{\"id\":\"c\"," SCRIPT                                                                              \
    "}],\"edges\":[{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"b\",\"to\":\"c\"}]}"
    assert_valid(*state,
                 WITH("${{ steps.a.outputs.exitCode }}", ",\"condition\":\"${{ steps.a.status == 'succeeded' }}\""));
    assert_error(*state, WITH("${{ inputs.nope }}", ""), "WF_INPUT_UNKNOWN", "nodes[1].config.command[0]");
    assert_error(*state, WITH("${{ steps.c.status }}", ""), "WF_NOT_ANCESTOR", "nodes[1].config.command[0]");
    assert_error(*state, WITH("${{ steps.b.status }}", ""), "WF_NOT_ANCESTOR", "nodes[1].config.command[0]");
    assert_error(*state, WITH("${{ steps.zz.status }}", ""), "WF_NODE_UNKNOWN", "nodes[1].config.command[0]");
    assert_error(*state, WITH("${{ steps.a }}", ""), "WF_EXPRESSION", "nodes[1].config.command[0]");
    assert_error(*state, WITH("${{ context.weather }}", ""), "WF_EXPRESSION", "nodes[1].config.command[0]");
    assert_error(*state, WITH("${{ 1 + 1 }}", ""), "WF_EXPRESSION", "nodes[1].config.command[0]");
    assert_error(*state, WITH("x", ",\"condition\":\"steps.c.status\""), "WF_NOT_ANCESTOR", "nodes[1].condition");
}

static void an_edge_condition_may_use_its_source(void **state)
{
#define EDGE(condition)                                                                                                \
    "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"b\"," SCRIPT                                                      \
    "}],\"edges\":[{\"from\":\"a\",\"to\":\"b\",\"condition\":\"" condition "\"}]}"
    assert_valid(*state, EDGE("steps.a.outputs.exitCode == 0"));
    assert_error(*state, EDGE("steps.b.status"), "WF_NOT_ANCESTOR", "edges[0].condition");
}

static void a_template_needs_a_node_and_a_start(void **state)
{
    assert_error(*state, "{\"nodes\":[]}", "WF_NO_NODES", "nodes");
    assert_error(*state, "{}", "WF_NO_NODES", "nodes");
    assert_error(*state, "{\"nodes\":[{\"id\":\"f\"," SCRIPT "}],\"finally\":[\"f\"]}", "WF_NO_START", "nodes");
}

static void finally_nodes_lead_nowhere_else_and_see_everything(void **state)
{
#define FINAL(config, edges)                                                                                           \
    "{\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"f\",\"type\":\"script\",\"config\":{\"command\":[\"" config       \
    "\"]}}],\"edges\":[" edges "],\"finally\":[\"f\"]}"
    assert_valid(*state, FINAL("${{ steps.a.status }}", ""));
    assert_error(*state, FINAL("x", "{\"from\":\"f\",\"to\":\"a\"}"), "WF_FINALLY", "edges[0]");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\"," SCRIPT "}],\"finally\":[\"z\"]}", "WF_NODE_UNKNOWN",
                 "finally[0]");
}

static void compensating_nodes_stand_alone(void **state)
{
#define UNDO(edges, more)                                                                                              \
    "{\"onFailure\":\"rollback\",\"nodes\":[{\"id\":\"a\"," SCRIPT "},{\"id\":\"u\"," SCRIPT                           \
    ",\"compensates\":\"a\"}" more "],\"edges\":[" edges "]}"
    assert_valid(*state, UNDO("", ""));
    assert_error(*state, UNDO("{\"from\":\"a\",\"to\":\"u\"}", ""), "WF_COMPENSATION", "edges[0]");
    assert_error(*state, UNDO("", ",{\"id\":\"v\"," SCRIPT ",\"compensates\":\"a\"}"), "WF_COMPENSATION",
                 "nodes[2].compensates");
    assert_error(*state, UNDO("", ",{\"id\":\"v\"," SCRIPT ",\"compensates\":\"zz\"}"), "WF_NODE_UNKNOWN",
                 "nodes[2].compensates");
}

static void numbers_have_ranges(void **state)
{
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\"," SCRIPT ",\"timeoutSeconds\":0}]}", "VAL_OUT_OF_RANGE",
                 "nodes[0].timeoutSeconds");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\"," SCRIPT ",\"retry\":{\"maxAttempts\":11}}]}", "VAL_OUT_OF_RANGE",
                 "nodes[0].retry.maxAttempts");
    assert_error(*state, "{\"timeoutSeconds\":604801,\"nodes\":[{\"id\":\"a\"," SCRIPT "}]}", "VAL_OUT_OF_RANGE",
                 "timeoutSeconds");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\"," SCRIPT ",\"onFailure\":\"goto:\"}]}", "VAL_INVALID_FORMAT",
                 "nodes[0].onFailure");
    assert_error(*state, "{\"nodes\":[{\"id\":\"a\"," SCRIPT ",\"onFailure\":\"goto:b\"}]}", "WF_NODE_UNKNOWN",
                 "nodes[0].onFailure");
}

static void inputs_have_unique_names_and_fitting_defaults(void **state)
{
#define INPUTS(list) "{\"inputs\":[" list "],\"nodes\":[{\"id\":\"a\"," SCRIPT "}]}"
    struct fixture *f = *state;

    assert_error(f, INPUTS("{\"name\":\"x\",\"type\":\"string\"},{\"name\":\"x\",\"type\":\"number\"}"),
                 "WF_INPUT_DUPLICATE", "inputs[1].name");
    assert_error(f, INPUTS("{\"name\":\"x\",\"type\":\"number\",\"default\":\"one\"}"), "WF_INPUT_DEFAULT",
                 "inputs[0].default");
    assert_error(f, INPUTS("{\"name\":\"x\",\"type\":\"string\",\"enum\":[\"a\"],\"default\":\"b\"}"),
                 "WF_INPUT_DEFAULT", "inputs[0].default");
    assert_valid(f, INPUTS("{\"name\":\"x\",\"type\":\"string\"}"));
    assert_int_equal(f->report.n_warnings, 1);
    assert_string_equal(f->report.warnings[0].code, "WF_INPUT_UNUSED");
}

static void outputs_are_expressions_over_any_node(void **state)
{
#define OUT(e) "{\"nodes\":[{\"id\":\"a\"," SCRIPT "}],\"outputs\":{\"x\":\"" e "\"}}"
    assert_valid(*state, OUT("${{ steps.a.outputs.exitCode }}"));
    assert_error(*state, OUT("${{ steps.b.outputs.exitCode }}"), "WF_NODE_UNKNOWN", "outputs.x");
    assert_error(*state, OUT("1 +"), "WF_EXPRESSION", "outputs.x");
}

static const char *inputs_of(struct fixture *f, const char *inputs, char *missing, struct faults *faults)
{
    struct buf b, names;
    struct json *j;

    faults_init(faults, &f->arena);
    buf_init_arena(&names, &f->arena, 64);
    j = template_inputs(&f->arena, f->t, parse(f, inputs), faults, &names);
    snprintf(missing, 100, STR_FMT, STR_ARG(buf_view(&names)));
    buf_init_arena(&b, &f->arena, 64);
    json_write(&b, j);
    buf_char(&b, '\0');
    return b.p;
}

static void a_runs_inputs_are_checked_and_completed(void **state)
{
    struct fixture *f = *state;
    struct faults faults;
    char missing[100];

    assert_valid(
        f,
        INPUTS(
            "{\"name\":\"v\",\"type\":\"string\",\"required\":true},{\"name\":\"n\",\"type\":\"number\",\"default\":3},"
            "{\"name\":\"id\",\"type\":\"uuid\"},{\"name\":\"w\",\"type\":\"string\",\"required\":true}"));
    assert_string_equal(inputs_of(f, "{\"v\":\"1\",\"w\":\"2\"}", missing, &faults),
                        "{\"n\":3,\"v\":\"1\",\"w\":\"2\"}");
    assert_string_equal(missing, "");
    assert_int_equal(faults.n, 0);
    inputs_of(f, "{}", missing, &faults);
    assert_string_equal(missing, "v, w");
    inputs_of(f, "{\"v\":1,\"w\":\"\",\"id\":\"no\",\"zz\":1}", missing, &faults);
    assert_int_equal(faults.n, 3);
}

static void any_json_is_taken_without_harm(void **state)
{
    static const char *const texts[] = {
        "null",
        "[]",
        "1",
        "\"x\"",
        "{\"nodes\":1}",
        "{\"nodes\":[1,null,[]]}",
        "{\"nodes\":[{\"id\":1,\"type\":2}]}",
        "{\"nodes\":[{\"id\":\"a\"," SCRIPT ",\"compensates\":1}]}",
        "{\"nodes\":[{\"id\":\"a\"," SCRIPT "}],\"edges\":{}}",
        "{\"nodes\":[{\"id\":\"a\"," SCRIPT "}],\"edges\":[1]}",
        "{\"nodes\":[{\"id\":\"a\"," SCRIPT "}],\"finally\":\"a\"}",
        "{\"nodes\":[{\"id\":\"a\"," SCRIPT "}],\"outputs\":[1]}",
        "{\"nodes\":[{\"id\":\"a\",\"type\":\"script\",\"config\":[]}]}",
        "{\"nodes\":[{\"id\":\"a\"," SCRIPT ",\"compensates\":\"a\"}]}",
        "{\"inputs\":{\"a\":1},\"nodes\":[{\"id\":\"a\"," SCRIPT "}]}",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (check(f, texts[i]) != NULL)
            fail_msg("taken as a template: %s", texts[i]);
        template_parse(&f->arena, parse(f, texts[i]), NULL);
        report_text(f);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_diamond_has_three_layers_and_its_slower_side_is_critical),
        TEST(nodes_take_their_defaults_from_the_step_type),
        TEST(a_cycle_is_listed),
        TEST(goto_counts_as_an_edge_of_a_cycle),
        TEST(edges_lead_from_known_nodes_to_other_known_nodes_once),
        TEST(ids_are_unique_and_well_formed),
        TEST(step_types_are_known_and_configurations_fit),
        TEST(an_expression_may_stand_for_a_value_of_any_type),
        TEST(expressions_refer_to_declared_inputs_and_to_ancestors),
        TEST(an_edge_condition_may_use_its_source),
        TEST(a_template_needs_a_node_and_a_start),
        TEST(finally_nodes_lead_nowhere_else_and_see_everything),
        TEST(compensating_nodes_stand_alone),
        TEST(numbers_have_ranges),
        TEST(inputs_have_unique_names_and_fitting_defaults),
        TEST(outputs_are_expressions_over_any_node),
        TEST(a_runs_inputs_are_checked_and_completed),
        TEST(any_json_is_taken_without_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

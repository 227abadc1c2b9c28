#include "server/engine/expression.h"
#include "server/engine/redact.h"
#include "server/engine/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char inputs_text[] = "{\"version\":\"1.2.3\",\"count\":3,\"ratio\":0.5,\"on\":true,\"none\":null,"
                                  "\"list\":[1,\"two\",{\"x\":9}],\"object\":{\"a\":{\"b\":\"deep\"}},\"empty\":\"\","
                                  "\"apiToken\":\"t0ps3cret\",\"a-b\":7}";
static const char context_text[] = "{\"environment\":{\"name\":\"prod\"},\"run\":{\"id\":\"r1\"}}";
static const char outputs_text[] = "{\"exitCode\":0,\"url\":\"http://x\"}";

struct fixture {
    struct arena arena;
    struct scope scope;
    struct json *outputs;
};

static bool step(const void *arg, struct str node, struct str *status, const struct json **outputs)
{
    const struct fixture *f = arg;

    if (!str_eqz(node, "build-app"))
        return false;
    *status = S("succeeded");
    *outputs = f->outputs;
    return true;
}

static struct json *parse(struct arena *a, const char *text)
{
    struct json *j = json_parse(a, str_z(text), NULL, &(struct json_fault){0});

    assert_non_null(j);
    return j;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
    f->outputs = parse(&f->arena, outputs_text);
    f->scope = (struct scope){parse(&f->arena, inputs_text), parse(&f->arena, context_text), step, f, false};
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

/* The result as JSON, or the fault's message behind a '!'. */
static const char *result(struct fixture *f, const char *text)
{
    struct expression_fault fault = {0};
    const struct expression *e = expression_parse(&f->arena, str_z(text), &fault);
    struct json_out o;
    struct value v;
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    json_out_init(&o, &b);
    if (e == NULL || !expression_eval(&f->arena, e, &f->scope, &v, &fault))
        buf_printf(&b, "!%s", fault.message);
    else
        value_write(&o, &v, f->scope.redact);
    buf_char(&b, '\0');
    assert_false(b.failed);
    return b.p;
}

static void paths_lead_into_inputs_steps_and_context(void **state)
{
    assert_string_equal(result(*state, "inputs.version"), "\"1.2.3\"");
    assert_string_equal(result(*state, "${{ inputs.count }}"), "3");
    assert_string_equal(result(*state, "inputs.list[2].x"), "9");
    assert_string_equal(result(*state, "inputs['a-b']"), "7");
    assert_string_equal(result(*state, "inputs.a-b"), "7");
    assert_string_equal(result(*state, "inputs.object[\"a\"].b"), "\"deep\"");
    assert_string_equal(result(*state, "inputs.object"), "{\"a\":{\"b\":\"deep\"}}");
    assert_string_equal(result(*state, "steps.build-app.outputs.exitCode"), "0");
    assert_string_equal(result(*state, "steps.build-app.status"), "\"succeeded\"");
    assert_string_equal(result(*state, "context.environment.name"), "\"prod\"");
}

static void a_path_that_leads_nowhere_is_null(void **state)
{
    assert_string_equal(result(*state, "inputs.nothing.at.all"), "null");
    assert_string_equal(result(*state, "inputs.list[99]"), "null");
    assert_string_equal(result(*state, "inputs.version.length"), "null");
    assert_string_equal(result(*state, "steps.unknown.status"), "null");
    assert_string_equal(result(*state, "steps.build-app.inputs"), "null");
    assert_string_equal(result(*state, "steps"), "null");
}

static void operators_bind_as_in_other_languages(void **state)
{
    assert_string_equal(result(*state, "true || false && false"), "true");
    assert_string_equal(result(*state, "!false && 1 < 2 == true"), "true");
    assert_string_equal(result(*state, "(true || false) && false"), "false");
    assert_string_equal(result(*state, "1 <= 1 && 2 >= 2 && 1 != 2"), "true");
    assert_string_equal(result(*state, "!!inputs.empty"), "false");
    assert_string_equal(result(*state, "!inputs.count"), "false");
}

static void equality_never_mixes_types_and_numbers_are_one_type(void **state)
{
    assert_string_equal(result(*state, "1 == 1.0"), "true");
    assert_string_equal(result(*state, "'1' == 1"), "false");
    assert_string_equal(result(*state, "null == inputs.nothing"), "true");
    assert_string_equal(result(*state, "inputs.list == inputs.list"), "true");
    assert_string_equal(result(*state, "9007199254740993 == 9007199254740992"), "false");
}

static void order_is_for_two_numbers_or_two_texts(void **state)
{
    assert_string_equal(result(*state, "inputs.ratio < inputs.count"), "true");
    assert_string_equal(result(*state, "'a' < 'b'"), "true");
    assert_string_equal(result(*state, "9007199254740993 > 9007199254740992"), "true");
    assert_string_equal(result(*state, "'a' < 1"), "!only two numbers or two texts have an order");
    assert_string_equal(result(*state, "null < 1"), "!only two numbers or two texts have an order");
}

static void what_is_decided_is_not_evaluated_further(void **state)
{
    assert_string_equal(result(*state, "true || 'a' < 1"), "true");
    assert_string_equal(result(*state, "false && 'a' < 1"), "false");
}

static void functions_do_what_they_say(void **state)
{
    assert_string_equal(result(*state, "contains(inputs.version, '2.3')"), "true");
    assert_string_equal(result(*state, "contains(inputs.list, 'two')"), "true");
    assert_string_equal(result(*state, "contains(inputs.object, 'a')"), "true");
    assert_string_equal(result(*state, "contains(inputs.nothing, 'a')"), "false");
    assert_string_equal(result(*state, "startsWith(inputs.version, '1.') && endsWith(inputs.version, '.3')"), "true");
    assert_string_equal(result(*state, "length('\xc3\xa9t\xc3\xa9')"), "3");
    assert_string_equal(result(*state, "length(inputs.list)"), "3");
    assert_string_equal(result(*state, "coalesce(inputs.nothing, null, inputs.count)"), "3");
    assert_string_equal(result(*state, "toJson(inputs.list)"), "\"[1,\\\"two\\\",{\\\"x\\\":9}]\"");
    assert_string_equal(result(*state, "contains(1, 2)"), "!contains looks into a text, an array or an object");
    assert_string_equal(result(*state, "startsWith('a', 1)"), "!startsWith takes two texts");
}

static void what_is_no_expression_is_refused(void **state)
{
    static const char *const bad[] = {
        "",          "1 +",        "inputs.",      "inputs[",     "inputs[x]", "inputs[1.5]", "foo.bar",
        "foo()",     "contains(1", "contains(1)",  "length(1,2)", "'open",     "'bad \\q'",   "1.2.3",
        "-",         "1.",         "--1",          "1 2",         "a b",       "(1",          "1)",
        "== 1",      "1 ==",       "true &&",      "${{ 1",       "${{ }}",    "inputs[-1]",  "99999999999999999999",
        "inputs..a", "&& 1",       "inputs.a = 1", "inputs['a'",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (result(*state, bad[i])[0] != '!')
            fail_msg("accepted: %s", bad[i]);
}

static void sizes_are_bounded(void **state)
{
    char text[EXPRESSION_MAX + 8];

    memset(text, ' ', sizeof text);
    text[0] = '1';
    text[EXPRESSION_MAX] = '\0';
    assert_string_equal(result(*state, text), "1");
    text[EXPRESSION_MAX] = ' ';
    text[EXPRESSION_MAX + 1] = '\0';
    assert_string_equal(result(*state, text), "!the expression is longer than 1024 characters");
    memset(text, '!', 500);
    text[500] = '1';
    text[501] = '\0';
    assert_string_equal(result(*state, text), "!nested too deeply");
    memset(text, '(', 500);
    assert_string_equal(result(*state, text), "!nested too deeply");
    assert_string_equal(result(*state, "inputs.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o"), "null");
    assert_string_equal(result(*state, "inputs.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p"), "!the path is too long");
}

static const char *rendered(struct fixture *f, const char *text)
{
    struct expression_fault fault = {0};
    struct json_out o;
    struct value v;
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    json_out_init(&o, &b);
    if (text_render(&f->arena, str_z(text), &f->scope, &v, &fault))
        value_write(&o, &v, f->scope.redact);
    else
        buf_printf(&b, "!%zu %s", fault.offset, fault.message);
    buf_char(&b, '\0');
    return b.p;
}

static void a_text_that_is_one_expression_keeps_its_type(void **state)
{
    assert_string_equal(rendered(*state, "${{ inputs.count }}"), "3");
    assert_string_equal(rendered(*state, "  ${{ inputs.list }}  "), "[1,\"two\",{\"x\":9}]");
    assert_string_equal(rendered(*state, "${{ inputs.nothing }}"), "null");
}

static void results_inside_a_text_become_text(void **state)
{
    assert_string_equal(rendered(*state, "v${{ inputs.version }} x${{inputs.count}}${{inputs.nothing}}!"),
                        "\"v1.2.3 x3!\"");
    assert_string_equal(rendered(*state, "${{ inputs.on }} ${{ inputs.list }}"),
                        "\"true [1,\\\"two\\\",{\\\"x\\\":9}]\"");
    assert_string_equal(rendered(*state, "plain"), "\"plain\"");
    assert_string_equal(rendered(*state, ""), "\"\"");
}

static void braces_in_quotes_and_escaped_braces_are_text(void **state)
{
    assert_string_equal(rendered(*state, "a ${{ '}}' }} b"), "\"a }} b\"");
    assert_string_equal(rendered(*state, "echo $${{ not }} ${{ inputs.count }}"), "\"echo ${{ not }} 3\"");
    assert_string_equal(rendered(*state, "${HOME} $1 {{x}}"), "\"${HOME} $1 {{x}}\"");
}

static void faults_name_the_place_in_the_text(void **state)
{
    assert_string_equal(rendered(*state, "ab ${{ 1 + }}"), "!9 an operator or the end is expected");
    assert_string_equal(rendered(*state, "ab ${{ 1"), "!3 '}}' is missing");
}

static void secrets_are_masked_where_they_would_be_shown(void **state)
{
    struct fixture *f = *state;
    struct expression_fault fault;
    struct json_out o;
    struct buf b;

    f->scope.redact = true;
    assert_string_equal(
        rendered(f, "${{ inputs }}"),
        "{\"version\":\"1.2.3\",\"count\":3,\"ratio\":0.5,\"on\":true,\"none\":null,\"list\":[1,\"two\",{\"x\":9}],"
        "\"object\":{\"a\":{\"b\":\"deep\"}},\"empty\":\"\",\"apiToken\":\"***\",\"a-b\":7}");
    buf_init_arena(&b, &f->arena, 64);
    json_out_init(&o, &b);
    assert_true(text_render_tree(&f->arena, &o,
                                 parse(&f->arena, "{\"env\":{\"DB_PASSWORD\":\"x\",\"A\":\"${{ inputs.count }}\"}}"),
                                 &f->scope, &fault));
    buf_char(&b, '\0');
    assert_string_equal(b.p, "{\"env\":{\"DB_PASSWORD\":\"***\",\"A\":3}}");
}

static void a_runs_inputs_are_masked_by_name_and_by_declaration(void **state)
{
    struct fixture *f = *state;
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    json_out_init(&o, &b);
    redact_inputs_write(
        &o, parse(&f->arena, "{\"db\":\"vault/db\",\"user\":\"me\",\"apiKey\":{\"a\":1},\"keepSecret\":true}"),
        parse(&f->arena, "[{\"name\":\"db\",\"type\":\"secret-ref\"},{\"name\":\"user\",\"type\":\"string\"}]"));
    buf_char(&b, '\0');
    assert_string_equal(b.p, "{\"db\":\"***\",\"user\":\"me\",\"apiKey\":\"***\",\"keepSecret\":true}");
}

static void a_rendered_tree_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct expression_fault fault = {0};
    char *big = malloc(TEXT_RENDERED_MAX / 2);
    struct json_out o;
    struct buf text, b;

    memset(big, 'x', TEXT_RENDERED_MAX / 2);
    buf_init_arena(&text, &f->arena, 64);
    buf_z(&text, "{\"big\":\"");
    buf_add(&text, big, TEXT_RENDERED_MAX / 2);
    buf_z(&text, "\"}");
    free(big);
    f->scope.inputs = json_parse(&f->arena, buf_view(&text), NULL, &(struct json_fault){0});
    buf_init_arena(&b, &f->arena, 64);
    json_out_init(&o, &b);
    assert_false(text_render_tree(&f->arena, &o,
                                  parse(&f->arena, "[\"${{inputs.big}}\",\"${{inputs.big}}\",\"${{inputs.big}}\"]"),
                                  &f->scope, &fault));
    assert_false(text_render_tree(&f->arena, &o, parse(&f->arena, "\"${{inputs.big}}${{inputs.big}}${{inputs.big}}\""),
                                  &f->scope, &fault));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(paths_lead_into_inputs_steps_and_context),
        TEST(a_path_that_leads_nowhere_is_null),
        TEST(operators_bind_as_in_other_languages),
        TEST(equality_never_mixes_types_and_numbers_are_one_type),
        TEST(order_is_for_two_numbers_or_two_texts),
        TEST(what_is_decided_is_not_evaluated_further),
        TEST(functions_do_what_they_say),
        TEST(what_is_no_expression_is_refused),
        TEST(sizes_are_bounded),
        TEST(a_text_that_is_one_expression_keeps_its_type),
        TEST(results_inside_a_text_become_text),
        TEST(braces_in_quotes_and_escaped_braces_are_text),
        TEST(faults_name_the_place_in_the_text),
        TEST(secrets_are_masked_where_they_would_be_shown),
        TEST(a_runs_inputs_are_masked_by_name_and_by_declaration),
        TEST(a_rendered_tree_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/form.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static struct form parsed(struct str body)
{
    struct form f;
    assert_int_equal(form_parse(&arena, body, &f), FORM_OK);
    return f;
}

static enum form_fault fault(struct str body)
{
    struct form f = {{NULL, 77}};
    enum form_fault fault = form_parse(&arena, body, &f);
    if (fault != FORM_OK)
        assert_int_equal(f.parameters.n, 77);
    assert_true(form_why(fault)[0] != '\0');
    return fault;
}

static void a_space_may_be_plus_or_escaped_or_raw(void **state)
{
    (void)state;
    const struct str bodies[] = {S("scope=projects:read+deployments:write"),
                                 S("scope=projects%3Aread%20deployments%3awrite"),
                                 S("scope=projects:read deployments:write")};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct form f = parsed(bodies[i]);
        assert_true(str_eqz(form_get(&f, S("scope")), "projects:read deployments:write"));
    }
}

static void a_parameter_without_a_value_counts_as_left_out(void **state)
{
    (void)state;
    struct form f = parsed(S("scope=&a&b=1"));
    assert_null(form_get(&f, S("scope")).p);
    assert_null(form_get(&f, S("a")).p);
    assert_null(form_get(&f, S("c")).p);
    assert_true(str_eqz(form_get(&f, S("b")), "1"));
    assert_null(form_get(NULL, S("b")).p);
}

static void a_name_that_comes_twice_is_a_fault(void **state)
{
    (void)state;
    assert_int_equal(fault(S("a=1&a=1")), FORM_TWICE);
    assert_int_equal(fault(S("a=1&b=2&%61=")), FORM_TWICE);
    assert_int_equal(fault(S("a&a")), FORM_TWICE);
    assert_int_equal(fault(S("a=1&A=1")), FORM_OK);
}

static void bad_escapes_and_bad_text_are_faults(void **state)
{
    (void)state;
    const struct str escapes[] = {S("a=%"), S("a=%4"), S("a=%4&b=1"), S("a=%zz"), S("%=1"), S("a=%u0041")};
    const struct str texts[] = {S("a=%00"), S("%00=1"), S("a=%ff"), S("a=%c0%af"), S("a=\xff")};
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++)
        assert_int_equal(fault(escapes[i]), FORM_ESCAPE);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(fault(texts[i]), FORM_TEXT);
}

static void counts_and_sizes_are_bounded(void **state)
{
    (void)state;
    static char bytes[FORM_LENGTH_MAX + 1];
    struct buf b = {0};
    for (int i = 0; i < FORM_PARAMS_MAX; i++)
        buf_printf(&b, "p%d=1&", i);
    assert_int_equal(fault(buf_view(&b)), FORM_OK);
    buf_z(&b, "one=more");
    assert_int_equal(fault(buf_view(&b)), FORM_COUNT);
    memset(bytes, 'x', sizeof bytes);
    const struct {
        size_t name, value;
        enum form_fault fault;
    } rows[] = {{FORM_NAME_MAX, 1, FORM_OK},
                {FORM_NAME_MAX + 1, 1, FORM_LONG},
                {1, FORM_VALUE_MAX, FORM_OK},
                {1, FORM_VALUE_MAX + 1, FORM_LONG}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_clear(&b);
        b.n = 0;
        buf_add(&b, bytes, rows[i].name);
        buf_char(&b, '=');
        buf_add(&b, bytes, rows[i].value);
        assert_int_equal(fault(buf_view(&b)), rows[i].fault);
    }
    assert_int_equal(fault((struct str){bytes, sizeof bytes}), FORM_LONG);
    buf_free(&b);
}

/* What stands before any byte is a form, or a fault; it never has what comes later, nor reads it. */
static void cut_at_any_byte_it_is_a_form_or_a_fault(void **state)
{
    (void)state;
    const struct str whole = S("grant_type=client%5Fcredentials&scope=a+b c%20d&x=%E2%82%AC&y");
    for (size_t n = 0; n <= whole.n; n++) {
        char *bytes = arena_z(&arena, str_slice(whole, 0, n));
        struct form f = {{NULL, 0}};
        enum form_fault fault = form_parse(&arena, (struct str){bytes, n}, &f);
        assert_true(fault == FORM_OK || fault == FORM_ESCAPE || fault == FORM_TEXT);
        bool in_escape = (n > 0 && bytes[n - 1] == '%') || (n > 1 && bytes[n - 2] == '%');
        assert_int_equal(fault == FORM_ESCAPE, in_escape);
        size_t begun = 0; /* parameters, by their first bytes */
        for (size_t i = 0; i < n; i++)
            begun += bytes[i] != '&' && (i == 0 || bytes[i - 1] == '&');
        if (fault == FORM_OK)
            assert_int_equal(f.parameters.n, begun);
    }
}

static void the_media_type_is_compared_without_case_and_charset(void **state)
{
    (void)state;
    assert_true(form_is(S("application/x-www-form-urlencoded")));
    assert_true(form_is(S("Application/X-WWW-Form-Urlencoded; Charset=UTF-8")));
    assert_true(form_is(S("application/x-www-form-urlencoded;charset=\"utf-8\"")));
    assert_false(form_is(S("application/x-www-form-urlencoded; charset=latin1")));
    assert_false(form_is(S("application/json")));
    assert_false(form_is(S("application/x-www-form-urlencoded2")));
    assert_false(form_is(STR_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_space_may_be_plus_or_escaped_or_raw),
        cmocka_unit_test(a_parameter_without_a_value_counts_as_left_out),
        cmocka_unit_test(a_name_that_comes_twice_is_a_fault),
        cmocka_unit_test(bad_escapes_and_bad_text_are_faults),
        cmocka_unit_test(counts_and_sizes_are_bounded),
        cmocka_unit_test(cut_at_any_byte_it_is_a_form_or_a_fault),
        cmocka_unit_test(the_media_type_is_compared_without_case_and_charset),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

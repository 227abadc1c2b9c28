#include "lib/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static struct json *parse(const char *text)
{
    struct json_fault fault = {0};
    struct json *j = json_parse(&arena, str_z(text), NULL, &fault);
    if (j == NULL)
        fail_msg("%s: %s at %zu", text, fault.message, fault.offset);
    return j;
}

static void is(struct buf *b, const char *want)
{
    assert_false(b->failed);
    buf_char(b, '\0');
    assert_string_equal(b->p, want);
    buf_free(b);
}

static void writes(const char *text, const char *want)
{
    struct buf b = {0};
    json_write(&b, parse(text));
    is(&b, want);
}

static void a_tree_is_read_by_name_path_and_index(void **state)
{
    (void)state;
    struct json *j = parse(" {\"a\":{\"b\":{\"c\":[1,2.5,\"x\",true,null]}},\"n\":-7} ");
    struct json *list = json_path(j, S("a.b.c"));
    assert_int_equal(json_count(list), 5);
    assert_int_equal(json_int(json_at(list, 0), -1), 1);
    assert_true(json_real(json_at(list, 1), 0) == 2.5);
    assert_true(str_eqz(json_str(json_at(list, 2)), "x"));
    assert_true(json_bool(json_at(list, 3), false));
    assert_true(json_is(json_at(list, 4), JSON_NULL));
    assert_null(json_at(list, 5));
    assert_int_equal(json_int(json_get(j, "n"), 0), -7);
    assert_true(json_real(json_get(j, "n"), 0) == -7.0);
    assert_int_equal(json_count(j), 2);
}

static void what_is_absent_reads_as_empty(void **state)
{
    (void)state;
    struct json *j = parse("{\"a\":1}");
    assert_null(json_get(json_get(json_get(j, "x"), "y"), "z"));
    assert_null(json_path(j, S("a.b.c")));
    assert_null(json_path(NULL, S("a")));
    assert_int_equal(json_type(NULL), JSON_ABSENT);
    assert_null(json_str(json_get(j, "a")).p);
    assert_int_equal(json_int(NULL, 42), 42);
    assert_true(json_bool(NULL, true));
    assert_int_equal(json_count(NULL), 0);
    struct json_iter it = json_members(NULL);
    assert_false(json_next(&it));
}

static void what_is_no_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct str bad[] = {
        S(""),
        S(" "),
        S("{"),
        S("[1,]"),
        S("{\"a\":1,}"),
        S("{\"a\":1,\"a\":2}"),
        S("[1] 2"),
        S("nul"),
        S("'a'"),
        S("01"),
        S("1."),
        S("+1"),
        S("\"\xff\""),
        S("\"\\u0000\""),
        S("\"\\ud800\""),
        S("\"\\ud800x\""),
        S("\"\\ud800\\n\""),
        S("\"\\ud800\\u0041\""),
        S("\"\\ud800\\ud800\\udc00\""),
        S("\"\\udc00\""),
        S("{\"\\udc00\":1}"),
        S("\"\\u12g4\""),
        S("\"\\"),
        S("\"\\ud8"),
        S("\"\xed\xa0\x80\""),
        S("\"\xc0\xaf\""),
        S("/* c */ 1"),
        S("-"),
        S("1e"),
        S("[1 2]"),
        S("\"\n\""),
        S("\"a"),
        S("[NaN]"),
        S("1e999"),
        S("{\"a\" 1}"),
        S("{1:2}"),
        S("]"),
        S("\"\\x\""),
        S("1\0"),
        S("\xef\xbb\xbf{}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json_fault fault = {0};
        if (json_parse(&arena, bad[i], NULL, &fault) != NULL)
            fail_msg("accepted: " STR_FMT, STR_ARG(bad[i]));
        assert_true(fault.message[0] != '\0');
        assert_true(fault.offset <= bad[i].n);
        assert_true(str_utf8(str_z(fault.message)));
        assert_false(fault.exhausted);
    }
}

static void depth_and_values_are_bounded(void **state)
{
    (void)state;
    struct json_limits limits = {.depth = 3, .nodes = 5};
    struct json_fault fault;
    assert_non_null(json_parse(&arena, S("[[[]]]"), &limits, &fault));
    assert_null(json_parse(&arena, S("[[[[]]]]"), &limits, &fault));
    assert_string_equal(fault.message, "nested too deeply");
    assert_int_equal(fault.offset, 3);
    assert_non_null(json_parse(&arena, S("[1, {\"a\": [ ]}, \"[,,,,\\\",,\"]"), &limits, &fault));
    assert_non_null(json_parse(&arena, S("[1,2,3,4]"), &limits, &fault));
    assert_null(json_parse(&arena, S("[1,2,3,4,5]"), &limits, &fault));
    assert_string_equal(fault.message, "too many values");

    char deep[100000];
    memset(deep, '[', sizeof deep);
    assert_null(json_parse(&arena, (struct str){deep, sizeof deep}, NULL, &fault));
    assert_int_equal(fault.offset, 32);
}

static void escapes_become_what_they_say(void **state)
{
    (void)state;
    struct str s = json_str(parse("\"a\\\\u00e9\\u00e9\\ud83d\\ude00\\\\\""));
    assert_true(str_eqz(s, "a\\u00e9\xc3\xa9\xf0\x9f\x98\x80\\"));
    assert_int_equal(s.p[s.n], '\0');
}

static void strings_outlive_the_text_and_end_with_a_nul(void **state)
{
    (void)state;
    char text[] = "{\"name\":[\"value\",\"\"]}";
    struct json *j = json_parse(&arena, str_z(text), NULL, NULL);
    memset(text, 'x', sizeof text);
    struct str s = json_str(json_at(json_get(j, "name"), 0));
    assert_string_equal(s.p, "value");
    assert_string_equal(json_str(json_at(json_get(j, "name"), 1)).p, "");
}

static struct str object_of(int members, const char *last)
{
    struct buf b;
    buf_init_arena(&b, &arena, 64);
    for (int i = 0; i < members; i++)
        buf_printf(&b, "%c\"m%d\":%d", i == 0 ? '{' : ',', i, i);
    buf_z(&b, last);
    return buf_view(&b);
}

static void a_member_that_is_there_twice_is_named(void **state)
{
    (void)state;
    for (int members = 1; members < 100; members++) {
        struct json_fault fault = {0};
        assert_null(json_parse(&arena, object_of(members, ",\"m0\":1}"), NULL, &fault));
        assert_string_equal(fault.message, "a member is there twice: m0");
        assert_false(fault.exhausted);
    }
}

static void members_are_found_however_many_there_are(void **state)
{
    (void)state;
    struct json *many = json_parse(&arena, object_of(15, "}"), NULL, NULL);
    for (int i = 15; i < 200; i++)
        assert_true(json_set(&arena, many, arena_printf(&arena, "m%d", i), json_new_int(&arena, i)));
    struct json *copy = json_copy_tree(&arena, many);
    assert_true(json_equal(copy, json_parse(&arena, object_of(200, "}"), NULL, NULL)));
    for (int i = 0; i < 200; i += 2)
        assert_true(json_unset(copy, arena_printf(&arena, "m%d", i)));
    assert_int_equal(json_count(copy), 100);
    for (int i = 0; i < 200; i++) {
        struct str name = arena_printf(&arena, "m%d", i);
        assert_int_equal(json_int(json_get_str(copy, name), -1), i % 2 == 0 ? -1 : i);
        assert_int_equal(json_int(json_get_str(many, name), -1), i);
    }
    assert_true(json_set(&arena, copy, S("m0"), json_new_int(&arena, 7)));
    assert_int_equal(json_int(json_get(copy, "m0"), 0), 7);
    assert_int_equal(json_int(json_get(many, "m0"), 7), 0);
}

static void an_arena_that_is_full_is_no_fault_of_the_text(void **state)
{
    (void)state;
    struct str text = S("{\"a\":[1,2,3,{\"b\":\"cc\\n\\u00e9ccccccccccccccccccccccccccccc\"}],\"d\":{\"e\":1.5}}");
    bool parsed = false;
    for (size_t limit = 16; !parsed; limit += 16) {
        struct arena small;
        struct json_fault fault = {0};
        arena_init(&small, limit);
        parsed = json_parse(&small, text, NULL, &fault) != NULL;
        assert_true(parsed || fault.exhausted);
        arena_fini(&small);
    }
}

static void members_are_written_in_utf16_order(void **state)
{
    (void)state;
    /* The example of RFC 8785, 3.2.3. */
    writes("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\","
           "\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\",\"\\u00f6\":\"Latin\"}",
           "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\",\"\xc3\xb6\":\"Latin\","
           "\"\xe2\x82\xac\":\"Euro Sign\",\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\","
           "\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
    writes("{\"b\":{\"z\":[],\"a\":{}},\"aa\":1,\"a\":null}", "{\"a\":null,\"aa\":1,\"b\":{\"a\":{},\"z\":[]}}");
}

static void many_members_are_sorted_too(void **state)
{
    (void)state;
    struct buf in = {0}, out = {0};
    buf_char(&in, '{');
    for (int i = 999; i >= 0; i--)
        buf_printf(&in, "\"k%03d\":%d%s", i, i, i == 0 ? "}" : ",");
    json_write(&out, json_parse(&arena, buf_view(&in), NULL, NULL));
    assert_true(str_starts(buf_view(&out), S("{\"k000\":0,\"k001\":1,")));
    assert_true(str_ends(buf_view(&out), S(",\"k998\":998,\"k999\":999}")));
    assert_int_equal(in.n, out.n);
    buf_free(&in);
    buf_free(&out);
}

static void strings_are_escaped_minimally(void **state)
{
    (void)state;
    writes("\"\\u0001\\u001f\\b\\t\\n\\f\\r\\\"\\\\\\/\\u007f\\u00e9\"",
           "\"\\u0001\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\x7f\xc3\xa9\"");
    struct buf b = {0};
    json_write_string(&b, S("a\xff\xc3(\xe2\x82z"));
    is(&b, "\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbdz\"");
    json_write_string(&b, STR_NONE);
    is(&b, "\"\"");
}

static void numbers_have_their_shortest_ecmascript_form(void **state)
{
    (void)state;
    /* RFC 8785, appendix B, and what is known to be hard. */
    static const struct {
        uint64_t bits;
        const char *text;
    } rows[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "0"},
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x7fffffffffffffff, "null"},
        {0x7ff0000000000000, "null"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
        {0x3d30000000000000, "5.684341886080802e-14"},
        {0x0010000000000000, "2.2250738585072014e-308"},
        {0x3fb999999999999a, "0.1"},
        {0x3ff8000000000000, "1.5"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = {0};
        double v;
        memcpy(&v, &rows[i].bits, sizeof v);
        json_write_real(&b, v);
        is(&b, rows[i].text);
    }
    writes("[1.0,10e1,0.5e-7,-0.0]", "[1,100,5e-8,0]");
}

static void every_number_reads_back(void **state)
{
    (void)state;
    uint64_t bits = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 20000; i++) {
        double v;
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        memcpy(&v, &bits, sizeof v);
        if (i < 2046)
            v = ldexp(1, i - 1023);
        if (!isfinite(v))
            continue;
        struct buf b = {0};
        json_write_real(&b, v);
        buf_char(&b, '\0');
        assert_true(strtod(b.p, NULL) == v);
        buf_free(&b);
    }
}

static void whole_numbers_are_exact(void **state)
{
    (void)state;
    writes("[9223372036854775807,-9223372036854775808,9007199254740993,0,-0]",
           "[9223372036854775807,-9223372036854775808,9007199254740993,0,0]");
}

static void whole_numbers_past_int64_are_reals(void **state)
{
    (void)state;
    writes(
        "[9223372036854775808,-9223372036854775809,100000000000000000000,123456789012345678901234567890,\"x\",1e20,1]",
        "[9223372036854776000,-9223372036854776000,100000000000000000000,1.2345678901234568e+29,\"x\","
        "100000000000000000000,1]");
    writes("100000000000000000000", "100000000000000000000");
    writes("{\"100000000000000000000\":100000000000000000000}", "{\"100000000000000000000\":100000000000000000000}");
    assert_int_equal(json_type(parse("9223372036854775808")), JSON_REAL);
    assert_int_equal(json_type(parse("9223372036854775807")), JSON_INT);
    struct json_fault fault = {0};
    assert_null(json_parse(&arena, S("[00000000000000000000000]"), NULL, &fault));
    assert_null(json_parse(&arena, S("[100000000000000000000,,]"), NULL, &fault));
    assert_false(fault.exhausted);
}

static void equality_looks_at_values(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"1", "1.0", true},
        {"1", "1.5", false},
        {"9007199254740992", "9007199254740993", false},
        {"9007199254740993", "9007199254740992.0", true}, /* no double is nearer */
        {"{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1}", true},
        {"{\"a\":1}", "{\"a\":1,\"b\":1}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"[1,2]", "[2,1]", false},
        {"\"1\"", "1", false},
        {"null", "false", false},
        {"true", "false", false},
        {"\"\\u00e9\"", "\"\xc3\xa9\"", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(json_equal(parse(rows[i].a), parse(rows[i].b)), rows[i].same);
    assert_true(json_equal(NULL, NULL));
    assert_false(json_equal(NULL, parse("null")));
}

static void a_merge_patch_follows_rfc_7396(void **state)
{
    (void)state;
    /* Appendix A. */
    static const char *const rows[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = {0};
        struct json *target = parse(rows[i][0]), *patch = parse(rows[i][1]);
        json_write(&b, json_merge(&arena, target, patch));
        is(&b, rows[i][2]);
        assert_true(json_equal(target, parse(rows[i][0])));
        assert_true(json_equal(patch, parse(rows[i][1])));
    }
}

static void a_merged_tree_outlives_what_it_was_made_of(void **state)
{
    (void)state;
    struct arena shorter;
    struct buf b = {0};
    arena_init(&shorter, 0);
    struct json *target = json_parse(&shorter, S("{\"a\":[1,{\"b\":2.5}]}"), NULL, NULL);
    struct json *merged = json_merge(&arena, target, json_parse(&shorter, S("{\"c\":\"d\"}"), NULL, NULL));
    arena_fini(&shorter);
    json_write(&b, merged);
    is(&b, "{\"a\":[1,{\"b\":2.5}],\"c\":\"d\"}");
}

static void a_tree_can_be_built(void **state)
{
    (void)state;
    struct json *o = json_new(&arena, JSON_OBJECT), *list = json_new(&arena, JSON_ARRAY);
    assert_true(json_append(&arena, list, json_new_int(&arena, 1)));
    assert_true(json_append(&arena, list, json_new_real(&arena, 0.5)));
    assert_true(json_append(&arena, list, json_new_bool(true)));
    assert_true(json_append(&arena, list, json_new(&arena, JSON_NULL)));
    assert_true(json_set(&arena, o, S("list"), list));
    assert_true(json_set(&arena, o, S("again"), list));
    assert_true(json_set(&arena, o, S("s"), json_new_str(&arena, S("x"))));
    assert_true(json_set(&arena, o, S("s"), json_new_str(&arena, S("y"))));
    assert_true(json_set(&arena, o, S("gone"), json_new_bool(false)));
    assert_true(json_unset(o, S("gone")));
    assert_false(json_unset(o, S("gone")));
    assert_false(json_set(&arena, o, S("n"), NULL));
    assert_false(json_set(&arena, NULL, S("n"), json_new_bool(true)));
    assert_null(json_new_str(&arena, S("\xff")));
    struct buf b = {0};
    json_write(&b, o);
    is(&b, "{\"again\":[1,0.5,true,null],\"list\":[1,0.5,true,null],\"s\":\"y\"}");
}

static void a_container_made_for_so_many_takes_more(void **state)
{
    (void)state;
    struct json *o = json_new_for(&arena, JSON_OBJECT, 2), *list = json_new_for(&arena, JSON_ARRAY, 0);
    for (int i = 0; i < 40; i++) {
        assert_true(json_append(&arena, list, json_new_int(&arena, i)));
        assert_true(json_add(&arena, o, arena_printf(&arena, "m%d", i), json_at(list, (size_t)i)));
    }
    assert_int_equal(json_count(o), 40);
    assert_int_equal(json_int(json_get(o, "m39"), 0), 39);
    assert_int_equal(json_int(json_at(list, 39), 0), 39);
    assert_false(json_add(&arena, o, STR_NONE, list));
    assert_false(json_add(&arena, list, S("m"), list));
}

static void the_writer_places_commas(void **state)
{
    (void)state;
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("a"));
    json_open(&o, '[');
    json_put_int(&o, 1);
    json_put_z(&o, "x");
    json_put_z(&o, NULL);
    json_open(&o, '{');
    json_close(&o, '}');
    json_open(&o, '[');
    json_close(&o, ']');
    json_put_bool(&o, true);
    json_close(&o, ']');
    json_key(&o, S("b\n"));
    json_put_real(&o, 1e21);
    json_key(&o, S("c"));
    json_put_raw(&o, S("{\"raw\":1}"));
    json_key(&o, S("d"));
    json_put(&o, parse("[{}]"));
    json_key(&o, S("e"));
    json_put_time(&o, 0);
    json_close(&o, '}');
    assert_int_equal(o.depth, 0);
    is(&b, "{\"a\":[1,\"x\",null,{},[],true],\"b\\n\":1e+21,\"c\":{\"raw\":1},\"d\":[{}],"
           "\"e\":\"1970-01-01T00:00:00.000Z\"}");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_tree_is_read_by_name_path_and_index),
        test(what_is_absent_reads_as_empty),
        test(what_is_no_json_is_refused_with_its_place),
        test(depth_and_values_are_bounded),
        test(escapes_become_what_they_say),
        test(strings_outlive_the_text_and_end_with_a_nul),
        test(a_member_that_is_there_twice_is_named),
        test(members_are_found_however_many_there_are),
        test(an_arena_that_is_full_is_no_fault_of_the_text),
        test(members_are_written_in_utf16_order),
        test(many_members_are_sorted_too),
        test(strings_are_escaped_minimally),
        test(numbers_have_their_shortest_ecmascript_form),
        test(every_number_reads_back),
        test(whole_numbers_are_exact),
        test(whole_numbers_past_int64_are_reals),
        test(equality_looks_at_values),
        test(a_merge_patch_follows_rfc_7396),
        test(a_merged_tree_outlives_what_it_was_made_of),
        test(a_tree_can_be_built),
        test(a_container_made_for_so_many_takes_more),
        test(the_writer_places_commas),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}

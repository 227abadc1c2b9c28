#include "lib/json_quick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct json_limits limits = {.depth = 100, .nodes = 100};

static struct json *quick_of(struct arena *a, struct str text)
{
    bool full;
    struct json *j = json_quick(a, text, &limits, &full);
    assert_true(j == NULL || !full);
    return j;
}

static char padded[JSON_QUICK_MAX + 1024];

/* The tree by the other parser: json_parse does not take a text this long the quick way. */
static struct json *parse(struct arena *a, struct str text)
{
    assert_true(text.n < 1024);
    memset(padded, ' ', sizeof padded);
    memcpy(padded, text.p, text.n);
    return json_parse(a, (struct str){padded, sizeof padded}, NULL, NULL);
}

/* What is taken is taken as the other parser does; answers whether it was. */
static bool agrees(struct str text)
{
    struct arena a;
    struct buf quick = {0}, other = {0};
    arena_init(&a, 0);
    struct json *q = quick_of(&a, text);
    if (q != NULL) {
        struct json *p = parse(&a, text);
        if (p == NULL)
            fail_msg("the quick way takes " STR_FMT, STR_ARG(text));
        json_write(&quick, q);
        json_write(&other, p);
        if (json_type(q) != json_type(p) || !json_equal(q, p) || !str_eq(buf_view(&quick), buf_view(&other)))
            fail_msg(STR_FMT " becomes " STR_FMT, STR_ARG(text), STR_ARG(buf_view(&quick)));
    }
    buf_free(&quick);
    buf_free(&other);
    arena_fini(&a);
    return q != NULL;
}

static const char *const plain[] = {
    "{}",
    "[]",
    " { \"a\" : [ 1 , -2, 0 ] }\r\n\t",
    "\"text\"",
    "true",
    "false",
    "null",
    "999999999999999999",
    "-999999999999999999",
    "{\"a\":{\"b\":[{\"c\":null},[],{}]},\"\":\"\",\"d e\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t behind\"}",
    "{\"\xc3\xa9\":\"\xe2\x82\xac \xf0\x9f\x9a\xa2\"}",
    "{\"line\\nbreak\":true,\"x\":false,\"y\":[true,false,null,\"\",\"z\"]}",
};

static const char *const others[] = {
    "",
    " ",
    "{",
    "[1",
    "\"",
    "\"a",
    "\"\\\"",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,}",
    "[1,]",
    "[,1]",
    "01",
    "-",
    "-0",
    "+1",
    "1.5",
    "1e3",
    "1E3",
    "\"\\u0041\"",
    "\"\\x\"",
    "\"\x01\"",
    "\"\xff\"",
    "{\"\xc0\x80\":1}",
    "nul",
    "truex",
    "true x",
    "{a:1}",
    "[1 2]",
    "{\"a\" 1}",
    "1000000000000000000",
    "\"\xed\xa0\x80\"",
    "{\"a\":}",
    "]",
    "}",
    "\"a\\",
    "\"a\\n",
    "--1",
    "[[",
    "{\"a\\",
    "'a'",
};

static void what_is_plain_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (!agrees(str_z(plain[i])))
            fail_msg("%s is not taken", plain[i]);
}

static void anything_else_is_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (agrees(str_z(others[i])))
            fail_msg("%s is taken", others[i]);
    agrees((struct str){"[1]\0", 4});
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[200];
    struct arena a;
    arena_init(&a, 0);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_non_null(quick_of(&a, (struct str){text + 1, 128}));
    assert_null(quick_of(&a, (struct str){text, 130}));
    arena_fini(&a);
}

static void the_limits_are_exact(void **state)
{
    (void)state;
    struct str text = str_z("[{\"a\":[1,{}],\"b\":2},[],\"\"]"); /* 8 values, 4 deep */
    for (unsigned depth = 1; depth < 6; depth++)
        for (unsigned nodes = 1; nodes < 10; nodes++) {
            struct arena a;
            const struct json_limits at = {depth, nodes};
            bool full;
            arena_init(&a, 0);
            assert_int_equal(json_quick(&a, text, &at, &full) != NULL, depth >= 4 && nodes >= 8);
            memset(padded, ' ', sizeof padded);
            memcpy(padded, text.p, text.n);
            assert_int_equal(json_parse(&a, (struct str){padded, sizeof padded}, &at, NULL) != NULL,
                             depth >= 4 && nodes >= 8);
            arena_fini(&a);
        }
}

static void every_change_of_a_byte_is_read_alike(void **state)
{
    (void)state;
    static const char bytes[] = "\"\\{}[]:, 0-1.eEtn\x01\x7f\xc3\xff";
    char text[128];
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        size_t n = strlen(plain[i]);
        for (size_t at = 0; at < n; at++) {
            memcpy(text, plain[i], n);
            for (size_t b = 0; b < sizeof bytes; b++) { /* its NUL, too */
                text[at] = bytes[b];
                agrees((struct str){text, n});
            }
            agrees((struct str){text, at});
        }
    }
}

static void an_arena_that_is_full_gives_nothing(void **state)
{
    (void)state;
    struct str text = str_z("{\"a\":{\"b\":[{\"c\":null},\"d\\n\",5]}}");
    for (size_t limit = 16;; limit += 16) {
        struct arena a;
        arena_init(&a, limit);
        bool full, taken = json_quick(&a, text, &limits, &full) != NULL;
        arena_fini(&a);
        assert_int_equal(full, !taken);
        if (taken)
            break;
        assert_true(limit < 65536);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_plain_is_taken),
        cmocka_unit_test(anything_else_is_left),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(the_limits_are_exact),
        cmocka_unit_test(every_change_of_a_byte_is_read_alike),
        cmocka_unit_test(an_arena_that_is_full_gives_nothing),
    };
    return cmocka_run_group_tests_name("json_quick", tests, NULL, NULL);
}

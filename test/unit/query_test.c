#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/http.h"
#include "proto/query.h"

static struct arena arena;

static struct query parsed(const char *raw)
{
    struct query q;
    assert_int_equal(query_parse(&arena, str_z(raw), &q), QUERY_OK);
    return q;
}

static enum query_fault fault(struct str raw)
{
    struct query q = {NULL, 77};
    enum query_fault f = query_parse(&arena, raw, &q);
    if (f != QUERY_OK) {
        assert_int_equal(q.n, 77);
        assert_non_null(query_why(f));
    }
    return f;
}

static void pairs_are_decoded(void **state)
{
    (void)state;
    struct query q = parsed("a=1&b=x+y%20z&%63=%E2%82%AC&d");
    assert_int_equal(q.n, 4);
    assert_true(str_eqz(query_get(&q, S("a")), "1"));
    assert_true(str_eqz(query_get(&q, S("b")), "x y z"));
    assert_true(str_eqz(query_get(&q, S("c")), "\xe2\x82\xac"));
    assert_true(q.params[3].bare);
    assert_int_equal(query_get(&q, S("d")).n, 0);
    assert_non_null(query_get(&q, S("d")).p);
    assert_null(query_get(&q, S("e")).p);
    assert_null(query_get(NULL, S("e")).p);
}

static void only_the_first_equals_sign_divides(void **state)
{
    (void)state;
    struct query q = parsed("filter={\"a\"=1}&=x");
    assert_true(str_eqz(query_get(&q, S("filter")), "{\"a\"=1}"));
    assert_true(str_eqz(query_get(&q, S("")), "x"));
}

static void empty_pairs_are_nothing(void **state)
{
    (void)state;
    assert_int_equal(parsed("").n, 0);
    assert_int_equal(parsed("&&").n, 0);
    assert_int_equal(parsed("&a=1&&b=2&").n, 2);
    struct query q;
    assert_int_equal(query_parse(&arena, STR_NONE, &q), QUERY_OK);
    assert_int_equal(q.n, 0);
}

static void repeated_names_keep_their_order(void **state)
{
    (void)state;
    struct query q = parsed("a=1&b=2&a=3");
    size_t i = 0;
    struct str v;
    assert_int_equal(query_count(&q, S("a")), 2);
    assert_true(query_each(&q, S("a"), &i, &v) && str_eqz(v, "1"));
    assert_true(query_each(&q, S("a"), &i, &v) && str_eqz(v, "3"));
    assert_false(query_each(&q, S("a"), &i, &v));
}

static void bad_escapes_and_bad_text_are_faults(void **state)
{
    (void)state;
    assert_int_equal(fault(S("a=%")), QUERY_ESCAPE);
    assert_int_equal(fault(S("a=%4")), QUERY_ESCAPE);
    assert_int_equal(fault(S("a=%4&b=1")), QUERY_ESCAPE);
    assert_int_equal(fault(S("a=%zz")), QUERY_ESCAPE);
    assert_int_equal(fault(S("a=%u0041")), QUERY_ESCAPE);
    assert_int_equal(fault(S("%=1")), QUERY_ESCAPE);
    assert_int_equal(fault(S("a=%00")), QUERY_TEXT);
    assert_int_equal(fault(S("a%00=1")), QUERY_TEXT);
    assert_int_equal(fault(S("a=%ff")), QUERY_TEXT);
    assert_int_equal(fault(S("a=%c0%af")), QUERY_TEXT);
    assert_int_equal(fault(S("a=%ed%a0%80")), QUERY_TEXT);
}

static void the_number_of_pairs_is_bounded(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < QUERY_PARAMS_MAX; i++)
        buf_z(&b, "&a=1");
    assert_int_equal(fault(buf_view(&b)), QUERY_OK);
    buf_z(&b, "&a=1");
    assert_int_equal(fault(buf_view(&b)), QUERY_COUNT);
    buf_free(&b);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    struct arena small;
    struct query q;
    for (size_t limit = 1; limit < 200; limit += 8) {
        arena_init(&small, limit);
        enum query_fault f = query_parse(&small, S("name=value&other=thing"), &q);
        assert_true(f == QUERY_OK || f == QUERY_MEMORY);
        arena_fini(&small);
    }
}

static bool path(struct str raw, const char *want)
{
    struct buf b = {0};
    bool fine = http_path(&b, raw);
    if (fine && want != NULL)
        assert_true(str_eqz(buf_view(&b), want));
    buf_free(&b);
    return fine;
}

static void a_path_keeps_encoded_slashes_apart(void **state)
{
    (void)state;
    assert_true(path(S("/a/b"), "/a/b"));
    assert_true(path(S("/%61/b+c"), "/a/b+c"));
    assert_true(path(S("/a%2fb/c%252F"), "/a%2Fb/c%252F"));
    assert_true(path(S("/%E2%82%AC"), "/\xe2\x82\xac"));
    assert_true(path(S("/%2e%2e/"), "/../"));
    struct buf b = {0};
    assert_true(http_segment(&b, S("a%2Fb%25c+d")));
    assert_true(str_eqz(buf_view(&b), "a/b%c+d"));
    buf_free(&b);
}

static void a_path_is_decoded_strictly(void **state)
{
    (void)state;
    assert_false(path(S("/%"), NULL));
    assert_false(path(S("/%1"), NULL));
    assert_false(path(S("/%g0"), NULL));
    assert_false(path(S("/%00"), NULL));
    assert_false(path(S("/%0a"), NULL));
    assert_false(path(S("/%7f"), NULL));
    assert_false(path(S("/%ff"), NULL));
    assert_false(path(S("/%c0%ae"), NULL));
}

static void what_is_encoded_can_be_decoded(void **state)
{
    (void)state;
    char all[255];
    struct buf coded = {0}, back = {0};
    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    query_encode(&coded, (struct str){all, sizeof(all)});
    assert_int_equal(str_index(buf_view(&coded), ' '), -1);
    assert_true(query_decode(&back, buf_view(&coded), true));
    assert_true(str_eq(buf_view(&back), (struct str){all, sizeof(all)}));
    buf_free(&coded);
    buf_free(&back);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_decoded),
        cmocka_unit_test(only_the_first_equals_sign_divides),
        cmocka_unit_test(empty_pairs_are_nothing),
        cmocka_unit_test(repeated_names_keep_their_order),
        cmocka_unit_test(bad_escapes_and_bad_text_are_faults),
        cmocka_unit_test(the_number_of_pairs_is_bounded),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(a_path_keeps_encoded_slashes_apart),
        cmocka_unit_test(a_path_is_decoded_strictly),
        cmocka_unit_test(what_is_encoded_can_be_decoded),
    };
    return cmocka_run_group_tests_name("query", tests, set_up, tear_down);
}

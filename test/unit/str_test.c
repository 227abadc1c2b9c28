#include "lib/str.h"

#include "lib/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void is(struct str got, const char *want)
{
    if (want == NULL) {
        assert_null(got.p);
        return;
    }
    assert_int_equal(got.n, strlen(want));
    assert_memory_equal(got.p, want, got.n);
}

static void views_compare_by_bytes(void **state)
{
    (void)state;
    assert_true(str_eq(S("ab"), S("ab")));
    assert_false(str_eq(S("ab"), S("abc")));
    assert_true(str_eq(STR_NONE, S("")));
    assert_true(str_eqz(S("x"), "x"));
    assert_true(str_ieq(S("Content-TYPE"), S("content-type")));
    assert_false(str_ieq(S("\xc3\x84"), S("\xc3\xa4")));
    assert_true(str_cmp(S("a"), S("b")) < 0);
    assert_true(str_cmp(S("a"), S("ab")) < 0);
    assert_true(str_cmp(S("\xff"), S("a")) > 0);
    assert_int_equal(str_cmp(STR_NONE, S("")), 0);
    assert_true(str_starts(S("abc"), S("ab")));
    assert_true(str_starts(S("abc"), STR_NONE));
    assert_false(str_starts(S("ab"), S("abc")));
    assert_true(str_ends(S("abc"), S("bc")));
    assert_false(str_ends(S("c"), S("bc")));
}

static void views_are_searched_and_sliced(void **state)
{
    (void)state;
    assert_int_equal(str_index(S("a.b.c"), '.'), 1);
    assert_int_equal(str_index(STR_NONE, 'x'), -1);
    assert_int_equal(str_find(S("hello"), S("lo")), 3);
    assert_int_equal(str_find(S("hello"), S("lol")), -1);
    assert_int_equal(str_find(S("hello"), S("")), 0);
    assert_int_equal(str_find(STR_NONE, S("a")), -1);
    is(str_slice(S("hello"), 1, 3), "el");
    is(str_slice(S("hello"), 3, 99), "lo");
    is(str_slice(S("hello"), 9, 2), "");
    is(str_trim(S(" \t a b\t ")), "a b");
    is(str_trim(S("  ")), "");
}

static void cutting_gives_every_part_once(void **state)
{
    (void)state;
    struct str rest = S("a,,b,");
    is(str_cut(&rest, ','), "a");
    is(str_cut(&rest, ','), "");
    is(str_cut(&rest, ','), "b");
    assert_non_null(rest.p);
    is(str_cut(&rest, ','), "");
    assert_null(rest.p);
    is(str_cut(&rest, ','), NULL);
}

static void numbers_are_whole_and_in_range(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok_signed, ok_unsigned;
    } rows[] = {
        {"0", true, true},
        {"007", true, true},
        {"-1", true, false},
        {"9223372036854775807", true, true},
        {"9223372036854775808", false, true},
        {"-9223372036854775808", true, false},
        {"-9223372036854775809", false, false},
        {"18446744073709551615", false, true},
        {"18446744073709551616", false, false},
        {"99999999999999999999", false, false},
        {"", false, false},
        {"-", false, false},
        {"+1", false, false},
        {" 1", false, false},
        {"1 ", false, false},
        {"1x", false, false},
        {"--1", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t s = 77;
        uint64_t u = 77;
        struct buf b = {0};
        assert_int_equal(str_i64(str_z(rows[i].text), &s), rows[i].ok_signed);
        assert_int_equal(str_u64(str_z(rows[i].text), &u), rows[i].ok_unsigned);
        if (rows[i].ok_signed)
            buf_i64(&b, s);
        else if (rows[i].ok_unsigned)
            buf_u64(&b, u);
        else
            assert_true(s == 77 && u == 77);
        if (b.n > 0 && rows[i].text[1] != '0')
            is(buf_view(&b), rows[i].text);
        buf_free(&b);
    }
}

static void only_well_formed_utf8_is_utf8(void **state)
{
    (void)state;
    static const struct {
        struct str text;
        size_t good;
    } rows[] = {
        {S(""), 0},
        {S("plain ascii text"), 16},
        {S("12345678\xc3\xa9"), 10},
        {S("\xf0\x9f\x98\x80"), 4},
        {S("\xf4\x8f\xbf\xbf"), 4},
        {S("\xed\x9f\xbf\xee\x80\x80"), 6},
        {S("a\0b"), 3},
        {S("\x80"), 0},             /* stray continuation */
        {S("\xc0\xaf"), 0},         /* overlong */
        {S("\xe0\x9f\xbf"), 0},     /* overlong */
        {S("\xf0\x8f\xbf\xbf"), 0}, /* overlong */
        {S("\xed\xa0\x80"), 0},     /* surrogate */
        {S("\xf4\x90\x80\x80"), 0}, /* past U+10FFFF */
        {S("\xf5\x80\x80\x80"), 0},
        {S("ok\xc3"), 2}, /* cut off */
        {S("ok\xe2\x82"), 2},
        {S("12345678\xff"
           "12345678"),
         8},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(str_utf8_valid(rows[i].text), rows[i].good);
        assert_int_equal(str_utf8(rows[i].text), rows[i].good == rows[i].text.n);
    }
    assert_int_equal(str_utf8_length(S("a\xc3\xa9\xf0\x9f\x98\x80")), 3);
}

static void hashes_spread_and_repeat(void **state)
{
    (void)state;
    char text[32];
    unsigned seen[16] = {0};
    for (int i = 0; i < 1600; i++) {
        struct str s = {text, (size_t)snprintf(text, sizeof text, "key-%d", i)};
        assert_true(str_hash(s) == str_hash(s));
        seen[str_hash(s) % 16]++;
    }
    for (size_t i = 0; i < 16; i++)
        assert_true(seen[i] > 40 && seen[i] < 200);
    assert_true(str_hash(S("a\0")) != str_hash(S("a")));
}

static void a_buffer_grows_and_is_viewed(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_z(&b, "0123456789");
    buf_printf(&b, "%05d|%s", 42, "x");
    assert_int_equal(b.n, 10007);
    is(str_slice(buf_view(&b), 9995, b.n), "5678900042|x");
    buf_drop(&b, 10000);
    is(buf_view(&b), "00042|x");
    buf_drop(&b, 99);
    assert_int_equal(b.n, 0);
    buf_free(&b);
    assert_null(b.p);
    buf_free(&b);
}

static void a_printed_text_of_any_length_fits(void **state)
{
    (void)state;
    char long_text[300];
    memset(long_text, 'y', sizeof long_text);
    for (int n = 0; n < 300; n++) {
        struct buf b = {0};
        buf_printf(&b, "%.*s", n, long_text);
        buf_printf(&b, "%.*s", n, long_text);
        assert_int_equal(b.n, 2 * n);
        buf_free(&b);
    }
}

static void past_its_maximum_a_buffer_fails_once_and_for_all(void **state)
{
    (void)state;
    struct buf b = {.max = 10};
    buf_z(&b, "12345678");
    buf_z(&b, "90x");
    assert_true(b.failed);
    buf_char(&b, '9');
    is(buf_view(&b), "12345678");
    assert_false(buf_reserve(&b, 0));
    buf_clear(&b);
    buf_z(&b, "1234567890");
    assert_false(b.failed);
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_free(&b);
}

static void a_buffer_in_an_arena_fails_with_the_arena(void **state)
{
    (void)state;
    struct arena a;
    struct buf b;
    arena_init(&a, 1000);
    buf_init_arena(&b, &a, 10);
    for (int i = 0; i < 1000; i++)
        buf_char(&b, 'x');
    assert_true(b.failed);
    assert_true(b.n > 0 && b.n < 1000);
    buf_free(&b);
    arena_fini(&a);
}

static void bytes_become_text_and_back(void **state)
{
    (void)state;
    static const struct {
        struct str raw;
        const char *hex, *base64, *url;
    } rows[] = {
        {S(""), "", "", ""},
        {S("f"), "66", "Zg==", "Zg"},
        {S("fo"), "666f", "Zm8=", "Zm8"},
        {S("foo"), "666f6f", "Zm9v", "Zm9v"},
        {S("foob"), "666f6f62", "Zm9vYg==", "Zm9vYg"},
        {S("fooba"), "666f6f6261", "Zm9vYmE=", "Zm9vYmE"},
        {S("foobar"), "666f6f626172", "Zm9vYmFy", "Zm9vYmFy"},
        {S("\xfb\xff\xfe\x00"), "fbfffe00", "+//+AA==", "-__-AA"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = {0};
        buf_hex(&b, rows[i].raw.p, rows[i].raw.n);
        assert_true(str_eqz(buf_view(&b), rows[i].hex));
        buf_clear(&b);
        buf_base64(&b, rows[i].raw.p, rows[i].raw.n);
        assert_true(str_eqz(buf_view(&b), rows[i].base64));
        buf_clear(&b);
        buf_base64url(&b, rows[i].raw.p, rows[i].raw.n);
        assert_true(str_eqz(buf_view(&b), rows[i].url));
        buf_clear(&b);
        assert_true(buf_unbase64url(&b, str_z(rows[i].url)));
        assert_true(str_eq(buf_view(&b), rows[i].raw));
        buf_free(&b);
    }
}

static void text_that_is_no_base64url_is_refused(void **state)
{
    (void)state;
    static const struct str bad[] = {S("Z"),   S("Zg=="), S("Zm9vY"), S("Zh"),    S("Zm9"),
                                     S("Z g"), S("+/+/"), S("Zm\0v"), S("Zm9v\n")};
    struct buf b = {0};
    buf_z(&b, "kept");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(buf_unbase64url(&b, bad[i]));
        is(buf_view(&b), "kept");
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_compare_by_bytes),
        cmocka_unit_test(views_are_searched_and_sliced),
        cmocka_unit_test(cutting_gives_every_part_once),
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(only_well_formed_utf8_is_utf8),
        cmocka_unit_test(hashes_spread_and_repeat),
        cmocka_unit_test(a_buffer_grows_and_is_viewed),
        cmocka_unit_test(a_printed_text_of_any_length_fits),
        cmocka_unit_test(past_its_maximum_a_buffer_fails_once_and_for_all),
        cmocka_unit_test(a_buffer_in_an_arena_fails_with_the_arena),
        cmocka_unit_test(bytes_become_text_and_back),
        cmocka_unit_test(text_that_is_no_base64url_is_refused),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}

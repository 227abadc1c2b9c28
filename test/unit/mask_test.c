#include "server/agent/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct buf masked(struct mask *m, struct str text, size_t split)
{
    struct mask_stream s;
    struct buf out = {0};
    assert_true(mask_stream_init(&s, m));
    if (split == 0) {
        for (size_t i = 0; i < text.n; i++)
            mask_feed(&s, str_slice(text, i, i + 1), &out);
    } else {
        mask_feed(&s, str_slice(text, 0, split), &out);
        mask_feed(&s, str_slice(text, split, text.n), &out);
    }
    mask_end(&s, &out);
    mask_stream_fini(&s);
    return out;
}

/* Whole, byte by byte and split at every position. */
static void becomes(struct mask *m, const char *text, const char *want)
{
    struct str t = str_z(text);
    for (size_t split = 0; split <= t.n; split++) {
        struct buf out = masked(m, t, split);
        buf_char(&out, '\0');
        assert_string_equal(out.p, want);
        buf_free(&out);
    }
}

static struct mask *mask_of(const char *secret)
{
    struct mask *m = mask_new(&(struct str){secret, strlen(secret)}, 1);
    assert_non_null(m);
    return m;
}

static void a_secret_is_found_wherever_the_stream_is_cut(void **state)
{
    (void)state;
    struct mask *m = mask_of("hunter22");
    becomes(m, "", "");
    becomes(m, "nothing here", "nothing here");
    becomes(m, "hunter22", "***");
    becomes(m, "a hunter22 b\nhunter22\n", "a *** b\n***\n");
    becomes(m, "hunterhunter22hunter2", "hunter***hunter2");
    becomes(m, "hunter2", "hunter2");
    becomes(m, "hunter22hunter22", "***");
    mask_free(m);
}

static void overlapping_and_nested_secrets_are_covered_together(void **state)
{
    (void)state;
    const struct str secrets[] = {S("abcdef"), S("defghi"), S("bcde"), S("aaaa")};
    struct mask *m = mask_new(secrets, ARRAY_LEN(secrets));
    assert_non_null(m);
    becomes(m, "xabcdefghiy", "x***y");
    becomes(m, "xbcdey", "x***y");
    becomes(m, "xabcdey", "xa***y");
    becomes(m, "aaa", "aaa");
    becomes(m, "aaaaaaab", "***b");
    mask_free(m);
}

static void base64_is_found_at_each_alignment(void **state)
{
    (void)state;
    const char *secret = "s3cr3t/pass?word>>";
    struct mask *m = mask_of(secret);
    for (int lead = 0; lead < 6; lead++)
        for (int behind = 0; behind < 4; behind++)
            for (int url = 0; url < 2; url++) {
                struct buf plain = {0}, text = {0};
                buf_add(&plain, "~?user", (size_t)lead);
                buf_z(&plain, secret);
                buf_add(&plain, "\xff\xfe!!", (size_t)behind);
                if (url)
                    buf_base64url(&text, plain.p, plain.n);
                else
                    buf_base64(&text, plain.p, plain.n);
                struct buf out = masked(m, buf_view(&text), text.n / 2);
                assert_true(str_find(buf_view(&out), S("***")) >= 0);
                /* what is left is what the neighbours decide: their own characters and one mixed one at each end */
                assert_true(out.n <= 3 + (size_t)(lead * 4 + 5) / 3 + 1 + (size_t)(behind * 4 + 5) / 3 + 4);
                buf_free(&plain);
                buf_free(&text);
                buf_free(&out);
            }
    mask_free(m);
}

static void percent_and_json_escapes_are_found(void **state)
{
    (void)state;
    struct mask *m = mask_of("p\"a ss/\\w&r(d)");
    becomes(m, "x=p%22a%20ss%2F%5Cw%26r%28d%29;", "x=***;");
    becomes(m, "x=p%22a%20ss%2f%5cw%26r%28d%29;", "x=***;");
    becomes(m, "x=p%22a%20ss%2F%5Cw%26r(d);", "x=***;");
    becomes(m, "x=p%22a+ss%2F%5Cw%26r%28d%29;", "x=***;");
    becomes(m, "{\"x\":\"p\\\"a ss/\\\\w&r(d)\"}", "{\"x\":\"***\"}");
    becomes(m, "{\"x\":\"p\\\"a ss\\/\\\\w&r(d)\"}", "{\"x\":\"***\"}");
    mask_free(m);
}

static void a_secret_of_several_lines_is_masked_line_by_line(void **state)
{
    (void)state;
    struct mask *m = mask_of("-----BEGIN\r\nMIIEow\nab\n-----END\n");
    becomes(m, "key:\n-----BEGIN\nMIIEow\nab\n-----END\nok\n", "key:\n***\n***\nab\n***\nok\n");
    mask_free(m);
}

static void nothing_is_held_back_behind_a_line_feed(void **state)
{
    (void)state;
    struct mask *m = mask_of("hunter22");
    struct mask_stream s;
    struct buf out = {0};
    assert_true(mask_stream_init(&s, m));
    mask_feed(&s, S("the hunt"), &out);
    assert_int_equal(out.n, 4);
    mask_feed(&s, S("er\n"), &out);
    assert_int_equal(out.n, 11);
    mask_feed(&s, S("hunter22\n"), &out);
    assert_int_equal(out.n, 15);
    mask_stream_fini(&s);
    buf_free(&out);
    mask_free(m);
}

static void short_secrets_are_counted_and_not_masked(void **state)
{
    (void)state;
    const struct str secrets[] = {S("abc"), S(""), S("abcd")};
    struct mask *m = mask_new(secrets, ARRAY_LEN(secrets));
    assert_non_null(m);
    assert_int_equal(mask_skipped(m), 1);
    becomes(m, "abc abcd", "abc ***");
    mask_free(m);
    m = mask_new(NULL, 0);
    becomes(m, "abc abcd", "abc abcd");
    mask_free(m);
}

static void what_is_too_large_makes_no_mask(void **state)
{
    (void)state;
    char *large = calloc(1, MASK_SECRET + 1);
    memset(large, 'x', MASK_SECRET + 1);
    assert_null(mask_new(&(struct str){large, MASK_SECRET + 1}, 1));
    struct str many[MASK_SECRETS + 1] = {{NULL, 0}};
    assert_null(mask_new(many, ARRAY_LEN(many)));
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_found_wherever_the_stream_is_cut),
        cmocka_unit_test(overlapping_and_nested_secrets_are_covered_together),
        cmocka_unit_test(base64_is_found_at_each_alignment),
        cmocka_unit_test(percent_and_json_escapes_are_found),
        cmocka_unit_test(a_secret_of_several_lines_is_masked_line_by_line),
        cmocka_unit_test(nothing_is_held_back_behind_a_line_feed),
        cmocka_unit_test(short_secrets_are_counted_and_not_masked),
        cmocka_unit_test(what_is_too_large_makes_no_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

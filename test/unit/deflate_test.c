/* DEFLATE of messages: the examples of RFC 7692 §7.2.3, round trips of all sizes, bombs, and what is no such data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/deflate.h"

#include <stdlib.h>
#include <string.h>

static struct deflate *d;

static int setup(void **state)
{
    (void)state;
    d = deflate_new();
    return d == NULL;
}

static int teardown(void **state)
{
    (void)state;
    deflate_free(d);
    return 0;
}

/* Bytes at the end of their allocation: a read past it is seen by the sanitizer. */
static enum deflate_result unpack(struct str packed, size_t max, struct buf *out)
{
    char *copy = malloc(packed.n > 0 ? packed.n : 1);
    memcpy(copy, packed.p, packed.n);
    enum deflate_result r = deflate_unpack(d, (struct str){copy, packed.n}, max, out);
    free(copy);
    return r;
}

static void expect(struct str packed, struct str want)
{
    struct buf out = {0};
    assert_int_equal(unpack(packed, want.n, &out), DEFLATE_OK);
    assert_true(str_eq(buf_view(&out), want));
    buf_free(&out);
}

static void examples_of_the_rfc(void **state)
{
    (void)state;
    expect(S("\xf2\x48\xcd\xc9\xc9\x07\x00"), S("Hello"));                         /* §7.2.3.1 */
    expect(S("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), S("Hello"));         /* §7.2.3.3: not compressed */
    expect(S("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), S("Hello"));                     /* §7.2.3.4: a final block */
    expect(S("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), S("Hello")); /* §7.2.3.5: two blocks */
    expect(S("\x00"), S(""));                                                      /* §7.2.3.6: empty */
    struct buf out = {0};
    assert_true(deflate_pack(d, S("Hello"), &out));
    assert_true(str_eq(buf_view(&out), S("\xf2\x48\xcd\xc9\xc9\x07\x00")));
    buf_free(&out);
}

static void a_message_is_itself_again_whatever_was_before_it(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 5, 100, 4095, 16383, 16384, 16385, 65535, 65536, 300000};
    for (unsigned kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            size_t n = sizes[i];
            struct buf packed = {0}, out = {0};
            char *text = malloc(n + 1);
            uint32_t seed = 7;
            for (size_t k = 0; k < n; k++) {
                seed = seed * 1664525 + 1013904223;
                text[k] = kind == 0 ? 'x' : kind == 1 ? "abcd"[seed >> 30] : (char)(seed >> 24);
            }
            buf_z(&out, "before ");
            assert_true(deflate_pack(d, (struct str){text, n}, &packed));
            assert_int_equal(unpack(buf_view(&packed), n + out.n, &out), DEFLATE_OK);
            assert_true(str_eq(str_slice(buf_view(&out), 7, out.n), (struct str){text, n}));
            if (kind < 2 && n >= 100)
                assert_true(packed.n < n * 2 / 3);
            free(text);
            buf_free(&packed);
            buf_free(&out);
        }
}

static void more_than_the_limit_is_not_made(void **state)
{
    (void)state;
    enum { BOMB = 8 << 20, LIMIT = 1000 };
    char *zeros = calloc(1, BOMB);
    struct buf packed = {0}, out = {0};
    assert_true(deflate_pack(d, (struct str){zeros, BOMB}, &packed));
    assert_true(packed.n < BOMB / 200);
    assert_int_equal(unpack(buf_view(&packed), LIMIT, &out), DEFLATE_LONG);
    assert_true(out.n <= LIMIT && out.cap <= 2 * LIMIT);
    buf_clear(&out);
    assert_int_equal(unpack(buf_view(&packed), BOMB - 1, &out), DEFLATE_LONG);
    buf_clear(&out);
    assert_int_equal(unpack(buf_view(&packed), BOMB, &out), DEFLATE_OK);
    free(zeros);
    buf_free(&packed);
    buf_free(&out);
    expect(S("\xf2\x48\xcd\xc9\xc9\x07\x00"), S("Hello")); /* what failed leaves no trace */
}

static void what_is_cut_off_or_no_such_data_is_bad(void **state)
{
    (void)state;
    static const struct str bad[] = {
        S(""),                             /* not even a block */
        S("\xf2"),                         /* the tail would be the rest of it */
        S("\xf2\x48\xcd\xc9"),             /* the same */
        S("\xf2\x48\xcd\xc9\xc9\x07"),     /* the last block is not begun */
        S("\x06\x00"),                     /* a kind of block that there is not */
        S("\x00\x05\x00\xfa\xfe\x48\x65"), /* a length whose complement is another */
        S("\x00\x06\x00\xf9\xff\x48"),     /* a stored block that not even the tail fills */
        S("\x4a\x02\x05\x00\x00"),         /* refers to what was before the message */
        S("\x04\xc0\x81\x08\x00\x00"),     /* a code that is not complete */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out = {0};
        enum deflate_result r = unpack(bad[i], 1000, &out);
        if (r != DEFLATE_BAD)
            fail_msg("%zu: %d", i, r);
        buf_free(&out);
    }
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct buf out = {.max = 3};
    assert_int_equal(unpack(S("\xf2\x48\xcd\xc9\xc9\x07\x00"), 5, &out), DEFLATE_MEMORY);
    buf_free(&out);
    assert_false(deflate_pack(d, S("Hello"), &out));
    assert_true(out.failed);
    buf_free(&out);
    deflate_free(NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(examples_of_the_rfc),
        T(a_message_is_itself_again_whatever_was_before_it),
        T(more_than_the_limit_is_not_made),
        T(what_is_cut_off_or_no_such_data_is_bad),
        T(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

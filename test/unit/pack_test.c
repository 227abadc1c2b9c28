#include "lib/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void is(struct buf *b, const char *hex)
{
    struct buf text = {0};
    assert_false(b->failed);
    buf_hex(&text, b->p, b->n);
    buf_char(&text, '\0');
    assert_string_equal(text.p, hex);
    buf_free(&text);
    buf_clear(b);
}

static void integers_take_their_shortest_form(void **state)
{
    (void)state;
    static const struct {
        int64_t v;
        const char *hex;
    } rows[] = {
        {0, "00"},
        {127, "7f"},
        {128, "cc80"},
        {255, "ccff"},
        {256, "cd0100"},
        {65535, "cdffff"},
        {65536, "ce00010000"},
        {4294967295, "ceffffffff"},
        {4294967296, "cf0000000100000000"},
        {INT64_MAX, "cf7fffffffffffffff"},
        {-1, "ff"},
        {-32, "e0"},
        {-33, "d0df"},
        {-128, "d080"},
        {-129, "d1ff7f"},
        {-32768, "d18000"},
        {-32769, "d2ffff7fff"},
        {INT32_MIN, "d280000000"},
        {(int64_t)INT32_MIN - 1, "d3ffffffff7fffffff"},
        {INT64_MIN, "d38000000000000000"},
    };
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        pack_int(&b, rows[i].v);
        is(&b, rows[i].hex);
    }
    buf_free(&b);
}

static void plain_values_are_one_head(void **state)
{
    (void)state;
    struct buf b = {0};
    pack_nil(&b), pack_bool(&b, true), pack_bool(&b, false), pack_real(&b, 1.5);
    is(&b, "c0c3c2cb3ff8000000000000");
    pack_z(&b, "abc"), pack_z(&b, NULL);
    is(&b, "a3616263a0");
    buf_free(&b);
}

static void strings_say_their_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {31, 32, 255, 256, 65535, 65536};
    static const char *const heads[] = {"bf", "d920", "d9ff", "da0100", "daffff", "db00010000"};
    char *text = calloc(1, 65536);
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        pack_str(&b, (struct str){text, lengths[i]});
        b.n -= lengths[i];
        is(&b, heads[i]);
    }
    buf_free(&b);
    free(text);
}

static void containers_say_their_size(void **state)
{
    (void)state;
    struct buf b = {0};
    pack_array(&b, 15), pack_array(&b, 16), pack_array(&b, 65536);
    is(&b, "9fdc0010dd00010000");
    pack_map(&b, 15), pack_map(&b, 16), pack_map(&b, 65536);
    is(&b, "8fde0010df00010000");
    buf_free(&b);
}

static void an_open_container_gets_its_size_at_the_end(void **state)
{
    (void)state;
    struct buf b = {0};
    struct pack_open map = pack_open_map(&b);
    pack_z(&b, "k");
    struct pack_open list = pack_open_array(&b);
    for (; list.n < 3; list.n++)
        pack_int(&b, list.n);
    pack_close(&b, list);
    map.n++;
    pack_close(&b, map);
    is(&b, "df00000001a16bdd00000003000102");
    buf_free(&b);
    struct buf small = {.max = 3};
    list = pack_open_array(&small);
    pack_close(&small, list);
    assert_true(small.failed);
    buf_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_take_their_shortest_form),
        cmocka_unit_test(plain_values_are_one_head),
        cmocka_unit_test(strings_say_their_length),
        cmocka_unit_test(containers_say_their_size),
        cmocka_unit_test(an_open_container_gets_its_size_at_the_end),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}

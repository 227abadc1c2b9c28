#include "server/limit.h"

#include "server/principal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct settings settings;

static int setup(void **state)
{
    settings.address_rate = (struct tier){600, 5}; /* ten a second, five at once */
    *state = limit_new(&settings);
    assert_non_null(*state);
    return 0;
}

static int teardown(void **state)
{
    limit_free(*state);
    return 0;
}

static void a_burst_is_let_through_and_no_more(void **state)
{
    struct limit *l = *state;
    struct rate rate;
    for (int i = 4; i >= 0; i--) {
        assert_true(limit_address(l, S("192.0.2.1"), 1000, &rate));
        assert_int_equal(rate.left, i);
        assert_int_equal(rate.limit, 600);
    }
    assert_false(limit_address(l, S("192.0.2.1"), 1000, &rate));
    assert_int_equal(rate.left, 0);
    assert_int_equal(rate.retry_in_s, 1);
    assert_true(limit_address(l, S("192.0.2.2"), 1000, &rate));
}

static void the_bucket_fills_again_at_its_rate(void **state)
{
    struct limit *l = *state;
    struct rate rate;
    for (int i = 0; i < 5; i++)
        assert_true(limit_address(l, S("a"), 1000, &rate));
    assert_false(limit_address(l, S("a"), 1099, &rate));
    assert_true(limit_address(l, S("a"), 1100, &rate));
    assert_false(limit_address(l, S("a"), 1101, &rate));
    for (int i = 0; i < 5; i++)
        assert_true(limit_address(l, S("a"), 9000, &rate));
    assert_false(limit_address(l, S("a"), 9000, &rate));
}

static void many_addresses_take_bounded_memory_and_never_lock_anybody_out(void **state)
{
    struct limit *l = *state;
    struct rate rate;
    char address[32];
    for (int i = 0; i < 100000; i++) {
        int n = snprintf(address, sizeof address, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        assert_true(limit_address(l, (struct str){address, (size_t)n}, 1000, &rate));
    }
}

static void an_ipv6_network_is_one_address(void **state)
{
    struct limit *l = *state;
    struct rate rate;
    char address[48];
    for (int i = 0; i < 6; i++) {
        int n = snprintf(address, sizeof address, "2001:db8:1:2::%x", i);
        assert_int_equal(limit_address(l, (struct str){address, (size_t)n}, 1000, &rate), i < 5);
    }
    assert_true(limit_address(l, S("2001:db8:1:3::1"), 1000, &rate));
}

static void headers_show_both_limiters(void **state)
{
    (void)state;
    struct buf b = {0};
    const struct rate rate = {
        .known = true, .limit = 1000, .burst = 100, .left = 998, .bucket = 90, .reset_s = 1800000060, .reset_in_s = 42};
    limit_write(&b, &rate);
    static const char want[] =
        "X-RateLimit-Limit: 1000\r\nX-RateLimit-Remaining: 998\r\nX-RateLimit-Reset: 1800000060\r\n"
        "RateLimit-Policy: \"minute\";q=1000;w=60, \"burst\";q=100;w=6\r\n"
        "RateLimit: \"minute\";r=998;t=42, \"burst\";r=90;t=1\r\n";
    assert_int_equal(b.n, sizeof want - 1);
    assert_memory_equal(b.p, want, b.n);
    buf_free(&b);
}

static void headers_list_every_window(void **state)
{
    (void)state;
    struct buf b = {0};
    const struct rate rate = {.known = true,
                              .limit = 60,
                              .burst = 20,
                              .left = 59,
                              .bucket = 19,
                              .reset_s = 1800000060,
                              .reset_in_s = 42,
                              .more = {[RATE_DAY] = {10000, 9000, 3601}, [RATE_BUILDS] = {5, 0, 3601}}};
    limit_write(&b, &rate);
    static const char want[] =
        "X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 59\r\nX-RateLimit-Reset: 1800000060\r\n"
        "RateLimit-Policy: \"minute\";q=60;w=60, \"burst\";q=20;w=20, \"day\";q=10000;w=86400, "
        "\"builds\";q=5;w=86400;qu=\"builds\"\r\n"
        "RateLimit: \"minute\";r=59;t=42, \"burst\";r=19;t=1, \"day\";r=9000;t=3601, \"builds\";r=0;t=3601\r\n";
    assert_int_equal(b.n, sizeof want - 1);
    assert_memory_equal(b.p, want, b.n);
    buf_free(&b);
}

static void tiers_have_names(void **state)
{
    (void)state;
    unsigned tier = 9;
    assert_true(limit_tier_find(S("premium"), &tier));
    assert_int_equal(tier, TIER_PREMIUM);
    assert_false(limit_tier_find(S("gold"), &tier));
    assert_string_equal(limit_tier_name(77), "standard");
}

/* Principals: the other memory of a worker that is bounded. */

static struct caller somebody(char *id, const char *name)
{
    struct caller c = {.type = CALLER_KEY,
                       .id = str_z(id),
                       .name = str_z(name),
                       .tenant = S("0192f7a0-0000-7000-8000-000000000002"),
                       .partition = 7,
                       .expires_ms = 5000,
                       .revocations = 3};
    memcpy(c.credential, "abc", 4);
    c.permissions.word[0] = 5;
    return c;
}

static void a_principal_is_found_as_a_copy(void **state)
{
    (void)state;
    struct arena a;
    uint8_t token[CRYPTO_HASH] = {1, 2, 3};
    char id[] = "key-1";
    struct caller got, c = somebody(id, "name");
    struct principals *p = principals_new();
    arena_init(&a, 0);
    assert_false(principals_find(p, token, 1000, &a, &got));
    principals_add(p, token, &c);
    id[0] = 'X';
    assert_true(principals_find(p, token, 1000, &a, &got));
    principals_drop(p, token);
    assert_true(str_eq(got.id, S("key-1")) && str_eq(got.name, S("name")));
    assert_int_equal(got.permissions.word[0], 5);
    assert_int_equal(got.revocations, 3);
    assert_string_equal(got.credential, "abc");
    assert_false(principals_find(p, token, 1000, &a, &got));
    principals_add(p, token, &c);
    assert_false(principals_find(p, token, 5000, &a, &got));
    arena_fini(&a);
    principals_free(p);
}

static void a_full_set_gives_up_what_was_longest_unused(void **state)
{
    (void)state;
    struct arena a;
    struct caller got;
    struct principals *p = principals_new();
    arena_init(&a, 0);
    for (uint8_t i = 0; i < 5; i++) {
        uint8_t token[CRYPTO_HASH] = {9, 9, i};
        char id[] = "key-0";
        id[4] = (char)('0' + i);
        struct caller c = somebody(id, "n");
        principals_add(p, token, &c);
        assert_true(principals_find(p, (uint8_t[CRYPTO_HASH]){9, 9, 0}, 1, &a, &got));
    }
    assert_false(principals_find(p, (uint8_t[CRYPTO_HASH]){9, 9, 1}, 1, &a, &got));
    assert_true(principals_find(p, (uint8_t[CRYPTO_HASH]){9, 9, 4}, 1, &a, &got));
    assert_true(str_eq(got.id, S("key-4")));
    arena_fini(&a);
    principals_free(p);
}

static void texts_too_long_are_not_kept(void **state)
{
    (void)state;
    struct arena a;
    struct caller got;
    char long_name[400], id[] = "key";
    uint8_t token[CRYPTO_HASH] = {4};
    struct principals *p = principals_new();
    arena_init(&a, 0);
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    struct caller c = somebody(id, long_name);
    principals_add(p, token, &c);
    assert_false(principals_find(p, token, 1, &a, &got));
    arena_fini(&a);
    principals_free(p);
}

static void the_store_is_told_of_a_use_once_a_minute(void **state)
{
    (void)state;
    uint8_t token[CRYPTO_HASH] = {4}, other[CRYPTO_HASH] = {5};
    struct principals *p = principals_new();
    char id[] = "k4";
    struct caller c = somebody(id, "A key");
    principals_add(p, token, &c);
    assert_true(principals_tell(p, token, 1000));
    assert_false(principals_tell(p, token, 60999));
    assert_true(principals_tell(p, token, 61000));
    assert_false(principals_tell(p, other, 61000));
    principals_free(p);
}

static void a_caller_is_trusted_while_a_fresh_counter_is_as_it_was(void **state)
{
    struct principals *p = principals_new();
    struct caller c = {.partition = 7, .revocations = 3}, other = {.partition = 8, .revocations = 3};
    (void)state;
    assert_false(principals_trusted(p, &c, 1000, 500));
    principals_note(p, 7, 3, 1000);
    assert_true(principals_trusted(p, &c, 1499, 500));
    assert_false(principals_trusted(p, &c, 1500, 500));
    assert_false(principals_trusted(p, &other, 1000, 500));
    principals_note(p, 7, 2, 999); /* an answer that was overtaken */
    assert_true(principals_trusted(p, &c, 1000, 500));
    principals_note(p, 7, 4, 1600);
    assert_false(principals_trusted(p, &c, 1600, 500));
    principals_free(p);
}

int main(void)
{
    if (!crypto_init())
        return 1;
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_burst_is_let_through_and_no_more),
        T(the_bucket_fills_again_at_its_rate),
        T(many_addresses_take_bounded_memory_and_never_lock_anybody_out),
        T(an_ipv6_network_is_one_address),
        T(headers_show_both_limiters),
        T(headers_list_every_window),
        T(tiers_have_names),
        T(a_principal_is_found_as_a_copy),
        T(a_full_set_gives_up_what_was_longest_unused),
        T(texts_too_long_are_not_kept),
        T(the_store_is_told_of_a_use_once_a_minute),
        T(a_caller_is_trusted_while_a_fresh_counter_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

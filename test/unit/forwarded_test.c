/* Whom a proxy speaks for: only trusted ones, only from the right, only what is an address. */
#include "server/forwarded.h"

#include "lib/cidr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const nets[] = {"10.0.0.0/8", "fd00::/8", "unix"};
static const struct config_list trusted = {.items = nets, .n = 3}, nobody = {.n = 0};

/* The client of a request from `peer` with these header lines. */
static const char *client(const struct config_list *list, bool standard, const char *peer, const char *lines)
{
    static char text[128];
    char whole[8192];
    struct forwarded f;
    struct http_parser p;
    struct arena a;
    const char *wrong;
    snprintf(whole, sizeof whole, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", lines);
    struct str in = str_z(whole);
    http_parser_init(&p, HTTP_SERVER, &http_limits_default);
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    assert_true(forwarded_init(&f, list, standard, &wrong));
    arena_init(&a, 0);
    snprintf(text, sizeof text, STR_FMT, STR_ARG(forwarded_client(&f, str_z(peer), &p.head, &a)));
    arena_fini(&a);
    forwarded_fini(&f);
    http_parser_fini(&p);
    return text;
}

static const char *of(const char *peer, const char *lines)
{
    return client(&trusted, false, peer, lines);
}

static const char *of_standard(const char *value)
{
    char line[1024];
    snprintf(line, sizeof line, "X-Forwarded-For: 6.6.6.6\r\nForwarded: %s\r\n", value);
    return client(&trusted, true, "10.0.0.1", line);
}

static void only_a_trusted_peer_is_believed(void **state)
{
    (void)state;
    const char *line = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_string_equal(of("10.1.2.3", line), "192.0.2.1");
    assert_string_equal(of("unix", line), "192.0.2.1");
    assert_string_equal(of("fd00::7", line), "192.0.2.1");
    assert_string_equal(of("11.1.2.3", line), "11.1.2.3");
    assert_string_equal(of("2001:db8::1", line), "2001:db8::1");
    assert_string_equal(client(&nobody, false, "10.1.2.3", line), "10.1.2.3");
    assert_string_equal(client(&nobody, false, "unix", line), "unix");
    assert_string_equal(of("10.1.2.3", ""), "10.1.2.3");
}

static void the_rightmost_hop_that_is_not_trusted_is_the_client(void **state)
{
    (void)state;
    assert_string_equal(of("10.0.0.1", "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n"), "192.0.2.1");
    assert_string_equal(of("10.0.0.1", "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.9,fd00::1\r\n"), "192.0.2.1");
    assert_string_equal(of("10.0.0.1", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n"), "192.0.2.1");
    assert_string_equal(of("10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n"), "10.0.0.3");
}

static void what_is_no_address_ends_the_walk_at_the_hop_that_said_it(void **state)
{
    (void)state;
    static const char *const values[] = {
        "unknown",       "",          "192.0.2",        "192.0.2.1/32", "192.0.2.1:x",
        "1.2.3.4:99999", "[1.2.3.4]", "2001:db8::1::2", "[2001:db8::1", "1.2.3.4 5.6.7.8",
        "[::1]x",        "_hidden",   "fe80::1%eth0",   "1.2.3.4:1:2"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char line[256];
        snprintf(line, sizeof line, "X-Forwarded-For: 192.0.2.9, %s, 10.0.0.7\r\n", values[i]);
        assert_string_equal(of("10.0.0.1", line), "10.0.0.7");
        snprintf(line, sizeof line, "X-Forwarded-For: 192.0.2.9, %s\r\n", values[i]);
        assert_string_equal(of("10.0.0.1", line), "10.0.0.1");
    }
}

static void addresses_are_told_in_one_form(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"192.0.2.1:8080", "192.0.2.1"},  {"::ffff:192.0.2.1", "192.0.2.1"},   {"2001:DB8:0:0::1", "2001:db8::1"},
        {"[2001:db8::1]", "2001:db8::1"}, {"[2001:db8::1]:80", "2001:db8::1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char line[128];
        snprintf(line, sizeof line, "X-Forwarded-For: %s\r\n", pairs[i][0]);
        assert_string_equal(of("10.0.0.1", line), pairs[i][1]);
    }
}

static void the_standard_header_is_read_where_it_is_the_one_that_is_set(void **state)
{
    (void)state;
    assert_string_equal(of_standard("for=192.0.2.1"), "192.0.2.1");
    assert_string_equal(of_standard("for=6.6.6.6;proto=http, proto=https; FOR=\"[2001:db8::1]:4711\";by=10.0.0.1"),
                        "2001:db8::1");
    assert_string_equal(of_standard("for=\"192.0.2.1:80\";host=\"a,b;for=6.6.6.6\""), "192.0.2.1");
    assert_string_equal(of_standard("for=192.0.2.1, for=10.0.0.2"), "192.0.2.1");
    static const char *const values[] = {"proto=https",
                                         "for=6.6.6.6;for=7.7.7.7",
                                         "for=\"6.6.6.6",
                                         "for",
                                         "6.6.6.6",
                                         "for=_x",
                                         "for=\"\\6.6.6.6\"",
                                         "",
                                         ";",
                                         "="};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        assert_string_equal(of_standard(values[i]), "10.0.0.1");
    assert_string_equal(of("10.0.0.1", "Forwarded: for=6.6.6.6\r\n"), "10.0.0.1");
}

static void hops_far_to_the_left_are_not_looked_at(void **state)
{
    (void)state;
    char line[4096] = "X-Forwarded-For: 192.0.2.1";
    for (int i = 0; i < FORWARDED_HOPS_MAX; i++)
        strcat(line, ", 10.0.0.2");
    strcat(line, "\r\n");
    assert_string_equal(of("10.0.0.1", line), "10.0.0.2");
}

static void a_network_that_is_none_is_named(void **state)
{
    (void)state;
    static const char *const texts[] = {"10.0.0.0/8", "10.0.0.1/8"};
    const struct config_list list = {.items = texts, .n = 2};
    struct forwarded f;
    const char *wrong;
    assert_false(forwarded_init(&f, &list, false, &wrong));
    assert_string_equal(wrong, "10.0.0.1/8");
    forwarded_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_trusted_peer_is_believed),
        cmocka_unit_test(the_rightmost_hop_that_is_not_trusted_is_the_client),
        cmocka_unit_test(what_is_no_address_ends_the_walk_at_the_hop_that_said_it),
        cmocka_unit_test(addresses_are_told_in_one_form),
        cmocka_unit_test(the_standard_header_is_read_where_it_is_the_one_that_is_set),
        cmocka_unit_test(hops_far_to_the_left_are_not_looked_at),
        cmocka_unit_test(a_network_that_is_none_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include "lib/address.h"

static void addresses_are_read(void **state)
{
    static const struct {
        const char *text, *host, *path;
        int port, default_port;
    } rows[] = {
        {"localhost:80", "localhost", "", 80, -1},
        {"127.0.0.1:65535", "127.0.0.1", "", 65535, -1},
        {":8080", "", "", 8080, -1},
        {"example.org", "example.org", "", 6379, 6379},
        {"[::1]:99", "::1", "", 99, -1},
        {"[fe80::1]", "fe80::1", "", 5, 5},
        {"::1", "::1", "", 7, 7},
        {"/run/redis.sock", "", "/run/redis.sock", 0, -1},
        {"unix:/run/x", "", "/run/x", 0, -1},
        {"unix:///run/x", "", "/run/x", 0, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct address a;

        assert_true(address_parse(str_z(rows[i].text), rows[i].default_port, &a));
        assert_string_equal(a.host, rows[i].host);
        assert_string_equal(a.path, rows[i].path);
        assert_int_equal(a.port, rows[i].port);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {"",       "host",  "host:",     "host:65536", "host:-1",  "host:1x",
                                      "[::1",   "[]:80", "[::1]x:80", "unix:",      "unix:x",   "a b:80",
                                      "a/b:80", "::1",   "h:1:2x",    "/nul",       "host:+80", "host: 80"};
    char longest[200];
    struct address a = {.port = 42};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (bad[i][0] != '/')
            assert_false(address_parse(str_z(bad[i]), -1, &a));
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    assert_false(address_parse((struct str){longest, sizeof longest}, -1, &a));
    assert_false(address_parse((struct str){"/a\0b", 4}, -1, &a));
    assert_int_equal(a.port, 42);
}

static void text_is_what_was_read(void **state)
{
    static const char *const texts[] = {"localhost:80", "[::1]:99", "unix:/run/x", ":8080"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct address a;
        struct buf b = {0};

        assert_true(address_parse(str_z(texts[i]), -1, &a));
        address_text(&a, &b);
        assert_true(str_eq(buf_view(&b), str_z(texts[i])));
        buf_free(&b);
    }
}

static void a_mapped_peer_is_shown_as_ipv4(void **state)
{
    struct sockaddr_storage from = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&from;
    struct buf b = {0};
    uint16_t port;

    (void)state;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(1234);
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6->sin6_addr);
    address_peer(&from, &b, &port);
    assert_true(str_eq(buf_view(&b), S("192.0.2.1")));
    assert_int_equal(port, 1234);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(text_is_what_was_read),
        cmocka_unit_test(a_mapped_peer_is_shown_as_ipv4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

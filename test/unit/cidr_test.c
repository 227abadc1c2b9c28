#include "lib/cidr.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct sockaddr *address(const char *text)
{
    static struct sockaddr_storage s;
    struct sockaddr_in *v4 = (void *)&s;
    struct sockaddr_in6 *v6 = (void *)&s;

    memset(&s, 0, sizeof(s));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
        s.ss_family = AF_INET;
    else if (memset(&s, 0, sizeof(s)), inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
        s.ss_family = AF_INET6;
    else
        fail_msg("%s is no address", text);
    return (const struct sockaddr *)&s;
}

static void a_block_holds_its_addresses_and_no_others(void **state)
{
    struct cidr c;

    (void)state;
    assert_true(cidr_parse(S("10.20.0.0/15"), &c));
    assert_true(cidr_holds(&c, address("10.21.255.255")));
    assert_false(cidr_holds(&c, address("10.22.0.0")));
    assert_true(cidr_holds(&c, address("::ffff:10.20.0.1")));
    assert_true(cidr_parse(S("::1"), &c));
    assert_true(cidr_holds(&c, address("::1")));
    assert_false(cidr_holds(&c, address("::2")));
    assert_true(cidr_parse(S("0.0.0.0/0"), &c));
    assert_true(cidr_holds(&c, address("203.0.113.9")));
    assert_false(cidr_holds(&c, address("2001:db8::1")));
}

static void malformed_blocks_are_refused(void **state)
{
    static const char *const bad[] = {"",           "/8",          "10.0.0.0/",   "10.0.0.0/33",
                                      "10.0.0.1/8", "::/129",      "fe80::1/10",  "10.0.0/8",
                                      "localhost",  "10.0.0.0/8 ", "10.0.0.0/-1", "1.2.3.4/08x"};
    struct cidr c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (cidr_parse(str_z(bad[i]), &c))
            fail_msg("'%s' was taken", bad[i]);
}

static void a_site_is_an_ipv4_address_or_a_64_of_ipv6(void **state)
{
    static const char *const sites[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {"2001:db8:1:2::9", "2001:db8:1:2::/64"},
        {"2001:db8:1:3::9", "2001:db8:1:3::/64"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64"},
        {"::1", "::/64"},
        {"unix", "unix"},
        {"", ""},
        {"a text that is no address at all, and longer than any is",
         "a text that is no address at all, and longer tha"},
    };
    char out[CIDR_SITE];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sites); i++) {
        cidr_site(str_z(sites[i][0]), out);
        assert_string_equal(out, sites[i][1]);
    }
}

static void only_public_addresses_are_public(void **state)
{
    static const char *const ours[] = {"0.0.0.0",
                                       "10.1.2.3",
                                       "100.64.0.1",
                                       "100.127.255.255",
                                       "127.0.0.1",
                                       "127.255.0.1",
                                       "169.254.169.254",
                                       "172.16.0.1",
                                       "172.31.255.255",
                                       "192.168.1.1",
                                       "192.0.2.1",
                                       "198.18.0.1",
                                       "224.0.0.1",
                                       "255.255.255.255",
                                       "::",
                                       "::1",
                                       "::ffff:127.0.0.1",
                                       "::ffff:10.0.0.1",
                                       "::7f00:1",
                                       "64:ff9b::a00:1",
                                       "2002:7f00:1::",
                                       "fe80::1",
                                       "fc00::1",
                                       "fdff::1",
                                       "ff02::1",
                                       "2001:db8::1",
                                       "2001:0:0:0:0:0:80ff:fffe"};
    static const char *const theirs[] = {"1.1.1.1",          "100.63.255.255",  "100.128.0.1",     "172.15.0.1",
                                         "172.32.0.1",       "192.167.255.255", "2606:4700::1111", "::ffff:8.8.8.8",
                                         "64:ff9b::808:808", "2002:808:808::1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (cidr_public(address(ours[i])))
            fail_msg("%s counts as public", ours[i]);
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
        if (!cidr_public(address(theirs[i])))
            fail_msg("%s counts as private", theirs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_holds_its_addresses_and_no_others),
        cmocka_unit_test(malformed_blocks_are_refused),
        cmocka_unit_test(a_site_is_an_ipv4_address_or_a_64_of_ipv6),
        cmocka_unit_test(only_public_addresses_are_public),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "server/oauth/redirect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void what_may_be_registered(void **state)
{
    static const char *const good[] = {
        "https://app.example/back", "https://app.example", "https://app.example:8443/a?b=c",
        "http://127.0.0.1/back",    "http://[::1]:9/x",    "http://localhost:3000/cb",
        "com.example.app:/back"};
    static const char *const bad[] = {"",
                                      "http://app.example/back",
                                      "https://",
                                      "https:///path",
                                      "https://app.example/#part",
                                      "https://*.example/back",
                                      "https://app.example/a b",
                                      "https://user@app.example/",
                                      "http://127.0.0.1.evil.example/",
                                      "http://127.0.0.1:x@evil.example/",
                                      "http://127.0.0.1:80@evil.example/",
                                      "http://[::1]:x@evil.example/",
                                      "http://localhost:x@evil.example/",
                                      "http://127.0.0.1:/",
                                      "http://localhostess/",
                                      "javascript:alert(1)",
                                      "app:/back",
                                      "Com.example:/back",
                                      "com.example:",
                                      "data:text/html,x"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_null(redirect_fault(str_z(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_non_null(redirect_fault(str_z(bad[i])));
}

static void uris_match_byte_by_byte(void **state)
{
    struct str list = S("https://app.example/back https://app.example/other?x=1");
    (void)state;
    assert_true(redirect_matches(list, S("https://app.example/back")));
    assert_true(redirect_matches(list, S("https://app.example/other?x=1")));
    assert_false(redirect_matches(list, S("https://app.example/back/")));
    assert_false(redirect_matches(list, S("https://app.example/BACK")));
    assert_false(redirect_matches(list, S("https://app.example/back?x=1")));
    assert_false(redirect_matches(list, S("https://app.example/bac")));
    assert_false(redirect_matches(list, S("")));
}

static void rfc_8252_7_3_any_port_on_loopback_by_address(void **state)
{
    struct str list = S("http://127.0.0.1/back http://[::1]:1/back http://localhost:3000/back");
    (void)state;
    assert_true(redirect_matches(list, S("http://127.0.0.1:51004/back")));
    assert_true(redirect_matches(list, S("http://[::1]:51004/back")));
    assert_false(redirect_matches(list, S("http://localhost:51004/back")));
    assert_true(redirect_matches(list, S("http://localhost:3000/back")));
    assert_false(redirect_matches(list, S("http://127.0.0.1:51004/other")));
    assert_false(redirect_matches(list, S("http://127.0.0.1:51004@evil.example/back")));
    assert_false(redirect_matches(list, S("http://127.0.0.1:5100400/back")));
}

static void the_origin_ends_before_the_path(void **state)
{
    (void)state;
    assert_true(str_eqz(redirect_origin(S("https://app.example:8443/a?b")), "https://app.example:8443"));
    assert_true(str_eqz(redirect_origin(S("https://app.example?b")), "https://app.example"));
    assert_true(str_eqz(redirect_origin(S("com.example.app:/back")), "com.example.app:"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_registered),
        cmocka_unit_test(uris_match_byte_by_byte),
        cmocka_unit_test(rfc_8252_7_3_any_port_on_loopback_by_address),
        cmocka_unit_test(the_origin_ends_before_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

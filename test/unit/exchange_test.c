#include "server/oauth/exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_star_is_any_run_of_characters(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"repo:a/b:ref:main", "repo:a/b:ref:main", true},
        {"repo:a/b:*", "repo:a/b:ref:main", true},
        {"repo:a/b:*", "repo:a/b:", true},
        {"repo:a/b:*", "repo:a/bc:ref", false},
        {"repo:a/*", "xrepo:a/b", false},
        {"*:main", "repo:a:main", true},
        {"*:main", "repo:a:main2", false},
        {"a*b*c", "a12b34c", true},
        {"a*b*c", "abc", true},
        {"a*b*c", "acb", false},
        {"a*bc", "abcbc", true},
        {"*", "", true},
        {"**", "x", true},
        {"", "", true},
        {"", "x", false},
        {"a", "", false},
        {"*a", "b", false},
        {"a*", "A", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(exchange_matches(str_z(rows[i].pattern), str_z(rows[i].text)), rows[i].matches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_star_is_any_run_of_characters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "lib/pattern.h"

#include "lib/field.h"
#include "server/dialect.h"

#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool by_expression(const char *pattern, const char *text)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool matches = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    return matches;
}

static const char *const plain[] = {"^[a-z][a-z0-9-]{0,62}$",
                                    "^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$",
                                    "^sha256:[0-9a-f]{4}$",
                                    "^[0-9a-f]{3}$",
                                    "^[a-z]+$",
                                    "^[A-Za-z0-9_][A-Za-z0-9._+-]*$",
                                    "^/",
                                    "^ab?$",
                                    "^[-a]{1,2}",
                                    "^$",
                                    "^[a-cx]{2}[0-9]$"};
static const char *const others[] = {"^(a|b)$",       "^a*b$",        "^[^a]$",    "a",          "^a.$",
                                     "^[[:alpha:]]$", "^a|b$",        "^a\\.$",    "^[]a]$",     "^a{2,}$",
                                     "^a$b",          "^(/[a-z]+)+$", "^[a-z]+/$", "^a{1,2}{2}$"};

static void the_two_ways_agree(void **state)
{
    (void)state;
    static const char letters[] = "a-b/:sZ09._+ \n~\xc3\xa4xf2568h[]^$";
    unsigned seed = 1;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        struct pattern *p = pattern_new(plain[i]);
        assert_non_null(p);
        for (int round = 0; round < 4000; round++) {
            char text[80];
            size_t n = (size_t)rand_r(&seed) % (round % 50 == 0 ? 70 : 5),
                   spread = round % 2 == 0 ? 3 : sizeof letters - 1;
            for (size_t k = 0; k < n; k++)
                text[k] = letters[(size_t)rand_r(&seed) % spread];
            text[n] = '\0';
            if (pattern_matches(p, text) != by_expression(plain[i], text))
                fail_msg("%s and '%s'", plain[i], text);
        }
        pattern_free(p);
    }
}

static void whole_texts_are_matched(void **state)
{
    (void)state;
    struct pattern *p = pattern_new("^sha256:[0-9a-f]{4}$");
    assert_true(pattern_matches(p, "sha256:00ff"));
    assert_false(pattern_matches(p, "sha256:00f"));
    assert_false(pattern_matches(p, "sha256:00ff0"));
    assert_false(pattern_matches(p, "sha256:00fg"));
    assert_false(pattern_matches(p, ""));
    pattern_free(p);
}

static void what_is_more_than_runs_of_characters_is_left_to_regexec(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        struct pattern *p = pattern_new(plain[i]);
        assert_non_null(p);
        if (!pattern_is_plain(p))
            fail_msg("%s is plain", plain[i]);
        pattern_free(p);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct pattern *p = pattern_new(others[i]);
        assert_non_null(p);
        if (pattern_is_plain(p))
            fail_msg("%s is not plain", others[i]);
        assert_int_equal(pattern_matches(p, "a"), by_expression(others[i], "a"));
        pattern_free(p);
    }
}

static unsigned patterns_of(const struct field *rows, unsigned depth, unsigned *slow)
{
    unsigned n = 0;
    for (const struct field *row = rows; depth < 8 && row != NULL && row->name != NULL; row++) {
        n += patterns_of(row->fields, depth + 1, slow);
        if (row->pattern == NULL)
            continue;
        struct pattern *p = pattern_new(row->pattern);
        assert_non_null(p);
        n++;
        *slow += !pattern_is_plain(p);
        pattern_free(p);
    }
    return n;
}

static void most_patterns_of_our_rows_are_plain(void **state)
{
    (void)state;
    unsigned n = 0, slow = 0;
    for (size_t i = 0; dialects[i] != NULL; i++)
        for (const struct resource *const *r = dialects[i]->resources; *r != NULL; r++)
            n += patterns_of((*r)->fields, 0, &slow);
    assert_true(n > 20);
    assert_true(slow * 2 < n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_two_ways_agree),
        cmocka_unit_test(whole_texts_are_matched),
        cmocka_unit_test(what_is_more_than_runs_of_characters_is_left_to_regexec),
        cmocka_unit_test(most_patterns_of_our_rows_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

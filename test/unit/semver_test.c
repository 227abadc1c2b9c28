#include "lib/semver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* In ascending order; neighbours of SemVer 2.0.0 §11 among them. */
static const char *const ascending[] = {"0.0.0-0",
                                        "0.0.0",
                                        "0.0.1",
                                        "0.9.10",
                                        "1.0.0-1",
                                        "1.0.0-2",
                                        "1.0.0-11",
                                        "1.0.0--",
                                        "1.0.0-A",
                                        "1.0.0-alpha",
                                        "1.0.0-alpha.1",
                                        "1.0.0-alpha.beta",
                                        "1.0.0-beta",
                                        "1.0.0-beta.2",
                                        "1.0.0-beta.11",
                                        "1.0.0-rc.1",
                                        "1.0.0",
                                        "1.0.1",
                                        "1.2.0",
                                        "1.10.0",
                                        "2.0.0",
                                        "10.0.0",
                                        "18446744073709551615.0.0"};

static void precedence_is_total_and_the_keys_have_it_too(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ascending); i++)
        for (size_t k = 0; k < ARRAY_LEN(ascending); k++) {
            struct semver a, b;
            struct buf x = {0}, y = {0};
            assert_true(semver_parse(str_z(ascending[i]), &a));
            assert_true(semver_parse(str_z(ascending[k]), &b));
            semver_key(&x, &a);
            semver_key(&y, &b);
            int wanted = (i > k) - (i < k), keys = str_cmp(buf_view(&x), buf_view(&y));
            if (semver_cmp(&a, &b) != wanted || (keys > 0) - (keys < 0) != wanted)
                fail_msg("%s against %s", ascending[i], ascending[k]);
            buf_free(&x);
            buf_free(&y);
        }
}

static void malformed_versions_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "1.2",
                                      "1.2.3.4",
                                      "01.2.3",
                                      "1.02.3",
                                      "1.2.3-",
                                      "1.2.3+",
                                      "1.2.3-01",
                                      "1.2.3-a..b",
                                      "1.2.3-ä",
                                      "a.b.c",
                                      "-1.2.3",
                                      "1.2.3 ",
                                      "vv1.2.3",
                                      "1.2.3-a_b",
                                      "18446744073709551616.0.0"};
    struct semver v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (semver_parse(str_z(bad[i]), &v))
            fail_msg("'%s' was taken", bad[i]);
}

static void versions_are_written_as_they_were_read(void **state)
{
    struct semver v;
    struct buf b = {0};

    (void)state;
    assert_true(semver_parse(S("v1.2.3-rc.1+build.007"), &v));
    semver_write(&b, &v);
    assert_true(str_eqz(buf_view(&b), "1.2.3-rc.1+build.007"));
    buf_free(&b);
}

static void a_change_is_named_by_its_first_part(void **state)
{
    static const struct {
        const char *from, *to;
        enum semver_change change;
    } cases[] = {
        {"1.2.3", "1.2.3+x", SEMVER_SAME},       {"1.2.3", "2.0.0", SEMVER_MAJOR},
        {"1.2.3", "1.3.0", SEMVER_MINOR},        {"1.2.3", "1.2.4", SEMVER_PATCH},
        {"1.2.3-a", "1.2.3", SEMVER_PRERELEASE}, {"1.2.3", "1.2.2", SEMVER_DOWNGRADE},
        {"1.2.3", "1.2.3-a", SEMVER_DOWNGRADE},
    };
    struct semver a, b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(semver_parse(str_z(cases[i].from), &a) && semver_parse(str_z(cases[i].to), &b));
        if (semver_change(&a, &b) != cases[i].change)
            fail_msg("%s to %s", cases[i].from, cases[i].to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precedence_is_total_and_the_keys_have_it_too),
        cmocka_unit_test(malformed_versions_are_refused),
        cmocka_unit_test(versions_are_written_as_they_were_read),
        cmocka_unit_test(a_change_is_named_by_its_first_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

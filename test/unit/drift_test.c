#include "server/engine/drift.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

#define A       "{\"name\":\"api\",\"digest\":\"sha256:a\"}"
#define B       "{\"name\":\"web\",\"digest\":\"sha256:b\"}"
#define STICKER "{\"release\":{\"id\":\"r1\"}}"
#define FACTS(...)                                                                                                     \
    "{\"release\":{\"id\":\"r1\",\"name\":\"one\",\"components\":[" __VA_ARGS__ "]},\"sticker\":" STICKER "}"
#define FOUND(sticker, current, ...)                                                                                   \
    "{\"sticker\":" sticker ",\"current\":" current ",\"components\":[" __VA_ARGS__ "]}"

static const char *differences(const char *facts, const char *found, size_t *n)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &arena, 256);
    json_out_init(&o, &b);
    *n = drift_differences(&o, json_parse(&arena, str_z(facts), NULL, NULL),
                           json_parse(&arena, str_z(found), NULL, NULL));
    return arena_z(&arena, buf_view(&b));
}

static void expect(const char *facts, const char *found, size_t n, const char *text)
{
    size_t got;

    assert_string_equal(differences(facts, found, &got), text);
    assert_int_equal(got, n);
}

static void what_is_as_it_was_put_has_no_drift(void **state)
{
    (void)state;
    expect(FACTS(A "," B), FOUND(STICKER, "\"one\"", B "," A), 0, "[]");
}

static void nothing_expected_never_drifts(void **state)
{
    (void)state;
    expect("{}", FOUND("null", "null", ""), 0, "[]");
    expect("{\"release\":null,\"sticker\":null}", FOUND(STICKER, "\"one\"", A), 0, "[]");
}

static void each_component_is_judged_by_name_and_digest(void **state)
{
    (void)state;
    expect(FACTS(A "," B), FOUND(STICKER, "\"one\"", A), 1,
           "[{\"actual\":null,\"component\":\"web\",\"expected\":\"sha256:b\",\"kind\":\"missing\"}]");
    expect(FACTS(A), FOUND(STICKER, "\"one\"", A "," B), 1,
           "[{\"actual\":\"sha256:b\",\"component\":\"web\",\"expected\":null,\"kind\":\"unexpected\"}]");
    expect(FACTS(A), FOUND(STICKER, "\"one\"", "{\"name\":\"api\",\"digest\":\"sha256:x\"}"), 1,
           "[{\"actual\":\"sha256:x\",\"component\":\"api\",\"expected\":\"sha256:a\",\"kind\":\"digest_mismatch\"}]");
}

static void a_sticker_that_is_gone_or_other_is_told(void **state)
{
    (void)state;
    expect(FACTS(A), FOUND("null", "\"one\"", A), 1,
           "[{\"actual\":null,\"component\":null,\"expected\":" STICKER ",\"kind\":\"sticker_missing\"}]");
    expect(FACTS(A), FOUND("{\"release\":{\"id\":\"r2\"}}", "\"one\"", A), 1,
           "[{\"actual\":{\"release\":{\"id\":\"r2\"}},\"component\":null,\"expected\":" STICKER
           ",\"kind\":\"config_mismatch\"}]");
}

static void a_link_to_another_release_is_told(void **state)
{
    (void)state;
    expect(FACTS(A), FOUND(STICKER, "\"two\"", A), 1,
           "[{\"actual\":\"two\",\"component\":null,\"expected\":\"one\",\"kind\":\"config_mismatch\"}]");
    expect(FACTS(A), FOUND(STICKER, "null", A), 1,
           "[{\"actual\":null,\"component\":null,\"expected\":\"one\",\"kind\":\"config_mismatch\"}]");
}

static void answers_that_make_no_sense_are_all_differences(void **state)
{
    size_t n;

    (void)state;
    differences(FACTS(A "," B), "{}", &n);
    assert_int_equal(n, 4); /* the link, the sticker, both components */
    differences(FACTS(A), "{\"components\":[1,null,{}],\"sticker\":7,\"current\":[]}", &n);
    assert_true(n >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_as_it_was_put_has_no_drift, begin, end),
        cmocka_unit_test_setup_teardown(nothing_expected_never_drifts, begin, end),
        cmocka_unit_test_setup_teardown(each_component_is_judged_by_name_and_digest, begin, end),
        cmocka_unit_test_setup_teardown(a_sticker_that_is_gone_or_other_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_link_to_another_release_is_told, begin, end),
        cmocka_unit_test_setup_teardown(answers_that_make_no_sense_are_all_differences, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

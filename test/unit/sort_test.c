#include "server/sort.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// clang-format off
static const struct field rows[] = {
    {"id",        FIELD_UUID},
    {"name",      FIELD_STRING, FIELD_SORT},
    {"n",         FIELD_INT,    FIELD_SORT},
    {"createdAt", FIELD_TIME,   FIELD_SORT},
    {"dark",      FIELD_STRING},
    {0}};
// clang-format on

static struct arena arena;
static struct faults *faults;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    faults = arena_new(&arena, struct faults);
    faults_init(faults, &arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static struct sort order(const char *text)
{
    struct sort s;
    assert_true(sort_parse(&arena, rows, str_z(text), "sort", faults, &s));
    return s;
}

/* Documents in the order of creation: the i-th has ordinal i and id "i". Answers their ordinals, sorted. */
static void sorts(const char *by, const char *const *documents, size_t n, const char *want)
{
    struct sort s = order(by);
    struct sort_key keys[8];
    char got[16] = "";
    for (size_t i = 0; i < n; i++) {
        keys[i] = (struct sort_key){.ordinal = (int64_t)i, .id = arena_printf(&arena, "%zu", i)};
        assert_true(sort_key(&arena, &s, json_parse(&arena, str_z(documents[i]), NULL, NULL), &keys[i]));
    }
    sort_keys(&s, keys, n);
    for (size_t i = 0; i < n; i++)
        got[i] = (char)('0' + keys[i].ordinal);
    assert_string_equal(got, want);
}

static void values_are_ordered_and_absent_ones_come_first(void **state)
{
    (void)state;
    const char *const documents[] = {"{\"n\":3}", "{\"n\":-1.5}", "{}", "{\"n\":null}", "{\"n\":20}"};
    sorts("n", documents, 5, "23104");
    sorts("-n", documents, 5, "40132");
}

static void several_fields_and_the_id_make_the_order_total(void **state)
{
    (void)state;
    const char *const documents[] = {"{\"name\":\"b\",\"n\":1}", "{\"name\":\"a\",\"n\":1}", "{\"name\":\"b\",\"n\":1}",
                                     "{\"name\":\"a\",\"n\":2}"};
    sorts("n,name", documents, 4, "1023");
    sorts("n,-name", documents, 4, "2013");
    sorts("-createdAt", documents, 4, "3210");
    sorts("n,createdAt", documents, 4, "0123");
}

static void creation_alone_needs_no_values(void **state)
{
    (void)state;
    struct sort s = order("-createdAt"), t = order("name");
    assert_true(sort_by_creation(&s));
    assert_true(s.by[0].descending);
    assert_false(sort_by_creation(&t));
}

static void what_cannot_be_sorted_by_is_a_fault(void **state)
{
    (void)state;
    const char *bad[] = {"", "dark", "id", "nope", "-", "--name", "name,", "name,n,createdAt,name", " name"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct sort s;
        faults_init(faults, &arena);
        if (sort_parse(&arena, rows, str_z(bad[i]), "sort", faults, &s))
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(faults->n, 1);
        assert_string_equal(faults->list[0].code, "VAL_INVALID_SORT");
        assert_true(str_eqz(faults->list[0].field, "query.sort"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_are_ordered_and_absent_ones_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(several_fields_and_the_id_make_the_order_total, setup, teardown),
        cmocka_unit_test_setup_teardown(creation_alone_needs_no_values, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_sorted_by_is_a_fault, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

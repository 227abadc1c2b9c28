#include "lib/field.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const colours[] = {"red", "green", NULL};

// clang-format off
static const struct field port_rows[] = {
    {"number", FIELD_INT,  FIELD_REQUIRED, .min = 1, .max = 65535},
    {"open",   FIELD_BOOL, .preset = "true"},
    {0}};
static const struct field config_rows[] = {
    {"variables", FIELD_MAP,  .item = FIELD_STRING, .item_max = 5, .max = 3},
    {"timeout",   FIELD_INT,  .min = 1, .max = 100, .preset = "30"},
    {0}};
static const struct field rows[] = {
    {"id",      FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",    FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER, .min = 1, .max = 10, .pattern = "^[a-z]+$"},
    {"owner",   FIELD_UUID,   FIELD_NULLABLE},
    {"colour",  FIELD_ENUM,   .choices = colours, .preset = "\"red\""},
    {"weight",  FIELD_NUMBER, .min = 0, .max = 10},
    {"count",   FIELD_INT,    .min = 0, .max = INT64_MAX},
    {"since",   FIELD_TIME},
    {"kind",    FIELD_STRING, FIELD_IMMUTABLE},
    {"config",  FIELD_OBJECT, .fields = config_rows, .preset = "{}"},
    {"ports",   FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_OBJECT, .fields = port_rows, .max = 3},
    {"tags",    FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .pattern = "^[a-z]+$"},
    {"free",    FIELD_OBJECT},
    {"any",     FIELD_ANY},
    {"strict",  FIELD_BOOL},
    {"sod",     FIELD_BOOL,   FIELD_WRITEONLY, .alias = "strict"},
    {"token",   FIELD_STRING, FIELD_SECRET},
    {"state",   FIELD_STRING, FIELD_LIVE},
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

static struct json *parse(const char *text)
{
    struct json *j = json_parse(&arena, str_z(text), NULL, NULL);
    assert_non_null(j);
    return j;
}

static void check(enum field_mode mode, const char *body, const char *want)
{
    struct buf b = {0};
    faults_init(faults, &arena);
    struct json *out = field_check(rows, parse(body), mode, faults);
    if (faults->n > 0)
        fail_msg("%s: " STR_FMT " " STR_FMT, body, STR_ARG(faults->list[0].field), STR_ARG(faults->list[0].message));
    json_write(&b, out);
    buf_char(&b, '\0');
    assert_string_equal(b.p, want);
    buf_free(&b);
}

/* The faults as "field code;" each. */
static void refuse(enum field_mode mode, const char *body, const char *want)
{
    struct buf b = {0};
    faults_init(faults, &arena);
    assert_non_null(field_check(rows, parse(body), mode, faults));
    for (size_t i = 0; i < faults->n; i++)
        buf_printf(&b, STR_FMT " %s;", STR_ARG(faults->list[i].field), faults->list[i].code);
    buf_char(&b, '\0');
    assert_string_equal(b.p, want);
    buf_free(&b);
}

static void defaults_are_filled_in_on_creation(void **state)
{
    (void)state;
    check(FIELD_CREATE, "{\"name\":\"a\"}", "{\"colour\":\"red\",\"config\":{\"timeout\":30},\"name\":\"a\"}");
    check(FIELD_CREATE, "{\"name\":\"a\",\"ports\":[{\"number\":1}],\"colour\":\"green\"}",
          "{\"colour\":\"green\",\"config\":{\"timeout\":30},\"name\":\"a\",\"ports\":[{\"number\":1,\"open\":true}]}");
}

static void a_change_requires_and_fills_in_nothing(void **state)
{
    (void)state;
    check(FIELD_CHANGE, "{}", "{}");
    check(FIELD_CHANGE, "{\"config\":{\"variables\":{\"a\":null}},\"colour\":null,\"owner\":null}",
          "{\"colour\":null,\"config\":{\"variables\":{\"a\":null}},\"owner\":null}");
    refuse(FIELD_CHANGE, "{\"name\":null}", "name VAL_REQUIRED;");
    refuse(FIELD_CHANGE, "{\"ports\":[{}]}", "ports[0].number VAL_REQUIRED;");
}

static void read_only_and_live_members_are_ignored_in_a_body(void **state)
{
    (void)state;
    check(FIELD_CHANGE, "{\"id\":7,\"state\":[],\"count\":1}", "{\"count\":1}");
}

static void ids_and_times_get_their_one_form(void **state)
{
    (void)state;
    check(FIELD_CHANGE, "{\"owner\":\"0190A5B0-0000-7000-8000-0000000000AB\",\"since\":\"2026-01-02T03:04:05+01:00\"}",
          "{\"owner\":\"0190a5b0-0000-7000-8000-0000000000ab\",\"since\":\"2026-01-02T02:04:05.000Z\"}");
}

static void every_fault_is_named_in_one_go(void **state)
{
    (void)state;
    refuse(FIELD_CREATE,
           "{\"colour\":\"blue\",\"config\":{\"timeout\":0,\"variables\":{\"x\":1,\"y\":\"toolong\"},\"z\":1},"
           "\"nope\":1,\"ports\":[{\"number\":1},{\"open\":1}],\"weight\":\"1\",\"since\":\"yesterday\"}",
           "nope VAL_UNKNOWN_FIELD;colour VAL_INVALID_ENUM;config.z VAL_UNKNOWN_FIELD;config.timeout VAL_OUT_OF_RANGE;"
           "config.variables.x VAL_INVALID_TYPE;config.variables.y VAL_TOO_LONG;name VAL_REQUIRED;"
           "ports[1].number VAL_REQUIRED;ports[1].open VAL_INVALID_TYPE;since VAL_INVALID_FORMAT;"
           "weight VAL_INVALID_TYPE;");
}

static void each_type_refuses_the_others(void **state)
{
    (void)state;
    refuse(FIELD_CHANGE, "{\"name\":1}", "name VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"name\":\"\"}", "name VAL_OUT_OF_RANGE;");
    refuse(FIELD_CHANGE, "{\"name\":\"abcdefghijk\"}", "name VAL_TOO_LONG;");
    refuse(FIELD_CHANGE, "{\"name\":\"A\"}", "name VAL_INVALID_FORMAT;");
    refuse(FIELD_CHANGE, "{\"name\":\"a\\nb\"}", "name VAL_INVALID_FORMAT;");
    refuse(FIELD_CHANGE, "{\"owner\":\"x\"}", "owner VAL_INVALID_FORMAT;");
    refuse(FIELD_CHANGE, "{\"owner\":1}", "owner VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"colour\":[]}", "colour VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"weight\":10.5}", "weight VAL_OUT_OF_RANGE;");
    refuse(FIELD_CHANGE, "{\"count\":1.5}", "count VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"count\":1e300}", "count VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"count\":-1}", "count VAL_OUT_OF_RANGE;");
    refuse(FIELD_CHANGE, "{\"strict\":\"true\"}", "strict VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"config\":[]}", "config VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"config\":{\"variables\":[]}}", "config.variables VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"ports\":{}}", "ports VAL_INVALID_TYPE;");
    refuse(FIELD_CHANGE, "{\"free\":1}", "free VAL_INVALID_TYPE;");
    refuse(FIELD_CREATE, "{\"name\":\"a\",\"colour\":null}", "colour VAL_INVALID_TYPE;");
    check(FIELD_CHANGE, "{\"count\":2.0,\"any\":null,\"free\":{\"a\":[1]}}",
          "{\"any\":null,\"count\":2,\"free\":{\"a\":[1]}}");
}

static void lists_and_maps_are_bounded_and_may_have_unique_items(void **state)
{
    (void)state;
    refuse(FIELD_CHANGE, "{\"tags\":[\"a\",\"B\",\"a\"]}", "tags[1] VAL_INVALID_FORMAT;");
    refuse(FIELD_CHANGE, "{\"tags\":[\"a\",\"b\",\"a\"]}", "tags[2] VAL_INVALID_FORMAT;");
    refuse(FIELD_CHANGE, "{\"ports\":[{\"number\":1},{\"number\":2},{\"number\":3},{\"number\":4}]}",
           "ports VAL_OUT_OF_RANGE;");
    refuse(FIELD_CHANGE, "{\"config\":{\"variables\":{\"\":\"x\"}}}", "config.variables. VAL_OUT_OF_RANGE;");
}

static void another_name_is_the_same_member(void **state)
{
    (void)state;
    check(FIELD_CHANGE, "{\"sod\":true}", "{\"strict\":true}");
    check(FIELD_CHANGE, "{\"sod\":true,\"strict\":true}", "{\"strict\":true}");
    refuse(FIELD_CHANGE, "{\"sod\":true,\"strict\":false}", "strict VAL_INVALID_FORMAT;");
    refuse(FIELD_CHANGE, "{\"sod\":1}", "sod VAL_INVALID_TYPE;");
}

static void an_answer_must_be_whole_and_may_hold_nothing_else(void **state)
{
    (void)state;
    refuse(FIELD_WHOLE, "{\"token\":\"x\",\"sod\":true}",
           "token VAL_UNKNOWN_FIELD;sod VAL_UNKNOWN_FIELD;colour VAL_REQUIRED;config VAL_REQUIRED;id VAL_REQUIRED;"
           "name VAL_REQUIRED;owner VAL_REQUIRED;");
    check(
        FIELD_WHOLE,
        "{\"colour\":\"red\",\"config\":{\"timeout\":1},\"id\":\"0190a5b0-0000-7000-8000-0000000000ab\",\"name\":\"a\","
        "\"owner\":null,\"state\":\"x\"}",
        "{\"colour\":\"red\",\"config\":{\"timeout\":1},\"id\":\"0190a5b0-0000-7000-8000-0000000000ab\",\"name\":\"a\","
        "\"owner\":null,\"state\":\"x\"}");
}

static void immutable_members_may_be_repeated_but_not_changed(void **state)
{
    (void)state;
    const struct json *before = parse("{\"kind\":\"x\"}");
    field_check_immutable(rows, before, parse("{\"kind\":\"x\",\"count\":1}"), faults);
    assert_int_equal(faults->n, 0);
    field_check_immutable(rows, before, parse("{\"kind\":\"y\"}"), faults);
    assert_int_equal(faults->n, 1);
    assert_string_equal(faults->list[0].code, "VAL_IMMUTABLE");
}

static void a_body_that_is_no_object_is_a_fault(void **state)
{
    (void)state;
    const char *bodies[] = {"[]", "1", "\"a\"", "null"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        refuse(FIELD_CREATE, bodies[i], " VAL_INVALID_TYPE;");
}

static void faults_stop_at_a_hundred_and_say_so(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_z(&b, "{\"name\":\"a\"");
    for (int i = 0; i < 150; i++)
        buf_printf(&b, ",\"x%d\":1", i);
    buf_z(&b, "}");
    buf_char(&b, '\0');
    assert_non_null(field_check(rows, parse(b.p), FIELD_CREATE, faults));
    assert_int_equal(faults->n, 100);
    assert_true(faults->more);
    buf_free(&b);
}

static void memory_that_runs_out_is_no_fault(void **state)
{
    (void)state;
    struct json *body =
        parse("{\"name\":\"abc\",\"ports\":[{\"number\":1},{\"number\":2}],\"since\":\"2026-01-01T00:00:00Z\"}");
    size_t limit = 0;
    for (bool done = false; !done; limit += 64) {
        struct arena small;
        arena_init(&small, limit + sizeof(struct faults) + 64);
        struct faults *f = arena_new(&small, struct faults);
        if (f != NULL) {
            faults_init(f, &small);
            done = field_check(rows, body, FIELD_CREATE, f) != NULL;
            assert_int_equal(f->n, 0);
        }
        arena_fini(&small);
    }
    assert_true(limit > 128);
}

static void paths_find_rows(void **state)
{
    (void)state;
    assert_string_equal(field_find(rows, S("name"))->name, "name");
    assert_string_equal(field_find(rows, S("config.timeout"))->name, "timeout");
    assert_string_equal(field_find(rows, S("config.variables.a.b"))->name, "variables");
    assert_null(field_find(rows, S("config.nope")));
    assert_null(field_find(rows, S("name.x")));
    assert_null(field_find(rows, S("")));
    assert_null(field_find(rows, S("config.variables.")));
    assert_null(field_find(rows, STR_NONE));
}

static void rows_have_an_order(void **state)
{
    (void)state;
    const char *last = "";
    for (const int *i = field_order(rows); *i >= 0; i++) {
        assert_true(strcmp(last, rows[*i].name) < 0);
        last = rows[*i].name;
    }
}

static void *check_elsewhere(void *arg)
{
    struct arena own;
    arena_init(&own, 0);
    struct faults *f = arena_new(&own, struct faults);
    faults_init(f, &own);
    struct json *body = json_parse(&own, S("{\"name\":\"abc\"}"), NULL, NULL);
    *(bool *)arg = field_check(rows, body, FIELD_CREATE, f) != NULL && f->n == 0;
    arena_fini(&own);
    return NULL;
}

static void each_thread_compiles_its_own_patterns(void **state)
{
    (void)state;
    pthread_t threads[4];
    bool good[4] = {false};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_elsewhere, &good[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(good[i]);
    }
}

static struct json *schema(enum field_mode mode)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &arena, 256);
    json_out_init(&o, &b);
    field_schema_mode(&o, rows, mode);
    struct json *j = json_parse(&arena, buf_view(&b), NULL, NULL);
    assert_non_null(j);
    return j;
}

static bool requires(const struct json *s, const char *name)
{
    const struct json *list = json_get(s, "required");
    for (size_t i = 0; i < json_count(list); i++)
        if (str_eqz(json_str(json_at(list, i)), name))
            return true;
    return false;
}

static void the_schema_of_a_body_and_of_an_answer_differ(void **state)
{
    (void)state;
    const struct json *in = schema(FIELD_CREATE), *out = schema(FIELD_WHOLE), *change = schema(FIELD_CHANGE);
    assert_true(requires(in, "name"));
    assert_false(requires(in, "id"));
    assert_true(requires(out, "id"));
    assert_true(requires(out, "owner"));
    assert_true(requires(out, "colour"));
    assert_null(json_get(change, "required"));
    assert_null(json_path(out, S("properties.token")));
    assert_null(json_path(out, S("properties.sod")));
    assert_non_null(json_path(in, S("properties.token.writeOnly")));
    assert_true(str_eqz(json_str(json_path(in, S("properties.sod.type"))), "boolean"));
    assert_int_equal(json_int(json_path(in, S("properties.config.properties.timeout.default")), 0), 30);
    assert_int_equal(json_int(json_path(out, S("properties.name.maxLength")), 0), 10);
    assert_int_equal(json_count(json_path(change, S("properties.colour.enum"))), 3);
    assert_true(json_is(json_get(out, "additionalProperties"), JSON_BOOL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_are_filled_in_on_creation, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_requires_and_fills_in_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(read_only_and_live_members_are_ignored_in_a_body, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_and_times_get_their_one_form, setup, teardown),
        cmocka_unit_test_setup_teardown(every_fault_is_named_in_one_go, setup, teardown),
        cmocka_unit_test_setup_teardown(each_type_refuses_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_and_maps_are_bounded_and_may_have_unique_items, setup, teardown),
        cmocka_unit_test_setup_teardown(another_name_is_the_same_member, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_must_be_whole_and_may_hold_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(immutable_members_may_be_repeated_but_not_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_is_no_object_is_a_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(faults_stop_at_a_hundred_and_say_so, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_that_runs_out_is_no_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_find_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_have_an_order, setup, teardown),
        cmocka_unit_test_setup_teardown(each_thread_compiles_its_own_patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(the_schema_of_a_body_and_of_an_answer_differ, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

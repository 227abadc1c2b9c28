#include "server/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const states[] = {"active", "idle", "gone", NULL};

// clang-format off
static const struct field inner_rows[] = {
    {"depth",  FIELD_INT, FIELD_SEARCH},
    {"labels", FIELD_MAP, FIELD_FILTER, .item = FIELD_STRING},
    {0}};
static const struct field rows[] = {
    {"id",     FIELD_UUID,   FIELD_READONLY | FIELD_SEARCH},
    {"name",   FIELD_STRING, FIELD_FILTER, .max = 200},
    {"state",  FIELD_ENUM,   FIELD_FILTER, .choices = states},
    {"n",      FIELD_INT,    FIELD_FILTER | FIELD_SORT},
    {"ratio",  FIELD_NUMBER, FIELD_SEARCH},
    {"on",     FIELD_BOOL,   FIELD_FILTER},
    {"owner",  FIELD_UUID,   FIELD_FILTER | FIELD_NULLABLE},
    {"at",     FIELD_TIME,   FIELD_SORT},
    {"tags",   FIELD_LIST,   FIELD_FILTER, .item = FIELD_STRING},
    {"labels", FIELD_MAP,    FIELD_FILTER, .item = FIELD_STRING},
    {"inner",  FIELD_OBJECT, .fields = inner_rows},
    {"dark",   FIELD_STRING},
    {"live",   FIELD_STRING, FIELD_LIVE | FIELD_FILTER},
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

static struct json *parse(struct str text)
{
    struct json *j = json_parse(&arena, text, NULL, NULL);
    assert_non_null(j);
    return j;
}

static const struct filter *filter(const char *text)
{
    const struct filter *f;
    faults_init(faults, &arena);
    if (!filter_parse(&arena, rows, str_z(text), faults, &f))
        fail_msg("%s: " STR_FMT " " STR_FMT, text, STR_ARG(faults->list[0].field), STR_ARG(faults->list[0].message));
    return f;
}

#define DOCUMENT                                                                                                       \
    "{\"at\":\"2026-03-01T12:00:00.000Z\",\"id\":\"0190a5b0-0000-7000-8000-0000000000ab\",\"inner\":{\"depth\":3,"     \
    "\"labels\":{\"a.b\":\"c\"}},\"labels\":{\"role\":\"db\"},\"n\":5,\"name\":\"alpha\",\"on\":true,\"owner\":null,"  \
    "\"ratio\":1.5,\"state\":\"active\",\"tags\":[\"x\",\"yy\"]}"

static void conditions_hold_or_do_not(void **state)
{
    (void)state;
    const struct {
        const char *filter;
        bool holds;
    } cases[] = {
        {"{}", true},
        {"{\"name\":\"alpha\"}", true},
        {"{\"name\":\"Alpha\"}", false},
        {"{\"name\":{\"$ne\":\"alpha\"}}", false},
        {"{\"name\":{\"$startsWith\":\"al\",\"$contains\":\"ph\"}}", true},
        {"{\"name\":{\"$gt\":\"alp\",\"$lt\":\"b\"}}", true},
        {"{\"n\":5}", true},
        {"{\"n\":5.0}", true},
        {"{\"n\":{\"$gte\":5,\"$lte\":5}}", true},
        {"{\"n\":{\"$gt\":5}}", false},
        {"{\"ratio\":{\"$gt\":1}}", true},
        {"{\"on\":true,\"state\":\"active\"}", true},
        {"{\"on\":false}", false},
        {"{\"owner\":null}", true},
        {"{\"owner\":{\"$exists\":false}}", true},
        {"{\"name\":{\"$exists\":true}}", true},
        {"{\"id\":\"0190A5B0-0000-7000-8000-0000000000AB\"}", true},
        {"{\"at\":\"2026-03-01T13:00:00+01:00\"}", true},
        {"{\"at\":{\"$lt\":\"2026-03-01T13:00:00.5+01:00\"}}", true},
        {"{\"tags\":\"x\"}", true},
        {"{\"tags\":\"z\"}", false},
        {"{\"tags\":{\"$in\":[\"z\",\"yy\"]}}", true},
        {"{\"tags\":{\"$startsWith\":\"y\"}}", true},
        {"{\"tags\":{\"$nin\":[\"x\"]}}", false},
        {"{\"tags\":{\"$in\":[]}}", false},
        {"{\"labels.role\":\"db\"}", true},
        {"{\"labels.zone\":\"db\"}", false},
        {"{\"labels.zone\":{\"$ne\":\"db\"}}", true},
        {"{\"labels.zone\":null}", true},
        {"{\"labels\":null}", false},
        {"{\"inner.depth\":3}", true},
        {"{\"inner.labels.a.b\":\"c\"}", true},
        {"{\"$or\":[{\"n\":1},{\"n\":5}]}", true},
        {"{\"$and\":[{\"n\":1},{\"n\":5}]}", false},
        {"{\"$not\":{\"n\":1,\"on\":true}}", true},
        {"{\"$not\":{\"$not\":{\"n\":1}}}", false},
        {"{\"state\":{\"$in\":[\"idle\",\"gone\"]}}", false},
        {"{\"state\":{\"$nin\":[\"idle\",\"gone\"]}}", true},
    };
    const struct json *document = parse(S(DOCUMENT));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (filter_match(filter(cases[i].filter), document) != cases[i].holds)
            fail_msg("%s", cases[i].filter);
}

static void refuse(struct str text, const char *field)
{
    const struct filter *f;
    faults_init(faults, &arena);
    assert_false(filter_parse(&arena, rows, text, faults, &f));
    assert_null(f);
    if (faults->n == 0 || !str_eqz(faults->list[0].field, field))
        fail_msg(STR_FMT ": fault at " STR_FMT ", not at %s", STR_ARG(text), STR_ARG(faults->list[0].field), field);
    assert_string_equal(faults->list[0].code, "VAL_INVALID_FILTER");
}

static void faults_name_their_place(void **state)
{
    (void)state;
    const struct {
        const char *filter, *field;
    } cases[] = {
        {"", "filter"},
        {"[]", "filter"},
        {"{\"a\"", "filter"},
        {"{\"nope\":1}", "filter.nope"},
        {"{\"dark\":\"x\"}", "filter.dark"},
        {"{\"live\":\"x\"}", "filter.live"},
        {"{\"n\":\"5\"}", "filter.n"},
        {"{\"n\":[5]}", "filter.n"},
        {"{\"n\":{}}", "filter.n"},
        {"{\"n\":{\"$like\":1}}", "filter.n.$like"},
        {"{\"n\":{\"gt\":1}}", "filter.n.gt"},
        {"{\"n\":{\"$gt\":null}}", "filter.n.$gt"},
        {"{\"n\":{\"$startsWith\":\"5\"}}", "filter.n.$startsWith"},
        {"{\"n\":{\"$in\":5}}", "filter.n.$in"},
        {"{\"n\":{\"$in\":[1,\"2\"]}}", "filter.n.$in"},
        {"{\"n\":{\"$exists\":1}}", "filter.n.$exists"},
        {"{\"on\":{\"$gt\":true}}", "filter.on.$gt"},
        {"{\"state\":\"dead\"}", "filter.state"},
        {"{\"owner\":\"me\"}", "filter.owner"},
        {"{\"at\":\"noon\"}", "filter.at"},
        {"{\"labels\":\"x\"}", "filter.labels"},
        {"{\"labels.\":\"x\"}", "filter.labels."},
        {"{\"inner\":null}", "filter.inner"},
        {"{\"$nor\":[]}", "filter.$nor"},
        {"{\"$or\":[]}", "filter.$or"},
        {"{\"$or\":{}}", "filter.$or"},
        {"{\"$or\":[{\"n\":1},{\"$and\":[{\"on\":3}]}]}", "filter.$or[1].$and[0].on"},
        {"{\"$not\":[]}", "filter.$not"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refuse(str_z(cases[i].filter), cases[i].field);
}

static void size_depth_and_counts_are_limited(void **state)
{
    (void)state;
    struct buf b;
    buf_init_arena(&b, &arena, 8192);
    buf_printf(&b, "{\"name\":\"%4096s\"}", "x");
    refuse(buf_view(&b), "filter");

    filter("{\"$not\":{\"$not\":{\"$not\":{\"$not\":{\"n\":1}}}}}");
    refuse(S("{\"$not\":{\"$not\":{\"$not\":{\"$not\":{\"$not\":{\"n\":1}}}}}}"), "filter.$not.$not.$not.$not.$not");

    for (int leaves = 50; leaves <= 51; leaves++) {
        buf_clear(&b);
        buf_z(&b, "{\"$or\":[");
        for (int i = 0; i < leaves; i++)
            buf_printf(&b, "%s{\"n\":%d}", i > 0 ? "," : "", i);
        buf_z(&b, "]}");
        if (leaves == 50)
            assert_true(filter_match(filter(arena_z(&arena, buf_view(&b))), parse(S("{\"n\":49}"))));
        else
            refuse(buf_view(&b), "filter");
    }
    for (int values = 100; values <= 101; values++) {
        buf_clear(&b);
        buf_z(&b, "{\"n\":{\"$in\":[");
        for (int i = 0; i < values; i++)
            buf_printf(&b, "%s%d", i > 0 ? "," : "", i);
        buf_z(&b, "]}}");
        if (values == 100)
            assert_true(filter_match(filter(arena_z(&arena, buf_view(&b))), parse(S("{\"n\":99}"))));
        else
            refuse(buf_view(&b), "filter.n.$in");
    }
}

static const struct filter *parameter(const char *name, const char *first, const char *second)
{
    const struct filter *f;
    struct str values[] = {str_z(first), str_z(second)};
    faults_init(faults, &arena);
    if (!filter_parameter(&arena, rows, str_z(name), values, second == NULL ? 1 : 2, faults, &f))
        return NULL;
    assert_int_equal(faults->n, 0);
    return f;
}

static void parameters_take_one_of_several_values(void **state)
{
    (void)state;
    const struct json *document = parse(S(DOCUMENT));
    assert_true(filter_match(parameter("state", "idle,active", NULL), document));
    assert_true(filter_match(parameter("state", "idle", "active"), document));
    assert_false(filter_match(parameter("state", "idle,gone", NULL), document));
    assert_true(filter_match(parameter("n", "5", NULL), document));
    assert_true(filter_match(parameter("ratio", "1.50", NULL), document));
    assert_true(filter_match(parameter("on", "true", NULL), document));
    assert_true(filter_match(parameter("labels.role", "db", NULL), document));
    assert_true(filter_match(parameter("at", "2026-03-01T12:00:00Z", NULL), document));

    const struct {
        const char *name, *value, *code;
    } bad[] = {
        {"state", "dead", "VAL_INVALID_ENUM"}, {"state", "active,", "VAL_INVALID_ENUM"},
        {"n", "5x", "VAL_INVALID_TYPE"},       {"n", "", "VAL_INVALID_TYPE"},
        {"ratio", "nan", "VAL_INVALID_TYPE"},  {"on", "1", "VAL_INVALID_TYPE"},
        {"owner", "me", "VAL_INVALID_FORMAT"}, {"nope", "1", "VAL_UNKNOWN_FIELD"},
        {"labels", "x", "VAL_UNKNOWN_FIELD"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(parameter(bad[i].name, bad[i].value, NULL));
        assert_string_equal(faults->list[0].code, bad[i].code);
        assert_true(str_starts(faults->list[0].field, S("query.")));
    }
}

static void facets_have_names(void **state)
{
    (void)state;
    struct facet f;
    assert_true(filter_facet(&arena, S("state"), parse(S("\"active\"")), &f));
    assert_true(str_eqz(f.field, "state") && str_eqz(f.value, "active"));
    assert_true(filter_facet(&arena, S("state"), NULL, &f));
    assert_true(str_eqz(f.field, "state!") && str_eqz(f.value, ""));
    assert_true(filter_facet(&arena, S("n"), parse(S("-7")), &f));
    assert_true(str_eqz(f.value, "-7"));
    assert_true(filter_facet(&arena, S("n"), parse(S("\"~x\"")), &f));
    assert_int_equal(f.value.n, 65);
    assert_false(filter_facet(&arena, S("n"), parse(S("[]")), &f));
    assert_true(str_eqz(filter_map_path(&arena, S("labels"), S("a=b%!")), "labels.a%3Db%25%21"));
}

/* Documents, filters over them at random, and two ways to the same answer. */
enum { DOCUMENTS = 300, FILTERS = 3000 };

static uint64_t seed = 42;

static unsigned below(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

static struct json *random_document(struct arena *a)
{
    struct buf b;
    buf_init_arena(&b, a, 128);
    buf_printf(&b, "{\"n\":%u,\"on\":%s", below(4), below(2) ? "true" : "false");
    if (below(3))
        buf_printf(&b, ",\"state\":\"%s\"", states[below(3)]);
    if (below(3))
        buf_printf(&b, ",\"tags\":[\"%c\",\"%c\"]", 'a' + (int)below(3), 'a' + (int)below(3));
    if (below(2))
        buf_printf(&b, ",\"labels\":{\"x\":\"%u\"}", below(2));
    buf_printf(&b, ",\"ratio\":%u.5}", below(3));
    return json_parse(a, buf_view(&b), NULL, NULL);
}

static void random_filter(struct buf *b, unsigned depth)
{
    static const char *const combinators[] = {"$and", "$or"};
    switch (below(depth > 3 ? 7 : 9)) {
    case 0:
        buf_printf(b, "{\"n\":{\"$in\":[%u,%u]}}", below(5), below(5));
        break;
    case 1:
        buf_printf(b, "{\"state\":%s}", below(2) ? "null" : "\"idle\"");
        break;
    case 2:
        buf_printf(b, "{\"tags\":{\"%s\":\"%c\"}}", below(2) ? "$eq" : "$ne", 'a' + (int)below(4));
        break;
    case 3:
        buf_printf(b, "{\"labels.x\":%s}", below(2) ? "\"1\"" : "null");
        break;
    case 4:
        buf_printf(b, "{\"ratio\":{\"$lt\":%u}}", below(4));
        break;
    case 5:
        buf_printf(b, "{\"on\":%s,\"n\":{\"$gt\":%u}}", below(2) ? "true" : "false", below(3));
        break;
    case 6:
        buf_printf(b, "{\"on\":{\"$exists\":%s}}", below(2) ? "true" : "false");
        break;
    case 7:
        buf_z(b, "{\"$not\":");
        random_filter(b, depth + 1);
        buf_z(b, "}");
        break;
    default:
        buf_printf(b, "{\"%s\":[", combinators[below(2)]);
        random_filter(b, depth + 1);
        buf_z(b, ",");
        random_filter(b, depth + 1);
        buf_z(b, "]}");
    }
}

/* Does `document` have the facet? What document_index does, the other way round. */
static bool has(struct arena *a, const struct json *document, struct str name)
{
    if (str_eqz(name, "*="))
        return true;
    const char *scalars[] = {"n", "on", "state"};
    struct facet f;
    struct buf b;
    buf_init_arena(&b, a, 64);
    for (size_t i = 0; i < ARRAY_LEN(scalars); i++) {
        assert_true(filter_facet(a, str_z(scalars[i]), json_get(document, scalars[i]), &f));
        buf_printf(&b, "|" STR_FMT "=" STR_FMT "|", STR_ARG(f.field), STR_ARG(f.value));
    }
    const struct json *tags = json_get(document, "tags");
    for (size_t i = 0; i < json_count(tags); i++)
        buf_printf(&b, "|tags=" STR_FMT "|", STR_ARG(json_str(json_at(tags, i))));
    buf_printf(&b, "|labels.x=" STR_FMT "|", STR_ARG(json_str(json_path(document, S("labels.x")))));
    struct str framed = arena_printf(a, "|" STR_FMT "|", STR_ARG(name));
    return str_find(buf_view(&b), framed) >= 0;
}

static void facets_and_the_rest_agree_with_looking_at_every_document(void **state)
{
    (void)state;
    const struct json *documents[DOCUMENTS];
    unsigned split = 0;
    for (size_t i = 0; i < DOCUMENTS; i++)
        documents[i] = random_document(&arena);
    for (unsigned round = 0; round < FILTERS; round++) {
        struct arena a;
        struct buf text;
        const struct filter *f, *facets, *rest;
        struct filter_names names;
        arena_init(&a, 0);
        buf_init_arena(&text, &a, 256);
        random_filter(&text, 1);
        faults_init(faults, &a);
        if (!filter_parse(&a, rows, buf_view(&text), faults, &f))
            fail_msg(STR_FMT " " STR_FMT, STR_ARG(buf_view(&text)), STR_ARG(faults->list[0].message));
        assert_true(filter_split(&a, f, &facets, &rest));
        split += facets != NULL && rest != NULL;
        assert_true(filter_names(&a, facets, &names));
        struct bitmap *maps = arena_array(&a, names.n, sizeof *maps), bits;
        for (size_t i = 0; i < names.n; i++) {
            maps[i] = (struct bitmap){arena_array(&a, DOCUMENTS / 64 + 1, 8), 0};
            for (size_t d = 0; d < DOCUMENTS; d++)
                if (has(&a, documents[d], names.list[i])) {
                    maps[i].words[d / 64] |= UINT64_C(1) << d % 64;
                    maps[i].n = d / 64 + 1;
                }
        }
        assert_true(filter_bitmap(&a, facets, &names, maps, &bits));
        size_t count = 0;
        for (size_t d = 0; d < DOCUMENTS; d++) {
            bool candidate = d / 64 < bits.n && bits.words[d / 64] >> d % 64 & 1;
            count += candidate;
            if ((candidate && filter_match(rest, documents[d])) != filter_match(f, documents[d]))
                fail_msg("round %u, document %zu: " STR_FMT, round, d, STR_ARG(buf_view(&text)));
        }
        assert_int_equal(bitmap_count(&bits), count);
        arena_fini(&a);
    }
    assert_true(split > FILTERS / 20);
}

static void memory_that_runs_out_is_no_fault(void **state)
{
    (void)state;
    struct str text =
        S("{\"$or\":[{\"n\":1,\"owner\":\"0190A5B0-0000-7000-8000-0000000000AB\"},{\"labels.a\":{\"$in\":[\"x\"]}}]}");
    size_t limit = 0;
    for (bool done = false; !done; limit += 64) {
        struct arena small;
        const struct filter *f;
        arena_init(&small, limit + 1);
        faults_init(faults, &small);
        done = filter_parse(&small, rows, text, faults, &f);
        assert_int_equal(faults->n, 0);
        arena_fini(&small);
    }
    assert_true(limit > 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(conditions_hold_or_do_not, setup, teardown),
        cmocka_unit_test_setup_teardown(faults_name_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(size_depth_and_counts_are_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_take_one_of_several_values, setup, teardown),
        cmocka_unit_test_setup_teardown(facets_have_names, setup, teardown),
        cmocka_unit_test_setup_teardown(facets_and_the_rest_agree_with_looking_at_every_document, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_that_runs_out_is_no_fault, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

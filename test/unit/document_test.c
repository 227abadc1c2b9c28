#include "server/document.h"

#include "lib/crypto.h"
#include "lib/keyring.h"
#include "server/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const states[] = {"on", "off", NULL};

static bool upcast(struct arena *a, struct document *d)
{
    if (d->schema != 1)
        return false;
    d->json = arena_printf(a, "{\"name\":\"from 1\"," STR_FMT, STR_ARG(str_slice(d->json, 1, d->json.n)));
    return d->json.p != NULL;
}

// clang-format off
static const struct field login[] = {
    {"user",     FIELD_STRING},
    {"password", FIELD_STRING, FIELD_SECRET},
    {0}};
static const struct field inner[] = {
    {"zone",  FIELD_STRING, FIELD_FILTER | FIELD_SORT, .max = 100},
    {"login", FIELD_OBJECT, .fields = login},
    {"pin",   FIELD_STRING, FIELD_SECRET},
    {0}};
static const struct field rows[] = {
    {"id",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",      FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .max = 100},
    {"state",     FIELD_ENUM,   FIELD_FILTER, .choices = states},
    {"n",         FIELD_INT,    FIELD_SORT | FIELD_UNIQUE | FIELD_PER_PARENT},
    {"parentId",  FIELD_UUID,   FIELD_READONLY | FIELD_FILTER},
    {"owner",     FIELD_UUID,   FIELD_NULLABLE},
    {"tags",      FIELD_LIST,   FIELD_FILTER, .item = FIELD_STRING},
    {"labels",    FIELD_MAP,    FIELD_FILTER, .item = FIELD_STRING},
    {"inner",     FIELD_OBJECT, .fields = inner},
    {"createdAt", FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"seenAt",    FIELD_TIME,   FIELD_SORT},
    {"secret",    FIELD_STRING, FIELD_SECRET},
    {"key",       FIELD_STRING, FIELD_SECRET},
    {"alive",     FIELD_BOOL,   FIELD_LIVE},
    {0}};
// clang-format on
static const struct resource thing = {
    .kind = "thing", .fields = rows, .parent = "parent", .parent_field = "parentId", .schema = 2, .upcast = upcast};

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
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

static void is(struct str got, const char *want)
{
    assert_non_null(got.p);
    assert_string_equal(arena_z(&arena, got), want);
}

static void a_document_is_the_rows_in_canonical_order(void **state)
{
    (void)state;
    struct overlays over = {.arena = &arena};
    overlay_str(&over, "id", S("i"));
    overlay_int(&over, "n", 7);
    overlay_int(&over, "n", 8);
    overlay_drop(&over, "state");
    overlay_str(&over, "nope", S("not a row"));
    is(document_render(
           &arena, rows,
           parse("{\"state\":\"on\",\"secret\":\"x\",\"name\":\"a\",\"inner\":{\"zone\":\"z\"},\"alive\":true}"),
           parse("{\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"name\":\"old\",\"tags\":[\"old\"]}"), &over),
       "{\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"id\":\"i\",\"inner\":{\"zone\":\"z\"},\"n\":8,\"name\":\"a\","
       "\"owner\":null}");
}

static void every_kind_of_value_can_be_laid_over(void **state)
{
    (void)state;
    struct overlays over = {.arena = &arena};
    overlay_bool(&over, "state", true);
    overlay_time(&over, "createdAt", 0);
    overlay_null(&over, "name");
    overlay_json(&over, "labels", parse("{\"b\":1,\"a\":2}"));
    is(document_render(&arena, rows, NULL, NULL, &over),
       "{\"createdAt\":\"1970-01-01T00:00:00.000Z\",\"labels\":{\"a\":2,\"b\":1},\"name\":null,\"owner\":null,"
       "\"state\":true}");
    for (int i = 0; i < 40; i++)
        overlay_raw(&over, arena_printf(&arena, "m%d", i).p, S("1"));
    assert_true(over.failed);
    assert_null(document_render(&arena, rows, NULL, NULL, &over).p);
}

static void only_what_a_body_may_set_is_merged(void **state)
{
    (void)state;
    struct buf b;
    buf_init_arena(&b, &arena, 64);
    json_write(&b, document_writable(&arena, rows,
                                     parse("{\"id\":\"i\",\"name\":\"a\",\"gone\":1,\"createdAt\":\"x\",\"n\":1}")));
    is(buf_view(&b), "{\"n\":1,\"name\":\"a\"}");
}

static void live_members_are_appended(void **state)
{
    (void)state;
    is(document_answer(&arena, &(struct document){.json = S("{\"a\":1}")}), "{\"a\":1}");
    is(document_answer(&arena, &(struct document){.json = S("{\"a\":1}"), .live = S("\"b\":2")}), "{\"a\":1,\"b\":2}");
    is(document_answer(&arena, &(struct document){.json = S("{}"), .live = S("\"b\":2")}), "{\"b\":2}");
}

/* The index' bytes are MessagePack: strings stand in them as they are. */
static bool has(const struct buf *b, const char *text)
{
    return str_find(buf_view(b), str_z(text)) >= 0;
}

static void the_index_follows_from_the_rows(void **state)
{
    (void)state;
    struct commit_index x;
    document_index(&x, &arena, &thing,
                   parse("{\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"id\":\"i\",\"inner\":{\"zone\":\"z\"},"
                         "\"labels\":{\"a=b\":\"c\"},\"n\":5,\"name\":\"x\",\"owner\":null,\"parentId\":\"p\",\"tags\":"
                         "[\"t1\",\"t2\"]}"));
    const char *facets[] = {"*=",      "name=x",  "state!=",        "parentId=p",
                            "tags=t1", "tags=t2", "labels.a%3Db=c", "inner.zone=z"};
    assert_int_equal(x.facet_count, ARRAY_LEN(facets));
    for (size_t i = 0; i < ARRAY_LEN(facets); i++)
        if (!has(&x.facets, facets[i]))
            fail_msg("no facet %s", facets[i]);
    assert_int_equal(x.number_count, 2);
    assert_true(has(&x.numbers, "n") && has(&x.numbers, "seenAt") && !has(&x.numbers, "createdAt"));
    assert_int_equal(x.text_count, 2);
    assert_true(has(&x.texts, "name") && has(&x.texts, "inner.zone"));
    assert_int_equal(x.unique_count, 2);
    assert_true(has(&x.uniques, "name") && has(&x.uniques, "p:n"));
}

static void a_draft_has_the_index_of_what_it_renders(void **state)
{
    (void)state;
    struct commit_index made, read;
    struct overlays over = {.arena = &arena};
    overlay_str(&over, "parentId", S("p"));
    overlay_time(&over, "seenAt", 86400000);
    overlay_raw(&over, "labels", S("{\"a\":\"1\",\"b\":\"2\"}"));
    overlay_drop(&over, "state");
    const struct draft draft = {
        .whole =
            parse("{\"inner\":{\"pin\":\"1\",\"zone\":\"z\"},\"n\":5,\"name\":\"x\",\"secret\":\"s\",\"state\":\"on\","
                  "\"tags\":[\"t\"]}"),
        .old = parse("{\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"id\":\"i\",\"name\":\"old\"}"),
        .over = &over};
    document_index_draft(&made, &arena, &thing, &draft);
    struct str text = document_render(&arena, rows, draft.whole, draft.old, &over);
    document_index(&read, &arena, &thing, parse(arena_z(&arena, text)));
    assert_true(str_eq(buf_view(&made.facets), buf_view(&read.facets)));
    assert_true(str_eq(buf_view(&made.numbers), buf_view(&read.numbers)));
    assert_true(str_eq(buf_view(&made.texts), buf_view(&read.texts)));
    assert_true(str_eq(buf_view(&made.uniques), buf_view(&read.uniques)));
    assert_int_equal(made.unique_count, 2);
}

static void old_schemas_are_brought_up(void **state)
{
    (void)state;
    enum code why = OK;
    struct document d = {.id = S("i"), .json = S("{\"n\":1}"), .schema = 1};
    const struct json *json = document_parse(&arena, &thing, &d, &why);
    assert_true(str_eqz(json_str(json_get(json, "name")), "from 1"));
    assert_int_equal(d.schema, 2);

    struct document newer = {.id = S("i"), .json = S("{}"), .schema = 3};
    assert_null(document_parse(&arena, &thing, &newer, &why));
    assert_int_equal(why, SYS_INTERNAL);
    struct document lost = {.id = S("i"), .json = S("{}"), .schema = 0};
    assert_null(document_parse(&arena, &thing, &lost, &why));
    struct document damaged = {.id = S("i"), .json = S("{"), .schema = 2};
    assert_null(document_parse(&arena, &thing, &damaged, &why));
}

static void secrets_are_sealed_for_their_place_and_merged(void **state)
{
    (void)state;
    char path[] = "/tmp/slipway-document-XXXXXX", error[256];
    assert_non_null(mkdtemp(path));
    struct str file = arena_printf(&arena, "%s/keyring", path);
    struct keyring *k = keyring_open(file.p, true, error);
    assert_non_null(k);
    const struct space space = {3, S("tenant")}, other = {3, S("another")};
    bool failed;

    struct str first = document_seal(&arena, k, space, &thing, S("i"), STR_NONE,
                                     parse("{\"secret\":\"s\",\"key\":\"k\",\"n\":1}"), &failed);
    assert_false(failed);
    assert_true(first.n > 0 && str_find(first, S("\"s\"")) < 0);
    struct str second = document_seal(&arena, k, space, &thing, S("i"), first, parse("{\"key\":null}"), &failed);
    const struct json *open = document_unseal(&arena, k, space, &thing, S("i"), second);
    assert_true(str_eqz(json_str(json_get(open, "secret")), "s"));
    assert_null(json_get(open, "key"));
    assert_null(document_seal(&arena, k, space, &thing, S("i"), first, parse("{\"n\":2}"), &failed).p);
    assert_false(failed);
    assert_null(document_unseal(&arena, k, other, &thing, S("i"), second));

    struct json *deep =
        parse("{\"inner\":{\"login\":{\"password\":\"p\",\"user\":\"u\"},\"pin\":\"1\",\"zone\":\"z\"}}");
    is(document_render(&arena, rows, deep, NULL, NULL),
       "{\"inner\":{\"login\":{\"user\":\"u\"},\"zone\":\"z\"},\"owner\":null}");
    struct str third = document_seal(&arena, k, space, &thing, S("i"), first, deep, &failed);
    open = document_unseal(&arena, k, space, &thing, S("i"), third);
    assert_true(str_eqz(json_str(json_get(json_get(json_get(open, "inner"), "login"), "password")), "p"));
    assert_true(str_eqz(json_str(json_get(open, "key")), "k"));
    third = document_seal(&arena, k, space, &thing, S("i"), third, parse("{\"inner\":{\"login\":null}}"), &failed);
    open = json_get(document_unseal(&arena, k, space, &thing, S("i"), third), "inner");
    assert_null(json_get(open, "login"));
    assert_true(str_eqz(json_str(json_get(open, "pin")), "1"));
    assert_null(
        document_seal(&arena, k, space, &thing, S("i"), third, parse("{\"inner\":{\"zone\":\"y\"}}"), &failed).p);
    assert_false(failed);
    assert_null(document_unseal(&arena, k, space, &thing, S("j"), second));

    keyring_free(k);
    unlink(file.p);
    rmdir(path);
}

static bool has_flag(const struct field *fields, unsigned flag)
{
    for (const struct field *row = fields; row->name != NULL; row++)
        if ((row->flags & flag) != 0 || (row->fields != NULL && has_flag(row->fields, flag)))
            return true;
    return false;
}

static void check_rows(const struct resource *of, const struct field *fields, const char *prefix)
{
    for (const struct field *row = fields; row->name != NULL; row++) {
        bool text = row->type == FIELD_STRING;
        if (row->flags & FIELD_FILTER && text && (row->max == 0 || row->max > 255))
            fail_msg("%s: %s%s has facets but no bound of 255", of->kind, prefix, row->name);
        if (row->flags & FIELD_FILTER && (row->type == FIELD_TIME || row->type == FIELD_NUMBER))
            fail_msg("%s: %s%s has more values than facets are for", of->kind, prefix, row->name);
        if (row->flags & FIELD_SECRET && row->flags & FIELD_REQUIRED)
            fail_msg("%s: %s%s is secret and cannot be required", of->kind, prefix, row->name);
        if (row->fields != NULL && row->type != FIELD_OBJECT && has_flag(row->fields, FIELD_SECRET))
            fail_msg("%s: secrets of %s%s could not be told apart", of->kind, prefix, row->name);
        if ((row->type == FIELD_ENUM || row->item == FIELD_ENUM) && row->choices == NULL)
            fail_msg("%s: %s%s has no choices", of->kind, prefix, row->name);
        if (row->pattern != NULL && strstr(row->pattern, "[[:") != NULL)
            fail_msg("%s: the pattern of %s%s is not one that JavaScript reads", of->kind, prefix, row->name);
        if (row->alias != NULL && field_find(fields, str_z(row->alias)) == NULL)
            fail_msg("%s: %s%s is another name of nothing", of->kind, prefix, row->name);
        if (row->ref != NULL && resource_find(row->ref) == NULL)
            fail_msg("%s: %s%s refers to an unknown kind", of->kind, prefix, row->name);
        if (row->preset != NULL && json_parse(&arena, str_z(row->preset), NULL, NULL) == NULL)
            fail_msg("%s: the default of %s%s is no JSON", of->kind, prefix, row->name);
        if (row->fields != NULL)
            check_rows(of, row->fields, arena_printf(&arena, "%s%s.", prefix, row->name).p);
    }
}

/* Permissions can be narrowed to environments, so what belongs to one says so. The trail is read whole or not at all. */
static void check_scope(const struct resource *of)
{
    for (const struct field *row = of->fields; row->name != NULL; row++) {
        bool named = strcmp(row->name, "environmentId") == 0 || strcmp(row->name, "targetEnvironmentId") == 0;
        if (named && (row->flags & FIELD_SCOPE) == 0 && strcmp(of->kind, "audit-event") != 0)
            fail_msg("%s: %s lacks FIELD_SCOPE", of->kind, row->name);
    }
    if (of->below != NULL && resource_find(of->below) == NULL)
        fail_msg("%s is below an unknown kind", of->kind);
}

/* What the compiler cannot see in the rows of every resource. */
static void all_rows_are_sound(void **state)
{
    (void)state;
    for (size_t i = 0; dialects[i] != NULL; i++)
        for (const struct resource *const *r = dialects[i]->resources; *r != NULL; r++) {
            if ((*r)->fields != NULL)
                check_rows(*r, (*r)->fields, "");
            if ((*r)->fields != NULL)
                check_scope(*r);
            if ((*r)->parent_field != NULL)
                assert_non_null(field_find((*r)->fields, str_z((*r)->parent_field)));
            if ((*r)->parent != NULL) {
                const struct field *row = field_find((*r)->fields, str_z((*r)->parent_field));
                assert_non_null(row);
                assert_non_null(row->ref);
                assert_true((row->flags & FIELD_FILTER) != 0 && (row->flags & FIELD_READONLY) != 0);
            }
        }
}

int main(void)
{
    if (!crypto_init())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_document_is_the_rows_in_canonical_order, setup, teardown),
        cmocka_unit_test_setup_teardown(every_kind_of_value_can_be_laid_over, setup, teardown),
        cmocka_unit_test_setup_teardown(only_what_a_body_may_set_is_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(live_members_are_appended, setup, teardown),
        cmocka_unit_test_setup_teardown(the_index_follows_from_the_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_draft_has_the_index_of_what_it_renders, setup, teardown),
        cmocka_unit_test_setup_teardown(old_schemas_are_brought_up, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_are_sealed_for_their_place_and_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(all_rows_are_sound, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

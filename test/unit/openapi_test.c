#include "server/openapi.h"

#include "server/docs.h"
#include "server/openapi_part.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;
static struct json *document;

static int setup(void **state)
{
    (void)state;
    struct buf b;
    const struct json_limits limits = {.depth = 100, .nodes = 10000000};
    arena_init(&arena, 0);
    buf_init_arena(&b, &arena, 1 << 16);
    openapi_write(&b);
    assert_false(b.failed);
    document = json_parse(&arena, buf_view(&b), &limits, NULL);
    assert_non_null(document);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* "#/components/schemas/Meta" */
static const struct json *target(struct str ref)
{
    const struct json *at = document;
    str_cut(&ref, '/');
    while (at != NULL && ref.p != NULL)
        at = json_get_str(at, str_cut(&ref, '/'));
    return at;
}

static void check_references(const struct json *j)
{
    struct str ref = json_str(json_get(j, "$ref"));
    if (ref.p != NULL && target(ref) == NULL)
        fail_msg(STR_FMT " is not there", STR_ARG(ref));
    for (struct json_iter it = json_members(json_is(j, JSON_OBJECT) ? j : NULL); json_next(&it);)
        check_references(it.value);
    for (size_t i = 0; json_is(j, JSON_ARRAY) && i < json_count(j); i++)
        check_references(json_at(j, i));
}

static void every_reference_leads_somewhere(void **state)
{
    (void)state;
    check_references(document);
}

static void operations_have_names_of_their_own_and_all_errors(void **state)
{
    (void)state;
    struct json *seen = json_new(&arena, JSON_OBJECT);
    size_t n = 0;
    for (struct json_iter path = json_members(json_get(document, "paths")); json_next(&path);)
        for (struct json_iter op = json_members(path.value); json_next(&op); n++) {
            struct str id = json_str(json_get(op.value, "operationId"));
            const struct json *responses = json_get(op.value, "responses");
            assert_non_null(id.p);
            if (json_get_str(seen, id) != NULL)
                fail_msg(STR_FMT " is there twice", STR_ARG(id));
            json_set(&arena, seen, id, json_new_bool(true));
            assert_non_null(json_get(responses, "500"));
            assert_non_null(json_get(responses, "503"));
            bool open = json_is(json_get(op.value, "security"), JSON_ARRAY);
            assert_true(open == (json_get(op.value, "x-permission") == NULL));
            bool anyone = str_eqz(json_str(json_get(op.value, "x-permission")), "any");
            assert_true(open || anyone || json_get(responses, "403") != NULL);
        }
    assert_true(n > 30);
}

static void codes_follow_from_the_rows(void **state)
{
    (void)state;
    const struct json *create = json_get(json_get(json_get(document, "paths"), "/api/v1/environments"), "post");
    const char *wanted[] = {"VAL_FAILED",  "VAL_MALFORMED_JSON", "RES_ALREADY_EXISTS",       "RES_REFERENCE_UNKNOWN",
                            "PERM_DENIED", "RES_BODY_TOO_LARGE", "RES_IDEMPOTENCY_CONFLICT", "ENV_ORDER_VIOLATION"};
    const struct json *codes = json_get(create, "x-codes");
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        bool found = false;
        for (size_t k = 0; k < json_count(codes); k++)
            found = found || str_eqz(json_str(json_at(codes, k)), wanted[i]);
        if (!found)
            fail_msg("%s is not among the codes", wanted[i]);
    }
    assert_non_null(json_get(json_get(create, "responses"), "422"));
    assert_null(json_get(json_get(create, "responses"), "404"));
}

static void objects_with_rows_are_closed(void **state)
{
    (void)state;
    for (struct json_iter it = json_members(json_path(document, S("components.schemas"))); json_next(&it);)
        if (json_get(it.value, "properties") != NULL && json_bool(json_get(it.value, "additionalProperties"), true))
            fail_msg(STR_FMT " is open", STR_ARG(it.name));
}

static void the_page_for_people_names_codes_roles_and_limits(void **state)
{
    (void)state;
    struct buf b = {0};
    docs_write(&b);
    const char *wanted[] = {"VAL_FILTER_TOO_BROAD", "release-manager", "list-examined",
                            "deployments:write",    "/v1/auth/token",  "/api/v1/environments/{id}"};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        assert_true(str_find(buf_view(&b), str_z(wanted[i])) >= 0);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_reference_leads_somewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(operations_have_names_of_their_own_and_all_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(codes_follow_from_the_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(objects_with_rows_are_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_page_for_people_names_codes_roles_and_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

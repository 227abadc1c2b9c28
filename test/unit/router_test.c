#include "server/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum flow handle(struct request *r)
{
    (void)r;
    return DONE;
}

static const struct field none[] = {{0}};

// clang-format off
static const struct route thing_routes[] = {
    {POST,        "/things",                     handle, "environment:create", "createThing"},
    {GET,         "/things",                     handle, "environment:read",   "listThings"},
    {GET,         "/things/{id}",                handle, "environment:read",   "getThing"},
    {PUT | PATCH, "/things/{id}",                handle, "environment:update", "updateThing"},
    {POST,        "/things/from-latest",         handle, "environment:create", "fromLatest"},
    {GET,         "/things/{thingId}/parts/{id}", handle, "environment:read",  "getPart"},
    {GET,         "/things/special/deep/one",    handle, "environment:read",   "getSpecial"},
    ROUTE_END};
static const struct route open_routes[] = {
    {GET, "/livez", handle, NULL, "livez", .flags = ROUTE_PUBLIC},
    ROUTE_END};
// clang-format on

static const struct resource thing = {.kind = "thing", .fields = none, .routes = thing_routes};
static const struct resource health = {.kind = "health", .fields = none, .routes = open_routes};
static const struct resource *const things[] = {&thing, NULL};
static const struct resource *const healths[] = {&health, NULL};
static const struct dialect api = {.name = "api", .base = "/api/v1", .resources = things};
static const struct dialect root = {.name = "root", .base = "", .resources = healths};
static const struct dialect *const both[] = {&api, &root, NULL};

struct fixture {
    struct router *router;
    struct arena arena;
    struct router_match match;
};

static struct fixture f;

static int setup(void **state)
{
    char error[256] = "";
    (void)state;
    f.router = router_new(both, error);
    assert_string_equal(error, "");
    assert_non_null(f.router);
    arena_init(&f.arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    router_free(f.router);
    arena_fini(&f.arena);
    return 0;
}

static const char *find(enum method method, const char *path)
{
    assert_true(router_find(f.router, &f.arena, method, str_z(path), &f.match));
    return f.match.route == NULL ? NULL : f.match.route->id;
}

static void paths_lead_to_their_routes(void **state)
{
    (void)state;
    assert_string_equal(find(GET, "/livez"), "livez");
    assert_string_equal(find(POST, "/api/v1/things"), "createThing");
    assert_string_equal(find(GET, "/api/v1/things"), "listThings");
    assert_string_equal(find(GET, "/api/v1/things/7"), "getThing");
    assert_true(str_eq(f.match.params[0], S("7")));
    assert_string_equal(find(PATCH, "/api/v1/things/7"), "updateThing");
    assert_string_equal(find(GET, "/api/v1/things/7/parts/9"), "getPart");
    assert_true(str_eq(f.match.params[0], S("7")));
    assert_true(str_eq(f.match.params[1], S("9")));
    assert_ptr_equal(f.match.resource, &thing);
}

static void a_literal_wins_and_leads_back_when_it_leads_nowhere(void **state)
{
    (void)state;
    assert_string_equal(find(POST, "/api/v1/things/from-latest"), "fromLatest");
    assert_null(find(GET, "/api/v1/things/from-latest"));
    assert_int_equal(f.match.allow, POST | OPTIONS);
    assert_string_equal(find(GET, "/api/v1/things/special/deep/one"), "getSpecial");
    assert_string_equal(find(GET, "/api/v1/things/special/parts/1"), "getPart");
    assert_true(str_eq(f.match.params[0], S("special")));
}

static void unknown_paths_allow_nothing(void **state)
{
    (void)state;
    static const char *const paths[] = {"",
                                        "/",
                                        "*",
                                        "/api",
                                        "/api/v1",
                                        "/api/v1/",
                                        "/api/v1/thing",
                                        "/api/v1/things/",
                                        "/api/v1//things",
                                        "/api/v1/things//parts/1",
                                        "/api/v1/things/7/parts",
                                        "/api/v1/things/7/parts/",
                                        "/api/v1/things/7/parts/1/x",
                                        "/API/v1/things",
                                        "api/v1/things",
                                        "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_null(find(GET, paths[i]));
        assert_int_equal(f.match.allow, 0);
    }
}

static void other_methods_are_told_what_is_allowed(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_null(find(DELETE, "/api/v1/things"));
    method_list(&b, f.match.allow);
    assert_int_equal(b.n, strlen("GET, HEAD, POST, OPTIONS"));
    assert_memory_equal(b.p, "GET, HEAD, POST, OPTIONS", b.n);
    buf_free(&b);
    assert_null(find(0, "/api/v1/things"));
    assert_int_not_equal(f.match.allow, 0);
}

static void head_is_answered_by_get(void **state)
{
    (void)state;
    assert_string_equal(find(HEAD, "/api/v1/things"), "listThings");
    assert_null(find(HEAD, "/api/v1/things/from-latest"));
}

static void an_encoded_slash_stays_inside_its_segment(void **state)
{
    (void)state;
    assert_string_equal(find(GET, "/api/v1/things/a%2Fb"), "getThing");
    assert_true(str_eq(f.match.params[0], S("a/b")));
    assert_string_equal(find(GET, "/api/v1/things/50%25"), "getThing");
    assert_true(str_eq(f.match.params[0], S("50%")));
}

static void refused(const struct route *routes, const char *want)
{
    char error[256] = "";
    const struct resource bad = {.kind = "bad", .fields = none, .routes = routes};
    const struct resource *const list[] = {&bad, NULL};
    const struct dialect d = {.name = "bad", .base = "/b", .resources = list};
    const struct dialect *const all[] = {&d, NULL};
    assert_null(router_new(all, error));
    assert_non_null(strstr(error, want));
}

static void rows_that_cannot_work_refuse_the_start(void **state)
{
    (void)state;
    const struct route duplicate[] = {
        {GET, "/x", handle, "environment:read"}, {GET, "/x", handle, "environment:read"}, ROUTE_END};
    const struct route renamed[] = {
        {GET, "/x/{a}", handle, "environment:read"}, {GET, "/x/{b}", handle, "environment:read"}, ROUTE_END};
    const struct route shadowed[] = {
        {GET, "/x/{a}", handle, "environment:read"}, {GET, "/x/y", handle, "environment:read"}, ROUTE_END};
    const struct route deep[] = {
        {GET, "/x/{a}/c", handle, "environment:read"}, {GET, "/x/b/{d}", handle, "environment:read"}, ROUTE_END};
    const struct route unknown[] = {{GET, "/x", handle, "environment:fly"}, ROUTE_END};
    const struct route silent[] = {{GET, "/x", handle, NULL}, ROUTE_END};
    const struct route empty[] = {{GET, "/x", NULL, "environment:read"}, ROUTE_END};
    const struct route many[] = {{GET, "/{a}/{b}/{c}/{d}/{e}", handle, "environment:read"}, ROUTE_END};
    refused(duplicate, "match the same requests");
    refused(renamed, "match the same requests");
    refused(shadowed, "match the same requests");
    refused(deep, "match the same requests");
    refused(unknown, "unknown permission");
    refused(silent, "needs a permission");
    refused(empty, "no handler");
    refused(many, "too many segments");
}

static void methods_have_names(void **state)
{
    (void)state;
    assert_int_equal(method_parse(S("PATCH")), PATCH);
    assert_int_equal(method_parse(S("get")), 0);
    assert_int_equal(method_parse(S("TRACE")), 0);
    assert_string_equal(method_name(DELETE), "DELETE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_lead_to_their_routes),
        cmocka_unit_test(a_literal_wins_and_leads_back_when_it_leads_nowhere),
        cmocka_unit_test(unknown_paths_allow_nothing),
        cmocka_unit_test(other_methods_are_told_what_is_allowed),
        cmocka_unit_test(head_is_answered_by_get),
        cmocka_unit_test(an_encoded_slash_stays_inside_its_segment),
        cmocka_unit_test(rows_that_cannot_work_refuse_the_start),
        cmocka_unit_test(methods_have_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

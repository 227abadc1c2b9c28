#include "server/oauth/scopes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static bool grants(const char *scope, const char *permission)
{
    struct permission_set set = {{0}};
    scopes_add(&set, str_z(scope));
    return permission_has(&set, (size_t)permission_find(str_z(permission)));
}

static void every_row_grants_permissions_that_there_are(void **state)
{
    (void)state;
    const char *name, *list, *doc;
    size_t i = 0;
    for (; scopes_row(i, &name, &list, &doc); i++) {
        struct str rest = str_z(list), one;
        assert_true(scopes_known(str_z(name)));
        while (scopes_next(&rest, &one)) {
            struct permission_set set = {{0}};
            assert_true(permission_add(&set, one));
        }
    }
    assert_true(i > 0);
}

static void write_grants_what_read_does(void **state)
{
    (void)state;
    static const char *const kinds[] = {"projects", "deployments", "environments"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char read[32], write[32];
        snprintf(read, sizeof read, "%s:read", kinds[i]);
        snprintf(write, sizeof write, "%s:write", kinds[i]);
        assert_true(scopes_cover(str_z(write), str_z(read)));
        assert_false(scopes_cover(str_z(read), str_z(write)));
    }
}

static void nobody_manages_the_tenant_or_is_an_agent_by_a_row(void **state)
{
    (void)state;
    const char *name, *list, *doc;
    for (size_t i = 0; scopes_row(i, &name, &list, &doc); i++) {
        assert_false(grants(name, "tenant:manage"));
        assert_false(grants(name, "agent:connect"));
        assert_false(grants(name, "audit:read"));
    }
}

static void permissions_are_scopes_too(void **state)
{
    (void)state;
    assert_true(scopes_known(S("release:read")));
    assert_true(scopes_known(S("workflow:*")));
    assert_true(scopes_known(S("promotion:request@prod")));
    assert_false(scopes_known(S("")));
    assert_false(scopes_known(S("openid")));
    assert_false(scopes_known(S("release:read@")));
    assert_false(scopes_known(S("projects:read@prod")));
}

static void what_grants_nothing_more_is_covered(void **state)
{
    (void)state;
    assert_true(scopes_cover(S("workflow:* release:read"), S("workflow:read")));
    assert_true(scopes_cover(S("projects:read"), S("release:read")));
    assert_true(scopes_cover(S("component:* release:* integration:* artifact:read"), S("projects:write")));
    assert_true(scopes_cover(S("promotion:request@prod"), S("promotion:request@prod")));
    assert_true(scopes_cover(S("promotion:request"), S("promotion:request@prod")));
    assert_false(scopes_cover(S("promotion:request@prod"), S("promotion:request")));
    assert_false(scopes_cover(S("promotion:request@prod"), S("promotion:request@stage")));
    assert_false(scopes_cover(S("release:read"), S("release:*")));
    assert_false(scopes_cover(S("*"), S("openid")));
    assert_false(scopes_cover(STR_NONE, S("release:read")));
    assert_false(scopes_cover(S("*"), S("agent:connect")));
}

static void a_malformed_list_has_an_empty_name(void **state)
{
    (void)state;
    static const char *const lists[] = {"", " a", "a ", "a  b"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct str rest = str_z(lists[i]), name;
        bool empty = false;
        while (scopes_next(&rest, &name))
            empty = empty || name.n == 0;
        assert_true(empty);
    }
}

static void the_claim_names_each_permission_once(void **state)
{
    (void)state;
    struct str out[16];
    size_t n = scopes_permissions(S("metrics:read dashboard:read promotion:request@prod"), out, ARRAY_LEN(out));
    assert_int_equal(n, 2);
    assert_true(str_eqz(out[0], "dashboard:read"));
    assert_true(str_eqz(out[1], "promotion:request@prod"));
    assert_int_equal(scopes_permissions(S("projects:read"), out, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_grants_permissions_that_there_are),
        cmocka_unit_test(write_grants_what_read_does),
        cmocka_unit_test(nobody_manages_the_tenant_or_is_an_agent_by_a_row),
        cmocka_unit_test(permissions_are_scopes_too),
        cmocka_unit_test(what_grants_nothing_more_is_covered),
        cmocka_unit_test(a_malformed_list_has_an_empty_name),
        cmocka_unit_test(the_claim_names_each_permission_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

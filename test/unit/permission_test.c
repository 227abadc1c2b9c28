#include "server/permission.h"

#include "server/code.h"
#include "server/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool may(const struct permission_set *set, const char *name)
{
    int bit = permission_find(str_z(name));
    assert_true(bit >= 0);
    return permission_has(set, (size_t)bit);
}

static struct permission_set role(const char *name)
{
    struct permission_set set = {0};
    assert_true(role_find(str_z(name), &set));
    return set;
}

static size_t count(const struct permission_set *set)
{
    size_t n = 0;
    for (size_t i = 0; i < permission_count(); i++)
        n += permission_has(set, i);
    return n;
}

static void every_permission_is_named_once_as_resource_and_action(void **state)
{
    (void)state;
    for (size_t i = 0; i < permission_count(); i++) {
        assert_int_equal(permission_find(str_z(permission_name(i))), i);
        assert_non_null(strchr(permission_name(i), ':'));
        assert_true(strlen(permission_doc(i)) > 5);
    }
    assert_int_equal(permission_find(S("environment")), -1);
    assert_int_equal(permission_find(S("")), -1);
}

static void an_admin_may_everything_but_be_an_agent(void **state)
{
    (void)state;
    struct permission_set admin = role("admin");
    assert_int_equal(count(&admin), permission_count() - 1);
    assert_false(may(&admin, "agent:connect"));
}

static void an_agent_may_be_an_agent_and_fetch_artifacts_and_nothing_else(void **state)
{
    (void)state;
    struct permission_set agent = role("agent");
    assert_int_equal(count(&agent), 2);
    assert_true(may(&agent, "agent:connect"));
    assert_true(may(&agent, "artifact:read"));
}

static void a_viewer_reads_all_but_the_audit_trail(void **state)
{
    (void)state;
    struct permission_set viewer = role("viewer"), auditor = role("auditor");
    for (size_t i = 0; i < permission_count(); i++) {
        struct str name = str_z(permission_name(i));
        bool reads = str_ends(name, S(":read"));
        assert_int_equal(permission_has(&viewer, i), reads && !str_eq(name, S("audit:read")));
    }
    assert_true(may(&auditor, "audit:read"));
    assert_false(may(&auditor, "environment:create"));
}

static void the_other_roles_do_their_work_and_no_more(void **state)
{
    (void)state;
    struct permission_set manager = role("release-manager"), runner = role("operator"), approver = role("approver");
    assert_true(may(&manager, "workflow:execute") && may(&manager, "release:create") &&
                may(&manager, "promotion:request"));
    assert_false(may(&manager, "promotion:approve") || may(&manager, "environment:delete") ||
                 may(&manager, "tenant:manage"));
    assert_true(may(&runner, "agent:register-token") && may(&runner, "workflow:execute"));
    assert_false(may(&runner, "workflow:create") || may(&runner, "agent:connect"));
    assert_true(may(&approver, "promotion:approve"));
    assert_false(may(&approver, "promotion:request") || may(&approver, "workflow:execute"));
}

static void single_permissions_and_wildcards_add_up(void **state)
{
    (void)state;
    struct permission_set set = {0};
    assert_true(permission_add(&set, S("environment:create")));
    assert_int_equal(count(&set), 1);
    assert_true(permission_add(&set, S("workflow:*")));
    assert_true(may(&set, "workflow:read") && may(&set, "workflow:execute") && !may(&set, "agent:read"));
    assert_true(permission_add(&set, S("agent:*")));
    assert_false(may(&set, "agent:connect"));
    static const char *const others[] = {"",
                                         ":",
                                         ":*",
                                         "x:*",
                                         "environment",
                                         "environment:fly",
                                         "environment:create@prod",
                                         "environment:*:x",
                                         "ENVIRONMENT:create",
                                         " *"};
    struct permission_set before = set;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(permission_add(&set, str_z(others[i])));
    assert_memory_equal(&before, &set, sizeof set);
    assert_false(role_find(S("root"), &set));
}

static void a_caller_is_asked_by_name(void **state)
{
    (void)state;
    struct caller c = {.permissions = role("viewer")};
    assert_true(caller_may(&c, "environment:read"));
    assert_false(caller_may(&c, "environment:create"));
    assert_false(caller_may(&c, "no:such"));
}

static void a_narrowed_permission_has_two_parts(void **state)
{
    (void)state;
    struct str what, where;
    assert_true(permission_narrowed(S("target:update@prod-1"), &what, &where));
    assert_true(str_eq(what, S("target:update")) && str_eq(where, S("prod-1")));
    assert_true(permission_narrowed(S("*:read@0190A5B0-0000-7000-8000-0000000000ab"), &what, &where));
    assert_true(permission_covers(what, "target:read"));
    assert_false(permission_covers(what, "target:update"));
    assert_false(permission_covers(S("*"), "agent:connect"));
    static const char *const others[] = {"",   "@",          "target:update",     "target:update@",    "@prod",
                                         "*@", "target@dev", "target:update@a@b", "target:update@a,b", "x:y@dev"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(permission_narrowed(str_z(others[i]), &what, &where));
}

static void every_code_has_a_status_of_its_family(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        int low, high;
    } families[] = {
        {"VAL_", 400, 422}, {"AUTH_", 401, 401}, {"PERM_", 403, 403}, {"RES_", 404, 431}, {"SYS_", 500, 505}};
    for (int c = OK + 1; c < CODES; c++) {
        const char *name = code_name((enum code)c);
        int status = code_status((enum code)c);
        assert_in_range(status, 400, 599);
        assert_true(strlen(code_text((enum code)c)) > 10);
        for (size_t i = 0; i < ARRAY_LEN(families); i++)
            if (strncmp(name, families[i].prefix, strlen(families[i].prefix)) == 0)
                assert_in_range(status, families[i].low, families[i].high);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_permission_is_named_once_as_resource_and_action),
        cmocka_unit_test(an_admin_may_everything_but_be_an_agent),
        cmocka_unit_test(an_agent_may_be_an_agent_and_fetch_artifacts_and_nothing_else),
        cmocka_unit_test(a_viewer_reads_all_but_the_audit_trail),
        cmocka_unit_test(the_other_roles_do_their_work_and_no_more),
        cmocka_unit_test(single_permissions_and_wildcards_add_up),
        cmocka_unit_test(a_caller_is_asked_by_name),
        cmocka_unit_test(a_narrowed_permission_has_two_parts),
        cmocka_unit_test(every_code_has_a_status_of_its_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

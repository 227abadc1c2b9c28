#include "server/caller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct arena arena;

static struct caller caller_with(const char *roles, const char *permissions)
{
    struct caller c = {.permissions = {{0}}};
    assert_true(caller_grant(&arena, &c, str_z(roles), str_z(permissions)));
    return c;
}

static bool may(const struct caller *c, const char *permission)
{
    return permission_has(&c->permissions, (size_t)permission_find(str_z(permission)));
}

static void roles_and_permissions_are_added_up(void **state)
{
    (void)state;
    struct caller c = caller_with("viewer, nobody", "release:create,target:update@prod,none:such");
    assert_true(may(&c, "release:read"));
    assert_true(may(&c, "release:create"));
    assert_false(may(&c, "release:update"));
    assert_true(str_eqz(c.narrowed, "target:update@prod"));
    assert_true(caller_grant(&arena, &c, STR_NONE, S("release:update@test")));
    assert_true(str_eqz(c.narrowed, "target:update@prod,release:update@test"));
}

static void a_bound_takes_away_what_it_does_not_grant(void **state)
{
    (void)state;
    struct caller c = caller_with("admin", "");
    assert_true(caller_bound(&arena, &c, S("viewer"), S("release:create")));
    assert_true(may(&c, "release:create"));
    assert_true(may(&c, "environment:read"));
    assert_false(may(&c, "environment:create"));
    assert_int_equal(c.narrowed.n, 0);
    assert_true(caller_bound(&arena, &c, STR_NONE, STR_NONE));
    assert_false(may(&c, "environment:read"));
}

static void what_one_side_narrows_stays_narrowed(void **state)
{
    (void)state;
    struct caller c = caller_with("", "target:update@prod,target:delete@prod,release:create");
    assert_true(caller_bound(&arena, &c, STR_NONE, S("target:update,release:create@test,target:delete@test")));
    assert_false(may(&c, "release:create"));
    assert_false(may(&c, "target:update"));
    assert_true(str_eqz(c.narrowed, "target:update@prod,release:create@test"));
}

static void the_same_place_on_both_sides_stays(void **state)
{
    (void)state;
    struct caller c = caller_with("", "target:update@prod");
    assert_true(caller_bound(&arena, &c, STR_NONE, S("target:update@prod")));
    assert_true(str_eqz(c.narrowed, "target:update@prod"));
}

static void what_a_user_gets_back_his_credential_has_again(void **state)
{
    (void)state;
    struct caller c = caller_with("viewer", "release:create,target:update@prod");
    const struct caller before = c;
    assert_true(caller_of_user(&arena, &c, S("viewer"), STR_NONE));
    assert_true(caller_lost(&before, &c));
    assert_false(may(&c, "release:create"));
    assert_int_equal(c.narrowed.n, 0);
    assert_true(caller_of_user(&arena, &c, S("admin"), STR_NONE));
    assert_false(caller_lost(&before, &c));
    assert_true(may(&c, "release:create"));
    assert_false(may(&c, "release:update"));
    assert_true(str_eqz(c.narrowed, "target:update@prod"));
    assert_null(c.granted.p);
    assert_true(caller_of_user(&arena, &c, STR_NONE, S("target:update@test")));
    assert_true(caller_lost(&before, &c));
    assert_true(caller_of_user(&arena, &c, S("viewer"), S("release:create,target:update@prod")));
    assert_false(caller_lost(&before, &c));
}

static void a_user_who_has_all_of_it_changes_nothing(void **state)
{
    (void)state;
    struct caller c = caller_with("viewer", "target:update@prod");
    for (int i = 0; i < 3; i++) /* each time that it is looked up again */
        assert_true(caller_of_user(&arena, &c, S("admin"), S("release:read@prod,target:update@prod")));
    assert_true(str_eqz(c.narrowed, "target:update@prod"));
    assert_null(c.granted.p);
}

static void every_list_of_networks_must_hold_the_address(void **state)
{
    (void)state;
    assert_true(networks_hold(S(";"), S("198.51.100.7")));
    assert_true(networks_hold(S("198.51.100.0/24, 2001:db8::/32;"), S("2001:db8::1")));
    assert_false(networks_hold(S("198.51.100.0/24;"), S("198.51.101.7")));
    assert_false(networks_hold(S("198.51.100.0/24;10.0.0.0/8"), S("198.51.100.7")));
    assert_true(networks_hold(S(";10.0.0.0/8"), S("10.1.2.3")));
    assert_true(networks_hold(S(";"), S("unix")));
    assert_false(networks_hold(S("0.0.0.0/0,::/0;"), S("unix")));
}

static void the_first_that_is_no_network_is_named(void **state)
{
    (void)state;
    struct str wrong = STR_NONE;
    assert_true(networks_known(S("10.0.0.0/8,::1"), &wrong));
    assert_false(networks_known(S("10.0.0.0/8, 10.0.0.1/8"), &wrong));
    assert_true(str_eqz(wrong, "10.0.0.1/8"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_and_permissions_are_added_up),
        cmocka_unit_test(a_bound_takes_away_what_it_does_not_grant),
        cmocka_unit_test(what_one_side_narrows_stays_narrowed),
        cmocka_unit_test(the_same_place_on_both_sides_stays),
        cmocka_unit_test(what_a_user_gets_back_his_credential_has_again),
        cmocka_unit_test(a_user_who_has_all_of_it_changes_nothing),
        cmocka_unit_test(every_list_of_networks_must_hold_the_address),
        cmocka_unit_test(the_first_that_is_no_network_is_named),
    };
    arena_init(&arena, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    return failed;
}

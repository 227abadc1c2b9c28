#include "server/identity/key_flavour.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/permission.h"

static void every_prefix_is_its_own_and_grants_permissions_that_there_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEY_FLAVOURS; i++) {
        const struct key_flavour *f = &key_flavours[i];
        struct permission_set any = {{0}};
        assert_string_equal(key_prefixes[i], f->prefix);
        assert_ptr_equal(key_flavour(str_z(f->prefix)), f);
        assert_true(f->alias == NULL || key_flavour(str_z(f->alias)) == NULL);
        for (struct str rest = str_z(f->most); rest.p != NULL;)
            assert_true(permission_add(&any, str_cut(&rest, ',')));
    }
    assert_null(key_prefixes[KEY_FLAVOURS]);
    assert_null(key_flavour(S("slt")));
}

static void a_key_of_every_flavour_is_meant_and_checks(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEY_FLAVOURS; i++) {
        char text[ID_KEY_MAX];
        struct str prefix;
        unsigned partition;
        id_key(key_flavours[i].prefix, 7, text);
        assert_true(key_is_meant(str_z(text)));
        assert_true(id_key_check(str_z(text), &prefix, &partition));
        assert_true(str_eqz(prefix, key_flavours[i].prefix));
        assert_int_equal(partition, 7);
        text[strlen(text) - 1] ^= 1; /* damaged: still meant */
        assert_true(key_is_meant(str_z(text)));
        assert_false(id_key_check(str_z(text), &prefix, &partition));
    }
    assert_false(key_is_meant(S("slp")));
    assert_false(key_is_meant(S("slt_x")));
    assert_false(key_is_meant(S("eyJh.eyJi.c2ln")));
}

static void an_alias_is_the_same_key(void **state)
{
    char text[ID_KEY_MAX], other[ID_KEY_MAX + 8], out[ID_KEY_MAX], long_one[ID_KEY_MAX];
    (void)state;
    id_key("aethex_pat", 63, text);
    assert_true(str_eqz(key_canonical(str_z(text), out), text));
    snprintf(other, sizeof other, "aethex_sk%s", text + strlen("aethex_pat"));
    assert_true(str_eqz(key_canonical(str_z(other), out), text));
    memset(long_one, 'x', sizeof long_one); /* longer under its own prefix than any key */
    memcpy(long_one, "aethex_sk_", 10);
    struct str whole = {long_one, ID_KEY_MAX - 1};
    assert_ptr_equal(key_canonical(whole, out).p, long_one);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_is_its_own_and_grants_permissions_that_there_are),
        cmocka_unit_test(a_key_of_every_flavour_is_meant_and_checks),
        cmocka_unit_test(an_alias_is_the_same_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

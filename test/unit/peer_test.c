#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/peer.h"

#include <stdio.h>

static struct peers peers;

static bool is_empty(void)
{
    for (size_t i = 0; i < PEER_BUCKETS; i++)
        if (!list_empty(&peers.buckets[i]))
            return false;
    return true;
}

static void an_address_is_kept_once_and_counted(void **state)
{
    (void)state;
    struct peer *a = peer_take(&peers, S("192.0.2.1"));
    struct peer *b = peer_take(&peers, S("192.0.2.1"));
    struct peer *c = peer_take(&peers, S("2001:db8::1"));
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_int_equal(a->connections, 2);
    assert_int_equal(c->connections, 1);
    assert_true(str_eqz((struct str){c->text, c->n}, "2001:db8::1"));
    peer_drop(a);
    assert_int_equal(b->connections, 1);
    peer_drop(b);
    peer_drop(c);
    peer_drop(NULL);
    assert_true(is_empty());
}

static void many_addresses_stay_apart(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    static struct peer *taken[MANY];
    char text[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "10.0.%d.%d", i / 256, i % 256);
        taken[i] = peer_take(&peers, str_z(text));
        assert_int_equal(taken[i]->connections, 1);
    }
    for (int i = 0; i < MANY; i++)
        peer_drop(taken[i]);
    assert_true(is_empty());
}

int main(void)
{
    peers_init(&peers);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_kept_once_and_counted),
        cmocka_unit_test(many_addresses_stay_apart),
    };
    return cmocka_run_group_tests_name("peer", tests, NULL, NULL);
}

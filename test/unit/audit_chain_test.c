#include "server/audit_chain.h"

#include "proto/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static void the_hash_is_over_the_canonical_event(void **state)
{
    (void)state;
    static const uint8_t zeros[CRYPTO_HASH];
    uint8_t hash[CRYPTO_HASH], want[CRYPTO_HASH];
    bool broken;
    const struct audit_link link = {7, 1000, S("{\"b\":1,\"action\":\"x\"}")};
    const struct json *event = audit_event(&arena, &link, zeros, &broken);
    assert_non_null(event);
    assert_false(broken);
    assert_true(audit_hash(&arena, event, hash));
    crypto_sha256(
        S("{\"action\":\"x\",\"b\":1,\"previousEventHash\":\"00000000000000000000000000000000000000000000000000000"
          "00000000000\",\"sequence\":7,\"timestamp\":\"1970-01-01T00:00:01.000Z\"}"),
        want);
    assert_memory_equal(hash, want, sizeof hash);
}

static void each_part_of_an_event_changes_its_hash(void **state)
{
    (void)state;
    uint8_t previous[CRYPTO_HASH] = {0}, first[CRYPTO_HASH], other[CRYPTO_HASH];
    bool broken;
    const struct audit_link links[] = {
        {1, 1000, S("{\"a\":1}")}, {2, 1000, S("{\"a\":1}")}, {1, 1001, S("{\"a\":1}")}, {1, 1000, S("{\"a\":2}")}};
    assert_true(audit_hash(&arena, audit_event(&arena, &links[0], previous, &broken), first));
    for (size_t i = 1; i < ARRAY_LEN(links); i++) {
        assert_true(audit_hash(&arena, audit_event(&arena, &links[i], previous, &broken), other));
        assert_memory_not_equal(first, other, sizeof first);
    }
    previous[31] = 1;
    assert_true(audit_hash(&arena, audit_event(&arena, &links[0], previous, &broken), other));
    assert_memory_not_equal(first, other, sizeof first);
}

static void the_text_of_an_event_is_made_without_a_tree_and_is_the_same(void **state)
{
    (void)state;
    const uint8_t previous[CRYPTO_HASH] = {1, 2, 3};
    const char *entries[] = {
        "{}", "{\"a\":1}", "{\"tenantId\":\"x\",\"z\":null}",
        "{\"action\":\"a\\\\\",\"after\":{\"b\":[1,{\"c\":\"}\\\",\"}]},\"id\":\"1\",\"promotionId\":\"p\","
        "\"resource\":\"r\",\"tenantId\":\"t\"}"};
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        struct buf text, want;
        bool broken;
        const struct audit_link link = {9, 1000, str_z(entries[i])};
        buf_init_arena(&text, &arena, 0);
        buf_init_arena(&want, &arena, 0);
        json_write(&want, audit_event(&arena, &link, previous, &broken));
        assert_true(audit_event_text(&text, &link, previous));
        assert_true(str_eq(buf_view(&text), buf_view(&want)));
    }
}

static void members_out_of_order_or_cut_short_have_no_such_text(void **state)
{
    (void)state;
    const uint8_t previous[CRYPTO_HASH] = {0};
    const char *bad[] = {"",  "[]",       "{",          "{\"a\":1}x",       "{\"b\":1,\"a\":2}", "{\"a\":1,\"a\":1}",
                         "1", "{\"a\":}", "{ \"a\":1}", "{\"sequence\":1}", "{\"a\":\"x\\\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf text;
        buf_init_arena(&text, &arena, 0);
        assert_false(audit_event_text(&text, &(struct audit_link){1, 1, str_z(bad[i])}, previous));
    }
}

static void what_is_no_object_is_broken(void **state)
{
    (void)state;
    static const uint8_t zeros[CRYPTO_HASH];
    const char *bad[] = {"", "[]", "{", "1", "{}x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        bool broken = false;
        assert_null(audit_event(&arena, &(struct audit_link){1, 1, str_z(bad[i])}, zeros, &broken));
        assert_true(broken);
    }
}

static const struct redis_value *value(const char *text)
{
    struct redis_value *v = arena_new(&arena, struct redis_value);
    *v = (struct redis_value){.type = REDIS_STRING, .text = str_z(text)};
    return v;
}

static struct redis_value *list(size_t n, const struct redis_value *const *items)
{
    struct redis_value *v = arena_new(&arena, struct redis_value);
    *v = (struct redis_value){.type = REDIS_ARRAY, .count = n, .items = items};
    return v;
}

static void entries_are_read_as_the_store_wrote_them(void **state)
{
    (void)state;
    struct audit_link link;
    const struct redis_value *fields[] = {value("j"), value("{}"), value("t"), value("12")};
    const struct redis_value *entry[] = {value("42-0"), list(4, fields)};
    assert_true(audit_link_read(list(2, entry), &link));
    assert_int_equal(link.sequence, 42);
    assert_int_equal(link.time_ms, 12);
    assert_true(str_eqz(link.entry, "{}"));

    const struct redis_value *odd[] = {value("42-1"), list(4, fields)}, *bare[] = {value("42-0"), list(2, fields)};
    assert_false(audit_link_read(list(2, odd), &link));
    assert_false(audit_link_read(list(2, bare), &link));
    assert_false(audit_link_read(NULL, &link));
}

static void a_checkpoint_names_tenant_sequence_and_hash(void **state)
{
    (void)state;
    const uint8_t hash[CRYPTO_HASH] = {0xab};
    struct str text = audit_checkpoint_text(&arena, S("t"), 9, hash);
    assert_string_equal(arena_z(&arena, text),
                        "{\"eventHash\":\"ab00000000000000000000000000000000000000000000000000000"
                        "000000000\",\"sequence\":9,\"tenantId\":\"t\"}");
}

int main(void)
{
    if (!crypto_init())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_hash_is_over_the_canonical_event, setup, teardown),
        cmocka_unit_test_setup_teardown(each_part_of_an_event_changes_its_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(the_text_of_an_event_is_made_without_a_tree_and_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(members_out_of_order_or_cut_short_have_no_such_text, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_object_is_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(entries_are_read_as_the_store_wrote_them, setup, teardown),
        cmocka_unit_test_setup_teardown(a_checkpoint_names_tenant_sequence_and_hash, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

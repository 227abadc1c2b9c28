#include "lib/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void uuids_are_version_7_and_carry_their_time(void **state)
{
    (void)state;
    char id[ID_UUID], again[ID_UUID];
    id_uuid(0x0123456789ab, id);
    assert_int_equal(strlen(id), 36);
    assert_memory_equal(id, "01234567-89ab-7", 15);
    assert_non_null(strchr("89ab", id[19]));
    assert_true(id_is_uuid(str_z(id), again));
    assert_string_equal(id, again);
}

static void what_is_known_twice_has_one_uuid(void **state)
{
    (void)state;
    char id[ID_UUID], same[ID_UUID], other[ID_UUID];
    id_uuid_of(0x0123456789ab, S("job:target"), id);
    id_uuid_of(0x0123456789ab, S("job:target"), same);
    id_uuid_of(0x0123456789ab, S("job:other"), other);
    assert_memory_equal(id, "01234567-89ab-7", 15);
    assert_non_null(strchr("89ab", id[19]));
    assert_true(id_is_uuid(str_z(id), NULL));
    assert_string_equal(id, same);
    assert_string_not_equal(id, other);
}

static void uuids_of_one_thread_ascend(void **state)
{
    (void)state;
    char before[ID_UUID] = "", id[ID_UUID];
    int64_t now = 1795888200000;
    for (int i = 0; i < 20000; i++) {
        if (i % 9000 == 8999)
            now -= 3; /* a clock that steps back a little */
        if (i % 1000 == 999)
            now++;
        id_uuid(now, id);
        assert_true(strcmp(before, id) < 0);
        memcpy(before, id, sizeof id);
    }
}

static void a_uuid_is_read_in_any_case(void **state)
{
    (void)state;
    char out[ID_UUID];
    assert_true(id_is_uuid(S("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"), out));
    assert_string_equal(out, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert_true(id_is_uuid(S("00000000-0000-0000-0000-000000000000"), NULL));
    static const struct str bad[] = {
        S(""),
        S("f81d4fae-7dec-11d0-a765-00a0c91e6bf"),
        S("f81d4fae-7dec-11d0-a765-00a0c91e6bf66"),
        S("f81d4fae07dec-11d0-a765-00a0c91e6bf6"),
        S("g81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        S("{81d4fae-7dec-11d0-a765-00a0c91e6bf}"),
        S("f81d4fae-7dec-11d0-a765-00a0c91e6b-6"),
    };
    memset(out, 'x', sizeof out);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(id_is_uuid(bad[i], out));
    assert_int_equal(out[0], 'x');
}

static void a_key_names_its_prefix_and_partition(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"slp", "aethex_pat", "agt"};
    for (unsigned partition = 0; partition < ID_PARTITIONS; partition++) {
        char key[ID_KEY_MAX];
        const char *want = prefixes[partition % 3];
        size_t n = id_key(want, partition, key);
        struct str prefix;
        unsigned got = 99;
        assert_int_equal(n, strlen(want) + 1 + 36);
        assert_int_equal(n, strlen(key));
        assert_true(id_key_check(str_z(key), &prefix, &got));
        assert_true(str_eqz(prefix, want));
        assert_int_equal(got, partition);
    }
}

static void a_key_with_any_byte_changed_is_refused(void **state)
{
    (void)state;
    char key[ID_KEY_MAX];
    size_t n = id_key("slp", 7, key);
    struct str prefix = STR_NONE;
    unsigned partition = 99;
    for (size_t i = 0; i < n; i++) {
        char kept = key[i];
        for (int c = 0; c < 256; c++) {
            key[i] = (char)c;
            if (key[i] != kept)
                assert_false(id_key_check((struct str){key, n}, &prefix, &partition));
        }
        key[i] = kept;
        assert_false(id_key_check((struct str){key, i}, &prefix, &partition));
    }
    assert_null(prefix.p);
    assert_int_equal(partition, 99);
}

static void keys_differ(void **state)
{
    (void)state;
    char a[ID_KEY_MAX], b[ID_KEY_MAX];
    id_key("slp", 0, a);
    id_key("slp", 0, b);
    assert_string_not_equal(a, b);
}

static void the_checksum_is_the_usual_crc32(void **state)
{
    (void)state;
    assert_int_equal(id_crc32(S("123456789")), 0xcbf43926);
    assert_int_equal(id_crc32(S("")), 0);
}

static void random_numbers_stay_below_their_bound(void **state)
{
    (void)state;
    unsigned seen[5] = {0};
    for (int i = 0; i < 1000; i++)
        seen[random_below(5)]++;
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        assert_true(seen[i] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuids_are_version_7_and_carry_their_time),
        cmocka_unit_test(what_is_known_twice_has_one_uuid),
        cmocka_unit_test(uuids_of_one_thread_ascend),
        cmocka_unit_test(a_uuid_is_read_in_any_case),
        cmocka_unit_test(a_key_names_its_prefix_and_partition),
        cmocka_unit_test(a_key_with_any_byte_changed_is_refused),
        cmocka_unit_test(keys_differ),
        cmocka_unit_test(the_checksum_is_the_usual_crc32),
        cmocka_unit_test(random_numbers_stay_below_their_bound),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}

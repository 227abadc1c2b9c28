/* What is dangerous about a Redis, by what it says of itself. */
#include "server/store/hazard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BIT(name) (1u << HAZARD_##name)

static void a_primary_of_version_seven_is_fine(void **state)
{
    (void)state;
    struct str text = S("# Server\r\nredis_version:7.0.15\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
    assert_int_equal(hazards_of_info(text), 0);
    assert_int_equal(hazards_of_info(S("redis_version:10.1.0\n")), 0);
}

static void an_old_one_or_one_of_no_version_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"redis_version:6.2.14\r\n",
                                        "redis_version:\r\n",
                                        "redis_version:x\r\n",
                                        "redis_version",
                                        "server_redis_version:7.0.0\r\n",
                                        ""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(hazards_refusal(hazards_of_info(str_z(texts[i]))), HAZARD_OLD);
    assert_int_equal(hazards_refusal(hazards_of_info(STR_NONE)), HAZARD_OLD);
}

static void a_replica_is_refused_and_a_primary_with_replicas_warned_of(void **state)
{
    (void)state;
    assert_int_equal(hazards_of_info(S("redis_version:7.2.4\r\nrole:slave\r\n")), BIT(REPLICA));
    assert_int_equal(hazards_of_info(S("redis_version:7.2.4\r\nrole:master\r\nconnected_slaves:2\r\n")), BIT(FOLLOWED));
    assert_int_equal(hazards_refusal(BIT(REPLICA)), HAZARD_REPLICA);
    assert_int_equal(hazards_refusal(BIT(FOLLOWED)), HAZARDS);
}

static unsigned config(const char *appendonly, const char *appendfsync, const char *rewrite, const char *policy)
{
    const char *const texts[] = {
        "appendonly", appendonly,         "appendfsync", appendfsync, "no-appendfsync-on-rewrite",
        rewrite,      "maxmemory-policy", policy};
    struct redis_value values[8];
    const struct redis_value *items[8];
    for (size_t i = 0; i < 8; i++) {
        values[i] = (struct redis_value){.type = REDIS_STRING, .text = str_z(texts[i])};
        items[i] = &values[i];
    }
    return hazards_of_config(&(struct redis_value){.type = REDIS_ARRAY, .count = 8, .items = items});
}

static void what_may_be_lost_is_read_from_the_configuration(void **state)
{
    (void)state;
    assert_int_equal(config("yes", "always", "no", "noeviction"), 0);
    assert_int_equal(config("yes", "everysec", "no", "noeviction"), BIT(LAZY));
    assert_int_equal(config("yes", "no", "yes", "noeviction"), BIT(LAZY) | BIT(REWRITE));
    assert_int_equal(config("yes", "always", "yes", "noeviction"), BIT(REWRITE));
    assert_int_equal(config("no", "always", "yes", "noeviction"), BIT(VOLATILE));
    assert_int_equal(config("no", "everysec", "no", "allkeys-lru"), BIT(VOLATILE) | BIT(EVICTS));
    assert_int_equal(hazards_refusal(BIT(VOLATILE) | BIT(EVICTS)), HAZARD_EVICTS);
}

static void a_hidden_configuration_is_told(void **state)
{
    (void)state;
    assert_int_equal(hazards_of_config(NULL), BIT(HIDDEN));
    assert_int_equal(hazards_of_config(&(struct redis_value){.type = REDIS_ARRAY}), BIT(HIDDEN));
    assert_int_equal(hazards_refusal(BIT(HIDDEN)), HAZARDS);
}

static void every_hazard_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    for (enum hazard h = 0; h < HAZARDS; h++) {
        assert_true(str_starts(str_z(hazard_label(h)), S("redis-")));
        assert_true(str_z(hazard_why(h)).n > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_primary_of_version_seven_is_fine),
        cmocka_unit_test(an_old_one_or_one_of_no_version_is_refused),
        cmocka_unit_test(a_replica_is_refused_and_a_primary_with_replicas_warned_of),
        cmocka_unit_test(what_may_be_lost_is_read_from_the_configuration),
        cmocka_unit_test(a_hidden_configuration_is_told),
        cmocka_unit_test(every_hazard_has_a_name_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

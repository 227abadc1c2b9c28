#include <signal.h>
#include <unistd.h>
#include "test/store/fixture.h"
#include "lib/clock.h"
#include "server/store/internal.h"
#include "test/lib/fault.h"

static enum code got[64];
static int answers, answers_in_all;

static void on_commit(void *arg, const struct commit_result *r)
{
    (void)arg;
    got[answers++] = r->code;
    answers_in_all++;
}

static enum code submit(unsigned flags)
{
    struct commit c;

    begin(&c, flags);
    commit_hset(&c, key_roster(&fixture.arena, space), S("a"), S("b"));
    return store_commit(fixture.store, &c, &fixture.ops, on_commit, NULL);
}

static enum code try_commit(unsigned flags)
{
    enum code c = submit(flags);

    answers = 0;
    if (c != OK)
        return c;
    while (!answers)
        loop_turn(&fixture.loop, true);
    return got[0];
}

static void turn_while(bool (*what)(void))
{
    while (what())
        loop_turn(&fixture.loop, true);
}

static bool is_ready(void)
{
    return store_ready(fixture.store);
}
static bool is_not_ready(void)
{
    return !store_ready(fixture.store);
}

static void flushed_functions_are_loaded_again(void **state)
{
    struct store_figures before, after;

    (void)state;
    store_figures(fixture.store, &before);
    redis_do("FUNCTION FLUSH");
    assert_int_equal(try_commit(0), SYS_STORAGE);
    assert_false(is_ready());
    assert_non_null(store_problem(fixture.store));
    turn_while(is_not_ready);
    assert_null(store_problem(fixture.store));
    assert_int_equal(try_commit(0), OK);
    store_figures(fixture.store, &after);
    assert_int_equal(after.loads, before.loads + 1);
}

static void reconnect(void)
{
    fixture_disconnect();
    fixture_connect();
}

static void load(const char *code)
{
    struct str argv[] = {S("FUNCTION"), S("LOAD"), S("REPLACE"), str_z(code)};

    assert_int_equal(redis_args(4, argv)->type, REDIS_STRING);
}

static bool library_has(const char *text_)
{
    const struct redis_value *list = redis_do("FUNCTION LIST LIBRARYNAME slipway WITHCODE");

    return str_find(redis_text(redis_field(redis_at(list, 0), S("library_code"))), str_z(text_)) >= 0;
}

static void another_builds_library_is_replaced_but_not_a_newer_one(void **state)
{
    struct buf newer = {0};
    ptrdiff_t at;

    (void)state;
    load("#!lua name=slipway\n-- abi 1\nredis.register_function('old_1', function() return 1 end)\n");
    reconnect();
    assert_false(library_has("old_1"));
    assert_int_equal(try_commit(0), OK);
    assert_true(store_library(&newer)); /* a newer one has our functions, too */
    at = str_find(buf_view(&newer), S("-- abi 2\n"));
    assert_true(at > 0);
    memcpy(newer.p + at, "-- abi 9\n", 9);
    buf_char(&newer, 0);
    load(newer.p);
    buf_free(&newer);
    reconnect();
    assert_true(library_has("-- abi 9\n"));
    assert_int_equal(try_commit(0), OK);
    redis_do("FUNCTION FLUSH");
    reconnect();
}

static void a_redis_that_evicts_is_not_used(void **state)
{
    (void)state;
    redis_do("CONFIG SET maxmemory-policy allkeys-lru");
    fixture_disconnect();

    const struct redis_events none = {0};
    struct store_settings settings = {.seen = &fixture.seen, .limits = {.backoff_ms = 50}};
    assert_true(redis_target_parse(str_z(fixture.process.socket), &settings.target, NULL));
    fixture.store = store_open(&fixture.loop, &settings, NULL, NULL);
    fixture.raw = redis_open(&fixture.loop, &settings.target, &settings.limits, &none, NULL);
    while (!redis_ready(fixture.raw) || !strstr(store_problem(fixture.store), "noeviction"))
        loop_turn(&fixture.loop, true);
    assert_int_equal(try_commit(0), SYS_STORAGE);
    redis_do("CONFIG SET maxmemory-policy noeviction");
    turn_while(is_not_ready);
    assert_int_equal(try_commit(0), OK);
}

static bool is_not_full(void)
{
    return !store_full(fixture.store);
}

static const struct redis_value *read_values;
static enum code read_code;

static void on_read(void *arg, enum code c, const struct redis_value *v)
{
    (void)arg;
    read_code = c;
    read_values = value_copy(v);
    answers++;
}

static enum code read_two(void)
{
    const struct store_command two[] = {STORE_COMMAND(S("GET"), S(P "none")), STORE_COMMAND(S("GET"), S(P "none"))};

    answers = 0;
    assert_int_equal(store_read(fixture.store, two, 2, &fixture.ops, on_read, NULL), OK);
    while (!answers)
        loop_turn(&fixture.loop, true);
    return read_code;
}

static void short_memory_refuses_what_grows_and_nothing_else(void **state)
{
    struct page_query q = {.space = space, .kind = "thing", .source = PAGE_CREATED, .count = 1};
    struct admission in = {.partition = 7, .space = space, .caller = S("key:K")};
    struct commit c;

    (void)state;
    redis_do("CONFIG SET maxmemory 1mb"); /* less than it uses */
    assert_int_equal(try_commit(0), SYS_STORAGE);
    assert_int_equal(try_commit(COMMIT_ESSENTIAL), OK);
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    assert_int_equal(page(&q)->count, 0);
    assert_int_equal(read_two(), SYS_STORAGE); /* Redis takes no command of a MULTI then; it is no fault of ours */
    turn_while(is_not_full);
    begin(&c, COMMIT_GROWS);
    assert_int_equal(store_commit(fixture.store, &c, &fixture.ops, on_commit, NULL), SYS_STORAGE);
    redis_do("CONFIG SET maxmemory 0");
    assert_int_equal(try_commit(0), OK);
    assert_int_equal(read_two(), OK);
}

static void a_replica_takes_no_writes(void **state)
{
    (void)state;
    redis_do("REPLICAOF 127.0.0.1 1");
    assert_int_equal(try_commit(0), SYS_STORAGE);
    redis_do("REPLICAOF NO ONE");
    assert_int_equal(try_commit(0), OK);
}

static void a_killed_redis_answers_each_call_once(void **state)
{
    (void)state;
    kill(fixture.process.pid, SIGSTOP);
    answers = 0;
    for (int i = 0; i < 20; i++)
        assert_int_equal(submit(0), OK);
    redis_kill(&fixture.process, SIGKILL);
    turn_while(is_ready);
    while (answers < 20)
        loop_turn(&fixture.loop, true);
    for (int i = 0; i < 20; i++)
        assert_int_equal(got[i], SYS_STORAGE);
    assert_int_equal(try_commit(0), SYS_STORAGE);
    redis_start_again(&fixture.process, NULL);
    wait_ready();
    assert_int_equal(try_commit(0), OK);
}

static void an_older_data_set_gets_another_epoch(void **state)
{
    struct store_figures before, after;
    int64_t first, second;

    (void)state;
    store_figures(fixture.store, &before);
    for (int i = 0; i < 5; i++)
        assert_int_equal(try_commit(0), OK);
    first = store_epoch(fixture.store, 7);
    assert_true(first > 0);
    redis_kill(&fixture.process, SIGKILL); /* it kept nothing */
    redis_start_again(&fixture.process, NULL);
    turn_while(is_ready);
    wait_ready();
    second = store_epoch(fixture.store, 7);
    assert_true(second > first);
    store_figures(fixture.store, &after);
    assert_int_equal(after.epochs, before.epochs + 1);
    assert_int_equal(redis_number("HGET " P "meta commits"), 6);

    redis_drop(fixture.raw, "a connection that ends is no reason");
    reconnect();
    store_figures(fixture.store, &after);
    assert_int_equal(after.epochs, 0); /* a new store: none raised */
    assert_int_equal(redis_number("HGET " P "meta epoch"), second);
}

static void reads_happen_at_one_instant(void **state)
{
    struct arena *a = &fixture.arena;
    struct commit c;

    (void)state;
    begin(&c, 0);
    commit_hset(&c, key_roster(a, space), S("a"), S("b"));
    commit_zset(&c, key_timers(a, 7), S("m"), 5);
    commit_ok(&c);
    const struct store_command commands[] = {STORE_COMMAND(S("HGET"), key_roster(a, space), S("a")),
                                             STORE_COMMAND(S("ZSCORE"), key_timers(a, 7), S("m")),
                                             STORE_COMMAND(S("GET"), S(P "none"))};
    const struct store_command wrong[] = {commands[0], STORE_COMMAND(S("GET"), key_roster(a, space))};
    const struct store_command none = STORE_COMMAND(S("GET"), STR_NONE);

    answers = 0;
    assert_int_equal(store_read(fixture.store, commands, 3, &fixture.ops, on_read, NULL), OK);
    while (answers < 1)
        loop_turn(&fixture.loop, true);
    assert_int_equal(read_code, OK);
    assert_int_equal(read_values->count, 3);
    assert_string_equal(redis_text(redis_at(read_values, 0)).p, "b");
    assert_string_equal(redis_text(redis_at(read_values, 1)).p, "5");
    assert_true(redis_is_nil(redis_at(read_values, 2)));

    assert_int_equal(store_read(fixture.store, commands, 1, &fixture.ops, on_read, NULL), OK);
    while (answers < 2)
        loop_turn(&fixture.loop, true);
    assert_string_equal(redis_text(read_values).p, "b");

    assert_int_equal(store_read(fixture.store, wrong, 2, &fixture.ops, on_read, NULL), OK);
    while (answers < 3)
        loop_turn(&fixture.loop, true);
    assert_int_equal(read_code, SYS_INTERNAL);
    assert_int_equal(store_read(fixture.store, &none, 1, &fixture.ops, on_read, NULL), SYS_OVERLOADED);
}

static void an_asker_that_has_gone_is_not_called(void **state)
{
    int before = answers_in_all;

    (void)state;
    assert_int_equal(submit(0), OK);
    ops_detach(&fixture.ops);
    while (redis_number("HGET " P "meta commits") != 1) /* it is done all the same */
        ;
    assert_int_equal(try_commit(0), OK); /* answers come in order: that of the first has gone by */
    assert_int_equal(try_commit(0), OK);
    assert_int_equal(answers_in_all, before + 2);
}

static void redis_has_the_say_about_the_time(void **state)
{
    const struct redis_value *time = redis_do("TIME");
    int64_t redis = redis_int(redis_at(time, 0), 0) * 1000 + redis_int(redis_at(time, 1), 0) / 1000;
    int64_t ours = store_now_ms(fixture.store);

    (void)state;
    assert_true(ours - redis < 5000 && redis - ours < 5000);
    for (int i = 0; i < 1000; i++) {
        assert_true(store_now_ms(fixture.store) >= ours);
        ours = store_now_ms(fixture.store);
    }
}

static void the_library_has_its_abi(void **state)
{
    struct buf b = {0};
    char line[32];

    (void)state;
    assert_true(store_library(&b));
    snprintf(line, sizeof line, "\n-- abi %d\n", STORE_ABI);
    assert_true(str_find(buf_view(&b), str_z(line)) > 0);
    assert_true(str_starts(buf_view(&b), S("#!lua name=slipway\n")));
    buf_free(&b);
}

static void on_store_closed(void *arg)
{
    ++*(int *)arg;
}

/* Whatever fails, the store becomes ready in the end, or says that a call could not be taken. */
static void each_allocation_may_fail(void **state)
{
    struct store_settings settings = {.seen = &fixture.seen, .limits = {.backoff_ms = 20, .call_ms = 20000}};
    struct store *usual = fixture.store;
    bool fired = true;

    (void)state;
    assert_int_equal(try_commit(0), OK); /* a partition whose epoch is to be compared */
    assert_true(redis_target_parse(str_z(fixture.process.socket), &settings.target, NULL));
    for (unsigned n = 1; fired; n++) {
        int closed = 0;

        fault_arm(n, false);
        fixture.store = store_open(&fixture.loop, &settings, NULL, NULL);
        if (fixture.store) {
            turn_while(is_not_ready);
            try_commit(0);
            try_commit(COMMIT_ESSENTIAL);
        }
        fired = fault_fired();
        fault_arm(0, false);
        if (fixture.store) {
            turn_while(is_not_ready);
            assert_int_equal(try_commit(0), OK);
            store_close(fixture.store, on_store_closed, &closed);
            while (!closed)
                loop_turn(&fixture.loop, true);
        }
    }
    fixture.store = usual;
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flushed_functions_are_loaded_again),
        TEST(another_builds_library_is_replaced_but_not_a_newer_one),
        TEST(a_redis_that_evicts_is_not_used),
        TEST(short_memory_refuses_what_grows_and_nothing_else),
        TEST(a_replica_takes_no_writes),
        TEST(a_killed_redis_answers_each_call_once),
        TEST(an_older_data_set_gets_another_epoch),
        TEST(reads_happen_at_one_instant),
        TEST(an_asker_that_has_gone_is_not_called),
        TEST(redis_has_the_say_about_the_time),
        TEST(the_library_has_its_abi),
        TEST(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

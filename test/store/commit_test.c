#include "test/store/fixture.h"

#define DOC(id) P "d:" TENANT ":thing:" id

static void put(struct commit *c, const char *id, int64_t revision, const struct commit_index *x)
{
    commit_put(c, &(struct commit_document){.kind = "thing",
                                            .id = str_z(id),
                                            .revision = revision,
                                            .schema = 1,
                                            .json = text("{\"id\":\"%s\",\"n\":%lld}", id, (long long)revision),
                                            .index = x});
}

static void make(const char *id)
{
    struct commit c;

    begin(&c, 0);
    put(&c, id, 1, NULL);
    commit_ok(&c);
}

static void a_document_is_made_changed_and_deleted(void **state)
{
    struct commit c;

    (void)state;
    make("a");
    assert_string_equal(redis_string("HGET " DOC("a") " j").p, "{\"id\":\"a\",\"n\":1}");
    assert_int_equal(redis_number("HGET " DOC("a") " r"), 1);
    assert_int_equal(redis_number("HGET " DOC("a") " o"), 1);
    begin(&c, 0);
    put(&c, "a", 2, NULL);
    commit_ok(&c);
    assert_int_equal(redis_number("HGET " DOC("a") " r"), 2);
    assert_int_equal(redis_number("ZSCORE " P "o:" TENANT ":thing a"), 1);
    begin(&c, 0);
    commit_delete(&c, "thing", S("a"), 2);
    commit_ok(&c);
    assert_int_equal(redis_number("EXISTS " DOC("a")), 0);
    assert_int_equal(redis_number("ZCARD " P "o:" TENANT ":thing"), 0);
    make("b");
    assert_int_equal(redis_number("HGET " DOC("b") " o"), 2); /* ordinals are not given twice */
}

static void the_wrong_revision_is_refused(void **state)
{
    struct commit c;

    (void)state;
    make("a");
    begin(&c, 0);
    put(&c, "a", 1, NULL);
    commit_refused(&c, RES_ALREADY_EXISTS, "id");
    begin(&c, 0);
    put(&c, "a", 3, NULL);
    commit_refused(&c, RES_VERSION_CONFLICT, "revision");
    begin(&c, 0);
    put(&c, "gone", 2, NULL);
    commit_refused(&c, RES_VERSION_CONFLICT, "revision");
    begin(&c, 0);
    commit_delete(&c, "thing", S("a"), 7);
    commit_refused(&c, RES_VERSION_CONFLICT, "revision");
    begin(&c, 0);
    commit_delete(&c, "thing", S("gone"), 0);
    commit_refused(&c, RES_NOT_FOUND, "id");
    begin(&c, 0);
    commit_field(&c, "thing", S("gone"), S("h"), S("x"));
    commit_refused(&c, RES_NOT_FOUND, "id");
}

static void each_check_refuses_with_its_code_and_label(void **state)
{
    const struct str key = S(P "g:" TENANT), nothing = S(P "gt:" TENANT ":none");
    struct commit c;
    const struct commit_result *r;

    (void)state;
    make("a");
    redis_do("HSET %s f v g w", key.p);
    begin(&c, 0);
    commit_expect_revision(&c, AGT_OFFLINE, "rev", "thing", S("a"), 4);
    commit_refused(&c, AGT_OFFLINE, "rev");
    begin(&c, 0);
    commit_expect_revision(&c, AGT_OFFLINE, "rev", "thing", S("a"), 4);
    r = commit(&c);
    assert_int_equal(r->found, 1);
    begin(&c, 0);
    commit_expect_exists(&c, RES_REFERENCE_UNKNOWN, "exists", nothing);
    commit_refused(&c, RES_REFERENCE_UNKNOWN, "exists");
    begin(&c, 0);
    commit_expect_absent(&c, RES_IN_USE, "absent", key);
    commit_refused(&c, RES_IN_USE, "absent");
    begin(&c, 0);
    commit_expect_field(&c, RES_INVALID_STATE, "field", key, S("f"), S("other"));
    commit_refused(&c, RES_INVALID_STATE, "field");
    begin(&c, 0);
    commit_expect_field(&c, RES_INVALID_STATE, "no field", key, S("f"), STR_NONE);
    r = commit(&c);
    assert_string_equal(r->label.p, "no field");
    assert_string_equal(r->found_text.p, "v");
    begin(&c, 0);
    commit_expect_unique(&c, RES_ALREADY_EXISTS, "unique", key, S("f"), S("mine"));
    commit_refused(&c, RES_ALREADY_EXISTS, "unique");
    begin(&c, 0);
    commit_expect_at_most(&c, SYS_OVERLOADED, "most", key, 1);
    commit_refused(&c, SYS_OVERLOADED, "most");
    begin(&c, 0);
    commit_expect_lease(&c, RES_IN_USE, "lease", S("run1"), 1);
    commit_refused(&c, RES_IN_USE, "lease");
    begin(&c, 0);
    commit_expect_exists(&c, RES_REFERENCE_UNKNOWN, "slot", S("{p08}:meta"));
    commit_refused(&c, SYS_INTERNAL, "slot");

    begin(&c, 0);
    commit_expect_revision(&c, AGT_OFFLINE, "rev", "thing", S("a"), 1);
    commit_expect_revision(&c, AGT_OFFLINE, "rev", "thing", S("gone"), 0);
    commit_expect_exists(&c, RES_REFERENCE_UNKNOWN, "exists", key);
    commit_expect_absent(&c, RES_IN_USE, "absent", nothing);
    commit_expect_field(&c, RES_INVALID_STATE, "field", key, S("f"), S("v"));
    commit_expect_field(&c, RES_INVALID_STATE, "field", key, S("none"), STR_NONE);
    commit_expect_unique(&c, RES_ALREADY_EXISTS, "unique", key, S("f"), S("v"));
    commit_expect_unique(&c, RES_ALREADY_EXISTS, "unique", key, S("free"), S("mine"));
    commit_expect_at_most(&c, SYS_OVERLOADED, "most", key, 2);
    commit_expect_lease(&c, RES_IN_USE, "lease", S("run1"), 0);
    commit_ok(&c);
}

static void index_of(struct commit_index *x, const char *name, const char *state_, double size, const char *parent)
{
    index_begin(x, &fixture.arena);
    index_facet(x, S("state"), str_z(state_));
    index_number(x, "size", size);
    index_text(x, "name", str_z(name));
    index_unique(x, RES_ALREADY_EXISTS, str_z(parent), "name", str_z(name));
}

static void an_index_follows_its_document(void **state)
{
    struct commit_index x;
    struct commit c;

    (void)state;
    index_of(&x, "one", "open", 10, NULL);
    begin(&c, 0);
    put(&c, "a", 1, &x);
    commit_ok(&c);
    assert_memory_equal(redis_string("HGET " P "f:" TENANT ":thing:state=open 0").p, "\2", 1);
    assert_int_equal(redis_number("ZSCORE " P "z:" TENANT ":thing:size a"), 10);
    assert_int_equal(redis_do("ZRANGE " P "z:" TENANT ":thing:name 0 -1")->items[0]->text.n, 5);
    assert_string_equal(redis_string("HGET " P "u:" TENANT ":thing:name one").p, "a");

    index_of(&x, "two", "done", 20.5, NULL);
    begin(&c, 0);
    put(&c, "a", 2, &x);
    commit_ok(&c);
    assert_int_equal(redis_number("EXISTS " P "f:" TENANT ":thing:state=open"), 0);
    assert_memory_equal(redis_string("HGET " P "f:" TENANT ":thing:state=done 0").p, "\2", 1);
    assert_string_equal(redis_string("ZSCORE " P "z:" TENANT ":thing:size a").p, "20.5");
    assert_int_equal(redis_number("ZCARD " P "z:" TENANT ":thing:name"), 1);
    assert_int_equal(redis_number("HEXISTS " P "u:" TENANT ":thing:name one"), 0);

    begin(&c, 0); /* without an index the old one stays */
    put(&c, "a", 3, NULL);
    commit_ok(&c);
    assert_string_equal(redis_string("HGET " P "u:" TENANT ":thing:name two").p, "a");

    begin(&c, 0);
    commit_delete(&c, "thing", S("a"), 0);
    commit_ok(&c);
    assert_int_equal(redis_number("DBSIZE"), 2); /* meta and the last ordinal */
}

static void a_unique_value_is_taken_once(void **state)
{
    struct commit_index x, y;
    struct commit c;

    (void)state;
    index_of(&x, "one", "open", 1, NULL);
    begin(&c, 0);
    put(&c, "a", 1, &x);
    commit_ok(&c);
    begin(&c, 0);
    put(&c, "b", 1, &x);
    commit_refused(&c, RES_ALREADY_EXISTS, "name");
    assert_string_equal(commit(&c)->found_text.p, "a");

    index_of(&y, "one", "open", 1, "parent1"); /* unique within a parent: another name space */
    begin(&c, 0);
    put(&c, "b", 1, &y);
    commit_ok(&c);
    assert_string_equal(redis_string("HGET " P "u:" TENANT ":thing:parent1:name one").p, "b");

    begin(&c, 0); /* two in one commit */
    index_of(&x, "new", "open", 1, NULL);
    put(&c, "d", 1, &x);
    put(&c, "e", 1, &x);
    commit_refused(&c, RES_ALREADY_EXISTS, "name");

    begin(&c, 0); /* given up and taken in one commit */
    index_of(&x, "other", "open", 1, NULL);
    index_of(&y, "one", "open", 1, NULL);
    put(&c, "a", 2, &x);
    put(&c, "f", 1, &y);
    commit_ok(&c);
    assert_string_equal(redis_string("HGET " P "u:" TENANT ":thing:name one").p, "f");
    assert_string_equal(redis_string("HGET " P "u:" TENANT ":thing:name other").p, "a");
}

static void events_have_a_sequence_without_holes(void **state)
{
    const struct commit_result *r;
    const struct redis_value *entries;
    struct commit c;

    (void)state;
    set_clock(4102444800123); /* 2100 */
    begin(&c, 0);
    commit_event(&c, S("run:1"), S("\"type\":\"a\"}"));
    commit_event(&c, S("dashboard"), S("\"type\":\"x\"}"));
    commit_event(&c, S("run:1"), S("\"type\":\"b\"}"));
    r = commit_ok(&c);
    assert_int_equal(r->now_ms, 4102444800123);
    assert_int_equal(r->seq_count, 2);
    assert_int_equal(commit_seq(r, 0), 2);
    assert_int_equal(commit_seq(r, 1), 1);
    begin(&c, 0);
    commit_event(&c, S("run:1"), S("\"type\":\"c\"}"));
    assert_int_equal(commit_seq(commit_ok(&c), 0), 3);

    entries = redis_do("XRANGE " P "e:" TENANT ":run:1 - +");
    assert_int_equal(entries->count, 2);
    assert_string_equal(redis_text(redis_at(entries->items[0], 0)).p, "2-0");
    assert_string_equal(redis_text(redis_field(redis_at(entries->items[0], 1), S("f"))).p, "1");
    assert_string_equal(redis_text(redis_field(redis_at(entries->items[0], 1), S("b"))).p,
                        "{\"seq\":1,\"timestamp\":\"2100-01-01T00:00:00.123Z\",\"type\":\"a\"}\n"
                        "{\"seq\":2,\"timestamp\":\"2100-01-01T00:00:00.123Z\",\"type\":\"b\"}");
    assert_string_equal(redis_string("GET " P "es:" TENANT ":run:1").p, "3");
}

static void timestamps_are_right_in_every_year(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {4107542399999, "2100-02-28T23:59:59.999Z"},  {4107542400000, "2100-03-01T00:00:00.000Z"},
        {4233686400007, "2104-02-29T00:00:00.007Z"},  {4133980799000, "2100-12-31T23:59:59.000Z"},
        {13569465600000, "2400-01-01T00:00:00.000Z"}, {13574606245010, "2400-02-29T11:57:25.010Z"},
    };
    struct commit c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        set_clock(rows[i].ms);
        redis_do("DEL " P "e:" TENANT ":c " P "es:" TENANT ":c");
        begin(&c, 0);
        commit_event(&c, S("c"), S("\"type\":\"a\"}"));
        commit_ok(&c);
        const struct redis_value *entry = redis_at(redis_do("XRANGE " P "e:" TENANT ":c - +"), 0);
        struct str frame = redis_text(redis_field(redis_at(entry, 1), S("b")));

        assert_memory_equal(str_slice(frame, 22, 46).p, rows[i].text, 24);
    }
}

static void a_channel_may_be_bounded_and_end(void **state)
{
    struct commit c;

    (void)state;
    for (int i = 0; i < 10; i++) {
        begin(&c, 0);
        commit_event(&c, S("dashboard"), S("\"type\":\"tick\"}"));
        commit_channel(&c, S("dashboard"), 3, 0);
        commit_ok(&c);
    }
    assert_int_equal(redis_number("XLEN " P "e:" TENANT ":dashboard"), 3);
    assert_int_equal(redis_number("PTTL " P "e:" TENANT ":dashboard"), -1);
    begin(&c, 0);
    commit_channel(&c, S("dashboard"), 0, 60000);
    commit_ok(&c);
    assert_true(redis_number("PTTL " P "e:" TENANT ":dashboard") > 0);
    assert_true(redis_number("PTTL " P "es:" TENANT ":dashboard") > 0);
    begin(&c, 0); /* later events keep the time */
    commit_event(&c, S("dashboard"), S("\"type\":\"tick\"}"));
    commit_ok(&c);
    assert_true(redis_number("PTTL " P "es:" TENANT ":dashboard") > 0);
    begin(&c, 0);
    commit_channel(&c, S("dashboard"), 0, -1);
    commit_ok(&c);
    assert_int_equal(redis_number("PTTL " P "e:" TENANT ":dashboard"), -1);
    assert_int_equal(redis_number("PTTL " P "es:" TENANT ":dashboard"), -1);
}

static void a_channel_keeps_what_is_young(void **state)
{
    struct commit c;

    (void)state;
    redis_do("XADD " P "e:" TENANT ":dashboard 2-0 f 1 b "
             "{\"seq\":1,\"timestamp\":\"2001-01-01T00:00:00.000Z\",\"type\":\"old\"}");
    redis_do("SET " P "es:" TENANT ":dashboard 2");
    for (int i = 0; i < 3; i++) {
        begin(&c, 0);
        commit_event(&c, S("dashboard"), S("\"type\":\"tick\"}"));
        commit_window(&c, S("dashboard"), 600000);
        commit_ok(&c);
    }
    assert_int_equal(redis_number("XLEN " P "e:" TENANT ":dashboard"), 3);
    assert_int_equal(redis_number("GET " P "es:" TENANT ":dashboard"), 5);
    begin(&c, 0); /* the last one stays, whatever its age */
    commit_window(&c, S("dashboard"), 1);
    commit_ok(&c);
    assert_true(redis_number("XLEN " P "e:" TENANT ":dashboard") >= 1);
}

static void audit_entries_are_numbered_without_holes(void **state)
{
    const struct redis_value *entries;
    struct commit c;

    (void)state;
    begin(&c, 0);
    commit_audit(&c, S("{\"action\":\"a\"}"));
    commit_audit(&c, S("{\"action\":\"b\"}"));
    assert_int_equal(commit_ok(&c)->audit_seq, 2);
    begin(&c, 0);
    commit_expect_exists(&c, RES_NOT_FOUND, "x", S(P "none"));
    commit_audit(&c, S("{}"));
    commit_refused(&c, RES_NOT_FOUND, "x");
    begin(&c, 0);
    commit_audit(&c, S("{\"action\":\"c\"}"));
    assert_int_equal(commit_ok(&c)->audit_seq, 3);
    entries = redis_do("XRANGE " P "a:" TENANT " - +");
    assert_int_equal(entries->count, 3);
    assert_string_equal(redis_text(redis_at(entries->items[2], 0)).p, "3-0");
    assert_string_equal(redis_text(redis_field(redis_at(entries->items[2], 1), S("j"))).p, "{\"action\":\"c\"}");
    assert_true(redis_int(redis_field(redis_at(entries->items[2], 1), S("t")), 0) > 1700000000000);
}

static struct str long_text(const char *what, size_t n)
{
    char dots[1000];
    memset(dots, '.', sizeof dots);
    return text("{\"%s\":\"%.*s\"}", what, (int)n, dots);
}

static void long_texts_arrive_wherever_they_stand(void **state)
{
    const struct redis_value *entry;
    struct commit c;

    (void)state;
    for (size_t n = 0; n < 1000; n += 83) {
        fixture_clear(NULL);
        const struct str put = long_text("put", n), event = long_text("event", n), audit = long_text("audit", n),
                         inbox = long_text("inbox", n);
        begin(&c, 0);
        commit_put(&c,
                   &(struct commit_document){.kind = "thing", .id = S("a"), .revision = 1, .schema = 1, .json = put});
        commit_event(&c, S("c"), event);
        commit_audit(&c, audit);
        commit_inbox(&c, "run", S("r"), S("1"), inbox);
        for (int i = 0; i < 10; i++) /* more than there are arguments for */
            commit_hset(&c, S(P "h"), text("f%d", i), long_text("hset", n + (size_t)i));
        commit_ok(&c);
        assert_true(str_eq(redis_string("HGET " P "d:" TENANT ":thing:a j"), put));
        assert_true(str_eq(redis_string("LINDEX " P "in:" TENANT ":r 0"), inbox));
        for (int i = 0; i < 10; i++)
            assert_true(str_eq(redis_string("HGET " P "h f%d", i), long_text("hset", n + (size_t)i)));
        entry = redis_at(redis_at(redis_do("XRANGE " P "a:" TENANT " - +"), 0), 1);
        assert_true(str_eq(redis_text(redis_field(entry, S("j"))), audit));
        entry = redis_at(redis_at(redis_do("XRANGE " P "e:" TENANT ":c - +"), 0), 1);
        assert_true(str_ends(redis_text(redis_field(entry, S("b"))), event));
    }
}

static void fields_and_plain_keys(void **state)
{
    struct commit c;

    (void)state;
    begin(&c, COMMIT_GROWS);
    put(&c, "a", 1, NULL);
    commit_field(&c, "thing", S("a"), S("h"), S("header"));
    commit_field(&c, "thing", S("a"), S("s:build"), S("step"));
    commit_timer(&c, "run", S("r1"), 5000);
    commit_queue(&c, S("r1:n:1"), 6000);
    commit_waiting(&c, S("r1:n:1"), true);
    commit_task(&c, S("agent1"), S("task1"), S("{}"));
    commit_roster(&c, S("agent1"), S("{\"s\":1}"));
    commit_beat(&c, S("agent1"), true);
    commit_hset(&c, key_credential(&fixture.arena, 7, S("abc")), S("kind"), S("key"));
    commit_expire(&c, key_credential(&fixture.arena, 7, S("abc")), 60000);
    commit_ok(&c);
    assert_string_equal(redis_string("HGET " DOC("a") " s:build").p, "step");
    assert_int_equal(redis_number("ZSCORE " P "t " TENANT ":run:r1"), 5000);
    assert_int_equal(redis_number("ZSCORE " P "q " TENANT ":r1:n:1"), 6000);
    assert_int_equal(redis_number("ZCARD " P "w:" TENANT), 1);
    assert_string_equal(redis_string("HGET " P "gt:" TENANT ":agent1 task1").p, "{}");
    assert_string_equal(redis_string("HGET " P "g:" TENANT " agent1").p, "{\"s\":1}");
    assert_true(redis_number("ZSCORE " P "gl " TENANT ":agent1") > 1700000000000);
    assert_true(redis_number("PTTL " P "k:abc") > 0);

    begin(&c, COMMIT_ESSENTIAL);
    commit_field(&c, "thing", S("a"), S("s:build"), STR_NONE);
    commit_timer(&c, "run", S("r1"), 0);
    commit_queue(&c, S("r1:n:1"), -1);
    commit_waiting(&c, S("r1:n:1"), false);
    commit_task(&c, S("agent1"), S("task1"), STR_NONE);
    commit_roster(&c, S("agent1"), STR_NONE);
    commit_beat(&c, S("agent1"), false);
    commit_remove(&c, key_credential(&fixture.arena, 7, S("abc")));
    commit_delete(&c, "thing", S("a"), 0);
    commit_ok(&c);
    assert_int_equal(redis_number("DBSIZE"), 2);
}

static void a_revocation_counts_and_is_published(void **state)
{
    struct admission in = {.partition = 7, .space = space};
    struct commit c;

    (void)state;
    assert_int_equal(admit(&in)->revoked, 0);
    begin(&c, 0);
    commit_revoked(&c);
    commit_ok(&c);
    assert_int_equal(admit(&in)->revoked, 1);
}

static void ignore(void *arg, const struct commit_result *r)
{
    (void)arg, (void)r;
}

static void what_lacks_a_key_is_not_sent(void **state)
{
    struct commit c;

    (void)state;
    begin(&c, 0);
    commit_hset(&c, STR_NONE, S("a"), S("b"));
    assert_int_equal(store_commit(fixture.store, &c, &fixture.ops, NULL, NULL), SYS_OVERLOADED);
    commit_begin(&c, &fixture.arena, (struct space){7, STR_NONE}, 0);
    assert_int_equal(store_commit(fixture.store, &c, &fixture.ops, NULL, NULL), SYS_OVERLOADED);
}

static void a_facet_that_is_too_long_is_not_sent(void **state)
{
    char longest[512];
    struct commit_index x;
    struct commit c;

    (void)state;
    memset(longest, 'a', sizeof longest);
    for (size_t n = sizeof longest - 3; n < sizeof longest; n++) {
        index_begin(&x, &fixture.arena);
        index_facet(&x, S("f"), (struct str){longest, n});
        begin(&c, 0);
        put(&c, "a", 1, &x);
        if (n + 2 <= 512)
            commit_ok(&c);
        else
            assert_int_equal(store_commit(fixture.store, &c, &fixture.ops, ignore, NULL), SYS_OVERLOADED);
        fixture_clear(state);
    }
}

static void a_commit_that_ran_out_of_memory_is_refused(void **state)
{
    enum code c = SYS_OVERLOADED;

    (void)state;
    for (size_t limit = 64; c != OK; limit += 64) {
        const struct str fields[] = {S("status"), S("201")};
        struct commit_index x;
        struct commit commit_;
        struct arena a;

        arena_init(&a, limit);
        index_begin(&x, &a);
        index_facet(&x, S("state"), S("open"));
        index_unique(&x, RES_ALREADY_EXISTS, STR_NONE, "name", S("one"));
        commit_begin(&commit_, &a, space, 0);
        commit_expect_absent(&commit_, RES_IN_USE, "x", key_document(&a, space, "thing", S("x")));
        put(&commit_, "a", 1, &x);
        commit_timer(&commit_, "run", S("r"), 5);
        commit_idempotency(&commit_, key_idempotency(&a, space, S("key:K"), "/r", S("h")), S("me"), 1, fields, 2, NULL);
        c = store_commit(fixture.store, &commit_, &fixture.ops, ignore, NULL);
        arena_fini(&a); /* everything was copied */
        assert_true(c == OK || c == SYS_OVERLOADED);
    }
    assert_int_equal(redis_number("DBSIZE"), 0);
    ops_detach(&fixture.ops);
}

static void every_commit_is_counted_and_the_clock_never_goes_back(void **state)
{
    const struct commit_result *r;
    int64_t epoch;
    struct commit c;

    (void)state;
    make("a");
    epoch = redis_number("HGET " P "meta epoch");
    assert_true(epoch > 1700000000000);
    assert_int_equal(redis_number("HGET " P "meta commits"), 1);
    set_clock(4102444800000);
    begin(&c, 0);
    r = commit_ok(&c);
    assert_int_equal(r->now_ms, 4102444800000);
    assert_int_equal(r->epoch, epoch);
    assert_int_equal(redis_number("HGET " P "meta commits"), 2);
    assert_int_equal(redis_number("HGET " P "meta clock"), 4102444800000);
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_document_is_made_changed_and_deleted),
        TEST(the_wrong_revision_is_refused),
        TEST(each_check_refuses_with_its_code_and_label),
        TEST(an_index_follows_its_document),
        TEST(a_unique_value_is_taken_once),
        TEST(events_have_a_sequence_without_holes),
        TEST(timestamps_are_right_in_every_year),
        TEST(a_channel_may_be_bounded_and_end),
        TEST(a_channel_keeps_what_is_young),
        TEST(audit_entries_are_numbered_without_holes),
        TEST(long_texts_arrive_wherever_they_stand),
        TEST(fields_and_plain_keys),
        TEST(a_revocation_counts_and_is_published),
        TEST(what_lacks_a_key_is_not_sent),
        TEST(a_facet_that_is_too_long_is_not_sent),
        TEST(a_commit_that_ran_out_of_memory_is_refused),
        TEST(every_commit_is_counted_and_the_clock_never_goes_back),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

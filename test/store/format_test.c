/* What can never change: data that one version wrote is read by every later one. A failure here is not a reason to change
 * this file. */
#include "test/store/fixture.h"
#include "server/store/internal.h"

static const struct space at = {7, S("T")};

static void names_of_keys(void **state)
{
    struct arena *a = &fixture.arena;
    const struct {
        struct str key;
        const char *name;
    } rows[] = {
        {key_meta(a, 7), "{p07}:meta"},
        {key_meta(a, 63), "{p63}:meta"},
        {key_document(a, at, "environment", S("E")), "{p07}:d:T:environment:E"},
        {key_last_ordinal(a, at, "environment"), "{p07}:n:T:environment"},
        {key_ordinals(a, at, "environment"), "{p07}:o:T:environment"},
        {key_facet(a, at, "environment", S("status=active")), "{p07}:f:T:environment:status=active"},
        {key_sorted(a, at, "environment", "createdAt"), "{p07}:z:T:environment:createdAt"},
        {key_unique(a, at, "environment", STR_NONE, "name"), "{p07}:u:T:environment:name"},
        {key_unique(a, at, "window", S("E"), "name"), "{p07}:u:T:window:E:name"},
        {key_channel(a, at, S("run:R")), "{p07}:e:T:run:R"},
        {key_channel_seq(a, at, S("run:R")), "{p07}:es:T:run:R"},
        {key_promotions_ended(a, at, "failed"), "{p07}:pe:T:failed"},
        {key_log(a, at, "run", S("R"), S("build"), 2), "{p07}:l:T:run:R:build:2"},
        {key_log_meta(a, at, "run", S("R"), S("build"), 2), "{p07}:l:T:run:R:build:2:m"},
        {key_audit(a, at), "{p07}:a:T"},
        {key_audit_seq(a, at), "{p07}:an:T"},
        {key_audit_sealed(a, at), "{p07}:as:T"},
        {key_idempotency(a, at, S("key:K"), "/x/{id}", S("h")), "{p07}:i:T:key:K:/x/{id}:h"},
        {key_credential(a, 7, S("h")), "{p07}:k:h"},
        {key_rate(a, at, S("key:K")), "{p07}:b:T:key:K"},
        {key_inbox(a, at, S("R")), "{p07}:in:T:R"},
        {key_lease(a, at, S("R")), "{p07}:le:T:R"},
        {key_dirty(a, 7), "{p07}:dirty"},
        {key_timers(a, 7), "{p07}:t"},
        {key_queue(a, 7), "{p07}:q"},
        {key_liveness(a, 7), "{p07}:gl"},
        {key_waiting(a, at), "{p07}:w:T"},
        {key_roster(a, at), "{p07}:g:T"},
        {key_tasks(a, at, S("A")), "{p07}:gt:T:A"},
        {key_blob(a, at, S("e3b0")), "{p07}:bm:T:e3b0"},
        {key_blob_bytes(a, at, S("B")), "{p07}:bc:T:B"},
        {key_blob_usage(a, at), "{p07}:bu:T"},
        {key_artifacts(a, at, "run", S("R")), "{p07}:ra:T:run:R"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(rows[i].key.p, rows[i].name);
}

static void a_key_without_its_parts_is_none(void **state)
{
    struct arena *a = &fixture.arena;

    (void)state;
    assert_null(key_document(a, (struct space){7, STR_NONE}, "x", S("i")).p);
    assert_null(key_document(a, at, "x", STR_NONE).p);
    assert_null(key_facet(a, at, "x", STR_NONE).p);
    assert_null(key_credential(a, 7, STR_NONE).p);
    assert_null(key_inbox(a, at, STR_NONE).p);
    assert_null(key_log(a, at, "run", STR_NONE, S("n"), 1).p);
    assert_null(key_channel(a, at, STR_NONE).p);
    assert_null(key_idempotency(a, at, STR_NONE, "/x", S("h")).p);
}

/* "name=value name=value", sorted by name. */
static const char *dump_pairs(const struct redis_value *v)
{
    const char *last = "";
    struct buf b;

    buf_init_arena(&b, &fixture.arena, 256);
    for (size_t done = 0; done < v->count; done += 2) {
        const struct redis_value *least = NULL;

        for (size_t i = 0; i < v->count; i += 2)
            if (strcmp(v->items[i]->text.p, last) > 0 && (!least || strcmp(v->items[i]->text.p, least->text.p) < 0))
                least = v->items[i];
        assert_non_null(least);
        last = least->text.p;
        buf_printf(&b, "%s%s=%s", done ? " " : "", last, redis_text(redis_field(v, least->text)).p);
    }
    buf_char(&b, 0);
    return b.p;
}

static const char *dump(const char *key, const char *type)
{
    if (!strcmp(type, "string"))
        return redis_string("GET %s", key).p;
    if (!strcmp(type, "list"))
        return redis_string("LINDEX %s 0", key).p;
    return dump_pairs(!strcmp(type, "hash") ? redis_do("HGETALL %s", key) : redis_do("ZRANGE %s 0 -1 WITHSCORES", key));
}

/* One commit that uses nearly everything, and every key of the data set after it. */
static void a_commit_writes_these_keys_and_fields(void **state)
{
    static const struct {
        const char *key, *type, *dump;
    } rows[] = {
        {P "a:" TENANT, "stream", NULL},
        {P "ad", "zset", TENANT "=4102444800000"},
        {P "an:" TENANT, "string", "1"},
        {P "d:" TENANT ":run:R", "hash", "h=head j={\"id\":\"R\"} o=1 r=1 s=sealed sv=3"},
        {P "dirty", "zset", NULL},
        {P "e:" TENANT ":run:R", "stream", NULL},
        {P "es:" TENANT ":run:R", "string", "1"},
        {P "f:" TENANT ":run:state=open", "hash", "0=\2"},
        {P "ids:" TENANT ":R", "zset", "E=4102444800000"},
        {P "in:" TENANT ":R", "list", "{entry}"},
        {P "le:" TENANT ":R", "hash", "owner=me token=1 until=4102444803000"},
        {P "meta", "hash", NULL},
        {P "n:" TENANT ":run", "string", "1"},
        {P "o:" TENANT ":run", "zset", "R=1"},
        {P "q", "zset", TENANT ":R:build:1=6"},
        {P "t", "zset", TENANT ":run:R=5"},
        {P "u:" TENANT ":run:name", "hash", "one=R"},
        {P "z:" TENANT ":run:size", "zset", "R=10"},
    };
    struct commit_index x;
    struct commit c;

    (void)state;
    set_clock(4102444800000);
    index_begin(&x, &fixture.arena);
    index_facet(&x, S("state"), S("open"));
    index_number(&x, "size", 10);
    index_unique(&x, RES_ALREADY_EXISTS, STR_NONE, "name", S("one"));
    begin(&c, 0);
    commit_put(&c, &(struct commit_document){"run", S("R"), 1, 3, S("{\"id\":\"R\"}"), &x, S("sealed")});
    commit_field(&c, "run", S("R"), S("h"), S("head"));
    commit_event(&c, S("run:R"), S("\"type\":\"x\"}"));
    commit_audit(&c, S("{}"));
    commit_inbox(&c, "run", S("R"), S("E"), S("{entry}"));
    commit_claim(&c, "run", S("R"), S("me"), 3000);
    commit_timer(&c, "run", S("R"), 5);
    commit_queue(&c, S("R:build:1"), 6);
    commit_ok(&c);

    assert_int_equal(redis_number("DBSIZE"), ARRAY_LEN(rows));
    redis_do("HDEL " P "d:" TENANT ":run:R x"); /* packed: see the next test */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(redis_string("TYPE %s", rows[i].key).p, rows[i].type);
        if (rows[i].dump)
            assert_string_equal(dump(rows[i].key, rows[i].type), rows[i].dump);
    }
    assert_int_equal(redis_number("HGET " P "meta abi"), 1);
    assert_int_equal(redis_number("HGET " P "meta epoch"), 4102444800000);
    assert_int_equal(redis_number("HGET " P "meta commits"), 1);
}

/* The index a document carries is how its later change finds what to take away. */
static void an_index_written_by_the_first_version_is_understood(void **state)
{
    /* [["state=open"], [["size", 10]], [["name", "one"]], [["name", "one", 17, "name"]]] as MessagePack */
    static const char packed[] = "\x94\x91\xaastate=open\x91\x92\xa4size\x0a\x91\x92\xa4name\xa3one"
                                 "\x91\x94\xa4name\xa3one\x11\xa4name";
    struct str argv[] = {S("HSET"), S(P "d:" TENANT ":thing:a"), S("x"), {packed, sizeof packed - 1}};
    struct str bit[] = {S("HSET"), S(P "f:" TENANT ":thing:state=open"), S("0"), S("\2")};
    struct str name[] = {S("ZADD"), S(P "z:" TENANT ":thing:name"), S("0"), S("one\0a")};
    struct commit c;

    (void)state;
    redis_args(4, argv);
    redis_args(4, bit);
    redis_args(4, name);
    redis_do("HSET " P "d:" TENANT ":thing:a j {} r 1 sv 1 o 1");
    redis_do("ZADD " P "o:" TENANT ":thing 1 a");
    redis_do("ZADD " P "z:" TENANT ":thing:size 10 a");
    redis_do("HSET " P "u:" TENANT ":thing:name one a");
    redis_do("SET " P "n:" TENANT ":thing 1");
    begin(&c, 0);
    commit_delete(&c, "thing", S("a"), 1);
    commit_ok(&c);
    assert_int_equal(redis_number("DBSIZE"), 2);
}

static void functions_carry_their_abi(void **state)
{
    static const char *const names[] = {"admit_1",  "append_1", "claim_1", "commit_1",
                                        "finish_1", "list_1",   "sweep_1", "take_1"};
    const struct redis_value *functions =
        redis_field(redis_at(redis_do("FUNCTION LIST LIBRARYNAME slipway"), 0), S("functions"));

    (void)state;
    assert_int_equal(functions->count, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        bool found = false;

        for (size_t k = 0; k < functions->count; k++)
            found |= str_eqz(redis_text(redis_field(functions->items[k], S("name"))), names[i]);
        assert_true(found);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_of_keys),
        TEST(a_key_without_its_parts_is_none),
        TEST(a_commit_writes_these_keys_and_fields),
        TEST(an_index_written_by_the_first_version_is_understood),
        TEST(functions_carry_their_abi),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

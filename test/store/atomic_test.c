/* A function does not roll back: so with one key of the wrong type, whichever it is, it must have changed nothing. */
#include "test/store/fixture.h"

static const int64_t t0 = 4102444800000;

/* One commit that uses every verb on documents, channels, runs and plain keys. */
static void everything(struct commit *c)
{
    struct commit_index *x = arena_new(&fixture.arena, struct commit_index);
    struct arena *a = &fixture.arena;
    const struct str fields[] = {S("status"), S("200")};

    index_begin(x, a);
    index_facet(x, S("state"), S("new"));
    index_number(x, "size", 2);
    index_text(x, "title", S("new"));
    index_unique(x, RES_ALREADY_EXISTS, STR_NONE, "name", S("new"));
    begin(c, 0);
    commit_expect_field(c, RES_INVALID_STATE, "f", key_roster(a, space), S("none"), STR_NONE);
    commit_expect_at_most(c, RES_IN_USE, "m", key_tasks(a, space, S("A")), 100);
    commit_put(c, &(struct commit_document){"run", S("R"), 2, 1, S("{\"v\":2}"), x, STR_NONE});
    commit_put(c, &(struct commit_document){"other", S("O"), 1, 1, S("{}"), NULL, S("sealed")});
    commit_field(c, "run", S("R"), S("h"), S("x"));
    commit_delete(c, "gone", S("G"), 1);
    commit_event(c, S("run:R"), S("\"type\":\"x\"}"));
    commit_event(c, S("dashboard"), S("\"type\":\"y\"}"));
    commit_channel(c, S("dashboard"), 10, 60000);
    commit_audit(c, S("{}"));
    commit_inbox(c, "run", S("R"), S("id1"), S("entry"));
    commit_drained(c, "run", S("R"), 1, 1, 3000);
    commit_inbox(c, "job", S("J"), S("id2"), S("entry"));
    commit_timer(c, "run", S("R"), 77);
    commit_queue(c, S("R:n:1"), 88);
    commit_waiting(c, S("R:n:1"), true);
    commit_task(c, S("A"), S("T"), S("{}"));
    commit_roster(c, S("A"), S("{}"));
    commit_beat(c, S("A"), true);
    commit_idempotency(c, key_idempotency(a, space, S("key:K"), "/r", S("h")), S("me"), 1000, fields, 2,
                       &(struct commit_answer){"other", S("O"), 1, S("{}")});
}

static const char *const keys[] = {
    P "d:" TENANT ":run:R",
    P "n:" TENANT ":other",
    P "o:" TENANT ":other",
    P "d:" TENANT ":other:O",
    P "f:" TENANT ":run:state=old",
    P "f:" TENANT ":run:state=new",
    P "z:" TENANT ":run:size",
    P "z:" TENANT ":run:title",
    P "u:" TENANT ":run:name",
    P "d:" TENANT ":gone:G",
    P "o:" TENANT ":gone",
    P "f:" TENANT ":gone:state=g",
    P "u:" TENANT ":gone:name",
    P "e:" TENANT ":run:R",
    P "es:" TENANT ":run:R",
    P "e:" TENANT ":dashboard",
    P "es:" TENANT ":dashboard",
    P "a:" TENANT,
    P "an:" TENANT,
    P "in:" TENANT ":R",
    P "ids:" TENANT ":R",
    P "in:" TENANT ":J",
    P "ids:" TENANT ":J",
    P "le:" TENANT ":R",
    P "dirty",
    P "t",
    P "q",
    P "w:" TENANT,
    P "gt:" TENANT ":A",
    P "g:" TENANT,
    P "gl",
    P "i:" TENANT ":key:K:/r:h",
    P "i:" TENANT ":key:K:/r:run",
    P "i:" TENANT ":key:K:/r:gone",
};

static struct admission claim_of(const char *hash)
{
    struct admission claim = {.partition = 7, .space = space, .caller = S("key:K")};
    claim.idempotency.route = "/r";
    claim.idempotency.hash = str_z(hash);
    claim.idempotency.fingerprint = S("f");
    claim.idempotency.owner = S("me");
    claim.idempotency.lock_ms = 1000;
    return claim;
}

/* A record whose answer is the document as it stands. */
static void answer_by(struct commit *c, const char *hash, const char *kind, const char *id)
{
    const struct str fields[] = {S("status"), S("200")};
    const struct commit_answer of = {kind, str_z(id), 1, S("{}")};
    commit_idempotency(c, key_idempotency(&fixture.arena, space, S("key:K"), "/r", str_z(hash)), S("me"), 60000, fields,
                       2, &of);
}

/* What `everything` finds. */
static void prepare(void)
{
    struct admission claim = claim_of("h"), run = claim_of("run"), gone = claim_of("gone");
    struct commit_index *x = arena_new(&fixture.arena, struct commit_index);
    struct commit_index *g = arena_new(&fixture.arena, struct commit_index);
    struct commit c;

    redis_do("FLUSHALL");
    set_clock(t0);
    index_begin(x, &fixture.arena);
    index_facet(x, S("state"), S("old"));
    index_number(x, "size", 1);
    index_text(x, "title", S("old"));
    index_unique(x, RES_ALREADY_EXISTS, STR_NONE, "name", S("old"));
    index_begin(g, &fixture.arena);
    index_facet(g, S("state"), S("g"));
    index_unique(g, RES_ALREADY_EXISTS, STR_NONE, "name", S("g"));
    assert_int_equal(admit(&run)->replay, ADMIT_CLAIMED);
    assert_int_equal(admit(&gone)->replay, ADMIT_CLAIMED);
    begin(&c, 0);
    commit_put(&c, &(struct commit_document){"run", S("R"), 1, 1, S("{\"v\":1}"), x, STR_NONE});
    commit_put(&c, &(struct commit_document){"gone", S("G"), 1, 1, S("{}"), g, STR_NONE});
    commit_inbox(&c, "run", S("R"), STR_NONE, S("first"));
    commit_claim(&c, "run", S("R"), S("me"), 3000);
    answer_by(&c, "run", "run", "R");
    answer_by(&c, "gone", "gone", "G");
    commit_ok(&c);
    assert_int_equal(admit(&claim)->replay, ADMIT_CLAIMED);
}

/* Puts something of another type where the key is, or would be. */
static void spoil(const char *key)
{
    bool was_string = str_eqz(redis_string("TYPE %s", key), "string") || strstr(key, ":n:") || strstr(key, ":es:") ||
                      strstr(key, ":an:");

    redis_do("DEL %s", key);
    redis_do(was_string ? "SADD %s member" : "SET %s text", key);
}

static void every_key_of_the_list_is_written(void **state)
{
    struct commit c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct str before, after;

        prepare();
        before = redis_string("DUMP %s", keys[i]);
        everything(&c);
        commit_ok(&c);
        after = redis_string("DUMP %s", keys[i]);
        if (!strstr(keys[i], "le:") &&
            !strstr(keys[i], "dirty")) /* written again as they were: the clock stands still */
            assert_false(str_eq(before, after));
        arena_reset(&fixture.arena);
    }
}

static void one_wrong_key_and_nothing_is_changed(void **state)
{
    struct commit c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct str before;
        const struct commit_result *r;

        prepare();
        spoil(keys[i]);
        before = digest();
        everything(&c);
        r = commit(&c);
        if (r->code == OK)
            fail_msg("with a wrong %s it went through", keys[i]);
        if (!str_eq(digest(), before))
            fail_msg("with a wrong %s something was changed", keys[i]);
        arena_reset(&fixture.arena);
    }
}

/* Counters that are no numbers, and streams that are ahead of their counter. */
static void damaged_counters_change_nothing(void **state)
{
    static const char *const damage[] = {
        "SET " P "n:" TENANT ":other x",
        "SET " P "n:" TENANT ":other -1",
        "SET " P "n:" TENANT ":other 1.5",
        "SET " P "es:" TENANT ":run:R x",
        "SET " P "an:" TENANT " x",
        "XADD " P "e:" TENANT ":run:R 99-0 f 1",
        "XADD " P "e:" TENANT ":dashboard * f 1",
        "XADD " P "a:" TENANT " 99-0 j x",
    };
    struct commit c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct str before;

        prepare();
        redis_do("%s", damage[i]);
        before = digest();
        everything(&c);
        assert_int_equal(commit(&c)->code, SYS_INTERNAL);
        if (!str_eq(digest(), before))
            fail_msg("after %s something was changed", damage[i]);
        arena_reset(&fixture.arena);
    }
}

static enum code got;
static int answers;

static void on_code(void *arg, enum code c)
{
    (void)arg;
    got = c;
    answers++;
}

static void on_admit(void *arg, enum code c, const struct admitted *a)
{
    (void)a, on_code(arg, c);
}
static void on_append(void *arg, enum code c, const struct appended *a)
{
    (void)a, on_code(arg, c);
}
static void on_claim(void *arg, enum code c, const struct claim *a)
{
    (void)a, on_code(arg, c);
}
static void on_sweep(void *arg, enum code c, const struct swept *a)
{
    (void)a, on_code(arg, c);
}
static void on_take(void *arg, enum code c, const struct taken *a)
{
    (void)a, on_code(arg, c);
}

/* The other functions, by number. */
static void start(int which)
{
    static const struct tier rate = {60, 10};
    const struct str line = S("\"line\":\"x\"}"), renew = S(TENANT ":R:n:1");
    struct admission admission = {.partition = 7,
                                  .space = space,
                                  .caller = S("key:K"),
                                  .credential = S("h"),
                                  .optional = true,
                                  .rates = &rate,
                                  .rate_count = 1,
                                  .cost = 1};
    struct append append = {.space = space,
                            .kind = "run",
                            .run = S("R"),
                            .node = S("build"),
                            .attempt = 1,
                            .task = S("T"),
                            .first = 1,
                            .lines = &line,
                            .count = 1,
                            .last = true};
    struct sweep sweep = {.partition = 7, .dirty_ms = 0, .stale_ms = 0, .lease_ms = 5000, .most = 10};
    struct store *s = fixture.store;
    struct arena *a = &fixture.arena;
    enum code c = SYS_INTERNAL;

    admission.idempotency.route = "/r";
    admission.idempotency.hash = S("h2");
    admission.idempotency.fingerprint = S("f");
    admission.idempotency.owner = S("me");
    admission.idempotency.lock_ms = 1000;
    switch (which) {
    case 0:
        c = store_admit(s, a, &admission, &fixture.ops, on_admit, NULL);
        break;
    case 1:
        c = store_append(s, a, &append, &fixture.ops, on_append, NULL);
        break;
    case 2:
        c = store_claim(s, a, space, "run", S("R"), S("other"), 0, 3000, &fixture.ops, on_claim, NULL);
        break;
    case 3:
        c = store_sweep(s, a, &sweep, &fixture.ops, on_sweep, NULL);
        break;
    case 4:
        c = store_take(s, a, 7, 5, &renew, 1, 5000, &fixture.ops, on_take, NULL);
    }
    assert_int_equal(c, OK);
    answers = 0;
    while (!answers)
        loop_turn(&fixture.loop, true);
}

static void the_other_functions_change_nothing_either(void **state)
{
    static const char *const touched[][8] = {
        {P "k:h", P "b:" TENANT ":key:K", P "i:" TENANT ":key:K:/r:h2"},
        {P "e:" TENANT ":run:R", P "es:" TENANT ":run:R", P "l:" TENANT ":run:R:build:1",
         P "l:" TENANT ":run:R:build:1:m"},
        {P "le:" TENANT ":R", P "in:" TENANT ":R", P "d:" TENANT ":run:R"},
        {P "dirty", P "t", P "q", P "gl"},
        {P "q"},
    };

    (void)state;
    for (int which = 0; which < (int)ARRAY_LEN(touched); which++) {
        for (int i = 0; i < 8 && touched[which][i]; i++) {
            struct str before;

            prepare();
            set_clock(t0 + 60000); /* leases are over */
            redis_do("ZADD " P "t 1 x");
            redis_do("ZADD " P "q 1 " TENANT ":R:n:1");
            spoil(touched[which][i]);
            before = digest();
            start(which);
            assert_int_equal(got, SYS_INTERNAL);
            if (!str_eq(digest(), before))
                fail_msg("function %d changed something with a wrong %s", which, touched[which][i]);
            arena_reset(&fixture.arena);
        }
    }
}

static void every_key_of_a_commit_is_in_one_slot(void **state)
{
    const struct redis_value *all;
    struct commit c;

    (void)state;
    prepare();
    everything(&c);
    commit_ok(&c);
    all = redis_do("KEYS *");
    assert_true(all->count > 20);
    for (size_t i = 0; i < all->count; i++)
        assert_memory_equal(redis_text(all->items[i]).p, P, 6);
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_key_of_the_list_is_written),     TEST(one_wrong_key_and_nothing_is_changed),
        TEST(damaged_counters_change_nothing),      TEST(the_other_functions_change_nothing_either),
        TEST(every_key_of_a_commit_is_in_one_slot),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

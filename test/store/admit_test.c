#include "test/store/fixture.h"

static const int64_t t0 = 4102444800000;

static const struct tier rates[] = {{60, 10}, {6000, 500}};

static struct admission known(int64_t cost)
{
    return (struct admission){
        .partition = 7, .space = space, .caller = S("key:K"), .rates = rates, .rate_count = 2, .cost = cost};
}

static struct admission credential(const char *hash)
{
    return (struct admission){.partition = 7, .credential = str_z(hash), .rates = rates, .rate_count = 2, .cost = 1};
}

static void a_credential_is_looked_up(void **state)
{
    struct admission in = credential("h1");
    const struct admitted *a;

    (void)state;
    assert_int_equal(admit(&in)->verdict, ADMIT_UNKNOWN);
    redis_do("HSET " P "k:h1 kind key id K tenant " TENANT " tier 1 name ops");
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_OK);
    assert_string_equal(redis_text(redis_field(a->credential, S("name"))).p, "ops");
    assert_int_equal(a->limit, 6000);
    assert_int_equal(a->remaining, 5999);
    assert_int_equal(redis_number("HGET " P "b:" TENANT ":key:K n"), 1);
    redis_do("HSET " P "k:h1 revoked 1700000000000");
    assert_int_equal(admit(&in)->verdict, ADMIT_REVOKED);
    redis_do("HDEL " P "k:h1 revoked");
    set_clock(t0);
    redis_do("HSET " P "k:h1 expires %lld", (long long)t0);
    assert_int_equal(admit(&in)->verdict, ADMIT_EXPIRED);
    redis_do("HSET " P "k:h1 expires %lld", (long long)t0 + 1);
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    redis_do("HSET " P "k:h1 expires 0");
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
}

static void an_optional_record_only_ever_refuses(void **state)
{
    struct admission in = known(1);

    (void)state;
    in.credential = S("jwt");
    in.optional = true;
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    redis_do("HSET " P "k:jwt tenant " TENANT " revoked 5");
    assert_int_equal(admit(&in)->verdict, ADMIT_REVOKED);
}

static void a_credential_is_good_while_all_of_its_chain_is(void **state)
{
    struct admission in = credential("c1");
    const struct admitted *a;

    (void)state;
    in.of = S("a1");
    redis_do("HSET " P "k:c1 kind key id K tenant " TENANT " of g1");
    assert_int_equal(admit(&in)->verdict, ADMIT_UNKNOWN);
    redis_do("HSET " P "k:g1 kind grant of u1");
    redis_do("HSET " P "k:u1 kind user id U roles viewer permissions release:create");
    assert_int_equal(admit(&in)->verdict, ADMIT_UNKNOWN);
    redis_do("HSET " P "k:a1 kind client");
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_OK);
    assert_string_equal(redis_text(redis_at(a->user, ADMIT_USER_ID)).p, "U");
    assert_string_equal(redis_text(redis_at(a->user, ADMIT_USER_ROLES)).p, "viewer");
    assert_string_equal(redis_text(redis_at(a->user, ADMIT_USER_PERMISSIONS)).p, "release:create");
    redis_do("HSET " P "k:a1 revoked 5");
    assert_int_equal(admit(&in)->verdict, ADMIT_REVOKED);
    redis_do("HDEL " P "k:a1 revoked");
    set_clock(t0);
    redis_do("HSET " P "k:g1 expires %lld", (long long)t0);
    assert_int_equal(admit(&in)->verdict, ADMIT_EXPIRED);
    redis_do("HSET " P "k:g1 expires 0");
    redis_do("HSET " P "k:u1 of c1"); /* a ring */
    assert_int_equal(admit(&in)->verdict, ADMIT_UNKNOWN);
}

static void what_a_token_depends_on_may_be_given(void **state)
{
    struct admission in = known(1);

    (void)state;
    in.credential = S("jwt");
    in.optional = true;
    in.of = S("g1");
    assert_int_equal(admit(&in)->verdict, ADMIT_UNKNOWN);
    redis_do("HSET " P "k:g1 kind grant");
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    redis_do("HSET " P "k:g1 revoked 5");
    assert_int_equal(admit(&in)->verdict, ADMIT_REVOKED);
}

static void what_may_be_missing_is_judged_once_it_is_there(void **state)
{
    struct admission in = known(1);

    (void)state;
    in.credential = S("jwt");
    in.optional = true;
    in.of = S("?u1");
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    redis_do("HSET " P "k:u1 kind user id U roles viewer");
    assert_string_equal(redis_text(redis_at(admit(&in)->user, ADMIT_USER_ID)).p, "U");
    redis_do("HSET " P "k:u1 revoked 5");
    assert_int_equal(admit(&in)->verdict, ADMIT_REVOKED);
}

static void a_use_of_a_key_is_noted_once_a_minute_in_its_document(void **state)
{
    struct admission in = known(1);
    const char *document = P "d:" TENANT ":key:K";

    (void)state;
    set_clock(t0);
    in.used_from = S("192.0.2.7");
    admit(&in);
    assert_int_equal(redis_number("EXISTS %s", document), 0); /* a key without a document */
    redis_do("HSET %s r 1", document);
    admit(&in);
    assert_int_equal(redis_number("HGET %s used", document), t0);
    assert_string_equal(redis_string("HGET %s used_from", document).p, "192.0.2.7");
    in.used_from = S("192.0.2.8");
    set_clock(t0 + 59999);
    admit(&in);
    assert_int_equal(redis_number("HGET %s used", document), t0);
    set_clock(t0 + 60000);
    in.used_from = S("");
    admit(&in);
    assert_int_equal(redis_number("HGET %s used", document), t0 + 60000);
    assert_int_equal(redis_number("HSTRLEN %s used_from", document), 0);
    set_clock(t0 + 200000);
    in.used_from = STR_NONE;
    admit(&in);
    in.used_from = S("192.0.2.9");
    in.caller = S("user:K");
    admit(&in);
    assert_int_equal(redis_number("HGET %s used", document), t0 + 60000);
}

static void nothing_of_a_suspended_tenant_is_good(void **state)
{
    struct admission in = credential("h1");
    const struct admitted *a;

    (void)state;
    redis_do("HSET " P "k:h1 kind key id K tenant " TENANT);
    redis_do("HSET " P "kt:" TENANT " networks 10.0.0.0/8");
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_OK);
    assert_string_equal(redis_text(redis_at(a->tenant, ADMIT_TENANT_NETWORKS)).p, "10.0.0.0/8");
    redis_do("HSET " P "kt:" TENANT " suspended 5");
    assert_int_equal(admit(&in)->verdict, ADMIT_SUSPENDED);
}

static void nothing_is_charged_for_nothing(void **state)
{
    struct admission in = known(0);

    (void)state;
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    assert_int_equal(redis_number("DBSIZE"), 0);
}

static void the_burst_is_exact(void **state)
{
    struct admission in = known(1);
    const struct admitted *a = NULL;

    (void)state;
    set_clock(t0);
    for (int i = 0; i < 10; i++) {
        a = admit(&in);
        assert_int_equal(a->verdict, ADMIT_OK);
        assert_int_equal(a->burst_remaining, 9 - i);
        assert_int_equal(a->remaining, 59 - i);
    }
    assert_int_equal(a->reset_ms, t0 + 60000);
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_LIMITED);
    assert_int_equal(a->retry_after_ms, 1000); /* one a second comes back */
    assert_int_equal(a->remaining, 50);        /* not charged */
    set_clock(t0 + 999);
    assert_int_equal(admit(&in)->verdict, ADMIT_LIMITED);
    set_clock(t0 + 1000);
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    assert_int_equal(admit(&in)->verdict, ADMIT_LIMITED);
    set_clock(t0 + 50000); /* it never holds more than its size */
    for (int i = 0; i < 10; i++)
        assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    assert_int_equal(admit(&in)->verdict, ADMIT_LIMITED);
}

static void the_window_is_exact(void **state)
{
    struct admission in = known(1);
    const struct admitted *a;
    int admitted = 0;

    (void)state;
    for (int64_t ms = 0; ms < 59000; ms += 500) { /* two a second: the bucket lets one through */
        set_clock(t0 + ms);
        admitted += admit(&in)->verdict == ADMIT_OK;
    }
    assert_int_equal(admitted, 60);
    set_clock(t0 + 59999);
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_LIMITED);
    assert_int_equal(a->remaining, 0);
    assert_int_equal(a->reset_ms, t0 + 60000);
    assert_int_equal(a->retry_after_ms, 1);
    set_clock(t0 + 60000);
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_OK);
    assert_int_equal(a->remaining, 59);
    assert_int_equal(a->reset_ms, t0 + 120000);
}

/* Random times and costs against the same rules written down once more: levels in thousandths of a request. */
static void a_rate_agrees_with_its_model(void **state)
{
    int64_t now = t0, start = 0, stamp = t0, count = 0, level = 10000;
    unsigned seed = 12345;

    (void)state;
    for (int i = 0; i < 400; i++) {
        bool new_window, ok;
        struct admission in;
        int64_t filled;

        seed = seed * 1103515245 + 12345;
        now += seed / 65536 % 4 ? seed / 65536 % 700 : seed / 65536 % 30000;
        in = known(1 + seed / 1024 % 3);
        set_clock(now);
        new_window = now - start >= 60000;
        filled = level + now - stamp < 10000 ? level + now - stamp : 10000;
        ok = (new_window ? 0 : count) + in.cost <= 60 && filled >= in.cost * 1000;
        assert_int_equal(admit(&in)->verdict, ok ? ADMIT_OK : ADMIT_LIMITED);
        if (!ok)
            continue;
        start = new_window ? now : start;
        count = (new_window ? 0 : count) + in.cost;
        level = filled - in.cost * 1000;
        stamp = now;
    }
}

static void a_rate_nobody_uses_goes_away(void **state)
{
    struct admission in = known(1);

    (void)state;
    admit(&in);
    assert_true(redis_number("PTTL " P "b:" TENANT ":key:K") > 60000);
    assert_true(redis_number("PTTL " P "b:" TENANT ":key:K") <= 120000);
}

/* A tier with all windows: 1000 a minute and at once, 12 an hour, 15 a day, 3 builds a day. t0 is a midnight. */
static const struct tier many[] = {{1000, 1000, {12, 15, 3}}};

static struct admission of_many(int64_t cost, int64_t builds)
{
    struct admission in = known(cost);

    in.rates = many;
    in.rate_count = 1;
    in.builds = builds;
    return in;
}

static void every_window_of_a_tier_holds(void **state)
{
    struct admission in = of_many(1, 0);
    const struct admitted *a = NULL;

    (void)state;
    set_clock(t0 + 1000);
    for (int i = 0; i < 12; i++) {
        a = admit(&in);
        assert_int_equal(a->verdict, ADMIT_OK);
        assert_int_equal(a->more[RATE_HOUR].limit, 12);
        assert_int_equal(a->more[RATE_HOUR].remaining, 11 - i);
        assert_int_equal(a->more[RATE_DAY].remaining, 14 - i);
    }
    assert_int_equal(a->more[RATE_HOUR].reset_ms, t0 + 3600000);
    assert_int_equal(a->more[RATE_DAY].reset_ms, t0 + 86400000);
    assert_int_equal(a->more[RATE_BUILDS].remaining, 3);
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_LIMITED);
    assert_int_equal(a->retry_after_ms, 3599000);
    assert_int_equal(a->remaining, 988); /* charged to none */
    set_clock(t0 + 3600000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    a = admit(&in);
    assert_int_equal(a->verdict, ADMIT_LIMITED);
    assert_int_equal(a->more[RATE_HOUR].remaining, 9);
    assert_int_equal(a->retry_after_ms, 82800000);
    assert_true(redis_number("PTTL " P "b:" TENANT ":key:K") > 80000000);
    set_clock(t0 + 86400000 - 30000);
    assert_int_equal(admit(&in)->verdict, ADMIT_LIMITED);
    set_clock(t0 + 86400000);
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
}

static void a_count_that_begins_within_a_minute_is_kept(void **state)
{
    struct admission in = of_many(1, 0);

    (void)state;
    set_clock(t0 + 86400000 - 30000);
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    set_clock(t0 + 86400000);
    assert_int_equal(admit(&in)->verdict, ADMIT_OK);
    assert_true(redis_number("PTTL " P "b:" TENANT ":key:K") > 80000000);
}

static void builds_of_a_day_are_counted_apart(void **state)
{
    struct admission build = of_many(1, 1), read = of_many(1, 0), back = of_many(0, -1);
    const struct admitted *a = NULL;

    (void)state;
    set_clock(t0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(admit(&build)->verdict, ADMIT_OK);
    a = admit(&build);
    assert_int_equal(a->verdict, ADMIT_BUILDS);
    assert_int_equal(a->retry_after_ms, 86400000);
    assert_int_equal(a->more[RATE_HOUR].remaining, 9);
    assert_int_equal(admit(&read)->verdict, ADMIT_OK);
    assert_int_equal(admit(&back)->more[RATE_BUILDS].remaining, 1);
    assert_int_equal(admit(&build)->verdict, ADMIT_OK);
    assert_int_equal(admit(&build)->verdict, ADMIT_BUILDS);
    set_clock(t0 + 86400000);
    assert_int_equal(admit(&back)->more[RATE_BUILDS].remaining, 3); /* there is no more than all */
    redis_do("HSET " P "b:" TENANT ":key:K n 1000");
    assert_int_equal(admit(&build)->verdict, ADMIT_LIMITED);
}

static void nothing_is_on_credit_in_the_last_tenth_of_any_window(void **state)
{
    static const struct tier day[] = {{100000, 100000, {0, 1000, 0}}}, small[] = {{100000, 100000, {49, 0, 5}}};
    struct admission in = known(1), tell = known(0);

    (void)state;
    in.rates = day;
    in.rate_count = 1;
    in.credit.holder = S("one");
    in.credit.wanted = 5;
    set_clock(t0);
    assert_int_equal(admit(&in)->granted, 5);
    tell.rates = day;
    tell.rate_count = 1;
    tell.credit.holder = S("one");
    tell.credit.used = 895;
    assert_int_equal(admit(&tell)->more[RATE_DAY].remaining, 104);
    assert_int_equal(admit(&in)->granted, 3); /* 897 are used: 3 more, and 100 are left */
    assert_int_equal(admit(&in)->granted, 2);
    in.rates = small;
    assert_int_equal(admit(&in)->granted, 0);
}

static void a_tenant_has_the_tier_of_whose_credential_names_none(void **state)
{
    static const struct {
        const char *own, *tenant;
        int64_t limit;
    } cases[] = {
        {"0", NULL, 60}, {"0", "1", 6000}, {"1", NULL, 6000}, {"1", "0", 6000}, {"0", "7", 60}, {"0", "x", 60},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct admission in = credential("h1");
        redis_do("FLUSHALL");
        redis_do("HSET " P "k:h1 kind key id K tenant " TENANT " tier %s", cases[i].own);
        if (cases[i].tenant != NULL)
            redis_do("HSET " P "kt:" TENANT " tier %s", cases[i].tenant);
        assert_int_equal(admit(&in)->limit, cases[i].limit);
    }
}

/* Credit. A rate with room for it: 1000 a minute and 100 at once, so 5 on credit. */
static const struct tier roomy[] = {{1000, 100}};

static struct admission with_credit(const char *holder, int64_t cost, int64_t used, int64_t wanted)
{
    return (struct admission){.partition = 7,
                              .space = space,
                              .caller = S("key:K"),
                              .rates = roomy,
                              .rate_count = 1,
                              .cost = cost,
                              .credit = {str_z(holder), used, wanted, false}};
}

static int64_t granted(const char *holder, int64_t used, int64_t wanted)
{
    struct admission in = with_credit(holder, 1, used, wanted);
    const struct admitted *a = admit(&in);

    assert_int_equal(a->verdict, ADMIT_OK);
    return a->granted;
}

static void holders_share_the_credit_of_a_caller(void **state)
{
    struct admission beside = with_credit("three", 1, 0, 2);

    beside.credit.beside = true;
    (void)state;
    set_clock(t0);
    assert_int_equal(granted("one", 0, 2), 2);
    assert_int_equal(granted("two", 0, 2), 2);
    assert_int_equal(granted("three", 0, 2), 1);
    assert_int_equal(granted("four", 0, 2), 0);
    assert_int_equal(granted("two", 2, 4), 2); /* in the place of its own */
    assert_int_equal(granted("one", 2, 0), 0); /* given back */
    assert_int_equal(granted("four", 0, 5), 2);
    assert_int_equal(admit(&beside)->granted, 0); /* its one is still counted */
    set_clock(t0 + ADMIT_CREDIT_MS - 1);
    assert_int_equal(granted("five", 0, 5), 0);
    set_clock(t0 + ADMIT_CREDIT_MS); /* whoever did not come again has nothing any more */
    assert_int_equal(granted("five", 0, 5), 5);
}

static void what_was_used_is_charged_whatever_is_left(void **state)
{
    struct admission in = with_credit("one", 1, 0, 5), tell = with_credit("one", 0, 3, 0);
    const struct admitted *a;

    (void)state;
    set_clock(t0);
    a = admit(&in);
    assert_int_equal(a->granted, 5);
    assert_int_equal(a->remaining, 999);
    a = admit(&tell);
    assert_int_equal(a->remaining, 996);
    assert_int_equal(a->burst_remaining, 96);
    redis_do("HSET " P "b:" TENANT ":key:K n 999 l 0");
    a = admit(&tell);
    assert_int_equal(a->remaining, 0);
    assert_int_equal(redis_number("HGET " P "b:" TENANT ":key:K n"), 1002);
    in.credit.used = 5;
    assert_int_equal(admit(&in)->verdict, ADMIT_LIMITED);
    assert_int_equal(redis_number("HGET " P "b:" TENANT ":key:K n"), 1007);
}

static void nothing_is_on_credit_in_the_last_tenth(void **state)
{
    (void)state;
    set_clock(t0);
    granted("one", 0, 0);
    redis_do("HSET " P "b:" TENANT ":key:K n 896");
    assert_int_equal(granted("one", 0, 5), 3); /* 897 are used: 3 more, and 100 are left */
    redis_do("HSET " P "b:" TENANT ":key:K n 899");
    assert_int_equal(granted("one", 0, 5), 0);
    redis_do("HSET " P "b:" TENANT ":key:K n 0 l %d", 13 * 60000);
    assert_int_equal(granted("one", 0, 5), 2); /* of the burst */
    redis_do("HSET " P "b:" TENANT ":key:K n 0 l %d", 11 * 60000);
    assert_int_equal(granted("one", 0, 5), 0);
}

static void a_small_limit_or_burst_has_no_credit(void **state)
{
    static const struct tier small[] = {{49, 100}, {1000, 19}, {150, 100}, {1000, 40}};
    static const int64_t expected[] = {0, 0, 3, 2};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct admission in = with_credit("one", 1, 0, 5);

        redis_do("DEL " P "b:" TENANT ":key:K");
        in.rates = &small[i];
        assert_int_equal(admit(&in)->granted, expected[i]);
    }
}

static struct admission claiming(const char *fingerprint, const char *owner)
{
    struct admission in = known(1);

    in.idempotency.route = "/things/{id}";
    in.idempotency.hash = S("kh");
    in.idempotency.fingerprint = str_z(fingerprint);
    in.idempotency.owner = str_z(owner);
    in.idempotency.lock_ms = 11000;
    return in;
}

static struct str record(void)
{
    return key_idempotency(&fixture.arena, space, S("key:K"), "/things/{id}", S("kh"));
}

static void finish(const char *owner, enum code expected)
{
    const struct str fields[] = {S("status"), S("201"), S("id"), S("abc")};
    struct commit c;

    begin(&c, 0);
    commit_idempotency(&c, record(), str_z(owner), 86400000, fields, 4, NULL);
    if (expected == OK)
        commit_ok(&c);
    else
        commit_refused(&c, expected, "idempotency");
}

static void an_idempotency_key_is_claimed_finished_and_replayed(void **state)
{
    struct admission first = claiming("f1", "req1"), second = claiming("f1", "req2"), other = claiming("f2", "req3");
    const struct admitted *a;

    (void)state;
    assert_int_equal(admit(&first)->replay, ADMIT_CLAIMED);
    assert_int_equal(admit(&first)->replay, ADMIT_CLAIMED); /* the same request asks again */
    assert_int_equal(admit(&second)->replay, ADMIT_IN_PROGRESS);
    assert_int_equal(admit(&other)->replay, ADMIT_OTHER);
    finish("req2", RES_IDEMPOTENCY_IN_PROGRESS);
    finish("req1", OK);
    finish("req1", RES_IDEMPOTENCY_IN_PROGRESS);
    a = admit(&second);
    assert_int_equal(a->replay, ADMIT_REPLAY);
    assert_string_equal(redis_text(redis_field(a->record, S("status"))).p, "201");
    assert_string_equal(redis_text(redis_field(a->record, S("id"))).p, "abc");
    assert_int_equal(admit(&other)->replay, ADMIT_OTHER);
    assert_true(redis_number("PTTL %s", record().p) > 86000000);
}

static void a_claim_that_was_never_finished_is_over(void **state)
{
    struct admission first = claiming("f1", "req1"), second = claiming("f2", "req2");

    (void)state;
    set_clock(t0);
    assert_int_equal(admit(&first)->replay, ADMIT_CLAIMED);
    set_clock(t0 + 10999);
    assert_int_equal(admit(&second)->replay, ADMIT_OTHER);
    set_clock(t0 + 11000);
    assert_int_equal(admit(&second)->replay, ADMIT_CLAIMED);
    finish("req1", RES_IDEMPOTENCY_IN_PROGRESS);
    finish("req2", OK);
}

static void make(int64_t now, enum code expected)
{
    const struct str fields[] = {S("fingerprint"), S("f1"), S("status"), S("201")};
    struct commit c;

    set_clock(now);
    begin(&c, 0);
    commit_idempotency(&c, record(), STR_NONE, 86400000, fields, 4, NULL);
    if (expected == OK)
        commit_ok(&c);
    else
        commit_refused(&c, expected, "idempotency");
}

static void a_record_that_nobody_claimed_is_made_by_the_commit(void **state)
{
    struct admission first = claiming("f1", "req1"), other = claiming("f2", "req2");

    (void)state;
    make(t0, OK);
    assert_true(redis_number("PTTL %s", record().p) > 86000000);
    assert_int_equal(admit(&first)->replay, ADMIT_REPLAY);
    assert_int_equal(admit(&other)->replay, ADMIT_OTHER);
    make(t0, RES_IDEMPOTENCY_IN_PROGRESS);
    redis_do("DEL %s", record().p);
    assert_int_equal(admit(&other)->replay, ADMIT_CLAIMED);
    make(t0, RES_IDEMPOTENCY_IN_PROGRESS);
    make(t0 + 11000, OK); /* that claim is over, and leaves nothing behind */
    assert_int_equal(redis_number("HEXISTS %s owner", record().p), 0);
    assert_int_equal(admit(&first)->replay, ADMIT_REPLAY);
    finish("req2", RES_IDEMPOTENCY_IN_PROGRESS);
}

static void who_is_limited_claims_nothing(void **state)
{
    struct admission in = claiming("f1", "req1");

    (void)state;
    in.cost = 11;
    assert_int_equal(admit(&in)->verdict, ADMIT_LIMITED);
    assert_int_equal(admit(&in)->replay, ADMIT_NO_KEY);
    assert_int_equal(redis_number("EXISTS %s", record().p), 0);
}

/* The text of the record's answer, as a replay finds it: of the record, else of the document. */
static void replays(const char *data, int64_t revision)
{
    struct admission again = claiming("f1", "req9");
    const struct admitted *a = admit(&again);

    assert_int_equal(a->replay, ADMIT_REPLAY);
    assert_int_equal(redis_int(redis_field(a->record, S("revision")), 0), revision);
    if (data == NULL)
        assert_int_equal(redis_field(a->record, S("data"))->type, REDIS_NIL);
    else
        assert_true(str_eqz(redis_text(redis_field(a->record, S("data"))), data));
}

static void put_thing(struct commit *c, int64_t revision, const char *json)
{
    begin(c, 0);
    commit_put(c, &(struct commit_document){"thing", S("T"), revision, 1, str_z(json), NULL, STR_NONE});
}

static void answer_thing(struct commit *c, int64_t revision, const char *json)
{
    const struct str fields[] = {S("status"), S("201")};
    const struct commit_answer of = {"thing", S("T"), revision, str_z(json)};

    commit_idempotency(c, record(), S("req1"), 86400000, fields, 2, &of);
}

static void a_record_keeps_the_text_of_a_document_only_once_it_moves_on(void **state)
{
    struct admission first = claiming("f1", "req1");
    struct commit c;

    (void)state;
    for (int ending = 0; ending < 2; ending++) {
        redis_do("FLUSHALL");
        assert_int_equal(admit(&first)->replay, ADMIT_CLAIMED);
        put_thing(&c, 1, "{\"v\":1}");
        answer_thing(&c, 1, "{\"v\":1}");
        commit_ok(&c);
        replays(NULL, 1);
        begin(&c, 0);
        commit_field(&c, "thing", S("T"), S("own"), S("x")); /* is no other revision */
        commit_ok(&c);
        replays(NULL, 1);
        if (ending == 0)
            put_thing(&c, 2, "{\"v\":2}");
        else {
            begin(&c, 0);
            commit_delete(&c, "thing", S("T"), 1);
        }
        commit_ok(&c);
        replays("{\"v\":1}", 1);
        if (ending == 0) {
            put_thing(&c, 3, "{\"v\":3}");
            commit_ok(&c);
            replays("{\"v\":1}", 1);
        }
        assert_int_equal(redis_number("HEXISTS %s ik", key_document(&fixture.arena, space, "thing", S("T")).p), 0);
    }
}

static void an_answer_that_has_moved_on_already_brings_its_text(void **state)
{
    struct admission first = claiming("f1", "req1"), other = claiming("f1", "req1");
    const struct str fields[] = {S("status"), S("200")};
    const struct commit_answer of = {"thing", S("T"), 2, S("{\"v\":2}")};
    struct commit c;

    (void)state;
    put_thing(&c, 1, "{\"v\":1}");
    commit_ok(&c);
    put_thing(&c, 2, "{\"v\":2}");
    commit_ok(&c);
    assert_int_equal(admit(&first)->replay, ADMIT_CLAIMED);
    begin(&c, 0);
    answer_thing(&c, 1, "{\"v\":1}");
    commit_ok(&c);
    replays("{\"v\":1}", 1);
    for (int i = 0; i < 2; i++) { /* the first of two is told by the document, the second by itself */
        other.idempotency.hash = i == 0 ? S("a") : S("b");
        struct str key = key_idempotency(&fixture.arena, space, S("key:K"), "/things/{id}", other.idempotency.hash);
        assert_int_equal(admit(&other)->replay, ADMIT_CLAIMED);
        begin(&c, 0);
        commit_idempotency(&c, key, S("req1"), 86400000, fields, 2, &of);
        commit_ok(&c);
        assert_int_equal(redis_number("HEXISTS %s data", key.p), i);
    }
}

static void an_answer_that_the_commit_puts_is_sent_once(void **state)
{
    const struct str fields[] = {S("status"), S("201")}, json = S("{\"v\":1}");
    const struct commit_answer of = {"thing", S("T"), 1, json};
    struct commit c;

    (void)state;
    begin(&c, 0);
    commit_put(&c, &(struct commit_document){.kind = "thing", .id = S("T"), .revision = 1, .schema = 1, .json = json});
    size_t before = c.writes.n;
    for (int i = 0; i < 2; i++) { /* the second of two is told by itself, in the put's words */
        struct str key = key_idempotency(&fixture.arena, space, S("key:K"), "/things/{id}", i == 0 ? S("a") : S("b"));
        commit_idempotency(&c, key, STR_NONE, 86400000, fields, 2, &of);
    }
    assert_true(str_find(str_slice(buf_view(&c.writes), before, c.writes.n), json) < 0);
    commit_ok(&c);
    assert_int_equal(
        redis_number("HEXISTS %s data", key_idempotency(&fixture.arena, space, S("key:K"), "/things/{id}", S("a")).p),
        0);
    assert_true(str_eq(
        redis_string("HGET %s data", key_idempotency(&fixture.arena, space, S("key:K"), "/things/{id}", S("b")).p),
        json));
}

static void a_record_that_is_over_gets_no_text(void **state)
{
    struct admission first = claiming("f1", "req1");
    struct commit c;

    (void)state;
    assert_int_equal(admit(&first)->replay, ADMIT_CLAIMED);
    put_thing(&c, 1, "{\"v\":1}");
    answer_thing(&c, 1, "{\"v\":1}");
    commit_ok(&c);
    redis_do("DEL %s", record().p);
    put_thing(&c, 2, "{\"v\":2}");
    commit_ok(&c);
    assert_int_equal(redis_number("EXISTS %s", record().p), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_credential_is_looked_up),
        TEST(an_optional_record_only_ever_refuses),
        TEST(a_credential_is_good_while_all_of_its_chain_is),
        TEST(what_a_token_depends_on_may_be_given),
        TEST(what_may_be_missing_is_judged_once_it_is_there),
        TEST(a_use_of_a_key_is_noted_once_a_minute_in_its_document),
        TEST(nothing_of_a_suspended_tenant_is_good),
        TEST(nothing_is_charged_for_nothing),
        TEST(the_burst_is_exact),
        TEST(the_window_is_exact),
        TEST(a_rate_agrees_with_its_model),
        TEST(a_rate_nobody_uses_goes_away),
        TEST(every_window_of_a_tier_holds),
        TEST(a_count_that_begins_within_a_minute_is_kept),
        TEST(builds_of_a_day_are_counted_apart),
        TEST(nothing_is_on_credit_in_the_last_tenth_of_any_window),
        TEST(a_tenant_has_the_tier_of_whose_credential_names_none),
        TEST(holders_share_the_credit_of_a_caller),
        TEST(what_was_used_is_charged_whatever_is_left),
        TEST(nothing_is_on_credit_in_the_last_tenth),
        TEST(a_small_limit_or_burst_has_no_credit),
        TEST(an_idempotency_key_is_claimed_finished_and_replayed),
        TEST(a_claim_that_was_never_finished_is_over),
        TEST(a_record_that_nobody_claimed_is_made_by_the_commit),
        TEST(who_is_limited_claims_nothing),
        TEST(a_record_keeps_the_text_of_a_document_only_once_it_moves_on),
        TEST(an_answer_that_has_moved_on_already_brings_its_text),
        TEST(an_answer_that_the_commit_puts_is_sent_once),
        TEST(a_record_that_is_over_gets_no_text),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

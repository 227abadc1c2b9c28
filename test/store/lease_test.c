#include "test/store/fixture.h"

static const int64_t t0 = 4102444800000;

static void make_run(void)
{
    struct commit c;

    set_clock(t0);
    begin(&c, 0);
    commit_put(&c, &(struct commit_document){.kind = "run", .id = S("R"), .revision = 1, .schema = 1, .json = S("{}")});
    commit_field(&c, "run", S("R"), S("h"), S("head"));
    commit_ok(&c);
}

static const struct commit_result *tell(const char *id, const char *entry)
{
    struct commit c;

    begin(&c, COMMIT_ESSENTIAL);
    commit_inbox(&c, "run", S("R"), str_z(id), str_z(entry));
    return commit_ok(&c);
}

static const struct commit_result *drained(int64_t token, unsigned consumed)
{
    struct commit c;

    begin(&c, COMMIT_ESSENTIAL);
    commit_drained(&c, "run", S("R"), token, consumed, 3000);
    return commit(&c);
}

static const char *entries(const struct redis_value *v)
{
    struct buf b;

    buf_init_arena(&b, &fixture.arena, 64);
    for (size_t i = 0; i < v->count; i++)
        buf_printf(&b, "%s%s", i ? " " : "", redis_text(v->items[i]).p);
    buf_char(&b, 0);
    return b.p;
}

static void a_run_of_another_kind_has_its_own_document_and_name(void **state)
{
    const struct commit_result *r;
    struct commit c;

    (void)state;
    make_run();
    begin(&c, 0);
    commit_put(&c, &(struct commit_document){.kind = "job", .id = S("J"), .revision = 1, .schema = 1, .json = S("{}")});
    commit_field(&c, "job", S("J"), S("h"), S("head of the job"));
    commit_inbox(&c, "job", S("J"), S("start"), S("e1"));
    commit_claim(&c, "job", S("J"), S("A"), 3000);
    r = commit_ok(&c);
    assert_true(r->claim.held);
    assert_string_equal(redis_text(redis_field(r->claim.run, S("h"))).p, "head of the job");
    assert_string_equal(entries(r->claim.entries), "e1");
    assert_true(str_eqz(redis_string("ZSCORE %s %s", P "dirty", TENANT ":job:J"), "4102444800000"));
    begin(&c, COMMIT_ESSENTIAL);
    commit_inbox(&c, "run", S("R"), S("told"), S("from the job"));
    commit_drained(&c, "job", S("J"), r->claim.token, 1, 3000);
    r = commit_ok(&c);
    assert_false(r->claim.held);
    assert_int_equal(redis_string("ZSCORE %s %s", P "dirty", TENANT ":job:J").n, 0);
    assert_string_equal(entries(claim_run("R", "A", 0, 3000)->entries), "from the job");
}

static void one_at_a_time_holds_a_lease(void **state)
{
    const struct claim *a, *b;

    (void)state;
    make_run();
    tell(NULL, "e1");
    tell(NULL, "e2");
    a = claim_run("R", "A", 0, 3000);
    assert_true(a->held);
    assert_int_equal(a->token, 1);
    assert_int_equal(a->until_ms, t0 + 3000);
    assert_string_equal(redis_text(redis_field(a->run, S("h"))).p, "head");
    assert_string_equal(entries(a->entries), "e1 e2");
    assert_int_equal(a->waiting, 2);
    b = claim_run("R", "B", 0, 3000);
    assert_false(b->held);
    assert_int_equal(b->until_ms, t0 + 3000);

    set_clock(t0 + 2000);
    assert_true(claim_run("R", "A", 1, 3000)->held); /* kept */
    set_clock(t0 + 4999);
    assert_false(claim_run("R", "B", 0, 3000)->held);
    set_clock(t0 + 5000); /* over: the next one is fenced off from it */
    b = claim_run("R", "B", 0, 3000);
    assert_true(b->held);
    assert_int_equal(b->token, 2);
    assert_false(claim_run("R", "A", 1, 3000)->held);
    assert_string_equal(code_name(drained(1, 1)->code), "RES_VERSION_CONFLICT");
    assert_int_equal(drained(2, 2)->code, OK);
}

static void a_drain_takes_what_came_meanwhile(void **state)
{
    const struct commit_result *r;
    int64_t token;

    (void)state;
    make_run();
    tell(NULL, "e1");
    token = claim_run("R", "A", 0, 3000)->token;
    tell(NULL, "e2");
    r = drained(token, 1);
    assert_true(r->claimed);
    assert_true(r->claim.held);
    assert_string_equal(entries(r->claim.entries), "e2");
    r = drained(token, 1);
    assert_false(r->claim.held);
    assert_int_equal(redis_number("ZCARD " P "dirty"), 0);
    assert_int_equal(redis_number("EXISTS " P "in:" TENANT ":R"), 0);
    assert_int_equal(claim_run("R", "B", 0, 3000)->token, token + 1); /* free at once, and the token still rises */
}

static void a_commit_may_claim_in_the_same_trip(void **state)
{
    const struct commit_result *r;
    struct commit c;

    (void)state;
    make_run();
    for (int i = 0; i < 2; i++) {
        begin(&c, COMMIT_ESSENTIAL);
        commit_inbox(&c, "run", S("R"), STR_NONE, S("e1"));
        commit_claim(&c, "run", S("R"), S("A"), 3000);
        r = commit_ok(&c);
        assert_true(r->claimed);
        assert_int_equal(r->claim.held, i == 0);
        assert_int_equal(r->claim.waiting, i + 1);
    }
}

static void an_entry_with_an_id_counts_once(void **state)
{
    (void)state;
    make_run();
    assert_int_equal(tell("x", "e1")->dropped, 0);
    assert_int_equal(tell("x", "e1")->dropped, 1);
    assert_int_equal(tell("y", "e2")->dropped, 0);
    assert_int_equal(tell(NULL, "e1")->dropped, 0);
    assert_int_equal(redis_number("LLEN " P "in:" TENANT ":R"), 3);
    drained(claim_run("R", "A", 0, 3000)->token, 3);
    assert_int_equal(tell("x", "e1")->dropped, 1); /* also long after it was taken */
    for (int i = 0; i < 1100; i++) {
        set_clock(t0 + i);
        tell(text("id%d", i).p, "e");
    }
    assert_int_equal(redis_number("ZCARD " P "ids:" TENANT ":R"), 1000);
}

static struct sweep everything(void)
{
    return (struct sweep){.partition = 7, .dirty_ms = 1000, .stale_ms = 90000, .lease_ms = 5000, .most = 100};
}

static void sweeping_finds_what_is_due_once(void **state)
{
    struct sweep in = everything();
    const struct swept *s;
    struct commit c;

    (void)state;
    make_run();
    tell(NULL, "e1");
    begin(&c, 0);
    commit_timer(&c, "run", S("R"), t0 + 500);
    commit_timer(&c, "run", S("later"), t0 + 500000);
    commit_queue(&c, S("R:n:1"), t0);
    commit_beat(&c, S("agent1"), true);
    commit_ok(&c);

    set_clock(t0 + 499);
    s = sweep(&in);
    assert_int_equal(s->now_ms, t0 + 499);
    assert_string_equal(entries(s->dirty), "");
    assert_string_equal(entries(s->timers), "");
    assert_string_equal(entries(s->queue), TENANT ":R:n:1");
    assert_string_equal(entries(s->stale), "");
    set_clock(t0 + 1000);
    s = sweep(&in);
    assert_string_equal(entries(s->dirty), TENANT ":run:R");
    assert_string_equal(entries(s->timers), TENANT ":run:R");
    assert_string_equal(entries(s->queue), "");
    s = sweep(&in);
    assert_string_equal(entries(s->dirty), "");
    assert_string_equal(entries(s->timers), "");
    set_clock(t0 + 6000); /* nobody did it: handed out again */
    s = sweep(&in);
    assert_string_equal(entries(s->dirty), TENANT ":run:R");
    assert_string_equal(entries(s->timers), TENANT ":run:R");
    assert_string_equal(entries(s->queue), TENANT ":R:n:1");
    set_clock(t0 + 90000);
    s = sweep(&in);
    assert_string_equal(entries(s->stale), text("%s:agent1 %lld", TENANT, (long long)t0).p);
}

static void sweeping_nothing_changes_nothing(void **state)
{
    struct sweep in = everything();
    struct str before;

    (void)state;
    make_run();
    before = digest();
    sweep(&in);
    assert_string_equal(digest().p, before.p);
}

static void work_is_taken_and_kept(void **state)
{
    const struct str renew[] = {S(TENANT ":R:a:1"), S(TENANT ":R:gone:1")};
    const struct taken *t;
    struct commit c;

    (void)state;
    set_clock(t0);
    begin(&c, 0);
    commit_queue(&c, S("R:a:1"), t0);
    commit_queue(&c, S("R:b:1"), t0);
    commit_queue(&c, S("R:later:1"), t0 + 100000);
    commit_ok(&c);
    t = take(1, NULL, 0, 5000);
    assert_string_equal(entries(t->due), TENANT ":R:a:1");
    assert_string_equal(entries(take(10, NULL, 0, 5000)->due), TENANT ":R:b:1");
    set_clock(t0 + 4000);
    t = take(10, renew, 2, 5000);
    assert_string_equal(entries(t->renewed), TENANT ":R:a:1");
    assert_string_equal(entries(t->due), "");
    set_clock(t0 + 5000);
    assert_string_equal(entries(take(10, NULL, 0, 5000)->due), TENANT ":R:b:1");
    begin(&c, COMMIT_ESSENTIAL); /* done */
    commit_queue(&c, S("R:a:1"), -1);
    commit_queue(&c, S("R:b:1"), -1);
    commit_ok(&c);
    set_clock(t0 + 50000);
    assert_string_equal(entries(take(10, NULL, 0, 5000)->due), "");
}

/* Many writers tell a run things and try to drain it, some of them dying in the middle: everything is applied exactly once
 * and in the order it came. */
static void fencing_keeps_one_writer(void **state)
{
    enum { WRITERS = 4, ENTRIES = 300 };
    int64_t tokens[WRITERS] = {0}, now = t0;
    int told = 0, applied = 0;
    unsigned seed = 99;

    (void)state;
    make_run();
    while (applied < ENTRIES) {
        int w;
        const struct claim *c;
        const struct commit_result *r;

        seed = seed * 1103515245 + 12345;
        w = seed / 65536 % WRITERS;
        now += seed / 1024 % 1200;
        set_clock(now);
        if (told < ENTRIES && seed / 4096 % 2)
            tell(text("id%d", told).p, text("%d", told).p), told++;
        if (!tokens[w]) {
            c = claim_run("R", "w", 0, 3000);
            if (c->held)
                tokens[w] = c->token; /* it now works on what it saw, and may be slow */
            continue;
        }
        if (seed / 8192 % 5 == 0) {
            tokens[w] = 0; /* died */
            continue;
        }
        c = claim_run("R", "w", tokens[w], 3000);
        r = drained(tokens[w], c->waiting > 0 ? 1 : 0);
        if (r->code != OK) {
            assert_string_equal(r->label.p, "lease");
            assert_false(c->held);
            tokens[w] = 0;
            continue;
        }
        assert_true(c->held);
        applied += c->waiting > 0;
        if (!r->claim.held)
            tokens[w] = 0;
        else if (r->claim.entries->count)
            assert_int_equal(atoi(redis_text(r->claim.entries->items[0]).p), applied);
    }
    assert_int_equal(told, ENTRIES);
    assert_int_equal(redis_number("ZCARD " P "dirty"), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_at_a_time_holds_a_lease),       TEST(a_run_of_another_kind_has_its_own_document_and_name),
        TEST(a_drain_takes_what_came_meanwhile), TEST(a_commit_may_claim_in_the_same_trip),
        TEST(an_entry_with_an_id_counts_once),   TEST(sweeping_finds_what_is_due_once),
        TEST(sweeping_nothing_changes_nothing),  TEST(work_is_taken_and_kept),
        TEST(fencing_keeps_one_writer),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

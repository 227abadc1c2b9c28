#include "test/store/fixture.h"

#define LOG P "l:" TENANT ":run:R:build:1"

static void make_run(void)
{
    struct commit c;

    begin(&c, 0);
    commit_put(&c, &(struct commit_document){.kind = "run", .id = S("R"), .revision = 1, .schema = 1, .json = S("{}")});
    commit_event(&c, S("run:R"), S("\"type\":\"workflow_started\"}"));
    commit_ok(&c);
}

static struct append batch(int64_t first, size_t count)
{
    struct str *lines = arena_array(&fixture.arena, count + 1, sizeof *lines);

    for (size_t i = 0; i < count; i++)
        lines[i] = text("\"line\":\"%lld\"}", (long long)first + (long long)i);
    return (struct append){.space = space,
                           .kind = "run",
                           .run = S("R"),
                           .node = S("build"),
                           .attempt = 1,
                           .task = S("T"),
                           .first = first,
                           .lines = lines,
                           .count = count};
}

/* All frames of the channel, one a line. */
static struct str frames(void)
{
    const struct redis_value *entries = redis_do("XRANGE " P "e:" TENANT ":run:R - +");
    struct buf b;

    buf_init_arena(&b, &fixture.arena, 4096);
    for (size_t i = 0; i < entries->count; i++) {
        buf_str(&b, redis_text(redis_field(redis_at(entries->items[i], 1), S("b"))));
        buf_char(&b, '\n');
    }
    return buf_view(&b);
}

static void lines_become_frames_of_the_channel(void **state)
{
    struct append in;
    const struct appended *a;

    (void)state;
    set_clock(4102444800000);
    make_run();
    in = batch(1, 3);
    a = append(&in, OK);
    assert_int_equal(a->next, 4);
    assert_int_equal(a->log_first, 1);
    assert_int_equal(a->log_last, 3);
    assert_int_equal(a->seq, 4);
    assert_false(a->gap || a->truncated);
    assert_true(
        str_eq(frames(), S("{\"seq\":1,\"timestamp\":\"2100-01-01T00:00:00.000Z\",\"type\":\"workflow_started\"}\n"
                           "{\"seq\":2,\"timestamp\":\"2100-01-01T00:00:00.000Z\",\"logSeq\":1,\"line\":\"1\"}\n"
                           "{\"seq\":3,\"timestamp\":\"2100-01-01T00:00:00.000Z\",\"logSeq\":2,\"line\":\"2\"}\n"
                           "{\"seq\":4,\"timestamp\":\"2100-01-01T00:00:00.000Z\",\"logSeq\":3,\"line\":\"3\"}\n")));
    assert_string_equal(redis_text(redis_at(redis_do("ZRANGE " LOG " 0 -1"), 0)).p, "4-0");
    assert_int_equal(redis_number("ZSCORE " LOG " 4-0"), 1);
    in = batch(4, 2);
    assert_int_equal(append(&in, OK)->log_first, 4);
    assert_int_equal(redis_number("ZSCORE " LOG " 6-0"), 4);
}

static void only_the_agent_that_has_the_task_adds_lines(void **state)
{
    struct commit c;
    struct append in;
    struct str before;

    (void)state;
    make_run();
    begin(&c, 0);
    commit_task(&c, S("A"), S("T"), S("{}"));
    commit_ok(&c);
    in = batch(1, 2);
    in.agent = S("A");
    assert_int_equal(append(&in, OK)->next, 3);
    before = digest();
    in = batch(1, 5);
    in.agent = S("B"); /* which had it before, and has not heard yet */
    in.last = true;
    assert_true(append(&in, OK)->stray);
    assert_string_equal(digest().p, before.p);
    in = batch(3, 2);
    in.agent = S("A");
    assert_int_equal(append(&in, OK)->log_last, 4);
}

static void what_comes_again_is_dropped(void **state)
{
    struct append in;
    const struct appended *a;
    struct str before;

    (void)state;
    make_run();
    in = batch(1, 10);
    append(&in, OK);
    before = digest();
    a = append(&in, OK); /* the whole batch once more: nothing changes */
    assert_int_equal(a->next, 11);
    assert_int_equal(a->log_first, 0);
    assert_string_equal(digest().p, before.p);
    in = batch(6, 10); /* half of it is new */
    a = append(&in, OK);
    assert_int_equal(a->next, 16);
    assert_int_equal(a->log_first, 11);
    assert_int_equal(a->log_last, 15);
    in = batch(3, 2); /* long past */
    a = append(&in, OK);
    assert_int_equal(a->next, 16);
    assert_int_equal(a->log_first, 0);
}

static void a_gap_is_refused_unless_it_is_for_good(void **state)
{
    struct append in;
    const struct appended *a;

    (void)state;
    make_run();
    in = batch(2, 3);
    a = append(&in, OK);
    assert_true(a->gap);
    assert_int_equal(a->next, 1);
    assert_int_equal(redis_number("EXISTS " LOG), 0);
    in.skip = true;
    a = append(&in, OK);
    assert_false(a->gap);
    assert_int_equal(a->next, 5);
    assert_int_equal(a->log_first, 1); /* the log's own numbers have no hole */
}

static void each_attempt_has_its_own_log(void **state)
{
    struct append in;

    (void)state;
    make_run();
    in = batch(1, 5);
    append(&in, OK);
    in.attempt = 2;
    in.task = S("T2");
    assert_int_equal(append(&in, OK)->log_first, 1);
    in.node = S("test");
    in.attempt = 1;
    in.task = S("T3");
    assert_int_equal(append(&in, OK)->log_first, 1);
}

static void a_log_is_cut_at_its_cap_with_one_marker(void **state)
{
    struct append in;
    const struct appended *a;

    (void)state;
    make_run();
    in = batch(1, 10);
    in.cap = 50; /* 11 bytes a line */
    in.marker = S("\"line\":\"cut\"}");
    a = append(&in, OK);
    assert_true(a->truncated);
    assert_int_equal(a->next, 11);
    assert_int_equal(a->log_last, 5); /* four and the marker */
    assert_true(str_find(frames(), S("\"logSeq\":5,\"line\":\"cut\"}")) > 0);
    in = batch(11, 5);
    in.cap = 50;
    a = append(&in, OK);
    assert_true(a->truncated);
    assert_int_equal(a->next, 16);
    assert_int_equal(a->log_first, 0);
    assert_true(str_find(frames(), S("\"logSeq\":6")) < 0);
    assert_int_equal(redis_number("HGET " LOG ":m truncated"), 1);
}

static void a_log_ends(void **state)
{
    struct append in;
    const struct appended *a;

    (void)state;
    make_run();
    in = batch(1, 2);
    append(&in, OK);
    in = batch(3, 0);
    in.last = true;
    a = append(&in, OK);
    assert_int_equal(a->next, 3);
    assert_int_equal(redis_number("HGET " LOG ":m complete"), 1);
    in = batch(3, 2); /* a straggler is acknowledged and dropped */
    a = append(&in, OK);
    assert_int_equal(a->next, 5);
    assert_int_equal(a->log_first, 0);
}

static void lines_without_a_task_are_all_taken(void **state)
{
    struct append in;

    (void)state;
    make_run();
    in = batch(1, 2);
    in.task = STR_NONE;
    append(&in, OK);
    assert_int_equal(append(&in, OK)->log_last, 4);
}

static void a_run_that_is_gone_takes_no_lines(void **state)
{
    struct append in = batch(1, 1);

    (void)state;
    append(&in, RES_NOT_FOUND);
    assert_int_equal(redis_number("DBSIZE"), 0);
}

/* An agent that loses connections at random and sends again from anywhere before what was acknowledged. */
static void random_repeats_lose_and_double_nothing(void **state)
{
    enum { LINES = 2000 };
    int64_t acknowledged = 1;
    unsigned seed = 7;
    struct buf wanted = {0};
    struct str all;

    (void)state;
    make_run();
    while (acknowledged <= LINES) {
        int64_t back, first, count;
        struct append in;
        const struct appended *a;

        seed = seed * 1103515245 + 12345;
        back = seed / 65536 % 150;
        first = acknowledged > back ? acknowledged - back : 1;
        count = 1 + seed / 1024 % 100;
        count = first + count - 1 > LINES ? LINES - first + 1 : count;
        in = batch(first, (size_t)count);
        a = append(&in, OK);
        assert_false(a->gap);
        acknowledged = a->next;
    }
    for (int i = 1; i <= LINES; i++)
        buf_printf(&wanted, "\"logSeq\":%d,\"line\":\"%d\"}\n", i, i);
    all = frames();
    for (struct str rest = buf_view(&wanted), line; rest.n;) {
        struct str frame;

        do
            frame = str_cut(&all, '\n');
        while (str_find(frame, S("logSeq")) < 0);
        line = str_cut(&rest, '\n');
        assert_true(str_ends(frame, line));
    }
    assert_true(str_find(all, S("logSeq")) < 0);
    buf_free(&wanted);
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

static void a_job_has_its_logs_in_its_own_channel(void **state)
{
    struct append in;
    struct commit c;

    (void)state;
    make_run();
    begin(&c, 0);
    commit_put(&c, &(struct commit_document){.kind = "job", .id = S("R"), .revision = 1, .schema = 1, .json = S("{}")});
    commit_ok(&c);
    in = batch(1, 2);
    in.kind = "job";
    in.node = S("1-deploy");
    assert_int_equal(append(&in, OK)->log_last, 2);
    assert_true(str_eqz(redis_string("GET %s", P "es:" TENANT ":job:R"), "2"));
    assert_int_equal(redis_number("ZCARD %s", P "l:" TENANT ":job:R:1-deploy:1"), 1);
    in.kind = "probe";
    append(&in, RES_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_become_frames_of_the_channel),
        TEST(what_comes_again_is_dropped),
        TEST(only_the_agent_that_has_the_task_adds_lines),
        TEST(a_gap_is_refused_unless_it_is_for_good),
        TEST(each_attempt_has_its_own_log),
        TEST(a_log_is_cut_at_its_cap_with_one_marker),
        TEST(a_log_ends),
        TEST(lines_without_a_task_are_all_taken),
        TEST(a_run_that_is_gone_takes_no_lines),
        TEST(a_job_has_its_logs_in_its_own_channel),
        TEST(random_repeats_lose_and_double_nothing),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}

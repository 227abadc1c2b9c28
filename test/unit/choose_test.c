#include "server/engine/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

#define AGENT(status, life, labels, caps, max)                                                                         \
    "{\"capabilities\":" caps ",\"heartbeatInterval\":30,\"labels\":" labels ",\"lifecycleState\":\"" life             \
    "\",\"maxTasks\":" max ",\"name\":\"n\",\"status\":\"" status "\"}"
#define GOOD(max) AGENT("online", "active", "{\"zone\":\"a\"}", "[\"docker\",\"script\"]", max)

static struct choose_agent agent(const char *id, const char *text, int64_t open)
{
    struct choose_agent a;
    assert_true(choose_read(&arena, str_z(id), str_z(text), open, &a));
    return a;
}

static const struct json *json(const char *text)
{
    return json_parse(&arena, str_z(text), NULL, NULL);
}

static const char *chosen(const struct choose_agent *agents, size_t n, const struct choose_wish *wish)
{
    struct buf why = {0};
    const struct choose_agent *a = choose(agents, n, wish, &why);
    assert_true((a == NULL) == (why.n > 0));
    const char *answer = arena_z(&arena, a != NULL ? a->id : buf_view(&why));
    buf_free(&why);
    return answer;
}

static void an_entry_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct choose_agent a = agent("a", GOOD("7"), 2);
    struct buf b = {0};
    choose_write(&b, &a);
    assert_true(str_eqz(buf_view(&b), GOOD("7")));
    buf_free(&b);
    assert_int_equal(a.max_tasks, 7);
    assert_int_equal(a.open_tasks, 2);
    assert_false(choose_read(&arena, S("a"), S("[]"), 0, &a));
    assert_false(choose_read(&arena, S("a"), S("{"), 0, &a));
    assert_true(choose_read(&arena, S("a"), S("{}"), 0, &a));
    assert_int_equal(a.max_tasks, CHOOSE_MAX_TASKS);
}

static void the_least_loaded_agent_is_taken(void **state)
{
    (void)state;
    const struct choose_wish wish = {.capability = S("script")};
    struct choose_agent agents[] = {agent("c", GOOD("4"), 2), agent("b", GOOD("8"), 3), agent("a", GOOD("2"), 1)};
    assert_string_equal(chosen(agents, 3, &wish), "b"); /* 3/8 before 1/2 and 2/4 */
    agents[1].open_tasks = 4;
    assert_string_equal(chosen(agents, 3, &wish), "a"); /* all are half full: the fewest tasks */
    agents[2] = agent("d", GOOD("4"), 2);
    assert_string_equal(chosen(agents, 3, &wish), "c"); /* the lower id */
    for (size_t i = 0; i < 3; i++)
        agents[i].open_tasks = agents[i].max_tasks;
    assert_string_equal(chosen(agents, 3, &wish), "of 3 agents 3 are busy");
}

static void every_condition_is_asked_and_named(void **state)
{
    (void)state;
    const struct str refused[] = {S("r")};
    const struct choose_wish wish = {
        .capability = S("script"), .labels = json("{\"zone\":\"a\"}"), .refused = refused, .refused_count = 1};
    const struct {
        const char *id, *text, *why;
    } rows[] = {
        {"x", AGENT("online", "inactive", "{\"zone\":\"a\"}", "[\"script\"]", "4"), "is inactive or revoked"},
        {"x", AGENT("online", "revoked", "{\"zone\":\"a\"}", "[\"script\"]", "4"), "is inactive or revoked"},
        {"x", AGENT("degraded", "active", "{\"zone\":\"a\"}", "[\"script\"]", "4"), "is not online"},
        {"x", AGENT("offline", "active", "{\"zone\":\"a\"}", "[\"script\"]", "4"), "is not online"},
        {"x", AGENT("online", "active", "{\"zone\":\"a\"}", "[\"docker\"]", "4"), "is without the capability script"},
        {"x", AGENT("online", "active", "{\"zone\":\"b\"}", "[\"script\"]", "4"), "is without the labels"},
        {"x", AGENT("online", "active", "{}", "[\"script\"]", "4"), "is without the labels"},
        {"r", GOOD("4"), "is having refused it"},
        {"x", GOOD("0"), "is busy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct choose_agent a = agent(rows[i].id, rows[i].text, 0);
        const char *why = chosen(&a, 1, &wish);
        assert_int_equal(strncmp(why, "of 1 agent 1 ", 13), 0);
        assert_string_equal(why + 13, rows[i].why);
    }
    struct choose_agent good = agent("x", GOOD("1"), 0);
    assert_string_equal(chosen(&good, 1, &wish), "x");
}

static void a_named_agent_is_taken_or_nobody(void **state)
{
    (void)state;
    const struct choose_agent agents[] = {agent("a", GOOD("4"), 0), agent("b", GOOD("4"), 3)};
    assert_string_equal(chosen(agents, 2, &(struct choose_wish){.agent = S("b")}), "b");
    assert_string_equal(chosen(agents, 2, &(struct choose_wish){.agent = S("c")}),
                        "the agent asked for is not registered");
    assert_string_equal(chosen(NULL, 0, &(struct choose_wish){0}), "no agent is registered");
    const struct choose_agent busy[] = {agent("a", GOOD("4"), 4), agent("b", GOOD("4"), 0)};
    assert_string_equal(chosen(busy, 2, &(struct choose_wish){.agent = S("a")}),
                        "of 2 agents 1 is not the one asked for, 1 is busy");
}

static void one_to_be_avoided_is_taken_when_no_other_fits(void **state)
{
    (void)state;
    const struct choose_agent agents[] = {agent("a", GOOD("4"), 0), agent("b", GOOD("4"), 3)};
    assert_string_equal(chosen(agents, 2, &(struct choose_wish){.avoid = S("a")}), "b");
    assert_string_equal(chosen(agents, 1, &(struct choose_wish){.avoid = S("a")}), "a");
}

static void labels_may_be_names_alone_or_with_a_value(void **state)
{
    (void)state;
    const struct choose_agent one =
        agent("a", AGENT("online", "active", "{\"zone\":\"a\",\"ssd\":\"\"}", "[]", "4"), 0);
    const struct {
        const char *labels;
        bool fits;
    } rows[] = {{"[]", true},          {"[\"zone\"]", true},    {"[\"zone=a\",\"ssd\"]", true},
                {"[\"ssd=\"]", true},  {"[\"zone=b\"]", false}, {"[\"zone\",\"gpu\"]", false},
                {"[\"zone=\"]", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct choose_wish wish = {.labels = json(rows[i].labels)};
        assert_string_equal(chosen(&one, 1, &wish), rows[i].fits ? "a" : "of 1 agent 1 is without the labels");
    }
}

static void only_a_lack_of_room_counts_as_busy(void **state)
{
    (void)state;
    const struct choose_agent agents[] = {agent("a", GOOD("4"), 4),
                                          agent("b", AGENT("offline", "active", "{}", "[]", "4"), 0)};
    assert_true(choose_busy(str_z(chosen(agents, 2, &(struct choose_wish){0}))));
    assert_false(choose_busy(str_z(chosen(agents + 1, 1, &(struct choose_wish){0}))));
    assert_false(choose_busy(str_z(chosen(NULL, 0, &(struct choose_wish){0}))));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(an_entry_reads_back_as_it_was_written),
        T(the_least_loaded_agent_is_taken),
        T(every_condition_is_asked_and_named),
        T(a_named_agent_is_taken_or_nobody),
        T(labels_may_be_names_alone_or_with_a_value),
        T(only_a_lack_of_room_counts_as_busy),
        T(one_to_be_avoided_is_taken_when_no_other_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

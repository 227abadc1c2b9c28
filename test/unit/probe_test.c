/* A probe as a run: one task, one attempt, nothing waits. */
#include "server/engine/probe_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PLAN                                                                                                           \
    "{\"agent\":\"the-agent\",\"labels\":[\"zone\"],\"payload\":{\"root\":\"/srv\"},\"target\":\"t\","                 \
    "\"timeoutMs\":8000,\"type\":\"read-sticker\"}"

enum { BEGIN = 1000000 };

static struct arena arena;
static struct effects fx;

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

static struct run *probe(void)
{
    static const struct run_origin origin = {.id = S("0190a5b0-0000-7000-8000-000000000001"), .template_version = 1};
    const struct json *plan = json_parse(&arena, S(PLAN), NULL, NULL);
    const struct template *t = probe_kind.parse(&arena, plan);
    struct run *r = t == NULL ? NULL : run_new(&arena, t, &origin);

    assert_non_null(r);
    return r;
}

static void happens(struct run *r, struct run_event e, int64_t after_ms)
{
    effects_init(&fx, &arena);
    if (e.type != EVENT_START && e.type != EVENT_TICK && e.type != EVENT_CANCEL) {
        e.node = S("0-read-sticker");
        e.attempt = 1;
    }
    run_transition(r, &e, BEGIN + after_ms, &fx);
    assert_false(fx.failed);
}

static const struct effect *effect(enum effect_type type)
{
    for (size_t i = 0; i < fx.n; i++)
        if (fx.list[i].type == type)
            return &fx.list[i];
    return NULL;
}

/* The frame that ends the channel, with the brace it goes without. */
static const struct json *frame(void)
{
    const struct effect *e = effect(EFFECT_EVENT);

    return e == NULL ? NULL : json_parse(&arena, arena_printf(&arena, "{" STR_FMT, STR_ARG(e->text)), NULL, NULL);
}

static void assigned(struct run *r)
{
    happens(r, (struct run_event){.type = EVENT_START}, 0);
    assert_non_null(effect(EFFECT_CHOOSE));
    happens(r, (struct run_event){.type = EVENT_TASK_ASSIGNED, .agent = S("the-agent")}, 0);
}

static void nobody_eligible_ends_it_at_once_and_says_why(void **state)
{
    struct run *r = probe();

    (void)state;
    happens(r, (struct run_event){.type = EVENT_START}, 0);
    happens(r, (struct run_event){.type = EVENT_TASK_UNASSIGNED, .message = S("no agent is registered")}, 0);
    assert_int_equal(r->status, RUN_FAILED);
    assert_non_null(effect(EFFECT_FINISHED));
    assert_null(effect(EFFECT_WAIT));
    assert_true(str_eqz(json_str(json_get(frame(), "type")), PROBE_LAST));
    assert_true(str_eqz(json_str(json_get(frame(), "errorType")), PROBE_NO_AGENT));
    assert_true(str_eqz(json_str(json_get(frame(), "message")), "no agent is registered"));
}

static void the_task_is_what_was_asked_for(void **state)
{
    struct run *r = probe();
    const struct json *task;

    (void)state;
    assigned(r);
    assert_non_null(effect(EFFECT_ASSIGN));
    task = json_parse(&arena, effect(EFFECT_ASSIGN)->text, NULL, NULL);
    assert_true(str_eqz(json_str(json_get(task, "type")), "read-sticker"));
    assert_true(str_eqz(json_str(json_path(task, S("payload.root"))), "/srv"));
    assert_int_equal(json_int(json_get(task, "timeout"), 0), 8);
    assert_true(str_eqz(json_str(json_get(task, "id")), "0190a5b0-0000-7000-8000-000000000001:0-read-sticker:1"));
}

static void its_answer_is_the_frame(void **state)
{
    struct run *r = probe();
    const struct json *outputs = json_parse(&arena, S("{\"current\":\"one\"}"), NULL, NULL);

    (void)state;
    assigned(r);
    happens(r, (struct run_event){.type = EVENT_TASK_ACCEPTED, .agent = S("the-agent")}, 10);
    assert_null(frame());
    happens(
        r,
        (struct run_event){.type = EVENT_TASK_COMPLETED, .agent = S("the-agent"), .success = true, .outputs = outputs},
        20);
    assert_int_equal(r->status, RUN_SUCCEEDED);
    assert_true(json_bool(json_get(frame(), "success"), false));
    assert_true(str_eqz(json_str(json_path(frame(), S("outputs.current"))), "one"));
}

static void a_failure_is_not_tried_again(void **state)
{
    struct run *r = probe();

    (void)state;
    assigned(r);
    happens(r,
            (struct run_event){.type = EVENT_TASK_COMPLETED,
                               .agent = S("the-agent"),
                               .error_type = S("target_busy"),
                               .message = S("busy"),
                               .retriable = true},
            20);
    assert_int_equal(r->status, RUN_FAILED);
    assert_true(str_eqz(json_str(json_get(frame(), "errorType")), "target_busy"));
}

static void an_agent_that_says_nothing_is_told_to_stop_and_the_probe_ends(void **state)
{
    struct run *r = probe();

    (void)state;
    assigned(r);
    happens(r, (struct run_event){.type = EVENT_TASK_ACCEPTED, .agent = S("the-agent")}, 10);
    assert_int_equal(r->timer_ms, BEGIN + 8000 + PROBE_LATE_MS);
    happens(r, (struct run_event){.type = EVENT_TICK}, 8000 + PROBE_LATE_MS);
    assert_non_null(effect(EFFECT_CANCEL));
    happens(r, (struct run_event){.type = EVENT_TICK}, 8000 + PROBE_LATE_MS + RUN_GRACE_MS);
    assert_non_null(effect(EFFECT_FINISHED));
    assert_true(run_status_ended(r->status));
    assert_false(json_bool(json_get(frame(), "success"), true));
}

static void nothing_moves_what_has_ended(void **state)
{
    struct run *r = probe();

    (void)state;
    happens(r, (struct run_event){.type = EVENT_CANCEL, .by = S("me")}, 0);
    assert_int_equal(r->status, RUN_CANCELLED);
    happens(r, (struct run_event){.type = EVENT_START}, 5);
    happens(r, (struct run_event){.type = EVENT_TASK_COMPLETED, .agent = S("the-agent"), .success = true}, 10);
    assert_int_equal(r->status, RUN_CANCELLED);
    assert_null(frame());
}

static void what_is_no_plan_is_none(void **state)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "7",
                                        "{\"type\":\"read-sticker\"}",
                                        "{\"payload\":{}}",
                                        "{\"payload\":7,\"type\":\"read-sticker\"}"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_null(probe_kind.parse(&arena, json_parse(&arena, str_z(texts[i]), NULL, NULL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
        T(nobody_eligible_ends_it_at_once_and_says_why),
        T(the_task_is_what_was_asked_for),
        T(its_answer_is_the_frame),
        T(a_failure_is_not_tried_again),
        T(an_agent_that_says_nothing_is_told_to_stop_and_the_probe_ends),
        T(nothing_moves_what_has_ended),
        T(what_is_no_plan_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "server/agent/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUN "018f0000-0000-7000-8000-000000000001"

static void a_task_reads_back_as_it_was_written(void **state)
{
    (void)state;
    static const char text[] =
        "{\"assignedAt\":\"2026-01-01T00:00:00.000Z\",\"credentials\":{\"A\":\"b\"},\"expiresAt\":\"2026-01-01T00:01:"
        "00."
        "000Z\",\"id\":\"" RUN ":build:2\",\"idempotencyKey\":\"k\",\"payload\":{\"command\":[\"true\"]},\"priority\":"
        "\"normal\",\"timeout\":1.5,\"type\":\"execute-command\"}";
    struct arena a;
    struct task t;
    const char *fault = NULL;
    arena_init(&a, 0);
    assert_true(task_read(json_parse(&a, str_z(text), NULL, NULL), &t, &fault));
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    task_write(&o, &t);
    assert_true(str_eqz(buf_view(&b), text));
    buf_free(&b);
    arena_fini(&a);
}

static void a_faulty_task_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *fault;
    } rows[] = {
        {"{}", "id is"},
        {"{\"id\":\"../x\",\"type\":\"t\",\"idempotencyKey\":\"k\",\"payload\":{}}", "id is"},
        {"{\"id\":\"a/b\",\"type\":\"t\",\"idempotencyKey\":\"k\",\"payload\":{}}", "id is"},
        {"{\"id\":\"x\",\"idempotencyKey\":\"k\",\"payload\":{}}", "type"},
        {"{\"id\":\"x\",\"type\":\"t\",\"payload\":{}}", "idempotencyKey"},
        {"{\"id\":\"x\",\"type\":\"t\",\"idempotencyKey\":\"k\"}", "payload"},
        {"{\"id\":\"x\",\"type\":\"t\",\"idempotencyKey\":\"k\",\"payload\":{},\"timeout\":-1}", "timeout"},
        {"{\"id\":\"x\",\"type\":\"t\",\"idempotencyKey\":\"k\",\"payload\":{},\"credentials\":[]}", "credentials"},
        {"{\"id\":\"x\",\"type\":\"t\",\"idempotencyKey\":\"k\",\"payload\":{},\"expiresAt\":\"soon\"}", "assignedAt"},
        {"[]", "id is"},
    };
    struct arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct task t;
        const char *fault = NULL;
        assert_false(task_read(json_parse(&a, str_z(rows[i].text), NULL, NULL), &t, &fault));
        assert_int_equal(strncmp(fault, rows[i].fault, strlen(rows[i].fault)), 0);
    }
    arena_fini(&a);
}

static void a_place_is_three_strict_parts(void **state)
{
    (void)state;
    struct task_place p;
    struct buf b = {0};
    assert_true(task_place(S(RUN ":build-it:12"), &p));
    assert_int_equal(p.attempt, 12);
    assert_true(str_eqz(p.node, "build-it"));
    task_place_write(&b, &p);
    assert_true(str_eqz(buf_view(&b), RUN ":build-it:12"));
    buf_free(&b);
    assert_true(task_place(S(RUN ":12-health-check:1"), &p));
    assert_true(str_eqz(p.node, "12-health-check"));
    static const char *const bad[] = {"",           RUN,         RUN ":a",      RUN ":a:",    RUN ":a:0",
                                      RUN ":a:01",  RUN ":a:-1", RUN ":a:1000", RUN ":a:1:2", RUN ":A:1",
                                      RUN "::1",    RUN ":1a:1", "x:a:1",       RUN ":a_b:1", RUN ":12:1",
                                      RUN ":12-:1", RUN ":-a:1", RUN ":12-3:1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(task_place(str_z(bad[i]), &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_reads_back_as_it_was_written),
        cmocka_unit_test(a_faulty_task_is_named),
        cmocka_unit_test(a_place_is_three_strict_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

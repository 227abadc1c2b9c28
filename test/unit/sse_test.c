#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/sse.h"

static struct buf b;

static void expect(const char *want)
{
    assert_false(b.failed);
    assert_true(str_eqz(buf_view(&b), want));
    buf_free(&b);
}

static void an_event_has_its_lines(void **state)
{
    (void)state;
    sse_write(&b, S("3:17"), S("step_log"), S("{\"a\":1}"));
    expect("id: 3:17\nevent: step_log\ndata: {\"a\":1}\n\n");
    sse_write(&b, STR_NONE, STR_NONE, S(""));
    expect("data: \n\n");
    sse_write(&b, S(""), STR_NONE, STR_NONE);
    expect("id: \ndata: \n\n");
}

static void lines_of_data_stay_lines_of_data(void **state)
{
    (void)state;
    sse_write(&b, STR_NONE, STR_NONE, S("a\nb\rc\r\nd\n\nevent: x\n"));
    expect("data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: event: x\ndata: \n\n");
    sse_write(&b, STR_NONE, STR_NONE, S("\r"));
    expect("data: \ndata: \n\n");
}

static void an_id_cannot_break_the_stream(void **state)
{
    (void)state;
    const struct str bad[] = {S("1\n2"), S("1\r2"),
                              S("1\0"
                                "2")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        sse_write(&b, bad[i], STR_NONE, S("x"));
        assert_true(b.failed);
        buf_free(&b);
        b.failed = false;
        sse_write(&b, STR_NONE, bad[i], S("x"));
        assert_true(b.failed);
        buf_free(&b);
        b.failed = false;
    }
}

static void comments_and_retry(void **state)
{
    (void)state;
    sse_write_comment(&b, S("hi\nthere"));
    expect(": hi\n: there\n\n");
    sse_write_comment(&b, STR_NONE);
    expect(": \n\n");
    sse_write_retry(&b, 1500);
    expect("retry: 1500\n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_has_its_lines),
        cmocka_unit_test(lines_of_data_stay_lines_of_data),
        cmocka_unit_test(an_id_cannot_break_the_stream),
        cmocka_unit_test(comments_and_retry),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}

#include "server/tail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define E(n)    "{\"seq\":" #n ",\"timestamp\":\"t\",\"type\":\"step_log\"}"
#define LAST(n) "{\"seq\":" #n ",\"timestamp\":\"t\",\"type\":\"workflow_completed\"}"

static const struct encode plain = {.encoding = ENCODE_JSON, .epoch = 1, .last = "workflow_completed"};

static void encodes(const struct tail *t, int64_t from, const char *want, int64_t upto)
{
    struct buf out = {0};
    bool ended = false;
    tail_encode(t, &plain, INT64_MAX, &from, &out, &ended);
    assert_int_equal(from, upto);
    assert_int_equal(out.n, strlen(want));
    if (out.n > 0)
        assert_memory_equal(out.p, want, out.n);
    buf_free(&out);
}

static void an_unknown_tail_takes_what_comes_first(void **state)
{
    (void)state;
    struct tail t;
    tail_init(&t);
    assert_int_equal(tail_add(&t, S(E(5) "\n" E(6))), TAIL_ADDED);
    assert_int_equal(t.floor, 4);
    assert_int_equal(t.head, 6);
    encodes(&t, 4, E(5) "\n" E(6) "\n", 6);
    encodes(&t, 5, E(6) "\n", 6);
    encodes(&t, 6, "", 6);
    tail_fini(&t);
}

static void repeated_events_are_skipped_even_within_a_piece(void **state)
{
    (void)state;
    struct tail t;
    tail_init(&t);
    tail_reset(&t, 0);
    assert_int_equal(tail_add(&t, S(E(1) "\n" E(2))), TAIL_ADDED);
    assert_int_equal(tail_add(&t, S(E(1) "\n" E(2))), TAIL_OLD);
    assert_int_equal(tail_add(&t, S(E(2) "\n" E(3))), TAIL_ADDED);
    encodes(&t, 0, E(1) "\n" E(2) "\n" E(3) "\n", 3);
    tail_fini(&t);
}

static void a_hole_is_not_taken(void **state)
{
    (void)state;
    struct tail t;
    tail_init(&t);
    tail_reset(&t, 3);
    assert_int_equal(tail_add(&t, S(E(5))), TAIL_HOLE);
    assert_int_equal(tail_add(&t, S(E(4) "\n" E(6))), TAIL_HOLE);
    assert_int_equal(tail_add(&t, S(E(4) "\nrubbish")), TAIL_HOLE);
    assert_int_equal(t.head, 3);
    assert_int_equal(t.bytes, 0);
    tail_fini(&t);
}

static void trimming_keeps_what_somebody_needs(void **state)
{
    (void)state;
    struct tail t;
    tail_init(&t);
    tail_reset(&t, 0);
    tail_add(&t, S(E(1)));
    tail_add(&t, S(E(2)));
    tail_add(&t, S(E(3)));
    tail_trim(&t, 0, 1);
    assert_int_equal(t.floor, 1);
    encodes(&t, 1, E(2) "\n" E(3) "\n", 3);
    tail_trim(&t, 0, 3);
    assert_int_equal(t.floor, 3);
    assert_int_equal(t.bytes, 0);
    tail_fini(&t);
}

static void encoding_stops_where_it_is_told_and_goes_on_from_there(void **state)
{
    (void)state;
    struct tail t;
    tail_init(&t);
    tail_reset(&t, 0);
    tail_add(&t, S(E(1) "\n" E(2) "\n" LAST(3)));
    struct buf out = {0};
    bool ended = false;
    int64_t seq = 0;
    tail_encode(&t, &plain, 1, &seq, &out, &ended);
    assert_int_equal(seq, 1);
    assert_false(ended);
    tail_encode(&t, &plain, 3, &seq, &out, &ended);
    assert_int_equal(seq, 3);
    assert_true(ended);
    assert_memory_equal(out.p, E(1) "\n" E(2) "\n" LAST(3) "\n", out.n);
    buf_free(&out);
    tail_fini(&t);
}

static void a_slice_ends_with_the_piece_that_fills_it(void **state)
{
    (void)state;
    struct tail t;
    tail_init(&t);
    tail_reset(&t, 0);
    tail_add(&t, S(E(1) "\n" E(2)));
    tail_add(&t, S(E(3)));
    tail_add(&t, S(E(4)));
    assert_int_equal(tail_upto(&t, 0, 1), 2);
    assert_int_equal(tail_upto(&t, 2, 1), 3);
    assert_int_equal(tail_upto(&t, 2, sizeof(E(3))), 4);
    assert_int_equal(tail_upto(&t, 0, SIZE_MAX), 4);
    assert_int_equal(tail_upto(&t, 4, 1), 4);
    tail_fini(&t);
}

static void a_filter_hides_events_but_not_their_numbers(void **state)
{
    (void)state;
    struct encode how = {
        .encoding = ENCODE_JSON, .epoch = 1, .filter = S("step_started||"), .last = "workflow_completed"};
    struct buf out = {0};
    bool ended = false;
    int64_t seq = 0;
    assert_true(events_encode(S(E(1) "\n" E(2) "\n" LAST(3)), &how, &seq, &out, &ended));
    assert_int_equal(seq, 3);
    assert_int_equal(out.n, 0);
    assert_true(ended);
    assert_false(events_encode(S(E(5)), &how, &seq, &out, &ended));
    buf_free(&out);
}

static void open_it(struct worker *w, struct str tenant, struct str event, struct buf *out)
{
    assert_null(w);
    buf_printf(out, "%zu bytes for " STR_FMT, event.n, STR_ARG(tenant));
}

static void events_are_opened_on_their_way_out(void **state)
{
    (void)state;
    struct encode how = {.encoding = ENCODE_JSON, .last = "workflow_completed", .open = open_it, .tenant = S("T")};
    struct buf out = {0};
    bool ended = false;
    int64_t seq = 0;
    assert_true(events_encode(S(E(1) "\n" LAST(2)), &how, &seq, &out, &ended));
    char want[128];
    snprintf(want, sizeof want, "%zu bytes for T\n%zu bytes for T\n", sizeof(E(1)) - 1, sizeof(LAST(2)) - 1);
    assert_true(str_eqz(buf_view(&out), want));
    assert_true(ended);
    buf_free(&out);
}

static void each_encoding_has_its_form(void **state)
{
    (void)state;
    struct buf out = {0};
    event_encode(&out, ENCODE_WS, NULL, 7, 1, S("{}"));
    assert_memory_equal(out.p, "\x81\x02{}", out.n);
    buf_clear(&out);
    event_encode(&out, ENCODE_SSE, NULL, 7, 1, S("{}"));
    buf_char(&out, 0);
    assert_string_equal(out.p, "id: 7:1\ndata: {}\n\n");
    buf_clear(&out);
    event_encode_control(&out, ENCODE_SSE, NULL, S("{}"));
    buf_char(&out, 0);
    assert_string_equal(out.p, "data: {}\n\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_tail_takes_what_comes_first),
        cmocka_unit_test(repeated_events_are_skipped_even_within_a_piece),
        cmocka_unit_test(a_hole_is_not_taken),
        cmocka_unit_test(trimming_keeps_what_somebody_needs),
        cmocka_unit_test(encoding_stops_where_it_is_told_and_goes_on_from_there),
        cmocka_unit_test(a_slice_ends_with_the_piece_that_fills_it),
        cmocka_unit_test(a_filter_hides_events_but_not_their_numbers),
        cmocka_unit_test(events_are_opened_on_their_way_out),
        cmocka_unit_test(each_encoding_has_its_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

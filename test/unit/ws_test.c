/* The WebSocket codec: RFC 6455's cases. Frames are fed whole, byte by byte, and cut in two at every position. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/deflate.h"
#include "proto/http.h"
#include "proto/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ws_limits plain = {1000, 5, 0};
static struct deflate *packer; /* NULL: compression is not agreed on */

struct script {
    struct ws *w;
    struct buf out;
    bool over;
};

/* "TEXT hi" "BINARY <hex>" "PING x" "PONG x" "CLOSE 1000 bye" "FAULT 1002" */
static void note(struct script *s, enum ws_event e)
{
    const struct ws *w = s->w;
    switch (e) {
    case WS_MESSAGE:
        buf_z(&s->out, w->opcode == WS_TEXT ? "TEXT " : "BINARY ");
        if (w->opcode == WS_TEXT)
            buf_str(&s->out, w->payload);
        else
            buf_hex(&s->out, w->payload.p, w->payload.n);
        break;
    case WS_PINGED:
    case WS_PONGED:
        buf_printf(&s->out, "%s %.*s", e == WS_PINGED ? "PING" : "PONG", STR_ARG(w->payload));
        break;
    case WS_CLOSED:
        buf_printf(&s->out, "CLOSE %d %.*s", w->code, STR_ARG(w->payload));
        s->over = true;
        break;
    case WS_FAULT:
        assert_non_null(w->why);
        buf_printf(&s->out, "FAULT %d", w->code);
        s->over = true;
        break;
    case WS_MORE:
        return;
    }
    buf_char(&s->out, '\n');
}

static void feed(struct script *s, const char *bytes, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1); /* exactly n bytes: a read past the end is seen by the sanitizer */
    memcpy(copy, bytes, n);
    struct str in = {copy, n};
    enum ws_event e;
    do {
        e = ws_feed(s->w, &in);
        note(s, e);
    } while (e != WS_MORE);
    assert_int_equal(in.n, 0);
    free(copy);
}

static struct buf play(enum ws_role role, const struct ws_limits *limits, struct str bytes, size_t cut)
{
    struct ws w;
    struct script s = {.w = &w};
    ws_init(&w, role, limits);
    w.deflate = packer;
    if (cut == SIZE_MAX) {
        for (size_t i = 0; i < bytes.n; i++)
            feed(&s, bytes.p + i, 1);
    } else {
        feed(&s, bytes.p, cut);
        feed(&s, bytes.p + cut, bytes.n - cut);
    }
    if (ws_idle(&w))
        assert_null(w.message.p); /* an idle codec holds no memory */
    ws_fini(&w);
    buf_char(&s.out, '\0');
    return s.out;
}

static void expect_as(enum ws_role role, const struct ws_limits *limits, struct str bytes, const char *want)
{
    for (size_t cut = 0; cut <= bytes.n; cut++) {
        struct buf got = play(role, limits, bytes, cut < bytes.n ? cut : SIZE_MAX);
        assert_string_equal(got.p, want);
        buf_free(&got);
    }
}

/* As a client reads: frames without masks. */
#define expect(bytes, want) expect_as(WS_CLIENT, &plain, S(bytes), want)

static void examples_of_the_rfc(void **state)
{
    (void)state;
    expect("\x81\x05Hello", "TEXT Hello\n");
    expect_as(WS_SERVER, &plain, S("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "TEXT Hello\n");
    expect("\x01\x03Hel\x80\x02lo", "TEXT Hello\n");
    expect("\x89\x05Hello", "PING Hello\n");
    expect_as(WS_SERVER, &plain, S("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "PONG Hello\n");
    expect("\x82\x04\x00\x01\xfe\xff", "BINARY 0001feff\n");
}

static void empty_frames_are_frames(void **state)
{
    (void)state;
    expect("\x81\x00\x82\x00\x89\x00\x8a\x00", "TEXT \nBINARY \nPING \nPONG \n");
    expect_as(WS_SERVER, &plain, S("\x81\x80\x01\x02\x03\x04\x89\x80\x01\x02\x03\x04"), "TEXT \nPING \n");
    expect("\x01\x00\x00\x00\x80\x00", "TEXT \n");
    expect("\x88\x00", "CLOSE 1005 \n");
}

static void control_frames_may_come_inside_a_message(void **state)
{
    (void)state;
    expect("\x01\x01"
           "a\x89\x01p\x00\x01"
           "b\x8a\x00\x80\x01"
           "c",
           "PING p\nPONG \nTEXT abc\n");
    expect("\x01\x01"
           "a\x88\x02\x03\xe8",
           "CLOSE 1000 \n");
}

static void every_length_form_is_read(void **state)
{
    (void)state;
    static const struct ws_limits large = {1 << 20, 5, 0};
    static const size_t sizes[] = {0, 1, 124, 125, 126, 127, 65535, 65536, 65537, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *payload = malloc(sizes[i] + 1);
        memset(payload, 'x', sizes[i]);
        for (int role = WS_SERVER; role <= WS_CLIENT; role++) {
            struct buf frame = {0};
            struct ws w;
            ws_write(&frame, role == WS_SERVER ? WS_CLIENT : WS_SERVER, WS_TEXT, (struct str){payload, sizes[i]});
            for (size_t part = 1; part < 5000; part = part * 7 + 3) {
                ws_init(&w, (enum ws_role)role, &large);
                enum ws_event e = WS_MORE;
                for (size_t at = 0; at < frame.n && e == WS_MORE; at += part) {
                    struct str in = str_slice(buf_view(&frame), at, at + part);
                    e = ws_feed(&w, &in);
                }
                assert_int_equal(e, WS_MESSAGE);
                assert_int_equal(w.payload.n, sizes[i]);
                assert_memory_equal(w.payload.p, payload, sizes[i]);
                ws_fini(&w);
            }
            buf_free(&frame);
        }
        free(payload);
    }
}

// clang-format off
static const struct {
    const char *name;
    enum ws_role reader;
    struct str bytes;
    int code;
} faults[] = {
    {"RSV1",                                WS_CLIENT, S("\xc1\x00"), 1002},
    {"RSV2",                                WS_CLIENT, S("\xa1\x00"), 1002},
    {"RSV3",                                WS_CLIENT, S("\x91\x00"), 1002},
    {"RSV1 on a ping",                      WS_CLIENT, S("\xc9\x00"), 1002},
    {"opcode 3",                            WS_CLIENT, S("\x83\x00"), 1002},
    {"opcode 7",                            WS_CLIENT, S("\x87\x00"), 1002},
    {"opcode 11",                           WS_CLIENT, S("\x8b\x00"), 1002},
    {"opcode 15",                           WS_CLIENT, S("\x8f\x00"), 1002},
    {"a client's frame without a mask",     WS_SERVER, S("\x81\x01" "a"), 1002},
    {"a client's ping without a mask",      WS_SERVER, S("\x89\x00"), 1002},
    {"a server's frame with a mask",        WS_CLIENT, S("\x81\x81\x00\x00\x00\x00" "a"), 1002},
    {"fragmented ping",                     WS_CLIENT, S("\x09\x00"), 1002},
    {"fragmented close",                    WS_CLIENT, S("\x08\x00"), 1002},
    {"ping of 126 bytes",                   WS_CLIENT, S("\x89\x7e\x00\x7e"), 1002},
    {"close of 64 bit length",              WS_CLIENT, S("\x88\x7f"), 1002},
    {"continuation of nothing",             WS_CLIENT, S("\x80\x00"), 1002},
    {"first fragment is a continuation",    WS_CLIENT, S("\x00\x01" "a"), 1002},
    {"text inside a text",                  WS_CLIENT, S("\x01\x01" "a\x81\x01" "b"), 1002},
    {"binary inside a text",                WS_CLIENT, S("\x01\x01" "a\x02\x01" "b"), 1002},
    {"64 bit length with the top bit",      WS_CLIENT, S("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x01"), 1002},
    {"64 bit length of 65535",              WS_CLIENT, S("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), 1002},
    {"16 bit length of 125",                WS_CLIENT, S("\x82\x7e\x00\x7d"), 1002},
    {"message above the limit",             WS_CLIENT, S("\x82\x7e\x03\xe9"), 1009},
    {"message of 2^63-1",                   WS_CLIENT, S("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), 1009},
    {"message above the limit in parts",    WS_CLIENT, S("\x02\x01" "a\x80\x7e\x03\xe8"), 1009},
    {"too many fragments",                  WS_CLIENT, S("\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 1009},
    {"close with one byte",                 WS_CLIENT, S("\x88\x01\x03"), 1002},
    {"close code 0",                        WS_CLIENT, S("\x88\x02\x00\x00"), 1002},
    {"close code 999",                      WS_CLIENT, S("\x88\x02\x03\xe7"), 1002},
    {"close code 1004",                     WS_CLIENT, S("\x88\x02\x03\xec"), 1002},
    {"close code 1005",                     WS_CLIENT, S("\x88\x02\x03\xed"), 1002},
    {"close code 1006",                     WS_CLIENT, S("\x88\x02\x03\xee"), 1002},
    {"close code 1015",                     WS_CLIENT, S("\x88\x02\x03\xf7"), 1002},
    {"close code 1016",                     WS_CLIENT, S("\x88\x02\x03\xf8"), 1002},
    {"close code 2999",                     WS_CLIENT, S("\x88\x02\x0b\xb7"), 1002},
    {"close code 5000",                     WS_CLIENT, S("\x88\x02\x13\x88"), 1002},
    {"close code 65535",                    WS_CLIENT, S("\x88\x02\xff\xff"), 1002},
    {"close reason that is not UTF-8",      WS_CLIENT, S("\x88\x04\x03\xe8\xc0\x80"), 1007},
    {"lone continuation byte",              WS_CLIENT, S("\x81\x01\x80"), 1007},
    {"overlong slash",                      WS_CLIENT, S("\x81\x02\xc0\xaf"), 1007},
    {"overlong of three bytes",             WS_CLIENT, S("\x81\x03\xe0\x80\xaf"), 1007},
    {"overlong of four bytes",              WS_CLIENT, S("\x81\x04\xf0\x80\x80\xaf"), 1007},
    {"surrogate",                           WS_CLIENT, S("\x81\x03\xed\xa0\x80"), 1007},
    {"above U+10FFFF",                      WS_CLIENT, S("\x81\x04\xf4\x90\x80\x80"), 1007},
    {"byte f5",                             WS_CLIENT, S("\x81\x01\xf5"), 1007},
    {"byte ff",                             WS_CLIENT, S("\x81\x09" "12345678\xff"), 1007},
    {"text ends inside a character",        WS_CLIENT, S("\x81\x02\xe2\x82"), 1007},
    {"text ends inside one, in parts",      WS_CLIENT, S("\x01\x01\xe2\x80\x01\x82"), 1007},
    {"broken over two fragments",           WS_CLIENT, S("\x01\x01\xe2\x80\x02\x41\x41"), 1007},
};
// clang-format on

static void what_the_rfc_forbids_is_a_fault_with_its_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        char want[32];
        snprintf(want, sizeof(want), "FAULT %d\n", faults[i].code);
        for (size_t cut = 0; cut <= faults[i].bytes.n; cut++) {
            struct buf got = play(faults[i].reader, &plain, faults[i].bytes, cut < faults[i].bytes.n ? cut : SIZE_MAX);
            if (strcmp(got.p, want) != 0)
                fail_msg("%s, cut at %zu: %s", faults[i].name, cut, got.p);
            buf_free(&got);
        }
    }
}

static void bad_text_is_refused_before_its_frame_ends(void **state)
{
    (void)state;
    struct ws w;
    ws_init(&w, WS_CLIENT, &plain);
    struct str in = S("\x81\x7d"
                      "abc\xff");
    assert_int_equal(ws_feed(&w, &in), WS_FAULT);
    assert_int_equal(w.code, WS_NOT_UTF8);
    ws_fini(&w);
}

static void characters_may_be_cut_between_fragments(void **state)
{
    (void)state;
    expect("\x01\x01\xe2\x00\x01\x82\x80\x01\xac", "TEXT \xe2\x82\xac\n");
    expect("\x01\x0a"
           "12345678\xf0\x9f\x80\x02\x98\x80",
           "TEXT 12345678\xf0\x9f\x98\x80\n");
    expect("\x81\x03\xef\xbf\xbf", "TEXT \xef\xbf\xbf\n");
    expect("\x81\x04\xf4\x8f\xbf\xbf", "TEXT \xf4\x8f\xbf\xbf\n");
    expect("\x82\x01\xff", "BINARY ff\n");
}

static void close_codes_that_may_be_sent_are_taken(void **state)
{
    (void)state;
    expect("\x88\x05\x03\xe9"
           "bye\x81\x01"
           "a",
           "CLOSE 1001 bye\n");
    expect("\x88\x02\x0b\xb8", "CLOSE 3000 \n");
    expect("\x88\x02\x13\x87", "CLOSE 4999 \n");
    expect("\x88\x02\x03\xf6", "CLOSE 1014 \n");
}

static void the_limits_code_can_be_chosen(void **state)
{
    (void)state;
    static const struct ws_limits own = {3, 2, 4413};
    expect_as(WS_CLIENT, &own,
              S("\x81\x03"
                "abc\x81\x04"),
              "TEXT abc\nFAULT 4413\n");
    expect_as(WS_CLIENT, &own,
              S("\x01\x01"
                "a\x00\x00\x80\x00"),
              "FAULT 4413\n");
}

static void what_is_written_can_be_read(void **state)
{
    (void)state;
    for (int role = WS_SERVER; role <= WS_CLIENT; role++) {
        struct buf b = {0};
        ws_write(&b, (enum ws_role)role, WS_TEXT, S("hello, everyone"));
        ws_write(&b, (enum ws_role)role, WS_PING, S(""));
        ws_write_close(&b, (enum ws_role)role, 4413, S("too large"));
        expect_as(role == WS_SERVER ? WS_CLIENT : WS_SERVER, &plain, buf_view(&b),
                  "TEXT hello, everyone\nPING \nCLOSE 4413 too large\n");
        buf_clear(&b);
        ws_write_close(&b, (enum ws_role)role, 0, STR_NONE);
        expect_as(role == WS_SERVER ? WS_CLIENT : WS_SERVER, &plain, buf_view(&b), "CLOSE 1005 \n");
        buf_free(&b);
    }
}

static void a_long_reason_is_cut_between_characters(void **state)
{
    (void)state;
    struct buf reason = {0}, b = {0};
    for (int i = 0; i < 60; i++)
        buf_z(&reason, "\xe2\x82\xac");
    ws_write_close(&b, WS_SERVER, 1000, buf_view(&reason));
    struct ws w;
    struct str in = buf_view(&b);
    ws_init(&w, WS_CLIENT, &plain);
    assert_int_equal(ws_feed(&w, &in), WS_CLOSED);
    assert_int_equal(w.payload.n, 123);
    ws_fini(&w);
    buf_free(&b);
    buf_free(&reason);
}

static int check(const char *request)
{
    struct http_parser p;
    struct str in = str_z(request);
    const char *why;
    http_parser_init(&p, HTTP_SERVER, &http_limits_default);
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    int status = ws_check_request(&p.head, &why);
    assert_non_null(why);
    http_parser_fini(&p);
    return status;
}

#define ASK     "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void a_handshake_is_checked(void **state)
{
    (void)state;
    assert_int_equal(check(ASK KEY VERSION "\r\n"), 0);
    assert_int_equal(check(ASK KEY VERSION "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), 0);
    assert_int_equal(check(ASK KEY "\r\n"), 426);
    assert_int_equal(check(ASK KEY "Sec-WebSocket-Version: 8\r\n\r\n"), 426);
    assert_int_equal(check(ASK KEY "Sec-WebSocket-Version: 013\r\n\r\n"), 426);
    assert_int_equal(check("GET / HTTP/1.1\r\nHost: a\r\n" KEY VERSION "\r\n"), 426);
    assert_int_equal(check("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" KEY VERSION "\r\n"), 426);
    assert_int_equal(check("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n"),
                     426);
    assert_int_equal(
        check("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n"), 400);
    assert_int_equal(
        check("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n"), 400);
    assert_int_equal(check(ASK KEY VERSION "Content-Length: 2\r\n\r\n"), 400);
    assert_int_equal(check(ASK VERSION "\r\n"), 400);
    assert_int_equal(check(ASK VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n"), 400);
    assert_int_equal(check(ASK VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n\r\n"), 400);
    assert_int_equal(check(ASK VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n\r\n"), 400);
}

static void the_accept_value_is_that_of_the_rfc(void **state)
{
    (void)state;
    char accept[WS_ACCEPT];
    ws_accept(S("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ws_accept(S("x3JJHMbDL1EzLkh9GBhXDw=="), accept);
    assert_string_equal(accept, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
}

static bool accepts(const char *answer, const char *key)
{
    struct http_parser p;
    struct str in = str_z(answer);
    http_parser_init(&p, HTTP_CLIENT, &http_limits_default);
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    bool yes = ws_check_response(&p.head, key);
    http_parser_fini(&p);
    return yes;
}

static void a_client_believes_only_the_right_answer(void **state)
{
    (void)state;
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    const char *key = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_true(accepts(SWITCH "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", key));
    assert_false(accepts(SWITCH "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n\r\n", key));
    assert_false(accepts(SWITCH "\r\n", key));
    assert_false(accepts(
        SWITCH "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", key));
    assert_false(accepts("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", key));
    char fresh[WS_KEY], other[WS_KEY];
    ws_new_key(fresh);
    ws_new_key(other);
    assert_int_equal(strlen(fresh), 24);
    assert_string_not_equal(fresh, other);
}

/* --- permessage-deflate (RFC 7692) --- */

static int agree(void **state)
{
    (void)state;
    packer = deflate_new();
    return packer == NULL;
}

static int forget(void **state)
{
    (void)state;
    deflate_free(packer);
    packer = NULL;
    return 0;
}

static void compressed_examples_of_the_rfc(void **state)
{
    (void)state;
    expect("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", "TEXT Hello\n");
    expect("\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", "TEXT Hello\n");
    expect("\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "TEXT Hello\n");
    expect("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "TEXT Hello\n");
    expect("\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "TEXT Hello\n");
    expect("\xc2\x01\x00", "BINARY \n");
    /* §7.2.3.2: the second needs the window of the first, which we have forbidden */
    expect("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00", "TEXT Hello\nFAULT 1002\n");
}

static void compressed_and_other_messages_may_take_turns(void **state)
{
    (void)state;
    expect("\x81\x01"
           "a\x41\x03\xf2\x48\xcd\x89\x01p\x80\x04\xc9\xc9\x07\x00\x01\x01"
           "b\x80\x01"
           "c\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
           "TEXT a\nPING p\nTEXT Hello\nTEXT bc\nTEXT Hello\n");
    expect_as(WS_SERVER, &plain, S("\xc1\x87\x01\x02\x03\x04\xf3\x4a\xce\xcd\xc8\x05\x03"), "TEXT Hello\n");
}

static void the_bit_stands_on_first_frames_alone(void **state)
{
    (void)state;
    expect("\xc9\x00", "FAULT 1002\n");
    expect("\xc8\x00", "FAULT 1002\n");
    expect("\x41\x03\xf2\x48\xcd\xc0\x04\xc9\xc9\x07\x00", "FAULT 1002\n");
    expect("\xa1\x01"
           "a",
           "FAULT 1002\n");
    expect("\x91\x01"
           "a",
           "FAULT 1002\n");
    expect("\xe1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", "FAULT 1002\n");
}

static void without_agreement_the_bit_is_a_fault(void **state)
{
    (void)state;
    expect("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", "FAULT 1002\n");
}

static void what_is_not_compressed_as_it_says_is_a_fault(void **state)
{
    (void)state;
    expect("\xc1\x05Hello", "FAULT 1002\n");
    expect("\xc1\x00", "FAULT 1002\n");
    expect("\xc1\x06\xf2\x48\xcd\xc9\xc9\x07", "FAULT 1002\n");
    expect("\xc1\x07\x00\x01\x00\xfe\xff\xff\x00", "FAULT 1007\n");
    expect("\xc2\x07\x00\x01\x00\xfe\xff\xff\x00", "BINARY ff\n");
    expect("\xc1\x08\x00\x02\x00\xfd\xff\xe2\x82\x00", "FAULT 1007\n");
}

/* Text that compresses well. */
static struct buf repeated(size_t n)
{
    struct buf b = {0};
    while (b.n < n)
        buf_str(&b, str_slice(S("abcdefgh"), 0, n - b.n));
    return b;
}

static void limits_count_what_is_decompressed(void **state)
{
    (void)state;
    for (size_t n = 1000; n <= 1001; n++) {
        struct buf text = repeated(n), frame = {0}, want = {0};
        ws_write_packed(&frame, packer, WS_TEXT, buf_view(&text));
        assert_true(frame.n < 100);
        buf_printf(&want, n > plain.message ? "FAULT 1009\n" : "TEXT " STR_FMT "\n", STR_ARG(buf_view(&text)));
        buf_char(&want, '\0');
        expect_as(WS_CLIENT, &plain, buf_view(&frame), want.p);
        buf_free(&text);
        buf_free(&frame);
        buf_free(&want);
    }
    /* and what came compressed is not let grow either */
    expect("\xc1\x7e\x04\x28\x00", "");
    expect("\xc1\x7e\x04\x29", "FAULT 1009\n");
}

static void only_long_messages_are_compressed_and_only_where_it_saves(void **state)
{
    (void)state;
    static const struct ws_limits large = {100000, 5, 0};
    static const size_t sizes[] = {0, WS_DEFLATE_MIN - 1, WS_DEFLATE_MIN, 70000};
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i / 2];
        struct buf text = repeated(n), frame = {0};
        for (size_t k = 0; i % 2 == 1 && k < n; k++)
            text.p[k] = (char)(rand() >> 8 & 0x7f);
        buf_z(&frame, "before");
        ws_write_packed(&frame, packer, WS_TEXT, buf_view(&text));
        bool packed = frame.p[6] & 0x40;
        if (n < WS_DEFLATE_MIN)
            assert_false(packed);
        else if (i % 2 == 0)
            assert_true(packed && frame.n < n / 4);
        assert_true(frame.n <= 6 + WS_HEAD_MAX + n);
        struct ws w;
        struct str in = str_slice(buf_view(&frame), 6, frame.n);
        ws_init(&w, WS_CLIENT, &large);
        w.deflate = packer;
        assert_int_equal(ws_feed(&w, &in), WS_MESSAGE);
        assert_true(str_eq(w.payload, buf_view(&text)));
        assert_int_equal(in.n, 0);
        ws_fini(&w);
        buf_free(&text);
        buf_free(&frame);
    }
}

static void expect_offer(const char *fields, const char *want)
{
    struct http_parser p;
    struct buf request = {0}, answer = {0}, line = {0};
    const char *why = NULL;
    buf_printf(&request, ASK KEY VERSION "%s\r\n", fields);
    struct str in = buf_view(&request);
    http_parser_init(&p, HTTP_SERVER, &http_limits_default);
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    int status = ws_check_request(&p.head, &why);
    bool agreed = status == 0 && ws_accept_deflate(&answer, &p.head);
    if (want != NULL && want[0] != '4')
        buf_printf(&line, "Sec-WebSocket-Extensions: %s\r\n", want);
    if (status != (want != NULL && want[0] == '4' ? 400 : 0) || agreed != (line.n > 0) ||
        !str_eq(buf_view(&answer), buf_view(&line)))
        fail_msg("%s: %d %.*s", fields, status, STR_ARG(buf_view(&answer)));
    http_parser_fini(&p);
    buf_free(&request);
    buf_free(&answer);
    buf_free(&line);
}

static void offers_are_agreed_to_or_declined_or_malformed(void **state)
{
    (void)state;
#define OFFER "Sec-WebSocket-Extensions: "
#define YES   "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    static const struct {
        const char *fields, *want; /* NULL: declined; "400" */
    } rows[] = {
        {"", NULL},
        {OFFER "permessage-deflate\r\n", YES},
        {OFFER "permessage-deflate; client_max_window_bits\r\n", YES},
        {OFFER "permessage-deflate;client_max_window_bits=8\r\n", YES},
        {OFFER "permessage-deflate ; client_max_window_bits = \"15\"\r\n", YES},
        {OFFER "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n", YES},
        {OFFER "permessage-deflate; server_max_window_bits=15\r\n", YES "; server_max_window_bits=15"},
        /* a smaller window than ours, unless it offers something else as well */
        {OFFER "permessage-deflate; server_max_window_bits=10\r\n", NULL},
        {OFFER "permessage-deflate; server_max_window_bits=10, permessage-deflate\r\n", YES},
        {OFFER "permessage-deflate; server_max_window_bits=10\r\n" OFFER "permessage-deflate\r\n", YES},
        {OFFER "x-other; a=b; c, , permessage-deflate\r\n", YES},
        {OFFER "x-webkit-deflate-frame\r\n", NULL},
        /* §7.1: a parameter that is not known, repeated, or has a value that it may not have */
        {OFFER "permessage-deflate; lazy\r\n", NULL},
        {OFFER "permessage-deflate; client_max_window_bits; client_max_window_bits\r\n", NULL},
        {OFFER "permessage-deflate; server_no_context_takeover; server_no_context_takeover\r\n", NULL},
        {OFFER "permessage-deflate; server_no_context_takeover=1\r\n", NULL},
        {OFFER "permessage-deflate; client_no_context_takeover=true\r\n", NULL},
        {OFFER "permessage-deflate; server_max_window_bits\r\n", NULL},
        {OFFER "permessage-deflate; client_max_window_bits=7\r\n", NULL},
        {OFFER "permessage-deflate; client_max_window_bits=16\r\n", NULL},
        {OFFER "permessage-deflate; client_max_window_bits=08\r\n", NULL},
        {OFFER "permessage-deflate; client_max_window_bits=+9\r\n", NULL},
        /* RFC 6455 §9.1: what is no list of extensions at all */
        {OFFER "permessage-deflate; \r\n", "400"},
        {OFFER "permessage-deflate; client_max_window_bits=\r\n", "400"},
        {OFFER "permessage-deflate; client_max_window_bits=\"9\r\n", "400"},
        {OFFER "permessage-deflate; client_max_window_bits=\"\"\r\n", "400"},
        {OFFER "permessage-deflate client_max_window_bits\r\n", "400"},
        {OFFER "permessage-deflate, @\r\n", "400"},
        {OFFER "=9\r\n", "400"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_offer(rows[i].fields, rows[i].want);
}

int main(void)
{
#define D(f) cmocka_unit_test_setup_teardown(f, agree, forget)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_rfc),
        cmocka_unit_test(empty_frames_are_frames),
        cmocka_unit_test(control_frames_may_come_inside_a_message),
        cmocka_unit_test(every_length_form_is_read),
        cmocka_unit_test(what_the_rfc_forbids_is_a_fault_with_its_code),
        cmocka_unit_test(bad_text_is_refused_before_its_frame_ends),
        cmocka_unit_test(characters_may_be_cut_between_fragments),
        cmocka_unit_test(close_codes_that_may_be_sent_are_taken),
        cmocka_unit_test(the_limits_code_can_be_chosen),
        cmocka_unit_test(what_is_written_can_be_read),
        cmocka_unit_test(a_long_reason_is_cut_between_characters),
        cmocka_unit_test(a_handshake_is_checked),
        cmocka_unit_test(the_accept_value_is_that_of_the_rfc),
        cmocka_unit_test(a_client_believes_only_the_right_answer),
        D(compressed_examples_of_the_rfc),
        D(compressed_and_other_messages_may_take_turns),
        D(the_bit_stands_on_first_frames_alone),
        cmocka_unit_test(without_agreement_the_bit_is_a_fault),
        D(what_is_not_compressed_as_it_says_is_a_fault),
        D(limits_count_what_is_decompressed),
        D(only_long_messages_are_compressed_and_only_where_it_saves),
        cmocka_unit_test(offers_are_agreed_to_or_declined_or_malformed),
    };
    return cmocka_run_group_tests_name("ws", tests, NULL, NULL);
}

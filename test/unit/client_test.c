/* The client against a scripted other side on a unix socket, in one loop. */
#include "proto/client.h"
#include "lib/acceptor.h"
#include "lib/arena.h"
#include "lib/signal.h"
#include "lib/stream.h"
#include "proto/http.h"
#include "proto/ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the other side --- */

struct other {
    struct stream stream;
    struct buf got;
    bool open;
    const char *answer; /* sent when the request's empty line has come; NULL: nothing */
    bool upgrade, hang_up;
    struct ws ws;
    struct buf messages; /* texts and control frames of the client, by line */
};

static struct loop loop;
static struct acceptor acceptor;
static struct other other;
static char folder[64], url_text[128];
static struct client_url url;
static struct ops ops;

static void send_frame(enum ws_opcode opcode, struct str payload)
{
    struct buf b = {0};
    ws_write(&b, WS_SERVER, opcode, payload);
    stream_write(&other.stream, buf_view(&b));
    buf_free(&b);
}

static void other_close_frame(int code, const char *reason)
{
    struct buf b = {0};
    ws_write_close(&b, WS_SERVER, code, str_z(reason));
    stream_write(&other.stream, buf_view(&b));
    buf_free(&b);
}

static void other_upgrade(void)
{
    struct http_parser p;
    struct str in = buf_view(&other.got);
    struct buf b = {0};
    const char *why;
    http_parser_init(&p, HTTP_SERVER, &http_limits_default);
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    assert_int_equal(ws_check_request(&p.head, &why), 0);
    assert_true(str_eqz(http_header(&p.head, S("authorization")), "Bearer x"));
    buf_z(&b, "HTTP/1.1 101 Switching Protocols\r\n");
    ws_write_accept(&b, &p.head);
    buf_z(&b, "\r\n");
    ws_write(&b, WS_SERVER, WS_TEXT, S("first")); /* in the same packet as the answer */
    stream_write(&other.stream, buf_view(&b));
    buf_free(&b);
    http_parser_fini(&p);
    static const struct ws_limits limits = {.message = 1 << 20, .fragments = 10};
    ws_init(&other.ws, WS_SERVER, &limits);
}

static void other_frames(struct str in)
{
    for (;;)
        switch (ws_feed(&other.ws, &in)) {
        case WS_MESSAGE:
            buf_printf(&other.messages, "text " STR_FMT "\n", STR_ARG(other.ws.payload));
            break;
        case WS_PINGED:
            buf_z(&other.messages, "ping\n");
            send_frame(WS_PONG, other.ws.payload);
            break;
        case WS_PONGED:
            buf_printf(&other.messages, "pong " STR_FMT "\n", STR_ARG(other.ws.payload));
            break;
        case WS_CLOSED:
            buf_printf(&other.messages, "close %d\n", other.ws.code);
            other_close_frame(other.ws.code, "");
            stream_finish(&other.stream, 1000);
            return;
        case WS_FAULT:
            fail_msg("%s", other.ws.why);
            return;
        case WS_MORE:
            return;
        }
}

static void other_read(struct stream *s, struct str bytes)
{
    (void)s;
    static bool upgraded;
    if (other.got.n == 0)
        upgraded = false;
    if (upgraded) {
        other_frames(bytes);
        return;
    }
    buf_str(&other.got, bytes);
    if (str_find(buf_view(&other.got), S("\r\n\r\n")) < 0)
        return;
    if (other.upgrade) {
        upgraded = true;
        other_upgrade();
    } else if (other.answer != NULL) {
        stream_write(&other.stream, str_z(other.answer));
    }
    if (other.hang_up)
        stream_finish(&other.stream, 1000);
}

static void other_close(struct stream *s, enum stream_end why)
{
    (void)s;
    (void)why;
    other.open = false;
}

static const struct stream_events other_events = {.on_read = other_read, .on_close = other_close};

static void on_accept(void *arg, int fd)
{
    (void)arg;
    assert_false(other.open);
    other.open = true;
    assert_int_equal(stream_open_fd(&other.stream, &loop, fd, &other_events, NULL), 0);
}

/* --- fixture --- */

static int begin(void **state)
{
    (void)state;
    signal_ignore_pipe();
    snprintf(folder, sizeof folder, "/tmp/client-test-XXXXXX");
    if (mkdtemp(folder) == NULL || loop_init(&loop) != 0)
        return -1;
    ops_init(&ops);
    other = (struct other){0};
    snprintf(url_text, sizeof url_text, "unix:%s/s:/base/", folder);
    assert_null(client_url_parse(str_z(url_text), &url));
    struct address at = {0};
    snprintf(at.path, sizeof at.path, "%s/s", folder);
    return acceptor_open(&acceptor, &loop, acceptor_socket(&at, 16, false), on_accept, NULL);
}

static int end(void **state)
{
    (void)state;
    acceptor_close(&acceptor, NULL, NULL);
    if (other.open)
        stream_close(&other.stream);
    loop_run(&loop);
    loop_fini(&loop);
    buf_free(&other.got);
    buf_free(&other.messages);
    ws_fini(&other.ws);
    char path[128];
    snprintf(path, sizeof path, "%s/s", folder);
    unlink(path);
    rmdir(folder);
    return 0;
}

/* --- calls --- */

static int answers;
static struct client_answer last;
static char body[256];

static void answered(void *arg, const struct client_answer *answer)
{
    assert_ptr_equal(arg, &answers);
    answers++;
    last = *answer;
    snprintf(body, sizeof body, STR_FMT, STR_ARG(answer->error != NULL ? str_z(answer->error) : answer->body));
}

static void call(const char *answer, bool hang_up, struct str request_body)
{
    struct client_request request = {
        .url = &url, .method = "POST", .path = S("/x?y=1"), .body = request_body, .deadline_ms = 20000};
    other.answer = answer;
    other.hang_up = hang_up;
    answers = 0;
    buf_clear(&other.got);
    assert_true(client_call(&loop, &request, &ops, answered, &answers));
    assert_int_equal(answers, 0);
    while (answers == 0 || other.open) {
        loop_turn(&loop, true);
        if (answers > 0 && other.open)
            stream_close(&other.stream);
    }
    assert_int_equal(answers, 1);
}

static void a_call_sends_a_request_and_gets_the_answer(void **state)
{
    (void)state;
    call("HTTP/1.1 201 Created\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nok", false, S("{}"));
    assert_int_equal(last.status, 201);
    assert_string_equal(body, "ok");
    assert_true(str_starts(buf_view(&other.got), S("POST /base/x?y=1 HTTP/1.1\r\nHost: localhost\r\n")));
    assert_true(str_find(buf_view(&other.got), S("\r\nContent-Length: 2\r\n")) > 0);
    assert_true(str_ends(buf_view(&other.got), S("\r\n\r\n{}")));
    call("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", false, STR_NONE);
    assert_string_equal(body, "abc");
    call("HTTP/1.1 200 OK\r\n\r\nuntil the end", true, STR_NONE);
    assert_string_equal(body, "until the end");
    call("HTTP/1.1 204 No Content\r\n\r\n", false, STR_NONE);
    assert_int_equal(last.status, 204);
}

static void what_is_no_answer_is_an_error_with_words(void **state)
{
    (void)state;
    call("", true, STR_NONE);
    assert_int_equal(last.status, 0);
    assert_string_equal(body, "the other side closed the connection without an answer");
    call("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", true, STR_NONE);
    assert_int_equal(last.status, 0);
    call("garbage\r\n\r\n", false, STR_NONE);
    assert_int_equal(last.status, 0);
    call("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", false, STR_NONE);
    assert_int_equal(last.status, 0);
}

static void nobody_there_is_an_error_and_a_deadline_is_kept(void **state)
{
    (void)state;
    struct client_url nobody;
    char text[128];
    snprintf(text, sizeof text, "unix:%s/none", folder);
    assert_null(client_url_parse(str_z(text), &nobody));
    struct client_request request = {.url = &nobody, .method = "GET", .path = S("/")};
    answers = 0;
    assert_true(client_call(&loop, &request, &ops, answered, &answers));
    while (answers == 0)
        loop_turn(&loop, true);
    assert_string_equal(body, "No such file or directory");
    request = (struct client_request){.url = &url, .method = "GET", .path = S("/"), .deadline_ms = 50};
    other.answer = NULL;
    answers = 0;
    assert_true(client_call(&loop, &request, &ops, answered, &answers));
    while (answers == 0)
        loop_turn(&loop, true);
    assert_string_equal(body, "no answer came in time");
}

static void an_asker_that_left_hears_nothing(void **state)
{
    (void)state;
    struct client_request request = {.url = &url, .method = "GET", .path = S("/")};
    other.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    answers = 0;
    assert_true(client_call(&loop, &request, &ops, answered, &answers));
    ops_detach(&ops);
    while (!other.open)
        loop_turn(&loop, true);
    while (other.open)
        loop_turn(&loop, true);
    assert_int_equal(answers, 0);
}

/* --- WebSocket --- */

static struct client_ws *ws;
static struct buf events;

static void on_open(void *arg)
{
    (void)arg;
    buf_z(&events, "open\n");
}

static void on_text(void *arg, struct str message)
{
    (void)arg;
    buf_printf(&events, "text " STR_FMT "\n", STR_ARG(message));
}

static void on_close(void *arg, int status, unsigned code, struct str reason)
{
    (void)arg;
    buf_printf(&events, "close %d %u " STR_FMT "\n", status, code, STR_ARG(reason));
    ws = NULL;
}

static const struct client_ws_type type = {.on_open = on_open, .on_text = on_text, .on_close = on_close};

static void open_ws(bool upgrade, const char *answer)
{
    static const struct client_header headers[] = {{"Authorization", {"Bearer x", 8}}, {0}};
    struct client_request request = {.url = &url, .path = S("/stream"), .headers = headers};
    buf_clear(&events);
    buf_clear(&other.got);
    buf_clear(&other.messages);
    other.upgrade = upgrade;
    other.answer = answer;
    ws = client_ws_open(&loop, &request, &type, NULL);
    assert_non_null(ws);
    assert_int_equal(events.n, 0);
}

static void until(struct buf *b, const char *want)
{
    while (str_find(buf_view(b), str_z(want)) < 0)
        loop_turn(&loop, true);
}

static void texts_go_both_ways_and_pings_are_answered(void **state)
{
    (void)state;
    open_ws(true, NULL);
    assert_false(client_ws_send(ws, S("too early")));
    until(&events, "open\ntext first\n");
    assert_true(client_ws_send(ws, S("hello")));
    until(&other.messages, "text hello\n");
    send_frame(WS_PING, S("p"));
    until(&other.messages, "pong p\n");
    send_frame(WS_TEXT, S("second"));
    until(&events, "text second\n");
    client_ws_close(ws, WS_NORMAL, "done");
    assert_false(client_ws_send(ws, S("too late")));
    until(&other.messages, "close 1000\n");
    until(&events, "close 0 1000 done\n");
    while (other.open)
        loop_turn(&loop, true);
    buf_free(&events);
}

static void the_other_sides_close_code_is_told(void **state)
{
    (void)state;
    open_ws(true, NULL);
    until(&events, "text first\n");
    other_close_frame(4409, "replaced");
    until(&events, "close 0 4409 replaced\n");
    assert_null(ws);
    buf_free(&events);
}

static void a_refused_upgrade_tells_its_status(void **state)
{
    (void)state;
    open_ws(false, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    until(&events, "close 401 1006 the server answered 401 Unauthorized\n");
    assert_null(ws);
    while (other.open)
        loop_turn(&loop, true);
    open_ws(false, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n");
    until(&events, "close 0 1006 the answer does not accept the upgrade\n");
    buf_free(&events);
}

static void silence_is_asked_about_and_then_cut(void **state)
{
    (void)state;
    open_ws(true, NULL);
    until(&events, "text first\n");
    client_ws_idle(ws, 2000);
    until(&other.messages, "ping\nping\n"); /* answered: it stays open */
    assert_true(str_find(buf_view(&events), S("close")) < 0);
    stream_pause(&other.stream);
    until(&events, "close 0 1006 nothing came for 2000 ms\n");
    buf_free(&events);
}

static void a_lost_connection_is_told(void **state)
{
    (void)state;
    open_ws(true, NULL);
    until(&events, "text first\n");
    stream_close(&other.stream);
    until(&events, "close 0 1006 ");
    open_ws(true, NULL);
    client_ws_close(ws, WS_NORMAL, "never mind");
    until(&events, "close 0 1006 never mind\n");
    buf_free(&events);
}

/* --- URLs --- */

static void urls_are_taken_apart_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *base;
        uint16_t port;
        bool local, tls;
    } good[] = {
        {"http://localhost", "localhost", "", 80, false},
        {"http://localhost:8080/", "localhost", "", 8080, false},
        {"ws://10.0.0.1:1/a/b/", "10.0.0.1", "/a/b", 1, false},
        {"http://[::1]:9000/x", "::1", "/x", 9000, false},
        {"http://[::1]", "::1", "", 80, false},
        {"https://a.example", "a.example", "", 443, .tls = true},
        {"wss://[::1]:8443/x", "::1", "/x", 8443, .tls = true},
        {"unix:/run/s", "/run/s", "", 0, true},
        {"unix:/run/s:/base", "/run/s", "/base", 0, true},
    };
    static const char *const bad[] = {
        "",           "localhost",   "https://",       "wss:/a",      "ftp://a",      "http://",    "http://:80",
        "http://a:",  "http://a:0",  "http://a:65536", "http://a:8x", "http://u:p@a", "http://a?x", "http://a/#f",
        "http://a b", "http://[::1", "http://[::1]x",  "unix:run",    "unix:",        "unix:/a:b"};
    struct client_url u;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_null(client_url_parse(str_z(good[i].text), &u));
        assert_true(str_eqz(u.host, good[i].host));
        assert_true(u.base.n == strlen(good[i].base) && (u.base.n == 0 || str_eqz(u.base, good[i].base)));
        assert_int_equal(u.port, good[i].port);
        assert_int_equal(u.local, good[i].local);
        assert_int_equal(u.tls, good[i].tls);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_non_null(client_url_parse(str_z(bad[i]), &u));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart_strictly),
        T(a_call_sends_a_request_and_gets_the_answer),
        T(what_is_no_answer_is_an_error_with_words),
        T(nobody_there_is_an_error_and_a_deadline_is_kept),
        T(an_asker_that_left_hears_nothing),
        T(texts_go_both_ways_and_pings_are_answered),
        T(the_other_sides_close_code_is_told),
        T(a_refused_upgrade_tells_its_status),
        T(silence_is_asked_about_and_then_cut),
        T(a_lost_connection_is_told),
    };
    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

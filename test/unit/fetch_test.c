#include "proto/fetch.h"

#include "lib/loop.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A peer on loopback that takes one connection, reads a request's head, answers
 * with `answer` and ends; without an answer it keeps the connection until the
 * test closes the listener's end of `hold`. */
struct peer {
    int listener, hold[2];
    uint16_t port;
    const char *answer;
    char heard[4096];
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct peer *p = arg;
    int fd = accept(p->listener, NULL, NULL);
    size_t n = 0;
    char byte;

    if (fd < 0)
        return NULL;
    while (n < sizeof(p->heard) - 1 && strstr(p->heard, "\r\n\r\n") == NULL) {
        ssize_t got = read(fd, p->heard + n, sizeof(p->heard) - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    if (p->answer != NULL)
        (void)!write(fd, p->answer, strlen(p->answer));
    else
        (void)!read(p->hold[0], &byte, 1);
    close(fd);
    return NULL;
}

static void peer_start(struct peer *p, const char *answer)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);

    memset(p, 0, sizeof(*p));
    p->answer = answer;
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(p->listener, 1), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(pipe(p->hold), 0);
    p->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void peer_stop(struct peer *p)
{
    shutdown(p->listener, SHUT_RDWR);
    close(p->hold[1]);
    pthread_join(p->thread, NULL);
    close(p->hold[0]);
    close(p->listener);
}

struct seen {
    struct loop loop;
    struct fetcher *fetcher;
    struct ops ops;
    enum fetch_fault fault;
    int status, calls;
    bool closed;
    char body[256], message[256];
};

static void on_answer(void *arg, const struct fetch_answer *a)
{
    struct seen *s = arg;

    s->calls++;
    s->fault = a->fault;
    s->status = a->status;
    snprintf(s->body, sizeof(s->body), STR_FMT, STR_ARG(a->body));
    snprintf(s->message, sizeof(s->message), "%s", a->message == NULL ? "" : a->message);
}

static void on_closed(void *arg)
{
    ((struct seen *)arg)->closed = true;
}

static void seen_start(struct seen *s, const char *allow)
{
    struct cidr block;
    struct fetch_settings settings = {.allow = &block, .allow_count = allow != NULL};

    memset(s, 0, sizeof(*s));
    ops_init(&s->ops);
    assert_int_equal(loop_init(&s->loop), 0);
    if (allow != NULL)
        assert_true(cidr_parse(str_z(allow), &block));
    s->fetcher = fetcher_open(&s->loop, &settings);
    assert_non_null(s->fetcher);
}

static void seen_stop(struct seen *s)
{
    fetcher_close(s->fetcher, on_closed, s);
    while (!s->closed)
        loop_turn(&s->loop, true);
    loop_fini(&s->loop);
}

static void get(struct seen *s, const char *url, const char *method, const char *body)
{
    struct fetch_request r = {.method = str_z(method),
                              .url = str_z(url),
                              .fields = S("X-Probe: yes\nContent-Type: text/plain\n"),
                              .body = str_z(body),
                              .timeout_ms = 5000,
                              .max_bytes = 100};

    assert_true(fetch_start(s->fetcher, &r, &s->ops, on_answer, s));
    assert_int_equal(s->calls, 0);
    while (s->calls == 0)
        loop_turn(&s->loop, true);
    assert_int_equal(s->calls, 1);
}

#define ANSWER(n, body) "HTTP/1.1 201 Created\r\nContent-Length: " n "\r\nConnection: close\r\n\r\n" body

static void a_request_is_sent_and_its_answer_comes_back(void **state)
{
    struct peer p;
    struct seen s;
    char url[100];

    (void)state;
    peer_start(&p, ANSWER("5", "hello"));
    seen_start(&s, "127.0.0.0/8");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/a?b=c", p.port);
    get(&s, url, "POST", "some text");
    assert_int_equal(s.fault, FETCH_NONE);
    assert_int_equal(s.status, 201);
    assert_string_equal(s.body, "hello");
    seen_stop(&s);
    peer_stop(&p);
    assert_int_equal(strncmp(p.heard, "POST /a?b=c HTTP/1.1\r\n", 22), 0);
    assert_non_null(strstr(p.heard, "X-Probe: yes\r\n"));
    assert_non_null(strstr(p.heard, "Content-Length: 9\r\n"));
}

static void addresses_that_are_not_public_are_refused(void **state)
{
    static const char *const urls[] = {"http://127.0.0.1:1/",          "http://[::1]:1/",   "http://localhost:1/",
                                       "http://[::ffff:127.0.0.1]:1/", "http://0.0.0.0:1/", "http://2130706433:1/"};
    struct seen s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        seen_start(&s, NULL);
        get(&s, urls[i], "GET", "");
        if (s.fault != FETCH_REFUSED)
            fail_msg("%s: %s (%s)", urls[i], fetch_fault_name(s.fault), s.message);
        seen_stop(&s);
    }
}

static void what_is_no_http_url_is_refused(void **state)
{
    static const char *const urls[] = {"file:///etc/passwd", "gopher://127.0.0.1/", "http://user:secret@127.0.0.1/",
                                       "http://", "nonsense://x"};
    struct seen s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        seen_start(&s, "127.0.0.0/8");
        get(&s, urls[i], "GET", "");
        if (s.fault != FETCH_URL)
            fail_msg("%s: %s (%s)", urls[i], fetch_fault_name(s.fault), s.message);
        seen_stop(&s);
    }
}

static void an_answer_over_the_limit_and_a_redirect_end_there(void **state)
{
    char big[400] = ANSWER("200", "");
    struct peer p;
    struct seen s;
    char url[100];

    (void)state;
    memset(big + strlen(big), 'x', 200);
    peer_start(&p, big);
    seen_start(&s, "127.0.0.0/8");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p.port);
    get(&s, url, "GET", "");
    assert_int_equal(s.fault, FETCH_TOO_LARGE);
    seen_stop(&s);
    peer_stop(&p);

    peer_start(&p, "HTTP/1.1 302 Found\r\nLocation: "
                   "http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    seen_start(&s, "127.0.0.0/8");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p.port);
    get(&s, url, "GET", "");
    assert_int_equal(s.fault, FETCH_NONE);
    assert_int_equal(s.status, 302);
    seen_stop(&s);
    peer_stop(&p);
}

static void a_refused_connection_and_noise_are_told_apart(void **state)
{
    struct peer p;
    struct seen s;
    char url[100];

    (void)state;
    seen_start(&s, "127.0.0.0/8");
    get(&s, "http://127.0.0.1:1/", "GET", "");
    assert_int_equal(s.fault, FETCH_CONNECT);
    seen_stop(&s);

    peer_start(&p, "\x01\x02 nonsense");
    seen_start(&s, "127.0.0.0/8");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p.port);
    get(&s, url, "GET", "");
    assert_int_equal(s.fault, FETCH_BROKEN);
    seen_stop(&s);
    peer_stop(&p);
}

static void closing_ends_what_is_under_way(void **state)
{
    struct peer p;
    struct seen s;
    char url[100];
    struct fetch_request r = {.method = S("GET"), .timeout_ms = 60000, .max_bytes = 100};

    (void)state;
    peer_start(&p, NULL);
    seen_start(&s, "127.0.0.0/8");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p.port);
    r.url = str_z(url);
    assert_true(fetch_start(s.fetcher, &r, &s.ops, on_answer, &s));
    assert_true(fetch_start(s.fetcher, &r, NULL, on_answer, &s)); /* nobody waits */
    loop_turn(&s.loop, false);
    seen_stop(&s);
    assert_int_equal(s.calls, 1);
    assert_int_equal(s.fault, FETCH_CLOSED);
    peer_stop(&p);
}

static void an_asker_that_left_is_not_called(void **state)
{
    struct peer p;
    struct seen s;
    char url[100];
    struct fetch_request r = {.method = S("GET"), .timeout_ms = 60000, .max_bytes = 100};

    (void)state;
    peer_start(&p, ANSWER("0", ""));
    seen_start(&s, "127.0.0.0/8");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p.port);
    r.url = str_z(url);
    assert_true(fetch_start(s.fetcher, &r, &s.ops, on_answer, &s));
    ops_detach(&s.ops);
    seen_stop(&s);
    assert_int_equal(s.calls, 0);
    peer_stop(&p);
}

/* --- without a loop --- */

struct taken {
    struct seen seen;
    char body[64];
    size_t n;
    bool full;
};

static bool take(void *arg, struct str bytes)
{
    struct taken *t = arg;

    assert_true(t->n + bytes.n < sizeof(t->body));
    memcpy(t->body + t->n, bytes.p, bytes.n);
    t->n += bytes.n;
    return !t->full;
}

static void get_blocking(struct taken *t, const char *url, const char *allow, struct fetch_blocking how)
{
    struct cidr block;
    struct fetch_settings settings = {.allow = &block, .allow_count = allow != NULL};
    struct fetch_request r = {.method = S("GET"), .url = str_z(url), .max_bytes = 20};

    memset(t->body, 0, sizeof(t->body));
    t->n = 0;
    if (allow != NULL)
        assert_true(cidr_parse(str_z(allow), &block));
    how.arg = t;
    fetch_blocking(&settings, &r, &how, on_answer, &t->seen);
}

static void a_body_is_handed_on_as_it_comes(void **state)
{
    static const struct {
        const char *answer;
        bool full, unguarded, taken;
        enum fetch_fault fault;
        int status;
    } rows[] = {
        {ANSWER("5", "hello"), false, true, true, FETCH_NONE, 201},
        {ANSWER("5", "hello"), true, true, true, FETCH_CLOSED, 201},
        {ANSWER("21", "hellohellohellohello!"), false, true, false, FETCH_TOO_LARGE, 201},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", false, true, false, FETCH_NONE, 404},
        {ANSWER("5", "hello"), false, false, false, FETCH_REFUSED, 0},
    };
    struct peer p;
    struct taken t = {0};
    char url[100];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        peer_start(&p, rows[i].answer);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", p.port);
        t.full = rows[i].full;
        get_blocking(&t, url, NULL, (struct fetch_blocking){.take = take, .unguarded = rows[i].unguarded});
        assert_int_equal(t.seen.fault, rows[i].fault);
        assert_int_equal(t.seen.status, rows[i].status);
        assert_string_equal(t.body, rows[i].taken ? "hello" : "");
        if (rows[i].status == 404)
            assert_string_equal(t.seen.body, "none");
        peer_stop(&p);
    }
    assert_int_equal(t.seen.calls, ARRAY_LEN(rows));
}

static bool stop_at_once(void *arg, uint64_t got, uint64_t expected)
{
    (void)arg;
    (void)got;
    (void)expected;
    return false;
}

static void a_wait_without_an_answer_can_be_given_up(void **state)
{
    struct peer p;
    struct taken t = {0};
    char url[100];

    (void)state;
    peer_start(&p, NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", p.port);
    get_blocking(&t, url, "127.0.0.0/8", (struct fetch_blocking){.goes_on = stop_at_once});
    assert_int_equal(t.seen.fault, FETCH_CLOSED);
    peer_stop(&p);
}

static void a_socket_can_stand_for_the_host(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct peer p = {.answer = ANSWER("5", "hello")};
    struct taken t = {0};

    (void)state;
    snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/fetch-test-%d.sock", getpid());
    unlink(at.sun_path);
    p.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(p.listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(p.listener, 1), 0);
    assert_int_equal(pipe(p.hold), 0);
    assert_int_equal(pthread_create(&p.thread, NULL, serve, &p), 0);
    get_blocking(&t, "http://localhost/api/x", NULL, (struct fetch_blocking){.take = take, .socket = at.sun_path});
    assert_int_equal(t.seen.fault, FETCH_NONE);
    assert_string_equal(t.body, "hello");
    peer_stop(&p);
    assert_non_null(strstr(p.heard, "GET /api/x HTTP/1.1"));
    unlink(at.sun_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_sent_and_its_answer_comes_back),
        cmocka_unit_test(addresses_that_are_not_public_are_refused),
        cmocka_unit_test(what_is_no_http_url_is_refused),
        cmocka_unit_test(an_answer_over_the_limit_and_a_redirect_end_there),
        cmocka_unit_test(a_refused_connection_and_noise_are_told_apart),
        cmocka_unit_test(closing_ends_what_is_under_way),
        cmocka_unit_test(an_asker_that_left_is_not_called),
        cmocka_unit_test(a_body_is_handed_on_as_it_comes),
        cmocka_unit_test(a_wait_without_an_answer_can_be_given_up),
        cmocka_unit_test(a_socket_can_stand_for_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The HTTP parser and writer. Every message is fed whole, byte by byte, and cut in two at every position; what comes
 * out must be the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/clock.h"
#include "proto/http.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* What happened, as text: "HEAD GET /a ?b host.x 1.1 keep" "BODY abc" "END" "FAULT 400". Bodies are joined. */
struct script {
    struct http_parser *p;
    struct buf out;
    bool in_body, over;
};

static void note_head(struct buf *b, const struct http_head *h)
{
    if (h->status != 0)
        buf_printf(b, "HEAD %d %.*s", h->status, STR_ARG(h->reason));
    else
        buf_printf(b, "HEAD %.*s %.*s", STR_ARG(h->method), STR_ARG(h->path));
    if (h->query.p != NULL)
        buf_printf(b, " ?%.*s", STR_ARG(h->query));
    if (h->host.n > 0)
        buf_printf(b, " @%.*s", STR_ARG(h->host));
    buf_printf(b, " 1.%d%s%s%s", h->minor, h->keep_alive ? " keep" : "", h->upgrade ? " upgrade" : "",
               h->expect_continue ? " expect" : "");
    if (h->length >= 0)
        buf_printf(b, " length=%lld", (long long)h->length);
    if (h->chunked)
        buf_z(b, " chunked");
    buf_z(b, "\n");
}

static void note(struct script *s, enum http_event e)
{
    if (s->in_body && e != HTTP_GOT_BODY) {
        buf_z(&s->out, "\n");
        s->in_body = false;
    }
    if (e == HTTP_GOT_HEAD)
        note_head(&s->out, &s->p->head);
    if (e == HTTP_GOT_BODY && !s->in_body)
        buf_z(&s->out, "BODY ");
    if (e == HTTP_GOT_BODY)
        buf_str(&s->out, s->p->data);
    s->in_body = e == HTTP_GOT_BODY;
    if (e == HTTP_END) {
        buf_z(&s->out, "END\n");
        http_next(s->p);
    }
    if (e == HTTP_FAULT) {
        buf_printf(&s->out, "FAULT %d\n", s->p->status);
        assert_non_null(s->p->why);
        const struct http_head *h = &s->p->head; /* the caller may look at what was found of the first line */
        assert_true(str_hash(h->method) == str_hash(h->method) && str_hash(h->target) == str_hash(h->target));
        assert_true(h->method.n == 0 || h->method.p == s->p->text.p);
        s->over = true;
    }
}

static void feed(struct script *s, const char *bytes, size_t n)
{
    /* exactly n bytes on the heap: a read past the end is seen by the sanitizer */
    char *copy = malloc(n + 1);
    memcpy(copy, bytes, n);
    copy = realloc(copy, n > 0 ? n : 1);
    struct str in = {copy, n};
    while (!s->over) {
        enum http_event e = http_feed(s->p, &in);
        if (e == HTTP_MORE) {
            assert_int_equal(in.n, 0);
            break;
        }
        note(s, e);
    }
    free(copy);
}

static const struct http_limits *limits = &http_limits_default;

/* cut: 0 whole, SIZE_MAX byte by byte, else two parts. */
static struct buf play(enum http_role role, struct str bytes, size_t cut, bool eof)
{
    struct http_parser p;
    struct script s = {.p = &p};
    http_parser_init(&p, role, limits);
    if (cut == SIZE_MAX) {
        for (size_t i = 0; i < bytes.n; i++)
            feed(&s, bytes.p + i, 1);
    } else {
        feed(&s, bytes.p, cut);
        feed(&s, bytes.p + cut, bytes.n - cut);
    }
    if (!s.over && eof) {
        enum http_event e = http_eof(&p);
        if (e != HTTP_MORE)
            note(&s, e);
    }
    if (s.in_body)
        buf_z(&s.out, "\n");
    buf_char(&s.out, '\0');
    http_parser_fini(&p);
    return s.out;
}

static void expect_as(enum http_role role, struct str bytes, const char *want, bool eof)
{
    struct buf got = play(role, bytes, 0, eof);
    assert_string_equal(got.p, want);
    buf_free(&got);
    got = play(role, bytes, SIZE_MAX, eof);
    assert_string_equal(got.p, want);
    buf_free(&got);
    for (size_t cut = 1; cut < bytes.n && cut < 3000; cut++) {
        got = play(role, bytes, cut, eof);
        assert_string_equal(got.p, want);
        buf_free(&got);
    }
}

#define expect(bytes, want)        expect_as(HTTP_SERVER, S(bytes), want, false)
#define expect_answer(bytes, want) expect_as(HTTP_CLIENT, S(bytes), want, true)

static void a_plain_request_is_a_head_and_an_end(void **state)
{
    (void)state;
    expect("GET /a/b?c=d HTTP/1.1\r\nHost: x.example:80\r\n\r\n", "HEAD GET /a/b ?c=d @x.example:80 1.1 keep\nEND\n");
    expect("GET / HTTP/1.0\r\n\r\n", "HEAD GET / 1.0\nEND\n");
    expect("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HEAD GET / 1.0 keep\nEND\n");
    expect("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HEAD GET / @a 1.1\nEND\n");
    expect("GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD GET / ? @a 1.1 keep\nEND\n");
    expect("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD OPTIONS * @a 1.1 keep\nEND\n");
    expect("GET http://b.example:1/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD GET /c ?d @b.example:1 1.1 keep\nEND\n");
    expect("GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD GET / @b 1.1 keep\nEND\n");
    expect("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "HEAD GET / @[::1]:8080 1.1 keep\nEND\n");
    expect("GET / HTTP/1.1\r\nhOST:a\r\nX:\t \r\nY: \xc3\xa9\tz \r\n\r\n", "HEAD GET / @a 1.1 keep\nEND\n");
}

static void a_body_is_as_long_as_it_says(void **state)
{
    (void)state;
    expect("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
           "HEAD POST / @a 1.1 keep length=5\nBODY hello\nEND\n");
    expect("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HEAD POST / @a 1.1 keep length=0\nEND\n");
    expect("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
           "HEAD GET / @a 1.1 keep length=3\nBODY abc\nEND\n");
    expect("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", "HEAD POST / 1.0 length=2\nBODY ab\nEND\n");
}

static void a_chunked_body_is_put_together(void **state)
{
    (void)state;
    expect("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00A;x=\"y\"\r\n, "
           "everyone\r\n0\r\n\r\n",
           "HEAD POST / @a 1.1 keep chunked\nBODY hello, everyone\nEND\n");
    expect("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n\n\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
           "HEAD POST / @a 1.1 keep chunked\nBODY \n\nEND\n");
    expect("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "HEAD POST / @a 1.1 keep chunked\nEND\n");
}

static void requests_that_follow_each_other_stay_apart(void **state)
{
    (void)state;
    expect("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET GET /2 HTTP/1.1\r\nHost: b\r\n\r\n\r\n"
           "PUT /3 HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /4 "
           "HTTP/1.1\r\nHost: d\r\n\r\n",
           "HEAD POST /1 @a 1.1 keep length=4\nBODY GET \nEND\nHEAD GET /2 @b 1.1 keep\nEND\n"
           "HEAD PUT /3 @c 1.1 keep chunked\nBODY ab\nEND\nHEAD GET /4 @d 1.1 keep\nEND\n");
}

static void upgrades_and_expectations_are_told(void **state)
{
    (void)state;
    expect("GET /s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
           "HEAD GET /s @a 1.1 keep upgrade\nEND\n");
    expect("GET /s HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\nGET /t HTTP/1.1\r\nHost: a\r\n\r\n",
           "HEAD GET /s @a 1.1 keep\nEND\nHEAD GET /t @a 1.1 keep\nEND\n");
    expect("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
           "HEAD POST / @a 1.1 keep expect length=1\nBODY x\nEND\n");
    expect("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
           "HEAD POST / 1.0 length=1\nBODY x\nEND\n");
    expect("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nxGET / "
           "HTTP/1.1\r\nHost: a\r\n\r\n",
           "HEAD POST / @a 1.1 keep upgrade length=1\nBODY x\nEND\nHEAD GET / @a 1.1 keep\nEND\n");
}

#define H       "Host: a\r\n"
#define POST    "POST / HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define K10     "xxxxxxxxxx"
#define K100    K10 K10 K10 K10 K10 K10 K10 K10 K10 K10

/* Malformed and smuggling inputs and what each is answered. The status is the first fault, wherever the head ended. */
// clang-format off
static const struct {
    int status;
    struct str bytes;
    const char *name;
} traps[] = {
    /* the request line */
    {505, S("GET /\r\n\r\n"), "HTTP/0.9"},
    {505, S("GET / HTTP/2.0\r\n" H "\r\n"), "HTTP/2.0"},
    {505, S("GET / HTTP/1.2\r\n" H "\r\n"), "HTTP/1.2"},
    {505, S("GET / HTTP/0.9\r\n" H "\r\n"), "HTTP/0.9 with a version"},
    {505, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "the preface of HTTP/2"},
    {400, S("GET / http/1.1\r\n" H "\r\n"), "version in lower case"},
    {400, S("GET / HTTP/1.1 \r\n" H "\r\n"), "space behind the version"},
    {400, S("GET / HTTP/1.1x\r\n" H "\r\n"), "version with a tail"},
    {400, S("GET / HTTP/11\r\n" H "\r\n"), "version without a dot"},
    {400, S("GET  / HTTP/1.1\r\n" H "\r\n"), "two spaces behind the method"},
    {400, S("GET\t/ HTTP/1.1\r\n" H "\r\n"), "tab behind the method"},
    {400, S("GET /a b HTTP/1.1\r\n" H "\r\n"), "space in the target"},
    {400, S("GET /\x01 HTTP/1.1\r\n" H "\r\n"), "control byte in the target"},
    {400, S("GET /\x80 HTTP/1.1\r\n" H "\r\n"), "high byte in the target"},
    {400, S("GET /a#b HTTP/1.1\r\n" H "\r\n"), "fragment in the target"},
    {400, S("GET a HTTP/1.1\r\n" H "\r\n"), "relative target"},
    {400, S("GET * HTTP/1.1\r\n" H "\r\n"), "GET *"},
    {400, S("GET http:///a HTTP/1.1\r\n" H "\r\n"), "absolute target without a host"},
    {400, S("GET ftp://b/ HTTP/1.1\r\n" H "\r\n"), "target of another scheme"},
    {400, S("GET http://u:p@b/ HTTP/1.1\r\n" H "\r\n"), "user and password in the target"},
    {400, S("GET / HTTP/1.1\n" H "\r\n"), "request line ends in LF"},
    {400, S("GET / HTTP/1.1\r" H "\r\n"), "request line ends in CR"},
    {400, S(" GET / HTTP/1.1\r\n" H "\r\n"), "space before the method"},
    {400, S("\x16\x03\x01\x02\x00\x01"), "a TLS hello"},
    {400, S("{}\r\n\r\n"), "no method"},
    {400, S("\"GET\" / HTTP/1.1\r\n" H "\r\n"), "quoted method"},
    {405, S("TRACE / HTTP/1.1\r\n" H "\r\n"), "TRACE"},
    {405, S("CONNECT b:80 HTTP/1.1\r\n" H "\r\n"), "CONNECT"},
    {501, S("FROB / HTTP/1.1\r\n" H "\r\n"), "unknown method"},
    {501, S("get / HTTP/1.1\r\n" H "\r\n"), "method in lower case"},
    {400, S("\nGET / HTTP/1.1\r\n" H "\r\n"), "LF before the request"},
    {400, S("\rGET / HTTP/1.1\r\n" H "\r\n"), "CR before the request"},
    {400, S("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"), "five empty lines before the request"},
    /* Host */
    {400, S("GET / HTTP/1.1\r\n\r\n"), "no Host"},
    {400, S("GET / HTTP/1.1\r\n" H H "\r\n"), "two Hosts"},
    {400, S("GET / HTTP/1.1\r\n" H "Host: b\r\n\r\n"), "two different Hosts"},
    {400, S("GET / HTTP/1.0\r\n" H H "\r\n"), "two Hosts in HTTP/1.0"},
    {400, S("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "empty Host"},
    {400, S("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), "space in Host"},
    {400, S("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), "slash in Host"},
    {400, S("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), "list of Hosts"},
    {400, S("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), "user in Host"},
    {400, S("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"), "port that is no number"},
    {400, S("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"), "port that is too large"},
    {400, S("GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n"), "two ports"},
    {400, S("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), "open bracket"},
    {400, S("GET / HTTP/1.1\r\nHost: []\r\n\r\n"), "empty brackets"},
    /* header lines */
    {400, S("GET / HTTP/1.1\r\n" H "X:\rTransfer-Encoding: chunked\r\n\r\n"), "bare CR hides a header"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"), "bare CR in a value"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\nY: b\r\n\r\n"), "LF ends a header"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\r\n\n"), "LF ends the head"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n"), "CR before CRLF"},
    {400, S("GET / HTTP/1.1\r\n" H "X : a\r\n\r\n"), "space behind a name"},
    {400, S("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), "space behind Host"},
    {400, S("GET / HTTP/1.1\r\nHo st: a\r\n\r\n"), "space in a name"},
    {400, S("GET / HTTP/1.1\r\n" H "X\t: a\r\n\r\n"), "tab behind a name"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"), "folded line"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n"), "line folded by a tab"},
    {400, S("GET / HTTP/1.1\r\n X: a\r\n" H "\r\n"), "first header line is folded"},
    {400, S("GET / HTTP/1.1\r\n" H "X\r\n\r\n"), "header without a colon"},
    {400, S("GET / HTTP/1.1\r\n" H ": a\r\n\r\n"), "header without a name"},
    {400, S("GET / HTTP/1.1\r\n" H "X\xe9: a\r\n\r\n"), "high byte in a name"},
    {400, S("GET / HTTP/1.1\r\n" H "X\0Y: a\r\n\r\n"), "NUL in a name"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), "NUL in a value"},
    {400, S("GET / HTTP/1.1\r\n" H "X: aaaaaaaaaa\x7f\r\n\r\n"), "DEL in a value"},
    {400, S("GET / HTTP/1.1\r\n" H "X: aaaaaaaaaaaaaa\x1b[0m\r\n\r\n"), "escape in a value"},
    {400, S("GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: b\r\n\r\n"), "two Authorizations"},
    {400, S(POST "Content-Type: a\r\nContent-Type: b\r\nContent-Length: 0\r\n\r\n"), "two Content-Types"},
    {417, S(POST "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n"), "another expectation"},
    /* lengths */
    {400, S(POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), "two equal lengths"},
    {400, S(POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), "two lengths"},
    {400, S(POST "Content-Length: 1, 1\r\n\r\n"), "list of lengths"},
    {400, S(POST "Content-Length: -1\r\n\r\n"), "negative length"},
    {400, S(POST "Content-Length: +1\r\n\r\n"), "length with a plus"},
    {400, S(POST "Content-Length: 0x1\r\n\r\n"), "hexadecimal length"},
    {400, S(POST "Content-Length: 1 1\r\n\r\n"), "space in a length"},
    {400, S(POST "Content-Length: 1e3\r\n\r\n"), "length with an exponent"},
    {400, S(POST "Content-Length:\r\n\r\n"), "empty length"},
    {413, S(POST "Content-Length: 18446744073709551615\r\n\r\n"), "length of 2^64-1"},
    {413, S(POST "Content-Length: 18446744073709551617\r\n\r\n"), "length of 2^64+1"},
    {413, S(POST "Content-Length: 9223372036854775808\r\n\r\n"), "length of 2^63"},
    {413, S(POST "Content-Length: 99999999999999999999999999999999999999\r\n\r\n"), "length of 38 digits"},
    {413, S(POST "Content-Length: 1048577\r\n\r\n"), "length above the limit"},
    /* codings */
    {400, S(POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "length, then coding"},
    {400, S(POST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), "coding, then length"},
    {501, S(POST "Transfer-Encoding: x, chunked\r\n\r\n"), "another coding before chunked"},
    {501, S(POST "Transfer-Encoding: chunked, identity\r\n\r\n"), "another coding behind chunked"},
    {501, S(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"), "chunked twice"},
    {501, S(POST "Transfer-Encoding: gzip\r\n\r\n"), "gzip"},
    {501, S(POST "Transfer-Encoding: identity\r\n\r\n"), "identity"},
    {501, S(POST "Transfer-Encoding: xchunked\r\n\r\n"), "a name that ends in chunked"},
    {501, S(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), "quoted chunked"},
    {501, S(POST "Transfer-Encoding:\r\n\r\n"), "empty coding"},
    {400, S(POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n"), "vertical tab before chunked"},
    {400, S(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), "two codings"},
    {400, S(POST "Transfer-Encoding : chunked\r\n\r\n"), "space behind Transfer-Encoding"},
    {400, S(POST "Transfer-Encoding\r\n: chunked\r\n\r\n"), "CRLF behind Transfer-Encoding"},
    {400, S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "chunked in HTTP/1.0"},
    /* chunks */
    {413, S(CHUNKED "FFFFFFFFFFFFFFFF\r\n"), "chunk of 2^64-1"},
    {413, S(CHUNKED "10000000000000000\r\n"), "chunk of 2^64"},
    {413, S(CHUNKED "7fffffffffffffff\r\n"), "chunk of 2^63-1"},
    {413, S(CHUNKED "100001\r\n"), "chunk above the limit"},
    {400, S(CHUNKED "00000000000000001\r\n"), "chunk size of 17 digits"},
    {400, S(CHUNKED "\r\n"), "chunk without a size"},
    {400, S(CHUNKED "x\r\n"), "chunk size that is no number"},
    {400, S(CHUNKED "-1\r\n"), "negative chunk"},
    {400, S(CHUNKED "+1\r\n"), "chunk with a plus"},
    {400, S(CHUNKED "0x1\r\n"), "chunk with 0x"},
    {400, S(CHUNKED "1 \r\na\r\n"), "space behind a chunk size"},
    {400, S(CHUNKED " 1\r\na\r\n"), "space before a chunk size"},
    {400, S(CHUNKED "1\na\r\n"), "chunk size ends in LF"},
    {400, S(CHUNKED "1\r\na\n"), "chunk ends in LF"},
    {400, S(CHUNKED "1;x\na\r\n"), "chunk extension ends in LF"},
    {400, S(CHUNKED "1;x\ry\r\na\r\n"), "bare CR in a chunk extension"},
    {400, S(CHUNKED "1;\x01\r\na\r\n"), "control byte in a chunk extension"},
    {400, S(CHUNKED "1\r\nab\r\n"), "chunk longer than its size"},
    {400, S(CHUNKED "2\r\na\r\n0\r\n\r\n"), "chunk shorter than its size"},
    {400, S(CHUNKED "1;" K100 K100 K100 "\r\n"), "long chunk extension"},
    {400, S(CHUNKED "0\r\nX : a\r\n\r\n"), "space behind a trailer's name"},
    {400, S(CHUNKED "0\r\nX: a\n\r\n"), "trailer ends in LF"},
    {400, S(CHUNKED "0\r\nX: a\rb\r\n\r\n"), "bare CR in a trailer"},
    {400, S(CHUNKED "0\r\nX: a\r\n b\r\n\r\n"), "folded trailer"},
    {400, S(CHUNKED "0\r\nContent-Length: 5\r\n\r\n"), "length as a trailer"},
    {400, S(CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n"), "coding as a trailer"},
    {400, S(CHUNKED "0\r\nHost: b\r\n\r\n"), "Host as a trailer"},
    {400, S(CHUNKED "0\r\n\n"), "trailers end in LF"},
};
// clang-format on

static void malformed_and_smuggling_messages_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(traps); i++) {
        char want[32];
        snprintf(want, sizeof(want), "FAULT %d\n", traps[i].status);
        for (size_t cut = 0; cut <= traps[i].bytes.n; cut++) {
            struct buf got = play(HTTP_SERVER, traps[i].bytes, cut < traps[i].bytes.n ? cut : SIZE_MAX, false);
            /* a fault of the body comes behind its head */
            const char *fault = strstr(got.p, "FAULT");
            if (fault == NULL || strcmp(fault, want) != 0 || strstr(got.p, "END") != NULL)
                fail_msg("%s, cut at %zu: %s", traps[i].name, cut, got.p);
            buf_free(&got);
        }
    }
}

/* Bytes made of a prefix, `n` times a filling and a suffix. */
static struct buf made(const char *prefix, const char *filling, size_t n, const char *suffix)
{
    struct buf b = {0};
    buf_z(&b, prefix);
    for (size_t i = 0; i < n; i++)
        buf_z(&b, filling);
    buf_z(&b, suffix);
    return b;
}

static int status_of(struct buf bytes, size_t cut)
{
    struct buf got = play(HTTP_SERVER, buf_view(&bytes), cut, false);
    const char *fault = strstr(got.p, "FAULT ");
    int status = fault != NULL ? atoi(fault + 6) : strstr(got.p, "END") != NULL ? 200 : 0;
    buf_free(&got);
    return status;
}

static void expect_status(struct buf bytes, int status)
{
    assert_int_equal(status_of(bytes, 0), status);
    assert_int_equal(status_of(bytes, SIZE_MAX), status);
    assert_int_equal(status_of(bytes, bytes.n / 2), status);
    buf_free(&bytes);
}

static void every_dimension_has_a_limit(void **state)
{
    (void)state;
    const struct http_limits small = {100, 400, 10, 50};
    limits = &small;
    /* "GET /" and " HTTP/1.1\r\n" are 16 bytes */
    expect_status(made("GET /", "x", 84, " HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    expect_status(made("GET /", "x", 85, " HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    expect_status(made("GET /", "x", 10000, ""), 414);
    /* request line 16, Host 9, "X: \r\n" 5, empty line 2: 32 */
    expect_status(made("GET / HTTP/1.1\r\nHost: a\r\nX: ", "x", 368, "\r\n\r\n"), 200);
    expect_status(made("GET / HTTP/1.1\r\nHost: a\r\nX: ", "x", 369, "\r\n\r\n"), 431);
    expect_status(made("GET / HTTP/1.1\r\nHost: a\r\nX: ", "x", 10000, ""), 431);
    expect_status(made("GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", 9, "\r\n"), 200);
    expect_status(made("GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", 10, "\r\n"), 431);
    expect_status(made("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n", "x", 50, ""), 200);
    expect_status(made("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 51\r\n\r\n", "x", 51, ""), 413);
    expect_status(made(CHUNKED, "1\r\na\r\n", 50, "0\r\n\r\n"), 200);
    expect_status(made(CHUNKED, "1\r\na\r\n", 51, "0\r\n\r\n"), 413);
    expect_status(made(CHUNKED, "1;" K100 "\r\na\r\n", 5, "0\r\n\r\n"), 400);
    expect_status(made(CHUNKED "0\r\n", "X: y\r\n", 60, "\r\n"), 200);
    expect_status(made(CHUNKED "0\r\n", "X: y\r\n", 70, "\r\n"), 431);
    expect_status(made("", "\r\n", 4, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    limits = &http_limits_default;
}

static void a_route_may_take_a_larger_body(void **state)
{
    (void)state;
    const struct http_limits small = {100, 400, 10, 5};
    struct http_parser p;
    http_parser_init(&p, HTTP_SERVER, &small);
    struct str in = S("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    p.body_max = 10;
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_BODY);
    assert_int_equal(http_feed(&p, &in), HTTP_END);
    http_next(&p);
    in = S("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    assert_int_equal(http_feed(&p, &in), HTTP_FAULT);
    assert_int_equal(p.status, 413);
    http_parser_fini(&p);
}

static void fields_are_found_whatever_their_case(void **state)
{
    (void)state;
    struct http_parser p;
    struct str name, value;
    struct str in = S("GET / HTTP/1.1\r\nHost: a\r\nIF-Match:  \"1\"\t\r\nAccept: x\r\nConnection: a , "
                      "UPGRADE\r\nConnection: b\r\n\r\n");
    http_parser_init(&p, HTTP_SERVER, limits);
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    assert_true(str_eqz(http_header(&p.head, S("if-match")), "\"1\""));
    assert_true(str_eqz(http_header(&p.head, S("accept")), "x"));
    assert_null(http_header(&p.head, S("accep")).p);
    assert_true(http_has_token(&p.head, S("connection"), S("Upgrade")));
    assert_true(http_has_token(&p.head, S("connection"), S("b")));
    assert_false(http_has_token(&p.head, S("connection"), S("up")));
    assert_true(http_field_at(&p.head, 1, &name, &value));
    assert_true(str_eqz(name, "if-match"));
    assert_false(http_field_at(&p.head, 5, &name, &value));
    http_parser_fini(&p);
}

static void a_fault_inside_the_head_leaves_no_head(void **state)
{
    (void)state;
    struct http_parser p;
    struct str in = S("HEAD /a HTTP/1.1\r\nHost: a\r\nX : b\r\n");
    http_parser_init(&p, HTTP_SERVER, limits);
    assert_int_equal(http_feed(&p, &in), HTTP_FAULT);
    assert_null(p.head.method.p);
    assert_null(p.head.target.p);
    assert_null(http_header(&p.head, S("host")).p);
    http_parser_fini(&p);
}

static void answers_are_parsed_for_a_client(void **state)
{
    (void)state;
    expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HEAD 200 OK 1.1 keep length=2\nBODY hi\nEND\n");
    expect_answer("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                  "HEAD 200  1.1 keep chunked\nBODY hi\nEND\n");
    expect_answer("HTTP/1.0 200 OK\r\n\r\nuntil the end", "HEAD 200 OK 1.0\nBODY until the end\nEND\n");
    expect_answer("HTTP/1.1 204 No Content\r\n\r\n", "HEAD 204 No Content 1.1 keep\nEND\n");
    expect_answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n",
                  "HEAD 100 Continue 1.1 keep\nEND\nHEAD 201 Made 1.1 keep length=0\nEND\n");
    expect_answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
                  "HEAD 101 Switching Protocols 1.1 keep upgrade\nEND\n");
    expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n1;a\r\nx\r\n",
                  "HEAD 200 OK 1.1 chunked\nFAULT 502\n");
    expect_answer("HTTP/2 200\r\n\r\n", "FAULT 502\n");
    expect_answer("HTTP/1.1 2000 OK\r\n\r\n", "FAULT 502\n");
    expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "FAULT 502\n");
    expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
                  "HEAD 200 OK 1.1 keep length=5\nBODY hi\nFAULT 502\n");
    expect_answer("", "");
}

static void an_answer_to_head_has_no_body(void **state)
{
    (void)state;
    struct http_parser p;
    http_parser_init(&p, HTTP_CLIENT, limits);
    p.no_body = true;
    struct str in = S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(http_feed(&p, &in), HTTP_GOT_HEAD);
    assert_int_equal(p.head.length, 5);
    assert_int_equal(http_feed(&p, &in), HTTP_END);
    http_parser_fini(&p);
}

static void heads_are_written(void **state)
{
    (void)state;
    struct buf b = {0};
    clock_fake(784111777000);
    http_write_status(&b, 422);
    http_write_field(&b, S("Content-Type"), S("text/plain"));
    http_write_number(&b, S("Content-Length"), 18446744073709551615u);
    http_write_end(&b);
    assert_true(str_eqz(buf_view(&b), "HTTP/1.1 422 Unprocessable Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                      "Content-Type: text/plain\r\nContent-Length: 18446744073709551615\r\n\r\n"));
    buf_clear(&b);
    http_write_status(&b, 299);
    clock_fake(-1);
    assert_true(str_starts(buf_view(&b), S("HTTP/1.1 299 Unknown\r\n")));
    buf_clear(&b);
    http_write_request(&b, S("GET"), S("/a?b"));
    assert_true(str_eqz(buf_view(&b), "GET /a?b HTTP/1.1\r\n"));
    buf_free(&b);
}

static void a_value_cannot_split_the_answer(void **state)
{
    (void)state;
    struct buf b = {0};
    http_write_field(&b, S("X"), S("a\r\nSet-Cookie: b"));
    assert_true(b.failed);
    buf_clear(&b);
    http_write_request(&b, S("GET"), S("/ HTTP/1.1\r\nX: y"));
    assert_true(b.failed);
    buf_free(&b);
}

static void a_date_is_made_once_a_second(void **state)
{
    (void)state;
    clock_fake(784111777000);
    assert_true(str_eqz(http_date(), "Sun, 06 Nov 1994 08:49:37 GMT"));
    clock_fake(784111777999);
    assert_true(str_eqz(http_date(), "Sun, 06 Nov 1994 08:49:37 GMT"));
    clock_fake(1709164800000);
    assert_true(str_eqz(http_date(), "Thu, 29 Feb 2024 00:00:00 GMT"));
    clock_fake(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_is_a_head_and_an_end),
        cmocka_unit_test(a_body_is_as_long_as_it_says),
        cmocka_unit_test(a_chunked_body_is_put_together),
        cmocka_unit_test(requests_that_follow_each_other_stay_apart),
        cmocka_unit_test(upgrades_and_expectations_are_told),
        cmocka_unit_test(malformed_and_smuggling_messages_are_refused),
        cmocka_unit_test(every_dimension_has_a_limit),
        cmocka_unit_test(a_route_may_take_a_larger_body),
        cmocka_unit_test(fields_are_found_whatever_their_case),
        cmocka_unit_test(a_fault_inside_the_head_leaves_no_head),
        cmocka_unit_test(answers_are_parsed_for_a_client),
        cmocka_unit_test(an_answer_to_head_has_no_body),
        cmocka_unit_test(heads_are_written),
        cmocka_unit_test(a_value_cannot_split_the_answer),
        cmocka_unit_test(a_date_is_made_once_a_second),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "proto/tls_private.h"
#include "test/unit/certificate.h"

/* One end, and what it has seen. */
struct end {
    struct tls *tls;
    struct buf out; /* on its way to the other end */
    struct buf got;
    bool opened, ended, failed;
};

static struct certificate localhost, other, by_address, expired;
static struct tls_seed seed;

static bool take(void *arg, struct str bytes)
{
    buf_str(&((struct end *)arg)->out, bytes);
    return true;
}

static void feed(struct end *e, struct str in)
{
    for (;;)
        switch (tls_feed(e->tls, &in)) {
        case TLS_MORE:
            assert_int_equal(in.n, 0);
            return;
        case TLS_OPENED:
            assert_false(e->opened);
            e->opened = true;
            break;
        case TLS_BYTES:
            buf_str(&e->got, tls_bytes(e->tls));
            break;
        case TLS_ENDED:
            e->ended = true;
            return;
        case TLS_FAULT:
            e->failed = true;
            assert_non_null(tls_why(e->tls));
            return;
        }
}

/* Hands over what `from` has said, `step` bytes at a time. */
static void carry(struct end *from, struct end *to, size_t step)
{
    struct buf said = from->out;
    from->out = (struct buf){0};
    for (size_t i = 0; i < said.n && !to->failed && !to->ended; i += step)
        feed(to, str_slice(buf_view(&said), i, i + step));
    buf_free(&said);
}

static void shake_hands(struct end *a, struct end *b, size_t step)
{
    feed(a, STR_NONE);
    while (a->out.n + b->out.n > 0 && !a->failed && !b->failed) {
        carry(a, b, step);
        carry(b, a, step);
    }
}

static struct tls_context *server_of(const struct certificate *c)
{
    char why[TLS_WHY];
    const struct tls_server s = {certificate_text(c), certificate_key(c), &seed};
    struct tls_context *made = tls_context_server(&s, why);
    assert_non_null(made);
    return made;
}

/* A client that trusts in `root` and wants `host`, and a server that shows `shown`. */
static void pair(struct end *client, struct end *server, const struct certificate *root, const char *host,
                 const struct certificate *shown)
{
    char why[TLS_WHY];
    struct tls_context *c = tls_context_client(certificate_text(root), why), *s = server_of(shown);
    *client = *server = (struct end){0};
    client->tls = tls_new(c, str_z(host), take, client);
    server->tls = tls_new(s, STR_NONE, take, server);
    assert_true(client->tls != NULL && server->tls != NULL);
    tls_context_drop(c); /* the connections keep them */
    tls_context_drop(s);
}

static void unpair(struct end *a, struct end *b)
{
    tls_free(a->tls);
    tls_free(b->tls);
    buf_free(&a->out);
    buf_free(&a->got);
    buf_free(&b->out);
    buf_free(&b->got);
}

static int make(void **state)
{
    static const unsigned char loopback[4] = {127, 0, 0, 1};
    (void)state;
    certificate_make(&localhost, "localhost", NULL, "20200101000000", "20991231235959");
    certificate_make(&other, "other", NULL, "20200101000000", "20991231235959");
    certificate_make(&by_address, "nobody", loopback, "20200101000000", "20991231235959");
    certificate_make(&expired, "localhost", NULL, "20200101000000", "20210101000000");
    random_bytes(seed.key, sizeof(seed.key));
    return crypto_init() ? 0 : -1;
}

/* --- a conversation --- */

static void converse(size_t step)
{
    struct end client, server;
    struct buf about = {0};
    pair(&client, &server, &localhost, "localhost", &localhost);
    shake_hands(&client, &server, step);
    assert_true(client.opened && server.opened);
    assert_true(tls_write(client.tls, S("GET / HTTP/1.1\r\n")));
    carry(&client, &server, step);
    assert_true(str_eqz(buf_view(&server.got), "GET / HTTP/1.1\r\n"));
    assert_true(tls_write(server.tls, S("HTTP/1.1 204\r\n")));
    tls_end(server.tls);
    carry(&server, &client, step);
    assert_true(str_eqz(buf_view(&client.got), "HTTP/1.1 204\r\n"));
    assert_true(client.ended && !client.failed);
    tls_describe(server.tls, &about);
    if (MBEDTLS_VERSION_MAJOR < 3)
        assert_true(str_eqz(buf_view(&about), "TLSv1.2 TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256 http/1.1"));
    buf_free(&about);
    unpair(&client, &server);
}

static void both_ends_shake_hands_talk_and_say_goodbye(void **state)
{
    (void)state;
    converse(SIZE_MAX / 2);
}

static void bytes_may_come_one_at_a_time(void **state)
{
    (void)state;
    converse(1);
}

static void much_is_cut_into_records_and_comes_whole(void **state)
{
    struct end client, server;
    struct buf much = {0};
    (void)state;
    pair(&client, &server, &localhost, "localhost", &localhost);
    shake_hands(&client, &server, SIZE_MAX / 2);
    for (int i = 0; i < 100000; i++)
        buf_char(&much, (char)(i * 7 + i / 256));
    assert_true(tls_write(server.tls, buf_view(&much)));
    assert_true(server.out.n < much.n + 7 * 40);
    carry(&server, &client, 1000);
    assert_true(str_eq(buf_view(&much), buf_view(&client.got)));
    buf_free(&much);
    unpair(&client, &server);
}

/* --- what is refused --- */

static void a_record_that_was_changed_is_a_fault_and_gives_nothing(void **state)
{
    struct end client, server;
    (void)state;
    pair(&client, &server, &localhost, "localhost", &localhost);
    shake_hands(&client, &server, SIZE_MAX / 2);
    tls_write(client.tls, S("pay 10"));
    client.out.p[client.out.n - 1] ^= 1;
    carry(&client, &server, SIZE_MAX / 2);
    assert_true(server.failed && server.got.n == 0);
    assert_string_equal(tls_why(server.tls), "a record was changed on its way");
    assert_true(server.out.n > 0); /* the alert */
    carry(&server, &client, SIZE_MAX / 2);
    assert_true(client.failed);
    unpair(&client, &server);
}

static void a_record_cannot_be_played_again(void **state)
{
    struct end client, server;
    struct buf again = {0};
    (void)state;
    pair(&client, &server, &localhost, "localhost", &localhost);
    shake_hands(&client, &server, SIZE_MAX / 2);
    tls_write(client.tls, S("pay 10"));
    buf_str(&again, buf_view(&client.out));
    carry(&client, &server, SIZE_MAX / 2);
    feed(&server, buf_view(&again));
    assert_true(server.failed && server.got.n == 6);
    buf_free(&again);
    unpair(&client, &server);
}

static void what_is_no_tls_is_a_fault_at_once(void **state)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
                                        "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct end client, server;
        pair(&client, &server, &localhost, "localhost", &localhost);
        feed(&server, (struct str){texts[i], 11});
        assert_true(server.failed);
        feed(&server, S("more"));
        unpair(&client, &server);
    }
}

/* Each of the first bytes of a handshake, spoilt: no crash, and no connection that both ends believe in. */
static void a_handshake_that_was_changed_never_opens_both_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < 250; i += 3) {
        struct end client, server;
        pair(&client, &server, &localhost, "localhost", &localhost);
        feed(&client, STR_NONE);
        if (i < client.out.n)
            client.out.p[i] ^= 0x41;
        bool changed = i < client.out.n;
        shake_hands(&client, &server, SIZE_MAX / 2);
        assert_true(!changed || !client.opened || !server.opened);
        unpair(&client, &server);
    }
}

static void a_client_trusts_only_what_names_the_host(void **state)
{
    static const struct {
        const struct certificate *root;
        const char *host;
        const struct certificate *shown;
        const char *why;
    } cases[] = {
        {&localhost, "localhost", &localhost, NULL},
        {&by_address, "127.0.0.1", &by_address, NULL},
        {&other, "localhost", &localhost, "the server's certificate is of nobody we trust"},
        {&localhost, "example.org", &localhost, "the server's certificate is for another name"},
        {&localhost, "127.0.0.1", &localhost, "the server's certificate is for another name"},
        {&by_address, "127.0.0.2", &by_address, "the server's certificate is for another name"},
        {&by_address, "::1", &by_address, "the server's certificate is for another name"},
        {&expired, "localhost", &expired, "the server's certificate has expired"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct end client, server;
        pair(&client, &server, cases[i].root, cases[i].host, cases[i].shown);
        shake_hands(&client, &server, SIZE_MAX / 2);
        assert_int_equal(client.failed, cases[i].why != NULL);
        assert_int_equal(client.opened, cases[i].why == NULL);
        if (cases[i].why != NULL)
            assert_string_equal(tls_why(client.tls), cases[i].why);
        assert_true(cases[i].why == NULL || !server.opened);
        unpair(&client, &server);
    }
}

static void contexts_say_what_is_wrong_with_their_files(void **state)
{
    char why[TLS_WHY] = "";
    const struct tls_server mixed = {certificate_text(&localhost), certificate_key(&other), &seed};
    const struct tls_server no_key = {certificate_text(&localhost), S("-----"), &seed};
    const struct tls_server no_text = {S("hello"), certificate_key(&other), &seed};
    (void)state;
    assert_null(tls_context_server(&mixed, why));
    assert_string_equal(why, "the key is not the certificate's");
    assert_null(tls_context_server(&no_key, why));
    assert_true(str_starts(str_z(why), S("the key cannot be read")));
    assert_null(tls_context_server(&no_text, why));
    assert_true(str_starts(str_z(why), S("the certificate cannot be read")));
    assert_null(tls_context_client(S("nobody"), why));
    assert_true(str_starts(str_z(why), S("no certificates to trust in")));
}

static void the_end_of_a_certificate_is_known(void **state)
{
    struct tls_context *c = server_of(&expired);
    (void)state;
    assert_int_equal(tls_expires_s(c), 1609459200); /* 2021-01-01T00:00:00Z */
    tls_context_drop(c);
}

/* --- tickets --- */

static int open_ticket(struct tls_context *c, const unsigned char *ticket, size_t n)
{
    unsigned char copy[512];
    mbedtls_ssl_session session;
    mbedtls_ssl_session_init(&session);
    memcpy(copy, ticket, n);
    int result = tls_ticket_parse(c, &session, copy, n);
    mbedtls_ssl_session_free(&session);
    return result;
}

static void tickets_open_for_two_periods_at_every_worker(void **state)
{
    enum { HOUR = 3600 * 1000 };
    const int64_t start = INT64_C(1700000000000) / (6 * HOUR) * (6 * HOUR);
    unsigned char ticket[512];
    mbedtls_ssl_session session;
    size_t n = 0;
    uint32_t lifetime_s = 0;
    (void)state;
    clock_fake(start);
    random_bytes(seed.key, sizeof(seed.key));
    struct tls_context *one = server_of(&localhost), *two = server_of(&localhost);
    random_bytes(seed.key, sizeof(seed.key));
    struct tls_context *stranger = server_of(&localhost);
    mbedtls_ssl_session_init(&session);
#if MBEDTLS_VERSION_MAJOR >= 3
    session.MBEDTLS_PRIVATE(tls_version) = MBEDTLS_SSL_VERSION_TLS1_2;
#endif
    clock_fake(start + 5 * HOUR);
    assert_int_equal(tls_ticket_write(one, &session, ticket, ticket + sizeof(ticket), &n, &lifetime_s), 0);
    assert_true(lifetime_s > 0 && lifetime_s <= 24 * 3600);
    assert_int_equal(open_ticket(two, ticket, n), 0);
    assert_int_equal(open_ticket(stranger, ticket, n), MBEDTLS_ERR_SSL_INVALID_MAC);
    clock_fake(start + 11 * HOUR);
    assert_int_equal(open_ticket(two, ticket, n), 0);
    clock_fake(start - HOUR); /* an instance whose clock is behind */
    assert_int_equal(open_ticket(two, ticket, n), 0);
    clock_fake(start - 7 * HOUR);
    assert_int_equal(open_ticket(two, ticket, n), MBEDTLS_ERR_SSL_INVALID_MAC);
    clock_fake(start + 12 * HOUR);
    assert_int_equal(open_ticket(two, ticket, n), MBEDTLS_ERR_SSL_INVALID_MAC);
    assert_int_equal(open_ticket(one, ticket, n), MBEDTLS_ERR_SSL_INVALID_MAC);
    for (size_t i = 0; i < n; i++) {
        ticket[i] ^= 1;
        assert_int_equal(open_ticket(stranger, ticket, i), MBEDTLS_ERR_SSL_INVALID_MAC);
        ticket[i] ^= 1;
    }
    clock_fake(-1);
    mbedtls_ssl_session_free(&session);
    tls_context_drop(one);
    tls_context_drop(two);
    tls_context_drop(stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_shake_hands_talk_and_say_goodbye),
        cmocka_unit_test(bytes_may_come_one_at_a_time),
        cmocka_unit_test(much_is_cut_into_records_and_comes_whole),
        cmocka_unit_test(a_record_that_was_changed_is_a_fault_and_gives_nothing),
        cmocka_unit_test(a_record_cannot_be_played_again),
        cmocka_unit_test(what_is_no_tls_is_a_fault_at_once),
        cmocka_unit_test(a_handshake_that_was_changed_never_opens_both_ends),
        cmocka_unit_test(a_client_trusts_only_what_names_the_host),
        cmocka_unit_test(contexts_say_what_is_wrong_with_their_files),
        cmocka_unit_test(the_end_of_a_certificate_is_known),
        cmocka_unit_test(tickets_open_for_two_periods_at_every_worker),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/acceptor.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "lib/signal.h"
#include "lib/stream.h"
#include "proto/tls.h"
#include "test/lib/fault.h"
#include "test/unit/certificate.h"

/* One end of a conversation, and what it has seen. */
struct end {
    struct stream stream;
    struct buf read;
    int opens, eofs, drains, closes, reads;
    enum stream_end why;
    char fault[TLS_WHY];
    bool echo, pause_on_read, finish_on_eof;
};

/* A listener, its door, and a client that trusts it. */
struct world {
    struct loop loop;
    struct acceptor acceptor;
    struct address at;
    struct tls_door door;
    struct tls_context *trust;
    struct end server, client; /* the first two */
    bool echo;
    int accepted, closed;
};

static struct certificate localhost;

static struct end *end_of(struct stream *s)
{
    return list_entry(s, struct end, stream);
}

static void on_open(struct stream *s)
{
    end_of(s)->opens++;
}

static void on_read(struct stream *s, struct str bytes)
{
    struct end *e = end_of(s);
    assert_int_equal(e->closes, 0);
    e->reads++;
    buf_str(&e->read, bytes);
    if (e->echo)
        assert_true(stream_write(s, bytes) == STREAM_OK || fault_fired());
    if (e->pause_on_read)
        stream_pause(s);
}

static void on_eof(struct stream *s)
{
    struct end *e = end_of(s);
    e->eofs++;
    if (e->finish_on_eof)
        stream_finish(s, 10000);
}

static void on_drain(struct stream *s)
{
    end_of(s)->drains++;
}

static void on_close(struct stream *s, enum stream_end why)
{
    struct end *e = end_of(s);
    const char *fault = tls_fault(s);
    e->closes++;
    e->why = why;
    snprintf(e->fault, sizeof(e->fault), "%s", fault == NULL ? "" : fault);
}

static const struct stream_events events = {on_open, on_read, on_eof, on_drain, on_close};
static const struct stream_limits limits = {.queue = 8 << 20};

static void on_accept(void *arg, int fd)
{
    struct world *w = arg;
    int small = 4096;
    assert_int_equal(w->accepted++, 0);
    w->server = (struct end){.echo = w->echo, .finish_on_eof = true};
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    if (stream_open_fd(&w->server.stream, &w->loop, fd, &events, &limits) != 0)
        w->server.closes = 1;
    else if (!tls_accept(&w->server.stream, &w->door))
        stream_close(&w->server.stream);
}

static void on_acceptor_closed(void *arg)
{
    ((struct world *)arg)->closed++;
}

static void begin(struct world *w, const struct certificate *shown)
{
    char why[TLS_WHY];
    struct tls_seed seed;
    random_bytes(seed.key, sizeof(seed.key));
    const struct tls_server settings = {certificate_text(shown), certificate_key(shown), &seed};
    *w = (struct world){.door = {.handshake_ms = 20000, .handshakes_max = 2}};
    tls_door_init(&w->door);
    w->door.context = tls_context_server(&settings, why);
    w->trust = tls_context_client(certificate_text(&localhost), why);
    assert_true(w->door.context != NULL && w->trust != NULL);
    assert_int_equal(loop_init(&w->loop), 0);
    assert_true(address_parse(S("127.0.0.1:0"), -1, &w->at));
    int fd = acceptor_socket(&w->at, 16, false);
    w->at.port = acceptor_port(fd);
    assert_int_equal(acceptor_open(&w->acceptor, &w->loop, fd, on_accept, w), 0);
}

static void end(struct world *w)
{
    acceptor_close(&w->acceptor, on_acceptor_closed, w);
    if (w->accepted > 0 && w->server.closes == 0)
        stream_close(&w->server.stream);
    if (w->client.stream.loop != NULL && w->client.closes == 0)
        stream_close(&w->client.stream);
    loop_run(&w->loop);
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->door.under_way, 0);
    loop_fini(&w->loop);
    tls_context_drop(w->door.context);
    tls_context_drop(w->trust);
    buf_free(&w->server.read);
    buf_free(&w->client.read);
}

static void connect_client(struct world *w)
{
    assert_int_equal(stream_connect(&w->client.stream, &w->loop, &w->at, 20000, &events, &limits), 0);
    assert_true(tls_connect(&w->client.stream, w->trust, S("localhost"), 20000));
}

static void turn_until(struct world *w, const int *what, int at_least)
{
    while (*what < at_least)
        loop_turn(&w->loop, true);
}

static void turn_until_read(struct world *w, const struct end *e, size_t n)
{
    while (e->read.n < n && e->closes == 0)
        loop_turn(&w->loop, true);
}

static void pattern(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_char(out, (char)('a' + i * 7 % 23 + i / 1000 % 3));
}

static void what_was_written_before_the_handshake_arrives_and_comes_back(void **state)
{
    struct world w;
    (void)state;
    begin(&w, &localhost);
    w.echo = true;
    connect_client(&w);
    assert_int_equal(stream_write(&w.client.stream, S("early")), STREAM_OK);
    assert_int_equal(stream_queued(&w.client.stream), 5);
    turn_until_read(&w, &w.client, 5);
    assert_true(str_eqz(buf_view(&w.client.read), "early"));
    assert_int_equal(w.client.opens, 1);
    assert_int_equal(w.door.done, 1);
    assert_int_equal(stream_queued(&w.client.stream), 0);
    end(&w);
}

/* More than the kernel takes, in pieces of all kinds, both ways at once. */
static void much_goes_both_ways_in_order_and_is_told_when_it_is_gone(void **state)
{
    enum { MUCH = 1 << 20 };
    struct world w;
    struct buf much = {0};
    (void)state;
    begin(&w, &localhost);
    w.echo = true;
    pattern(&much, MUCH);
    struct shared *shared = shared_copy(str_slice(buf_view(&much), 1000, MUCH));
    connect_client(&w);
    for (size_t i = 0; i < 1000; i += 100)
        assert_int_equal(stream_write(&w.client.stream, str_slice(buf_view(&much), i, i + 100)), STREAM_OK);
    assert_int_equal(stream_write_shared(&w.client.stream, shared), STREAM_OK);
    assert_int_equal(shared->refs, 2); /* queued as it is, not sealed ahead */
    assert_int_equal(stream_queued(&w.client.stream), MUCH);
    turn_until_read(&w, &w.client, MUCH);
    assert_true(str_eq(buf_view(&much), buf_view(&w.client.read)));
    assert_int_equal(shared->refs, 1);
    assert_true(w.client.drains > 0 || w.server.drains > 0);
    assert_int_equal(stream_queued(&w.client.stream), 0);
    shared_drop(shared);
    buf_free(&much);
    end(&w);
}

static void a_reader_that_stalls_is_cut_and_what_waits_for_it_is_told(void **state)
{
    enum { MUCH = 5 << 20 };
    struct world w;
    struct buf much = {0};
    (void)state;
    begin(&w, &localhost);
    pattern(&much, MUCH);
    connect_client(&w);
    turn_until(&w, &w.client.opens, 1);
    while (!w.server.stream.filter->ready)
        loop_turn(&w.loop, true);
    stream_pause(&w.client.stream);
    w.server.stream.send_ms = 50;
    assert_int_equal(stream_write(&w.server.stream, buf_view(&much)), STREAM_OK);
    stream_flush(&w.server.stream);
    size_t queued = stream_queued(&w.server.stream);
    assert_true(queued > 0 && queued <= MUCH + 100);
    assert_true(w.server.stream.queue.n <= 6 * STREAM_RECORD); /* sealed ahead: little */
    assert_int_equal(stream_write(&w.server.stream, buf_view(&much)), STREAM_FULL);
    turn_until(&w, &w.server.closes, 1);
    assert_int_equal(w.server.why, STREAM_STALLED);
    buf_free(&much);
    end(&w);
}

static void a_paused_owner_is_given_nothing_until_it_resumes(void **state)
{
    struct world w;
    (void)state;
    begin(&w, &localhost);
    connect_client(&w);
    turn_until(&w, &w.client.opens, 1);
    w.server.pause_on_read = true;
    for (int i = 1; i <= 3; i++) { /* three records, which come in one read */
        stream_write(&w.client.stream, S("record"));
        stream_flush(&w.client.stream);
    }
    for (int i = 1; i <= 3; i++) {
        turn_until(&w, &w.server.reads, i);
        for (int k = 0; k < 5; k++)
            loop_turn(&w.loop, false);
        assert_int_equal(w.server.reads, i);
        if (i == 3)
            stream_finish(&w.client.stream, 20000);
        stream_resume(&w.server.stream);
    }
    turn_until(&w, &w.server.eofs, 1);
    assert_int_equal(w.server.read.n, 18);
    turn_until(&w, &w.client.closes, 1);
    assert_int_equal(w.client.why, STREAM_DONE);
    end(&w);
}

static void a_goodbye_ends_both_sides_in_order(void **state)
{
    struct world w;
    (void)state;
    begin(&w, &localhost);
    connect_client(&w);
    stream_write(&w.client.stream, S("last words"));
    stream_shutdown(&w.client.stream);
    turn_until(&w, &w.server.eofs, 1);
    assert_true(str_eqz(buf_view(&w.server.read), "last words"));
    turn_until(&w, &w.client.eofs, 1);
    stream_close(&w.client.stream);
    turn_until(&w, &w.server.closes, 1);
    assert_int_equal(w.server.why, STREAM_DONE);
    end(&w);
}

static void a_client_is_told_of_a_truncation(void **state)
{
    struct world w;
    (void)state;
    begin(&w, &localhost);
    connect_client(&w);
    turn_until(&w, &w.client.opens, 1);
    shutdown(stream_fd(&w.server.stream), SHUT_WR); /* as somebody between the two may do */
    turn_until(&w, &w.client.closes, 1);
    assert_int_equal(w.client.why, STREAM_LOST);
    assert_string_equal(w.client.fault, "the connection was cut");
    assert_int_equal(w.client.eofs, 0);
    end(&w);
}

static void a_client_does_not_talk_to_one_it_does_not_trust(void **state)
{
    struct world w;
    struct certificate stranger;
    (void)state;
    certificate_make(&stranger, "localhost", NULL, "20200101000000", "20991231235959");
    begin(&w, &stranger);
    connect_client(&w);
    stream_write(&w.client.stream, S("a secret"));
    turn_until(&w, &w.client.closes, 1);
    assert_int_equal(w.client.why, STREAM_LOST);
    assert_string_equal(w.client.fault, "the server's certificate is of nobody we trust");
    turn_until(&w, &w.server.closes, 1);
    assert_int_equal(w.server.read.n, 0);
    assert_int_equal(w.door.failed, 1);
    end(&w);
}

static void a_server_that_does_not_shake_hands_is_left(void **state)
{
    struct world w;
    char why[TLS_WHY];
    (void)state;
    begin(&w, &localhost);
    acceptor_pause(&w.acceptor); /* the kernel connects, nobody answers */
    assert_int_equal(stream_connect(&w.client.stream, &w.loop, &w.at, 20000, &events, &limits), 0);
    assert_true(tls_connect(&w.client.stream, w.trust, S("localhost"), 20));
    turn_until(&w, &w.client.closes, 1);
    assert_int_equal(w.client.why, STREAM_TIMEOUT);
    assert_null(tls_trust("/dev/null", why));
    assert_true(str_starts(str_z(why), S("/dev/null: no certificates to trust in")));
    end(&w);
}

/* --- the door --- */

/* A plain connection to the door, whose other side is *fd. */
static void knock(struct world *w, struct end *e, int *fd)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *e = (struct end){0};
    *fd = fds[1];
    assert_int_equal(stream_open_fd(&e->stream, &w->loop, fds[0], &events, &limits), 0);
    assert_true(tls_accept(&e->stream, &w->door));
}

static void a_handshake_that_takes_too_long_is_cut(void **state)
{
    struct world w;
    struct end mute;
    int fd;
    (void)state;
    begin(&w, &localhost);
    w.door.handshake_ms = 20;
    knock(&w, &mute, &fd);
    assert_int_equal(write(fd, "\x16\x03\x01", 3), 3);
    turn_until(&w, &mute.closes, 1);
    assert_int_equal(mute.why, STREAM_TIMEOUT);
    assert_int_equal(w.door.late, 1);
    close(fd);
    end(&w);
}

static void with_too_many_handshakes_the_most_silent_makes_room(void **state)
{
    struct world w;
    struct end mute[3];
    int fds[3];
    (void)state;
    begin(&w, &localhost);
    for (int i = 0; i < 3; i++)
        knock(&w, &mute[i], &fds[i]);
    assert_int_equal(w.door.under_way, 2);
    turn_until(&w, &mute[0].closes, 1);
    assert_int_equal(w.door.displaced, 1);
    assert_int_equal(mute[1].closes + mute[2].closes, 0);
    for (int i = 1; i < 3; i++) {
        close(fds[i]);
        turn_until(&w, &mute[i].closes, 1);
    }
    assert_int_equal(w.door.failed, 2);
    close(fds[0]);
    end(&w);
}

static bool keep(void *arg, struct str bytes)
{
    buf_str(arg, bytes);
    return true;
}

/* A crowd of handshakes leaves each turn of the loop to others, and nobody overtakes. */
static void handshakes_are_made_one_after_the_other(void **state)
{
    enum { CROWD = 4 };
    struct world w;
    struct end ends[CROWD];
    struct buf hello = {0};
    int fds[CROWD], answered = 0;
    (void)state;
    begin(&w, &localhost);
    w.door.handshakes_max = CROWD;
    w.door.turn_ns = 1;
    struct tls *client = tls_new(w.trust, S("localhost"), keep, &hello);
    assert_int_equal(tls_feed(client, &(struct str){NULL, 0}), TLS_MORE);
    for (int i = 0; i < CROWD; i++) {
        knock(&w, &ends[i], &fds[i]);
        assert_int_equal(write(fds[i], hello.p, hello.n), (ssize_t)hello.n);
    }
    while (answered < CROWD) {
        loop_turn(&w.loop, true);
        int now = 0;
        for (int i = 0; i < CROWD; i++)
            now += ends[i].stream.sent > 0;
        assert_true(now <= answered + 2); /* what a turn reads, and what it had put off */
        for (int i = 1; i < CROWD; i++)
            assert_true(ends[i].stream.sent == 0 || ends[i - 1].stream.sent > 0);
        answered = now;
    }
    for (int i = 0; i < CROWD; i++) {
        close(fds[i]);
        turn_until(&w, &ends[i].closes, 1);
    }
    assert_int_equal(w.door.lined, 0);
    tls_free(client);
    buf_free(&hello);
    end(&w);
}

static void plain_text_ends_at_once(void **state)
{
    struct world w;
    struct end plain;
    char answer[64];
    int fd;
    (void)state;
    begin(&w, &localhost);
    knock(&w, &plain, &fd);
    assert_true(write(fd, "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    turn_until(&w, &plain.closes, 1);
    assert_int_equal(plain.why, STREAM_LOST);
    assert_string_equal(plain.fault, "what came is no TLS");
    assert_int_equal(read(fd, answer, sizeof(answer)), 0);
    assert_int_equal(w.door.failed, 1);
    close(fd);
    end(&w);
}

/* --- memory --- */

static void talk(void *arg)
{
    struct world w;
    (void)arg;
    fault_arm(0, false);
    begin(&w, &localhost);
    w.echo = true;
    fault_arm(*(unsigned *)arg, false);
    if (stream_connect(&w.client.stream, &w.loop, &w.at, 20000, &events, &limits) != 0)
        w.client.closes = 1;
    else if (!tls_connect(&w.client.stream, w.trust, S("localhost"), 20000))
        stream_close(&w.client.stream);
    else
        stream_write(&w.client.stream, S("hello"));
    while (w.client.closes == 0 && w.client.read.n < 5 && !w.client.read.failed && !w.server.read.failed)
        loop_turn(&w.loop, true);
    bool fired = fault_fired();
    fault_arm(0, false);
    assert_true(fired || w.client.read.n == 5);
    end(&w);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 12; n++)
        talk(&n);
}

static int make(void **state)
{
    (void)state;
    signal_ignore_pipe();
    certificate_make(&localhost, "localhost", NULL, "20200101000000", "20991231235959");
    return crypto_init() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_before_the_handshake_arrives_and_comes_back),
        cmocka_unit_test(much_goes_both_ways_in_order_and_is_told_when_it_is_gone),
        cmocka_unit_test(a_reader_that_stalls_is_cut_and_what_waits_for_it_is_told),
        cmocka_unit_test(a_paused_owner_is_given_nothing_until_it_resumes),
        cmocka_unit_test(a_goodbye_ends_both_sides_in_order),
        cmocka_unit_test(a_client_is_told_of_a_truncation),
        cmocka_unit_test(a_client_does_not_talk_to_one_it_does_not_trust),
        cmocka_unit_test(a_server_that_does_not_shake_hands_is_left),
        cmocka_unit_test(a_handshake_that_takes_too_long_is_cut),
        cmocka_unit_test(with_too_many_handshakes_the_most_silent_makes_room),
        cmocka_unit_test(handshakes_are_made_one_after_the_other),
        cmocka_unit_test(plain_text_ends_at_once),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}

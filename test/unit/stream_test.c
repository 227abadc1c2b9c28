#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/acceptor.h"
#include "lib/signal.h"
#include "lib/stream.h"
#include "test/lib/fault.h"

/* One end of a conversation, and what it has seen. */
struct end {
    struct stream stream;
    struct buf read;
    size_t received;
    int opens, eofs, drains, closes, reads;
    enum stream_end why;
    bool echo, finish_on_read, close_on_read;
};

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
    e->received += bytes.n;
    buf_str(&e->read, bytes);
    if (e->echo)
        assert_true(stream_write(s, bytes) == STREAM_OK || fault_fired());
    if (e->finish_on_read)
        stream_finish(s, 1000);
    if (e->close_on_read)
        stream_close(s);
}

static void on_eof(struct stream *s)
{
    end_of(s)->eofs++;
}
static void on_drain(struct stream *s)
{
    end_of(s)->drains++;
}

static void on_close(struct stream *s, enum stream_end why)
{
    end_of(s)->closes++;
    end_of(s)->why = why;
}

static const struct stream_events simple = {.on_open = on_open, .on_read = on_read, .on_close = on_close};
static const struct stream_events all = {on_open, on_read, on_eof, on_drain, on_close};

static int make_loop(void **state)
{
    static struct loop loop;

    *state = &loop;
    return loop_init(&loop);
}

static int end_loop(void **state)
{
    loop_fini(*state);
    return 0;
}

/* Two connected streams; small kernel buffers, so that writes soon have to wait. */
static void pair(struct loop *loop, struct end *a, struct end *b, const struct stream_limits *limits)
{
    int fds[2], small = 4096;

    *a = *b = (struct end){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    assert_int_equal(stream_open_fd(&a->stream, loop, fds[0], &all, limits), 0);
    assert_int_equal(stream_open_fd(&b->stream, loop, fds[1], &all, limits), 0);
}

static void unpair(struct loop *loop, struct end *a, struct end *b)
{
    stream_close(&a->stream);
    stream_close(&b->stream);
    loop_run(loop);
    assert_int_equal(a->closes, 1);
    assert_int_equal(b->closes, 1);
    buf_free(&a->read);
    buf_free(&b->read);
}

static void turn_until(struct loop *loop, const int *what, int at_least)
{
    while (*what < at_least)
        loop_turn(loop, true);
}

static void pattern(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_char(out, (char)('a' + i * 7 % 23 + i / 1000 % 3));
}

static void what_is_written_in_a_turn_leaves_in_one_piece(void **state)
{
    struct end a, b;

    pair(*state, &a, &b, NULL);
    for (int i = 0; i < 10; i++)
        assert_int_equal(stream_write(&a.stream, S("word ")), STREAM_OK);
    assert_int_equal(stream_queued(&a.stream), 50);
    turn_until(*state, &b.reads, 1);
    assert_int_equal(b.reads, 1);
    assert_int_equal(b.read.n, 50);
    assert_int_equal(stream_queued(&a.stream), 0);
    assert_int_equal(a.stream.sent, 50);
    unpair(*state, &a, &b);
}

static void short_writes_lose_and_double_nothing(void **state)
{
    struct end a, b;
    struct buf want = {0};
    struct shared *shared;

    pair(*state, &a, &b, NULL);
    pattern(&want, 300000);
    shared = shared_copy(buf_view(&want));
    /* Copied, reserved and shared pieces of many sizes, mixed. */
    for (size_t at = 0, n = 1; at < want.n; at += n, n = n * 3 % 20011 + 1) {
        struct str part = str_slice(buf_view(&want), at, at + n);
        char *room;

        if (n % 3 == 0 && (room = stream_reserve(&a.stream, part.n)))
            memcpy(room, part.p, part.n);
        else
            assert_int_equal(stream_write(&a.stream, part), STREAM_OK);
    }
    assert_int_equal(stream_write_shared(&a.stream, shared), STREAM_OK);
    assert_int_equal(stream_write_shared(&a.stream, shared), STREAM_OK);
    assert_true(shared->refs > 1);
    while (b.read.n < 3 * want.n)
        loop_turn(*state, true);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(b.read.p + (size_t)i * want.n, want.p, want.n);
    assert_int_equal(b.read.n, 3 * want.n);
    turn_until(*state, &a.drains, 1);
    assert_int_equal(shared->refs, 1);
    assert_int_equal(stream_queued(&a.stream), 0);
    shared_drop(shared);
    buf_free(&want);
    unpair(*state, &a, &b);
}

static void a_reader_that_never_reads_costs_a_bounded_queue(void **state)
{
    struct stream_limits limits = {.queue = 100000};
    struct end a, b;
    char word[1000] = {0};
    size_t taken = 0;

    pair(*state, &a, &b, &limits);
    stream_pause(&b.stream);
    for (int i = 0; i < 2000; i++) {
        if (stream_write(&a.stream, (struct str){word, sizeof word}) == STREAM_OK)
            taken += sizeof word;
        assert_true(stream_queued(&a.stream) <= limits.queue);
        if (i % 50 == 0)
            loop_turn(*state, false);
    }
    assert_int_equal(stream_write(&a.stream, (struct str){word, sizeof word}), STREAM_FULL);
    assert_true(taken < limits.queue + 100000);
    stream_resume(&b.stream);
    turn_until(*state, &a.drains, 1);
    while (b.read.n < taken)
        loop_turn(*state, true);
    assert_int_equal(b.read.n, taken);
    unpair(*state, &a, &b);
}

static void one_write_larger_than_the_queue_fits_an_empty_one(void **state)
{
    struct stream_limits limits = {.queue = 1000};
    struct end a, b;
    struct buf big = {0};

    pair(*state, &a, &b, &limits);
    pattern(&big, 50000);
    assert_int_equal(stream_write(&a.stream, buf_view(&big)), STREAM_OK);
    assert_int_equal(stream_write(&a.stream, S("more")), STREAM_FULL);
    assert_null(stream_reserve(&a.stream, 4));
    while (b.read.n < big.n)
        loop_turn(*state, true);
    assert_memory_equal(b.read.p, big.p, big.n);
    buf_free(&big);
    unpair(*state, &a, &b);
}

static void a_stalled_reader_is_cut(void **state)
{
    struct stream_limits limits = {.queue = 1000000, .send_ms = 20};
    struct end a, b;
    struct buf big = {0};

    pair(*state, &a, &b, &limits);
    stream_pause(&b.stream);
    pattern(&big, 500000);
    assert_int_equal(stream_write(&a.stream, buf_view(&big)), STREAM_OK);
    turn_until(*state, &a.closes, 1);
    assert_int_equal(a.why, STREAM_STALLED);
    buf_free(&big);
    unpair(*state, &a, &b);
}

static void closing_while_bytes_wait_gives_them_back(void **state)
{
    struct end a, b;
    struct shared *shared = shared_new(200000);

    memset(shared->bytes, 'x', shared->n);
    pair(*state, &a, &b, NULL);
    stream_pause(&b.stream);
    assert_int_equal(stream_write_shared(&a.stream, shared), STREAM_OK);
    loop_turn(*state, false);
    assert_int_equal(shared->refs, 2);
    stream_close(&a.stream);
    stream_close(&a.stream);
    assert_int_equal(a.closes, 0);
    assert_int_equal(stream_write(&a.stream, S("late")), STREAM_CLOSED);
    turn_until(*state, &a.closes, 1);
    assert_int_equal(a.why, STREAM_DONE);
    assert_int_equal(shared->refs, 1);
    shared_drop(shared);
    unpair(*state, &a, &b);
}

static void closing_inside_a_read_ends_the_callbacks(void **state)
{
    struct end a, b;

    pair(*state, &a, &b, NULL);
    b.close_on_read = true;
    stream_write(&a.stream, S("one"));
    stream_flush(&a.stream);
    stream_write(&a.stream, S("two"));
    turn_until(*state, &b.closes, 1);
    assert_int_equal(b.reads, 1);
    turn_until(*state, &a.eofs, 0);
    unpair(*state, &a, &b);
    assert_int_equal(b.eofs, 0);
}

static void a_half_closed_stream_still_gets_its_answer(void **state)
{
    struct end a, b;

    pair(*state, &a, &b, NULL);
    stream_write(&a.stream, S("question"));
    stream_shutdown(&a.stream);
    assert_int_equal(stream_write(&a.stream, S("x")), STREAM_CLOSED);
    turn_until(*state, &b.eofs, 1);
    assert_int_equal(b.read.n, 8);
    stream_write(&b.stream, S("answer"));
    turn_until(*state, &a.reads, 1);
    assert_int_equal(a.read.n, 6);
    unpair(*state, &a, &b);
}

/* The answer arrives whole although the other side goes on sending what nobody reads. */
static void a_polite_end_delivers_the_last_answer(void **state)
{
    struct stream_limits limits = {.queue = 4000000};
    struct end a, b;
    struct buf body = {0}, answer = {0};

    pair(*state, &a, &b, &limits);
    b.finish_on_read = true;
    pattern(&body, 1000000);
    pattern(&answer, 200000);
    stream_write(&b.stream, buf_view(&answer));
    stream_write(&a.stream, buf_view(&body));
    turn_until(*state, &a.eofs, 1);
    assert_int_equal(a.read.n, answer.n);
    stream_close(&a.stream);
    turn_until(*state, &b.closes, 1);
    assert_int_equal(b.reads, 1);
    buf_free(&body);
    buf_free(&answer);
    unpair(*state, &a, &b);
}

static void a_polite_end_does_not_wait_for_ever(void **state)
{
    struct end a, b;

    pair(*state, &a, &b, NULL);
    stream_write(&b.stream, S("bye"));
    stream_finish(&b.stream, 10);
    turn_until(*state, &b.closes, 1);
    assert_int_equal(b.why, STREAM_DONE);
    assert_int_equal(a.read.n, 3);
    unpair(*state, &a, &b);
}

static void without_on_eof_the_other_sides_end_is_ours(void **state)
{
    struct end a, b;

    pair(*state, &a, &b, NULL);
    b.stream.events = &simple;
    stream_shutdown(&a.stream);
    turn_until(*state, &b.closes, 1);
    assert_int_equal(b.why, STREAM_EOF);
    unpair(*state, &a, &b);
}

static void a_paused_stream_reads_nothing(void **state)
{
    struct end a, b;

    pair(*state, &a, &b, NULL);
    stream_pause(&b.stream);
    stream_write(&a.stream, S("wait"));
    for (int i = 0; i < 5; i++)
        loop_turn(*state, false);
    assert_int_equal(b.reads, 0);
    stream_resume(&b.stream);
    turn_until(*state, &b.reads, 1);
    unpair(*state, &a, &b);
}

/* --- connecting --- */

struct server {
    struct acceptor acceptor;
    struct loop *loop;
    struct end ends[8];
    int count, closed;
};

static void on_accept(void *arg, int fd)
{
    struct server *s = arg;
    struct end *e = &s->ends[s->count++];

    *e = (struct end){.echo = true};
    if (stream_open_fd(&e->stream, s->loop, fd, &simple, NULL)) {
        assert_true(fault_fired());
        e->closes = 1;
    }
}

static void on_acceptor_closed(void *arg)
{
    ((struct server *)arg)->closed++;
}

static uint16_t serve(struct server *s, struct loop *loop, const char *at)
{
    struct address address;
    uint16_t port;
    int fd;

    *s = (struct server){.loop = loop};
    assert_true(address_parse(str_z(at), -1, &address));
    fd = acceptor_socket(&address, 16, true);
    assert_true(fd >= 0);
    port = acceptor_port(fd);
    assert_int_equal(acceptor_open(&s->acceptor, loop, fd, on_accept, s), 0);
    return port;
}

static void unserve(struct server *s)
{
    acceptor_close(&s->acceptor, on_acceptor_closed, s);
    for (int i = 0; i < s->count; i++)
        if (!s->ends[i].closes)
            stream_close(&s->ends[i].stream);
    loop_run(s->loop);
    assert_int_equal(s->closed, 1);
    for (int i = 0; i < s->count; i++) {
        assert_int_equal(s->ends[i].closes, 1);
        buf_free(&s->ends[i].read);
    }
}

static void speak(struct loop *loop, const struct address *to)
{
    struct end e = {0};
    struct buf peer = {0};

    assert_int_equal(stream_connect(&e.stream, loop, to, 20000, &simple, NULL), 0);
    assert_int_equal(stream_write(&e.stream, S("before it is open")), STREAM_OK);
    assert_int_equal(e.opens, 0);
    turn_until(loop, &e.reads, 1);
    assert_int_equal(e.opens, 1);
    assert_int_equal(e.read.n, 17);
    stream_peer(&e.stream, &peer);
    assert_true(str_eq(buf_view(&peer), to->path[0] ? S("unix") : S("127.0.0.1")));
    stream_finish(&e.stream, 20000);
    turn_until(loop, &e.closes, 1);
    assert_int_equal(e.why, STREAM_DONE);
    buf_free(&e.read);
    buf_free(&peer);
}

static void tcp_by_number_and_by_name(void **state)
{
    struct server server;
    struct address to = {.host = "127.0.0.1", .port = serve(&server, *state, "127.0.0.1:0")};

    speak(*state, &to);
    strcpy(to.host, "localhost"); /* may be ::1 first, where nobody listens */
    speak(*state, &to);
    assert_int_equal(server.count, 2);
    unserve(&server);
}

static int dial(const struct address *to)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(to->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), -1);
    assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static unsigned tcp_state(int fd)
{
    struct tcp_info info;
    socklen_t n = sizeof info;

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n), 0);
    return info.tcpi_state;
}

static void a_shut_listener_takes_who_came_before_and_resets_nobody(void **state)
{
    struct server server;
    struct address to = {.host = "127.0.0.1", .port = serve(&server, *state, "127.0.0.1:0")};
    int before = dial(&to), after;

    assert_int_equal(tcp_state(before), TCP_ESTABLISHED);
    acceptor_shut(&server.acceptor);
    after = dial(&to);
    acceptor_accept(&server.acceptor);
    assert_int_equal(server.count, 1);
    acceptor_close(&server.acceptor, on_acceptor_closed, &server);
    assert_int_equal(tcp_state(before), TCP_ESTABLISHED);
    assert_int_equal(tcp_state(after), TCP_SYN_SENT); /* it will ask again: whoever listens then answers */
    close(before);
    close(after);
    turn_until(*state, &server.ends[0].closes, 1);
    unserve(&server);
}

static void unix_sockets_and_stale_ones(void **state)
{
    char folder[] = "/tmp/stream-test-XXXXXX", path[64];
    struct server server;
    struct address to;
    int again;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    assert_true(address_parse(str_z(path), -1, &to));
    serve(&server, *state, path);
    speak(*state, &to);
    assert_int_equal(acceptor_socket(&to, 16, false), -EADDRINUSE);
    unserve(&server);
    again = acceptor_socket(&to, 16, false); /* the file is still there, its server is not */
    assert_true(again >= 0);
    close(again);
    unlink(path);
    rmdir(folder);
}

static void a_refused_connection_says_why(void **state)
{
    struct server server;
    struct address to = {.host = "127.0.0.1", .port = serve(&server, *state, "127.0.0.1:0")};
    struct address nowhere = {.path = "/nonexistent/socket"};
    struct end e = {0}, f = {0};

    unserve(&server);
    assert_int_equal(stream_connect(&e.stream, *state, &to, 20000, &simple, NULL), 0);
    assert_int_equal(stream_connect(&f.stream, *state, &nowhere, 20000, &simple, NULL), 0);
    assert_int_equal(e.closes + f.closes, 0);
    loop_run(*state);
    assert_int_equal(e.closes, 1);
    assert_int_equal(e.why, STREAM_LOST);
    assert_int_equal(e.stream.error, -ECONNREFUSED);
    assert_int_equal(f.why, STREAM_LOST);
    assert_int_equal(f.stream.error, -ENOENT);
    assert_int_equal(e.opens + f.opens, 0);
}

/* A listener whose queue is full lets further connections wait: Linux drops their SYN. */
static void a_connection_that_does_not_come_times_out(void **state)
{
    struct address at = {.host = "127.0.0.1"}, to = at;
    int fd = acceptor_socket(&at, 0, false);
    struct end ends[4] = {0};
    int opens = 0, timeouts = 0; /* how many of them depends on the kernel */

    to.port = acceptor_port(fd);
    for (int i = 0; i < 4; i++)
        assert_int_equal(stream_connect(&ends[i].stream, *state, &to, 100, &simple, NULL), 0);
    for (int i = 0; i < 4; i++)
        while (!ends[i].closes && !ends[i].opens)
            loop_turn(*state, true);
    for (int i = 0; i < 4; i++) {
        opens += ends[i].opens;
        timeouts += ends[i].closes && ends[i].why == STREAM_TIMEOUT;
        stream_close(&ends[i].stream);
    }
    loop_run(*state);
    assert_int_equal(opens + timeouts, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ends[i].closes, 1);
    close(fd);
}

static void closing_while_connecting_calls_on_close_once(void **state)
{
    struct address numeric = {.host = "127.0.0.1", .port = 1}, name = {.host = "localhost", .port = 1};
    struct end ends[3] = {0};

    assert_int_equal(stream_connect(&ends[0].stream, *state, &numeric, 20000, &simple, NULL), 0);
    assert_int_equal(stream_connect(&ends[1].stream, *state, &name, 20000, &simple, NULL), 0);
    assert_int_equal(stream_connect(&ends[2].stream, *state, &name, 0, &simple, NULL), 0);
    stream_finish(&ends[0].stream, 100);
    stream_close(&ends[1].stream);
    loop_run(*state);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ends[i].closes, 1);
    assert_int_equal(ends[0].why, STREAM_DONE);
    assert_int_equal(ends[1].why, STREAM_DONE);
    assert_int_not_equal(ends[2].why, STREAM_DONE);
}

/* A conversation in which one allocation fails: somebody may be cut off, but everybody is told once and all is given
 * back. */
static void each_allocation_may_fail(void **state)
{
    bool fired = true;

    for (unsigned n = 1; fired; n++) {
        struct loop loop; /* with an empty pool */
        struct server server;
        struct address to = {.host = "localhost"};
        struct end e = {0};
        struct buf big = {0};
        struct shared *shared;
        int rc;

        (void)state;
        pattern(&big, 200000);
        shared = shared_copy(buf_view(&big));
        assert_int_equal(loop_init(&loop), 0);
        to.port = serve(&server, &loop, "127.0.0.1:0");
        fault_arm(n, false);
        rc = stream_connect(&e.stream, &loop, &to, 20000, &simple, NULL);
        if (rc == 0) {
            for (int i = 0; i < 40; i++)
                stream_write(&e.stream, str_slice(buf_view(&big), 0, 1000));
            stream_write_shared(&e.stream, shared);
            stream_write(&e.stream, buf_view(&big));
            while (e.received < 440000 && !e.closes && !(server.count && server.ends[0].closes))
                loop_turn(&loop, true);
            stream_close(&e.stream);
        }
        fired = fault_fired();
        fault_arm(0, false);
        unserve(&server);
        assert_int_equal(e.closes, rc == 0);
        assert_int_equal(shared->refs, 1);
        shared_drop(shared);
        buf_free(&big);
        buf_free(&e.read);
        loop_fini(&loop);
    }
}

static void what_is_no_socket_is_refused(void **state)
{
    struct end e = {0};
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    assert_int_equal(stream_open_fd(&e.stream, *state, fd, &simple, NULL), -ENOTSOCK);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(e.closes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_in_a_turn_leaves_in_one_piece, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(short_writes_lose_and_double_nothing, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_reader_that_never_reads_costs_a_bounded_queue, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(one_write_larger_than_the_queue_fits_an_empty_one, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_stalled_reader_is_cut, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(closing_while_bytes_wait_gives_them_back, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(closing_inside_a_read_ends_the_callbacks, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_half_closed_stream_still_gets_its_answer, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_polite_end_delivers_the_last_answer, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_polite_end_does_not_wait_for_ever, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(without_on_eof_the_other_sides_end_is_ours, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_paused_stream_reads_nothing, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(tcp_by_number_and_by_name, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_shut_listener_takes_who_came_before_and_resets_nobody, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(unix_sockets_and_stale_ones, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_refused_connection_says_why, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_connection_that_does_not_come_times_out, make_loop, end_loop),
        cmocka_unit_test_setup_teardown(closing_while_connecting_calls_on_close_once, make_loop, end_loop),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test_setup_teardown(what_is_no_socket_is_refused, make_loop, end_loop),
    };

    signal_ignore_pipe();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

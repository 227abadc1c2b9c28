#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "lib/acceptor.h"
#include "lib/signal.h"
#include "lib/stream.h"
#include "proto/redis.h"
#include "test/lib/fault.h"

/* --- a server that answers what the test tells it to --- */

struct peer {
    struct stream stream;
    struct buf read;
    struct fake *fake;
    int closes;
};

struct fake {
    struct loop *loop;
    struct acceptor acceptor;
    uint16_t port;
    struct peer peers[16];
    int accepted, closed, commands;
    const char *auth, *ping, *answer; /* replies; NULL: silence */
    int loading;                      /* so many first PINGs are told to wait */
    size_t piece;                     /* bytes per write; 0: all at once */
};

static void reply(struct peer *p, const char *text)
{
    size_t n = text ? strlen(text) : 0, piece = p->fake->piece ? p->fake->piece : n;

    for (size_t at = 0; at < n; at += piece) {
        stream_write(&p->stream, str_slice((struct str){text, n}, at, at + piece));
        stream_flush(&p->stream);
    }
}

static void on_command(struct peer *p, struct str name, struct str first)
{
    struct fake *f = p->fake;

    f->commands++;
    if (str_eq(name, S("AUTH")))
        reply(p, f->auth);
    else if (str_eq(name, S("PING")))
        reply(p, f->loading-- > 0 ? "-LOADING Redis is loading the dataset in memory\r\n" : f->ping);
    else if (str_eq(name, S("CLIENT")) || str_eq(name, S("SELECT")))
        reply(p, "+OK\r\n");
    else if (str_eq(name, S("ECHO"))) {
        struct buf b = {0};

        buf_printf(&b, "$%zu\r\n" STR_FMT "\r\n%c", first.n, STR_ARG(first), 0);
        reply(p, b.p);
        buf_free(&b);
    } else if (str_eq(name, S("SUBSCRIBE")))
        reply(p, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n");
    else
        reply(p, f->answer);
}

/* One argument of a command that has arrived whole; false: not yet. */
static bool argument(struct str *rest, struct str *out)
{
    struct str line = str_cut(rest, '\n');
    uint64_t n;

    if (!rest->p || !str_u64(str_slice(line, 1, line.n - 1), &n) || rest->n < n + 2)
        return false;
    *out = str_slice(*rest, 0, n);
    *rest = str_slice(*rest, n + 2, rest->n);
    return true;
}

static bool one_command(struct peer *p)
{
    struct str rest = buf_view(&p->read), line = str_cut(&rest, '\n'), arg, args[2] = {STR_NONE, STR_NONE};
    uint64_t argc;

    if (!rest.p || !str_u64(str_slice(line, 1, line.n - 1), &argc))
        return false;
    for (uint64_t i = 0; i < argc; i++) {
        if (!argument(&rest, &arg))
            return false;
        if (i < 2)
            args[i] = arg;
    }
    on_command(p, args[0], args[1]);
    buf_drop(&p->read, p->read.n - rest.n);
    return true;
}

static void on_peer_read(struct stream *s, struct str bytes)
{
    struct peer *p = list_entry(s, struct peer, stream);

    buf_str(&p->read, bytes);
    while (!stream_closing(s) && one_command(p))
        ;
}

static void on_peer_close(struct stream *s, enum stream_end why)
{
    (void)why;
    list_entry(s, struct peer, stream)->closes++;
}

static const struct stream_events peer_events = {.on_read = on_peer_read, .on_close = on_peer_close};

static void on_accept(void *arg, int fd)
{
    struct fake *f = arg;
    struct peer *p = &f->peers[f->accepted++];

    assert_true(f->accepted <= (int)ARRAY_LEN(f->peers));
    *p = (struct peer){.fake = f};
    p->closes = stream_open_fd(&p->stream, f->loop, fd, &peer_events, NULL) != 0;
}

static void fake_open(struct fake *f, struct loop *loop)
{
    struct address at = {.host = "127.0.0.1"};
    int fd = acceptor_socket(&at, 16, false);

    *f = (struct fake){.loop = loop, .auth = "+OK\r\n", .ping = "+PONG\r\n", .port = acceptor_port(fd)};
    assert_int_equal(acceptor_open(&f->acceptor, loop, fd, on_accept, f), 0);
}

static void on_fake_closed(void *arg)
{
    ((struct fake *)arg)->closed++;
}

static void fake_hang_up(struct fake *f)
{
    for (int i = 0; i < f->accepted; i++)
        if (!f->peers[i].closes)
            stream_close(&f->peers[i].stream);
}

static void fake_close(struct fake *f)
{
    acceptor_close(&f->acceptor, on_fake_closed, f);
    fake_hang_up(f);
    while (!f->closed)
        loop_turn(f->loop, true);
    for (int i = 0; i < f->accepted; i++) {
        while (!f->peers[i].closes)
            loop_turn(f->loop, true);
        buf_free(&f->peers[i].read);
    }
}

/* --- a client that notes what it is told --- */

struct client {
    struct loop loop;
    struct fake fake;
    struct redis *redis;
    struct ops ops;
    int ready, down, closed, done, subscribed, messages;
    enum redis_error why, errors[64];
    char what[160], texts[64][32];
    enum redis_error again; /* what a call from inside a completion answered */
    bool call_again;
};

static void on_ready(void *arg)
{
    ((struct client *)arg)->ready++;
}

static void on_down(void *arg, enum redis_error e, const char *what)
{
    struct client *c = arg;

    c->down++;
    c->why = e;
    snprintf(c->what, sizeof c->what, "%s", what);
}

static void on_done(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct client *c = arg;
    struct str text = redis_text(v);

    assert_true(c->done < 64);
    snprintf(c->texts[c->done], sizeof c->texts[0], STR_FMT, (int)(text.n < 31 ? text.n : 31), text.p ? text.p : "");
    c->errors[c->done++] = e;
    if (c->call_again) {
        c->call_again = false;
        c->again = redis_call(c->redis, &c->ops, 1, (struct str[]){S("GET")}, on_done, c);
    }
}

static void on_subscribed(void *arg, struct str channel)
{
    assert_true(str_eq(channel, S("c")));
    ((struct client *)arg)->subscribed++;
}

static void on_message(void *arg, struct str channel, struct str payload)
{
    assert_true(str_eq(channel, S("c")));
    assert_true(str_eq(payload, S("hello")));
    ((struct client *)arg)->messages++;
}

static void on_redis_closed(void *arg)
{
    ((struct client *)arg)->closed++;
}

static const struct redis_events events = {on_ready, on_down, NULL, NULL};
static const struct redis_events subscriber = {on_ready, on_down, on_message, on_subscribed};

static struct client *client_open(const struct redis_limits *limits, const struct redis_events *e, const char *password)
{
    struct client *c = calloc(1, sizeof *c);
    struct redis_target to = {.address = {.host = "127.0.0.1"}};

    assert_int_equal(loop_init(&c->loop), 0);
    fake_open(&c->fake, &c->loop);
    to.address.port = c->fake.port;
    snprintf(to.password, sizeof to.password, "%s", password);
    ops_init(&c->ops);
    c->redis = redis_open(&c->loop, &to, limits, e, c);
    return c;
}

static void turn_until(struct client *c, const int *what, int at_least)
{
    while (*what < at_least)
        loop_turn(&c->loop, true);
}

static void client_close(struct client *c)
{
    redis_close(c->redis, on_redis_closed, c);
    assert_int_equal(c->closed, 0);
    turn_until(c, &c->closed, 1);
    assert_true(ops_idle(&c->ops));
    fake_close(&c->fake);
    loop_run(&c->loop);
    assert_int_equal(c->closed, 1);
    loop_fini(&c->loop);
    free(c);
}

static void call(struct client *c, const char *name, const char *arg)
{
    struct str argv[] = {str_z(name), str_z(arg)};

    assert_int_equal(redis_call(c->redis, &c->ops, arg ? 2 : 1, argv, on_done, c), REDIS_OK);
}

static void replies_come_in_the_order_of_the_calls(void **state)
{
    struct client *c = client_open(NULL, &events, "");

    (void)state;
    assert_int_equal(redis_call(c->redis, &c->ops, 1, (struct str[]){S("GET")}, on_done, c), REDIS_DOWN);
    turn_until(c, &c->ready, 1);
    for (int i = 0; i < 50; i++) {
        char text[16];

        snprintf(text, sizeof text, "%d", i);
        call(c, "ECHO", text);
    }
    assert_int_equal(c->done, 0);
    turn_until(c, &c->done, 50);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(c->errors[i], REDIS_OK);
        assert_int_equal(atoi(c->texts[i]), i);
    }
    client_close(c);
}

static void a_reply_may_come_byte_by_byte(void **state)
{
    struct client *c = client_open(NULL, &events, "");

    (void)state;
    c->fake.piece = 1;
    turn_until(c, &c->ready, 1);
    call(c, "ECHO", "one");
    call(c, "ECHO", "");
    turn_until(c, &c->done, 2);
    assert_string_equal(c->texts[0], "one");
    assert_string_equal(c->texts[1], "");
    client_close(c);
}

/* Long enough for the reader to be renewed, which it must not be inside an array. */
static void a_long_array_may_come_element_by_element(void **state)
{
    struct client *c = client_open(NULL, &events, "");
    struct buf first = {0};

    (void)state;
    turn_until(c, &c->ready, 1);
    buf_printf(&first, "*2\r\n$%d\r\n%0*d\r\n%c", 200000, 200000, 0, 0);
    c->fake.answer = first.p;
    call(c, "GET", NULL);
    for (int i = 0; i < 500; i++) /* all of it is read, and nothing else */
        loop_turn(&c->loop, false);
    c->fake.answer = "$3\r\nend\r\n+next\r\n";
    call(c, "GET", NULL);
    turn_until(c, &c->done, 2);
    assert_string_equal(c->texts[0], ""); /* an array */
    assert_string_equal(c->texts[1], "next");
    assert_int_equal(c->down, 0);
    buf_free(&first);
    client_close(c);
}

static void a_passed_deadline_ends_the_connection_and_a_new_one_is_made(void **state)
{
    struct redis_limits limits = {.call_ms = 50};
    struct client *c = client_open(&limits, &events, "");
    int down, ready, accepted;

    (void)state;
    turn_until(c, &c->ready, 1);
    down = c->down;
    ready = c->ready;
    accepted = c->fake.accepted;
    c->call_again = true;
    call(c, "GET", "silence");
    call(c, "GET", "silence");
    call(c, "GET", "silence");
    turn_until(c, &c->down, down + 1);
    assert_int_equal(c->done, 3);
    assert_int_equal(c->errors[0], REDIS_TIMEOUT);
    assert_int_equal(c->errors[1], REDIS_LOST);
    assert_int_equal(c->errors[2], REDIS_LOST);
    assert_int_equal(c->why, REDIS_TIMEOUT);
    assert_int_equal(c->again, REDIS_DOWN);
    turn_until(c, &c->ready, ready + 1);
    call(c, "ECHO", "back");
    turn_until(c, &c->done, 4);
    assert_true(c->fake.accepted > accepted);
    client_close(c);
}

static void a_lost_connection_tells_everyone_once(void **state)
{
    struct client *c = client_open(NULL, &events, "");

    (void)state;
    turn_until(c, &c->ready, 1);
    for (int i = 0; i < 10; i++)
        call(c, "GET", "silence");
    while (c->fake.commands < 12)
        loop_turn(&c->loop, true);
    fake_hang_up(&c->fake);
    turn_until(c, &c->down, 1);
    assert_int_equal(c->done, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(c->errors[i], REDIS_LOST);
    turn_until(c, &c->ready, 2);
    assert_int_equal(c->done, 10);
    client_close(c);
}

static void a_half_open_link_is_noticed_by_a_ping(void **state)
{
    struct redis_limits limits = {.call_ms = 50, .ping_ms = 20};
    struct client *c = client_open(&limits, &events, "");
    int down;

    (void)state;
    turn_until(c, &c->ready, 1);
    down = c->down;
    c->fake.ping = NULL;
    turn_until(c, &c->down, down + 1);
    assert_int_equal(c->why, REDIS_TIMEOUT);
    assert_int_equal(c->done, 0);
    client_close(c);
}

static void a_healthy_idle_link_stays(void **state)
{
    struct redis_limits limits = {.ping_ms = 5};
    struct client *c = client_open(&limits, &events, "");

    (void)state;
    turn_until(c, &c->fake.commands, 10);
    assert_int_equal(c->ready, 1);
    assert_int_equal(c->down, 0);
    client_close(c);
}

static void garbage_ends_the_connection(void **state)
{
    static const char *const garbage[] = {"?what\r\n", "$-5\r\n", "*9999999999999\r\n", ":12x\r\n", "+OK\r\n+OK\r\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        struct client *c = client_open(NULL, &events, "");

        turn_until(c, &c->ready, 1);
        c->fake.answer = garbage[i];
        call(c, "GET", "x");
        turn_until(c, &c->down, 1);
        assert_int_equal(c->why, REDIS_PROTOCOL);
        assert_int_equal(c->done, 1);
        client_close(c);
    }
}

static void what_exceeds_the_limits_is_not_taken_in(void **state)
{
    struct redis_limits limits = {.reply = 1000, .elements = 10, .command = 100, .pending = 3};
    struct client *c = client_open(&limits, &events, "");
    char big[200] = {0};
    struct str argv[] = {S("SET"), {big, sizeof big}};

    (void)state;
    turn_until(c, &c->ready, 1);
    assert_int_equal(redis_call(c->redis, &c->ops, 2, argv, on_done, c), REDIS_FULL);
    for (int i = 0; i < 3; i++)
        call(c, "ECHO", "x");
    assert_int_equal(redis_call(c->redis, &c->ops, 1, argv, on_done, c), REDIS_FULL);
    turn_until(c, &c->done, 3);
    c->fake.answer = "*11\r\n";
    call(c, "GET", "x");
    turn_until(c, &c->down, 1);
    assert_int_equal(c->why, REDIS_PROTOCOL);
    turn_until(c, &c->ready, 2);
    c->fake.answer = NULL;
    call(c, "GET", "x");
    while (c->fake.accepted < 2 || !c->fake.peers[1].read.p)
        loop_turn(&c->loop, true);
    stream_write(&c->fake.peers[1].stream, S("$400000000\r\n"));
    for (size_t n = 0; n < 3 * 1024 * 1024 && c->down < 2; n += sizeof big) {
        if (!c->fake.peers[1].closes)
            stream_write(&c->fake.peers[1].stream, argv[1]);
        loop_turn(&c->loop, false);
    }
    turn_until(c, &c->down, 2);
    assert_int_equal(c->why, REDIS_PROTOCOL);
    client_close(c);
}

static void errors_have_names(void **state)
{
    static const struct {
        const char *text;
        enum redis_error error;
    } rows[] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", REDIS_OOM},
        {"LOADING Redis is loading the dataset in memory", REDIS_LOADING},
        {"READONLY You can't write against a read only replica.", REDIS_READONLY},
        {"NOREPLICAS Not enough good replicas to write.", REDIS_REPLICAS},
        {"MASTERDOWN Link with MASTER is down", REDIS_REPLICAS},
        {"BUSY Redis is busy running a script.", REDIS_BUSY},
        {"MISCONF Redis is configured to save RDB snapshots", REDIS_MISCONF},
        {"CLUSTERDOWN The cluster is down", REDIS_CLUSTER},
        {"MOVED 3999 127.0.0.1:6381", REDIS_CLUSTER},
        {"NOAUTH Authentication required.", REDIS_AUTH},
        {"WRONGPASS invalid username-password pair", REDIS_AUTH},
        {"ERR Function not found", REDIS_NO_FUNCTION},
        {"NOSCRIPT No matching script. Please use EVAL.", REDIS_NO_FUNCTION},
        {"WRONGTYPE Operation against a key", REDIS_WRONG_TYPE},
        {"ERR syntax error", REDIS_REFUSED},
        {"", REDIS_REFUSED},
    };
    struct client *c = client_open(NULL, &events, "");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(redis_error_of(str_z(rows[i].text)), rows[i].error);
    turn_until(c, &c->ready, 1);
    c->fake.answer = "-OOM command not allowed\r\n";
    call(c, "SET", "x");
    turn_until(c, &c->done, 1);
    assert_int_equal(c->errors[0], REDIS_OOM);
    assert_int_equal(c->down, 0);
    client_close(c);
}

static void a_loading_redis_is_waited_for(void **state)
{
    struct redis_limits limits = {.backoff_ms = 10};
    struct client *c = client_open(&limits, &events, "");

    (void)state;
    c->fake.loading = 3;
    turn_until(c, &c->ready, 1);
    assert_true(c->down >= 3);
    assert_int_equal(c->why, REDIS_LOADING);
    client_close(c);
}

static void a_wrong_password_says_so(void **state)
{
    struct redis_limits limits = {.backoff_ms = 10};
    struct client *c = client_open(&limits, &events, "secret");

    (void)state;
    c->fake.auth = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    turn_until(c, &c->down, 2);
    assert_int_equal(c->why, REDIS_AUTH);
    assert_int_equal(c->ready, 0);
    c->fake.auth = "+OK\r\n";
    turn_until(c, &c->ready, 1);
    client_close(c);
}

static void an_asker_that_has_gone_is_not_called(void **state)
{
    struct client *c = client_open(NULL, &events, "");

    (void)state;
    turn_until(c, &c->ready, 1);
    call(c, "ECHO", "gone");
    ops_detach(&c->ops);
    call(c, "ECHO", "here");
    turn_until(c, &c->done, 1);
    assert_string_equal(c->texts[0], "here");
    client_close(c);
}

static void closing_tells_those_who_wait(void **state)
{
    struct client *c = client_open(NULL, &events, "");

    (void)state;
    turn_until(c, &c->ready, 1);
    call(c, "GET", "silence");
    c->call_again = true;
    redis_close(c->redis, on_redis_closed, c);
    assert_int_equal(c->done, 0);
    turn_until(c, &c->closed, 1);
    assert_int_equal(c->done, 1);
    assert_int_equal(c->errors[0], REDIS_LOST);
    assert_int_equal(c->again, REDIS_DOWN);
    assert_int_equal(c->down, 0);
    fake_close(&c->fake);
    loop_run(&c->loop);
    loop_fini(&c->loop);
    free(c);
}

static void closing_before_it_is_connected(void **state)
{
    (void)state;
    client_close(client_open(NULL, &events, ""));
}

static void a_subscriber_is_told_and_hears(void **state)
{
    struct redis_limits limits = {.ping_ms = 5};
    struct client *c = client_open(&limits, &subscriber, "");

    (void)state;
    turn_until(c, &c->ready, 1);
    assert_int_equal(redis_subscribe(c->redis, S("c")), REDIS_OK);
    turn_until(c, &c->messages, 1);
    assert_int_equal(c->subscribed, 1);
    c->fake.ping = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    turn_until(c, &c->fake.commands, c->fake.commands + 5);
    assert_int_equal(c->down, 0);
    client_close(c);
}

/* Whatever fails, it is told or recovered from, and nothing is left behind. */
static void each_allocation_may_fail(void **state)
{
    struct redis_limits limits = {.call_ms = 100, .backoff_ms = 20};
    bool fired = true;

    (void)state;
    for (unsigned n = 1; fired; n++) {
        struct client *c = client_open(&limits, &events, "");
        enum redis_error e = REDIS_DOWN;
        int done;

        fault_arm(n, false);
        turn_until(c, &c->ready, 1);
        redis_call(c->redis, &c->ops, 2, (struct str[]){S("ECHO"), S("x")}, on_done, c);
        loop_turn(&c->loop, false);
        fired = fault_fired();
        fault_arm(0, false);
        while (e != REDIS_OK) {
            e = redis_call(c->redis, &c->ops, 2, (struct str[]){S("ECHO"), S("last")}, on_done, c);
            if (e != REDIS_OK)
                loop_turn(&c->loop, true);
        }
        done = c->done;
        turn_until(c, &c->done, done + 1);
        client_close(c);
    }
}

static void targets_are_read(void **state)
{
    struct redis_target t;
    const char *why;

    (void)state;
    assert_true(redis_target_parse(S("redis://us%65r:p%40ss@example.org:7000/3"), &t, &why));
    assert_string_equal(t.user, "user");
    assert_string_equal(t.password, "p@ss");
    assert_string_equal(t.address.host, "example.org");
    assert_int_equal(t.address.port, 7000);
    assert_int_equal(t.db, 3);
    assert_true(redis_target_parse(S("redis://:pw@[::1]"), &t, &why));
    assert_string_equal(t.user, "");
    assert_string_equal(t.password, "pw");
    assert_string_equal(t.address.host, "::1");
    assert_int_equal(t.address.port, 6379);
    assert_true(redis_target_parse(S("unix:///run/redis.sock?db=2"), &t, &why));
    assert_string_equal(t.address.path, "/run/redis.sock");
    assert_int_equal(t.db, 2);
    assert_true(redis_target_parse(S("/run/redis.sock"), &t, NULL));
    assert_false(redis_target_parse(S("http://x"), &t, &why));
    assert_true(redis_target_parse(S("rediss://u:p@x:6380/2?ca=/etc/a%20b.pem"), &t, &why));
    assert_true(t.tls && t.db == 2 && t.address.port == 6380);
    assert_string_equal(t.ca, "/etc/a b.pem");
    assert_true(redis_target_parse(S("rediss://x"), &t, &why));
    assert_true(t.tls && t.ca[0] == 0);
    assert_false(redis_target_parse(S("rediss://x?ca=a.pem"), &t, &why));
    assert_false(redis_target_parse(S("rediss://x?insecure=1"), &t, &why));
    assert_false(redis_target_parse(S("redis://x/db"), &t, &why));
    assert_false(redis_target_parse(S("redis://a%zz@x"), &t, &why));
    assert_false(redis_target_parse(S("redis://a%0"), &t, &why) && t.address.host[0] == 'a' && t.address.host[1] == 0);
    assert_false(redis_target_parse(S("unix://relative"), &t, &why));
    assert_false(redis_target_parse(S(""), &t, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_come_in_the_order_of_the_calls),
        cmocka_unit_test(a_reply_may_come_byte_by_byte),
        cmocka_unit_test(a_long_array_may_come_element_by_element),
        cmocka_unit_test(a_passed_deadline_ends_the_connection_and_a_new_one_is_made),
        cmocka_unit_test(a_lost_connection_tells_everyone_once),
        cmocka_unit_test(a_half_open_link_is_noticed_by_a_ping),
        cmocka_unit_test(a_healthy_idle_link_stays),
        cmocka_unit_test(garbage_ends_the_connection),
        cmocka_unit_test(what_exceeds_the_limits_is_not_taken_in),
        cmocka_unit_test(errors_have_names),
        cmocka_unit_test(a_loading_redis_is_waited_for),
        cmocka_unit_test(a_wrong_password_says_so),
        cmocka_unit_test(an_asker_that_has_gone_is_not_called),
        cmocka_unit_test(closing_tells_those_who_wait),
        cmocka_unit_test(closing_before_it_is_connected),
        cmocka_unit_test(a_subscriber_is_told_and_hears),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(targets_are_read),
    };

    signal_ignore_pipe();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The feed with everything around it faked: what a client is told, in which order, and how it ends. */
#define auth_token        fake_auth_token
#define caller_may        fake_caller_may
#define conn_address      fake_conn_address
#define conn_abort        fake_conn_abort
#define conn_end          fake_conn_end
#define conn_flush        fake_conn_flush
#define conn_pause        fake_conn_pause
#define conn_queued       fake_conn_queued
#define conn_resume       fake_conn_resume
#define conn_upgrade      fake_conn_upgrade
#define conn_worker       fake_conn_worker
#define conn_write        fake_conn_write
#define conn_write_last   fake_conn_write_last
#define conn_write_shared fake_conn_write_shared
#define hub_figures       fake_hub_figures
#define hub_follow        fake_hub_follow
#define hub_next          fake_hub_next
#define hub_note          fake_hub_note
#define hub_refilter      fake_hub_refilter
#define hub_unfollow      fake_hub_unfollow
#define key_channel_seq   fake_key_channel_seq
#define key_document      fake_key_document
#define key_meta          fake_key_meta
#define reply_error       fake_reply_error
#define reply_header      fake_reply_header
#define reply_upgraded    fake_reply_upgraded
#define request_refuse    fake_request_refuse
#define session_unwatch   fake_session_unwatch
#define session_watch     fake_session_watch
#define store_epoch       fake_store_epoch
#define store_now_ms      fake_store_now_ms
#define store_read        fake_store_read
#define worker_phase      fake_worker_phase
#include "server/feed.c"
#include "server/feed_client.c"
#include "server/feed_open.c"
#include "server/feed_say.c"
#include "server/feed_tick.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/lib/fault.h"

#define ID     "01900000-0000-7000-8000-000000000001"
#define TENANT "01900000-0000-7000-8000-000000000009"

static struct {
    struct settings settings;
    struct worker worker;
    enum phase phase;
    /* the request */
    struct http_parser parser;
    struct request request;
    bool ended; /* the request's arena is gone */
    enum code refused;
    /* the connection */
    const struct conn_protocol *protocol;
    void *state;
    struct buf sent;
    size_t queued, room;
    size_t fresh; /* of the queued bytes: those the kernel was not offered yet */
    int upgraded; /* status */
    bool over, aborted, closed;
    /* the store */
    store_then *read;
    void *read_arg;
    bool known;
    int64_t seq, epoch;
    /* the caller */
    auth_then *login;
    void *login_arg;
    bool may;
    void (*revoked)(void *arg);
    void *revoked_arg;
    /* the hub */
    struct follower *follower;
    int64_t since;
    char filter[256], note[64];
    enum encoding encoding;
    unsigned nexts;
    /* the spec */
    bool finished; /* over() */
    unsigned opens, closes, greetings;
    enum code unread; /* what ends a long greeting */
    char heard[64];
    unsigned fail_at; /* which allocation fails, from feed_open on; 0: none */
} t;

/* --- fakes --- */

enum code fake_auth_token(struct worker *w, struct str token, bool in_query, struct str address, struct arena *arena,
                          struct ops *asker, auth_then *then, void *arg)
{
    (void)w, (void)in_query, (void)address, (void)arena, (void)asker;
    if (str_eq(token, S("bad")))
        return AUTH_TOKEN_INVALID;
    t.login = then;
    t.login_arg = arg;
    return OK;
}
struct str fake_conn_address(const struct conn *c)
{
    (void)c;
    return S("192.0.2.1");
}
struct worker *fake_conn_worker(const struct conn *c)
{
    (void)c;
    return &t.worker;
}
bool fake_caller_may(const struct caller *c, const char *permission)
{
    (void)c;
    assert_string_equal(permission, "workflow:read");
    return t.may;
}
void fake_conn_abort(struct conn *c)
{
    (void)c;
    t.aborted = true;
}
void fake_conn_end(struct conn *c)
{
    (void)c;
    t.over = true;
}
void fake_conn_pause(struct conn *c)
{
    (void)c;
}
void fake_conn_resume(struct conn *c)
{
    (void)c;
}
void fake_conn_flush(struct conn *c)
{
    (void)c;
    t.queued -= t.fresh;
    t.fresh = 0;
}
size_t fake_conn_queued(const struct conn *c)
{
    (void)c;
    return t.queued;
}
void fake_conn_upgrade(struct conn *c, int status, struct str fields, const struct conn_protocol *protocol, void *state)
{
    (void)c, (void)fields;
    t.upgraded = status;
    t.protocol = protocol;
    t.state = state;
}
bool fake_conn_write(struct conn *c, struct str bytes)
{
    (void)c;
    assert_int_not_equal(t.upgraded, 0);
    assert_false(t.over);
    if (t.queued + bytes.n > t.room)
        return false;
    buf_str(&t.sent, bytes);
    return true;
}
bool fake_conn_write_last(struct conn *c, struct str bytes)
{
    (void)c;
    buf_str(&t.sent, bytes);
    return true;
}
bool fake_conn_write_shared(struct conn *c, struct shared *bytes)
{
    return fake_conn_write(c, shared_str(bytes));
}
void fake_hub_figures(const struct hub *hub, struct hub_figures *out)
{
    (void)hub;
    *out = (struct hub_figures){0};
}
bool fake_hub_follow(struct hub *hub, const struct hub_source *source, struct str filter, enum encoding encoding,
                     int64_t since, struct follower *f)
{
    (void)hub;
    assert_true(str_eq(source->tenant, S(TENANT)));
    assert_true(str_eq(source->channel, S("run:" ID)));
    assert_int_equal(source->partition, 5);
    assert_int_equal(source->epoch, t.epoch);
    snprintf(t.filter, sizeof(t.filter), STR_FMT, STR_ARG(filter));
    t.encoding = encoding;
    t.since = since;
    t.follower = f;
    f->seq = since;
    f->view = (struct hub_view *)&t;
    return true;
}
void fake_hub_next(struct follower *f)
{
    assert_ptr_equal(f, t.follower);
    t.nexts++;
}
void fake_hub_note(struct follower *f, struct str text)
{
    assert_ptr_equal(f, t.follower);
    snprintf(t.note, sizeof(t.note), STR_FMT, STR_ARG(text));
}
bool fake_hub_refilter(struct follower *f, struct str filter)
{
    assert_ptr_equal(f, t.follower);
    snprintf(t.filter, sizeof(t.filter), STR_FMT, STR_ARG(filter));
    return true;
}
void fake_hub_unfollow(struct follower *f)
{
    f->view = NULL;
    t.follower = NULL;
}
static struct str constant(struct arena *a, const char *text)
{
    return arena_str(a, str_z(text));
}
struct str fake_key_channel_seq(struct arena *a, struct space s, struct str channel)
{
    (void)s, (void)channel;
    return constant(a, "seq");
}
struct str fake_key_document(struct arena *a, struct space s, const char *kind, struct str id)
{
    (void)s;
    assert_string_equal(kind, "run");
    assert_true(str_eq(id, S(ID)));
    return constant(a, "document");
}
struct str fake_key_meta(struct arena *a, unsigned partition)
{
    (void)partition;
    return constant(a, "meta");
}
enum flow fake_reply_error(struct request *r, enum code c)
{
    (void)r;
    t.refused = c;
    return DONE;
}
void fake_reply_header(struct request *r, const char *name, struct str value)
{
    (void)r, (void)name, (void)value;
}
struct str fake_reply_upgraded(struct request *r, int status, struct str fields)
{
    (void)r, (void)status;
    return fields;
}
enum code fake_request_refuse(struct request *r, enum code c, const char *fmt, ...)
{
    (void)r, (void)fmt;
    return c;
}
void fake_session_unwatch(struct session *s)
{
    (void)s;
}
void fake_session_watch(struct sessions *all, struct session *s, const struct caller *caller, void (*revoked_)(void *),
                        void *arg)
{
    (void)all, (void)s, (void)caller;
    t.revoked = revoked_;
    t.revoked_arg = arg;
}
int64_t fake_store_epoch(const struct store *s, unsigned partition)
{
    (void)s, (void)partition;
    return t.epoch;
}
int64_t fake_store_now_ms(const struct store *s)
{
    (void)s;
    return 1764352200000;
}
enum code fake_store_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                          store_then *then, void *arg)
{
    (void)s, (void)commands, (void)n, (void)asker;
    t.read = then;
    t.read_arg = arg;
    return OK;
}
enum phase fake_worker_phase(const struct worker *w)
{
    (void)w;
    return t.phase;
}

/* --- the resource --- */

static bool is_over(const struct feed_state *state)
{
    (void)state;
    return t.finished;
}
static bool write_snapshot(const struct feed_state *state, struct json_out *o)
{
    (void)state;
    json_put_raw(o, S("{\"x\":1}"));
    return true;
}
static void greet(const struct feed_state *state)
{
    feed_send(state->feed, S("{\"type\":\"greeting\"}"));
    t.greetings++;
}
static void greet_on(struct feed *f)
{
    if (t.greetings == 3) {
        feed_greeted(f, t.unread);
        return;
    }
    feed_send(f, S("{\"type\":\"more\"}"));
    t.greetings++;
    feed_greet_more(f);
}
static void heard(struct feed *f, struct str type, const struct json *message)
{
    (void)f, (void)message;
    snprintf(t.heard, sizeof(t.heard), STR_FMT, STR_ARG(type));
}
static void opened(struct feed *f)
{
    feed_set_data(f, &t);
    t.opens++;
}
static void was_closed(struct feed *f)
{
    (void)f;
    t.closes++;
}
static const struct feed_spec run_spec = {
    .kind = "run",
    .channel = "run",
    .last = "workflow_completed",
    .permission = "workflow:read",
    .over = is_over,
    .snapshot = write_snapshot,
    .on_open = opened,
    .on_close = was_closed,
};
static const struct feed_spec agent_spec = {
    .kind = "run",
    .channel = "run",
    .permission = "workflow:read",
    .ws_only = true,
    .one = true,
    .whole = true,
    .greet = greet,
    .on_message = heard,
    .on_close = was_closed,
};
static const struct feed_spec talker_spec = {
    .kind = "run",
    .channel = "run",
    .permission = "workflow:read",
    .one = true,
    .greet = greet,
    .greet_on = greet_on,
    .on_close = was_closed,
};

/* --- driving --- */

static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.known = t.may = true;
    t.seq = 9;
    t.epoch = 3;
    t.room = 1 << 20;
    t.phase = PHASE_READY;
    t.settings = (struct settings){.stream_heartbeat = 30000,
                                   .stream_comment = 15000,
                                   .stream_auth_timeout = 10000,
                                   .stream_expiry_warning = 60000,
                                   .stream_drain_window = 5000,
                                   .stream_queue = 1 << 20,
                                   .send_queue = 2 << 20,
                                   .stream_message_max = 1 << 18,
                                   .stream_fragments_max = 1024,
                                   .stream_per_worker = 100,
                                   .stream_per_tenant = 50,
                                   .stream_per_caller = 2,
                                   .json_depth = 32,
                                   .json_nodes = 1000,
                                   .request_memory = 1 << 20};
    t.worker.settings = &t.settings;
    if (loop_init(&t.worker.loop) != 0)
        return -1;
    t.worker.feeds = feeds_open(&t.worker);
    return t.worker.feeds == NULL ? -1 : 0;
}

static void gone(void)
{
    if (t.upgraded != 0 && !t.closed)
        t.protocol->on_close(t.state);
    t.closed = true;
}

static int teardown(void **state)
{
    (void)state;
    gone();
    if (!t.ended)
        arena_fini(&t.request.arena);
    http_parser_fini(&t.parser);
    buf_free(&t.sent);
    feeds_close(t.worker.feeds);
    loop_fini(&t.worker.loop);
    clock_fake(-1);
    return 0;
}

static const char ws_head[] = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
static const char sse_head[] = "Accept: text/event-stream\r\n";

/* A request with these header lines and query parameters (as JSON), by a known caller unless `nobody`. */
static enum flow ask_as(const struct feed_spec *s, const char *fields, const char *parameters, bool nobody)
{
    struct buf text = {0};
    struct request *r = &t.request;
    http_parser_init(&t.parser, HTTP_SERVER, &http_limits_default);
    buf_printf(&text, "GET /x HTTP/1.1\r\nHost: x\r\n%s\r\n", fields);
    struct str in = buf_view(&text);
    assert_int_equal(http_feed(&t.parser, &in), HTTP_GOT_HEAD);
    buf_free(&text);
    arena_init(&r->arena, 0);
    ops_init(&r->ops);
    r->worker = &t.worker;
    r->method = GET;
    r->head = &t.parser.head;
    r->params[0] = S(ID);
    r->parameters = json_parse(&r->arena, str_z(parameters), NULL, NULL);
    if (!nobody)
        r->caller =
            (struct caller){.type = CALLER_KEY, .id = S("k1"), .name = S("key"), .tenant = S(TENANT), .partition = 5};
    fault_arm(t.fail_at, false);
    return feed_open(r, s);
}

static void request_over(void)
{
    arena_fini(&t.request.arena);
    t.ended = true;
}

static void answer_as(enum code code)
{
    const struct redis_value text = {.type = REDIS_STRING, .text = S("x")};
    const struct redis_value *const pair[] = {&text, &text};
    const struct redis_value document = {.type = REDIS_ARRAY, .count = t.known ? 2 : 0, .items = pair};
    const struct redis_value seq = {.type = REDIS_INTEGER, .integer = t.seq};
    const struct redis_value epoch = {.type = REDIS_INTEGER, .integer = t.epoch};
    const struct redis_value *const parts[] = {&document, &seq, &epoch};
    const struct redis_value all = {.type = REDIS_ARRAY, .count = 3, .items = parts};
    store_then *then = t.read;
    assert_non_null(then);
    t.read = NULL;
    then(t.read_arg, code, code == OK ? &all : NULL);
}

static void open_ws(const char *parameters)
{
    assert_int_equal(ask_as(&run_spec, ws_head, parameters, false), WAIT);
    answer_as(OK);
    assert_int_equal(t.upgraded, 101);
    request_over();
}

static void live(void)
{
    t.follower->live = true;
    t.follower->type->on_live(t.follower);
}

static bool batch(const char *text, int64_t last, bool ended)
{
    struct buf out = {0};
    event_encode_control(&out, t.encoding, NULL, str_z(text));
    struct hub_batch b = {
        .bytes = shared_copy(buf_view(&out)), .first = t.follower->seq + 1, .last = last, .ended = ended};
    assert_non_null(b.bytes);
    t.follower->seq = last;
    bool taken = t.follower->type->on_batch(t.follower, &b);
    shared_drop(b.bytes);
    buf_free(&out);
    return taken;
}

/* What was sent since the last call, one word a frame: types of messages, "ping", and "close:<code>:<reason>". */
static const char *told(void)
{
    static char text[1024];
    static const struct ws_limits limits = {1 << 20, 100, 0};
    struct ws w;
    struct str in = buf_view(&t.sent);
    size_t n = 0;
    ws_init(&w, WS_CLIENT, &limits);
    text[0] = '\0';
    for (enum ws_event e; (e = ws_feed(&w, &in)) != WS_MORE;) {
        struct str type = event_member(w.payload, "type"), code = event_member(w.payload, "code");
        n += (size_t)snprintf(text + n, sizeof(text) - n, n > 0 ? " " : "");
        if (e == WS_MESSAGE)
            n += (size_t)snprintf(text + n, sizeof(text) - n, STR_FMT "%s" STR_FMT, STR_ARG(type),
                                  code.n > 0 ? ":" : "", STR_ARG(code));
        else if (e == WS_PINGED)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "ping");
        else if (e == WS_PONGED)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "pong");
        else
            n += (size_t)snprintf(text + n, sizeof(text) - n, "close:%d:" STR_FMT, w.code, STR_ARG(w.payload));
        if (e == WS_CLOSED || e == WS_FAULT)
            break;
    }
    ws_fini(&w);
    buf_clear(&t.sent);
    return text;
}

static void say(enum ws_opcode opcode, const char *text)
{
    struct buf frame = {0};
    ws_write(&frame, WS_CLIENT, opcode, str_z(text));
    t.protocol->on_read(t.state, buf_view(&frame));
    buf_free(&frame);
}

/* --- opening --- */

static void without_since_the_state_comes_first_and_what_follows_it(void **state)
{
    (void)state;
    open_ws("{}");
    assert_string_equal(told(), "ready snapshot");
    assert_int_equal(t.since, 9);
    live();
    assert_string_equal(told(), "synced");
    assert_int_equal(t.opens, 1);
}

static void since_zero_gives_the_state_and_the_whole_past(void **state)
{
    (void)state;
    open_ws("{\"since\":\"0\"}");
    assert_string_equal(told(), "ready snapshot");
    assert_int_equal(t.since, 0);
}

static void since_gives_what_is_behind_it_and_no_state(void **state)
{
    (void)state;
    open_ws("{\"since\":\"3:7\"}");
    assert_string_equal(told(), "ready");
    assert_int_equal(t.since, 7);
}

static void a_number_ahead_or_of_another_epoch_is_a_gap(void **state)
{
    const char *numbers[] = {"10", "4:7"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char parameters[64];
        if (i > 0)
            assert_int_equal(teardown(state) + setup(state), 0);
        snprintf(parameters, sizeof(parameters), "{\"since\":\"%s\"}", numbers[i]);
        open_ws(parameters);
        assert_string_equal(told(), "ready gap snapshot");
        assert_int_equal(t.since, 9);
    }
}

static void an_event_stream_resumes_by_its_last_id(void **state)
{
    (void)state;
    assert_int_equal(
        ask_as(&run_spec, "Accept: text/event-stream\r\nLast-Event-ID: 3:5\r\n", "{\"since\":\"2\"}", false), WAIT);
    answer_as(OK);
    request_over();
    assert_int_equal(t.upgraded, 200);
    assert_int_equal(t.since, 5);
    assert_int_equal(t.encoding, ENCODE_SSE);
    buf_char(&t.sent, '\0');
    assert_true(str_starts(buf_view(&t.sent), S("retry: 2000\n\ndata: {\"type\":\"ready\"")));
}

static void filters_become_one_text(void **state)
{
    (void)state;
    open_ws("{\"types\":[\"step_log\",\"a\"],\"nodeId\":[\"n\"],\"level\":\"warn\"}");
    assert_string_equal(t.filter, "a,step_log|n|warn");
    say(WS_TEXT, "{\"type\":\"subscribe\",\"filters\":{\"minLevel\":\"info\"}}");
    assert_string_equal(t.filter, "||info");
    assert_string_equal(told(), "ready snapshot subscribed");
}

static void what_is_not_there_is_404_before_the_upgrade(void **state)
{
    (void)state;
    t.known = false;
    assert_int_equal(ask_as(&run_spec, ws_head, "{}", false), WAIT);
    answer_as(OK);
    assert_int_equal(t.upgraded, 0);
    assert_int_equal(t.refused, RES_NOT_FOUND);
}

static void a_store_that_is_away_is_told_before_the_upgrade(void **state)
{
    (void)state;
    assert_int_equal(ask_as(&run_spec, ws_head, "{}", false), WAIT);
    answer_as(SYS_STORAGE);
    assert_int_equal(t.upgraded, 0);
    assert_int_equal(t.refused, SYS_STORAGE);
}

static void a_client_that_leaves_before_the_answer_takes_its_feed_along(void **state)
{
    (void)state;
    assert_int_equal(ask_as(&run_spec, ws_head, "{}", false), WAIT);
    assert_int_equal(t.worker.feeds->count, 1);
    request_over();
    assert_int_equal(t.worker.feeds->count, 0);
    assert_int_equal(t.closes, 0);
}

static void neither_protocol_is_426_and_a_bad_handshake_400(void **state)
{
    (void)state;
    assert_int_equal(ask_as(&run_spec, "Accept: application/json\r\n", "{}", false), DONE);
    assert_int_equal(t.refused, RES_UPGRADE_REQUIRED);
    assert_int_equal(teardown(state) + setup(state), 0);
    assert_int_equal(ask_as(&agent_spec, sse_head, "{}", false), DONE);
    assert_int_equal(t.refused, RES_UPGRADE_REQUIRED);
    assert_int_equal(teardown(state) + setup(state), 0);
    assert_int_equal(
        ask_as(&run_spec, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n", "{}", false),
        DONE);
    assert_int_equal(t.refused, VAL_MALFORMED_HTTP);
}

static void a_caller_has_its_share_and_no_more(void **state)
{
    (void)state;
    struct feed *f[3];
    t.request.worker = &t.worker;
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        f[i] = feed_new(&t.request, &run_spec, false);
        assert_non_null(f[i]);
        assert_true(feed_take_caller(f[i], &(struct caller){.type = CALLER_KEY, .id = S("k1"), .tenant = S(TENANT)}));
        assert_int_equal(feed_room(t.worker.feeds, f[i]->caller), i < 2 ? OK : RATE_LIMIT_EXCEEDED);
    }
    struct caller other = {.type = CALLER_KEY, .id = S("k2"), .tenant = S(TENANT)};
    assert_int_equal(feed_room(t.worker.feeds, &other), OK);
    t.settings.stream_per_worker = 2;
    assert_int_equal(feed_room(t.worker.feeds, &other), SYS_OVERLOADED);
    for (size_t i = 0; i < ARRAY_LEN(f); i++)
        request_ended(f[i]->opening);
}

static void feeds_of_one_credential_share_their_caller(void **state)
{
    (void)state;
    struct caller key = {.type = CALLER_KEY, .id = S("k1"), .tenant = S(TENANT), .credential = "c1"}, renewed = key;
    struct feed *f[3];
    renewed.expires_ms = 9000000;
    t.request.worker = &t.worker;
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        f[i] = feed_new(&t.request, &run_spec, false);
        assert_true(feed_take_caller(f[i], i == 2 ? &renewed : &key));
    }
    assert_ptr_equal(f[0]->caller, f[1]->caller);
    assert_ptr_not_equal(f[0]->caller, f[2]->caller);
    request_ended(f[0]->opening);
    assert_true(str_eqz(f[1]->caller->id, "k1"));
    assert_true(feed_take_caller(f[1], &renewed));
    assert_ptr_equal(f[1]->caller, f[2]->caller);
    assert_int_equal(feed_caller_of(f[1])->feeds, 2);
    request_ended(f[1]->opening);
    request_ended(f[2]->opening);
}

static void a_server_that_goes_away_takes_no_more(void **state)
{
    (void)state;
    t.phase = PHASE_DRAINING;
    assert_int_equal(ask_as(&run_spec, ws_head, "{}", false), DONE);
    assert_int_equal(t.refused, SYS_DRAINING);
}

/* --- the first message --- */

static const struct caller user = {
    .type = CALLER_USER, .id = {"u1", 2}, .name = {"u", 1}, .tenant = {TENANT, 36}, .partition = 5};

static void open_unknown(void)
{
    assert_int_equal(ask_as(&run_spec, ws_head, "{}", true), DONE);
    assert_int_equal(t.upgraded, 101);
    request_over();
}

static void logged_in(enum code code, const struct caller *caller)
{
    auth_then *then = t.login;
    assert_non_null(then);
    t.login = NULL;
    then(t.login_arg, code, caller);
}

static void the_first_message_may_bring_the_token(void **state)
{
    (void)state;
    open_unknown();
    say(WS_TEXT, "{\"type\":\"auth\",\"token\":\"good\"}");
    assert_string_equal(told(), "");
    logged_in(OK, &user);
    answer_as(OK);
    assert_string_equal(told(), "ready snapshot");
}

static void a_login_that_fails_closes_with_its_code(void **state)
{
    (void)state;
    open_unknown();
    say(WS_TEXT, "{\"type\":\"auth\",\"token\":\"good\"}");
    logged_in(AUTH_TOKEN_EXPIRED, NULL);
    assert_string_equal(told(), "error:AUTH_TOKEN_EXPIRED close:4401:unauthenticated");

    assert_int_equal(teardown(state) + setup(state), 0);
    open_unknown();
    say(WS_TEXT, "{\"type\":\"auth\",\"token\":\"bad\"}");
    assert_string_equal(told(), "error:AUTH_TOKEN_INVALID close:4401:unauthenticated");

    assert_int_equal(teardown(state) + setup(state), 0);
    open_unknown();
    t.may = false;
    say(WS_TEXT, "{\"type\":\"auth\",\"token\":\"good\"}");
    logged_in(OK, &user);
    assert_string_equal(told(), "error:PERM_DENIED close:4403:forbidden");

    assert_int_equal(teardown(state) + setup(state), 0);
    open_unknown();
    t.known = false;
    say(WS_TEXT, "{\"type\":\"auth\",\"token\":\"good\"}");
    logged_in(OK, &user);
    answer_as(OK);
    assert_string_equal(told(), "error:RES_NOT_FOUND close:4404:not_found");

    assert_int_equal(teardown(state) + setup(state), 0);
    open_unknown();
    say(WS_TEXT, "{\"type\":\"ping\"}");
    assert_string_equal(told(), "error:AUTH_TOKEN_MISSING close:4401:unauthenticated");
}

static void who_says_nothing_is_closed_in_time(void **state)
{
    (void)state;
    open_unknown();
    struct feed *f = t.state;
    feed_due_in(f, 0);
    on_deadline(f);
    assert_string_equal(told(), "error:AUTH_TOKEN_MISSING close:4408:auth_timeout");
}

/* --- following --- */

static void the_last_event_ends_the_stream(void **state)
{
    (void)state;
    open_ws("{\"since\":\"8\"}");
    told();
    batch("{\"seq\":9,\"type\":\"workflow_completed\"}", 9, true);
    assert_string_equal(told(), "workflow_completed");
    live();
    assert_string_equal(told(), "synced end close:1000:end");
    assert_null(t.follower);
    say(WS_CLOSE, "");
    assert_true(t.over);
}

static void the_last_event_ends_a_stream_that_is_live(void **state)
{
    (void)state;
    open_ws("{\"since\":\"8\"}");
    live();
    told();
    batch("{\"seq\":9,\"type\":\"workflow_completed\"}", 9, true);
    assert_string_equal(told(), "workflow_completed end close:1000:end");
    assert_null(t.follower);
}

static void more_behind_the_last_event_goes_on(void **state)
{
    (void)state;
    open_ws("{\"since\":\"8\"}");
    told();
    batch("{\"seq\":9,\"type\":\"workflow_completed\"}", 9, true);
    batch("{\"seq\":10,\"type\":\"rollback_started\"}", 10, false);
    live();
    assert_string_equal(told(), "workflow_completed rollback_started synced");
    assert_non_null(t.follower);
    batch("{\"seq\":11,\"type\":\"workflow_completed\"}", 11, true);
    assert_string_equal(told(), "workflow_completed end close:1000:end");
}

static void what_has_ended_before_ends_once_all_is_sent(void **state)
{
    (void)state;
    t.finished = true;
    open_ws("{}");
    live();
    assert_string_equal(told(), "ready snapshot synced end close:1000:end");
    assert_int_equal(t.opens, 0);
}

static void the_past_comes_as_fast_as_the_socket_takes_it(void **state)
{
    (void)state;
    open_ws("{\"since\":\"1\"}");
    batch("{\"seq\":2,\"type\":\"a\"}", 2, false);
    assert_int_equal(t.nexts, 0);
    before_flush(t.worker.feeds);
    loop_turn(&t.worker.loop, false);
    assert_int_equal(t.nexts, 1);
    batch("{\"seq\":3,\"type\":\"a\"}", 3, false);
    t.queued = 1000; /* the socket took less */
    before_flush(t.worker.feeds);
    loop_turn(&t.worker.loop, false);
    assert_int_equal(t.nexts, 1);
    t.queued = 0;
    t.protocol->on_drain(t.state);
    assert_int_equal(t.nexts, 2);
}

/* A slice that comes while others wait for theirs is looked at in the same turn, before it was offered to the socket. */
static void what_was_only_just_written_does_not_wait_for_the_socket(void **state)
{
    (void)state;
    open_ws("{\"since\":\"1\"}");
    batch("{\"seq\":2,\"type\":\"a\"}", 2, false);
    before_flush(t.worker.feeds);
    t.queued = t.fresh = 500;
    loop_turn(&t.worker.loop, false);
    assert_int_equal(t.nexts, 1);
}

static void a_reader_too_slow_is_told_so(void **state)
{
    (void)state;
    open_ws("{}");
    live();
    told();
    before_flush(t.worker.feeds);
    t.queued = t.room;
    assert_false(batch("{\"seq\":10,\"type\":\"a\"}", 10, false));
    assert_string_equal(told(), "error:RATE_LIMIT_EXCEEDED close:4429:slow_consumer");
    assert_false(t.aborted);
}

static void what_one_turn_brings_is_no_fault_of_the_reader(void **state)
{
    (void)state;
    open_ws("{}");
    live();
    told();
    struct feed *f = t.state;
    t.queued = t.room;
    feed_wrote(f, t.queued - 100); /* all but 100 bytes of it in this turn */
    assert_false(batch("{\"seq\":10,\"type\":\"a\"}", 10, false));
    assert_string_equal(told(), "");
    assert_int_equal(f->stage, FEED_LIVE);
    t.queued = 0;
    before_flush(t.worker.feeds);
    loop_turn(&t.worker.loop, false);
    assert_int_equal(t.nexts, 1);
    t.follower->seq = 9;
    assert_true(batch("{\"seq\":10,\"type\":\"a\"}", 10, false));
    assert_string_equal(told(), "a");
}

static void a_reset_is_a_gap_and_a_fresh_start(void **state)
{
    (void)state;
    open_ws("{}");
    live();
    told();
    struct follower *f = t.follower;
    f->view = NULL;
    t.epoch = 4;
    t.seq = 2;
    f->type->on_reset(f);
    answer_as(OK);
    assert_string_equal(told(), "gap snapshot");
    assert_int_equal(t.since, 2);
    live();
    assert_string_equal(told(), "synced");
    assert_int_equal(t.opens, 1);
}

static void a_revoked_caller_is_closed(void **state)
{
    (void)state;
    open_ws("{}");
    told();
    t.revoked(t.revoked_arg);
    assert_string_equal(told(), "error:AUTH_TOKEN_REVOKED close:4401:unauthenticated");
}

static void drain_says_when_to_come_back(void **state)
{
    (void)state;
    open_ws("{}");
    told();
    t.protocol->on_stop(t.state);
    assert_string_equal(told(), "drain close:1012:restart");
    t.protocol->on_stop(t.state);
    assert_string_equal(told(), "");
}

static void the_token_is_announced_and_then_over(void **state)
{
    (void)state;
    clock_fake(1000000);
    open_ws("{}");
    told();
    struct feed *f = t.state;
    feed_caller_of(f)->caller.expires_ms = 1000000 + 30000;
    on_deadline(f);
    assert_string_equal(told(), "token_expiring");
    on_deadline(f);
    assert_string_equal(told(), "");
    say(WS_TEXT, "{\"type\":\"auth\",\"token\":\"good\"}");
    struct caller same = {
        .type = CALLER_KEY, .id = S("k1"), .tenant = S(TENANT), .partition = 5, .expires_ms = 9000000};
    logged_in(OK, &same);
    clock_fake(1000000 + 31000);
    on_deadline(f);
    assert_string_equal(told(), "");
    clock_fake(9000000);
    f->warned = true;
    on_deadline(f);
    assert_string_equal(told(), "error:AUTH_TOKEN_EXPIRED close:4401:unauthenticated");
}

static void two_pings_without_an_answer_are_the_end(void **state)
{
    (void)state;
    open_ws("{}");
    live();
    told();
    struct feed *f = t.state;
    for (int i = 0; i < 2; i++) {
        feed_due_in(f, 0);
        on_deadline(f);
        assert_string_equal(told(), "ping heartbeat");
    }
    say(WS_PONG, "");
    feed_due_in(f, 0);
    on_deadline(f);
    feed_due_in(f, 0);
    on_deadline(f);
    assert_string_equal(told(), "ping heartbeat ping heartbeat");
    feed_due_in(f, 0);
    on_deadline(f);
    assert_true(t.aborted);
}

/* --- what a client says --- */

static void pings_are_answered(void **state)
{
    (void)state;
    open_ws("{}");
    told();
    say(WS_TEXT, "{\"type\":\"ping\"}");
    say(WS_PING, "x");
    assert_string_equal(told(), "pong pong");
    assert_null(((struct feed *)t.state)->ws); /* holds nothing while idle */
}

static void what_is_no_message_is_4400(void **state)
{
    const char *bad[] = {"",
                         "x",
                         "[]",
                         "{}",
                         "{\"type\":1}",
                         "{\"type\":\"dance\"}",
                         "{\"type\":\"subscribe\"}",
                         "{\"type\":\"subscribe\",\"filters\":{\"types\":\"x\"}}",
                         "{\"type\":\"subscribe\",\"filters\":{\"color\":[]}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (i > 0)
            assert_int_equal(teardown(state) + setup(state), 0);
        open_ws("{}");
        told();
        say(WS_TEXT, bad[i]);
        assert_non_null(strstr(told(), "close:4400:bad_message"));
    }
}

static void a_close_is_answered_and_ends_the_connection(void **state)
{
    (void)state;
    open_ws("{}");
    told();
    say(WS_CLOSE, "\x03\xe8");
    assert_string_equal(told(), "close:1000:end");
    assert_true(t.over);
    gone();
    assert_int_equal(t.closes, 1);
}

static void an_agent_is_greeted_and_heard_and_replaced_by_a_newer_one(void **state)
{
    (void)state;
    assert_int_equal(ask_as(&agent_spec, ws_head, "{}", false), WAIT);
    answer_as(OK);
    request_over();
    assert_string_equal(told(), "ready greeting");
    say(WS_TEXT, "{\"type\":\"task_started\"}");
    assert_string_equal(t.heard, "task_started");
    char newer[64];
    t.follower->type->on_note(t.follower, str_z(t.note)); /* its own */
    assert_string_equal(told(), "");
    snprintf(newer, sizeof(newer), "%020llu", (unsigned long long)((struct feed *)t.state)->opening->stamp + 1);
    t.follower->type->on_note(t.follower, str_z(newer));
    assert_string_equal(told(), "error:RES_INVALID_STATE close:4409:replaced");
}

static void turn(void)
{
    before_flush(t.worker.feeds);
    loop_turn(&t.worker.loop, false);
}

static void a_long_greeting_goes_out_as_the_socket_takes_it_and_events_follow_behind_it(void **state)
{
    (void)state;
    assert_int_equal(ask_as(&talker_spec, ws_head, "{}", false), WAIT);
    answer_as(OK);
    request_over();
    assert_string_equal(told(), "ready greeting");
    turn();
    assert_string_equal(told(), "more");
    t.queued = 1000; /* the socket took less */
    turn();
    turn();
    assert_string_equal(told(), "");
    t.queued = 0;
    t.protocol->on_drain(t.state);
    assert_string_equal(told(), "more");
    assert_null(t.follower);
    assert_string_equal(t.note, ""); /* an older connection stays until this one is of use */
    turn();
    assert_non_null(t.follower);
    assert_int_equal(t.since, t.seq);
    assert_int_equal(strlen(t.note), 20);
    live();
    assert_string_equal(told(), "synced");
}

static void a_long_greeting_that_cannot_be_read_ends_the_stream(void **state)
{
    (void)state;
    t.unread = SYS_STORAGE;
    assert_int_equal(ask_as(&talker_spec, ws_head, "{}", false), WAIT);
    answer_as(OK);
    request_over();
    for (int i = 0; i < 4; i++)
        turn();
    assert_string_equal(told(), "ready greeting more more error:SYS_STORAGE close:1013:try_later");
    assert_null(t.follower);
}

/* --- allocations that fail --- */

static void life(const char *ping, const char *subscribe, struct shared *event)
{
    if (ask_as(&run_spec, ws_head, "{\"since\":\"0\"}", false) == WAIT)
        answer_as(OK);
    if (t.upgraded == 0)
        return;
    const char *frames[] = {ping, subscribe};
    for (size_t i = 0; i < ARRAY_LEN(frames) && !t.aborted; i++)
        t.protocol->on_read(t.state, (struct str){frames[i], 6 + (size_t)(frames[i][1] & 0x7f)});
    if (t.follower != NULL) {
        struct hub_batch b = {.bytes = event, .first = 1, .last = 1};
        t.follower->seq = 1;
        t.follower->type->on_batch(t.follower, &b);
    }
    if (t.follower != NULL)
        live();
    if (t.follower != NULL) {
        t.follower->view = NULL;
        t.follower->type->on_reset(t.follower);
        if (t.read != NULL)
            answer_as(OK);
    }
    t.protocol->on_stop(t.state);
}

static void any_allocation_may_fail(void **state)
{
    struct buf ping = {0}, subscribe = {0};
    struct shared *event = shared_copy(S("event"));
    assert_non_null(event);
    ws_write(&ping, WS_CLIENT, WS_TEXT, S("{\"type\":\"ping\"}"));
    ws_write(&subscribe, WS_CLIENT, WS_TEXT, S("{\"type\":\"subscribe\",\"filters\":{\"types\":[\"a\"]}}"));
    for (unsigned n = 1;; n++) {
        t.fail_at = n;
        life(ping.p, subscribe.p, event);
        bool fired = fault_fired();
        fault_arm(0, false);
        if (t.upgraded == 0)
            assert_true(fired && t.refused == SYS_OVERLOADED);
        else
            assert_true(((struct feed *)t.state)->stage == FEED_CLOSING || t.aborted);
        assert_int_equal(teardown(state) + setup(state), 0);
        if (!fired)
            break;
        assert_true(n < 200);
    }
    shared_drop(event);
    buf_free(&ping);
    buf_free(&subscribe);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(without_since_the_state_comes_first_and_what_follows_it),
        T(since_zero_gives_the_state_and_the_whole_past),
        T(since_gives_what_is_behind_it_and_no_state),
        T(a_number_ahead_or_of_another_epoch_is_a_gap),
        T(an_event_stream_resumes_by_its_last_id),
        T(filters_become_one_text),
        T(what_is_not_there_is_404_before_the_upgrade),
        T(a_store_that_is_away_is_told_before_the_upgrade),
        T(a_client_that_leaves_before_the_answer_takes_its_feed_along),
        T(neither_protocol_is_426_and_a_bad_handshake_400),
        T(a_caller_has_its_share_and_no_more),
        T(feeds_of_one_credential_share_their_caller),
        T(a_server_that_goes_away_takes_no_more),
        T(the_first_message_may_bring_the_token),
        T(a_login_that_fails_closes_with_its_code),
        T(who_says_nothing_is_closed_in_time),
        T(the_last_event_ends_the_stream),
        T(the_last_event_ends_a_stream_that_is_live),
        T(more_behind_the_last_event_goes_on),
        T(what_has_ended_before_ends_once_all_is_sent),
        T(the_past_comes_as_fast_as_the_socket_takes_it),
        T(what_was_only_just_written_does_not_wait_for_the_socket),
        T(a_reader_too_slow_is_told_so),
        T(what_one_turn_brings_is_no_fault_of_the_reader),
        T(a_reset_is_a_gap_and_a_fresh_start),
        T(a_revoked_caller_is_closed),
        T(drain_says_when_to_come_back),
        T(the_token_is_announced_and_then_over),
        T(two_pings_without_an_answer_are_the_end),
        T(pings_are_answered),
        T(what_is_no_message_is_4400),
        T(a_close_is_answered_and_ends_the_connection),
        T(any_allocation_may_fail),
        T(an_agent_is_greeted_and_heard_and_replaced_by_a_newer_one),
        T(a_long_greeting_goes_out_as_the_socket_takes_it_and_events_follow_behind_it),
        T(a_long_greeting_that_cannot_be_read_ends_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

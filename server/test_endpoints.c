#include "server/test_endpoints.h"

#include "proto/http.h"
#include "proto/ws.h"
#include "server/conn.h"
#include "server/request.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdlib.h>

static enum flow echo_body(struct request *r);
static enum flow echo_messages(struct request *r);

enum { TEST = ROUTE_PUBLIC | ROUTE_HIDDEN | ROUTE_RAW_BODY | ROUTE_ENVELOPE_NONE };

// clang-format off
static const struct route routes[] = {
    {GET,     "/_test/http", echo_body,     NULL, "testGet",     "Answers the body.", TEST},
    {POST,    "/_test/http", echo_body,     NULL, "testPost",    "Answers the body.", TEST},
    {PUT,     "/_test/http", echo_body,     NULL, "testPut",     "Answers the body.", TEST},
    {PATCH,   "/_test/http", echo_body,     NULL, "testPatch",   "Answers the body.", TEST},
    {DELETE,  "/_test/http", echo_body,     NULL, "testDelete",  "Answers the body.", TEST},
    {OPTIONS, "/_test/http", echo_body,     NULL, "testOptions", "Answers the body.", TEST},
    {GET,     "/_test/echo", echo_messages, NULL, "testEcho",    "Sends messages back.", TEST | ROUTE_STREAM | ROUTE_WS_ONLY},
    ROUTE_END,
};
// clang-format on

const struct resource test_resource = {
    .kind = "test",
    .plural = "test",
    .tag = "SYSTEM",
    .doc = "Echoes for conformance and load tests.",
    .routes = routes,
};

static enum flow echo_body(struct request *r)
{
    if (!r->worker->settings->test_endpoints)
        return reply_error(r, RES_ROUTE_NOT_FOUND);
    struct str type = http_header(r->head, S("content-type"));
    const char *same = type.n > 0 ? arena_z(&r->arena, type) : "text/plain";
    return reply_raw(r, 200, same != NULL ? same : "text/plain", r->body);
}

/* --- WebSocket --- */

static const struct ws_limits limits = {16 << 20, 65536, WS_TOO_BIG};
enum { FULL = 256 << 10 }; /* bytes that wait for a slow reader before we stop reading */

struct echo {
    struct conn *conn;
    struct ws ws;
    struct buf rest; /* read, but not looked at: the client does not take what it is sent */
    bool held;       /* ws.payload is a message that waits for room */
    bool over;
};

static void write_frame(struct echo *e, enum ws_opcode opcode, struct str payload)
{
    struct buf frame = {0};
    if (e->ws.deflate != NULL) /* control frames are short */
        ws_write_packed(&frame, e->ws.deflate, opcode, payload);
    else
        ws_write(&frame, WS_SERVER, opcode, payload);
    if (frame.failed || !conn_write(e->conn, buf_view(&frame))) {
        e->over = true;
        conn_abort(e->conn);
    }
    buf_free(&frame);
}

static void end(struct echo *e, int code, struct str reason)
{
    struct buf frame = {0};
    ws_write_close(&frame, WS_SERVER, code, reason);
    conn_write(e->conn, buf_view(&frame));
    buf_free(&frame);
    e->over = true;
    conn_end(e->conn);
}

/* Whether n bytes more may wait for the client; if not, on_drain will come. */
static bool has_room(const struct echo *e, size_t n)
{
    size_t queued = conn_queued(e->conn);
    if (queued == 0 || queued + n <= FULL)
        return true;
    conn_flush(e->conn);
    queued = conn_queued(e->conn);
    return queued == 0 || queued + n <= FULL;
}

static void take(struct echo *e, enum ws_event event)
{
    if (event == WS_MESSAGE)
        e->held = true;
    else if (event == WS_PINGED)
        write_frame(e, WS_PONG, e->ws.payload);
    else if (event == WS_CLOSED)
        end(e, e->ws.code, STR_NONE);
    else if (event == WS_FAULT)
        end(e, e->ws.code, str_z(e->ws.why));
}

/* Echoes until the bytes are used up or the client falls behind. */
static void pump(struct echo *e, struct str *in)
{
    while (!e->over && has_room(e, e->held ? e->ws.payload.n : WS_HEAD_MAX + 125)) {
        if (e->held) {
            e->held = false;
            write_frame(e, e->ws.opcode, e->ws.payload);
            continue;
        }
        enum ws_event event = ws_feed(&e->ws, in);
        if (event == WS_MORE)
            return;
        take(e, event);
    }
}

static void on_read(void *state, struct str bytes)
{
    struct echo *e = state;
    pump(e, &bytes);
    if (e->over || bytes.n == 0)
        return;
    conn_pause(e->conn);
    buf_str(&e->rest, bytes);
    if (e->rest.failed)
        conn_abort(e->conn);
}

static void on_drain(void *state)
{
    struct echo *e = state;
    struct buf rest = e->rest;
    e->rest = (struct buf){0};
    conn_resume(e->conn);
    on_read(e, buf_view(&rest));
    buf_free(&rest);
}

static void on_stop(void *state)
{
    struct echo *e = state;
    if (!e->over)
        end(e, WS_RESTART, S("the server is going away"));
}

static void on_close(void *state)
{
    struct echo *e = state;
    ws_fini(&e->ws);
    buf_free(&e->rest);
    free(e);
}

static const struct conn_protocol echo_protocol = {on_read, on_drain, on_stop, on_close};

static enum flow echo_messages(struct request *r)
{
    const char *why;
    struct buf fields;
    if (!r->worker->settings->test_endpoints)
        return reply_error(r, RES_ROUTE_NOT_FOUND);
    int status = ws_check_request(r->head, &why);
    if (status != 0) {
        enum code c = status == 426 ? RES_UPGRADE_REQUIRED : VAL_MALFORMED_HTTP;
        request_refuse(r, c, "%s", why);
        return reply_error(r, c);
    }
    struct echo *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return reply_error(r, SYS_OVERLOADED);
    e->conn = r->conn;
    ws_init(&e->ws, WS_SERVER, &limits);
    buf_init_arena(&fields, &r->arena, 128);
    ws_write_accept(&fields, r->head);
    e->ws.deflate = ws_accept_deflate(&fields, r->head) ? r->worker->deflate : NULL;
    conn_upgrade(r->conn, 101, reply_upgraded(r, 101, buf_view(&fields)), &echo_protocol, e);
    return DONE;
}

#include "proto/client_private.h"
#include "proto/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum phase { UPGRADING, OPEN, CLOSING };

struct client_ws {
    struct stream stream;
    struct http_parser parser;
    struct ws ws;
    struct timer deadline; /* of the upgrade, then of the goodbye */
    struct timer idle;
    int64_t idle_ms;
    const struct client_ws_type *type;
    void *arg;
    enum phase phase;
    bool pinged, said; /* said: `reason` is */
    int status;
    unsigned code;
    char reason[CLIENT_REASON];
    char key[WS_KEY];
};

enum { ABNORMAL = 1006, GOODBYE_MS = 2000 };

static const struct ws_limits message_limits = {.message = CLIENT_WS_MESSAGE, .fragments = 1024};

static struct client_ws *ws_of(struct stream *s)
{
    return list_entry(s, struct client_ws, stream);
}

static void say(struct client_ws *w, const char *reason)
{
    if (!w->said)
        snprintf(w->reason, sizeof w->reason, "%s", reason);
    w->said = true;
}

static void cut(struct client_ws *w, const char *reason)
{
    say(w, reason);
    stream_close(&w->stream);
}

static void on_late(void *arg)
{
    cut(arg, "no answer came in time");
}

static bool send_frame(struct client_ws *w, enum ws_opcode opcode, struct str payload)
{
    struct buf b = {0};
    ws_write(&b, WS_CLIENT, opcode, payload);
    bool sent = !b.failed && stream_write(&w->stream, buf_view(&b)) == STREAM_OK;
    buf_free(&b);
    return sent;
}

/* Our close frame goes out, and the connection ends when the other side's end comes or shortly after. */
static void goodbye(struct client_ws *w, int code, const char *reason)
{
    if (w->phase != OPEN) {
        if (w->phase == UPGRADING)
            stream_close(&w->stream);
        return;
    }
    struct buf b = {0};
    ws_write_close(&b, WS_CLIENT, code, str_z(reason));
    if (!b.failed)
        stream_write(&w->stream, buf_view(&b));
    buf_free(&b);
    w->phase = CLOSING;
    timer_stop(&w->idle);
    timer_start(&w->deadline, w->stream.loop, GOODBYE_MS, on_late, w);
}

/* --- after the upgrade --- */

static void closed_by_peer(struct client_ws *w)
{
    if (w->code == ABNORMAL)
        w->code = w->ws.code == 0 ? WS_NO_CODE : (unsigned)w->ws.code;
    if (!w->said && w->ws.payload.n > 0)
        snprintf(w->reason, sizeof w->reason, STR_FMT, STR_ARG(w->ws.payload));
    else if (!w->said)
        snprintf(w->reason, sizeof w->reason, "closed with %u", w->code);
    w->said = true;
    goodbye(w, ws_code_ok(w->ws.code) ? w->ws.code : WS_NORMAL, "");
    stream_finish(&w->stream, GOODBYE_MS);
}

static void take_frames(struct client_ws *w, struct str in)
{
    while (!stream_closing(&w->stream))
        switch (ws_feed(&w->ws, &in)) {
        case WS_MORE:
            return;
        case WS_MESSAGE:
            if (w->ws.opcode != WS_TEXT) {
                say(w, "a binary message came");
                goodbye(w, WS_UNSUPPORTED, "text only");
            } else if (w->phase == OPEN) {
                w->type->on_text(w->arg, w->ws.payload);
            }
            break;
        case WS_PINGED:
            if (w->phase == OPEN)
                send_frame(w, WS_PONG, w->ws.payload);
            break;
        case WS_PONGED:
            break;
        case WS_CLOSED:
            closed_by_peer(w);
            return;
        case WS_FAULT:
            say(w, w->ws.why);
            goodbye(w, w->ws.code, "");
            stream_finish(&w->stream, GOODBYE_MS);
            return;
        }
}

static void on_idle(void *arg)
{
    struct client_ws *w = arg;
    if (w->pinged) {
        char reason[CLIENT_REASON];
        snprintf(reason, sizeof reason, "nothing came for %lld ms", (long long)w->idle_ms);
        cut(w, reason);
        return;
    }
    w->pinged = true;
    send_frame(w, WS_PING, STR_NONE);
    timer_start(&w->idle, w->stream.loop, w->idle_ms / 2, on_idle, w);
}

static void heard(struct client_ws *w)
{
    w->pinged = false;
    if (w->idle_ms > 0 && w->phase == OPEN)
        timer_start(&w->idle, w->stream.loop, w->idle_ms / 2, on_idle, w);
}

/* --- the upgrade --- */

static void refused(struct client_ws *w)
{
    char reason[CLIENT_REASON];
    w->status = w->parser.head.status;
    snprintf(reason, sizeof reason, "the server answered %d %s", w->status, http_reason(w->status));
    cut(w, reason);
}

static void upgraded(struct client_ws *w, struct str behind)
{
    if (!ws_check_response(&w->parser.head, w->key)) {
        cut(w, "the answer does not accept the upgrade");
        return;
    }
    timer_stop(&w->deadline);
    http_parser_fini(&w->parser);
    w->phase = OPEN;
    heard(w);
    w->type->on_open(w->arg);
    if (behind.n > 0)
        take_frames(w, behind);
}

static void take_answer(struct client_ws *w, struct str in)
{
    switch (http_feed(&w->parser, &in)) {
    case HTTP_MORE:
        return;
    case HTTP_GOT_HEAD:
        if (w->parser.head.status == 101)
            upgraded(w, in);
        else
            refused(w);
        return;
    case HTTP_FAULT:
        cut(w, w->parser.why);
        return;
    case HTTP_GOT_BODY:
    case HTTP_END:
        cut(w, "the answer is no answer to an upgrade");
        return;
    }
}

static void on_read(struct stream *s, struct str bytes)
{
    struct client_ws *w = ws_of(s);
    if (w->phase == UPGRADING) {
        take_answer(w, bytes);
        return;
    }
    heard(w);
    take_frames(w, bytes);
}

static void on_drain(struct stream *s)
{
    struct client_ws *w = ws_of(s);
    if (w->phase == OPEN && w->type->on_drain != NULL)
        w->type->on_drain(w->arg);
}

static void on_close(struct stream *s, enum stream_end why)
{
    struct client_ws *w = ws_of(s);
    timer_stop(&w->deadline);
    timer_stop(&w->idle);
    http_parser_fini(&w->parser);
    ws_fini(&w->ws);
    if (!w->said)
        client_end_text(s, why, w->reason);
    w->type->on_close(w->arg, w->status, w->code, str_z(w->reason));
    free(w);
}

static const struct stream_events ws_type = {.on_read = on_read, .on_drain = on_drain, .on_close = on_close};

static void upgrade_write(struct buf *b, const struct client_request *request, const char *key)
{
    client_head(b, request, "GET");
    buf_printf(b,
               "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: %s\r\n\r\n",
               key);
}

struct client_ws *client_ws_open(struct loop *loop, const struct client_request *request,
                                 const struct client_ws_type *type, void *arg)
{
    static const struct http_limits limits = {.line = 8192, .head = 32768, .fields = 100, .body = CLIENT_BODY};
    static const struct stream_limits queue = {.queue = CLIENT_WS_QUEUE};
    struct client_ws *w = calloc(1, sizeof *w);
    struct buf head = {0};
    struct address to;
    if (w == NULL || !client_address(request->url, &to)) {
        free(w);
        return NULL;
    }
    *w = (struct client_ws){.type = type, .arg = arg, .code = ABNORMAL};
    http_parser_init(&w->parser, HTTP_CLIENT, &limits);
    ws_init(&w->ws, WS_CLIENT, &message_limits);
    ws_new_key(w->key);
    upgrade_write(&head, request, w->key);
    int64_t deadline = request->deadline_ms > 0 ? request->deadline_ms : CLIENT_DEADLINE_MS;
    if (head.failed || stream_connect(&w->stream, loop, &to, deadline, &ws_type, &queue) != 0) {
        http_parser_fini(&w->parser);
        ws_fini(&w->ws);
        free(w);
        w = NULL;
    } else {
        timer_start(&w->deadline, loop, deadline, on_late, w);
        if (client_tls(&w->stream, request->url))
            stream_write(&w->stream, buf_view(&head));
        else
            cut(w, "memory ran out");
    }
    buf_free(&head);
    return w;
}

bool client_ws_send(struct client_ws *w, struct str text)
{
    return w->phase == OPEN && !stream_closing(&w->stream) && send_frame(w, WS_TEXT, text);
}

size_t client_ws_queued(const struct client_ws *w)
{
    return stream_queued(&w->stream);
}

void client_ws_idle(struct client_ws *w, int64_t ms)
{
    w->idle_ms = ms;
    if (ms > 0)
        heard(w);
    else
        timer_stop(&w->idle);
}

void client_ws_close(struct client_ws *w, unsigned code, const char *reason)
{
    if (stream_closing(&w->stream))
        return;
    say(w, reason);
    goodbye(w, (int)code, reason);
}

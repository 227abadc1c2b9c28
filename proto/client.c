#include "proto/client.h"
#include "proto/client_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void host_field(struct buf *b, const struct client_url *url)
{
    bool literal = str_index(url->host, ':') >= 0;
    buf_z(b, "Host: ");
    if (url->local)
        buf_z(b, "localhost");
    else
        buf_printf(b, literal ? "[" STR_FMT "]" : STR_FMT, STR_ARG(url->host));
    if (!url->local && url->port != (url->tls ? 443 : 80))
        buf_printf(b, ":%u", url->port);
    buf_z(b, "\r\n");
}

void client_head(struct buf *b, const struct client_request *request, const char *method)
{
    buf_z(b, method);
    buf_char(b, ' ');
    buf_str(b, request->url->base);
    buf_str(b, request->path);
    buf_z(b, " HTTP/1.1\r\n");
    host_field(b, request->url);
    for (const struct client_header *h = request->headers; h != NULL && h->name != NULL; h++)
        http_write_field(b, str_z(h->name), h->value);
}

void client_end_text(const struct stream *s, enum stream_end why, char out[CLIENT_REASON])
{
    static const char *const texts[] = {
        [STREAM_DONE] = "the connection was closed",
        [STREAM_EOF] = "the other side closed the connection",
        [STREAM_LOST] = "the connection was lost",
        [STREAM_TIMEOUT] = "no connection came about in time",
        [STREAM_STALLED] = "the other side did not read in time",
        [STREAM_MEMORY] = "memory ran out",
    };
    enum { RESOLVER = 3000 }; /* numbers from here on are the resolver's */
    const char *fault = tls_fault(s);
    if (fault != NULL)
        snprintf(out, CLIENT_REASON, "%s", fault);
    else if (why == STREAM_LOST && s->error < 0)
        snprintf(out, CLIENT_REASON, "%s", s->error > -RESOLVER ? strerror(-s->error) : "the host name is not known");
    else
        snprintf(out, CLIENT_REASON, "%s", texts[why]);
}

/* --- one request, one answer --- */

struct client_call {
    struct op op;
    struct stream stream;
    struct http_parser parser;
    struct timer deadline;
    struct buf head, body;
    struct str retry_after;
    client_then *then;
    void *arg;
    char why[CLIENT_REASON];
    char retry[64];
    bool answered, silent; /* silent: `why` is already said */
};

static struct client_call *call_of(struct stream *s)
{
    return list_entry(s, struct client_call, stream);
}

static void call_fail(struct client_call *c, const char *why)
{
    if (!c->silent && !c->answered)
        snprintf(c->why, sizeof c->why, "%s", why);
    c->silent = true;
    stream_close(&c->stream);
}

static void call_end(struct client_call *c)
{
    struct str retry = http_header(&c->parser.head, S("retry-after"));
    if (retry.p != NULL && retry.n < sizeof c->retry) {
        memcpy(c->retry, retry.p, retry.n);
        c->retry_after = (struct str){c->retry, retry.n};
    }
    c->answered = true;
    stream_close(&c->stream);
}

static void call_events(struct client_call *c, struct str *in, bool eof)
{
    for (;;)
        switch (eof ? http_eof(&c->parser) : http_feed(&c->parser, in)) {
        case HTTP_MORE:
            if (eof)
                call_fail(c, "the other side closed the connection without an answer");
            return;
        case HTTP_GOT_HEAD:
            if (c->parser.head.status >= 200)
                break;
            call_fail(c, "the answer was an interim one");
            return;
        case HTTP_GOT_BODY:
            buf_str(&c->body, c->parser.data);
            if (c->body.failed) {
                call_fail(c, "memory ran out");
                return;
            }
            break;
        case HTTP_END:
            call_end(c);
            return;
        case HTTP_FAULT:
            call_fail(c, c->parser.why);
            return;
        }
}

static void call_read(struct stream *s, struct str bytes)
{
    call_events(call_of(s), &bytes, false);
}

static void call_eof(struct stream *s)
{
    call_events(call_of(s), &(struct str){0}, true);
}

static void call_free(struct client_call *c)
{
    http_parser_fini(&c->parser);
    buf_free(&c->head);
    buf_free(&c->body);
    free(c);
}

static void call_close(struct stream *s, enum stream_end why)
{
    struct client_call *c = call_of(s);
    timer_stop(&c->deadline);
    if (!c->answered && !c->silent)
        client_end_text(s, why, c->why);
    struct client_answer answer = {.status = c->answered ? c->parser.head.status : 0,
                                   .body = buf_view(&c->body),
                                   .retry_after = c->retry_after,
                                   .error = c->answered ? NULL : c->why};
    if (op_finish(&c->op))
        c->then(c->arg, &answer);
    call_free(c);
}

static void call_late(void *arg)
{
    call_fail(arg, "no answer came in time");
}

static const struct stream_events call_type = {.on_read = call_read, .on_eof = call_eof, .on_close = call_close};

bool client_call(struct loop *loop, const struct client_request *request, struct ops *asker, client_then *then,
                 void *arg)
{
    static const struct http_limits limits = {.line = 8192, .head = 32768, .fields = 100, .body = CLIENT_BODY};
    struct client_call *c = calloc(1, sizeof *c);
    struct address to;
    if (c == NULL || !client_address(request->url, &to)) {
        free(c);
        return false;
    }
    c->then = then;
    c->arg = arg;
    http_parser_init(&c->parser, HTTP_CLIENT, &limits);
    c->parser.no_body = strcmp(request->method, "HEAD") == 0;
    client_head(&c->head, request, request->method);
    if (request->body.p != NULL) {
        http_write_field(&c->head, S("Content-Type"),
                         request->type != NULL ? str_z(request->type) : S("application/json"));
        http_write_number(&c->head, S("Content-Length"), request->body.n);
    }
    buf_z(&c->head, "Connection: close\r\n\r\n");
    buf_str(&c->head, request->body);
    int64_t deadline = request->deadline_ms > 0 ? request->deadline_ms : CLIENT_DEADLINE_MS;
    if (c->head.failed || stream_connect(&c->stream, loop, &to, deadline, &call_type, NULL) != 0) {
        call_free(c);
        return false;
    }
    op_begin(&c->op, asker);
    timer_start(&c->deadline, loop, deadline, call_late, c);
    if (!client_tls(&c->stream, request->url))
        call_fail(c, "memory ran out");
    else if (stream_write(&c->stream, buf_view(&c->head)) != STREAM_OK)
        call_fail(c, "the request is too large");
    return true;
}

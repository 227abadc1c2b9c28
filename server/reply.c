#include "server/reply.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "proto/http.h"
#include "server/audit.h"
#include "server/conn.h"
#include "server/credit.h"
#include "server/dialect.h"
#include "server/idempotency.h"
#include "server/router.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char json_media[] = "application/json";

enum code request_refuse(struct request *r, enum code c, const char *fmt, ...)
{
    va_list args;
    char text[512];
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->refused = c;
    r->why = n < 0 ? STR_NONE : arena_str(&r->arena, str_z(text));
    return c;
}

void reply_header(struct request *r, const char *name, struct str value)
{
    http_write_field(&r->fields, str_z(name), value);
}

/* RFC 6797: said to whoever came by TLS itself, of a service that is https to all. */
static void write_hsts(struct buf *b, const struct request *r)
{
    const struct settings *s = r->worker->settings;
    if (s->tls_hsts > 0 && conn_secure(r->conn) && str_starts(str_z(s->public_url), S("https://")))
        buf_printf(b, "Strict-Transport-Security: max-age=%lld\r\n", (long long)s->tls_hsts / 1000);
}

/* Headers that every answer carries. */
static void write_common(struct buf *b, const struct request *r)
{
    http_write_field(b, S("X-Request-ID"), str_z(r->id));
    if (str_find(buf_view(&r->fields), S("Cache-Control:")) < 0)
        http_write_field(b, S("Cache-Control"), S("no-store"));
    http_write_field(b, S("X-Content-Type-Options"), S("nosniff"));
    write_hsts(b, r);
    if (r->rate.known)
        limit_write(b, &r->rate);
    buf_z(b, r->dialect->fields);
    buf_str(b, buf_view(&r->fields));
}

/* The one line of a request. Paths only by their route, so that no id and no query token is in it by accident. */
static void log_answer(const struct request *r)
{
    if (!r->worker->settings->log_requests)
        return;
    const char *kinds[] = {"", "key:", "user:", "agent:", "system:", "client:"};
    log_info("request",
             "method=%s route=%s%s status=%d code=%s caller=%s" STR_FMT " tenant=" STR_FMT " address=" STR_FMT
             " in=%zu out=%zu us=%llu request=%s",
             r->method == 0 ? "?" : method_name(r->method), r->route == NULL ? "" : r->dialect->base,
             r->route == NULL ? "-" : r->route->path, r->status, r->refused == OK ? "" : code_name(r->refused),
             kinds[r->caller.type], STR_ARG(r->caller.id), STR_ARG(r->caller.tenant), STR_ARG(r->address), r->body.n,
             r->sent, (unsigned long long)((int64_t)clock_mono_ns() - r->started_ns) / 1000, r->id);
}

static void send_answer(struct request *r, int status, const char *type, struct str body)
{
    struct buf b;
    buf_init_arena(&b, &r->arena, 768);
    write_common(&b, r);
    if (type != NULL)
        http_write_field(&b, S("Content-Type"), str_z(type));
    r->sent = body.n;
    if (!b.failed && !r->fields.failed) {
        r->status = status;
        log_answer(r);
        conn_send(r->conn, status, buf_view(&b), body);
        return;
    }
    char bare[128];
    int n = snprintf(bare, sizeof bare, "X-Request-ID: %s\r\nRetry-After: 1\r\nCache-Control: no-store\r\n", r->id);
    r->status = code_status(SYS_OVERLOADED);
    r->sent = 0;
    log_answer(r);
    conn_send(r->conn, r->status, (struct str){bare, (size_t)n}, STR_NONE);
}

/* The one way out. */
static enum flow finish(struct request *r, int status, const char *type, struct str body)
{
    if (r->admitting) {
        r->held.there = true;
        r->held.status = status;
        r->held.type = type;
        r->held.body = body;
        return WAIT;
    }
    if (r->answered)
        return DONE;
    if (r->arena.failed &&
        r->refused != SYS_OVERLOADED) /* made without what there was no memory for: not to be trusted */
        return reply_error(r, SYS_OVERLOADED);
    if (status < 400 && scope_open(r)) /* nobody has looked whether it may be seen */
        return reply_error(r, PERM_ENVIRONMENT_SCOPE);
    if (idempotency_keep(r, status, type, body) == WAIT)
        return WAIT;
    r->answered = true;
    if (r->built && (r->replayed || (status >= 400 && status < 500)))
        credit_return_build(r->worker->credits, &r->caller);
    send_answer(r, status, type, body);
    return DONE;
}

void reply_release(struct request *r)
{
    r->admitting = false;
    if (r->held.there)
        finish(r, r->held.status, r->held.type, r->held.body);
}

void reply_kept(struct request *r, int status, const char *type, struct str body)
{
    finish(r, status, type, body);
}

void reply_forget(struct request *r)
{
    r->admitting = false;
    r->held.there = false;
    ops_detach(&r->ops);
    buf_clear(&r->fields);
}

static enum flow reply_enveloped(struct request *r, int status, struct str data, const struct page *page)
{
    struct buf b;
    buf_init_arena(&b, &r->arena, data.n + 384);
    r->dialect->write_data(&b, r, data, page);
    r->answer.data = data;
    return b.failed ? reply_error(r, SYS_OVERLOADED) : finish(r, status, json_media, buf_view(&b));
}

enum flow reply_data(struct request *r, int status, struct str data)
{
    return reply_enveloped(r, status, data, NULL);
}

enum flow reply_list(struct request *r, struct str elements, const struct page *page)
{
    return reply_enveloped(r, 200, elements, page);
}

void reply_faults(struct json_out *o, const struct faults *faults)
{
    json_open(o, '[');
    for (size_t i = 0; i < faults->n; i++) {
        json_open(o, '{');
        json_key(o, S("field"));
        json_put_str(o, faults->list[i].field);
        json_key(o, S("message"));
        json_put_str(o, faults->list[i].message);
        json_key(o, S("code"));
        json_put_z(o, faults->list[i].code);
        json_close(o, '}');
    }
    json_close(o, ']');
}

bool reply_tag_listed(struct str list, struct str tag, bool weak)
{
    if (str_eq(str_trim(list), S("*")))
        return true;
    while (list.p != NULL) {
        struct str item = str_trim(str_cut(&list, ','));
        if (weak && str_starts(item, S("W/")))
            item = str_slice(item, 2, item.n);
        if (item.n == tag.n + 2 && item.p[0] == '"' && item.p[item.n - 1] == '"' &&
            str_eq(str_slice(item, 1, item.n - 1), tag))
            return true;
    }
    return false;
}

enum flow reply_document(struct request *r, int status, struct str document, int64_t revision)
{
    struct buf tag;
    buf_init_arena(&tag, &r->arena, 24);
    buf_char(&tag, '"');
    buf_i64(&tag, revision);
    buf_char(&tag, '"');
    if (tag.failed)
        return reply_error(r, SYS_OVERLOADED);
    reply_header(r, "ETag", buf_view(&tag));
    r->answer.revision = revision;
    struct str known = http_header(r->head, S("if-none-match"));
    if (status == 200 && (r->method & (GET | HEAD)) != 0 && known.p != NULL &&
        reply_tag_listed(known, str_slice(buf_view(&tag), 1, tag.n - 1), true))
        return finish(r, 304, NULL, STR_NONE);
    return reply_data(r, status, document);
}

enum flow reply_created(struct request *r, struct str id, struct str document, int64_t revision)
{
    struct str place = ARENA_CAT(&r->arena, r->head->path, S("/"), id);
    reply_header(r, "Location", place);
    r->answer.location = place;
    return reply_document(r, 201, document, revision);
}

enum flow reply_empty(struct request *r, int status)
{
    return finish(r, status, NULL, STR_NONE);
}

bool reply_unchanged(struct request *r, struct str tag)
{
    struct str known = http_header(r->head, S("if-none-match"));
    reply_header(r, "ETag", arena_printf(&r->arena, "\"" STR_FMT "\"", STR_ARG(tag)));
    if (known.p == NULL || !reply_tag_listed(known, tag, true))
        return false;
    finish(r, 304, NULL, STR_NONE);
    return true;
}

bool reply_stream(struct request *r, const char *content_type, uint64_t length, void (*on_room)(void *arg), void *arg)
{
    struct buf b;
    buf_init_arena(&b, &r->arena, 768);
    write_common(&b, r);
    http_write_field(&b, S("Content-Type"), str_z(content_type));
    if (b.failed || r->fields.failed) {
        reply_error(r, SYS_OVERLOADED);
        return false;
    }
    r->answered = true;
    r->status = 200;
    r->sent = length;
    log_answer(r);
    return conn_send_begin(r->conn, 200, buf_view(&b), length, on_room, arg);
}

enum flow reply_raw(struct request *r, int status, const char *content_type, struct str bytes)
{
    return finish(r, status, content_type, bytes);
}

void request_lacks(struct request *r, const char *permission)
{
    r->lacks = permission;
    r->details = arena_printf(&r->arena, "{\"required\":\"%s\"}", permission);
}

/* Headers that belong to a code rather than to a place. */
static void write_error_fields(struct request *r, enum code c)
{
    int status = code_status(c);
    if (status == 401 || (status == 403 && r->lacks != NULL)) {
        r->dialect->write_challenge(r, c);
    } else if (status == 405) {
        struct buf allow;
        buf_init_arena(&allow, &r->arena, 64);
        method_list(&allow, r->allow);
        reply_header(r, "Allow", buf_view(&allow));
    } else if (status == 429 && r->rate.retry_in_s > 0) {
        http_write_number(&r->fields, S("Retry-After"), (uint64_t)r->rate.retry_in_s);
    } else if (status == 429 || status == 503 || c == RES_IDEMPOTENCY_IN_PROGRESS) {
        reply_header(r, "Retry-After", S("1"));
    } else if (status == 426) {
        reply_header(r, "Upgrade", S("websocket"));
        reply_header(r, "Connection", S("Upgrade"));
        reply_header(r, "Sec-WebSocket-Version", S("13"));
    }
}

enum flow reply_error(struct request *r, enum code c)
{
    struct buf b;
    if (r->arena.failed)
        c = SYS_OVERLOADED;
    if (idempotency_look(r, c) == WAIT)
        return WAIT;
    struct str message = r->refused == c && r->why.n > 0 ? r->why : str_z(code_text(c));
    if (!r->replayed)
        audit_refused(r, c, message);
    r->refused = c;
    r->answer.data = STR_NONE;
    buf_clear(&r->fields);
    if (r->replayed)
        reply_header(r, "Idempotency-Replayed", S("true"));
    write_error_fields(r, c);
    buf_init_arena(&b, &r->arena, 512);
    r->dialect->write_error(&b, r, c, message);
    if (b.failed)
        return finish(r, code_status(c), NULL, STR_NONE);
    return finish(r, code_status(c), json_media, buf_view(&b));
}

struct str reply_upgraded(struct request *r, int status, struct str fields)
{
    struct buf b;
    buf_init_arena(&b, &r->arena, fields.n + 512);
    write_common(&b, r);
    buf_str(&b, fields);
    r->status = status;
    r->answered = true;
    log_answer(r);
    return b.failed ? fields : buf_view(&b);
}

enum code request_check_revision(struct request *r, int64_t revision)
{
    char tag[24];
    struct str wanted = http_header(r->head, S("if-match"));
    int n = snprintf(tag, sizeof tag, "%lld", (long long)revision);
    if (wanted.p == NULL || reply_tag_listed(wanted, (struct str){tag, (size_t)n}, false))
        return OK;
    r->details = arena_printf(&r->arena, "{\"currentRevision\":%s}", tag);
    return request_refuse(r, r->dialect->stale, "the resource is at revision %s, not the one If-Match names", tag);
}

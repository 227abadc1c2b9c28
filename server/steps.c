/* The fixed steps of every request, and the driver that walks them. */
#include "server/request.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "proto/form.h"
#include "proto/http.h"
#include "proto/query.h"
#include "server/auth.h"
#include "server/conn.h"
#include "server/dialect.h"
#include "server/forwarded.h"
#include "server/idempotency.h"
#include "server/list.h"
#include "server/settings.h"
#include "server/reply.h"
#include "server/router.h"
#include "server/scope.h"
#include "server/worker.h"

#include <stdio.h>
#include <string.h>

static enum flow step_route(struct request *r);
static enum flow step_body(struct request *r);
static enum flow step_validate(struct request *r);
static enum flow step_handle(struct request *r);

static enum flow (*const steps[])(struct request *r) = {
    step_route,        /* dialect, row, parameters; a flood from one address ends here */
    auth_admit,        /* who calls, may they, how often: one store trip */
    step_body,         /* type and size; waits until it is whole */
    step_validate,     /* query and body against the rows, every fault in one answer */
    scope_step,        /* in this environment? */
    idempotency_claim, /* done before? */
    step_handle,       /* the resource's own */
};

void request_resume(struct request *r)
{
    while (!r->answered && r->step < ARRAY_LEN(steps))
        if (steps[r->step++](r) != NEXT)
            return;
}

/* The client's id when it is short and printable, else a fresh one. */
static void choose_id(struct request *r)
{
    struct str given = http_header(r->head, S("x-request-id"));
    bool good = given.n > 0 && given.n < sizeof r->id;
    for (size_t i = 0; good && i < given.n; i++)
        good = given.p[i] > ' ' && given.p[i] < 0x7f;
    if (good)
        memcpy(r->id, given.p, given.n);
    else
        id_uuid(clock_wall_ms(), r->id);
}

static void open_request(struct request *r)
{
    ops_init(&r->ops);
    buf_init_arena(&r->fields, &r->arena, 0);
    r->started_ns = (int64_t)clock_mono_ns();
    r->dialect = dialects[0];
}

void request_start(struct request *r)
{
    open_request(r);
    choose_id(r);
    request_resume(r);
}

void request_body(struct request *r, struct str body)
{
    r->body = body;
    r->has_whole_body = true;
    if (r->wants_body) {
        r->wants_body = false;
        request_resume(r);
    }
}

static void tell_end(struct request *r)
{
    void (*on_end)(struct request * r) = r->on_end;
    r->on_end = NULL;
    if (on_end != NULL)
        on_end(r);
}

void request_end(struct request *r)
{
    tell_end(r);
    ops_detach(&r->ops);
    arena_reset(&r->arena);
}

void request_fault(struct request *r, enum code c, const char *why)
{
    if (r->answered)
        return;
    if (r->started_ns == 0) {
        open_request(r);
        id_uuid(clock_wall_ms(), r->id);
    }
    tell_end(r);
    ops_detach(&r->ops);
    r->admitting = false;
    r->idempotency = NULL;
    if (why != NULL)
        request_refuse(r, c, "%s", why);
    reply_error(r, c);
}

/* Route. */

static enum flow refuse_query(struct request *r, const char *why)
{
    request_refuse(r, VAL_FAILED, "the query string: %s", why);
    return reply_error(r, VAL_FAILED);
}

/* `OPTIONS *` asks about the server as a whole. */
static enum flow reply_options(struct request *r, unsigned allow)
{
    struct buf b;
    buf_init_arena(&b, &r->arena, 64);
    method_list(&b, allow);
    reply_header(r, "Allow", buf_view(&b));
    return reply_empty(r, 204);
}

/* Before anything is spent on it. What the process itself answers is as cheap as a refusal, and probes must get through.
 */
static enum flow shed(struct request *r)
{
    const struct worker *w = r->worker;
    if (r->dialect == &dialect_system)
        return NEXT;
    if (!limit_address(w->limit, r->address, r->started_ns / 1000000, &r->rate))
        return reply_error(r, RATE_LIMIT_EXCEEDED);
    if (conn_surplus(r->conn))
        request_refuse(r, SYS_OVERLOADED, "there are too many connections");
    else if (w->conns.asked > (size_t)w->settings->requests_max)
        request_refuse(r, SYS_OVERLOADED, "too many requests wait for their answer");
    else
        return NEXT;
    return reply_error(r, SYS_OVERLOADED);
}

static enum flow step_route(struct request *r)
{
    struct buf path;
    struct router_match match;
    const struct worker *w = r->worker;
    r->method = method_parse(r->head->method);
    r->address = forwarded_client(&w->settings->forwarded, r->address, r->head, &r->arena);
    buf_init_arena(&path, &r->arena, r->head->path.n);
    r->dialect = dialect_of(r->head->path);
    if (shed(r) == DONE)
        return DONE;
    if (str_eq(r->head->path, S("*")) && r->method == OPTIONS)
        return reply_options(r, GET | POST | PUT | PATCH | DELETE | HEAD | OPTIONS);
    bool decoded = http_path(&path, r->head->path);
    if (path.failed ||
        !router_find(w->settings->router, &r->arena, r->method, decoded ? buf_view(&path) : S(""), &match))
        return reply_error(r, SYS_OVERLOADED);
    r->path = str_slice(buf_view(&path), strlen(r->dialect->base), path.n);
    r->route = match.route;
    r->resource = match.resource;
    r->allow = match.allow;
    memcpy(r->params, match.params, sizeof r->params);
    if (r->route == NULL)
        r->unroutable = r->allow == 0 ? RES_ROUTE_NOT_FOUND : RES_METHOD_NOT_ALLOWED;
    r->query = arena_new(&r->arena, struct query);
    if (r->query == NULL)
        return reply_error(r, SYS_OVERLOADED);
    enum query_fault fault = query_parse(&r->arena, r->head->query, r->query);
    if (fault != QUERY_OK && (r->route == NULL || (r->route->flags & ROUTE_PUBLIC) == 0))
        r->query_fault = query_why(fault);
    else if (fault != QUERY_OK)
        return refuse_query(r, query_why(fault));
    return NEXT;
}

/* After the caller is known, or where nobody needs to be. */
enum flow request_routable(struct request *r)
{
    if (r->unroutable == RES_METHOD_NOT_ALLOWED && r->method == OPTIONS)
        return reply_options(r, r->allow);
    if (r->unroutable != OK)
        return reply_error(r, r->unroutable);
    return r->query_fault != NULL ? refuse_query(r, r->query_fault) : NEXT;
}

/* Body. */

static bool is_json(struct str type)
{
    struct str rest = type, media = str_trim(str_cut(&rest, ';'));
    if (!str_ieq(media, S("application/json")) && !str_ieq(media, S("application/merge-patch+json")))
        return false;
    while (rest.p != NULL) {
        struct str value = str_trim(str_cut(&rest, ';')), name = str_trim(str_cut(&value, '='));
        if (str_ieq(name, S("charset")) && !str_ieq(str_trim(value), S("utf-8")) &&
            !str_ieq(str_trim(value), S("\"utf-8\"")))
            return false;
    }
    return true;
}

static bool takes_body(const struct request *r)
{
    return (r->method & (POST | PUT | PATCH)) != 0 || (r->route->flags & ROUTE_RAW_BODY) != 0;
}

static bool takes_type(const struct request *r, struct str type)
{
    if ((r->route->flags & ROUTE_FORM) != 0)
        return form_is(type);
    return (r->route->flags & ROUTE_RAW_BODY) != 0 || is_json(type);
}

/* RFC 6749 §5.2 has no 415. */
static enum flow refuse_type(struct request *r)
{
    bool form = (r->route->flags & ROUTE_FORM) != 0;
    enum code c = form ? OAUTH_INVALID_REQUEST : RES_UNSUPPORTED_MEDIA_TYPE;
    request_refuse(r, c, "this operation takes %s", form ? "application/x-www-form-urlencoded" : "application/json");
    return reply_error(r, c);
}

/* The handler will take the body as it comes (conn_stream_body), once it knows what it is for. */
static enum flow check_stream(struct request *r)
{
    struct str type = http_header(r->head, S("content-type"));
    if (type.p == NULL || str_ieq(str_trim(str_cut(&type, ';')), S("application/octet-stream")))
        return NEXT;
    request_refuse(r, RES_UNSUPPORTED_MEDIA_TYPE, "this operation takes application/octet-stream");
    return reply_error(r, RES_UNSUPPORTED_MEDIA_TYPE);
}

static enum flow step_body(struct request *r)
{
    if ((r->route->flags & ROUTE_BODY_STREAM) != 0)
        return check_stream(r);
    if (!takes_body(r) || !r->head->has_body)
        return NEXT;
    if (!takes_type(r, http_header(r->head, S("content-type"))))
        return refuse_type(r);
    if (r->has_whole_body)
        return NEXT;
    r->wants_body = true;
    conn_want_body(r->conn, (uint64_t)r->worker->settings->body_max);
    return WAIT;
}

/* Validate. */

static enum flow refuse_json(struct request *r, const struct json_fault *fault)
{
    r->details = arena_printf(&r->arena, "{\"offset\":%zu}", fault->offset);
    request_refuse(r, VAL_MALFORMED_JSON, "the body is not well-formed JSON, at byte %zu: %s", fault->offset,
                   fault->message);
    return reply_error(r, VAL_MALFORMED_JSON);
}

static enum flow validate_body(struct request *r, struct faults *faults)
{
    const struct settings *s = r->worker->settings;
    const struct route *route = r->route;
    const struct json_limits limits = {(unsigned)s->json_depth, (unsigned)s->json_nodes};
    static const struct field none[] = {{0}};
    bool optional = (route->flags & ROUTE_NO_BODY) != 0;
    const struct field *rows = route->body != NULL ? route->body : optional ? none : r->resource->fields;
    struct json_fault fault = {.message = "a JSON object is expected"};
    struct str text = r->body.n == 0 && optional ? S("{}") : r->body;
    struct json *body = text.n == 0 ? NULL : json_parse(&r->arena, text, &limits, &fault);
    if (body == NULL)
        return fault.exhausted ? reply_error(r, SYS_OVERLOADED) : refuse_json(r, &fault);
    if (json_type(body) != JSON_OBJECT) {
        fault_add(faults, S(""), "VAL_INVALID_TYPE", "the body is not a JSON object");
        return NEXT;
    }
    r->json = field_check(rows, body, (r->method & (PUT | PATCH)) != 0 ? FIELD_CHANGE : FIELD_CREATE, faults);
    return r->json == NULL && faults->n == 0 ? reply_error(r, SYS_OVERLOADED) : NEXT;
}

static enum flow validate_form(struct request *r)
{
    enum form_fault fault;
    r->form = arena_new(&r->arena, struct form);
    if (r->form == NULL || (fault = form_parse(&r->arena, r->body, r->form)) == FORM_MEMORY)
        return reply_error(r, SYS_OVERLOADED);
    if (fault == FORM_OK)
        return NEXT;
    request_refuse(r, OAUTH_INVALID_REQUEST, "the form: %s", form_why(fault));
    return reply_error(r, OAUTH_INVALID_REQUEST);
}

/* Whether a list or stream knows the parameter beyond the route's own rows. */
static bool is_common_parameter(const struct request *r, struct str name)
{
    if ((r->route->flags & ROUTE_STREAM) != 0 && str_eq(name, S("token")))
        return true;
    return (r->route->flags & ROUTE_LIST) != 0 && list_parameter(r->dialect, r->resource, name);
}

/* A parameter's text as the JSON value that its row wants; what does not fit stays a string, for field_check to refuse.
 */
static void write_parameter(struct json_out *o, const struct field *row, const struct query *q, struct str name)
{
    struct str value = query_get(q, name);
    int64_t number;
    size_t i = 0;
    if (row->type == FIELD_LIST) {
        json_open(o, '[');
        while (query_each(q, name, &i, &value))
            for (struct str rest = value; rest.p != NULL;)
                json_put_str(o, str_trim(str_cut(&rest, ',')));
        json_close(o, ']');
    } else if ((row->type == FIELD_INT || row->type == FIELD_NUMBER) && str_i64(value, &number)) {
        json_put_int(o, number);
    } else if (row->type == FIELD_BOOL && (str_eq(value, S("true")) || str_eq(value, S("false")))) {
        json_put_bool(o, value.n == 4);
    } else {
        json_put_str(o, value);
    }
}

static bool seen_before(const struct query *q, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (str_eq(q->params[j].name, q->params[i].name))
            return true;
    return false;
}

static void add_query_fault(struct request *r, struct faults *faults, struct str name, const char *code,
                            const char *message)
{
    fault_add(faults, arena_printf(&r->arena, "query." STR_FMT, STR_ARG(name)), code, "%s", message);
}

/* Checks the route's own rows by field_check, under names that begin with `query.`. */
static void check_rows(struct request *r, struct faults *faults, struct str object)
{
    static const struct field none[] = {{0}};
    struct faults own;
    faults_init(&own, &r->arena);
    struct json *given = json_parse(&r->arena, object, NULL, NULL);
    if (given != NULL)
        r->parameters = field_check(r->route->query != NULL ? r->route->query : none, given, FIELD_CREATE, &own);
    for (size_t i = 0; i < own.n; i++)
        fault_add(faults, arena_printf(&r->arena, "query." STR_FMT, STR_ARG(own.list[i].field)), own.list[i].code,
                  STR_FMT, STR_ARG(own.list[i].message));
}

/* False when memory ran out. */
static bool validate_query(struct request *r, struct faults *faults)
{
    struct buf b;
    struct json_out o;
    const struct query *q = r->query;
    if (q->n == 0 && r->route->query == NULL)
        return true;
    buf_init_arena(&b, &r->arena, 128);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < q->n; i++) {
        struct str name = q->params[i].name;
        const struct field *row = r->route->query == NULL ? NULL : field_find(r->route->query, name);
        bool common = row == NULL && is_common_parameter(r, name);
        if (row == NULL && !common) {
            if (!seen_before(q, i) && (r->route->flags & ROUTE_MORE_QUERY) == 0)
                add_query_fault(r, faults, name, "VAL_UNKNOWN_FIELD", "this operation does not know the parameter");
        } else if (row != NULL && !seen_before(q, i)) {
            if (row->type != FIELD_LIST && query_count(q, name) > 1)
                add_query_fault(r, faults, name, "VAL_INVALID_FORMAT", "the parameter is given more than once");
            json_key(&o, name);
            write_parameter(&o, row, q, name);
        }
    }
    json_close(&o, '}');
    check_rows(r, faults, b.failed ? STR_NONE : buf_view(&b));
    if ((r->route->flags & ROUTE_LIST) != 0 && !list_query_check(r, r->resource, faults))
        return false;
    return r->parameters != NULL || faults->n > 0;
}

static enum flow step_validate(struct request *r)
{
    bool has_body = takes_body(r) && (r->route->flags & (ROUTE_RAW_BODY | ROUTE_BODY_STREAM)) == 0;
    if (r->query->n == 0 && r->route->query == NULL && !has_body && r->method != POST)
        return NEXT;
    struct faults *faults = arena_new(&r->arena, struct faults);
    if (faults == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(faults, &r->arena);
    if (!validate_query(r, faults) || (r->method == POST && !idempotency_begin(r, faults)))
        return reply_error(r, SYS_OVERLOADED);
    if (has_body) {
        enum flow flow = (r->route->flags & ROUTE_FORM) != 0 ? validate_form(r) : validate_body(r, faults);
        if (flow != NEXT)
            return flow;
    }
    if (faults->n == 0)
        return NEXT;
    r->faults = faults;
    request_refuse(r, VAL_FAILED, "%zu fault%s in the request; the first: " STR_FMT " " STR_FMT, faults->n,
                   faults->n == 1 ? "" : "s", STR_ARG(faults->list[0].field), STR_ARG(faults->list[0].message));
    return reply_error(r, VAL_FAILED);
}

static enum flow step_handle(struct request *r)
{
    return r->route->handle(r);
}

#include "server/openapi_part.h"

#include "server/crud.h"
#include "server/filter.h"
#include "server/list.h"
#include "server/router.h"
#include "server/scope.h"

#include <stdio.h>
#include <string.h>

void put_z(struct json_out *o, const char *key, const char *value)
{
    json_key(o, str_z(key));
    json_put_z(o, value);
}

void put_raw(struct json_out *o, const char *key, const char *json)
{
    json_key(o, str_z(key));
    json_put_raw(o, str_z(json));
}

void open_key(struct json_out *o, const char *key, char bracket)
{
    json_key(o, str_z(key));
    json_open(o, bracket);
}

/* What the rows say. */

static bool has_body(const struct operation *op)
{
    return (op->method & (POST | PUT | PATCH)) != 0 &&
           (op->route->flags & (ROUTE_RAW_BODY | ROUTE_BODY_STREAM | ROUTE_FORM)) == 0;
}

static bool has_form(const struct operation *op)
{
    return (op->route->flags & ROUTE_FORM) != 0;
}

static bool is_one(const struct operation *op)
{
    return strchr(op->route->path, '{') != NULL;
}

static bool is_list(const struct operation *op)
{
    return (op->route->flags & ROUTE_LIST) != 0;
}

static bool is_public(const struct operation *op)
{
    return (op->route->flags & ROUTE_PUBLIC) != 0;
}

/* Answers a document, with its ETag. */
static bool is_document(const struct operation *op)
{
    const struct route *r = op->route;
    return r->data == NULL && (r->flags & (ROUTE_LIST | ROUTE_STREAM | ROUTE_ENVELOPE_NONE)) == 0 &&
           op->resource->fields != NULL && op->method != DELETE;
}

static int status_of(const struct operation *op)
{
    return op->route->status != 0 ? op->route->status : op->method == DELETE ? 204 : 200;
}

static bool any_flag(const struct field *rows, unsigned flag)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++)
        if ((row->flags & flag) != 0 || (row->type == FIELD_OBJECT && any_flag(row->fields, flag)))
            return true;
    return false;
}

static bool any_reference(const struct field *rows, const char *kind)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++)
        if ((row->ref != NULL && (kind == NULL || strcmp(row->ref, kind) == 0)) ||
            (row->type == FIELD_OBJECT && any_reference(row->fields, kind)))
            return true;
    return false;
}

static bool is_referenced(const struct operation *op)
{
    for (const struct resource *const *r = op->dialect->resources; *r != NULL; r++)
        if (any_reference((*r)->fields, op->resource->kind))
            return true;
    return false;
}

static void add(struct code_set *set, const enum code *codes)
{
    for (; *codes != OK; codes++)
        set->has[*codes] = true;
}

#define ADD(set, ...) add(set, (const enum code[]){__VA_ARGS__, OK})

void operation_codes(const struct operation *op, struct code_set *out)
{
    const struct resource *r = op->resource;
    bool create = op->route->handle == crud_create, change = op->route->handle == crud_update;

    *out = (struct code_set){{false}};
    add(out, op->route->codes);
    ADD(out, VAL_FAILED, VAL_MALFORMED_HTTP, RES_REQUEST_TIMEOUT, RES_URI_TOO_LONG, RES_EXPECTATION_FAILED,
        RES_HEADERS_TOO_LARGE, RATE_LIMIT_EXCEEDED, SYS_INTERNAL, SYS_NOT_IMPLEMENTED, SYS_STORAGE, SYS_OVERLOADED,
        SYS_DRAINING, SYS_TIMEOUT, SYS_HTTP_VERSION, RES_BODY_TOO_LARGE);
    if (!is_public(op))
        ADD(out, AUTH_TOKEN_MISSING, AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AUTH_TOKEN_REVOKED, AUTH_API_KEY_INVALID,
            PERM_NETWORK, PERM_TENANT_SUSPENDED);
    if (op->route->permission != NULL)
        ADD(out, PERM_DENIED);
    if (op->route->permission != NULL && scope_applies(r) &&
        (op->method != GET || strchr(op->route->path, '{') != NULL))
        ADD(out, PERM_ENVIRONMENT_SCOPE);
    if (is_one(op))
        ADD(out, RES_NOT_FOUND);
    if (has_body(op))
        ADD(out, VAL_MALFORMED_JSON);
    if (has_body(op) || (op->route->flags & ROUTE_BODY_STREAM) != 0)
        ADD(out, RES_UNSUPPORTED_MEDIA_TYPE);
    if (op->method == POST && !has_form(op))
        ADD(out, RES_IDEMPOTENCY_CONFLICT, RES_IDEMPOTENCY_IN_PROGRESS);
    if (has_form(op))
        ADD(out, OAUTH_INVALID_REQUEST);
    if (is_list(op))
        ADD(out, VAL_FILTER_TOO_BROAD);
    if (create)
        ADD(out, RES_QUOTA_EXCEEDED);
    if ((create || change) && any_flag(r->fields, FIELD_UNIQUE))
        ADD(out, RES_ALREADY_EXISTS);
    if ((create || change) && any_reference(r->fields, NULL))
        ADD(out, RES_REFERENCE_UNKNOWN);
    if ((op->method & (PUT | PATCH | DELETE)) != 0 || (op->method == POST && is_one(op) && !create))
        out->has[op->dialect->stale] = true;
    if (op->method == DELETE && is_referenced(op))
        ADD(out, RES_IN_USE);
    if ((op->route->flags & ROUTE_STREAM) != 0)
        ADD(out, RES_UPGRADE_REQUIRED);
    if ((op->route->flags & ROUTE_BUILD) != 0)
        ADD(out, RATE_BUILDS_EXCEEDED);
}

/* Parameters. */

static void put_parameter(struct json_out *o, const char *in, struct str name, bool required, const char *doc)
{
    json_open(o, '{');
    put_z(o, "in", in);
    json_key(o, S("name"));
    json_put_str(o, name);
    if (required)
        put_raw(o, "required", "true");
    if (doc != NULL)
        put_z(o, "description", doc);
}

static void put_path_parameters(struct json_out *o, const char *path)
{
    for (const char *at = strchr(path, '{'); at != NULL; at = strchr(at + 1, '{')) {
        put_parameter(o, "path", (struct str){at + 1, strcspn(at, "}") - 1}, true, NULL);
        put_raw(o, "schema", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}");
        json_close(o, '}');
    }
}

static void put_reference(struct json_out *o, const char *kind, const char *name)
{
    char text[160];
    snprintf(text, sizeof text, "#/components/%s/%s", kind, name);
    json_open(o, '{');
    put_z(o, "$ref", text);
    json_close(o, '}');
}

/* A repeated or comma-separated parameter: any of the values. */
static void put_filter_parameter(struct json_out *o, const struct field *row, struct str path)
{
    enum field_type type = row->type == FIELD_LIST ? row->item : row->type;
    struct field bare = {.name = row->name, .type = type, .choices = row->choices};
    if (type == FIELD_INT || type == FIELD_NUMBER)
        bare.min = INT64_MIN, bare.max = INT64_MAX;
    else if (type == FIELD_STRING)
        bare.max = row->type == FIELD_LIST ? row->item_max : row->max;
    put_parameter(o, "query", path, false, "Any of these values.");
    put_raw(o, "style", "\"form\"");
    put_raw(o, "explode", "false");
    open_key(o, "schema", '{');
    put_raw(o, "type", "\"array\"");
    put_raw(o, "minItems", "1");
    json_key(o, S("maxItems"));
    json_put_int(o, FILTER_VALUES);
    json_key(o, S("items"));
    field_schema_value(o, &bare, FIELD_CREATE);
    json_close(o, '}');
    json_close(o, '}');
}

static void put_filter_parameters(struct json_out *o, const struct operation *op, const struct field *rows,
                                  const char *prefix)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++) {
        char path[256];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix != '\0' ? "." : "", row->name);
        if (row->type == FIELD_OBJECT && row->fields != NULL)
            put_filter_parameters(o, op, row->fields, path);
        else if (row->type != FIELD_MAP && filter_is_parameter(op->resource->fields, str_z(path)) &&
                 (op->route->query == NULL || field_find(op->route->query, str_z(path)) == NULL))
            put_filter_parameter(o, row, str_z(path));
    }
}

static void put_names(struct json_out *o, const struct field *rows, unsigned flag, bool signs)
{
    char name[256];
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++)
        for (int sign = 0; (row->flags & flag) != 0 && sign <= (signs ? 1 : 0); sign++) {
            snprintf(name, sizeof name, "%s%s", sign == 1 ? "-" : "", row->name);
            json_put_z(o, name);
        }
}

static void put_sort_parameter(struct json_out *o, const struct operation *op)
{
    const struct resource *r = op->resource;
    put_parameter(o, "query", str_z(op->dialect->sort), false,
                  "Up to three fields; `-` before a name turns its order around. The id decides between equals.");
    put_raw(o, "style", "\"form\"");
    put_raw(o, "explode", "false");
    open_key(o, "schema", '{');
    put_raw(o, "type", "\"array\"");
    json_key(o, S("maxItems"));
    json_put_int(o, SORT_FIELDS);
    open_key(o, "default", '[');
    json_put_z(o, r->sort == NULL ? "-createdAt" : r->sort);
    json_close(o, ']');
    open_key(o, "items", '{');
    put_raw(o, "type", "\"string\"");
    open_key(o, "enum", '[');
    put_names(o, r->fields, FIELD_SORT, true);
    json_close(o, ']');
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
}

static void put_list_parameters(struct json_out *o, const struct operation *op)
{
    put_reference(o, "parameters", "Page");
    put_reference(o, "parameters", strcmp(op->dialect->page_size, "limit") == 0 ? "Limit" : "PageSize");
    put_reference(o, "parameters", "Filter");
    put_sort_parameter(o, op);
    put_filter_parameters(o, op, op->resource->fields, "");
}

static void put_row_parameters(struct json_out *o, const char *in, const struct field *rows)
{
    for (const struct field *row = rows; row != NULL && row->name != NULL; row++) {
        put_parameter(o, in, str_z(row->name), (row->flags & FIELD_REQUIRED) != 0, row->doc);
        if (row->type == FIELD_LIST) {
            put_raw(o, "style", "\"form\"");
            put_raw(o, "explode", "false");
        }
        json_key(o, S("schema"));
        field_schema_value(o, row, FIELD_CREATE);
        json_close(o, '}');
    }
}

static void put_parameters(struct json_out *o, const struct operation *op)
{
    struct code_set codes;
    operation_codes(op, &codes);
    open_key(o, "parameters", '[');
    put_path_parameters(o, op->route->path);
    if (is_list(op))
        put_list_parameters(o, op);
    put_row_parameters(o, "query", op->route->query);
    put_row_parameters(o, "header", op->route->headers);
    if ((op->route->flags & ROUTE_STREAM) != 0)
        put_reference(o, "parameters", "Token");
    put_reference(o, "parameters", "RequestId");
    if (op->method == POST && !has_form(op))
        put_reference(o, "parameters", "IdempotencyKey");
    if (op->method != GET && codes.has[op->dialect->stale])
        put_reference(o, "parameters", "IfMatch");
    if (op->method == GET && (is_document(op) || (op->route->flags & ROUTE_BYTES) != 0))
        put_reference(o, "parameters", "IfNoneMatch");
    json_close(o, ']');
}

/* Body. */

static void put_body_schema(struct json_out *o, const struct operation *op)
{
    enum field_mode mode = (op->method & (PUT | PATCH)) != 0 ? FIELD_CHANGE : FIELD_CREATE;
    open_key(o, "application/json", '{');
    json_key(o, S("schema"));
    if (op->route->body != NULL)
        field_schema_mode(o, op->route->body, mode);
    else
        schema_ref(o, op->resource, mode == FIELD_CHANGE ? SCHEMA_CHANGE : SCHEMA_CREATE);
    json_close(o, '}');
}

/* An open object: what else is in a form is ignored. */
static void put_form_schema(struct json_out *o, const struct field *rows)
{
    open_key(o, "application/x-www-form-urlencoded", '{');
    open_key(o, "schema", '{');
    put_raw(o, "type", "\"object\"");
    open_key(o, "required", '[');
    for (const struct field *row = rows; row->name != NULL; row++)
        if ((row->flags & FIELD_REQUIRED) != 0)
            json_put_z(o, row->name);
    json_close(o, ']');
    open_key(o, "properties", '{');
    for (const struct field *row = rows; row->name != NULL; row++) {
        json_key(o, str_z(row->name));
        field_schema_value(o, row, FIELD_CREATE);
    }
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
}

static void put_body(struct json_out *o, const struct operation *op)
{
    if (!has_body(op) && (op->route->flags & (ROUTE_RAW_BODY | ROUTE_BODY_STREAM | ROUTE_FORM)) == 0)
        return;
    open_key(o, "requestBody", '{');
    put_raw(o, "required", (op->route->flags & ROUTE_NO_BODY) != 0 ? "false" : "true");
    open_key(o, "content", '{');
    if (has_body(op))
        put_body_schema(o, op);
    else if (has_form(op))
        put_form_schema(o, op->route->body);
    else
        put_raw(o, "application/octet-stream", "{}");
    json_close(o, '}');
    json_close(o, '}');
}

/* Answers. */

static void put_headers(struct json_out *o, bool rates, const char *const *more)
{
    static const char *const always[] = {"X-Request-ID", NULL};
    static const char *const limits[] = {
        "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit", NULL};
    const char *const *lists[] = {always, rates ? limits : NULL, more};
    open_key(o, "headers", '{');
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (const char *const *name = lists[i]; name != NULL && *name != NULL; name++) {
            json_key(o, str_z(*name));
            put_reference(o, "headers", *name);
        }
    json_close(o, '}');
}

static void put_data_schema(struct json_out *o, const struct operation *op)
{
    if (is_list(op) || (op->route->flags & ROUTE_ARRAY) != 0) {
        json_open(o, '{');
        put_raw(o, "type", "\"array\"");
        if (is_list(op)) {
            json_key(o, S("maxItems"));
            json_put_int(o, op->dialect->page_size_max);
        }
        json_key(o, S("items"));
    }
    if (op->route->data != NULL)
        field_schema_mode(o, op->route->data, FIELD_WHOLE);
    else if (op->resource->fields != NULL)
        schema_ref(o, op->resource, SCHEMA_DATA);
    else
        json_put_raw(o, S("{}"));
    if (is_list(op) || (op->route->flags & ROUTE_ARRAY) != 0)
        json_close(o, '}');
}

static void put_envelope(struct json_out *o, const struct operation *op)
{
    json_open(o, '{');
    put_raw(o, "type", "\"object\"");
    put_raw(o, "required", "[\"success\",\"data\",\"meta\"]");
    put_raw(o, "additionalProperties", "false");
    open_key(o, "properties", '{');
    put_raw(o, "success", "{\"const\":true}");
    json_key(o, S("data"));
    put_data_schema(o, op);
    json_key(o, S("meta"));
    put_reference(o, "schemas", is_list(op) ? "ListMeta" : "Meta");
    json_close(o, '}');
    json_close(o, '}');
}

static void put_content(struct json_out *o, const struct operation *op)
{
    const struct route *r = op->route;
    bool raw = (r->flags & ROUTE_ENVELOPE_NONE) != 0;
    open_key(o, "content", '{');
    if (!raw || r->data != NULL) {
        open_key(o, "application/json", '{');
        json_key(o, S("schema"));
        if (raw)
            field_schema_mode(o, r->data, FIELD_WHOLE);
        else if (op->dialect->data_schema != NULL)
            op->dialect->data_schema(o, op, put_data_schema);
        else
            put_envelope(o, op);
        json_close(o, '}');
    }
    for (struct str rest = str_z(r->media != NULL         ? r->media
                                 : raw && r->data == NULL ? "text/plain"
                                                          : ""),
                    media;
         (media = str_cut(&rest, ' ')).n > 0;) {
        json_key(o, media);
        json_open(o, '{');
        put_raw(o, "schema", str_eqz(media, "application/json") ? "{\"type\":\"object\"}" : "{\"type\":\"string\"}");
        json_close(o, '}');
    }
    json_close(o, '}');
}

static const char *status_words(int status)
{
    return status == 201 ? "Created." : status == 204 ? "Done; there is no body." : "Done.";
}

static void put_answer(struct json_out *o, const struct operation *op, int n, const char *const *headers)
{
    char status[8];
    snprintf(status, sizeof status, "%d", n);
    open_key(o, status, '{');
    put_z(o, "description", status_words(n));
    put_headers(o, true, headers);
    if (n != 204)
        put_content(o, op);
    json_close(o, '}');
}

static void put_success(struct json_out *o, const struct operation *op)
{
    int n = status_of(op);
    bool bytes = (op->route->flags & ROUTE_BYTES) != 0, upload = (op->route->flags & ROUTE_BODY_STREAM) != 0;
    static const char *const etag[] = {"ETag", NULL},
                             *const created[] = {"ETag", "Location", "Idempotency-Replayed", NULL},
                             *const replayed[] = {"Idempotency-Replayed", NULL},
                             *const both[] = {"ETag", "Idempotency-Replayed", NULL};
    const char *const *headers = op->method == POST         ? (!is_document(op) ? replayed
                                                               : n == 201       ? created
                                                                                : both)
                                 : is_document(op) || bytes ? etag
                                                            : NULL;
    if (upload && n != 200)
        put_answer(o, op, 200, NULL); /* the same bytes were there already */
    put_answer(o, op, n, headers);
    if (op->method == GET && (is_document(op) || bytes))
        put_raw(o, "304", "{\"description\":\"If-None-Match names what is there.\"}");
}

static void put_other_success(struct json_out *o, const struct operation *op)
{
    struct route route = *op->route;
    struct operation other = *op;

    route.status = route.other_status;
    route.data = route.other_data;
    other.route = &route;
    put_success(o, &other);
}

static void put_stream_success(struct json_out *o, const struct operation *op)
{
    put_raw(o, "101", "{\"description\":\"A WebSocket; its messages are in /asyncapi.json.\"}");
    if ((op->route->flags & ROUTE_WS_ONLY) == 0)
        put_raw(o, "200",
                "{\"description\":\"Server-sent events; the same messages, see /asyncapi.json.\",\"content\":"
                "{\"text/event-stream\":{\"schema\":{\"type\":\"string\"}}}}");
}

bool response_matches(const struct code_set *set, int status, const enum code *codes)
{
    size_t n = 0, m = 0;
    for (size_t c = 0; c < CODES; c++)
        n += set->has[c] && code_status((enum code)c) == status;
    for (; *codes != OK; codes++, m++)
        if (!set->has[*codes] || code_status(*codes) != status)
            return false;
    return n == m;
}

static void put_error(struct json_out *o, const struct operation *op, const struct code_set *codes, int status)
{
    char key[16];
    const struct dialect *d = op->dialect;
    bool page = op->route->media != NULL && strcmp(op->route->media, "text/html") == 0;
    snprintf(key, sizeof key, "%d", status);
    json_key(o, str_z(key));
    for (const struct shared_response *s = shared_responses; d->error_schema == NULL && s->name != NULL; s++)
        if (response_matches(codes, status, s->codes)) {
            put_reference(o, "responses", s->name);
            return;
        }
    json_open(o, '{');
    error_response_write(o, d, codes, status, page);
    json_close(o, '}');
}

static void put_error_schema(struct json_out *o, const struct code_set *codes, int status)
{
    json_open(o, '{');
    put_raw(o, "type", "\"object\"");
    put_raw(o, "required", "[\"success\",\"error\",\"meta\"]");
    put_raw(o, "additionalProperties", "false");
    open_key(o, "properties", '{');
    put_raw(o, "success", "{\"const\":false}");
    json_key(o, S("meta"));
    put_reference(o, "schemas", "Meta");
    open_key(o, "error", '{');
    put_raw(o, "type", "\"object\"");
    put_raw(o, "required", "[\"code\",\"message\"]");
    put_raw(o, "additionalProperties", "false");
    open_key(o, "properties", '{');
    put_raw(o, "message", "{\"type\":\"string\",\"description\":\"For people.\"}");
    put_raw(o, "details", "{\"type\":\"object\",\"description\":\"For programs; by code.\"}");
    json_key(o, S("validationErrors"));
    put_reference(o, "schemas", "ValidationErrors");
    open_key(o, "code", '{');
    open_key(o, "enum", '[');
    for (size_t c = 0; c < CODES; c++)
        if (codes->has[c] && code_status((enum code)c) == status)
            json_put_z(o, code_name((enum code)c));
    json_close(o, ']');
    for (int i = 0; i < 5; i++)
        json_close(o, '}'); /* code, properties, error, properties, schema */
}

static void put_error_examples(struct json_out *o, const struct code_set *codes, int status)
{
    open_key(o, "examples", '{');
    for (size_t c = 0; c < CODES; c++)
        if (codes->has[c] && code_status((enum code)c) == status) {
            json_key(o, str_z(code_name((enum code)c)));
            put_reference(o, "examples", code_name((enum code)c));
        }
    json_close(o, '}');
}

void error_response_write(struct json_out *o, const struct dialect *d, const struct code_set *codes, int status,
                          bool page)
{
    static const char *const retry[] = {"Retry-After", NULL}, *const challenge[] = {"WWW-Authenticate", NULL};
    char text[512] = "";
    size_t n = 0;
    for (size_t c = 0; c < CODES; c++)
        if (codes->has[c] && code_status((enum code)c) == status && n < sizeof text)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n > 0 ? ", " : "", code_name((enum code)c));
    put_z(o, "description", text);
    put_headers(o, true, status == 429 || status == 503 ? retry : status == 401 || status == 403 ? challenge : NULL);
    open_key(o, "content", '{');
    if (page)
        put_raw(o, "text/html", "{\"schema\":{\"type\":\"string\"}}");
    open_key(o, "application/json", '{');
    json_key(o, S("schema"));
    if (d->error_schema != NULL) {
        d->error_schema(o, codes, status);
    } else {
        put_error_schema(o, codes, status);
        put_error_examples(o, codes, status);
    }
    json_close(o, '}');
    json_close(o, '}');
}

static void put_responses(struct json_out *o, const struct operation *op)
{
    struct code_set codes;
    operation_codes(op, &codes);
    open_key(o, "responses", '{');
    if ((op->route->flags & ROUTE_STREAM) != 0)
        put_stream_success(o, op);
    else
        put_success(o, op);
    if (op->route->other_status != 0)
        put_other_success(o, op);
    for (int status = 400; status < 600; status++)
        for (size_t c = 0; c < CODES; c++)
            if (codes.has[c] && code_status((enum code)c) == status) {
                put_error(o, op, &codes, status);
                break;
            }
    json_close(o, '}');
}

static void put_codes(struct json_out *o, const struct operation *op)
{
    struct code_set codes;
    operation_codes(op, &codes);
    open_key(o, "x-codes", '[');
    for (size_t c = 0; c < CODES; c++)
        if (codes.has[c])
            json_put_z(o, code_name((enum code)c));
    json_close(o, ']');
}

/* Rows for several methods share their operationId; a PATCH beside a PUT is told apart. */
static void put_operation_id(struct json_out *o, const struct operation *op)
{
    char id[128];
    bool shared = op->method == PATCH && (op->route->method & PUT) != 0;
    snprintf(id, sizeof id, "%s%s", op->route->id, shared ? "ByPatch" : "");
    put_z(o, "operationId", id);
}

void operation_write(struct json_out *o, const struct operation *op)
{
    char summary[160];
    const char *doc = op->route->doc == NULL ? op->route->id : op->route->doc;
    snprintf(summary, sizeof summary, "%.*s", (int)strcspn(doc, ".;"), doc);
    json_open(o, '{');
    put_operation_id(o, op);
    put_z(o, "summary", summary);
    put_z(o, "description", doc);
    open_key(o, "tags", '[');
    json_put_z(o, op->resource->tag);
    json_close(o, ']');
    if (has_form(op))
        put_raw(o, "security", "[{\"client\":[]},{}]");
    else if (is_public(op))
        put_raw(o, "security", "[]");
    else
        put_z(o, "x-permission", op->route->permission == NULL ? "any" : op->route->permission);
    put_codes(o, op);
    put_parameters(o, op);
    put_body(o, op);
    put_responses(o, op);
    json_close(o, '}');
}

#include "server/openapi_part.h"

#include "server/docs.h"
#include "server/filter.h"
#include "server/list.h"
#include "server/request.h"
#include "server/router.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
const struct shared_response shared_responses[] = {
    {"BadRequest",        {VAL_FAILED, VAL_MALFORMED_HTTP}},
    {"BadBody",           {VAL_FAILED, VAL_MALFORMED_HTTP, VAL_MALFORMED_JSON}},
    {"Unauthenticated",   {AUTH_TOKEN_MISSING, AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AUTH_TOKEN_REVOKED, AUTH_API_KEY_INVALID}},
    {"Shut",              {PERM_NETWORK, PERM_TENANT_SUSPENDED}},
    {"Denied",            {PERM_DENIED, PERM_NETWORK, PERM_TENANT_SUSPENDED}},
    {"DeniedHere",        {PERM_DENIED, PERM_NETWORK, PERM_TENANT_SUSPENDED, PERM_ENVIRONMENT_SCOPE}},
    {"NotFound",          {RES_NOT_FOUND}},
    {"RequestTimeout",    {RES_REQUEST_TIMEOUT}},
    {"Stale",             {RES_VERSION_CONFLICT}},
    {"BodyTooLarge",      {RES_BODY_TOO_LARGE}},
    {"UriTooLong",        {RES_URI_TOO_LONG}},
    {"UnsupportedType",   {RES_UNSUPPORTED_MEDIA_TYPE}},
    {"ExpectationFailed", {RES_EXPECTATION_FAILED}},
    {"FilterTooBroad",    {VAL_FILTER_TOO_BROAD}},
    {"UpgradeRequired",   {RES_UPGRADE_REQUIRED}},
    {"RateLimited",       {RATE_LIMIT_EXCEEDED}},
    {"HeadersTooLarge",   {RES_HEADERS_TOO_LARGE}},
    {"Internal",          {SYS_INTERNAL}},
    {"NotImplemented",    {SYS_NOT_IMPLEMENTED}},
    {"Unavailable",       {SYS_STORAGE, SYS_OVERLOADED, SYS_DRAINING, SYS_TIMEOUT}},
    {"HttpVersion",       {SYS_HTTP_VERSION}},
    {0}};

static const struct {
    const char *name, *doc;
} tags[] = {
    {"INTHUB", "Integrations"},
    {"ENVMGR", "Environments, targets, agents"},
    {"RELMAN", "Components and releases"},
    {"WORKFL", "Workflow templates and runs"},
    {"PROMOT", "Promotions and approvals"},
    {"DEPLOY", "Deployments and rollbacks"},
    {"PROGDL", "Progressive delivery"},
    {"RELEVI", "Evidence and audit"},
    {"PLUGIN", "Plugins"},
    {"OAUTH", "OAuth 2.1: clients and their access tokens"},
    {"SYSTEM", "The service itself"},
};

static const struct {
    const char *name, *doc, *schema;
} headers[] = {
    {"X-Request-ID",          "The client's own, or a fresh one.",                 "{\"type\":\"string\",\"maxLength\":128}"},
    {"X-RateLimit-Limit",     "Requests a minute.",                                "{\"type\":\"integer\"}"},
    {"X-RateLimit-Remaining", "What is left of them.",                             "{\"type\":\"integer\"}"},
    {"X-RateLimit-Reset",     "Unix seconds at which the minute starts anew.",     "{\"type\":\"integer\"}"},
    {"RateLimit-Policy",      "The limits: draft-ietf-httpapi-ratelimit-headers.", "{\"type\":\"string\"}"},
    {"RateLimit",             "What is left: the same draft.",                     "{\"type\":\"string\"}"},
    {"ETag",                  "The revision, in quotes.",                          "{\"type\":\"string\"}"},
    {"Location",              "Path of what was created.",                         "{\"type\":\"string\"}"},
    {"Retry-After",           "Seconds to wait.",                                  "{\"type\":\"integer\"}"},
    {"Idempotency-Replayed",  "true: this is the answer to an earlier request.",   "{\"enum\":[\"true\"]}"},
    {"WWW-Authenticate",      "How to authenticate, and what lacks: RFC 6750, 6749.",                 "{\"type\":\"string\"}"},
};

static const char meta_schema[] =
    "{\"type\":\"object\",\"required\":[\"requestId\",\"timestamp\"],\"additionalProperties\":false,\"properties\":{"
    "\"requestId\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":128},"
    "\"timestamp\":{\"type\":\"string\",\"format\":\"date-time\"}}}";
static const char list_meta_schema[] =
    "{\"type\":\"object\",\"required\":[\"pagination\",\"requestId\",\"timestamp\"],\"additionalProperties\":false,\"properties\":{"
    "\"pagination\":{\"$ref\":\"#/components/schemas/Pagination\"},"
    "\"requestId\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":128},"
    "\"timestamp\":{\"type\":\"string\",\"format\":\"date-time\"}}}";
static const char pagination_schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"page\",\"pageSize\",\"totalItems\",\"totalPages\",\"hasNext\",\"hasPrevious\"],\"properties\":{"
    "\"page\":{\"type\":\"integer\",\"minimum\":1},\"pageSize\":{\"type\":\"integer\",\"minimum\":1},"
    "\"totalItems\":{\"type\":\"integer\",\"minimum\":0},\"totalPages\":{\"type\":\"integer\",\"minimum\":0},"
    "\"hasNext\":{\"type\":\"boolean\"},\"hasPrevious\":{\"type\":\"boolean\"}}}";
// clang-format on

/* Names of components. */

void schema_name(struct buf *b, const struct resource *r, enum schema_use use)
{
    static const char *const suffix[] = {[SCHEMA_DATA] = "", [SCHEMA_CREATE] = "Create", [SCHEMA_CHANGE] = "Change"};
    bool start = true;
    for (const char *c = r->kind; *c != '\0'; c++) {
        if (*c != '-' && *c != '_')
            buf_char(b, start ? (char)toupper((unsigned char)*c) : *c);
        start = *c == '-' || *c == '_';
    }
    buf_z(b, suffix[use]);
}

void schema_ref(struct json_out *o, const struct resource *r, enum schema_use use)
{
    struct buf b = {0};
    buf_z(&b, "#/components/schemas/");
    schema_name(&b, r, use);
    json_open(o, '{');
    json_key(o, S("$ref"));
    json_put_str(o, buf_view(&b));
    json_close(o, '}');
    buf_free(&b);
}

bool schema_used(const struct resource *r, enum schema_use use)
{
    for (const struct route *route = r->routes; route != NULL && route->path != NULL; route++) {
        bool body =
            (route->method & (POST | PUT | PATCH)) != 0 && route->body == NULL && (route->flags & ROUTE_RAW_BODY) == 0;
        if (use == SCHEMA_CREATE && body && (route->method & POST) != 0)
            return true;
        if (use == SCHEMA_CHANGE && body && (route->method & (PUT | PATCH)) != 0)
            return true;
        if (use == SCHEMA_DATA && route->data == NULL && (route->flags & (ROUTE_STREAM | ROUTE_ENVELOPE_NONE)) == 0 &&
            (route->method != DELETE || (route->status != 0 && route->status != 204)))
            return true;
    }
    return false;
}

/* Components: only those that an operation refers to. */

struct use {
    struct code_set codes;
    bool responses[ARRAY_LEN(shared_responses)];
};

static void use_operation(struct use *u, const struct operation *op)
{
    struct code_set codes;
    operation_codes(op, &codes);
    for (size_t c = 0; c < CODES; c++)
        u->codes.has[c] = u->codes.has[c] || codes.has[c];
    for (size_t i = 0; shared_responses[i].name != NULL; i++)
        u->responses[i] = u->responses[i] || response_matches(&codes, code_status(shared_responses[i].codes[0]),
                                                              shared_responses[i].codes);
}

static void use_dialect(struct use *u, const struct dialect *d)
{
    for (const struct resource *const *r = d->resources; *r != NULL; r++)
        for (const struct route *route = (*r)->routes; route != NULL && route->path != NULL; route++)
            for (unsigned method = GET; method <= DELETE && (route->flags & ROUTE_HIDDEN) == 0; method <<= 1)
                if ((route->method & method) != 0)
                    use_operation(u, &(struct operation){d, *r, route, (enum method)method});
}

/* A fault beside a refusal has the refusal's code. */
static void put_faults_schema(struct json_out *o)
{
    open_key(o, "ValidationErrors", '{');
    put_raw(o, "type", "\"array\"");
    put_raw(o, "maxItems", "100");
    open_key(o, "items", '{');
    put_raw(o, "type", "\"object\"");
    put_raw(o, "required", "[\"field\",\"message\",\"code\"]");
    put_raw(o, "additionalProperties", "false");
    open_key(o, "properties", '{');
    put_raw(o, "field", "{\"type\":\"string\",\"description\":\"config.variables.x, nodes[2].id, query.pageSize\"}");
    put_raw(o, "message", "{\"type\":\"string\"}");
    open_key(o, "code", '{');
    open_key(o, "enum", '[');
    for (const struct fault_code *f = fault_codes; f->code != NULL; f++)
        json_put_z(o, f->code);
    for (size_t c = OK + 1; c < CODES; c++)
        json_put_z(o, code_name((enum code)c));
    json_close(o, ']');
    for (int i = 0; i < 4; i++)
        json_close(o, '}'); /* code, properties, items, ValidationErrors */
}

static void put_resource_schemas(struct json_out *o, const struct dialect *d)
{
    static const enum field_mode modes[] = {
        [SCHEMA_DATA] = FIELD_WHOLE, [SCHEMA_CREATE] = FIELD_CREATE, [SCHEMA_CHANGE] = FIELD_CHANGE};
    for (const struct resource *const *r = d->resources; *r != NULL; r++)
        for (size_t use = 0; use < ARRAY_LEN(modes); use++) {
            struct buf name = {0};
            if ((*r)->fields == NULL || !schema_used(*r, (enum schema_use)use))
                continue;
            schema_name(&name, *r, (enum schema_use)use);
            json_key(o, buf_view(&name));
            field_schema_mode(o, (*r)->fields, modes[use]);
            buf_free(&name);
        }
}

static void put_schemas(struct json_out *o)
{
    open_key(o, "schemas", '{');
    put_raw(o, "ListMeta", list_meta_schema);
    put_raw(o, "Meta", meta_schema);
    put_raw(o, "Pagination", pagination_schema);
    put_faults_schema(o);
    for (const struct dialect *const *d = dialects; *d != NULL; d++)
        put_resource_schemas(o, *d);
    json_close(o, '}');
}

static void put_shared_parameter(struct json_out *o, const char *key, const char *in, const char *name, const char *doc,
                                 const char *schema)
{
    open_key(o, key, '{');
    put_z(o, "in", in);
    put_z(o, "name", name);
    put_z(o, "description", doc);
    put_raw(o, "schema", schema);
    json_close(o, '}');
}

static void put_shared_parameters(struct json_out *o, const struct dialect *d)
{
    char size[128], page[64], filter[64];
    snprintf(page, sizeof page, "{\"type\":\"integer\",\"minimum\":1,\"maximum\":%d,\"default\":1}", LIST_PAGE_MAX);
    snprintf(size, sizeof size, "{\"type\":\"integer\",\"minimum\":1,\"maximum\":%lld,\"default\":%lld}",
             (long long)d->page_size_max, (long long)d->page_size_preset);
    snprintf(filter, sizeof filter, "{\"type\":\"string\",\"maxLength\":%d}", FILTER_BYTES);
    open_key(o, "parameters", '{');
    put_shared_parameter(o, "Page", "query", d->page, "Counted from 1. One behind the last is empty.", page);
    put_shared_parameter(o, "PageSize", "query", d->page_size, "Items of a page.", size);
    put_shared_parameter(o, "Limit", "query", "limit", "Items of a page.", size);
    put_shared_parameter(
        o, "Filter", "query", d->filter,
        "JSON: {\"field\": value}, {\"field\": {\"$op\": value}}, with $eq $ne $gt $gte $lt $lte $in $nin "
        "$contains $startsWith $exists; joined by $and, $or, $not. Maps by dotted path: labels.role.",
        filter);
    put_shared_parameter(o, "Token", "query", "token", "A JWT, where a header cannot be sent. API keys are refused.",
                         "{\"type\":\"string\",\"maxLength\":8192}");
    put_shared_parameter(o, "RequestId", "header", "X-Request-ID", "Named in the answer and in the logs.",
                         "{\"type\":\"string\",\"minLength\":1,\"maxLength\":128}");
    put_shared_parameter(o, "IdempotencyKey", "header", "Idempotency-Key",
                         "The same request with the same key is done once, and answered the same for a day.",
                         "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}");
    put_shared_parameter(o, "IfMatch", "header", "If-Match", "The revision (ETag) the change is meant for.",
                         "{\"type\":\"string\"}");
    put_shared_parameter(o, "IfNoneMatch", "header", "If-None-Match", "The revision (ETag) that is known already.",
                         "{\"type\":\"string\"}");
    json_close(o, '}');
}

static void put_shared_headers(struct json_out *o)
{
    open_key(o, "headers", '{');
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        open_key(o, headers[i].name, '{');
        put_z(o, "description", headers[i].doc);
        put_raw(o, "schema", headers[i].schema);
        json_close(o, '}');
    }
    json_close(o, '}');
}

static void put_shared_responses(struct json_out *o, const struct use *u)
{
    open_key(o, "responses", '{');
    for (const struct shared_response *s = shared_responses; s->name != NULL; s++) {
        struct code_set set = {{false}};
        if (!u->responses[s - shared_responses])
            continue;
        for (const enum code *c = s->codes; *c != OK; c++)
            set.has[*c] = true;
        open_key(o, s->name, '{');
        error_response_write(o, dialects[0], &set, code_status(s->codes[0]), false);
        json_close(o, '}');
    }
    json_close(o, '}');
}

static void put_example(struct json_out *o, enum code c)
{
    open_key(o, code_name(c), '{');
    open_key(o, "value", '{');
    put_raw(o, "success", "false");
    open_key(o, "error", '{');
    put_z(o, "code", code_name(c));
    put_z(o, "message", code_text(c));
    if (c == VAL_FAILED)
        put_raw(o, "validationErrors", "[{\"field\":\"name\",\"message\":\"is required\",\"code\":\"VAL_REQUIRED\"}]");
    json_close(o, '}');
    put_raw(o, "meta",
            "{\"requestId\":\"0190a5b0-0000-7000-8000-000000000001\",\"timestamp\":\"2026-01-01T00:00:00.000Z\"}");
    json_close(o, '}');
    json_close(o, '}');
}

static void put_components(struct json_out *o, const struct dialect *d)
{
    struct use u = {0};
    use_dialect(&u, d);
    use_dialect(&u, &dialect_system);
    open_key(o, "components", '{');
    open_key(o, "examples", '{');
    for (size_t c = OK + 1; c < CODES; c++)
        if (u.codes.has[c])
            put_example(o, (enum code)c);
    json_close(o, '}');
    put_shared_headers(o);
    put_shared_parameters(o, d);
    put_shared_responses(o, &u);
    put_schemas(o);
    put_raw(o, "securitySchemes",
            "{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"bearerFormat\":\"JWT or API key\"},"
            "\"key\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-API-Key\"},"
            "\"client\":{\"type\":\"http\",\"scheme\":\"basic\",\"description\":\"client_id and client_secret, "
            "form-encoded each "
            "(RFC 6749 §2.3.1); or in the form, or client_assertion.\"}}");
    json_close(o, '}');
}

/* Paths. Rows of one path are gathered from all resources, at its first. */

static bool same_path(const struct resource *const *resource, const struct route *a, const struct route *b)
{
    (void)resource;
    return strcmp(a->path, b->path) == 0 && (b->flags & ROUTE_HIDDEN) == 0;
}

static bool seen_before(const struct dialect *d, const struct route *route)
{
    for (const struct resource *const *r = d->resources; *r != NULL; r++)
        for (const struct route *other = (*r)->routes; other != NULL && other->path != NULL; other++) {
            if (other == route)
                return false;
            if (same_path(r, route, other))
                return true;
        }
    return false;
}

static void put_methods(struct json_out *o, const struct dialect *d, const struct resource *resource,
                        const struct route *route)
{
    for (unsigned method = GET; method <= DELETE; method <<= 1) {
        char name[16] = "";
        if ((route->method & method) == 0)
            continue;
        for (size_t i = 0; method_name((enum method)method)[i] != '\0'; i++)
            name[i] = (char)tolower((unsigned char)method_name((enum method)method)[i]);
        json_key(o, str_z(name));
        operation_write(o, &(struct operation){d, resource, route, (enum method)method});
    }
}

static void put_path(struct json_out *o, const struct dialect *d, const struct route *route)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", d->base, route->path);
    open_key(o, path, '{');
    for (const struct resource *const *r = d->resources; *r != NULL; r++)
        for (const struct route *other = (*r)->routes; other != NULL && other->path != NULL; other++)
            if (same_path(r, route, other))
                put_methods(o, d, *r, other);
    json_close(o, '}');
}

static void put_paths(struct json_out *o, const struct dialect *d)
{
    for (const struct resource *const *r = d->resources; *r != NULL; r++)
        for (const struct route *route = (*r)->routes; route != NULL && route->path != NULL; route++)
            if ((route->flags & ROUTE_HIDDEN) == 0 && !seen_before(d, route))
                put_path(o, d, route);
}

void openapi_write(struct buf *b)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    put_z(&o, "openapi", "3.1.1");
    put_raw(&o, "info",
            "{\"title\":\"Slipway\",\"version\":\"1.0.0\",\"summary\":\"Release control plane\","
            "\"description\":\"Made from the rows of the server; codes, roles and limits are in /docs.\","
            "\"license\":{\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}}");
    put_raw(&o, "servers", "[{\"url\":\"/\"}]");
    put_raw(&o, "security", "[{\"bearer\":[]},{\"key\":[]}]");
    open_key(&o, "tags", '[');
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        json_open(&o, '{');
        put_z(&o, "name", tags[i].name);
        put_z(&o, "description", tags[i].doc);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    open_key(&o, "paths", '{');
    for (const struct dialect *const *d = dialects; *d != NULL; d++)
        put_paths(&o, *d);
    json_close(&o, '}');
    put_components(&o, dialects[0]);
    json_close(&o, '}');
}

/* Served. The text depends on the binary alone, so it is made once. */

static struct buf document, page;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void forget(void)
{
    buf_free(&document);
    buf_free(&page);
}

static void make(void)
{
    openapi_write(&document);
    docs_write(&page);
    atexit(forget);
}

static enum flow reply_made(struct request *r, const struct buf *b, const char *type)
{
    pthread_once(&once, make);
    return b->failed ? reply_error(r, SYS_OVERLOADED) : reply_raw(r, 200, type, buf_view(b));
}

static enum flow openapi(struct request *r)
{
    return reply_made(r, &document, "application/json");
}

static enum flow docs(struct request *r)
{
    return reply_made(r, &page, "text/html; charset=utf-8");
}

// clang-format off
enum { DOCUMENT = ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE };

static const struct route routes[] = {
    {GET, "/openapi.json", openapi, NULL, "openapi", "This document.", DOCUMENT, .media = "application/json"},
    {GET, "/docs",         docs,    NULL, "docs",    "Operations, codes, roles and limits for people.", DOCUMENT, .media = "text/html"},
    ROUTE_END};
// clang-format on

const struct resource documents_resource = {
    .kind = "documents",
    .plural = "documents",
    .tag = "SYSTEM",
    .doc = "The API's own documents.",
    .routes = routes,
};

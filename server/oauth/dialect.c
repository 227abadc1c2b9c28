/* How OAuth's endpoints answer: bodies are bare, errors are RFC 6749 §5.2's {"error", "error_description"}, nothing is
 * stored on the way (§5.1), and a client that does not authenticate is asked for Basic. */
#include "server/dialect.h"

#include "server/identity/resources.h"
#include "server/oauth/resources.h"
#include "server/openapi_part.h"

#include <ctype.h>
#include <string.h>

static const char prefix[] = "OAUTH_";
enum { ERROR_NAME = 64 };

/* OAUTH_INVALID_GRANT is "invalid_grant"; what OAuth has no word for is named by its status. */
static void error_name(enum code c, char out[ERROR_NAME])
{
    static const struct {
        int status;
        const char *name;
    } names[] = {{401, "invalid_token"}, {403, "insufficient_scope"},     {404, "not_found"},
                 {409, "conflict"},      {429, "rate_limit_exceeded"},    {500, "server_error"},
                 {501, "server_error"},  {503, "temporarily_unavailable"}};
    const char *name = code_name(c), *found = "invalid_request";
    size_t n = 0;
    bool shut = c == PERM_NETWORK || c == PERM_TENANT_SUSPENDED; /* no scope would help */
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].status == code_status(c))
            found = names[i].name;
    if (shut)
        found = "access_denied";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        found = name + sizeof prefix - 1;
    for (; n < ERROR_NAME - 1 && found[n] != '\0'; n++)
        out[n] = (char)tolower((unsigned char)found[n]);
    out[n] = '\0';
}

/* error_description has neither quotes nor backslashes, and is ASCII (§5.2). */
static void put_description(struct json_out *o, struct arena *a, struct str message)
{
    struct buf b;
    buf_init_arena(&b, a, message.n);
    for (size_t i = 0; i < message.n; i++) {
        char c = message.p[i];
        buf_char(&b, c < ' ' || c > '~' || c == '\\' ? '?' : c == '"' ? '\'' : c);
    }
    json_key(o, S("error_description"));
    json_put_str(o, b.failed ? S("") : buf_view(&b));
}

static void write_error(struct buf *b, const struct request *r, enum code c, struct str message)
{
    char name[ERROR_NAME];
    struct json_out o;
    error_name(c, name);
    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("error"));
    json_put_z(&o, name);
    put_description(&o, (struct arena *)(uintptr_t)&r->arena, message);
    json_close(&o, '}');
}

/* A list has its page beside it; everything else is bare. */
static void write_data(struct buf *b, const struct request *r, struct str data, const struct page *page)
{
    struct json_out o;
    (void)r;
    if (page == NULL) {
        buf_str(b, data);
        return;
    }
    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("data"));
    json_put_raw(&o, data);
    json_key(&o, S("pagination"));
    json_open(&o, '{');
    json_key(&o, S("limit"));
    json_put_int(&o, page->size);
    json_key(&o, S("page"));
    json_put_int(&o, page->page);
    json_key(&o, S("total"));
    json_put_int(&o, page->total);
    json_key(&o, S("totalPages"));
    json_put_int(&o, (page->total + page->size - 1) / page->size);
    json_close(&o, '}');
    json_close(&o, '}');
}

static void write_challenge(struct request *r, enum code c)
{
    if (c == OAUTH_INVALID_CLIENT)
        reply_header(r, "WWW-Authenticate", S("Basic realm=\"slipway\", charset=\"UTF-8\""));
    else
        dialect_bearer(r, c);
}

/* In the documents. */

static void data_schema(struct json_out *o, const struct operation *op,
                        void (*data)(struct json_out *o, const struct operation *op))
{
    if ((op->route->flags & ROUTE_LIST) == 0) {
        data(o, op);
        return;
    }
    json_open(o, '{');
    put_raw(o, "type", "\"object\"");
    put_raw(o, "required", "[\"data\",\"pagination\"]");
    put_raw(o, "additionalProperties", "false");
    open_key(o, "properties", '{');
    json_key(o, S("data"));
    data(o, op);
    put_raw(
        o, "pagination",
        "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"limit\",\"page\",\"total\",\"totalPages\"]"
        ","
        "\"properties\":{\"limit\":{\"type\":\"integer\",\"minimum\":1},\"page\":{\"type\":\"integer\",\"minimum\":1},"
        "\"total\":{\"type\":\"integer\",\"minimum\":0},\"totalPages\":{\"type\":\"integer\",\"minimum\":0}}}");
    json_close(o, '}');
    json_close(o, '}');
}

static void put_names(struct json_out *o, const struct code_set *codes, int status)
{
    char names[CODES][ERROR_NAME];
    size_t n = 0;
    for (size_t c = 0; c < CODES; c++) {
        bool seen = !codes->has[c] || code_status((enum code)c) != status;
        if (!seen)
            error_name((enum code)c, names[n]);
        for (size_t i = 0; !seen && i < n; i++)
            seen = strcmp(names[i], names[n]) == 0;
        if (!seen)
            json_put_z(o, names[n++]);
    }
}

static void error_schema(struct json_out *o, const struct code_set *codes, int status)
{
    json_open(o, '{');
    put_raw(o, "type", "\"object\"");
    put_raw(o, "required", "[\"error\",\"error_description\"]");
    put_raw(o, "additionalProperties", "false");
    open_key(o, "properties", '{');
    put_raw(o, "error_description",
            "{\"type\":\"string\",\"description\":\"For people.\",\"pattern\":\"^[ !#-\\\\[\\\\]-~]*$\"}");
    open_key(o, "error", '{');
    open_key(o, "enum", '[');
    put_names(o, codes, status);
    json_close(o, ']');
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
}

// clang-format off
static const struct resource *const oauth_resources[] = {
    &token_resource,
    &userinfo_resource,
    &client_resource,
    &user_resource,
    &group_resource,
    &invitation_resource,
    &role_resource,
    &tenant_resource,
    &key_resource,
    &login_resource,
    &account_resource,
    &invitation_page_resource,
    &grant_page_resource,
    &second_factor_resource,
    NULL};
// clang-format on

const struct dialect dialect_oauth = {
    .name = "oauth",
    .base = "/v1",
    .open = true,
    .fields = "Pragma: no-cache\r\n",
    .resources = oauth_resources,
    .page = "page",
    .page_size = "limit",
    .sort = "sort",
    .filter = "filter",
    .page_size_preset = 20,
    .page_size_max = DIALECT_PAGE_SIZE_MAX,
    .stale = RES_VERSION_CONFLICT,
    .key_conflict = RES_IDEMPOTENCY_CONFLICT,
    .write_data = write_data,
    .write_error = write_error,
    .write_challenge = write_challenge,
    .data_schema = data_schema,
    .error_schema = error_schema,
};

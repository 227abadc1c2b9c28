#include "server/oauth/metadata.h"

#include "server/oauth/assertion.h"
#include "server/oauth/authenticate.h"
#include "server/oauth/issuer.h"
#include "server/oauth/scopes.h"
#include "server/oauth/token.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdio.h>

// clang-format off
#define URL  FIELD_STRING, FIELD_REQUIRED, .pattern = "^https?://"
#define LIST FIELD_LIST, FIELD_REQUIRED, .item = FIELD_STRING

const struct field metadata_server_rows[] = {
    {"issuer",                   URL, .doc = "`iss` of the tokens given out: the setting public-url."},
    {"token_endpoint",           URL},
    {"revocation_endpoint",      URL},
    {"introspection_endpoint",   URL},
    {"jwks_uri",                 URL},
    {"userinfo_endpoint",        URL, .doc = "OpenID Connect Core 1.0 §5.3."},
    {"service_documentation",    URL},
    {"scopes_supported",         LIST, .doc = "Permissions are scopes as well: release:read."},
    {"authorization_endpoint",   URL},
    {"device_authorization_endpoint", URL, .doc = "RFC 8628 §4."},
    {"response_types_supported", LIST},
    {"response_modes_supported", LIST},
    {"code_challenge_methods_supported",               LIST, .doc = "RFC 7636: S256 alone, and never without."},
    {"authorization_response_iss_parameter_supported", FIELD_BOOL, FIELD_REQUIRED, .doc = "RFC 9207."},
    {"grant_types_supported",    LIST},
    {"token_endpoint_auth_methods_supported",                     LIST},
    {"token_endpoint_auth_signing_alg_values_supported",          LIST},
    {"revocation_endpoint_auth_methods_supported",                LIST},
    {"revocation_endpoint_auth_signing_alg_values_supported",     LIST},
    {"introspection_endpoint_auth_methods_supported",             LIST},
    {"introspection_endpoint_auth_signing_alg_values_supported",  LIST},
    {"protected_resources",      LIST, .doc = "RFC 9728 §4."},
    {0}};

const struct field metadata_resource_rows[] = {
    {"resource",                 URL, .doc = "The setting public-url."},
    {"authorization_servers",    LIST},
    {"bearer_methods_supported", LIST},
    {"scopes_supported",         LIST},
    {"resource_name",            FIELD_STRING, FIELD_REQUIRED},
    {"resource_documentation",   URL},
    {0}};
// clang-format on

static void put_url(struct json_out *o, const char *base, const char *name, const char *path)
{
    char url[512]; /* issuers are shorter than 300 */
    snprintf(url, sizeof url, "%s%s", base, path);
    json_key(o, str_z(name));
    json_put_z(o, url);
}

static void put_list(struct json_out *o, const char *name, const char *const *list)
{
    json_key(o, str_z(name));
    json_open(o, '[');
    for (; *list != NULL; list++)
        json_put_z(o, *list);
    json_close(o, ']');
}

static void put_scopes(struct json_out *o)
{
    const char *name, *grants, *doc;
    json_key(o, S("scopes_supported"));
    json_open(o, '[');
    for (size_t i = 0; scopes_row(i, &name, &grants, &doc); i++)
        json_put_z(o, name);
    json_close(o, ']');
}

static void put_grants(struct json_out *o)
{
    const char *name;
    json_key(o, S("grant_types_supported"));
    json_open(o, '[');
    for (size_t i = 0; token_grant(i, &name); i++)
        json_put_z(o, name);
    json_close(o, ']');
}

/* Where it depends on the name by which it was asked, nobody keeps it. */
static enum flow reply_published(struct request *r, const struct buf *b)
{
    if (b->failed)
        return reply_error(r, SYS_OVERLOADED);
    if (r->worker->settings->public_url[0] != '\0')
        reply_header(r, "Cache-Control", S("public, max-age=300"));
    return reply_raw(r, 200, "application/json", buf_view(b));
}

enum flow metadata_server(struct request *r)
{
    static const char *const endpoints[] = {"token", "revocation", "introspection"};
    static const char *const code[] = {"code", NULL}, *const query[] = {"query", NULL}, *const s256[] = {"S256", NULL};
    static const char *const introspection_methods[] = {"client_secret_basic", "client_secret_post", "private_key_jwt",
                                                        NULL}; /* RFC 7662 §2.1 */
    const char *base = arena_z(&r->arena, issuer_url(r));
    struct buf b;
    struct json_out o;
    if (base == NULL)
        return reply_error(r, SYS_OVERLOADED);
    buf_init_arena(&b, &r->arena, 2048);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_url(&o, base, "issuer", "");
    put_url(&o, base, "authorization_endpoint", "/v1/auth/authorize");
    put_url(&o, base, "device_authorization_endpoint", "/v1/auth/device_authorization");
    put_url(&o, base, "token_endpoint", "/v1/auth/token");
    put_url(&o, base, "revocation_endpoint", "/v1/auth/revoke");
    put_url(&o, base, "introspection_endpoint", "/v1/auth/introspect");
    put_url(&o, base, "jwks_uri", "/.well-known/jwks.json");
    put_url(&o, base, "userinfo_endpoint", "/v1/auth/userinfo");
    put_url(&o, base, "service_documentation", "/docs");
    put_scopes(&o);
    put_list(&o, "response_types_supported", code);
    put_list(&o, "response_modes_supported", query);
    put_list(&o, "code_challenge_methods_supported", s256);
    json_key(&o, S("authorization_response_iss_parameter_supported"));
    json_put_bool(&o, true);
    put_grants(&o);
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_endpoint_auth_methods_supported", endpoints[i]);
        put_list(&o, name, i == 2 ? introspection_methods : authenticate_methods);
        snprintf(name, sizeof name, "%s_endpoint_auth_signing_alg_values_supported", endpoints[i]);
        put_list(&o, name, assertion_algorithms);
    }
    put_list(&o, "protected_resources", (const char *const[]){base, NULL});
    json_close(&o, '}');
    return reply_published(r, &b);
}

enum flow metadata_resource(struct request *r)
{
    static const char *const header[] = {"header", NULL};
    const char *base = arena_z(&r->arena, issuer_url(r));
    struct buf b;
    struct json_out o;
    if (base == NULL)
        return reply_error(r, SYS_OVERLOADED);
    buf_init_arena(&b, &r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_url(&o, base, "resource", "");
    put_list(&o, "authorization_servers", (const char *const[]){base, NULL});
    put_list(&o, "bearer_methods_supported", header);
    put_scopes(&o);
    json_key(&o, S("resource_name"));
    json_put_z(&o, "Slipway");
    put_url(&o, base, "resource_documentation", "/docs");
    json_close(&o, '}');
    return reply_published(r, &b);
}

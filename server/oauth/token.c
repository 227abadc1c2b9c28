#include "server/oauth/token.h"

#include "lib/id.h"
#include "proto/form.h"
#include "proto/jwt.h"
#include "server/audit.h"
#include "server/oauth/authenticate.h"
#include "server/oauth/authorize.h"
#include "server/oauth/device.h"
#include "server/oauth/exchange.h"
#include "server/oauth/grant.h"
#include "server/oauth/issuer.h"
#include "server/oauth/resources.h"
#include "server/oauth/scopes.h"
#include "server/settings.h"
#include "server/worker.h"

static enum flow token(struct request *r);
static enum flow client_credentials(struct request *r, const struct client *c);

static const struct {
    const char *name;
    enum flow (*give)(struct request *r, const struct client *c);
} grants[] = {{"authorization_code", grant_redeem},
              {"refresh_token", grant_refresh},
              {DEVICE_GRANT, grant_device},
              {"client_credentials", client_credentials},
              {EXCHANGE_GRANT, exchange}};

bool token_grant(size_t i, const char **name)
{
    if (i < ARRAY_LEN(grants))
        *name = grants[i].name;
    return i < ARRAY_LEN(grants);
}

// clang-format off
#define CLIENT                                                                                                       \
    {"client_id",             FIELD_STRING, .max = 64, .doc = "Where the client does not authenticate by the header."},      \
    {"client_secret",         FIELD_STRING, .max = 64},                                                              \
    {"client_assertion_type", FIELD_STRING, .doc = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},        \
    {"client_assertion",      FIELD_STRING, .doc = "A JWT by a key of the client (RFC 7523)."}

static const struct field token_form[] = {
    {"grant_type", FIELD_STRING, FIELD_REQUIRED, .doc = "One of grant_types_supported of the metadata."},
    {"scope",      FIELD_STRING, .doc = "Scopes between spaces; all of the client's when it is left out."},
    {"resource",   FIELD_STRING, .doc = "What the token is for (RFC 8707): this service."},
    {"code",          FIELD_STRING, .max = 64, .doc = "authorization_code: what the person came back with."},
    {"redirect_uri",  FIELD_STRING, .doc = "authorization_code: where to."},
    {"code_verifier", FIELD_STRING, .max = 128, .doc = "authorization_code: what its challenge was made of (RFC 7636)."},
    {"device_code",   FIELD_STRING, .max = 64, .doc = "device_code: of the device authorization."},
    {"refresh_token", FIELD_STRING, .max = 64, .doc = "refresh_token: good once; the answer has the next."},
    {"subject_token",        FIELD_STRING, .doc = "Token exchange: the identity token of a CI's job."},
    {"subject_token_type",   FIELD_STRING, .doc = "Token exchange: urn:ietf:params:oauth:token-type:id_token or :jwt."},
    {"requested_token_type", FIELD_STRING, .doc = "Token exchange: urn:ietf:params:oauth:token-type:access_token, or nothing."},
    CLIENT, {0}};
static const struct field token_data[] = {
    {"access_token", FIELD_STRING, FIELD_REQUIRED, .max = JWT_MAX, .doc = "A JWT (RFC 9068)."},
    {"token_type",   FIELD_STRING, FIELD_REQUIRED, .doc = "Bearer"},
    {"expires_in",   FIELD_INT,    FIELD_REQUIRED, .min = 1, .max = INT32_MAX, .doc = "Seconds."},
    {"scope",        FIELD_STRING, FIELD_REQUIRED, .doc = "What was given."},
    {"refresh_token",     FIELD_STRING, .max = ID_KEY_MAX, .doc = "For clients with the grant refresh_token, in a person's name."},
    {"issued_token_type", FIELD_STRING, .doc = "Of token exchange: urn:ietf:params:oauth:token-type:access_token."},
    {0}};
static const struct field state_form[] = {
    {"token",           FIELD_STRING, FIELD_REQUIRED, .doc = "An access token."},
    {"token_type_hint", FIELD_STRING, .doc = "Not needed: there is one type."},
    CLIENT, {0}};
static const struct field state_data[] = {
    {"active",     FIELD_BOOL,   FIELD_REQUIRED, .doc = "With false there is nothing else."},
    {"scope",      FIELD_STRING},
    {"client_id",  FIELD_STRING},
    {"username",   FIELD_STRING},
    {"token_type", FIELD_STRING},
    {"exp",        FIELD_INT},
    {"iat",        FIELD_INT},
    {"nbf",        FIELD_INT},
    {"sub",        FIELD_STRING},
    {"aud",        FIELD_STRING},
    {"iss",        FIELD_STRING},
    {"jti",        FIELD_UUID},
    {"tenant_id",  FIELD_UUID},
    {"roles",      FIELD_LIST,   .item = FIELD_STRING},
    {0}};

enum { ENDPOINT = ROUTE_PUBLIC | ROUTE_FORM | ROUTE_ENVELOPE_NONE };

static const struct route routes[] = {
    {POST, "/auth/token", token, NULL, "token", "Give an access token for a grant (RFC 6749).", ENDPOINT,
     .body = token_form, .data = token_data,
     .codes = {OAUTH_INVALID_CLIENT, OAUTH_UNAUTHORIZED_CLIENT, OAUTH_UNSUPPORTED_GRANT_TYPE, OAUTH_INVALID_GRANT, OAUTH_INVALID_SCOPE, OAUTH_INVALID_TARGET,
               OAUTH_AUTHORIZATION_PENDING, OAUTH_SLOW_DOWN, OAUTH_ACCESS_DENIED, OAUTH_EXPIRED_TOKEN}},
    {GET, "/auth/authorize", authorize_ask, NULL, "authorize",
     "Ask a person at a browser to let a client act in their name (RFC 6749 §3.1, RFC 7636, RFC 9207).",
     ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE | ROUTE_MORE_QUERY, .query = authorize_rows, .media = "text/html", .other_status = 303},
    {POST, "/auth/authorize", authorize_answer, NULL, "authorizeAnswer", "The person's answer: leads back to the client.",
     ENDPOINT, .status = 303, .body = authorize_form_rows, .media = "text/html", .codes = {PERM_FORM}},
    {POST, "/auth/device_authorization", device_begin, NULL, "deviceAuthorization", "Begin where there is no browser (RFC 8628 §3.1).",
     ENDPOINT, .body = device_form, .data = device_data,
     .codes = {OAUTH_INVALID_CLIENT, OAUTH_UNAUTHORIZED_CLIENT, OAUTH_INVALID_SCOPE, OAUTH_INVALID_TARGET}},
    {GET, "/auth/device", device_page, NULL, "devicePage", "The page for the code that a device shows (RFC 8628 §3.3).",
     ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE | ROUTE_MORE_QUERY, .query = device_query, .media = "text/html", .other_status = 303},
    {POST, "/auth/device", device_answer, NULL, "deviceAnswer", "The person's answer to a device.", ENDPOINT, .body = device_page_form,
     .media = "text/html", .other_status = 303, .codes = {PERM_FORM, OAUTH_INVALID_GRANT}},
    {POST, "/auth/revoke", token_revoke, NULL, "revokeToken", "Take an access token of the client's own back (RFC 7009).", ENDPOINT,
     .body = state_form, .media = "", .codes = {OAUTH_INVALID_CLIENT, OAUTH_INVALID_GRANT}},
    {POST, "/auth/introspect", token_introspect, NULL, "introspectToken", "Say whether an access token of the client's tenant is good, and what it says (RFC 7662).", ENDPOINT,
     .body = state_form, .data = state_data, .codes = {OAUTH_INVALID_CLIENT}},
    ROUTE_END};
// clang-format on

static enum flow choose(struct request *r, const struct client *c)
{
    struct str type = form_get(r->form, S("grant_type"));
    if (type.p == NULL) {
        request_refuse(r, OAUTH_INVALID_REQUEST, "grant_type is missing");
        return reply_error(r, OAUTH_INVALID_REQUEST);
    }
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        if (!str_eqz(type, grants[i].name))
            continue;
        return client_has_grant(c, grants[i].name) ? grants[i].give(r, c) : reply_error(r, OAUTH_UNAUTHORIZED_CLIENT);
    }
    return reply_error(r, OAUTH_UNSUPPORTED_GRANT_TYPE);
}

static enum flow token(struct request *r)
{
    return authenticate(r, choose);
}

/* --- giving --- */

struct gift {
    struct request *r;
    const struct token_order *order;
    struct commit own, *commit;
    struct str scope, answer;
    char id[ID_UUID];
};

enum code token_scope(struct request *r, struct str most, struct str *scope)
{
    struct str resource = form_get(r->form, S("resource")), name;
    *scope = form_get(r->form, S("scope"));
    if (resource.p != NULL && !str_eq(resource, issuer_url(r)))
        return OAUTH_INVALID_TARGET;
    if (scope->p == NULL)
        *scope = most;
    size_t n = 0;
    for (struct str rest = *scope; scopes_next(&rest, &name); n++)
        if (n == SCOPES_MAX || !scopes_cover(most, name))
            return request_refuse(r, OAUTH_INVALID_SCOPE, "the client may not ask for '" STR_FMT "'",
                                  STR_ARG(str_slice(name, 0, SCOPES_NAME_MAX)));
    return OK;
}

static enum code sign(struct gift *g, struct buf *out, int64_t now_s, int64_t life_s)
{
    struct request *r = g->r;
    const struct client *c = g->order->client;
    const struct grant *of = g->order->grant;
    const struct settings *s = r->worker->settings;
    struct str *permissions = arena_array(&r->arena, JWT_PERMISSIONS, sizeof *permissions);
    if (permissions == NULL)
        return SYS_OVERLOADED;
    const struct jwt claims = {
        .issuer = issuer_url(r),
        .audience = str_z(s->audience),
        .id = str_z(g->id),
        .subject = of != NULL ? of->user : c->id,
        .user_id = of != NULL ? of->user : STR_NONE,
        .session_id = of != NULL ? of->id : STR_NONE,
        .client_id = c->id,
        .tenant_id = c->tenant,
        .name = of != NULL                ? of->user_name
                : g->order->subject.n > 0 ? g->order->subject
                                          : c->name,
        .permissions = permissions,
        .permission_count = scopes_permissions(g->scope, permissions, JWT_PERMISSIONS),
        .scope = g->scope,
        .issued_s = now_s,
        .expires_s = now_s + life_s,
    };
    jwt_write(out, s->keyring, &claims);
    if (out->failed || claims.issuer.p == NULL)
        return SYS_OVERLOADED;
    return out->n <= JWT_MAX
               ? OK
               : request_refuse(r, OAUTH_INVALID_SCOPE, "so many scopes do not fit in a token: ask for fewer");
}

static struct str answer_of(struct gift *g, struct str access, int64_t life_s)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &g->r->arena, access.n + 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("access_token"));
    json_put_str(&o, access);
    json_key(&o, S("token_type"));
    json_put_z(&o, "Bearer");
    json_key(&o, S("expires_in"));
    json_put_int(&o, life_s);
    json_key(&o, S("scope"));
    json_put_str(&o, g->scope);
    if (g->order->refresh.n > 0) {
        json_key(&o, S("refresh_token"));
        json_put_str(&o, g->order->refresh);
    }
    if (g->order->subject.n > 0) { /* RFC 8693 §2.2.1 */
        json_key(&o, S("issued_token_type"));
        json_put_z(&o, "urn:ietf:params:oauth:token-type:access_token");
    }
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static void noted(void *arg, const struct commit_result *result)
{
    struct gift *g = arg;
    const struct token_order *o = g->order;
    if (result->code == OK)
        reply_raw(g->r, 200, "application/json", g->answer);
    else if (o->refused == NULL || !o->refused(g->r, result))
        reply_error(g->r, result->code);
}

/* Nobody gets a token that is not in the audit trail. */
static enum code note(struct gift *g, int64_t until_ms)
{
    struct request *r = g->r;
    const struct client *c = g->order->client;
    const struct grant *of = g->order->grant;
    struct str subject = of != NULL ? of->user : g->order->subject;
    struct buf after;
    struct json_out o;
    buf_init_arena(&after, &r->arena, 256);
    json_out_init(&o, &after);
    json_open(&o, '{');
    json_key(&o, S("expiresAt"));
    json_put_time(&o, until_ms);
    json_key(&o, S("scope"));
    json_put_str(&o, g->scope);
    if (subject.n > 0) {
        json_key(&o, S("subject"));
        json_put_str(&o, subject);
    }
    json_close(&o, '}');
    g->commit = g->order->commit;
    if (g->commit == NULL) {
        g->commit = &g->own;
        commit_begin(g->commit, &r->arena, (struct space){c->partition, c->tenant}, 0);
    }
    const struct audit_entry entry = {
        .action = "token.issued", .resource = "token", .resource_id = str_z(g->id), .after = buf_view(&after)};
    audit_add(g->commit, r, &entry);
    return after.failed || g->answer.p == NULL ? SYS_OVERLOADED
                                               : store_commit(r->worker->store, g->commit, &r->ops, noted, g);
}

static enum flow client_credentials(struct request *r, const struct client *c)
{
    struct token_order *o = arena_new(&r->arena, struct token_order);
    if (o == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *o = (struct token_order){.client = c, .scope = c->scopes};
    return token_give(r, o);
}

enum flow token_give(struct request *r, const struct token_order *o)
{
    struct buf access;
    struct gift *g = arena_new(&r->arena, struct gift);
    if (g == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *g = (struct gift){.r = r, .order = o};
    int64_t now_ms = store_now_ms(r->worker->store), life_s = r->worker->settings->token_ttl / 1000;
    enum code code = token_scope(r, o->scope, &g->scope);
    buf_init_arena(&access, &r->arena, 1024);
    id_uuid(now_ms, g->id);
    if (code == OK)
        code = sign(g, &access, now_ms / 1000, life_s);
    if (code == OK) {
        g->answer = answer_of(g, buf_view(&access), life_s);
        code = note(g, (now_ms / 1000 + life_s) * 1000);
    }
    return code == OK ? WAIT : reply_error(r, code);
}

const struct resource token_resource = {
    .kind = "token",
    .plural = "tokens",
    .tag = "OAUTH",
    .doc = "Access tokens.",
    .routes = routes,
};

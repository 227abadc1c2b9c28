#include "server/oauth/exchange.h"

#include "proto/form.h"
#include "proto/jwt.h"
#include "server/oauth/issuer.h"
#include "server/oauth/provider.h"
#include "server/oauth/token.h"
#include "server/worker.h"

enum { NAME_SHOWN = 100 }; /* of a subject, as the caller's name */

// clang-format off
const struct field exchange_trust_rows[] = {
    {"issuer",   FIELD_STRING, FIELD_REQUIRED, .min = 8, .max = 255, .pattern = "^https?://",
     .doc = "`iss` of the tokens; one of the setting token-issuers."},
    {"subject",  FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 255,
     .doc = "Their `sub`; * stands for any run of characters: repo:acme/site:*."},
    {"audience", FIELD_STRING, .min = 1, .max = 255, .doc = "Their `aud`. Left out: this server's issuer."},
    {0}};
// clang-format on

bool exchange_matches(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, tried = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            tried = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++tried;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

struct barter {
    const struct client *client;
    const struct json *trust;
    struct jws token;
    struct token_order order;
};

static struct str trusted(const struct barter *b, const char *name)
{
    return json_str(json_get(b->trust, name));
}

/* RFC 8693 §2.2.2: a subject token that will not do, for whatever reason, is invalid_request. */
static enum flow refuse(struct request *r, const char *why)
{
    request_refuse(r, OAUTH_INVALID_REQUEST, "subject_token: %s", why);
    return reply_error(r, OAUTH_INVALID_REQUEST);
}

static bool has_audience(const struct json *aud, struct str wanted)
{
    bool found = str_eq(json_str(aud), wanted);
    for (size_t i = 0; json_is(aud, JSON_ARRAY) && i < json_count(aud); i++)
        found = found || str_eq(json_str(json_at(aud, i)), wanted);
    return found && wanted.n > 0;
}

static const char *check_claims(struct request *r, const struct barter *b)
{
    const struct json *claims = b->token.claims;
    int64_t now_s = store_now_ms(r->worker->store) / 1000;
    struct str audience = trusted(b, "audience");
    if (audience.n == 0)
        audience = issuer_url(r);
    if (!exchange_matches(trusted(b, "subject"), json_str(json_get(claims, "sub"))))
        return "the client does not trust this subject";
    if (!has_audience(json_get(claims, "aud"), audience))
        return "it is for another audience";
    if (json_int(json_get(claims, "exp"), 0) + JWT_LEEWAY_S <= now_s)
        return "it is over";
    return json_int(json_get(claims, "nbf"), 0) > now_s + JWT_LEEWAY_S ||
                   json_int(json_get(claims, "iat"), 0) > now_s + JWT_LEEWAY_S
               ? "it is from the future"
               : NULL;
}

static enum flow keys_known(struct request *r, void *arg, const struct json *keys)
{
    struct barter *b = arg;
    if (keys == NULL)
        return reply_error(r, r->refused);
    enum jws_fault fault = jws_check(&r->arena, &b->token, jws_key(keys, &b->token));
    if (fault == JWS_MEMORY)
        return reply_error(r, SYS_OVERLOADED);
    const char *why = fault != JWS_OK ? "no key of its issuer verifies it" : check_claims(r, b);
    if (why != NULL)
        return refuse(r, why);
    b->order = (struct token_order){.client = b->client,
                                    .scope = b->client->scopes,
                                    .subject = str_slice(json_str(json_get(b->token.claims, "sub")), 0, NAME_SHOWN)};
    return token_give(r, &b->order);
}

static bool is_type(struct str type)
{
    static const char *const types[] = {"jwt", "id_token", "access_token"};
    const struct str prefix = S("urn:ietf:params:oauth:token-type:");
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_starts(type, prefix) && str_eqz(str_slice(type, prefix.n, type.n), types[i]))
            return true;
    return false;
}

enum flow exchange(struct request *r, const struct client *c)
{
    struct barter *b = arena_new(&r->arena, struct barter);
    struct str token = form_get(r->form, S("subject_token"));
    if (b == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (token.p == NULL || !is_type(form_get(r->form, S("subject_token_type"))))
        return refuse(r, "it comes with subject_token_type urn:ietf:params:oauth:token-type:id_token or :jwt");
    struct str wanted = form_get(r->form, S("requested_token_type"));
    if (form_get(r->form, S("actor_token")).p != NULL || (wanted.p != NULL && !is_type(wanted)))
        return refuse(r, "it is exchanged for an access token, without an actor");
    *b = (struct barter){.client = c, .trust = json_parse(&r->arena, c->trust, NULL, NULL)};
    if (jws_parse(&r->arena, token, &b->token) != JWS_OK)
        return refuse(r, "it is no JWT by RS256, ES256 or EdDSA");
    struct str issuer = json_str(json_get(b->token.claims, "iss"));
    if (!str_eq(issuer, trusted(b, "issuer")) || !provider_listed(r->worker->settings, issuer))
        return refuse(r, "the client, or this server, does not trust its issuer");
    return provider_keys(r, issuer, &b->token, keys_known, b);
}

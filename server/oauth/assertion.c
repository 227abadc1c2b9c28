#include "server/oauth/assertion.h"

#include "proto/http.h"
#include "proto/jws.h"
#include "proto/jwt.h"
#include "server/oauth/issuer.h"

const char *const assertion_algorithms[] = {"EdDSA", "Ed25519", "ES256", "RS256", NULL};

/* Our issuer, or the very endpoint that is asked (RFC 7523 §3, number 3). */
static bool is_for_us(struct request *r, struct str audience)
{
    struct str issuer = issuer_url(r);
    if (str_eq(audience, issuer))
        return true;
    return issuer.n > 0 && str_starts(audience, issuer) &&
           (str_eq(str_slice(audience, issuer.n, audience.n), r->head->path) ||
            str_eq(str_slice(audience, issuer.n, audience.n), S("/v1/auth/token")));
}

static const char *check_claims(struct request *r, const struct client *c, const struct json *body, int64_t now_s)
{
    const struct json *aud = json_get(body, "aud");
    struct str audience = json_is(aud, JSON_ARRAY) && json_count(aud) == 1 ? json_str(json_at(aud, 0)) : json_str(aud);
    struct str id = json_str(json_get(body, "jti"));
    int64_t expires_s = json_int(json_get(body, "exp"), 0);
    if (!str_eq(json_str(json_get(body, "iss")), c->id) || !str_eq(json_str(json_get(body, "sub")), c->id))
        return "`iss` and `sub` are the client's id";
    if (!is_for_us(r, audience))
        return "`aud` is the issuer, alone";
    if (expires_s + JWT_LEEWAY_S <= now_s)
        return "it is over";
    if (expires_s > now_s + ASSERTION_LIFE_MAX_S + JWT_LEEWAY_S)
        return "`exp` is too far away";
    if (json_int(json_get(body, "nbf"), 0) > now_s + JWT_LEEWAY_S ||
        json_int(json_get(body, "iat"), 0) > now_s + JWT_LEEWAY_S)
        return "it is from the future";
    return id.n == 0 || id.n > ASSERTION_ID_MAX ? "`jti` is missing or too long" : NULL;
}

struct str assertion_client(struct arena *a, struct str token)
{
    struct jws t;
    return jws_parse(a, token, &t) == JWS_OK ? json_str(json_get(t.claims, "sub")) : STR_NONE;
}

const char *assertion_check(struct request *r, const struct client *c, struct str token, int64_t now_s, struct str *id,
                            int64_t *expires_s)
{
    struct jws t;
    const struct json *keys = json_parse(&r->arena, c->jwks, NULL, NULL);
    if (jws_parse(&r->arena, token, &t) != JWS_OK || jws_check(&r->arena, &t, jws_key(keys, &t)) != JWS_OK)
        return "no key of the client verifies it";
    *id = json_str(json_get(t.claims, "jti"));
    *expires_s = json_int(json_get(t.claims, "exp"), 0);
    return check_claims(r, c, t.claims, now_s);
}

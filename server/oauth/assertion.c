#include "server/oauth/assertion.h"

#include "lib/crypto.h"
#include "proto/http.h"
#include "proto/jwt.h"
#include "server/oauth/issuer.h"

#include <string.h>

const char *const assertion_algorithms[] = {"EdDSA", NULL};

/* --- keys --- */

static bool is_key(const struct json *key, const char *name, const char *value)
{
    return str_eqz(json_str(json_get(key, name)), value);
}

static bool ed25519(struct arena *a, const struct json *key, uint8_t out[CRYPTO_PUBLIC])
{
    struct buf x;
    buf_init_arena(&x, a, CRYPTO_PUBLIC + 3);
    if (!is_key(key, "kty", "OKP") || !is_key(key, "crv", "Ed25519") ||
        !buf_unbase64url(&x, json_str(json_get(key, "x"))) || x.failed || x.n != CRYPTO_PUBLIC)
        return false;
    memcpy(out, x.p, CRYPTO_PUBLIC);
    return true;
}

const char *assertion_keys_fault(const struct json *jwks)
{
    const struct json *keys = json_get(jwks, "keys");
    static const char *const secrets[] = {"d", "k", "p", "q"};
    uint8_t public_key[CRYPTO_PUBLIC];
    if (json_count(keys) < 1 || json_count(keys) > CLIENT_KEYS_MAX || !json_is(keys, JSON_ARRAY))
        return "has one to eight keys in `keys`";
    for (size_t i = 0; i < json_count(keys); i++) {
        const struct json *key = json_at(keys, i);
        struct arena scratch;
        for (size_t s = 0; s < ARRAY_LEN(secrets); s++)
            if (json_get(key, secrets[s]) != NULL)
                return "has a private key in it: only public ones are to leave the client";
        arena_init(&scratch, 0);
        bool good = ed25519(&scratch, key, public_key);
        arena_fini(&scratch);
        if (!good)
            return "has a key that is not an Ed25519 one (kty OKP, crv Ed25519, x)";
    }
    return NULL;
}

/* By the key that the header names, or by any when it names none. */
static bool verifies(struct arena *a, const struct jwt_open *t, const struct json *keys)
{
    uint8_t public_key[CRYPTO_PUBLIC];
    struct str kid = json_str(json_get(t->head, "kid"));
    if (!str_eqz(json_str(json_get(t->head, "alg")), assertion_algorithms[0]) || t->signature.n != CRYPTO_SIGNATURE)
        return false;
    for (size_t i = 0; i < json_count(keys); i++) {
        const struct json *key = json_at(keys, i);
        if (kid.p != NULL && !str_eq(json_str(json_get(key, "kid")), kid))
            continue;
        if (ed25519(a, key, public_key) &&
            crypto_signature_check(public_key, t->signed_text, (const uint8_t *)t->signature.p))
            return true;
    }
    return false;
}

/* --- claims --- */

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
    struct jwt_open t;
    return jwt_open(a, token, &t) == JWT_OK ? json_str(json_get(t.body, "sub")) : STR_NONE;
}

const char *assertion_check(struct request *r, const struct client *c, struct str token, int64_t now_s, struct str *id,
                            int64_t *expires_s)
{
    struct jwt_open t;
    const struct json *keys = json_get(json_parse(&r->arena, c->jwks, NULL, NULL), "keys");
    if (jwt_open(&r->arena, token, &t) != JWT_OK)
        return "it is no JWT with `alg`, `kid` and `typ` alone";
    if (!verifies(&r->arena, &t, keys))
        return "no key of the client verifies it";
    *id = json_str(json_get(t.body, "jti"));
    *expires_s = json_int(json_get(t.body, "exp"), 0);
    return check_claims(r, c, t.body, now_s);
}

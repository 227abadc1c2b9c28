/* Tokens that others have signed: JSON Web Signatures in compact form (RFC 7515) over a JSON object, checked with a key
 * that the caller has from elsewhere (RFC 7517). For private_key_jwt (RFC 7523) and token exchange (RFC 8693); our own
 * access tokens are proto/jwt's.
 *
 * RS256, ES256 and EdDSA (Ed25519, by either name), each with a key of its own type alone; `none`, HS* and everything
 * else is no way in. `crit` is refused, and keys that a header brings along or points to (jwk, jku, x5c, x5u) are never
 * looked at.
 *
 *     if (jws_parse(a, token, &t) == JWS_OK)              // nothing is proven yet: t.claims says whom to ask for keys
 *         if (jws_check(a, &t, jws_key(keys, &t)) == JWS_OK)
 *             ...                                          // now it is; times and audience are the caller's to judge
 */
#ifndef PROTO_JWS_H
#define PROTO_JWS_H

#include "lib/json.h"

enum { JWS_MAX = 16384, JWS_KEYS_MAX = 32 };

enum jws_fault {
    JWS_OK,
    JWS_MALFORMED, /* not three parts of base64url, not JSON objects */
    JWS_ALGORITHM, /* none that is taken, or critical extensions */
    JWS_KEY,       /* no key, or one that is not for this */
    JWS_SIGNATURE,
    JWS_MEMORY
};

struct jws {
    struct str algorithm, kid, type; /* kid and type: STR_NONE where the header has none */
    const struct json *claims;       /* believe nothing of it before jws_check */
    struct str signed_text;          /* private from here */
    struct str signature;
};

/* Views point into the token and the arena. */
enum jws_fault jws_parse(struct arena *a, struct str token, struct jws *out);
enum jws_fault jws_check(struct arena *a, const struct jws *t, const struct json *key);
/* The key of a set ({"keys": [...]}) that the token names by kid; without one, the only key of the set that its
 * algorithm can have. NULL: there is none, or more than one. */
const struct json *jws_key(const struct json *set, const struct jws *t);

/* Whether a JWK is a public key that jws_check takes: NULL, or a sentence. Private parts are a fault: their owner should
 * know that they are no longer private. */
const char *jws_key_fault(struct arena *a, const struct json *key);
/* The same of a set: at most JWS_KEYS_MAX keys, no kid twice. */
const char *jws_keys_fault(struct arena *a, const struct json *set);

#endif

/* Access tokens: JSON Web Tokens (RFC 7519) as RFC 9068 shapes them, and no other kind.
 *
 * The header must be exactly alg EdDSA, typ at+jwt and a kid that is a number of the keyring's signing keys. Every
 * other header member is refused, so `alg: none`, `crit`, and embedded or linked keys (jwk, jku, x5u, x5c) have no way
 * in. The three parts are strict base64url without padding, the JSON has no duplicate members. */
#ifndef PROTO_JWT_H
#define PROTO_JWT_H

#include "lib/json.h"
#include "lib/keyring.h"

enum { JWT_MAX = 8192, JWT_LEEWAY_S = 60, JWT_ROLES = 32, JWT_PERMISSIONS = 256, JWT_CLAIM_MAX = 512 };

struct jwt { /* claims; texts live in the arena */
    struct str issuer, audience;
    struct str id;                                 /* jti: a UUID */
    struct str subject;                            /* sub: user or agent id */
    struct str user_id, agent_id, tenant_id, name; /* at most one of user_id and agent_id */
    struct str client_id;                          /* whose token it is; the subject, with neither of them */
    struct str session_id;                         /* sid: the grant that it came from, a UUID; STR_NONE: none */
    const struct str *roles, *permissions;
    size_t role_count, permission_count;
    struct str scope;
    int64_t issued_s, expires_s, not_before_s; /* not_before_s 0: absent */
};

enum jwt_fault { JWT_OK, JWT_MALFORMED, JWT_FOREIGN, JWT_SIGNATURE, JWT_EXPIRED, JWT_EARLY, JWT_CLAIMS, JWT_MEMORY };

/* Three dots-and-base64url parts: worth trying as a token. */
bool jwt_looks(struct str token);
/* `issuer` and `audience` are what the claims must say; STR_NONE: the caller looks. JWT_FOREIGN: a header that is
 * not ours. */
enum jwt_fault jwt_verify(struct arena *a, struct str token, const struct keyring *ring, struct str issuer,
                          struct str audience, int64_t now_s, struct jwt *out);
/* Signs with the newest key; a failed append shows in out->failed. */
void jwt_write(struct buf *out, const struct keyring *ring, const struct jwt *claims);

#endif

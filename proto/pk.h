/* Signatures that others have made: RSASSA-PKCS1-v1_5 with SHA-256 (RS256) and ECDSA on P-256 with SHA-256 (ES256), as
 * RFC 7518 §3.3 and §3.4 want them. With proto/tls.h the face of mbedTLS. Numbers are big endian, as in a JWK. */
#ifndef PROTO_PK_H
#define PROTO_PK_H

#include "lib/str.h"

enum {
    PK_RSA_BITS_MIN = 2048, /* RFC 7518 §3.3 */
    PK_RSA_BITS_MAX = 4096,
    PK_RSA_EXPONENT = 4, /* bytes of a public exponent at most; 65537 has three */
    PK_P256 = 32         /* bytes of a coordinate, and of r and s, always */
};

/* Whether this is a public key: NULL, or a sentence. Modulus and exponent without leading zeros, both odd. */
const char *pk_rsa_fault(struct str modulus, struct str exponent);
const char *pk_p256_fault(struct str x, struct str y); /* both of PK_P256 bytes, a point of the curve */

/* False also for a key that is none, and for a signature of another length than the key has. */
bool pk_rs256(struct str modulus, struct str exponent, struct str message, struct str signature);
bool pk_es256(struct str x, struct str y, struct str message, struct str signature); /* r and s, 64 bytes */

#endif

/* Hashes, signatures, sealing: the face of libsodium, and of nettle for SHA-256 (crypto_nettle.c). Nothing here
 * allocates on the heap; nothing fails but where it answers bool. Random bytes are in lib/id.h. */
#ifndef LIB_CRYPTO_H
#define LIB_CRYPTO_H

#include "lib/str.h"

enum {
    CRYPTO_HASH = 32,
    CRYPTO_KEY = 32,
    CRYPTO_PUBLIC = 32,
    CRYPTO_SECRET = 64, /* seed and public key, as libsodium keeps it */
    CRYPTO_SIGNATURE = 64,
    CRYPTO_NONCE = 24,
    CRYPTO_TAG = 16,
    CRYPTO_SEAL_EXTRA = CRYPTO_NONCE + CRYPTO_TAG /* a sealed text is longer by this */
};

/* Once per process, before anything else here; false when the system has no entropy. */
bool crypto_init(void);

void crypto_sha256(struct str in, uint8_t out[CRYPTO_HASH]);
void crypto_hmac_sha256(const uint8_t key[CRYPTO_KEY], struct str in, uint8_t out[CRYPTO_HASH]);
/* For codes of authenticators alone (server/identity/totp.h). */
enum { CRYPTO_SHA1 = 20 };
void crypto_hmac_sha1(struct str key, struct str in, uint8_t out[CRYPTO_SHA1]);
/* Keyed BLAKE2b-256. */
void crypto_blake2b(const uint8_t key[CRYPTO_KEY], struct str in, uint8_t out[CRYPTO_HASH]);

/* SHA-256 over parts: init, any number of adds, end. */
struct crypto_sha256 {
    _Alignas(16) unsigned char state[128];
};
void crypto_sha256_init(struct crypto_sha256 *h);
void crypto_sha256_add(struct crypto_sha256 *h, const void *p, size_t n);
void crypto_sha256_end(struct crypto_sha256 *h, uint8_t out[CRYPTO_HASH]);

/* Ed25519 (RFC 8032). */
void crypto_signature_keys(const uint8_t seed[CRYPTO_KEY], uint8_t public_key[CRYPTO_PUBLIC],
                           uint8_t secret[CRYPTO_SECRET]);
void crypto_signature_make(const uint8_t secret[CRYPTO_SECRET], struct str message,
                           uint8_t signature[CRYPTO_SIGNATURE]);
bool crypto_signature_check(const uint8_t public_key[CRYPTO_PUBLIC], struct str message,
                            const uint8_t signature[CRYPTO_SIGNATURE]);

/* Argon2id (RFC 9106): 19 MiB, two passes, one lane. Takes tens of milliseconds: for the thread pool (lib/work.h). The text
 * carries salt and figures. False when there was no memory. */
enum { CRYPTO_PASSWORD = 128 };
bool crypto_password_hash(struct str password, char hashed[CRYPTO_PASSWORD]);
/* False as well when memory ran out, or when `hashed` is none. */
bool crypto_password_check(struct str password, const char hashed[CRYPTO_PASSWORD]);

/* XChaCha20-Poly1305: appends nonce, ciphertext and tag to `out`. `context` is authenticated, not stored: opening needs
 * the same one, so that a sealed text is of no use anywhere else. A failed append shows in out->failed. */
void crypto_seal(const uint8_t key[CRYPTO_KEY], struct str context, struct str plain, struct buf *out);
/* Appends the plain text; false when anything was changed, and `out` stays as it was. */
bool crypto_open(const uint8_t key[CRYPTO_KEY], struct str context, struct str sealed, struct buf *out);

bool crypto_equal(const void *a, const void *b, size_t n); /* in constant time */
bool crypto_equal_str(struct str a, struct str b);         /* the lengths may leak */
void crypto_wipe(void *p, size_t n);

#endif

#include "lib/crypto.h"

#include <sodium.h>

_Static_assert(CRYPTO_SECRET == crypto_sign_SECRETKEYBYTES, "libsodium's secret key holds seed and public key");
_Static_assert(CRYPTO_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(CRYPTO_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");

static const unsigned char *bytes(struct str s)
{
    return (const unsigned char *)s.p;
}

bool crypto_init(void)
{
    return sodium_init() >= 0;
}

void crypto_hmac_sha256(const uint8_t key[CRYPTO_KEY], struct str in, uint8_t out[CRYPTO_HASH])
{
    crypto_auth_hmacsha256(out, bytes(in), in.n, key);
}

void crypto_blake2b(const uint8_t key[CRYPTO_KEY], struct str in, uint8_t out[CRYPTO_HASH])
{
    crypto_generichash_blake2b(out, CRYPTO_HASH, bytes(in), in.n, key, CRYPTO_KEY);
}

void crypto_signature_keys(const uint8_t seed[CRYPTO_KEY], uint8_t public_key[CRYPTO_PUBLIC],
                           uint8_t secret[CRYPTO_SECRET])
{
    crypto_sign_seed_keypair(public_key, secret, seed);
}

void crypto_signature_make(const uint8_t secret[CRYPTO_SECRET], struct str message, uint8_t signature[CRYPTO_SIGNATURE])
{
    crypto_sign_detached(signature, NULL, bytes(message), message.n, secret);
}

bool crypto_signature_check(const uint8_t public_key[CRYPTO_PUBLIC], struct str message,
                            const uint8_t signature[CRYPTO_SIGNATURE])
{
    return crypto_sign_verify_detached(signature, bytes(message), message.n, public_key) == 0;
}

_Static_assert(CRYPTO_PASSWORD == crypto_pwhash_STRBYTES, "room for libsodium's text");

bool crypto_password_hash(struct str password, char hashed[CRYPTO_PASSWORD])
{
    return crypto_pwhash_str(hashed, password.p, password.n, 2, 19456UL * 1024) == 0;
}

bool crypto_password_check(struct str password, const char hashed[CRYPTO_PASSWORD])
{
    return crypto_pwhash_str_verify(hashed, password.p, password.n) == 0;
}

void crypto_seal(const uint8_t key[CRYPTO_KEY], struct str context, struct str plain, struct buf *out)
{
    if (!buf_reserve(out, plain.n + CRYPTO_SEAL_EXTRA))
        return;
    unsigned char *nonce = (unsigned char *)out->p + out->n;
    unsigned long long n = 0;
    randombytes_buf(nonce, CRYPTO_NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + CRYPTO_NONCE, &n, bytes(plain), plain.n, bytes(context),
                                               context.n, NULL, nonce, key);
    out->n += CRYPTO_NONCE + n;
}

bool crypto_open(const uint8_t key[CRYPTO_KEY], struct str context, struct str sealed, struct buf *out)
{
    if (sealed.n < CRYPTO_SEAL_EXTRA || !buf_reserve(out, sealed.n - CRYPTO_SEAL_EXTRA))
        return false;
    unsigned long long n = 0;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)out->p + out->n, &n, NULL,
                                                   bytes(sealed) + CRYPTO_NONCE, sealed.n - CRYPTO_NONCE,
                                                   bytes(context), context.n, bytes(sealed), key) != 0)
        return false;
    out->n += n;
    return true;
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

bool crypto_equal_str(struct str a, struct str b)
{
    return a.n == b.n && crypto_equal(a.p, b.p, a.n);
}

void crypto_wipe(void *p, size_t n)
{
    sodium_memzero(p, n);
}

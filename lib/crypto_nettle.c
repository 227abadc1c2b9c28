/* The face of nettle: it has what old standards want, and takes the processor's own instructions for SHA-256, which
 * libsodium does not, and an audited change hashes some kilobytes. */
#include "lib/crypto.h"

#include <nettle/hmac.h>
#include <nettle/sha2.h>

_Static_assert(sizeof(struct crypto_sha256) >= sizeof(struct sha256_ctx), "state");

static struct sha256_ctx *state_of(struct crypto_sha256 *h)
{
    return (struct sha256_ctx *)(void *)h->state;
}

void crypto_sha256_init(struct crypto_sha256 *h)
{
    sha256_init(state_of(h));
}

void crypto_sha256_add(struct crypto_sha256 *h, const void *p, size_t n)
{
    sha256_update(state_of(h), n, p);
}

void crypto_sha256_end(struct crypto_sha256 *h, uint8_t out[CRYPTO_HASH])
{
    sha256_digest(state_of(h), CRYPTO_HASH, out);
}

void crypto_sha256(struct str in, uint8_t out[CRYPTO_HASH])
{
    struct crypto_sha256 h;
    crypto_sha256_init(&h);
    crypto_sha256_add(&h, in.p, in.n);
    crypto_sha256_end(&h, out);
}

void crypto_hmac_sha1(struct str key, struct str in, uint8_t out[CRYPTO_SHA1])
{
    struct hmac_sha1_ctx h;
    hmac_sha1_set_key(&h, key.n, (const uint8_t *)key.p);
    hmac_sha1_update(&h, in.n, (const uint8_t *)in.p);
    hmac_sha1_digest(&h, CRYPTO_SHA1, out);
}

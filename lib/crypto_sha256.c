/* The face of nettle: it takes the processor's own instructions for SHA-256, which libsodium does not, and an audited
 * change hashes some kilobytes. */
#include "lib/crypto.h"

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

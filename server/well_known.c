#include "server/well_known.h"

#include "lib/keyring.h"
#include "server/oauth/metadata.h"
#include "server/request.h"
#include "server/settings.h"
#include "server/worker.h"

static enum flow jwks(struct request *r);

// clang-format off
enum { PUBLISHED = ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE };

static const struct route routes[] = {
    {GET, "/.well-known/jwks.json", jwks, NULL, "jwks", "The public keys that access tokens are signed with (RFC 7517).", PUBLISHED, .media = "application/json"},
    {GET, "/.well-known/oauth-authorization-server", metadata_server, NULL, "oauthAuthorizationServer", "What the authorization server can do and where (RFC 8414).", PUBLISHED, .data = metadata_server_rows},
    {GET, "/.well-known/oauth-protected-resource", metadata_resource, NULL, "oauthProtectedResource", "Which authorization server the API trusts (RFC 9728).", PUBLISHED, .data = metadata_resource_rows},
    ROUTE_END};
// clang-format on

const struct resource well_known_resource = {
    .kind = "well-known",
    .plural = "well-known",
    .tag = "SYSTEM",
    .doc = "What other programs find without being told.",
    .routes = routes,
};

/* Asking for the number after the newest lets the keyring look at its file: an instance that has seen no token of a
 * rotation yet publishes its key all the same. */
static unsigned newest_key(const struct keyring *ring)
{
    uint8_t key[CRYPTO_PUBLIC];
    keyring_public(ring, KEYRING_SIGN, keyring_newest(ring, KEYRING_SIGN) + 1, key);
    return keyring_newest(ring, KEYRING_SIGN);
}

/* Nothing for a number that is not in the ring. */
static void put_key(struct buf *b, const struct keyring *ring, unsigned number, const char *before)
{
    uint8_t key[CRYPTO_PUBLIC];
    if (number == 0 || !keyring_public(ring, KEYRING_SIGN, number, key))
        return;
    buf_printf(b, "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"%u\",\"x\":\"",
               before, number);
    buf_base64url(b, key, sizeof key);
    buf_z(b, "\"}");
}

static enum flow jwks(struct request *r)
{
    const struct keyring *ring = r->worker->settings->keyring;
    unsigned newest = newest_key(ring);
    struct buf b;
    buf_init_arena(&b, &r->arena, 512);
    buf_z(&b, "{\"keys\":[");
    put_key(&b, ring, newest, "");
    put_key(&b, ring, newest - 1, ",");
    buf_z(&b, "]}");
    if (b.failed)
        return reply_error(r, SYS_OVERLOADED);
    reply_header(r, "Cache-Control", S("public, max-age=300"));
    return reply_raw(r, 200, "application/json", buf_view(&b));
}

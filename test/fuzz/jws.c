/* Tokens and keys of strangers: an input is a head, claims and a key, parted by newlines, with a signature that is none.
 * Whatever they say, nothing is believed, and what is read from them keeps its promises. */
#include "proto/jws.h"

#include "lib/crypto.h"
#include "lib/must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str token_of(struct arena *a, struct str head, struct str claims)
{
    static const char signature[64] = {1};
    struct buf b;
    buf_init_arena(&b, a, head.n + claims.n);
    buf_base64url(&b, head.p, head.n);
    buf_char(&b, '.');
    buf_base64url(&b, claims.p, claims.n);
    buf_char(&b, '.');
    buf_base64url(&b, signature, sizeof signature);
    return buf_view(&b);
}

static void is_read_rightly(struct arena *a, struct str token, struct str head, const struct jws *t)
{
    const struct json *header = json_parse(a, head, NULL, NULL);
    must(json_is(header, JSON_OBJECT) && json_is(t->claims, JSON_OBJECT));
    must(json_get(header, "crit") == NULL && json_get(header, "b64") == NULL);
    must(str_eq(t->algorithm, S("RS256")) || str_eq(t->algorithm, S("ES256")) || str_eq(t->algorithm, S("EdDSA")));
    must(str_starts(token, t->signed_text) && token.p[t->signed_text.n] == '.' && t->signature.n == 64);
}

static void is_public(const struct json *key)
{
    static const char *const secret[] = {"d", "p", "q", "dp", "dq", "qi", "k"};
    for (size_t i = 0; i < ARRAY_LEN(secret); i++)
        must(json_get(key, secret[i]) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct arena a;
    struct jws t;
    struct str claims = {(const char *)data, size}, head = str_cut(&claims, '\n'), key = claims;
    must(ready || crypto_init());
    ready = true;
    claims = str_cut(&key, '\n');
    arena_init(&a, 1 << 20);
    struct str token = token_of(&a, head, claims);
    const struct json *jwk = json_parse(&a, key, NULL, NULL);
    const struct json *found = json_get(jwk, "keys") != NULL ? NULL : jwk;
    bool good = jws_key_fault(&a, jwk) == NULL;
    if (good)
        is_public(jwk);
    if (jws_keys_fault(&a, jwk) == NULL)
        is_public(json_at(json_get(jwk, "keys"), 0));
    if (jws_parse(&a, token, &t) == JWS_OK) {
        is_read_rightly(&a, token, head, &t);
        must(jws_check(&a, &t, found == NULL ? jws_key(jwk, &t) : found) != JWS_OK);
    }
    arena_fini(&a);
    return 0;
}

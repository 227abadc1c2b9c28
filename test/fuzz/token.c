/* Access tokens. An input that begins with `!` is a token as a stranger sends it, and is never let in. Any other is a head
 * and a body, parted by a newline, that our own key signs: what comes out of it is whole, or nothing. */
#include "proto/jwt.h"

#include "lib/must.h"

#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW_S = 1800000000 };

static const struct keyring *ring(void)
{
    static struct keyring *made;
    char folder[] = "/tmp/slipway-fuzz-XXXXXX", path[64], error[256];
    if (made != NULL)
        return made;
    must(crypto_init() && mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/keyring", folder);
    made = keyring_open(path, true, error);
    must(made != NULL);
    unlink(path);
    rmdir(folder);
    return made;
}

static enum jwt_fault verify(struct arena *a, struct str token, struct jwt *out)
{
    return jwt_verify(a, token, ring(), S("slipway"), S("slipway"), NOW_S, out);
}

static void is_whole(const struct jwt *t)
{
    must((t->user_id.n > 0) != (t->agent_id.n > 0));
    must(t->subject.n > 0 && t->id.n > 0 && t->tenant_id.n > 0);
    must(str_eq(t->issuer, S("slipway")) && str_eq(t->audience, S("slipway")));
    must(t->expires_s > t->issued_s && t->expires_s + JWT_LEEWAY_S > NOW_S && t->issued_s <= NOW_S + JWT_LEEWAY_S);
    for (size_t i = 0; i < t->role_count; i++)
        must(t->roles[i].n > 0);
    for (size_t i = 0; i < t->permission_count; i++)
        must(t->permissions[i].n > 0);
}

static void sign(struct buf *token, struct str head, struct str body)
{
    uint8_t signature[CRYPTO_SIGNATURE];
    buf_base64url(token, head.p, head.n);
    buf_char(token, '.');
    buf_base64url(token, body.p, body.n);
    keyring_sign(ring(), KEYRING_SIGN, buf_view(token), signature);
    buf_char(token, '.');
    buf_base64url(token, signature, sizeof signature);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct jwt out;
    struct buf token = {0};
    struct str body = {(const char *)data, size};
    arena_init(&a, 0);
    if (size > 0 && data[0] == '!') {
        must(verify(&a, str_slice(body, 1, size), &out) != JWT_OK);
    } else if (size > 0) {
        struct str head = str_cut(&body, '\n');
        sign(&token, head, body);
        if (verify(&a, buf_view(&token), &out) == JWT_OK) {
            must(str_find(head, S("EdDSA")) >= 0 && str_find(head, S("at+jwt")) >= 0);
            is_whole(&out);
        }
    }
    buf_free(&token);
    arena_fini(&a);
    return 0;
}

#include "proto/jws.h"

#include "lib/crypto.h"
#include "proto/pk.h"

/* What an algorithm wants of a key, and how it is checked. */
struct parts { /* of a key, decoded */
    struct str a, b;
};
static const char *rsa_fault(const struct parts *k)
{
    return pk_rsa_fault(k->a, k->b);
}
static const char *p256_fault(const struct parts *k)
{
    return pk_p256_fault(k->a, k->b);
}
static const char *ed25519_fault(const struct parts *k)
{
    return k->a.n == CRYPTO_PUBLIC ? NULL : "x has 32 bytes";
}
static bool rs256(const struct parts *k, struct str message, struct str signature)
{
    return pk_rs256(k->a, k->b, message, signature);
}
static bool es256(const struct parts *k, struct str message, struct str signature)
{
    return pk_es256(k->a, k->b, message, signature);
}
static bool eddsa(const struct parts *k, struct str message, struct str signature)
{
    return signature.n == CRYPTO_SIGNATURE &&
           crypto_signature_check((const uint8_t *)k->a.p, message, (const uint8_t *)signature.p);
}

static const struct algorithm {
    const char *name, *other; /* other: what RFC 9864 calls it; NULL: the same */
    const char *type, *curve; /* curve NULL: no `crv` */
    const char *a, *b;        /* the members that are the key; b may be NULL */
    const char *(*fault)(const struct parts *k);
    bool (*check)(const struct parts *k, struct str message, struct str signature);
} algorithms[] = {
    {"RS256", NULL, "RSA", NULL, "n", "e", rsa_fault, rs256},
    {"ES256", NULL, "EC", "P-256", "x", "y", p256_fault, es256},
    {"EdDSA", "Ed25519", "OKP", "Ed25519", "x", NULL, ed25519_fault, eddsa},
};

static bool is_called(const struct algorithm *it, struct str name)
{
    return str_eqz(name, it->name) || (it->other != NULL && str_eqz(name, it->other));
}

static const struct algorithm *algorithm_named(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (is_called(&algorithms[i], name))
            return &algorithms[i];
    return NULL;
}

static bool member_is(const struct json *object, const char *name, const char *value)
{
    return str_eqz(json_str(json_get(object, name)), value);
}

/* The one algorithm that a key of this type is for; NULL: none. */
static const struct algorithm *algorithm_of(const struct json *key)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
        const struct algorithm *it = &algorithms[i];
        if (member_is(key, "kty", it->type) && (it->curve == NULL || member_is(key, "crv", it->curve)))
            return it;
    }
    return NULL;
}

/* --- tokens --- */

/* Strict base64url without padding, appended to nothing else. */
static bool decode(struct arena *a, struct str text, struct str *out, bool *exhausted)
{
    struct buf b;
    buf_init_arena(&b, a, text.n + 3);
    bool good = text.n > 0 && buf_unbase64url(&b, text);
    *exhausted |= b.failed;
    *out = buf_view(&b);
    return good && !b.failed;
}

static const struct json *decode_object(struct arena *a, struct str text, bool *exhausted)
{
    const struct json_limits limits = {.depth = 8, .nodes = 1000};
    struct json_fault fault = {0};
    struct str plain;
    if (!decode(a, text, &plain, exhausted))
        return NULL;
    const struct json *j = json_parse(a, plain, &limits, &fault);
    *exhausted |= j == NULL && fault.exhausted;
    return json_is(j, JSON_OBJECT) ? j : NULL;
}

/* A member that is a string where it is there. */
static bool text_member(const struct json *object, const char *name, struct str *out)
{
    const struct json *j = json_get(object, name);
    *out = json_str(j);
    return j == NULL || json_is(j, JSON_STRING);
}

enum jws_fault jws_parse(struct arena *a, struct str token, struct jws *out)
{
    struct str rest = token;
    bool exhausted = false;
    *out = (struct jws){0};
    if (token.n > JWS_MAX)
        return JWS_MALFORMED;
    struct str head = str_cut(&rest, '.'), body = str_cut(&rest, '.');
    const struct json *header = decode_object(a, head, &exhausted);
    out->claims = decode_object(a, body, &exhausted);
    bool well = header != NULL && out->claims != NULL && decode(a, rest, &out->signature, &exhausted) &&
                text_member(header, "alg", &out->algorithm) && text_member(header, "kid", &out->kid) &&
                text_member(header, "typ", &out->type);
    if (!well)
        return exhausted ? JWS_MEMORY : JWS_MALFORMED;
    out->signed_text = str_slice(token, 0, head.n + 1 + body.n);
    if (algorithm_named(out->algorithm) == NULL || json_get(header, "crit") != NULL || json_get(header, "b64") != NULL)
        return JWS_ALGORITHM;
    return JWS_OK;
}

/* --- keys --- */

static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};

static bool verifies(const struct json *key)
{
    const struct json *use = json_get(key, "use"), *operations = json_get(key, "key_ops");
    bool may = operations == NULL;
    for (size_t i = 0; i < json_count(operations); i++)
        may |= str_eqz(json_str(json_at(operations, i)), "verify");
    return may && (use == NULL || str_eqz(json_str(use), "sig"));
}

/* NULL and the key's parts, or a sentence. */
static const char *read_key(struct arena *a, const struct json *key, const struct algorithm *it, struct parts *out,
                            bool *exhausted)
{
    *out = (struct parts){0};
    for (size_t i = 0; i < ARRAY_LEN(private_members); i++)
        if (json_get(key, private_members[i]) != NULL)
            return "the key has private parts";
    if (!verifies(key))
        return "the key is not for checking signatures (use, key_ops)";
    if (json_get(key, "alg") != NULL && !is_called(it, json_str(json_get(key, "alg"))))
        return "the key's alg does not fit its type";
    if (!decode(a, json_str(json_get(key, it->a)), &out->a, exhausted) ||
        (it->b != NULL && !decode(a, json_str(json_get(key, it->b)), &out->b, exhausted)))
        return "the key's numbers are base64url without padding";
    return it->fault(out);
}

enum jws_fault jws_check(struct arena *a, const struct jws *t, const struct json *key)
{
    const struct algorithm *it = algorithm_named(t->algorithm);
    bool exhausted = false;
    struct parts parts;
    if (it == NULL)
        return JWS_ALGORITHM;
    if (algorithm_of(key) != it || read_key(a, key, it, &parts, &exhausted) != NULL)
        return exhausted ? JWS_MEMORY : JWS_KEY;
    return it->check(&parts, t->signed_text, t->signature) ? JWS_OK : JWS_SIGNATURE;
}

const struct json *jws_key(const struct json *set, const struct jws *t)
{
    const struct json *keys = json_get(set, "keys"), *found = NULL;
    for (size_t i = 0; i < json_count(keys); i++) {
        const struct json *key = json_at(keys, i);
        bool fits = t->kid.p != NULL ? str_eq(json_str(json_get(key, "kid")), t->kid)
                                     : algorithm_of(key) == algorithm_named(t->algorithm) && verifies(key);
        if (fits && found != NULL)
            return NULL;
        if (fits)
            found = key;
    }
    return found;
}

const char *jws_key_fault(struct arena *a, const struct json *key)
{
    const struct algorithm *it = algorithm_of(key);
    bool exhausted = false;
    struct parts parts;
    if (!json_is(key, JSON_OBJECT) || it == NULL)
        return "a key is of type RSA, EC with P-256, or OKP with Ed25519";
    return read_key(a, key, it, &parts, &exhausted);
}

static bool has_twin(const struct json *keys, size_t i)
{
    struct str kid = json_str(json_get(json_at(keys, i), "kid"));
    for (size_t k = 0; kid.p != NULL && k < i; k++)
        if (str_eq(json_str(json_get(json_at(keys, k), "kid")), kid))
            return true;
    return false;
}

const char *jws_keys_fault(struct arena *a, const struct json *set)
{
    const struct json *keys = json_get(set, "keys");
    if (!json_is(keys, JSON_ARRAY) || json_count(keys) == 0 || json_count(keys) > JWS_KEYS_MAX)
        return "a set has 1 to 32 keys in the array `keys`";
    for (size_t i = 0; i < json_count(keys); i++) {
        const char *fault = jws_key_fault(a, json_at(keys, i));
        if (fault != NULL)
            return fault;
        if (has_twin(keys, i))
            return "two keys have the same kid";
    }
    return NULL;
}

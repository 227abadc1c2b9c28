#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "lib/arena.h"
#include "lib/crypto.h"
#include "proto/jws.h"
#include "proto/pk.h"

/* RFC 7515 A.2 and A.3, RFC 8037 A.4: the texts as printed there. */
#define CLAIMS "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RSA_N                                                                                                          \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-"   \
    "pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"                  \
    "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"                      \
    "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
#define RSA_KEY "{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\"}"
#define RSA_TOKEN                                                                                                      \
    "eyJhbGciOiJSUzI1NiJ9." CLAIMS ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_"   \
    "lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"                                                 \
    "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"                        \
    "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_"                 \
    "IoypGlUPQGe77Rw"
#define EC_X   "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define EC_Y   "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define EC_KEY "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}"
#define EC_TOKEN                                                                                                       \
    "eyJhbGciOiJFUzI1NiJ9." CLAIMS                                                                                     \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return crypto_init() ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const struct json *json(const char *text)
{
    const struct json *j = json_parse(&arena, str_z(text), NULL, NULL);
    assert_non_null(j);
    return j;
}

static struct str raw(const char *base64url)
{
    struct buf b;
    buf_init_arena(&b, &arena, 1024);
    assert_true(buf_unbase64url(&b, str_z(base64url)));
    return buf_view(&b);
}

static enum jws_fault judge(struct str token, const char *key)
{
    struct jws t;
    enum jws_fault fault = jws_parse(&arena, token, &t);
    return fault == JWS_OK ? jws_check(&arena, &t, json(key)) : fault;
}

/* A token of this header and these claims with a signature that is none. */
static struct str token_of(const char *header, const char *claims, size_t signature)
{
    struct buf b;
    buf_init_arena(&b, &arena, 2048);
    buf_base64url(&b, header, strlen(header));
    buf_char(&b, '.');
    buf_base64url(&b, claims, strlen(claims));
    buf_char(&b, '.');
    char zeros[512] = {0};
    buf_base64url(&b, zeros, signature);
    return buf_view(&b);
}

static void the_examples_of_the_rfcs_hold(void **state)
{
    struct jws t;
    (void)state;
    assert_int_equal(judge(S(RSA_TOKEN), RSA_KEY), JWS_OK);
    assert_int_equal(judge(S(EC_TOKEN), EC_KEY), JWS_OK);
    assert_int_equal(jws_parse(&arena, S(RSA_TOKEN), &t), JWS_OK);
    assert_true(str_eqz(json_str(json_get(t.claims, "iss")), "joe"));
    assert_true(str_eqz(t.algorithm, "RS256") && t.kid.p == NULL && t.type.p == NULL);
}

static void ed25519_is_taken_too(void **state)
{
    uint8_t seed[CRYPTO_KEY] = {7}, public_key[CRYPTO_PUBLIC], secret[CRYPTO_SECRET], signature[CRYPTO_SIGNATURE];
    struct buf key, token;
    (void)state;
    buf_init_arena(&key, &arena, 256);
    buf_init_arena(&token, &arena, 512);
    crypto_signature_keys(seed, public_key, secret);
    buf_z(&key, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
    buf_base64url(&key, public_key, sizeof(public_key));
    buf_z(&key, "\"}");
    buf_char(&key, '\0');
    buf_base64url(&token, "{\"alg\":\"EdDSA\"}", 15);
    buf_z(&token, "." CLAIMS);
    crypto_signature_make(secret, buf_view(&token), signature);
    buf_char(&token, '.');
    buf_base64url(&token, signature, sizeof(signature));
    assert_int_equal(judge(buf_view(&token), key.p), JWS_OK);
    assert_int_equal(judge(buf_view(&token), EC_KEY), JWS_KEY);
}

/* Every byte of the three parts counts. */
static void a_changed_byte_is_noticed(void **state)
{
    static const struct {
        const char *token, *key;
    } cases[] = {{RSA_TOKEN, RSA_KEY}, {EC_TOKEN, EC_KEY}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t at = 0, n = strlen(cases[i].token); at < n; at += 1 + at / 64) {
            struct arena own;
            char text[1024];
            memcpy(text, cases[i].token, n + 1);
            text[at] = text[at] == 'A' ? 'B' : 'A';
            struct jws t;
            arena_init(&own, 0);
            enum jws_fault fault = jws_parse(&own, (struct str){text, n}, &t);
            if (fault == JWS_OK)
                fault = jws_check(&own, &t, json(cases[i].key));
            assert_int_not_equal(fault, JWS_OK);
            arena_fini(&own);
        }
}

static void only_the_listed_algorithms_are_a_way_in(void **state)
{
    static const char *const headers[] = {"{\"alg\":\"none\"}",
                                          "{\"alg\":\"None\"}",
                                          "{\"alg\":\"HS256\"}",
                                          "{\"alg\":\"RS384\"}",
                                          "{\"alg\":\"PS256\"}",
                                          "{\"alg\":\"ES384\"}",
                                          "{\"alg\":\"rs256\"}",
                                          "{\"alg\":\"\"}",
                                          "{}",
                                          "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}",
                                          "{\"alg\":\"RS256\",\"b64\":false,\"crit\":[\"b64\"]}",
                                          "{\"alg\":\"RS256\",\"crit\":[]}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        assert_int_equal(judge(token_of(headers[i], "{}", 256), RSA_KEY), JWS_ALGORITHM);
    assert_int_equal(judge(token_of("{\"alg\":7}", "{}", 256), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(token_of("[]", "{}", 256), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(token_of("{\"alg\":\"RS256\",\"alg\":\"none\"}", "{}", 256), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(token_of("{\"alg\":\"RS256\"}", "[]", 256), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(S("a.b"), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(S("eyJhbGciOiJub25lIn0.e30."), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(S(RSA_TOKEN "."), RSA_KEY), JWS_MALFORMED);
    assert_int_equal(judge(S(RSA_TOKEN "="), RSA_KEY), JWS_MALFORMED);
}

static void an_algorithm_wants_a_key_of_its_type(void **state)
{
    (void)state;
    assert_int_equal(judge(S(RSA_TOKEN), EC_KEY), JWS_KEY);
    assert_int_equal(judge(S(EC_TOKEN), RSA_KEY), JWS_KEY);
    assert_int_equal(judge(S(RSA_TOKEN), "{\"kty\":\"oct\",\"k\":\"AAAA\"}"), JWS_KEY);
    assert_int_equal(judge(S(EC_TOKEN), "null"), JWS_KEY);
}

static void a_signature_has_the_length_of_its_key(void **state)
{
    (void)state;
    for (size_t n = 1; n < 300; n += n == 62 || n == 254 ? 1 : 3) {
        assert_int_equal(judge(token_of("{\"alg\":\"ES256\"}", "{}", n), EC_KEY), JWS_SIGNATURE);
        assert_int_equal(judge(token_of("{\"alg\":\"RS256\"}", "{}", n), RSA_KEY), JWS_SIGNATURE);
    }
    /* RFC 7515 A.3's r and s with a zero byte before each: 66 bytes */
    struct str good = raw("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    char longer[66] = {0};
    memcpy(longer + 1, good.p, 32);
    memcpy(longer + 34, good.p + 32, 32);
    struct str text = S("eyJhbGciOiJFUzI1NiJ9." CLAIMS);
    assert_true(pk_es256(raw(EC_X), raw(EC_Y), text, good));
    assert_false(pk_es256(raw(EC_X), raw(EC_Y), text, (struct str){longer, sizeof(longer)}));
}

static void keys_are_judged_with_a_reason(void **state)
{
    static const struct {
        const char *key, *why; /* why: what the sentence begins with */
    } cases[] = {
        {RSA_KEY, NULL},
        {EC_KEY, NULL},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_X "\"}", "x and y have 32 bytes"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"" EC_Y "\"}", "x and y have 32 bytes"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\"}", "the key's numbers"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "=\",\"y\":\"" EC_Y "\"}", "the key's numbers"},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", "a key is of type"},
        {"{\"kty\":\"oct\",\"k\":\"AAAA\"}", "a key is of type"},
        {"[]", "a key is of type"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"d\":\"AQ\"}", "the key has private parts"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"use\":\"enc\"}", "the key is not for checking"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"key_ops\":[\"encrypt\"]}",
         "the key is not for checking"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N
         "\",\"e\":\"AQAB\",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"alg\":\"RS256\"}",
         NULL},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"alg\":\"PS256\"}", "the key's alg"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQ\"}", "modulus and exponent are odd"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AAEAAQ\"}", "modulus and exponent have no leading"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAA\"}", "modulus and exponent are odd"},
        {"{\"kty\":\"RSA\",\"n\":\"wQ\",\"e\":\"AQAB\"}", "the modulus has"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *why = jws_key_fault(&arena, json(cases[i].key));
        assert_int_equal(why == NULL, cases[i].why == NULL);
        if (why != NULL && !str_starts(str_z(why), str_z(cases[i].why)))
            fail_msg("%s: %s", cases[i].key, why);
    }
}

static void an_rsa_key_of_2047_bits_is_too_short(void **state)
{
    char modulus[256];
    struct str exponent = raw("AQAB");
    (void)state;
    memcpy(modulus, raw(RSA_N).p, sizeof(modulus));
    assert_null(pk_rsa_fault((struct str){modulus, sizeof(modulus)}, exponent));
    modulus[0] = 0x7f;
    assert_non_null(pk_rsa_fault((struct str){modulus, sizeof(modulus)}, exponent));
}

static void a_set_gives_the_key_that_is_meant(void **state)
{
#define NAMED(kid) "{\"kid\":\"" kid "\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}"
    struct jws named = {.algorithm = S("ES256"), .kid = S("two")}, unnamed = {.algorithm = S("ES256")};
    const struct json *set = json("{\"keys\":[" NAMED("one") "," NAMED("two") "," RSA_KEY "]}");
    const struct json *twins = json("{\"keys\":[" NAMED("two") "," NAMED("two") "]}");
    const struct json *mixed = json("{\"keys\":[" RSA_KEY "," EC_KEY "]}");
    (void)state;
    assert_ptr_equal(jws_key(set, &named), json_at(json_get(set, "keys"), 1));
    assert_null(jws_key(set, &unnamed)); /* which one? */
    assert_null(jws_key(twins, &named));
    assert_null(jws_key(mixed, &named));
    assert_ptr_equal(jws_key(mixed, &unnamed), json_at(json_get(mixed, "keys"), 1));
    assert_null(jws_key(json("{}"), &unnamed));
    assert_null(jws_keys_fault(&arena, set));
    assert_string_equal(jws_keys_fault(&arena, twins), "two keys have the same kid");
    assert_non_null(jws_keys_fault(&arena, json("{\"keys\":[]}")));
    assert_non_null(jws_keys_fault(&arena, json("{}")));
#undef NAMED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfcs_hold),
        cmocka_unit_test(ed25519_is_taken_too),
        cmocka_unit_test(a_changed_byte_is_noticed),
        cmocka_unit_test(only_the_listed_algorithms_are_a_way_in),
        cmocka_unit_test(an_algorithm_wants_a_key_of_its_type),
        cmocka_unit_test(a_signature_has_the_length_of_its_key),
        cmocka_unit_test(keys_are_judged_with_a_reason),
        cmocka_unit_test(an_rsa_key_of_2047_bits_is_too_short),
        cmocka_unit_test(a_set_gives_the_key_that_is_meant),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

#include "proto/jwt.h"

#include "lib/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 1800000000 };

struct fixture {
    char path[64];
    struct keyring *ring;
    struct arena arena;
    struct buf token;
};

static const struct str roles[] = {{"viewer", 6}, {"approver", 8}};

static struct jwt good(void)
{
    return (struct jwt){
        .issuer = S("slipway"),
        .audience = S("slipway"),
        .id = S("0192f7a0-0000-7000-8000-000000000001"),
        .subject = S("alice"),
        .user_id = S("alice"),
        .tenant_id = S("0192f7a0-0000-7000-8000-000000000002"),
        .name = S("Alice"),
        .roles = roles,
        .role_count = 2,
        .scope = S("api"),
        .issued_s = NOW - 10,
        .expires_s = NOW + 3600,
    };
}

static int setup(void **state)
{
    char error[256];
    struct fixture *f = calloc(1, sizeof *f);
    assert_true(crypto_init());
    snprintf(f->path, sizeof f->path, "/tmp/slipway-jwt-%ld", (long)getpid());
    f->ring = keyring_open(f->path, true, error);
    assert_non_null(f->ring);
    arena_init(&f->arena, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    keyring_free(f->ring);
    arena_fini(&f->arena);
    buf_free(&f->token);
    free(f);
    return 0;
}

static enum jwt_fault verify(struct fixture *f, struct str token, struct jwt *out)
{
    struct jwt ignored;
    return jwt_verify(&f->arena, token, f->ring, S("slipway"), S("slipway"), NOW, out == NULL ? &ignored : out);
}

static struct str written(struct fixture *f, const struct jwt *claims)
{
    buf_clear(&f->token);
    jwt_write(&f->token, f->ring, claims);
    assert_false(f->token.failed);
    return buf_view(&f->token);
}

/* A token of any head and body, rightly signed: what only a holder of the key could make. */
static struct str forged(struct fixture *f, const char *head, const char *body)
{
    uint8_t signature[CRYPTO_SIGNATURE];
    buf_clear(&f->token);
    buf_base64url(&f->token, head, strlen(head));
    buf_char(&f->token, '.');
    buf_base64url(&f->token, body, strlen(body));
    keyring_sign(f->ring, KEYRING_SIGN, buf_view(&f->token), signature);
    buf_char(&f->token, '.');
    buf_base64url(&f->token, signature, sizeof signature);
    return buf_view(&f->token);
}

#define HEAD "{\"alg\":\"EdDSA\",\"kid\":\"1\",\"typ\":\"at+jwt\"}"
#define BODY                                                                                                           \
    "{\"iss\":\"slipway\",\"aud\":\"slipway\",\"jti\":\"0192f7a0-0000-7000-8000-000000000001\",\"sub\":\"alice\","     \
    "\"user_id\":\"alice\",\"tenant_id\":\"0192f7a0-0000-7000-8000-000000000002\",\"iat\":1799999990,"                 \
    "\"exp\":1800003600"

static void what_was_written_is_read(void **state)
{
    struct fixture *f = *state;
    struct jwt claims = good(), out;
    assert_int_equal(verify(f, written(f, &claims), &out), JWT_OK);
    assert_true(str_eq(out.user_id, S("alice")));
    assert_true(str_eq(out.name, S("Alice")));
    assert_true(str_eq(out.scope, S("api")));
    assert_int_equal(out.role_count, 2);
    assert_true(str_eq(out.roles[1], S("approver")));
    assert_int_equal(out.permission_count, 0);
    assert_int_equal(out.expires_s, NOW + 3600);
}

static void a_scope_may_be_as_long_as_a_token_carries(void **state)
{
    struct fixture *f = *state;
    struct jwt claims = good(), out;
    char many[2048];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = i % 16 == 15 ? ' ' : 'a';
    claims.scope = (struct str){many, sizeof many};
    assert_int_equal(verify(f, written(f, &claims), &out), JWT_OK);
    assert_true(str_eq(out.scope, claims.scope));
}

static void a_rightly_signed_token_made_by_hand_is_read(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(verify(f, forged(f, HEAD, BODY "}"), NULL), JWT_OK);
}

static void every_changed_byte_is_refused(void **state)
{
    struct fixture *f = *state;
    struct jwt claims = good();
    struct str token = written(f, &claims);
    char *copy = malloc(token.n);
    for (size_t i = 0; i < token.n; i++)
        for (char c = 0; c < 3; c++) {
            memcpy(copy, token.p, token.n);
            copy[i] = copy[i] == 'A' + c ? 'z' : (char)('A' + c);
            if (memcmp(copy, token.p, token.n) != 0)
                assert_int_not_equal(verify(f, (struct str){copy, token.n}, NULL), JWT_OK);
        }
    free(copy);
}

static void every_truncation_is_refused(void **state)
{
    struct fixture *f = *state;
    struct jwt claims = good();
    struct str token = written(f, &claims);
    for (size_t n = 0; n < token.n; n++)
        assert_int_not_equal(verify(f, str_slice(token, 0, n), NULL), JWT_OK);
    for (size_t n = 1; n < token.n; n++)
        assert_int_not_equal(verify(f, str_slice(token, n, token.n), NULL), JWT_OK);
}

static void other_algorithms_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const heads[] = {
        "{\"alg\":\"none\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"None\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"HS256\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"RS256\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"eddsa\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":[\"EdDSA\"],\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"1\",\"typ\":\"JWT\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"1\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}",
        "{\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":1,\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"2\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"01\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"0\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"../x\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"alg\":\"none\",\"kid\":\"1\",\"typ\":\"at+jwt\"}",
        "[]",
        "\"x\"",
        "",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        assert_int_not_equal(verify(f, forged(f, heads[i], BODY "}"), NULL), JWT_OK);
}

static void keys_in_the_header_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const extras[] = {
        "\"jwk\":{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}",
        "\"jku\":\"https://example.org/keys\"",
        "\"x5u\":\"https://example.org/c\"",
        "\"x5c\":[\"AAAA\"]",
        "\"crit\":[\"exp\"]",
        "\"b64\":false",
        "\"zip\":\"DEF\"",
        "\"cty\":\"JWT\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(extras); i++) {
        char head[256];
        snprintf(head, sizeof head, "{\"alg\":\"EdDSA\",\"kid\":\"1\",\"typ\":\"at+jwt\",%s}", extras[i]);
        assert_int_equal(verify(f, forged(f, head, BODY "}"), NULL), JWT_FOREIGN);
    }
}

static void claims_of_a_wrong_kind_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bodies[] = {
        "{}",
        "[]",
        "{\"iss\":\"slipway\"}",
        BODY ",\"user_id\":\"bob\"}",
        BODY ",\"agent_id\":\"a1\"}",
        BODY ",\"roles\":\"admin\"}",
        BODY ",\"roles\":[1]}",
        BODY ",\"permissions\":{\"a\":1}}",
        BODY ",\"nbf\":\"now\"}",
        BODY ",\"nbf\":-1}",
        BODY ",\"name\":7}",
        BODY ",\"x\":{\"a\":{\"b\":{\"c\":{\"d\":1}}}}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        assert_int_equal(verify(f, forged(f, HEAD, bodies[i]), NULL), JWT_CLAIMS);
}

static void tokens_of_others_are_refused(void **state)
{
    struct fixture *f = *state;
    struct jwt claims = good(), out;
    claims.issuer = S("other");
    assert_int_equal(verify(f, written(f, &claims), NULL), JWT_CLAIMS);
    claims = good();
    claims.audience = S("other");
    assert_int_equal(verify(f, written(f, &claims), NULL), JWT_CLAIMS);
    claims = good();
    claims.subject = S("bob");
    assert_int_equal(verify(f, written(f, &claims), &out), JWT_CLAIMS);
}

static void a_client_is_the_subject_of_a_token_without_a_user(void **state)
{
    struct fixture *f = *state;
    struct jwt claims = good(), out;
    claims.client_id = S("c1");
    assert_int_equal(verify(f, written(f, &claims), &out), JWT_OK);
    assert_true(str_eqz(out.client_id, "c1") && str_eqz(out.user_id, "alice"));
    claims.user_id = STR_NONE;
    assert_int_equal(verify(f, written(f, &claims), NULL), JWT_CLAIMS);
    claims.subject = S("c1");
    assert_int_equal(verify(f, written(f, &claims), &out), JWT_OK);
    assert_true(out.user_id.n == 0 && out.agent_id.n == 0);
    claims.client_id = STR_NONE;
    assert_int_equal(verify(f, written(f, &claims), NULL), JWT_CLAIMS);
}

static void time_is_judged_with_a_minute_of_leeway(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t issued, before, expires;
        enum jwt_fault want;
    } cases[] = {
        {NOW - 100, 0, NOW - 59, JWT_OK},       {NOW - 100, 0, NOW - 60, JWT_EXPIRED},
        {NOW + 60, 0, NOW + 100, JWT_OK},       {NOW + 61, 0, NOW + 100, JWT_EARLY},
        {NOW - 1, NOW + 60, NOW + 100, JWT_OK}, {NOW - 1, NOW + 61, NOW + 100, JWT_EARLY},
        {NOW - 1, 0, NOW - 1, JWT_CLAIMS},      {NOW - 1, 0, NOW + INT64_C(632448000), JWT_CLAIMS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jwt claims = good();
        claims.issued_s = cases[i].issued;
        claims.not_before_s = cases[i].before;
        claims.expires_s = cases[i].expires;
        assert_int_equal(verify(f, written(f, &claims), NULL), cases[i].want);
    }
}

static void another_keyring_cannot_sign_for_us(void **state)
{
    struct fixture *f = *state;
    char error[256], path[80];
    struct jwt claims = good();
    struct buf token = {0};
    snprintf(path, sizeof path, "%s.other", f->path);
    struct keyring *other = keyring_open(path, true, error);
    assert_non_null(other);
    jwt_write(&token, other, &claims);
    assert_int_equal(verify(f, buf_view(&token), NULL), JWT_SIGNATURE);
    buf_free(&token);
    keyring_free(other);
    unlink(path);
}

static void an_old_key_still_opens_its_tokens(void **state)
{
    struct fixture *f = *state;
    char error[256];
    struct jwt claims = good();
    struct buf old = {0};
    jwt_write(&old, f->ring, &claims);
    assert_true(keyring_rotate(f->ring, error));
    assert_int_equal(verify(f, buf_view(&old), NULL), JWT_OK);
    assert_int_equal(verify(f, written(f, &claims), NULL), JWT_OK);
    buf_free(&old);
}

static void what_is_no_token_is_told_apart(void **state)
{
    (void)state;
    assert_true(jwt_looks(S("a.b.c")));
    static const char *const others[] = {"",     ".",       "..",     "a.b",     "a.b.",   ".b.c",
                                         "a..c", "a.b.c.d", "a.b.c=", "a b.c.d", "slp_abc"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(jwt_looks(str_z(others[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scope_may_be_as_long_as_a_token_carries, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rightly_signed_token_made_by_hand_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(every_changed_byte_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(other_algorithms_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_in_the_header_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(claims_of_a_wrong_kind_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_of_others_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_is_the_subject_of_a_token_without_a_user, setup, teardown),
        cmocka_unit_test_setup_teardown(time_is_judged_with_a_minute_of_leeway, setup, teardown),
        cmocka_unit_test_setup_teardown(another_keyring_cannot_sign_for_us, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_key_still_opens_its_tokens, setup, teardown),
        cmocka_unit_test(what_is_no_token_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

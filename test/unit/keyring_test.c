#include "lib/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64], path[96], error[256];
    struct keyring *ring;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_true(crypto_init());
    snprintf(f->folder, sizeof f->folder, "/tmp/slipway-keyring-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/keyring", f->folder);
    f->ring = keyring_open(f->path, true, f->error);
    assert_non_null(f->ring);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    keyring_free(f->ring);
    unlink(f->path);
    assert_int_equal(rmdir(f->folder), 0); /* and nothing else was left there */
    free(f);
    return 0;
}

static void hex_is(const uint8_t *p, size_t n, const char *want)
{
    struct buf b = {0};
    buf_hex(&b, p, n);
    assert_int_equal(b.n, strlen(want));
    assert_memory_equal(b.p, want, b.n);
    buf_free(&b);
}

static void hashes_are_the_published_ones(void **state)
{
    (void)state;
    uint8_t out[CRYPTO_HASH], key[CRYPTO_KEY] = {0};
    crypto_sha256(S("abc"), out);
    hex_is(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct crypto_sha256 h;
    crypto_sha256_init(&h);
    crypto_sha256_add(&h, "a", 1);
    crypto_sha256_add(&h, "bc", 2);
    crypto_sha256_end(&h, out);
    hex_is(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(key, 0x0b, 20); /* RFC 4231 §4.2: a short key is padded with zeros */
    crypto_hmac_sha256(key, S("Hi There"), out);
    hex_is(out, sizeof out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

static void signatures_are_rfc_8032(void **state)
{
    (void)state;
    static const uint8_t seed[CRYPTO_KEY] = {0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a,
                                             0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
                                             0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
    uint8_t public_key[CRYPTO_PUBLIC], secret[CRYPTO_SECRET], signature[CRYPTO_SIGNATURE];
    crypto_signature_keys(seed, public_key, secret);
    hex_is(public_key, sizeof public_key, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    crypto_signature_make(secret, S(""), signature);
    hex_is(
        signature, sizeof signature,
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b");
    assert_true(crypto_signature_check(public_key, S(""), signature));
    assert_false(crypto_signature_check(public_key, S("x"), signature));
}

static void a_sealed_text_opens_only_where_it_belongs(void **state)
{
    struct fixture *f = *state;
    struct buf blob = {0}, out = {0};
    unsigned number = 0;
    keyring_seal(f->ring, S("tenant:kind:1:password"), S("hunter2"), &blob);
    assert_int_equal(blob.n, 4 + CRYPTO_SEAL_EXTRA + 7);
    assert_memory_equal(blob.p, "\0\0\0\1", 4);
    assert_true(keyring_unseal(f->ring, S("tenant:kind:1:password"), buf_view(&blob), &out, &number));
    assert_int_equal(number, 1);
    assert_int_equal(out.n, 7);
    assert_memory_equal(out.p, "hunter2", 7);
    buf_clear(&out);
    assert_false(keyring_unseal(f->ring, S("tenant:kind:2:password"), buf_view(&blob), &out, NULL));
    for (size_t i = 0; i < blob.n; i++) {
        blob.p[i] ^= 1;
        assert_false(keyring_unseal(f->ring, S("tenant:kind:1:password"), buf_view(&blob), &out, NULL));
        blob.p[i] ^= 1;
        assert_false(
            keyring_unseal(f->ring, S("tenant:kind:1:password"), str_slice(buf_view(&blob), 0, i), &out, NULL));
    }
    assert_int_equal(out.n, 0);
    buf_free(&blob);
    buf_free(&out);
}

static void the_file_is_for_its_owner_alone(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    for (size_t i = 0; i < 3; i++) {
        static const mode_t modes[] = {0644, 0660, 0604};
        assert_int_equal(chmod(f->path, modes[i]), 0);
        assert_null(keyring_open(f->path, true, f->error));
        assert_non_null(strstr(f->error, "others may read it"));
    }
}

static void the_group_of_a_file_of_root_may_read_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(chmod(f->path, 0640), 0);
    struct keyring *k = keyring_open(f->path, false, f->error);
    assert_int_equal(k != NULL, geteuid() == 0); /* who runs the test owns the file */
    keyring_free(k);
}

static void a_ring_is_the_same_when_it_is_read_again(void **state)
{
    struct fixture *f = *state;
    char name[KEYRING_NAME], print[KEYRING_PRINT], name2[KEYRING_NAME], print2[KEYRING_PRINT];
    uint8_t hash[CRYPTO_HASH], hash2[CRYPTO_HASH], signature[CRYPTO_SIGNATURE];
    struct keyring *again = keyring_open(f->path, false, f->error);
    assert_non_null(again);
    assert_int_equal(keyring_count(f->ring), 4);
    assert_int_equal(keyring_count(again), 4);
    for (unsigned i = 0; i < 4; i++) {
        keyring_fingerprint(f->ring, i, name, print);
        keyring_fingerprint(again, i, name2, print2);
        assert_string_equal(name, name2);
        assert_string_equal(print, print2);
    }
    keyring_hash(f->ring, S("secret"), hash);
    keyring_hash(again, S("secret"), hash2);
    assert_memory_equal(hash, hash2, sizeof hash);
    assert_int_equal(keyring_sign(f->ring, KEYRING_EVIDENCE, S("m"), signature), 1);
    assert_true(keyring_verify(again, KEYRING_EVIDENCE, 1, S("m"), signature));
    assert_false(keyring_verify(again, KEYRING_SIGN, 1, S("m"), signature));
    keyring_free(again);
}

static void rotation_keeps_what_was_and_makes_new_with_new(void **state)
{
    struct fixture *f = *state;
    struct buf old = {0}, fresh = {0}, out = {0};
    uint8_t hash[CRYPTO_HASH], hash2[CRYPTO_HASH];
    keyring_seal(f->ring, S("c"), S("old"), &old);
    keyring_hash(f->ring, S("secret"), hash);
    assert_true(keyring_rotate(f->ring, f->error));
    assert_int_equal(keyring_newest(f->ring, KEYRING_SEAL), 2);
    assert_int_equal(keyring_newest(f->ring, KEYRING_SIGN), 2);
    assert_int_equal(keyring_newest(f->ring, KEYRING_PEPPER), 1);
    keyring_seal(f->ring, S("c"), S("new"), &fresh);
    assert_memory_equal(fresh.p, "\0\0\0\2", 4);
    struct keyring *again = keyring_open(f->path, false, f->error);
    assert_non_null(again);
    assert_true(keyring_unseal(again, S("c"), buf_view(&old), &out, NULL));
    assert_true(keyring_unseal(again, S("c"), buf_view(&fresh), &out, NULL));
    assert_memory_equal(out.p, "oldnew", 6);
    keyring_hash(again, S("secret"), hash2);
    assert_memory_equal(hash, hash2, sizeof hash);
    keyring_free(again);
    buf_free(&old);
    buf_free(&fresh);
    buf_free(&out);
}

static void a_running_ring_takes_up_a_rotation(void **state)
{
    struct fixture *f = *state;
    struct buf blob = {0}, out = {0};
    uint8_t signature[CRYPTO_SIGNATURE];
    struct keyring *running = keyring_open(f->path, false, f->error);
    assert_non_null(running);
    assert_true(keyring_rotate(f->ring, f->error));
    keyring_seal(f->ring, S("c"), S("new"), &blob);
    assert_int_equal(keyring_sign(f->ring, KEYRING_SIGN, S("m"), signature), 2);
    assert_int_equal(keyring_newest(running, KEYRING_SEAL), 1);
    assert_true(keyring_unseal(running, S("c"), buf_view(&blob), &out, NULL));
    assert_true(keyring_verify(running, KEYRING_SIGN, 2, S("m"), signature));
    assert_int_equal(keyring_newest(running, KEYRING_SEAL), 2);
    assert_false(keyring_verify(running, KEYRING_SIGN, 3, S("m"), signature));
    keyring_free(running);
    buf_free(&blob);
    buf_free(&out);
}

static void damaged_files_are_refused_with_their_line(void **state)
{
    struct fixture *f = *state;
    static const char key[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "not a keyring"},
        {"slipway-keyring 2\n", "not a keyring"},
        {"slipway-keyring 1\nseal 1 %s\n", "no key for sign"},
        {"slipway-keyring 1\nseal 1 %s\nseal 1 %s\n", ":3:"},
        {"slipway-keyring 1\nseal 0 %s\n", ":2:"},
        {"slipway-keyring 1\nseal 1 %s=\n", ":2:"},
        {"slipway-keyring 1\nseal 1 AAAA\n", ":2:"},
        {"slipway-keyring 1\nother 1 %s\n", ":2:"},
        {"slipway-keyring 1\nseal %s\n", ":2:"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        FILE *out = fopen(f->path, "w");
        assert_non_null(out);
        for (const char *p = cases[i].text; *p != '\0'; p++)
            if (p[0] == '%' && p[1] == 's') {
                fputs(key, out);
                p++;
            } else {
                fputc(*p, out);
            }
        fclose(out);
        assert_null(keyring_open(f->path, true, f->error));
        assert_non_null(strstr(f->error, cases[i].want));
    }
}

static void a_missing_file_is_made_only_when_asked_for(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    assert_null(keyring_open(f->path, false, f->error));
    assert_non_null(strstr(f->error, "No such file"));
    assert_int_equal(access(f->path, F_OK), -1);
    struct keyring *made = keyring_open(f->path, true, f->error);
    assert_non_null(made);
    keyring_free(made);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(hashes_are_the_published_ones),
        T(signatures_are_rfc_8032),
        T(a_sealed_text_opens_only_where_it_belongs),
        T(the_file_is_for_its_owner_alone),
        T(the_group_of_a_file_of_root_may_read_it),
        T(a_ring_is_the_same_when_it_is_read_again),
        T(rotation_keeps_what_was_and_makes_new_with_new),
        T(a_running_ring_takes_up_a_rotation),
        T(damaged_files_are_refused_with_their_line),
        T(a_missing_file_is_made_only_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "proto/pk.h"

#include "lib/crypto.h"

#include <mbedtls/ecdsa.h>
#include <mbedtls/pk.h>
#include <mbedtls/rsa.h>
#include <string.h>

static const unsigned char *bytes(struct str s)
{
    return (const unsigned char *)s.p;
}

static bool is_odd(struct str number)
{
    return number.n > 0 && (number.p[number.n - 1] & 1);
}

static bool is_minimal(struct str number)
{
    return number.n > 0 && number.p[0] != 0;
}

static size_t bits_of(struct str number)
{
    return 8 * number.n - (size_t)(__builtin_clz((unsigned char)number.p[0]) - 24);
}

/* --- RSA --- */

const char *pk_rsa_fault(struct str modulus, struct str exponent)
{
    if (!is_minimal(modulus) || !is_minimal(exponent))
        return "modulus and exponent have no leading zero bytes";
    if (bits_of(modulus) < PK_RSA_BITS_MIN || bits_of(modulus) > PK_RSA_BITS_MAX)
        return "the modulus has 2,048 to 4,096 bits";
    if (!is_odd(modulus) || !is_odd(exponent) || exponent.n > PK_RSA_EXPONENT ||
        (exponent.n == 1 && exponent.p[0] == 1))
        return "modulus and exponent are odd, and the exponent is 3 or more and of four bytes at most";
    return NULL;
}

bool pk_rs256(struct str modulus, struct str exponent, struct str message, struct str signature)
{
    uint8_t hash[CRYPTO_HASH];
    mbedtls_pk_context key;
    if (pk_rsa_fault(modulus, exponent) != NULL || signature.n != modulus.n)
        return false;
    crypto_sha256(message, hash);
    mbedtls_pk_init(&key);
    bool good = mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)) == 0 &&
                mbedtls_rsa_import_raw(mbedtls_pk_rsa(key), bytes(modulus), modulus.n, NULL, 0, NULL, 0, NULL, 0,
                                       bytes(exponent), exponent.n) == 0 &&
                mbedtls_rsa_complete(mbedtls_pk_rsa(key)) == 0 &&
                mbedtls_pk_verify(&key, MBEDTLS_MD_SHA256, hash, sizeof(hash), bytes(signature), signature.n) == 0;
    mbedtls_pk_free(&key);
    return good;
}

/* --- ECDSA --- */

struct curve {
    mbedtls_ecp_group group;
    mbedtls_ecp_point point;
};

/* False: no such point. curve_end follows in any case. */
static bool curve_begin(struct curve *c, struct str x, struct str y)
{
    unsigned char text[1 + 2 * PK_P256] = {4}; /* uncompressed, SEC 1 §2.3.3 */
    mbedtls_ecp_group_init(&c->group);
    mbedtls_ecp_point_init(&c->point);
    if (x.n != PK_P256 || y.n != PK_P256)
        return false;
    memcpy(text + 1, x.p, PK_P256);
    memcpy(text + 1 + PK_P256, y.p, PK_P256);
    return mbedtls_ecp_group_load(&c->group, MBEDTLS_ECP_DP_SECP256R1) == 0 &&
           mbedtls_ecp_point_read_binary(&c->group, &c->point, text, sizeof(text)) == 0 &&
           mbedtls_ecp_check_pubkey(&c->group, &c->point) == 0;
}

static void curve_end(struct curve *c)
{
    mbedtls_ecp_point_free(&c->point);
    mbedtls_ecp_group_free(&c->group);
}

const char *pk_p256_fault(struct str x, struct str y)
{
    struct curve c;
    bool good = curve_begin(&c, x, y);
    curve_end(&c);
    return good ? NULL : "x and y have 32 bytes each and are a point of P-256";
}

bool pk_es256(struct str x, struct str y, struct str message, struct str signature)
{
    uint8_t hash[CRYPTO_HASH];
    struct curve c;
    mbedtls_mpi r, s;
    crypto_sha256(message, hash);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    bool good = curve_begin(&c, x, y) && signature.n == 2 * (size_t)PK_P256 &&
                mbedtls_mpi_read_binary(&r, bytes(signature), PK_P256) == 0 &&
                mbedtls_mpi_read_binary(&s, bytes(signature) + PK_P256, PK_P256) == 0 &&
                mbedtls_ecdsa_verify(&c.group, hash, sizeof(hash), &c.point, &r, &s) == 0;
    mbedtls_mpi_free(&r);
    mbedtls_mpi_free(&s);
    curve_end(&c);
    return good;
}

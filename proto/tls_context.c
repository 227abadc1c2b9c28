#include "lib/id.h"
#include "lib/must.h"
#include "proto/tls_private.h"

#include <mbedtls/error.h>
#include <mbedtls/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif

enum { RSA_BITS_MIN = 2048 };

/* ECDHE and AEAD only, in the server's order of preference. */
static const int suites[] = {
#if MBEDTLS_VERSION_MAJOR >= 3
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    0,
};

static const char *alpn[] = {"http/1.1", NULL};

#if MBEDTLS_VERSION_MAJOR >= 3
static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, 0};
static const uint16_t signatures[] = {MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256,
                                      MBEDTLS_TLS1_3_SIG_ECDSA_SECP384R1_SHA384,
                                      MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256,
                                      MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384,
                                      MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512,
                                      MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA256,
                                      MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA384,
                                      MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA512,
                                      MBEDTLS_TLS1_3_SIG_NONE};
#else
static const mbedtls_ecp_group_id groups[] = {MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
                                              MBEDTLS_ECP_DP_SECP384R1, MBEDTLS_ECP_DP_NONE};
static const int signatures[] = {MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384, MBEDTLS_MD_SHA512, MBEDTLS_MD_NONE};
#endif

int tls_random(void *arg, unsigned char *out, size_t n)
{
    (void)arg;
    random_bytes(out, n);
    return 0;
}

static bool fail(char why[TLS_WHY], const char *what, int error)
{
    char reason[96] = "";
    mbedtls_strerror(error, reason, sizeof(reason));
    snprintf(why, TLS_WHY, "%s (%s)", what, reason);
    return false;
}

static bool fail_plain(char why[TLS_WHY], const char *what)
{
    snprintf(why, TLS_WHY, "%s", what);
    return false;
}

/* --- what both sides have in common --- */

#if MBEDTLS_VERSION_MAJOR >= 3
static void set_protocol(mbedtls_ssl_config *config)
{
    mbedtls_ssl_conf_min_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_groups(config, groups);
    mbedtls_ssl_conf_sig_algs(config, signatures);
#ifdef MBEDTLS_SSL_PROTO_TLS1_3
    mbedtls_ssl_conf_tls13_key_exchange_modes(config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ALL);
#endif
}
#else
static void set_protocol(mbedtls_ssl_config *config)
{
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_curves(config, groups);
    mbedtls_ssl_conf_sig_hashes(config, signatures);
}
#endif

static bool configure(struct tls_context *c, char why[TLS_WHY])
{
    mbedtls_ssl_config *config = &c->config;
    int side = c->client ? MBEDTLS_SSL_IS_CLIENT : MBEDTLS_SSL_IS_SERVER;
#if MBEDTLS_VERSION_MAJOR >= 3
    if (psa_crypto_init() != PSA_SUCCESS)
        return fail_plain(why, "mbedTLS does not start");
#endif
    int error = mbedtls_ssl_config_defaults(config, side, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (error == 0)
        error = mbedtls_ssl_conf_alpn_protocols(config, alpn);
    if (error != 0)
        return fail(why, "TLS cannot be set up", error);
    set_protocol(config);
    mbedtls_ssl_conf_ciphersuites(config, suites);
    mbedtls_ssl_conf_rng(config, tls_random, NULL);
#ifdef MBEDTLS_SSL_RENEGOTIATION
    mbedtls_ssl_conf_renegotiation(config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_legacy_renegotiation(config, MBEDTLS_SSL_LEGACY_NO_RENEGOTIATION);
#endif
    return true;
}

static struct tls_context *context_new(bool client)
{
    struct tls_context *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->refs = 1;
    c->client = client;
    mbedtls_ssl_config_init(&c->config);
    mbedtls_x509_crt_init(&c->chain);
    mbedtls_pk_init(&c->key);
    return c;
}

/* As a constructor ends: what was made when all went well. */
static struct tls_context *made(struct tls_context *c, bool well)
{
    if (well)
        return c;
    tls_context_drop(c);
    return NULL;
}

/* A PEM text is given with the NUL byte behind it. */
static const unsigned char *pem(struct str text)
{
    must(text.p != NULL && text.p[text.n] == '\0');
    return (const unsigned char *)text.p;
}

/* --- a server --- */

static int parse_key(mbedtls_pk_context *key, struct str text)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_parse_key(key, pem(text), text.n + 1, NULL, 0, tls_random, NULL);
#else
    return mbedtls_pk_parse_key(key, pem(text), text.n + 1, NULL, 0);
#endif
}

static int check_pair(mbedtls_pk_context *public, mbedtls_pk_context *key)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_check_pair(public, key, tls_random, NULL);
#else
    return mbedtls_pk_check_pair(public, key);
#endif
}

static bool take_certificate(struct tls_context *c, struct str text, char why[TLS_WHY])
{
    int error = mbedtls_x509_crt_parse(&c->chain, pem(text), text.n + 1);
    if (error != 0) /* positive: so many of them are bad */
        return error < 0 ? fail(why, "the certificate cannot be read", error)
                         : fail_plain(why, "not all certificates in the file can be read");
    return true;
}

static bool take_key(struct tls_context *c, struct str text, char why[TLS_WHY])
{
    int error = parse_key(&c->key, text);
    if (error == MBEDTLS_ERR_PK_PASSWORD_REQUIRED)
        return fail_plain(why, "the key has a password; give it without one, readable by its owner alone");
    if (error != 0)
        return fail(why, "the key cannot be read", error);
    if (!mbedtls_pk_can_do(&c->key, MBEDTLS_PK_ECDSA) &&
        (!mbedtls_pk_can_do(&c->key, MBEDTLS_PK_RSA) || mbedtls_pk_get_bitlen(&c->key) < RSA_BITS_MIN))
        return fail_plain(why,
                          "the key must be an elliptic curve's (P-256 is the fastest) or RSA of 2,048 bits or more");
    return check_pair(&c->chain.pk, &c->key) == 0 || fail_plain(why, "the key is not the certificate's");
}

static bool take_pair(struct tls_context *c, const struct tls_server *server, char why[TLS_WHY])
{
    if (!take_certificate(c, server->certificate, why) || !take_key(c, server->key, why))
        return false;
    int error = mbedtls_ssl_conf_own_cert(&c->config, &c->chain, &c->key);
    return error == 0 || fail(why, "TLS cannot be set up", error);
}

struct tls_context *tls_context_server(const struct tls_server *server, char why[TLS_WHY])
{
    struct tls_context *c = context_new(false);
    if (c == NULL) {
        fail_plain(why, "out of memory");
        return NULL;
    }
    tls_tickets_init(&c->tickets, server->seed);
    mbedtls_ssl_conf_session_tickets_cb(&c->config, tls_ticket_write, tls_ticket_parse, c);
    return made(c, configure(c, why) && take_pair(c, server, why));
}

int64_t tls_expires_s(const struct tls_context *c)
{
    const mbedtls_x509_time *end = &c->chain.valid_to;
    struct tm tm = {.tm_year = end->year - 1900,
                    .tm_mon = end->mon - 1,
                    .tm_mday = end->day,
                    .tm_hour = end->hour,
                    .tm_min = end->min,
                    .tm_sec = end->sec};
    return timegm(&tm);
}

/* --- a client --- */

struct tls_context *tls_context_client(struct str roots, char why[TLS_WHY])
{
    struct tls_context *c = context_new(true);
    if (c == NULL) {
        fail_plain(why, "out of memory");
        return NULL;
    }
    if (!configure(c, why))
        return made(c, false);
    /* A system's store may hold a root that mbedTLS cannot read: the others count. */
    int error = mbedtls_x509_crt_parse(&c->chain, pem(roots), roots.n + 1);
    if (error < 0 || c->chain.version == 0)
        return made(c, fail(why, "no certificates to trust in can be read", error));
    mbedtls_ssl_conf_authmode(&c->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&c->config, &c->chain, NULL);
    mbedtls_ssl_conf_session_tickets(&c->config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
    return c;
}

/* --- its life --- */

struct tls_context *tls_context_keep(struct tls_context *c)
{
    c->refs++;
    return c;
}

void tls_context_drop(struct tls_context *c)
{
    if (c == NULL || --c->refs > 0)
        return;
    mbedtls_ssl_config_free(&c->config);
    mbedtls_x509_crt_free(&c->chain);
    mbedtls_pk_free(&c->key);
    crypto_wipe(&c->tickets, sizeof(c->tickets));
    free(c);
}

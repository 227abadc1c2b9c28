/* What the files behind proto/tls.h share. */
#ifndef PROTO_TLS_PRIVATE_H
#define PROTO_TLS_PRIVATE_H

#include "lib/crypto.h"
#include "proto/tls.h"

#include <mbedtls/ssl.h>
#include <mbedtls/version.h>

enum { TLS_RECORD = 16384 }; /* bytes of a record, RFC 5246 §6.2.1 */

struct tls_tickets {
    uint8_t seed[CRYPTO_KEY];
};

struct tls_context {
    unsigned refs;
    bool client;
    mbedtls_ssl_config config;
    mbedtls_x509_crt chain; /* a server's own certificate and the ones behind it; a client's roots */
    mbedtls_pk_context key;
    struct tls_tickets tickets;
    bool resumed; /* during tls_feed: a ticket was good */
    char plain[TLS_RECORD];
};

int tls_random(void *arg, unsigned char *out, size_t n);
void tls_tickets_init(struct tls_tickets *t, const struct tls_seed *seed);
/* mbedTLS' callbacks; `arg` is the context. */
int tls_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *to, const unsigned char *end,
                     size_t *n, uint32_t *lifetime_s);
int tls_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *ticket, size_t n);

#endif

#include "lib/clock.h"
#include "lib/id.h"
#include "proto/tls_private.h"

#include <string.h>

/* A ticket is one byte of its key's number and the sealed session. */
enum { PERIOD_MS = 6 * 3600 * 1000, SESSION_MAX = 1024 };

#define CONTEXT S("slipway TLS ticket")

void tls_seed_make(struct tls_seed *out)
{
    random_bytes(out->key, sizeof(out->key));
    out->made_ms = clock_mono_ms();
}

void tls_tickets_init(struct tls_tickets *t, const struct tls_seed *seed)
{
    *t = (struct tls_tickets){.made_ms = seed->made_ms};
    memcpy(t->key, seed->key, sizeof(t->key));
    random_bytes(t->before, sizeof(t->before)); /* nothing is sealed with it */
}

/* Each period's key is a hash of the one before, which is forgotten a period later: what was recorded earlier cannot be
 * opened with what is in memory now. */
static void turn(struct tls_tickets *t)
{
    int64_t now = (clock_mono_ms() - t->made_ms) / PERIOD_MS;
    for (; t->period < now; t->period++) {
        memcpy(t->before, t->key, sizeof(t->before));
        crypto_blake2b(t->before, CONTEXT, t->key);
    }
}

int tls_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *to, const unsigned char *end,
                     size_t *n, uint32_t *lifetime_s)
{
    struct tls_context *c = arg;
    unsigned char plain[SESSION_MAX];
    size_t room = (size_t)(end - to), length;
    if (room < 2 || mbedtls_ssl_session_save(session, plain, sizeof(plain), &length) != 0)
        return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    turn(&c->tickets);
    struct buf out = {.p = (char *)to + 1, .cap = room - 1, .max = room - 1};
    to[0] = (unsigned char)c->tickets.period;
    crypto_seal(c->tickets.key, CONTEXT, (struct str){(char *)plain, length}, &out);
    crypto_wipe(plain, sizeof(plain));
    *n = out.n + 1;
    *lifetime_s = PERIOD_MS / 1000;
    return out.failed ? MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL : 0;
}

int tls_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *ticket, size_t n)
{
    struct tls_context *c = arg;
    char plain[SESSION_MAX];
    struct buf out = {.p = plain, .cap = sizeof(plain), .max = sizeof(plain)};
    turn(&c->tickets);
    if (n < 1)
        return MBEDTLS_ERR_SSL_INVALID_MAC;
    bool older = ticket[0] != (unsigned char)c->tickets.period;
    if (!crypto_open(older ? c->tickets.before : c->tickets.key, CONTEXT, (struct str){(char *)ticket + 1, n - 1},
                     &out))
        return MBEDTLS_ERR_SSL_INVALID_MAC; /* too old, or not ours: a full handshake follows */
    int error = mbedtls_ssl_session_load(session, (const unsigned char *)plain, out.n);
    crypto_wipe(plain, sizeof(plain));
    c->resumed = error == 0;
    return error;
}

#include "lib/clock.h"
#include "proto/tls_private.h"

#include <stdio.h>
#include <string.h>

/* A ticket is one byte of its period's number and the sealed session. */
enum { PERIOD_MS = 6 * 3600 * 1000, SESSION_MAX = 1024 };

#define CONTEXT S("slipway TLS ticket")

void tls_tickets_init(struct tls_tickets *t, const struct tls_seed *seed)
{
    memcpy(t->seed, seed->key, sizeof(t->seed));
}

static int64_t period_now(void)
{
    return clock_wall_ms() / PERIOD_MS;
}

static void key_of(const struct tls_tickets *t, int64_t period, uint8_t out[CRYPTO_KEY])
{
    char text[64];
    int n = snprintf(text, sizeof(text), STR_FMT " %lld", STR_ARG(CONTEXT), (long long)period);
    crypto_blake2b(t->seed, (struct str){text, (size_t)n}, out);
}

/* The present one, the one before, or the next: that of an instance whose clock is ahead. */
static bool period_of(unsigned char number, int64_t *out)
{
    static const int near[] = {0, -1, 1};
    int64_t now = period_now();
    for (size_t i = 0; i < ARRAY_LEN(near); i++)
        if ((unsigned char)(now + near[i]) == number) {
            *out = now + near[i];
            return true;
        }
    return false;
}

int tls_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *to, const unsigned char *end,
                     size_t *n, uint32_t *lifetime_s)
{
    struct tls_context *c = arg;
    unsigned char plain[SESSION_MAX];
    size_t room = (size_t)(end - to), length;
    if (room < 2 || mbedtls_ssl_session_save(session, plain, sizeof(plain), &length) != 0)
        return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    int64_t period = period_now();
    uint8_t key[CRYPTO_KEY];
    struct buf out = {.p = (char *)to + 1, .cap = room - 1, .max = room - 1};
    to[0] = (unsigned char)period;
    key_of(&c->tickets, period, key);
    crypto_seal(key, CONTEXT, (struct str){(char *)plain, length}, &out);
    crypto_wipe(key, sizeof(key));
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
    uint8_t key[CRYPTO_KEY];
    int64_t period;
    if (n < 1 || !period_of(ticket[0], &period))
        return MBEDTLS_ERR_SSL_INVALID_MAC;
    key_of(&c->tickets, period, key);
    bool ours = crypto_open(key, CONTEXT, (struct str){(char *)ticket + 1, n - 1}, &out);
    crypto_wipe(key, sizeof(key));
    if (!ours)
        return MBEDTLS_ERR_SSL_INVALID_MAC; /* too old, or not ours: a full handshake follows */
    int error = mbedtls_ssl_session_load(session, (const unsigned char *)plain, out.n);
    crypto_wipe(plain, sizeof(plain));
    c->resumed = error == 0;
    return error;
}

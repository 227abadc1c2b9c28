#include "test/bench/secure.h"

#include "proto/tls.h"
#include "test/bench/bench.h"

#include <stdlib.h>

struct secure {
    struct tls *tls;
    const struct secure_events *events;
    void *owner;
};

/* One for the program. */
static struct tls_context *trust_of(const struct load *load)
{
    static struct tls_context *trust;
    char why[TLS_WHY];
    if (trust == NULL && (trust = tls_trust(load->certificate, why)) == NULL)
        give_up("--tls", why);
    return trust;
}

static bool on_tls(void *arg, struct str bytes)
{
    struct secure *s = arg;
    s->events->on_write(s->owner, bytes);
    return true;
}

struct secure *secure_begin(const struct load *load, const struct secure_events *events, void *owner)
{
    struct secure *s = calloc(1, sizeof *s);
    char host[64];
    uv_ip4_name(&load->address, host, sizeof host);
    if (s == NULL || (s->tls = tls_new(trust_of(load), str_z(host), on_tls, s)) == NULL)
        give_up("memory", "none left");
    s->events = events;
    s->owner = owner;
    secure_read(s, STR_NONE);
    return s;
}

void secure_read(struct secure *s, struct str in)
{
    for (;;)
        switch (tls_feed(s->tls, &in)) {
        case TLS_MORE:
            return;
        case TLS_OPENED:
            s->events->on_open(s->owner);
            break;
        case TLS_BYTES:
            s->events->on_read(s->owner, tls_bytes(s->tls));
            break;
        case TLS_ENDED:
            give_up("TLS", "the server said goodbye");
        case TLS_FAULT:
            give_up("TLS", tls_why(s->tls));
        }
}

void secure_write(struct secure *s, struct str bytes)
{
    if (!tls_write(s->tls, bytes))
        give_up("TLS", "cannot write");
}

void secure_end(struct secure *s)
{
    if (s == NULL)
        return;
    tls_free(s->tls);
    free(s);
}

/* TLS on a load's connections: with --tls FILE they are made to the server whose certificate that file has. */
#ifndef TEST_BENCH_SECURE_H
#define TEST_BENCH_SECURE_H

#include "lib/str.h"

struct load;
struct secure; /* of one connection */

struct secure_events {
    void (*on_open)(void *owner);                    /* the handshake is over: secure_write */
    void (*on_read)(void *owner, struct str bytes);  /* borrowed */
    void (*on_write)(void *owner, struct str bytes); /* for the socket */
};

/* Begins the handshake; gives up when there is no memory. */
struct secure *secure_begin(const struct load *load, const struct secure_events *events, void *owner);
void secure_read(struct secure *s, struct str bytes); /* from the socket; gives up on a fault */
void secure_write(struct secure *s, struct str bytes);
void secure_end(struct secure *s); /* NULL is fine; not inside on_read */

#endif

/* An address to take connections on, as one socket per worker: the kernel spreads the connections over them (a unix
 * socket is shared). --listen is plain, --tls-listen speaks TLS. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "lib/address.h"

enum { LISTEN_PLAIN, LISTEN_TLS, LISTENS };

struct listen {
    struct address at; /* after listen_bind with the port that the system chose */
    bool wanted;
    int *fds; /* private from here */
    unsigned count;
};

/* `text` empty: not wanted, and the calls below do nothing. The port is `port` where the text has none. All answer
 * false after a message on standard error. */
bool listen_init(struct listen *l, const char *text, uint16_t port);
bool listen_bind(struct listen *l, const char *text, unsigned count);
int listen_take(struct listen *l, unsigned i); /* the i-th descriptor now is the caller's; -1: not wanted */
void listen_fini(struct listen *l);

#endif

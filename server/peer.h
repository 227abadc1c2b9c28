/* Who is connected: the addresses of a worker's clients and how many connections each has. An address is kept once,
 * however many connections come from it, and as long as one is open. */
#ifndef SERVER_PEER_H
#define SERVER_PEER_H

#include "lib/list.h"
#include "lib/str.h"

enum { PEER_BUCKETS = 256 };

struct peer {
    struct list link;
    size_t connections;
    size_t n;
    char text[48]; /* "192.0.2.1", "2001:db8::1", "unix" */
};

struct peers {
    struct list buckets[PEER_BUCKETS];
};

void peers_init(struct peers *p);
/* Counts one connection more from `address`; NULL when memory ran out. */
struct peer *peer_take(struct peers *p, struct str address);
/* Counts one less; the peer is gone with its last connection. NULL is fine. */
void peer_drop(struct peer *peer);

#endif

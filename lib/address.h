/* Where to connect or listen: "host:port", "[::1]:port", ":port" (any address), "unix:/path" or an absolute path. */
#ifndef LIB_ADDRESS_H
#define LIB_ADDRESS_H

#include "lib/str.h"

struct sockaddr_storage;

struct address {
    char host[256]; /* empty: any address */
    char path[108]; /* a unix socket, when not empty */
    uint16_t port;
};

/* False when it is not one. `default_port` stands for a missing port; negative: a port is required. */
bool address_parse(struct str text, int default_port, struct address *out);
void address_text(const struct address *a, struct buf *out);
/* "192.0.2.1", "2001:db8::1" or "unix"; an IPv4-mapped address is shown as IPv4. `port` may be NULL. */
void address_peer(const struct sockaddr_storage *from, struct buf *out, uint16_t *port);

#endif

/* Who asks, where a proxy stands between: the client's address out of X-Forwarded-For or Forwarded (RFC 7239).
 *
 * Whoever sends these headers may write into them what he likes, so they count only when the connection comes from a
 * proxy that is trusted, only the header it is known to set is read, and only from the right: each trusted hop vouches
 * for the one before it. The first address that is not a trusted proxy's is the client. Something that is no address
 * ends the walk at the hop that reported it; hops beyond the last FORWARDED_HOPS_MAX are not looked at. */
#ifndef SERVER_FORWARDED_H
#define SERVER_FORWARDED_H

#include "lib/arena.h"
#include "lib/config.h"
#include "proto/http.h"

enum { FORWARDED_HOPS_MAX = 32 };

struct cidr;

struct forwarded {
    struct cidr *trusted; /* private */
    size_t n;
    bool local;    /* peers on a unix socket are trusted */
    bool standard; /* reads Forwarded, not X-Forwarded-For */
};

/* trusted: networks, and `unix`. False: `wrong` is what is none, or NULL when memory ran out. */
bool forwarded_init(struct forwarded *f, const struct config_list *trusted, bool standard, const char **wrong);
void forwarded_fini(struct forwarded *f);
/* peer: as conn_address says it. */
bool forwarded_trusts(const struct forwarded *f, struct str peer);
/* The client's address as text, the peer's own if there is nothing else to be believed. */
struct str forwarded_client(const struct forwarded *f, struct str peer, const struct http_head *head, struct arena *a);

#endif

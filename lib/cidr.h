/* Networks: CIDR blocks, and which addresses belong to the public Internet.
 *
 * What a server sends on somebody's behalf must not reach its own network: cidr_public is the guard, asked about the
 * address a socket is about to connect to, never about a name. */
#ifndef LIB_CIDR_H
#define LIB_CIDR_H

#include "lib/str.h"

struct sockaddr;

struct cidr {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;        /* of the 128 */
};

/* "10.0.0.0/8", "fd00::/8", or an address alone; false on anything else, host bits behind the prefix included. */
bool cidr_parse(struct str text, struct cidr *out);
/* False for a family that is neither IPv4 nor IPv6. */
bool cidr_holds(const struct cidr *block, const struct sockaddr *address);
/* Whether all of `inner` is in `block`. */
bool cidr_covers(const struct cidr *block, const struct cidr *inner);
/* The address in its short form, without the bits; IPv4 as such. */
enum { CIDR_TEXT = 46 };
void cidr_text(const struct cidr *c, char out[CIDR_TEXT]);
/* Whom limits count an address as: an IPv4 address is its own, an IPv6 address its /64, which one customer has whole
 * ("2001:db8::/64"). What is no address ("unix") stays as it is, cut where `out` ends. */
enum { CIDR_SITE = CIDR_TEXT + 3 };
void cidr_site(struct str address, char out[CIDR_SITE]);
/* False for loopback, private, link-local, shared (RFC 6598), unique local, multicast, documentation, benchmark,
 * reserved and unspecified addresses, for IPv6 forms that embed such an IPv4 address (mapped, 6to4, NAT64, Teredo), and
 * for other families. */
bool cidr_public(const struct sockaddr *address);

#endif

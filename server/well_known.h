/* What other programs find without being told: /.well-known/jwks.json, the public halves of the keys that sign access
 * tokens (RFC 7517 §5, RFC 8037 §2), so that a service behind Slipway verifies a token without asking. Two keys at most:
 * the newest, and the one before it, with which tokens from before a rotation are signed. It may be kept for five
 * minutes. */
#ifndef SERVER_WELL_KNOWN_H
#define SERVER_WELL_KNOWN_H

#include "server/resource.h"

extern const struct resource well_known_resource;

#endif

/* Under which name the service is known: the issuer of its access tokens (RFC 8414 §2) and the resource they are for
 * (RFC 9728 §1.2) are one URL, the setting `public-url`.
 *
 * Where the setting is not given, the service is being tried out: its name is then the loopback name by which it was asked,
 * so that clients on the same machine find everything consistent, else the address it listens on. Tokens made without a
 * request (`slipway key jwt`, agents) carry the setting `issuer` then. */
#ifndef SERVER_OAUTH_ISSUER_H
#define SERVER_OAUTH_ISSUER_H

#include "server/request.h"

/* What is wrong with a public URL; NULL: nothing. It is https://HOST[:PORT] without a path; http:// on loopback. */
const char *issuer_fault(struct str url);
/* The name as it is now; lives in the arena. STR_NONE: memory ran out. */
struct str issuer_url(struct request *r);
/* `iss` of tokens made without a request. */
const char *issuer_name(const struct settings *s);
/* Whether an access token signed by our keyring may say so: the public URL or the setting `issuer`; without a public
 * URL also whatever instances on one machine call themselves. A token of an earlier public URL is refused
 * (AUTH_TOKEN_INVALID). */
bool issuer_taken(const struct settings *s, struct str iss);

#endif

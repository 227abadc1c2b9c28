/* Token exchange (RFC 8693) for jobs of a CI: an identity token of a provider that the operator lists, for an access token
 * of the client that trusts this provider's word for this subject. Such a client has no secret: the job proves who it is. */
#ifndef SERVER_OAUTH_EXCHANGE_H
#define SERVER_OAUTH_EXCHANGE_H

#include "server/oauth/client.h"

#define EXCHANGE_GRANT "urn:ietf:params:oauth:grant-type:token-exchange"

/* What a client trusts: rows of its member `trust`. */
extern const struct field exchange_trust_rows[];
/* `pattern` is the text, or has `*` for any run of characters. */
bool exchange_matches(struct str pattern, struct str text);

enum flow exchange(struct request *r, const struct client *c);

#endif

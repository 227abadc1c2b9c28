/* Access tokens of clients: given out, looked at, taken back. The endpoints are rows in token.c; the handlers of the latter
 * two are in token_state.c. */
#ifndef SERVER_OAUTH_TOKEN_H
#define SERVER_OAUTH_TOKEN_H

#include "server/request.h"

enum flow token_revoke(struct request *r);     /* RFC 7009 */
enum flow token_introspect(struct request *r); /* RFC 7662 */

struct client; /* server/oauth/client.h */
/* What a grant comes to: an access token of the client for the scope that the request asks for, or a refusal. `subject` is
 * in whose name, for people; STR_NONE: the client's own. */
enum flow token_give(struct request *r, const struct client *c, struct str subject);

/* The grants, for the metadata. False behind the last. */
bool token_grant(size_t i, const char **name);

#endif

/* Who asks at the token endpoint and its neighbours: client_secret_basic, client_secret_post (RFC 6749 §2.3.1) and
 * private_key_jwt (RFC 7523), one of them. Charged to the client and the address together, before anything is compared: so
 * nobody else's guesses use up what a client has. A wrong secret and an unknown client are told apart by nothing. */
#ifndef SERVER_OAUTH_AUTHENTICATE_H
#define SERVER_OAUTH_AUTHENTICATE_H

#include "server/oauth/client.h"

/* Answers OAUTH_INVALID_CLIENT or another refusal, or calls `then` once, with r->caller set to the client (without
 * permissions: it acts for itself here). */
typedef enum flow authenticated(struct request *r, const struct client *c);
enum flow authenticate(struct request *r, authenticated *then);

/* The methods, for the metadata; ends with NULL. */
extern const char *const authenticate_methods[];

#endif

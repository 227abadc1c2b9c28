/* OpenID providers whose tokens are taken in exchange for ours: their keys, fetched and kept. Only those that the setting
 * token-issuers lists are ever asked, through the guarded fetcher. One set of keys per provider and worker: it is used for
 * PROVIDER_FRESH_MS, and fetched anew for a key that it lacks, but not more often than every PROVIDER_AGAIN_MS. */
#ifndef SERVER_OAUTH_PROVIDER_H
#define SERVER_OAUTH_PROVIDER_H

#include "proto/jws.h"
#include "server/request.h"

enum { PROVIDER_FRESH_MS = 600000, PROVIDER_AGAIN_MS = 3000, PROVIDER_FETCH_MS = 4000, PROVIDER_BYTES_MAX = 262144 };

struct providers;                                          /* of one worker */
struct providers *providers_new(const struct settings *s); /* NULL when memory ran out */
void providers_free(struct providers *p);

bool provider_listed(const struct settings *s, struct str issuer);
/* Calls `then` with the set of keys, which may lack the token's, now or later; NULL after request_refuse. */
typedef enum flow provider_then(struct request *r, void *arg, const struct json *keys);
enum flow provider_keys(struct request *r, struct str issuer, const struct jws *token, provider_then *then, void *arg);

#endif

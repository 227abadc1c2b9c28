/* Client assertions (RFC 7523): JWTs with which a client authenticates, signed by a key that it registered. */
#ifndef SERVER_OAUTH_ASSERTION_H
#define SERVER_OAUTH_ASSERTION_H

#include "server/oauth/client.h"

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

enum {
    ASSERTION_LIFE_MAX_S = 600, /* from now to its `exp`: how long one is remembered */
    ASSERTION_ID_MAX = 200      /* bytes of its `jti` */
};

/* The algorithms, for the metadata; ends with NULL. */
extern const char *const assertion_algorithms[];

/* The client that the assertion says it is from, before anything of it is verified; STR_NONE: it says nothing. */
struct str assertion_client(struct arena *a, struct str token);

/* Checks signature and claims. NULL, and `id` and `expires_s` to remember it by; else what is wrong with it. */
const char *assertion_check(struct request *r, const struct client *c, struct str token, int64_t now_s, struct str *id,
                            int64_t *expires_s);

#endif

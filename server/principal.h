/* Verified credentials of one worker, by the hash of their token. What is found is copied into the asker's arena:
 * nothing points into the cache. Whether one may still be trusted is the admission's business (server/auth.h): it
 * compares caller.revocations with the partition's counter as the store answers it. */
#ifndef SERVER_PRINCIPAL_H
#define SERVER_PRINCIPAL_H

#include "lib/crypto.h"
#include "server/request.h"

struct principals;

struct principals *principals_new(void); /* NULL when memory ran out */
void principals_free(struct principals *p);

/* False when it is not known, its time is over, or memory ran out. */
bool principals_find(struct principals *p, const uint8_t token[CRYPTO_HASH], int64_t now_ms, struct arena *a,
                     struct caller *out);
/* A caller whose texts are too long is not kept; the one of a full set that was longest unused goes. */
void principals_add(struct principals *p, const uint8_t token[CRYPTO_HASH], const struct caller *caller);
void principals_drop(struct principals *p, const uint8_t token[CRYPTO_HASH]);

#endif

/* Verified credentials of one worker, by the hash of their token. What is found is copied into the asker's arena:
 * nothing points into the cache. Whether one may still be trusted says the partition's revocation counter:
 * caller.revocations is how it stood when the caller was looked up. */
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
/* Whether the store is to be told that it is used: it was not within the last minute. It is, from now on. */
bool principals_tell(struct principals *p, const uint8_t token[CRYPTO_HASH], int64_t now_ms);
void principals_drop(struct principals *p, const uint8_t token[CRYPTO_HASH]);

/* The partition's counter as an admission answered it, that was sent at `asked_ms` of the loop. */
void principals_note(struct principals *p, unsigned partition, int64_t revocations, int64_t asked_ms);
/* Whether nothing was revoked in the caller's partition since it was looked up, as known within the last `trust_ms`. */
bool principals_trusted(const struct principals *p, const struct caller *c, int64_t now_ms, int64_t trust_ms);

#endif

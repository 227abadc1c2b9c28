/* Rate limits. All limiters of a caller's tier are checked together by the store: a window of 60 seconds that holds `limit`
 * requests, a bucket of `burst` that limit/60 a second refills, and what the tier has beside them: windows of an hour and
 * of a day, and the builds of a day. Every operation costs 1; a few of a caller's may be let through before the store is
 * told (server/credit.h). Before anybody is authenticated a bucket per address, local to the worker, keeps guessing and
 * floods cheap to refuse. */
#ifndef SERVER_LIMIT_H
#define SERVER_LIMIT_H

#include "server/settings.h"

struct limit; /* buckets of one worker, for a bounded number of addresses */

struct limit *limit_new(const struct settings *s); /* NULL when memory ran out */
void limit_free(struct limit *l);
/* Charges the bucket of the address, or of its /64 (cidr_site); false when it is empty. `rate` gets what the headers show
 * while nobody is authenticated: the bucket as limit and remaining, and when it will be full as the reset. */
bool limit_address(struct limit *l, struct str address, int64_t mono_ms, struct rate *rate);

extern const char *const limit_tiers[TIERS + 1]; /* names, and NULL */
const char *limit_tier_name(unsigned tier);
bool limit_tier_find(struct str name, unsigned *tier);
/* X-RateLimit-Limit, -Remaining and -Reset, which show the minute, and RateLimit-Policy and RateLimit, which list every
 * limiter (draft-ietf-httpapi-ratelimit-headers), as header lines. */
void limit_write(struct buf *b, const struct rate *rate);

#endif

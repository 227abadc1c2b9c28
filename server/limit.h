/* Rate limits. Two limiters of every caller are checked together by the store: a window of 60 seconds that holds `limit`
 * requests, and a bucket of `burst` that limit/60 a second refills. Every operation costs 1; a few of a caller's may be
 * let through before the store is told (server/credit.h). Before
 * anybody is authenticated a bucket per address, local to the worker, keeps guessing and floods cheap to refuse. */
#ifndef SERVER_LIMIT_H
#define SERVER_LIMIT_H

#include "server/settings.h"

struct limit; /* buckets of one worker, for a bounded number of addresses */

/* What the headers of an answer show. */
struct rate {
    bool known;
    unsigned tier;
    int64_t limit, burst;
    int64_t left;       /* of the window */
    int64_t bucket;     /* of the bucket */
    int64_t reset_s;    /* Unix seconds at which the window starts anew */
    int64_t reset_in_s; /* the same from now on */
    int64_t retry_in_s; /* when refused: seconds until one more is let through, at least 1 */
};

struct limit *limit_new(const struct settings *s); /* NULL when memory ran out */
void limit_free(struct limit *l);
/* Charges the bucket of the address, or of its /64 (cidr_site); false when it is empty. `rate` gets what the headers show while nobody is authenticated:
 * the bucket as limit and remaining, and when it will be full as the reset. */
bool limit_address(struct limit *l, struct str address, int64_t mono_ms, struct rate *rate);

struct admit_rate;                                                    /* server/store/admit.h */
void limit_rates(const struct settings *s, struct admit_rate *rates); /* TIERS of them */
const char *limit_tier_name(unsigned tier);
bool limit_tier_find(struct str name, unsigned *tier);
/* X-RateLimit-Limit, -Remaining, -Reset, RateLimit-Policy and RateLimit as header lines. */
void limit_write(struct buf *b, const struct rate *rate);

#endif

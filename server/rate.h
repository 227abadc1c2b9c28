/* Rates: how often a caller may ask, by its tier, and what it has left of that. */
#ifndef SERVER_RATE_H
#define SERVER_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Plans of callers; the first is where nothing is said. */
enum { TIER_STANDARD, TIER_PREMIUM, TIER_FREE, TIER_PRO, TIER_ENTERPRISE, TIERS };
/* Windows beside the minute. Hours and days are those of UTC; builds are the operations of a day that start a run or a
 * deployment (ROUTE_BUILD). */
enum { RATE_HOUR, RATE_DAY, RATE_BUILDS, RATE_WINDOWS };

struct tier {
    int64_t limit;              /* requests a minute */
    int64_t burst;              /* size of the bucket that limit/60 a second refills */
    int64_t more[RATE_WINDOWS]; /* in a window; 0: any number */
};

struct rate_window {
    int64_t limit; /* 0: there is none */
    int64_t left;
    int64_t reset_in_s; /* until it starts anew */
};

/* What the headers of an answer show. */
struct rate {
    bool known;
    unsigned tier;
    int64_t limit, burst;
    int64_t left;       /* of the minute */
    int64_t bucket;     /* of the bucket */
    int64_t reset_s;    /* Unix seconds at which the minute starts anew */
    int64_t reset_in_s; /* the same from now on */
    int64_t retry_in_s; /* when refused: seconds until one more is let through, at least 1 */
    struct rate_window more[RATE_WINDOWS];
};

#endif

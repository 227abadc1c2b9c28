#include "server/limit.h"

#include "lib/cidr.h"
#include "lib/clock.h"
#include "proto/http.h"
#include "server/store/admit.h"

#include <stdlib.h>

enum { ADDRESSES = 4096, WAYS = 4 }; /* buckets, in sets of WAYS: the one longest untouched of a set is taken over */

struct bucket {
    uint64_t hash; /* 0: free */
    int64_t stamp_ms;
    int64_t milli; /* thousandths of a request that are left */
};

struct limit {
    int64_t limit, burst;
    struct bucket buckets[ADDRESSES];
};

static const char *const tier_names[TIERS] = {[TIER_STANDARD] = "standard", [TIER_PREMIUM] = "premium"};

struct limit *limit_new(const struct settings *s)
{
    struct limit *l = calloc(1, sizeof *l);
    if (l != NULL) {
        l->limit = s->address_rate.limit;
        l->burst = s->address_rate.burst;
    }
    return l;
}

void limit_free(struct limit *l)
{
    free(l);
}

static struct bucket *bucket_of(struct limit *l, uint64_t hash, int64_t now_ms)
{
    struct bucket *set = &l->buckets[hash % (ADDRESSES / WAYS) * WAYS], *oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].hash == hash)
            return &set[i];
        if (set[i].hash == 0 || set[i].stamp_ms < oldest->stamp_ms)
            oldest = &set[i];
    }
    *oldest = (struct bucket){hash, now_ms, l->burst * 1000};
    return oldest;
}

bool limit_address(struct limit *l, struct str address, int64_t mono_ms, struct rate *rate)
{
    char site[CIDR_SITE];
    cidr_site(address, site);
    struct bucket *b = bucket_of(l, str_hash(str_z(site)) | 1, mono_ms);
    int64_t refill =
        (mono_ms - b->stamp_ms) * l->limit / 60; /* limit/60 a second is limit/60 thousandths a millisecond */
    b->milli = b->milli + refill > l->burst * 1000 ? l->burst * 1000 : b->milli + refill;
    b->stamp_ms = mono_ms;
    bool let = b->milli >= 1000;
    if (let)
        b->milli -= 1000;
    int64_t left = b->milli / 1000;
    int64_t full_in_s = ((l->burst - left) * 60 + l->limit - 1) / l->limit;
    int64_t next_in_ms = ((1000 - b->milli % 1000) * 60 + l->limit - 1) / l->limit;
    *rate = (struct rate){
        .known = true,
        .limit = l->limit,
        .burst = l->burst,
        .left = left,
        .bucket = left,
        .reset_s = clock_wall_s() + full_in_s,
        .reset_in_s = full_in_s,
        .retry_in_s = let ? 0 : (next_in_ms + 999) / 1000,
    };
    return let;
}

void limit_rates(const struct settings *s, struct admit_rate *rates)
{
    for (size_t i = 0; i < TIERS; i++)
        rates[i] = (struct admit_rate){s->tiers[i].limit, s->tiers[i].burst};
}

const char *limit_tier_name(unsigned tier)
{
    return tier_names[tier < TIERS ? tier : TIER_STANDARD];
}

bool limit_tier_find(struct str name, unsigned *tier)
{
    for (unsigned i = 0; i < TIERS; i++)
        if (str_eqz(name, tier_names[i])) {
            *tier = i;
            return true;
        }
    return false;
}

static void add(struct buf *b, struct str text, int64_t number)
{
    buf_str(b, text);
    buf_i64(b, number);
}

void limit_write(struct buf *b, const struct rate *rate)
{
    int64_t width_s = (rate->burst * 60 + rate->limit - 1) / rate->limit;
    int64_t full_in_s = ((rate->burst - rate->bucket) * 60 + rate->limit - 1) / rate->limit;
    http_write_number(b, S("X-RateLimit-Limit"), (uint64_t)rate->limit);
    http_write_number(b, S("X-RateLimit-Remaining"), (uint64_t)rate->left);
    http_write_number(b, S("X-RateLimit-Reset"), (uint64_t)rate->reset_s);
    add(b, S("RateLimit-Policy: \"minute\";q="), rate->limit);
    add(b, S(";w=60, \"burst\";q="), rate->burst);
    add(b, S(";w="), width_s);
    add(b, S("\r\nRateLimit: \"minute\";r="), rate->left);
    add(b, S(";t="), rate->reset_in_s);
    add(b, S(", \"burst\";r="), rate->bucket);
    add(b, S(";t="), full_in_s);
    buf_str(b, S("\r\n"));
}

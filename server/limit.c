#include "server/limit.h"

#include "lib/cidr.h"
#include "lib/clock.h"
#include "proto/http.h"

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

const char *const limit_tiers[TIERS + 1] = {
    [TIER_STANDARD] = "standard", [TIER_PREMIUM] = "premium",       [TIER_FREE] = "free",
    [TIER_PRO] = "pro",           [TIER_ENTERPRISE] = "enterprise",
};

/* How the headers name a window beside the minute. */
static const struct {
    const char *name;
    int64_t width_s;
    const char *unit; /* NULL: requests */
} windows[RATE_WINDOWS] = {
    [RATE_HOUR] = {"hour", 3600},
    [RATE_DAY] = {"day", 86400},
    [RATE_BUILDS] = {"builds", 86400, "builds"},
};

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

const char *limit_tier_name(unsigned tier)
{
    return limit_tiers[tier < TIERS ? tier : TIER_STANDARD];
}

bool limit_tier_find(struct str name, unsigned *tier)
{
    for (unsigned i = 0; i < TIERS; i++)
        if (str_eqz(name, limit_tiers[i])) {
            *tier = i;
            return true;
        }
    return false;
}

/* `, "hour";q=1000`: a member of a structured list and its first parameter (RFC 9651). */
static void add_member(struct buf *b, const char *name, const char *parameter, int64_t number)
{
    buf_z(b, ", \"");
    buf_z(b, name);
    buf_char(b, '"');
    buf_z(b, parameter);
    buf_i64(b, number);
}

static void add_parameter(struct buf *b, const char *parameter, int64_t number)
{
    buf_z(b, parameter);
    buf_i64(b, number);
}

static void write_policy(struct buf *b, const struct rate *rate)
{
    buf_z(b, "RateLimit-Policy: \"minute\"");
    add_parameter(b, ";q=", rate->limit);
    add_parameter(b, ";w=", 60);
    add_member(b, "burst", ";q=", rate->burst);
    add_parameter(b, ";w=", (rate->burst * 60 + rate->limit - 1) / rate->limit);
    for (size_t i = 0; i < RATE_WINDOWS; i++) {
        if (rate->more[i].limit == 0)
            continue;
        add_member(b, windows[i].name, ";q=", rate->more[i].limit);
        add_parameter(b, ";w=", windows[i].width_s);
        if (windows[i].unit != NULL) {
            buf_z(b, ";qu=\"");
            buf_z(b, windows[i].unit);
            buf_char(b, '"');
        }
    }
}

static void write_state(struct buf *b, const struct rate *rate)
{
    buf_z(b, "\r\nRateLimit: \"minute\"");
    add_parameter(b, ";r=", rate->left);
    add_parameter(b, ";t=", rate->reset_in_s);
    add_member(b, "burst", ";r=", rate->bucket);
    add_parameter(b, ";t=", ((rate->burst - rate->bucket) * 60 + rate->limit - 1) / rate->limit);
    for (size_t i = 0; i < RATE_WINDOWS; i++) {
        if (rate->more[i].limit == 0)
            continue;
        add_member(b, windows[i].name, ";r=", rate->more[i].left);
        add_parameter(b, ";t=", rate->more[i].reset_in_s);
    }
    buf_z(b, "\r\n");
}

void limit_write(struct buf *b, const struct rate *rate)
{
    http_write_number(b, S("X-RateLimit-Limit"), (uint64_t)rate->limit);
    http_write_number(b, S("X-RateLimit-Remaining"), (uint64_t)rate->left);
    http_write_number(b, S("X-RateLimit-Reset"), (uint64_t)rate->reset_s);
    write_policy(b, rate);
    write_state(b, rate);
}

/* Admission: who calls, is it allowed to call now, was this very request made before; in one trip.
 *
 * Each part is optional: a credential to look up, a charge to the caller's rate, an idempotency key to claim. Rates are
 * a window of `limit` per 60 s, from its first request on, together with a bucket of `burst` refilled by limit/60 a
 * second, and what else the tier has (server/rate.h); a request that exceeds one of them is charged to none. Exact, in
 * integers, by the partition's clock. */
#ifndef SERVER_STORE_ADMIT_H
#define SERVER_STORE_ADMIT_H

#include "server/rate.h"
#include "server/store/store.h"

enum { ADMIT_CREDIT_MS = 8000 }; /* as in admit.lua */

struct admission {
    unsigned partition;
    /* 64 hex digits of a credential to look up (key_credential); STR_NONE: known already. Fields the function reads:
     * tenant, kind, id, tier, expires (ms), revoked, of (the hashes of the credentials it depends on, between spaces). */
    struct str credential;
    bool optional; /* no record is fine (a JWT); a revoked or expired one is not */
    struct str of; /* what it depends on beside what its record says; STR_NONE: nothing */
    /* Known caller: "<kind>:<id>". STR_NONE with a credential: taken from its record. */
    struct space space; /* partition as above; tenant STR_NONE: from the record */
    struct str caller;
    /* An address, or "": notes in the document of a key that it is used, once a minute; STR_NONE: not asked. */
    struct str used_from;
    unsigned tier;            /* of a known caller */
    const struct tier *rates; /* by tier */
    size_t rate_count;
    int64_t cost;   /* 0: not charged */
    int64_t builds; /* of the day, charged with it; -1: one is given back */
    /* Requests let through before they were charged (server/credit.h); holder STR_NONE: none. */
    struct {
        struct str holder; /* who: letters and digits */
        int64_t used;      /* charged now whatever is left, beside the cost */
        int64_t wanted;    /* as a new grant, in the place of the holder's last one; good for ADMIT_CREDIT_MS */
        bool beside;       /* not in its place: the holder does not know yet whose it is */
    } credit;
    /* Idempotency-Key; hash STR_NONE: none. */
    struct {
        const char *route;
        struct str hash;        /* of the key */
        struct str fingerprint; /* of the request */
        struct str owner;       /* who claims: the request id */
        int64_t lock_ms;        /* a claim that was never finished is over then */
    } idempotency;
};

/* Of the first of the chain that is not good. ADMIT_SUSPENDED: the tenant. ADMIT_BUILDS: nothing but the builds of
 * the day are used up. */
enum admit_verdict {
    ADMIT_OK,
    ADMIT_UNKNOWN,
    ADMIT_REVOKED,
    ADMIT_EXPIRED,
    ADMIT_LIMITED,
    ADMIT_SUSPENDED,
    ADMIT_BUILDS
};
/* Of admitted.user and .tenant, which are arrays. */
enum { ADMIT_USER_ID, ADMIT_USER_ROLES, ADMIT_USER_PERMISSIONS };
enum { ADMIT_TENANT_SUSPENDED, ADMIT_TENANT_NETWORKS, ADMIT_TENANT_TIER };

enum admit_replay {
    ADMIT_NO_KEY,
    ADMIT_CLAIMED,    /* the first with this key: finish with commit_idempotency or give back with commit_remove */
    ADMIT_REPLAY,     /* `record` is the finished one */
    ADMIT_OTHER,      /* the key was used with another fingerprint */
    ADMIT_IN_PROGRESS /* another one is under way */
};

struct admitted { /* borrowed for the call */
    enum admit_verdict verdict;
    int64_t now_ms, epoch, revoked;       /* partition's revocation counter */
    const struct redis_value *credential; /* its hash: names and values; nil when none was looked up or found */
    const struct redis_value *user;       /* whom it depends on, a credential of kind "user"; nil: nobody */
    const struct redis_value *tenant;     /* what key_tenant says; nil when nothing was looked up */
    int64_t limit, remaining,
        reset_ms; /* window; reset: when it starts anew, 0 when nothing was charged or looked at */
    int64_t burst, burst_remaining;
    struct admit_window {
        int64_t limit, remaining, reset_ms; /* limit 0: there is none */
    } more[RATE_WINDOWS];
    int64_t granted; /* credit: at most what was wanted */
    int64_t retry_after_ms;
    enum admit_replay replay;
    const struct redis_value *record; /* of ADMIT_REPLAY: names and values */
};

typedef void admit_then(void *arg, enum code c, const struct admitted *a);
enum code store_admit(struct store *s, struct arena *scratch, const struct admission *in, struct ops *asker,
                      admit_then *then, void *arg);

struct commit;
/* An answer that is a document of the tenant as it is stored at this revision. */
struct commit_answer {
    const char *kind;
    struct str id;
    int64_t revision;
    struct str json; /* kept only where the document moved on already, or answers another record too */
};
/* Finishes a claimed record in the commit that does the work, behind its puts: kept for keep_ms. `fields` are names and
 * values, n of each in turn (status, location ...); "state", "owner", "fingerprint" and "until" are ours. Without an
 * owner nobody has claimed it, and the commit that does the work makes the record whole: `fields` then have the
 * fingerprint. With `of` the record gets kind, id and revision, and the document's text under "data" once the document
 * moves on (any later put or delete of it). Refused with RES_IDEMPOTENCY_IN_PROGRESS and "idempotency" when the claim
 * is no longer ours, or, without an owner, when there is a record. */
void commit_idempotency(struct commit *c, struct str key, struct str owner, int64_t keep_ms, const struct str *fields,
                        size_t n, const struct commit_answer *of);

#endif

/* Runs and their one writer; what is due; work for servers.
 *
 * A run's lease is fenced: its token only ever rises, and a commit that names an old one is refused. Whoever commits an
 * inbox entry tries to claim; a holder that ends its drain takes what came meanwhile (commit_drained). What nobody
 * drained is found by sweeping. All times are the partition's clock. */
#ifndef SERVER_STORE_LEASE_H
#define SERVER_STORE_LEASE_H

#include "server/store/commit.h"

enum { LEASE_MS = 3000 };

typedef void claim_then(void *arg, enum code c, const struct claim *claim);
/* token 0: take the lease if it is free. Else: keep it for lease_ms more; `run` and `entries` are then nil. */
enum code store_claim(struct store *s, struct arena *scratch, struct space space, const char *kind, struct str run,
                      struct str owner, int64_t token, int64_t lease_ms, struct ops *asker, claim_then *then,
                      void *arg);

struct sweep {
    unsigned partition;
    int64_t dirty_ms; /* inboxes that waited this long; 1,000 */
    int64_t stale_ms; /* agents without a heartbeat for this long */
    int64_t lease_ms; /* what is handed out is not handed out again for this long */
    unsigned most;    /* of each; at most 1,000 */
};
struct swept { /* arrays of texts, borrowed for the call */
    int64_t now_ms, epoch;
    const struct redis_value *dirty;  /* "<tenant>:run:<id>" */
    const struct redis_value *timers; /* "<tenant>:<kind>:<id>" */
    const struct redis_value *queue;  /* "<tenant>:<run>:<node>:<attempt>" */
    const struct redis_value *stale;  /* "<tenant>:<agent>" and last beat in ms, in turn; not leased */
};
typedef void sweep_then(void *arg, enum code c, const struct swept *swept);
enum code store_sweep(struct store *s, struct arena *scratch, const struct sweep *in, struct ops *asker,
                      sweep_then *then, void *arg);

/* Work entries: takes up to `most` that are due, and keeps those of `renew` for lease_ms more. Those renewed that are
 * no longer queued are not answered. */
struct taken {
    int64_t now_ms;
    const struct redis_value *due;     /* members */
    const struct redis_value *renewed; /* members */
};
typedef void take_then(void *arg, enum code c, const struct taken *taken);
enum code store_take(struct store *s, struct arena *scratch, unsigned partition, unsigned most, const struct str *renew,
                     size_t renew_count, int64_t lease_ms, struct ops *asker, take_then *then, void *arg);

#endif

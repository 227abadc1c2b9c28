/* The chain of audit entries, as pure functions.
 *
 *     event     = the entry as committed, with sequence, timestamp and previousEventHash
 *     eventHash = SHA-256(canonical JSON of the event)
 *
 * previousEventHash of the first is 64 zeros. Hashes are stored as 32 bytes each, one after the other: that of sequence n
 * is at (n - 1) * 32. */
#ifndef SERVER_AUDIT_CHAIN_H
#define SERVER_AUDIT_CHAIN_H

#include "lib/crypto.h"
#include "lib/json.h"

struct audit_link {
    int64_t sequence;
    int64_t time_ms;
    struct str entry; /* JSON, as committed */
};

/* An entry of the stream as XRANGE answers it; `entry` borrows from it. False: it is none of ours. */
struct redis_value;
bool audit_link_read(const struct redis_value *v, struct audit_link *out);

/* The event, without its own hash. NULL: memory ran out, or the entry is no JSON object (`broken`). */
struct json *audit_event(struct arena *a, const struct audit_link *link, const uint8_t previous[CRYPTO_HASH],
                         bool *broken);
bool audit_hash(struct arena *a, const struct json *event, uint8_t out[CRYPTO_HASH]);
/* The event's canonical text straight from that of the entry, which is canonical as we write it: what the chain adds goes
 * between its members. False when they do not stand in order, or there is no memory; then the way over the tree decides.
 * Whoever verifies goes that way always, so text that only looks canonical does not hold. */
bool audit_event_text(struct buf *out, const struct audit_link *link, const uint8_t previous[CRYPTO_HASH]);
/* What a checkpoint's signature is over. */
struct str audit_checkpoint_text(struct arena *a, struct str tenant, int64_t sequence, const uint8_t hash[CRYPTO_HASH]);
struct str audit_hex(struct arena *a, const uint8_t hash[CRYPTO_HASH]);

#endif

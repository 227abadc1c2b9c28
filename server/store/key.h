/* Names of keys. These formats never change: data written by any version is read by every later one.
 *
 * Every name starts with its partition's hash tag, {p00} to {p63}: all keys a commit touches are in one slot of a
 * cluster. A partition is fixed for a tenant (partition_of in server/auth.h). Each function answers text in the arena,
 * or STR_NONE when memory ran out; what takes a commit or a command refuses such a key.
 *
 *     {p07}:meta                                     HASH    epoch, commits, clock, revoked, abi
 *     {p07}:d:<tenant>:<kind>:<id>                   HASH    document: j r sv o x s ik, and fields of the kind's own
 *     {p07}:n:<tenant>:<kind>                        STRING  last ordinal given
 *     {p07}:o:<tenant>:<kind>                        ZSET    id by ordinal
 *     {p07}:f:<tenant>:<kind>:<field>=<value>        HASH    chunk number -> bitmap of 2,048 ordinals
 *     {p07}:z:<tenant>:<kind>:<field>                ZSET    sortable field
 *     {p07}:u:<tenant>:<kind>:[<parent>:]<field>     HASH    unique value -> id
 *     {p07}:e:<tenant>:<channel>                     STREAM  events: id <last seq>-0, f = first seq, b = frames by \n
 *     {p07}:es:<tenant>:<channel>                    STRING  last seq
 *     {p07}:l:<tenant>:<kind>:<id>:<node>:<attempt>  ZSET    log index: stream id by first line number; with :m a HASH
 *     {p07}:a:<tenant>                               STREAM  audit: id <seq>-0, j, t; {p07}:an:<tenant> last seq
 *     {p07}:as:<tenant>                              STRING  sealed hashes, 32 bytes each
 *     {p07}:ac:<tenant>                              HASH    signed checkpoints: sequence -> "<key> <signature>"
 *     {p07}:ad                                       ZSET    tenants with entries that are not sealed, by time
 *     {p07}:i:<tenant>:<caller>:<route>:<hash>       HASH    idempotency record
 *     {p07}:k:<hash>                                 HASH    credential
 *     {p07}:kt:<tenant>                              HASH    what holds for all its credentials: suspended (ms),
 *     networks, tier (number)
 *     {p07}:tn                                       HASH    tenants of the partition: id -> "<status> <name>"
 *     {p07}:ug:<tenant>:<user>                       ZSET    ids of the grants in the user's name, by when they end (ms)
 *     {p07}:lg:<hash>                                STRING  wrong guesses at a login, for a while
 *     {p07}:ja:<hash>                                STRING  a client's assertion that was used, until it is over
 *     {p07}:b:<tenant>:<caller>                      HASH    rate window and bucket: w n l s
 *     {p07}:in:<tenant>:<run>                        LIST    inbox; {p07}:ids:<tenant>:<run> ZSET entry ids seen
 *     {p07}:le:<tenant>:<run>                        HASH    lease: token owner until
 *     {p07}:dirty  {p07}:t  {p07}:q  {p07}:gl        ZSET    runs with an inbox, timers, work, liveness
 *     {p07}:w:<tenant>                               ZSET    steps that wait for an agent
 *     {p07}:bm:<tenant>:<digest>                     HASH    a blob (server/blob_store.h): id, size, r:<kind>:<id> of
 *     who refers to it
 *     {p07}:bc:<tenant>:<blob id>                    HASH    its bytes, where no folder keeps them: number -> piece
 *     {p07}:bu:<tenant>                              HASH    what the tenant's blobs take: bytes
 *     {p07}:ra:<tenant>:<kind>:<id>                  HASH    artifacts of a run's steps: "<node>/<name>" -> record
 *     {p07}:g:<tenant>  {p07}:gt:<tenant>:<agent>    HASH    roster; open tasks of an agent
 *     {p07}:er:<tenant>                              HASH    environment -> what is deployed there
 *     {p07}:pd:<tenant>                              HASH    environment -> "promotion:<id>" or "rollback:<id>" that
 *     holds it
 *     {p07}:pk:<tenant>                              HASH    "<environment>:<release>" -> promotion under way
 *     {p07}:pp: pw: pq:<tenant>:<environment>        ZSET    promotions: to be judged, to be approved, approved; by time
 *     {p07}:pe:<tenant>:<status>                     ZSET    promotions that came to that end, by time
 *     {p07}:ts:<tenant>                              HASH    target -> what is known to be deployed there */
#ifndef SERVER_STORE_KEY_H
#define SERVER_STORE_KEY_H

#include "lib/arena.h"

enum { KEY_CHUNK = 2048 }; /* ordinals per facet chunk; bit o % 2048, least significant bit of a byte first */

/* A tenant's name space. */
struct space {
    unsigned partition;
    struct str tenant;
};

struct str key_meta(struct arena *a, unsigned partition);
struct str key_document(struct arena *a, struct space s, const char *kind, struct str id);
struct str key_last_ordinal(struct arena *a, struct space s, const char *kind);
struct str key_ordinals(struct arena *a, struct space s, const char *kind);
struct str key_facet(struct arena *a, struct space s, const char *kind, struct str facet); /* facet: "field=value" */
struct str key_sorted(struct arena *a, struct space s, const char *kind, const char *field);
struct str key_unique(struct arena *a, struct space s, const char *kind, struct str parent, const char *field);
struct str key_channel(struct arena *a, struct space s, struct str channel); /* also the name of the hint channel */
struct str key_channel_seq(struct arena *a, struct space s, struct str channel);
/* kind: of the run (server/engine/kind.h). */
struct str key_log(struct arena *a, struct space s, const char *kind, struct str run, struct str node,
                   unsigned attempt);
struct str key_log_meta(struct arena *a, struct space s, const char *kind, struct str run, struct str node,
                        unsigned attempt);
struct str key_audit(struct arena *a, struct space s);
struct str key_audit_seq(struct arena *a, struct space s);
struct str key_audit_sealed(struct arena *a, struct space s);
struct str key_audit_checkpoints(struct arena *a, struct space s);
struct str key_audit_unsealed(struct arena *a, unsigned partition);
struct str key_idempotency(struct arena *a, struct space s, struct str caller, const char *route, struct str hash);
struct str key_credential(struct arena *a, unsigned partition, struct str hash);
struct str key_tenant(struct arena *a, struct space s);
struct str key_tenants(struct arena *a, unsigned partition);
struct str key_user_grants(struct arena *a, struct space s, struct str user); /* by when they end */
struct str key_guesses(struct arena *a, unsigned partition, struct str hash);
struct str key_assertion(struct arena *a, unsigned partition, struct str hash);
struct str key_rate(struct arena *a, struct space s, struct str caller);
struct str key_inbox(struct arena *a, struct space s, struct str run);
struct str key_seen(struct arena *a, struct space s, struct str run); /* ids of entries */
struct str key_lease(struct arena *a, struct space s, struct str run);
struct str key_dirty(struct arena *a, unsigned partition);
struct str key_timers(struct arena *a, unsigned partition);
struct str key_queue(struct arena *a, unsigned partition);
struct str key_liveness(struct arena *a, unsigned partition);
struct str key_blob(struct arena *a, struct space s, struct str digits); /* the digest's 64, without "sha256:" */
struct str key_blob_bytes(struct arena *a, struct space s, struct str blob_id);
struct str key_blob_usage(struct arena *a, struct space s);
struct str key_artifacts(struct arena *a, struct space s, const char *kind, struct str run);
struct str key_waiting(struct arena *a, struct space s);
struct str key_roster(struct arena *a, struct space s);
struct str key_environment_releases(struct arena *a, struct space s);
struct str key_environment_holders(struct arena *a, struct space s);
struct str key_promotions_active(struct arena *a, struct space s);
struct str key_promotions_pending(struct arena *a, struct space s, struct str environment);
struct str key_promotions_awaiting(struct arena *a, struct space s, struct str environment);
struct str key_promotions_approved(struct arena *a, struct space s, struct str environment);
struct str key_promotions_ended(struct arena *a, struct space s, const char *status);
struct str key_tasks(struct arena *a, struct space s, struct str agent);
/* HASH: target -> {release, previous, releaseJobId?, previousJobId?: the jobs that brought these there; jobId: the one that
 * was there last; deployedAt, sticker, contentHash, healthStatus?, healthMessage?, checkedAt?}; written in the very commit
 * in which a task ends that changed or looked at the target. */
struct str key_target_facts(struct arena *a, struct space s);

#endif

/* A commit: checks and writes that happen together or not at all, in one trip.
 *
 *     struct commit c;
 *     commit_begin(&c, &r->arena, space, 0);
 *     commit_expect_exists(&c, RES_REFERENCE_UNKNOWN, "templateId", key_document(...));
 *     commit_put(&c, &(struct commit_document){.kind = "environment", .id = id, .revision = 1, .json = text, ...});
 *     commit_event(&c, S("dashboard"), S("\"type\":\"environment_created\",...}"));
 *     commit_audit(&c, entry);
 *     return store_commit(r->worker->store, &c, &r->ops, committed, r);
 *
 * The checks run in the order they were added, then what the writes need is checked (types of keys, unique values, the
 * stored revision); the first that fails refuses the commit with its code and label and nothing is written. The writes
 * then run in their order. Everything is copied when it is added. Adding never fails; a commit that ran out of memory,
 * or was given STR_NONE as a key, is refused by store_commit with SYS_OVERLOADED. */
#ifndef SERVER_STORE_COMMIT_H
#define SERVER_STORE_COMMIT_H

#include "server/store/store.h"

enum commit_flag {
    COMMIT_GROWS = 1,    /* creates something: refused when memory is short (SYS_STORAGE) */
    COMMIT_ESSENTIAL = 2 /* transition, cancel, delete, acknowledge: goes through when memory is short */
};

struct commit { /* private */
    struct arena *arena;
    struct space space;
    unsigned flags;
    struct buf checks, writes;
    unsigned check_count, write_count;
    struct str texts[8]; /* long ones */
    size_t text_count;
    struct str text; /* of the last put */
    bool failed;
};

void commit_begin(struct commit *c, struct arena *a, struct space space, unsigned flags);

/* Checks. `refused` and `label` come back in the result of a commit that fails it. */
void commit_expect_revision(struct commit *c, enum code refused, const char *label, const char *kind, struct str id,
                            int64_t revision); /* 0: there is no such document */
void commit_expect_exists(struct commit *c, enum code refused, const char *label, struct str key);
void commit_expect_absent(struct commit *c, enum code refused, const char *label, struct str key);
/* The hash's field equals value; STR_NONE: there is no such field. */
void commit_expect_field(struct commit *c, enum code refused, const char *label, struct str key, struct str field,
                         struct str value);
/* The hash does not have `value` as a field, or has it with the content `mine`. */
void commit_expect_unique(struct commit *c, enum code refused, const char *label, struct str key, struct str value,
                          struct str mine);
/* Members of a hash, set, sorted set, list or stream: at most `most`. For a quota: what there may be before one more.
 */
void commit_expect_at_most(struct commit *c, enum code refused, const char *label, struct str key, int64_t most);
/* We hold the run's lease with this token, and it has not been given to another since. */
void commit_expect_lease(struct commit *c, enum code refused, const char *label, struct str run, int64_t token);

/* How a document is found. Built from rows by server/document.h. */
struct commit_index {
    struct buf facets, numbers, texts, uniques; /* private */
    unsigned facet_count, number_count, text_count, unique_count;
};
void index_begin(struct commit_index *x, struct arena *a);
/* Exactly these documents have field=value. The text "field=value" is at most 512 bytes, longer ones are for the caller to
 * hash; a commit with one is refused with SYS_OVERLOADED, and an error is logged. */
void index_facet(struct commit_index *x, struct str field, struct str value);
/* A document has one entry in each sortable field of its kind, or the order by it will lack the document. */
void index_number(struct commit_index *x, const char *field, double value);
void index_text(struct commit_index *x, const char *field, struct str value); /* order of bytes */
/* Refused with `refused` and the field as label when another document has the value. parent: STR_NONE, or an id within
 * which it is unique. */
void index_unique(struct commit_index *x, enum code refused, struct str parent, const char *field, struct str value);

struct commit_document {
    const char *kind;
    struct str id;
    /* The new revision: the stored one must be one less (1: there must be none). Refused otherwise with
     * RES_VERSION_CONFLICT and the label "revision", or RES_ALREADY_EXISTS and "id" for 1. */
    int64_t revision;
    unsigned schema;
    struct str json;
    const struct commit_index *index; /* all of it, new; what the old one had and this has not is taken away. NULL: keep
                                         the old one */
    struct str sealed;                /* secrets; STR_NONE: keep */
};
/* Makes or replaces a document with its index. The ordinal is given at the first. */
void commit_put(struct commit *c, const struct commit_document *d);
/* Fields of the document's hash beside ours (a run's header and steps); names of one or two letters are ours, except
 * "h". STR_NONE: take the field away. The document must exist (it may be put in the same commit): RES_NOT_FOUND, "id".
 */
void commit_field(struct commit *c, const char *kind, struct str id, struct str field, struct str value);
/* Takes a document away, with its index. revision: the stored one must be it; 0: any. There must be one: RES_NOT_FOUND
 * and "id", or RES_VERSION_CONFLICT and "revision". */
void commit_delete(struct commit *c, const char *kind, struct str id, int64_t revision);

/* Appends one event to a channel and publishes it. `rest` is what follows {"seq":N,"timestamp":"...", in the frame: it
 * starts with a member and ends with the closing brace. Successive events of one channel become one stream entry. */
void commit_event(struct commit *c, struct str channel, struct str rest);
/* What becomes of a channel. keep: entries kept, 0 all. ttl_ms: the channel disappears after this long unless another
 * call says otherwise; 0: as it was, negative: never. */
void commit_channel(struct commit *c, struct str channel, int64_t keep, int64_t ttl_ms);
/* Keeps of the channel what is younger than this, and what is older until later events come; numbers go on. */
void commit_window(struct commit *c, struct str channel, int64_t window_ms);
/* Appends to the tenant's audit stream; the function adds sequence and time (entry fields j and t), and marks the tenant as
 * one with unsealed entries. */
void commit_audit(struct commit *c, struct str json);

/* Runs: `kind` is the document's, "run" or "job" (server/engine/kind.h).
 *
 * Appends to a run's inbox and marks the run dirty. `id`: an entry with an id that was seen before (the last 1,000 of
 * the run) is dropped; STR_NONE: never. */
void commit_inbox(struct commit *c, const char *kind, struct str run, struct str id, struct str entry);
/* Tries to take the run's lease after the writes, as store_claim does; the result then has `claim`. Once per commit. */
void commit_claim(struct commit *c, const char *kind, struct str run, struct str owner, int64_t lease_ms);
/* Ends a drain: takes the first `consumed` entries off the inbox. Nothing left: the lease is given back and the run is
 * clean. Something left: the lease is kept for lease_ms more, and the result's `claim` has the entries. Checks the
 * token: RES_VERSION_CONFLICT, "lease". */
void commit_drained(struct commit *c, const char *kind, struct str run, int64_t token, unsigned consumed,
                    int64_t lease_ms);

/* When the engine looks at it again (Redis' time); 0: no timer. kind: that of a run, or one of
 * the table in server/engine/timers.c. */
void commit_timer(struct commit *c, const char *kind, struct str id, int64_t due_ms);
/* Work for servers: `member` is what is behind the tenant, "<run>:<node>:<attempt>". visible_ms: when others may take
 * it; negative: done, taken off. */
void commit_queue(struct commit *c, struct str member, int64_t visible_ms);
void commit_waiting(struct commit *c, struct str member, bool waits); /* steps that wait for an agent */
/* STR_NONE takes it away. */
void commit_task(struct commit *c, struct str agent, struct str task, struct str envelope);
void commit_roster(struct commit *c, struct str agent, struct str json);
void commit_beat(struct commit *c, struct str agent, bool alive); /* liveness: now, or taken off */
/* The partition's revocation counter goes up and is published on {pNN}:revoked. */
void commit_revoked(struct commit *c);

/* Plain ones, for keys of key.h. */
void commit_hset(struct commit *c, struct str key, struct str field, struct str value); /* STR_NONE: HDEL */
struct commit_field {
    struct str name, value;
};
void commit_hset_all(struct commit *c, struct str key, const struct commit_field *fields, size_t n); /* each of them */
void commit_zset(struct commit *c, struct str key, struct str member, double score);
void commit_zrem(struct commit *c, struct str key, struct str member);
void commit_remove(struct commit *c, struct str key);                 /* any type */
void commit_expire(struct commit *c, struct str key, int64_t ttl_ms); /* negative: never */

/* A claimed lease, or what is left of one. */
struct claim {
    bool held;                         /* we hold it */
    int64_t token;                     /* the fence */
    int64_t until_ms;                  /* ours, or the other's */
    const struct redis_value *run;     /* the run's whole hash: names and values; nil when there is none */
    const struct redis_value *entries; /* the first of the inbox, at most 100 */
    int64_t waiting;                   /* entries in the inbox in all */
};

struct commit_result {     /* borrowed for the call */
    enum code code;        /* OK, the refusal of the failed check, or SYS_* */
    struct str label;      /* of the failed check */
    int64_t found;         /* failed revision: the stored one, 0 for none; failed at_most: how many there are */
    struct str found_text; /* failed field or unique: what is there */
    int64_t now_ms;        /* the partition's clock, as written in events */
    int64_t epoch;
    size_t seq_count; /* last sequence of each channel written, in order of the first event of each */
    const struct redis_value *seqs;
    int64_t audit_seq; /* of the last audit entry */
    size_t dropped;    /* inbox entries seen before */
    bool claimed;      /* `claim` is filled in */
    struct claim claim;
};
int64_t commit_seq(const struct commit_result *r, size_t i);

typedef void commit_then(void *arg, const struct commit_result *result);
/* lib/op.h's contract. */
enum code store_commit(struct store *s, struct commit *c, struct ops *asker, commit_then *then, void *arg);

#endif

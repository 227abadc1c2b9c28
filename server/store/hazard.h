/* What is dangerous about a Redis that is trusted with everything, read from what it says of itself.
 *
 * Some of it refuses: such a Redis is not used, and the instance is not ready until it was mended. The rest is a
 * warning, in the log and in /readyz?verbose: acknowledged changes can be lost in ways that a name stands for. */
#ifndef SERVER_STORE_HAZARD_H
#define SERVER_STORE_HAZARD_H

#include "proto/redis.h"

// clang-format off
#define HAZARD_MAP(X)                                                                                                      \
    X(OLD,      "redis-version",     true,  "it is too old: 7.0 is needed")                                                \
    X(REPLICA,  "redis-replica",     true,  "it is a replica: it takes no changes, and may be behind")                     \
    X(EVICTS,   "redis-eviction",    true,  "it would throw data away: maxmemory-policy must be noeviction")               \
    X(VOLATILE, "redis-persistence", false, "appendonly is no: a crash of Redis loses what was acknowledged")              \
    X(LAZY,     "redis-fsync",       false, "appendfsync is not always: a crash of its host loses the last second, or more, of what was acknowledged") \
    X(REWRITE,  "redis-rewrite",     false, "no-appendfsync-on-rewrite is yes: while its file is rewritten nothing acknowledged is safe on disk") \
    X(FOLLOWED, "redis-failover",    false, "it has replicas: a failover to one loses what was acknowledged and not yet copied") \
    X(HIDDEN,   "redis-hidden",      false, "it does not show its configuration: whether it evicts or keeps its data was not checked")
// clang-format on

enum hazard {
#define X(name, label, refuses, why) HAZARD_##name,
    HAZARD_MAP(X)
#undef X
        HAZARDS
};

/* A set of them, as bits 1 << hazard. `text`: the reply to INFO. */
unsigned hazards_of_info(struct str text);
/* The reply to CONFIG GET appendonly appendfsync no-appendfsync-on-rewrite maxmemory-policy; NULL: it was refused. */
unsigned hazards_of_config(const struct redis_value *reply);

const char *hazard_label(enum hazard h);
const char *hazard_why(enum hazard h);
/* The first of the set that refuses; HAZARDS: none does. */
enum hazard hazards_refusal(unsigned set);

/* The value of the line "name:value" in an INFO reply; STR_NONE without one. */
struct str hazard_info(struct str text, const char *name);

#endif

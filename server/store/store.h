/* The store: one worker's face to Redis.
 *
 * It keeps the connection, loads the function library (at start, when another build's is found, and after a restart
 * that lost it), checks that this Redis can be trusted with the data (server/store/hazard.h), knows Redis' clock,
 * and turns every failure into a code: SYS_STORAGE when Redis is away, loading, full, read-only or too slow (503, to be
 * tried again), SYS_OVERLOADED when too much is under way here, SYS_INTERNAL for what should never happen (logged).
 * Nothing is retried here: after SYS_STORAGE a change may or may not have been made.
 *
 * Each data set has an epoch per partition. The store remembers the highest commit counter it has seen; when Redis
 * comes back with a lower one (a restore, a failover, a lost second of AOF), the epoch is raised before anything else
 * is answered, and clients of streams are told to start over. */
#ifndef SERVER_STORE_STORE_H
#define SERVER_STORE_STORE_H

#include "lib/arena.h"
#include "lib/op.h"
#include "proto/redis.h"
#include "server/code.h"
#include "server/store/key.h"

struct loop;
struct store;

/* What the process has seen of a data set; one for all workers, atomics only. Zeroed memory is a fresh one. */
struct store_seen {
    int64_t commits[64];
    unsigned hazards; /* that were told */
};

struct store_settings {
    struct redis_target target;
    struct redis_limits limits;
    struct store_seen *seen;
    int64_t memory_percent; /* of maxmemory, from where creates and log appends are refused; 0: 85 */
};

/* Connects at once; `changed` runs whenever store_ready or store_problem changed. NULL: no memory. */
struct store *store_open(struct loop *loop, const struct store_settings *settings, void (*changed)(void *arg),
                         void *arg);
/* What waits ends with SYS_STORAGE; `closed` once, later. */
void store_close(struct store *s, void (*closed)(void *arg), void *arg);

bool store_ready(const struct store *s);
const char *store_problem(const struct store *s);               /* why not ready: a sentence; NULL when ready */
unsigned store_hazards(const struct store *s);                  /* bits 1 << enum hazard (server/store/hazard.h) */
const char *store_version(const struct store *s);               /* of Redis; "" before it said so */
bool store_full(const struct store *s);                         /* memory_percent is reached */
int64_t store_now_ms(const struct store *s);                    /* Redis' clock as of now, estimated; never goes back */
int64_t store_epoch(const struct store *s, unsigned partition); /* as last answered; 0: not yet known */
const struct redis_target *store_target(const struct store *s); /* for a subscriber connection */

struct store_figures {
    struct redis_figures redis;
    uint64_t refused, loads, epochs; /* calls refused here; times the library was loaded, an epoch was raised */
    int64_t used_memory, max_memory;
    double clock_offset_ms;
};
void store_figures(const struct store *s, struct store_figures *out);

/* `v` is borrowed for the call and NULL unless c is OK. */
typedef void store_then(void *arg, enum code c, const struct redis_value *v);

/* OK: `then` runs once, later (lib/op.h). Otherwise it never does.
 *
 * A function of the library, in the partition of its plan (MessagePack text). */
enum code store_call(struct store *s, const char *function, unsigned partition, struct str plan, struct ops *asker,
                     store_then *then, void *arg);

enum { STORE_READS_AT_ONCE = 64 };
struct store_command {
    size_t argc;
    const struct str *argv;
};
/* Reads (or anything plain Redis commands can do) in one trip. One command answers its reply. More than one, at most
 * STORE_READS_AT_ONCE, run as a MULTI: one instant, and an array of their replies. A key that is STR_NONE:
 * SYS_OVERLOADED. */
enum code store_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                     store_then *then, void *arg);
#define STORE_COMMAND(...)                                                                                             \
    {                                                                                                                  \
        sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str), (struct str[])                                       \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

#endif

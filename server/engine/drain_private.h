/* What the parts of the engine in a worker share: drains, timers, work. */
#ifndef SERVER_ENGINE_DRAIN_PRIVATE_H
#define SERVER_ENGINE_DRAIN_PRIVATE_H

#include "lib/id.h"
#include "lib/map.h"
#include "lib/timer.h"
#include "proto/fetch.h"
#include "server/engine/choose.h"
#include "server/engine/definition.h"
#include "server/engine/drain.h"

struct sweep_slot { /* one per partition */
    struct drains *drains;
    unsigned partition;
    bool busy;
};

struct drains {
    struct worker *worker;
    char owner[ID_UUID]; /* of leases: this worker, this start */
    struct ops ops;      /* appends, sweeps, retention */
    struct map running;  /* "<tenant>:<kind>:<run>" -> struct drain * */
    struct map ticks;    /* the same -> struct tick *: timers of runs that this worker committed */
    struct list works;   /* struct work, under way or in line */
    struct list appends; /* struct append under way */
    struct definitions definitions;
    struct fetcher *fetcher;
    size_t work_count;
    struct timer sweeper, renewer, closer;
    unsigned sweep_next; /* partition */
    struct sweep_slot slots[ID_PARTITIONS];
    struct arena scratch; /* of one call into the store */
    drain_stale *stale;
    bool closing, fetcher_closed;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct waiter { /* somebody who waits for a drain to end */
    struct op op;
    struct list link;
    drain_then *then;
    void *arg;
};

enum { PLACE_KIND = 16 }; /* bytes of a kind's name, at most */

/* A run's names, copied. */
struct place {
    const struct run_kind *kind;
    char tenant[ID_UUID], run[ID_UUID], key[2 * ID_UUID + PLACE_KIND];
    struct space space; /* tenant points above */
    struct str id;      /* points above */
};
void place_set(struct place *p, const struct run_kind *kind, struct space space, struct str run);
/* Out of names that the sweep found. False: they are none of a run of a kind that is known. */
bool place_parse(struct place *p, const struct run_kind *kind, unsigned partition, struct str tenant, struct str run);
struct str place_channel(struct arena *a, const struct place *p);

struct roster { /* agents of the tenant, for one drain */
    struct choose_agent *agents;
    size_t n;
    size_t counted; /* agents whose open tasks are known */
};

struct drain {
    struct drains *drains;
    struct place place;
    struct arena arena;
    struct ops ops;
    struct list waiters;
    struct timer timer; /* until the lease is asked for again */
    int64_t began_ms, delay_ms;
    unsigned fences; /* how often it was fenced out */

    int64_t token, now_ms, revision;
    struct run *r;
    struct definition *definition; /* what r is made after */
    struct str json;               /* the document as last committed */
    struct effects fx;
    size_t loaded; /* bytes of the arena when the run was read */
    size_t chosen; /* effects up to here have been looked at for EFFECT_CHOOSE */
    unsigned consumed;
    bool wrote;    /* something of the run itself is in the commit under way */
    bool removed;  /* the commit under way takes the run away */
    bool finished; /* the run ends with it */
    struct roster *roster;
    struct commit commit;
};

/* drain.c */
void drain_decide(struct drain *d); /* finds agents where they are asked for, then commits */
void drain_end(struct drain *d, enum code c);
void drains_check_closed(struct drains *ds);

/* drain_effect.c */
void drain_write(struct drain *d, struct commit *c); /* the changed run and its effects */
void drain_committed_effects(struct drain *d);       /* starts what this worker does itself */

/* drain_choose.c: OK, and drain_decide is called again once the roster is known. */
enum code roster_read(struct drain *d);
void roster_choose(struct drain *d, const struct effect *choose);

/* timers.c */
void timers_start(struct drains *ds);
void timers_stop(struct drains *ds);
void timers_set(struct drains *ds, const struct place *p, int64_t due_ms); /* 0: none */

/* work.c */
bool works_start(struct drains *ds); /* false: no memory */
void works_stop(struct drains *ds);
/* The step's request, ready to be sent, while the run is at hand. NULL: no memory, left to the sweep. */
struct work *work_new(struct drains *ds, const struct place *p, const struct run *r, int step);
void work_free(struct work *w);
void work_begin(struct work *w);
void work_swept(struct drains *ds, unsigned partition, struct str member);

/* retention.c: runs are kept for `run-keep` after their end. */
int64_t retention_at(const struct drains *ds, const struct run *r); /* when it is removed; 0: not yet known */
void retention_write(struct drain *d, struct commit *c);            /* takes the run away, with all it left */

enum { WORK_LEASE_MS = 3000 }; /* and a sweep a second: the work of a killed instance goes on within five seconds */

#endif

/* Drains: what moves the runs of this worker.
 *
 * What happens to a run is appended to its inbox. Whoever appends tries to take the run's lease (in the same commit) and
 * then drains: reads the run, applies its entries through run_transition, carries the effects out, and commits all of it
 * with the entries taken off, fenced by the lease's token. Entries that came meanwhile are drained at once; with none left
 * the lease is given back. A drain that was fenced out, or whose commit failed, starts over from what is stored, or leaves
 * it to whoever holds the lease now. Nothing is lost when a worker dies at any line: the inbox is still there, and the
 * sweep finds it.
 *
 * Happy path: append+claim -> transition [-> roster -> assignments] -> commit -> told.
 * The lease is somebody else's: ask again after 5, 10, 20 ... 200 ms. When it can be taken, or the other has ended its
 * drain, the entry has been applied or is applied now. */
#ifndef SERVER_ENGINE_DRAIN_H
#define SERVER_ENGINE_DRAIN_H

#include "lib/op.h"
#include "server/engine/kind.h"
#include "server/engine/run.h"
#include "server/store/commit.h"

struct drains; /* one per worker: drains, timers and work under way */
struct worker;

enum {
    DRAIN_WAIT_MS = 8000,         /* a caller whose entry is not applied by then gets SYS_TIMEOUT; the entry stays */
    WORK_ANSWER_MAX = 256 * 1024, /* bytes of an answer to a step's request */
    WORK_BODY_KEPT = 32 * 1024,   /* of these, in the outputs */
    DRAIN_MOST = 1000,            /* drains under way; more is SYS_OVERLOADED, and left to the sweep */
    DRAIN_MEMORY = 64 << 20       /* bytes of one drain */
};

struct drains *drains_open(struct worker *w); /* NULL: no memory */
/* Ends what can be ended; what is under way in the store is waited for. `closed` runs once, later. */
void drains_close(struct drains *d, void (*closed)(void *arg), void *arg);

struct drained { /* the run as of the last commit; borrowed for the call */
    enum run_status status;
    struct str json; /* the public document; STR_NONE when the run is gone */
    int64_t revision, now_ms;
};
/* `c`: OK, the entry was applied (it may have changed nothing); RES_NOT_FOUND, there is no such run; or a SYS_ code: it
 * may still be applied. `d` is NULL unless c is OK. */
typedef void drain_then(void *arg, enum code c, const struct drained *d);

/* Appends an entry and drains the run. `id`: entries of a run with an id that was seen before are dropped; STR_NONE: none.
 * lib/op.h's contract; asker and then may be NULL. Everything is copied. */
enum code drain_append(struct worker *w, const struct run_kind *kind, struct space space, struct str run, struct str id,
                       const struct run_event *e, struct ops *asker, drain_then *then, void *arg);
/* The same with a commit of the caller's own, begun for the run's space: its checks and writes (an audit entry, an open
 * task) happen together with the append, or nothing does: then `c` is the refusal. */
enum code drain_commit(struct worker *w, const struct run_kind *kind, struct commit *c, struct str run, struct str id,
                       const struct run_event *e, struct ops *asker, drain_then *then, void *arg);
/* Looks at a run whose inbox or timer may be due; nobody waits. */
void drain_run(struct worker *w, const struct run_kind *kind, struct space space, struct str run);

/* Agents whose last heartbeat is two intervals old or older are told to `fn` about once a second, by every process that
 * sees them, until they beat again or are taken off (commit_beat). */
typedef void drain_stale(struct worker *w, struct space space, struct str agent, int64_t last_ms, int64_t now_ms);
void drains_on_stale(struct drains *d, drain_stale *fn);

/* What calls other servers on the worker's behalf, within outbound.allow. */
struct fetcher;
struct fetcher *drains_fetcher(struct drains *d);

/* Fields of a run's hash beside the store's own: "def" the pinned definition, "origin" what never changes, "h" the
 * header, "s:<node>" a step that is no longer pending. */
#define RUN_KIND "run" /* of workflow_kind */
/* A run out of its hash (names and values). NULL: no such run, damaged (logged), or no memory. */
struct redis_value;
struct run *run_of_hash(struct arena *a, const struct run_kind *kind, const struct redis_value *hash);
/* The same in two steps: of the text that it has as "def", and with what was made of it, which lives as long. */
const struct template *run_template_of(struct arena *a, const struct run_kind *kind, struct str definition);
struct run *run_of_template(struct arena *a, const struct template *t, const struct redis_value *hash);

#endif

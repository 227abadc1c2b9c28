/* What the parts of settling an environment share. A settle walks: look -> load -> decide -> one commit -> look again;
 * with nothing left to do it rests. */
#ifndef SERVER_ENGINE_ENVIRONMENT_PRIVATE_H
#define SERVER_ENGINE_ENVIRONMENT_PRIVATE_H

#include "lib/id.h"
#include "lib/loop.h"
#include "lib/op.h"
#include "server/engine/environment_settle.h"
#include "server/engine/freeze.h"
#include "server/engine/promotion.h"
#include "server/engine/run_start.h"

enum {
    SETTLE_PENDING = 16,  /* looked at in one pass; the others are, once these have moved on */
    SETTLE_APPROVED = 32, /* of these the first that may start does */
    SETTLE_FOLLOWERS = 20 /* environments that promote from one by themselves */
};

struct promoted { /* a promotion as read */
    struct str id;
    const struct json *json; /* NULL: gone */
    int64_t revision;
};

struct settle {
    struct settles *settles;
    struct list link;
    struct arena arena; /* of one pass */
    struct ops ops;
    struct loop_task task;
    char tenant[ID_UUID], environment[ID_UUID];
    struct space space; /* points above, as id does */
    struct str id;
    bool again;      /* somebody called meanwhile */
    unsigned passes; /* without a rest */

    char score[40]; /* what we put the timer off to */
    int64_t now_ms;
    const struct json *document;
    struct str holder; /* STR_NONE: free */
    struct str fact;   /* P:er's text; STR_NONE: nothing is deployed */
    struct promoted held, pending[SETTLE_PENDING], approved[SETTLE_APPROVED];
    size_t n_pending, n_approved;
    struct freeze_set freezes;
    const struct json *run, *job; /* of `held` */

    /* Starting. */
    const struct promoted *starting;
    const struct json *release, *inputs, *source;
    int64_t release_revision;
    struct run_start start;
    struct run_made made;

    /* Ending. */
    const struct json *followers[SETTLE_FOLLOWERS];
    size_t n_followers;
    struct str woken[SETTLE_FOLLOWERS]; /* other environments to be settled after the commit */
    size_t n_woken;

    struct promotion_change change;
    struct commit commit;
};

struct worker *settle_worker(struct settle *s);
const struct json *settle_json(struct settle *s, const struct redis_value *v); /* NULL: nil, damaged, or no memory */
/* A read failed, or memory ran out: it is left to the sweep. */
void settle_drop(struct settle *s);
/* A new commit in s->commit, which expects the holder to be still as read. */
void settle_begin_commit(struct settle *s);
/* Sends it; then all is looked at again. */
void settle_commit(struct settle *s);
/* Begins a change of a promotion for that commit: s->change. */
void settle_change(struct settle *s, const struct promoted *p);

/* environment_start.c: takes the promotion to deploying, or rejects it; one commit. */
void settle_start(struct settle *s, const struct promoted *p);
/* environment_end.c: reads what became of the held one (settle_decide follows), and ends it; one commit. */
void settle_read_held(struct settle *s);
void settle_end(struct settle *s);
void settle_decide(struct settle *s);

/* environment_judge.c: pure. */
bool settle_run_ended(const struct json *run);
bool settle_job_ended(const struct json *job);
struct settle_outcome {
    enum promotion_status status; /* DEPLOYED, FAILED or ROLLED_BACK */
    const char *code;             /* of `error`; NULL: none */
    struct str message;
};
/* What became of a promotion whose run has ended (NULL: the run is gone) and whose latest job (NULL: it had none) has,
 * too. Texts are borrowed from both, or in the arena. */
struct settle_outcome settle_outcome(struct arena *a, const struct json *run, const struct json *job);
/* The latest of a run's own jobs; NULL: none. Rollbacks are no jobs of it. */
const struct json *settle_latest_job(const struct json *const *jobs, size_t n, struct str run);
/* What an approved promotion waits for, as JSON of `blockers`: freeze windows, and the holder of its environment. */
struct str settle_blockers(struct arena *a, const struct json *promotion, struct str holder,
                           const struct freeze_set *freezes, int64_t now_ms);

#endif

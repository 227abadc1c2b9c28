/* Moves an environment's promotions, level-triggered: reads what there is, makes one commit of the next thing that
 * follows from it, and does so again until nothing is left to be done.
 *
 *   pending -> approved | awaiting_approval                 whether people must approve it
 *   approved -> deploying                                   the environment is free (one holder, P:pd), no freeze (it
 *                                                           waits), its workflow run starts in the same commit
 *   approved -> rejected                                    it can never start: its release was deprecated, or rolled back
 *                                                           in the source; its workflow cannot run
 *   deploying -> deployed | failed | rolled_back            its run has ended; P:er and P:pd in the same commit
 *
 * The first in the line that may start does: one that a freeze holds back is passed by one that overrides it. What was
 * deployed is promoted on into environments with autoPromoteFrom, in the commit that ends it.
 *
 * Whoever changes something an environment may wait for (its promotions, freeze windows, the end of a run or a rollback)
 * sets its timer in the same commit, environment_wake(), and calls environment_settle(). It is safe to call at any time,
 * twice, and by several instances at once: each commit expects what was read, and starts over when it was not so. A
 * process that dies at any line is healed by the sweep, which finds the timer: it is put off while somebody settles, and
 * taken off only when nobody has set it since.
 *
 * Holders: "promotion:<id>", or "rollback:<id>", whose end is told by rollback_settle (server/engine/rollback_settle.h).
 * To take a free environment: commit_expect_field(c, ..., key_environment_holders(...), environment, STR_NONE) and
 * commit_hset of the holder. */
#ifndef SERVER_ENGINE_ENVIRONMENT_SETTLE_H
#define SERVER_ENGINE_ENVIRONMENT_SETTLE_H

#include "server/store/commit.h"

struct worker;
struct run;

#define ENVIRONMENT_TIMER "environment"

struct settles;                                 /* one per worker: settling under way */
struct settles *settles_open(struct worker *w); /* NULL: no memory */
void settles_close(struct settles *s);          /* what is under way is dropped, and left to the sweep */

/* Begins with the loop's next turn, so it may be called where a commit is being made or was just sent. Nobody waits. */
void environment_settle(struct worker *w, struct space space, struct str environment);

/* The environment is to be looked at: into the commit that changed something. `now_ms`: any time that is not ahead of
 * the store's. */
void environment_wake(struct commit *c, struct str environment, int64_t now_ms);
/* For the commit that ends a workflow run, and behind it: the environment whose promotion it belongs to, if it does. */
void environment_wake_run(struct commit *c, const struct run *r, int64_t now_ms);
void environment_settle_run(struct worker *w, struct space space, const struct run *r);

#endif

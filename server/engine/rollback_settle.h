/* The end of a rollback: called by environment_settle when P:pd of the environment is "rollback:<id>".
 *
 * Once the rollback's job has ended, one commit: the rollback is succeeded or failed; the job it rolled back is told
 * EVENT_ROLLBACK_ENDED; after success that job's promotion is rolled_back and P:er of the environment is what is there
 * now; P:pd is taken off, and the environment's timer set so that what waits goes on. While the job still runs nothing
 * is done. Safe to call at any time, twice, and from several instances at once. */
#ifndef SERVER_ENGINE_ROLLBACK_SETTLE_H
#define SERVER_ENGINE_ROLLBACK_SETTLE_H

#include "lib/op.h"
#include "server/store/commit.h"

struct worker;

/* freed: the environment is held by this rollback no more. */
typedef void rollback_then(void *arg, enum code c, bool freed);
/* lib/op.h's contract. `rollback`: its id. */
enum code rollback_settle(struct worker *w, struct space space, struct str environment, struct str rollback,
                          struct ops *asker, rollback_then *then, void *arg);

#endif

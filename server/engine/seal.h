/* What runs keep secret, sealed at rest with the ring's keys (lib/keyring.h).
 *
 * - A run's inputs: its origin has them as they are shown, secrets masked; the true ones are the document's sealed text,
 *   which `slipway key rotate` seals anew like every other. A run from before, or without secrets, has none.
 * - A task with credentials: what is stored of it, with the agent and in the agent's channel, is {assignedAt, id, sealed};
 *   the agent's own stream opens it. Others, and those from before, are stored as they are.
 *
 * Both are bound to the tenant and to the run or the task: moved elsewhere they do not open. */
#ifndef SERVER_ENGINE_SEAL_H
#define SERVER_ENGINE_SEAL_H

#include "server/engine/run.h"
#include "server/store/key.h"

struct keyring;
struct worker;

/* Out of complete inputs: what the origin is to have, and the sealed text (STR_NONE: there is nothing secret in them).
 * False: no memory. */
bool seal_inputs(struct arena *a, const struct keyring *k, const struct run_origin *origin, const struct template *t,
                 const struct json **shown, struct str *sealed);
/* Gives the run its true inputs. False: they cannot be opened with this ring (logged), or no memory. */
bool seal_open_inputs(struct run *r, const struct keyring *k, struct str sealed);

/* The envelope as it is stored. STR_NONE: no memory. */
struct str seal_task(struct arena *a, const struct keyring *k, struct str tenant, struct str task, struct str envelope);
/* Appends the envelope of what is stored of a task; when it cannot be opened (logged), what is stored. */
void seal_open_task(const struct keyring *k, struct str tenant, struct str stored, struct buf *out);
/* The same for an event of an agent's channel: struct feed_spec's `open`. */
void seal_open_event(struct worker *w, struct str tenant, struct str event, struct buf *out);

#endif

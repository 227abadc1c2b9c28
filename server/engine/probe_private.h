/* What the two sides of a probe share: the run (probe_kind.c) and the request that waits for it (probe.c). */
#ifndef SERVER_ENGINE_PROBE_PRIVATE_H
#define SERVER_ENGINE_PROBE_PRIVATE_H

#include "server/engine/kind.h"
#include "server/engine/probe.h"

#define PROBE_KIND      "probe"
#define PROBE_LAST      "probe_completed"
#define PROBE_NO_AGENT  "no_agent"
#define PROBE_CANCELLED "cancelled"

enum { PROBE_LATE_MS = 500 }; /* from the end of the task's time to giving up on its result */

/* The task type of this name, static; a type nobody knows is that of no agent. */
const char *probe_type(struct str name);

#endif

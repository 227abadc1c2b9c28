/* The agent at work: registered, connected, looking after its tasks, until it is told to stop.
 *
 *   register (once, with a one-time token)  ->  connect  ->  synced: say what is unsaid  ->  heartbeats, tasks
 *        ^ again, with back-off and jitter: 0.5 s to 30 s        |
 *        `--------------------------------------- lost, refused, drained
 *
 * It only ever connects out. The server going away changes nothing for running tasks: their lines wait in their spools.
 * A refused token is renewed; a refused renewal means that the agent was revoked or deleted: it cancels its tasks, waits
 * for their end and leaves with AGENT_REVOKED. SIGTERM and SIGINT: no new tasks; running ones are waited for as long as
 * `drain_ms` says, then left to their parents, where the next start of an agent on this folder finds them. A second
 * signal leaves at once. Leaving, it says so: the server counts it as offline from then on. */
#ifndef SERVER_AGENT_AGENT_H
#define SERVER_AGENT_AGENT_H

#include "proto/client.h"
#include "server/agent/identity.h"
#include "server/agent/tasks.h"

enum agent_exit {
    AGENT_LEFT = 0,   /* told to */
    AGENT_FAILED = 1, /* the data folder cannot be used, or is in use */
    AGENT_USAGE = 2,
    AGENT_REVOKED = 3 /* registration refused, revoked or deleted */
};

struct agent_settings { /* borrowed */
    struct client_url url;
    int data;         /* descriptor of the data folder */
    struct str token; /* for registration; STR_NONE: there is an identity already */
    struct identity_facts facts;
    struct tasks_settings tasks;
    int64_t drain_ms;
    int log_format;
};

enum agent_exit agent_run(const struct agent_settings *settings);

#endif

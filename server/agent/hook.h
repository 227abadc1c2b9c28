/* A command that a task runs for somebody: a deployment's hook, a health check's. Blocks until it has ended.
 *
 * It is the leader of a process group of its own, prints to our standard output and error, and dies with us. Its time
 * being over, or TERM for the task, it gets TERM, and KILL after the grace; what is left of its group when it has ended
 * gets TERM, and KILL when the task ends. */
#ifndef SERVER_AGENT_HOOK_H
#define SERVER_AGENT_HOOK_H

#include "server/agent/work.h"

struct hook {
    char **argv, **env;
    const char *folder;
    double timeout_s, grace_s;
};

/* False, and `why` says how it ended: "it ended with exit status 3". */
bool hook_run(struct work *w, const struct hook *h, char *why, size_t room);

#endif

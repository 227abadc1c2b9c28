/* Starting a task's command: the part of the parent that lives in the child. */
#ifndef SERVER_AGENT_COMMAND_H
#define SERVER_AGENT_COMMAND_H

#include "lib/arena.h"
#include "server/agent/protocol.h"

#include <sys/types.h>

struct command {
    char **argv, **env;
    const char *folder; /* where it runs: the work folder, or what the task says, relative to it */
    double grace_s;
};

/* From the task's payload, credentials and the agent's environment, of which only PATH, HOME, USER, LOGNAME, SHELL,
 * LANG, LANGUAGE, LC_*, TZ, TMPDIR are handed on. NULL, or a sentence when the payload is none. Lives in the arena. */
const char *command_read(struct arena *a, const struct task *task, struct command *out);
/* The values to be masked. False: no memory. */
bool command_secrets(struct arena *a, const struct task *task, struct str **out, size_t *n);

struct command_child { /* all descriptors close on exec; `out` and `err` do not block */
    pid_t pid;
    int out, err;
    int go, failed; /* private */
};
/* Forks: a child with a session and process group of its own, which dies with its parent and waits for command_go.
 * `work` is the work folder. 0 or an errno. */
int command_start(const struct command *c, int work, struct command_child *child);
/* Lets it become the command. 0, or the errno of what failed (then `stage` says what: "chdir", "exec"); the child is to
 * be reaped either way. */
int command_go(struct command_child *child, const char **stage);

#endif

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
    /* NULL; or what the child does instead of becoming argv: its return value is its exit status. `system`: a descriptor
     * for lines of the stream "system". */
    int (*inside)(void *arg, int system);
    void *arg;
};

/* From the task's payload, credentials and the agent's environment, of which only PATH, HOME, USER, LOGNAME, SHELL,
 * LANG, LANGUAGE, LC_*, TZ, TMPDIR are handed on. NULL, or a sentence when the payload is none. Lives in the arena. */
const char *command_read(struct arena *a, const struct task *task, struct command *out);
/* The same of a task that the agent does itself; only grace and environment are filled in. */
const char *command_read_inside(struct arena *a, const struct task *task, struct command *out);
/* NULL-terminated: what is handed on, the variables (an object of texts), the credentials, `more` pairs of name and
 * value, and the task's own SLIPWAY_*. NULL: no memory. */
char **command_environment(struct arena *a, const struct task *task, const struct json *variables,
                           const struct str (*more)[2], size_t n);
bool command_variables(
    const struct json *variables); /* NULL, null, or an object of texts whose names can be those of variables */
/* A NULL-terminated copy of an array of texts; NULL when it is none, or empty, or memory ran out. */
char **command_arguments(struct arena *a, const struct json *texts);
/* In a child about to become a command: default dispositions, no signal blocked. */
void command_signals_reset(void);
/* The values to be masked. False: no memory. */
bool command_secrets(struct arena *a, const struct task *task, struct str **out, size_t *n);

struct command_child { /* all descriptors close on exec; `out`, `err` and `system` do not block */
    pid_t pid;
    int out, err;
    int system;     /* -1 of a command that does nothing inside */
    int go, failed; /* private */
};
/* Forks: a child with a session and process group of its own, which dies with its parent and waits for command_go.
 * `work` is the work folder. 0 or an errno. */
int command_start(const struct command *c, int work, struct command_child *child);
/* Lets it become the command. 0, or the errno of what failed (then `stage` says what: "chdir", "exec"); the child is to
 * be reaped either way. */
int command_go(struct command_child *child, const char **stage);

#endif

/* `slipway agent --task DIR`: the tiny parent of one task, and what agent and parent share.
 *
 * Tasks of deploy.h are done by that child itself (work.h), the rest is the same for them.
 *
 * The parent runs in a session of its own and owes nothing to the agent that launched it: it starts the command in the
 * task's work folder as the leader of another session and process group, with a clean environment; masks what it
 * prints; cuts it into lines with times and puts them into the task's spool; enforces the time-out; and writes how it
 * ended. The agent may die and come back meanwhile: it finds the parent by pid and start time in the journal and reads
 * on in the spool. While the spool is full the command's pipes are not read, so the command waits.
 *
 * Ends: time-out and cancel (SIGTERM to the parent, with the journal's `cancel` record or without) send TERM to the
 * command's process group, and KILL after the grace. When the command itself has ended, what is left of its group gets
 * TERM and shortly after KILL; a process that left the group by a session of its own (a daemon) stays. If the parent is
 * killed, the command is killed by the kernel, its group by the agent. */
#ifndef SERVER_AGENT_TASK_H
#define SERVER_AGENT_TASK_H

#include "lib/str.h"

#include <sys/types.h>

struct spool_limits;

enum task_stream { TASK_STDOUT, TASK_STDERR, TASK_SYSTEM };

struct task_line { /* a record of the spool */
    int64_t ms;
    enum task_stream stream;
    struct str text;
};
void task_line_write(struct buf *b, const struct task_line *line); /* replaces what b holds */
bool task_line_read(struct str record, struct task_line *out);
const char *task_stream_name(enum task_stream s);

enum {
    TASK_TAIL = 4096,      /* bytes of standard output kept for the result */
    TASK_LINGER_MS = 2000, /* the rest of the group may live this long behind the command, then KILL */
    TASK_ORDER_MS = 10000, /* a task that the agent does itself has this long to switch back when its hook was killed */
    TASK_BLOCKED_MS = 50   /* how often a full spool is looked at */
};

/* The parent's whole life, for the task folder `path`; `limits` of its spool, NULL: the usual ones. Exit status: 0 the
 * journal says how it ended; 1 it could not even be said, or the task ran before. */
int task_run(const char *path, const struct spool_limits *limits);

/* Starts a parent: program `exe` with "agent --task PATH", detached. 0 and its pid (reap it), or an errno. */
int task_launch(const char *exe, const char *path, pid_t *pid);

#endif

/* What an agent knows of its tasks, on disk: a folder for each, written by the agent and by the task's own parent
 * process, and enough for a restarted agent to go on where a killed one stood.
 *
 *   DIR/tasks/<task id>/
 *     task.json  agent   the envelope; without payload and credentials once the command has ended
 *     lock       parent  held while the parent lives
 *     started    parent  who runs; written before the command may begin, so what has none was never run
 *     cancel     agent   the command is to be stopped; with it goes a SIGTERM to the parent
 *     result     child   what came of a task that the agent does itself (work.h)
 *     exit       parent  how it ended; written once, when all output is in the spool
 *     said       agent   what the server has acknowledged
 *     out/       both    the spool of output lines (server/agent/spool.h)
 *     work/              the command's own folder
 *
 * Finished tasks keep their folder (without out/ and work/) for a day, so that a task that is sent again is answered
 * with its result and not run again. Errors are errno values; 0 is good. */
#ifndef SERVER_AGENT_JOURNAL_H
#define SERVER_AGENT_JOURNAL_H

#include "lib/arena.h"

enum { JOURNAL_KEEP_MS = 24 * 60 * 60 * 1000 };

struct journal {
    int tasks; /* descriptor of DIR/tasks */
};
int journal_open(struct journal *j, int data);
void journal_close(struct journal *j);

/* A folder with this envelope appears whole or not at all; EEXIST when the task is known. */
int journal_add(struct journal *j, struct str id, struct str envelope);
int journal_folder(struct journal *j, struct str id); /* descriptor, or -1 and errno */
/* Calls `each` with the id of every task, in no order, and clears away what a crash left half made. */
void journal_each(struct journal *j, void (*each)(void *arg, struct str id), void *arg);
void journal_remove(struct journal *j, struct str id);

/* The records; `dir` is a task's folder. Reading answers false when there is none or it is damaged; texts live in the
 * arena. */
struct journal_started {
    int64_t parent, pid;
    uint64_t parent_start, pid_start;
    int64_t started_ms;
    bool here; /* read: since then the host was not booted, so the numbers still name these processes */
};
int journal_started_write(int dir, const struct journal_started *s);
bool journal_started_read(int dir, struct arena *a, struct journal_started *out);

struct journal_cancel {
    double grace_s;
    struct str reason;
};
int journal_cancel_write(int dir, const struct journal_cancel *c);
bool journal_cancel_read(int dir, struct arena *a, struct journal_cancel *out);

struct journal_exit {
    const char *cause; /* NULL: success; else one of the errorTypes of protocol.h */
    struct str message;
    int64_t exit_code; /* -1: none */
    int64_t signal;    /* 0: none */
    int64_t started_ms, finished_ms;
    int64_t lines; /* records in the spool */
    struct str tail;
    bool retriable; /* of a failure */
    struct str
        outputs; /* JSON object of a task that the agent did itself, instead of exit code and tail; or STR_NONE */
};
int journal_exit_write(int dir, const struct journal_exit *e);
bool journal_exit_read(int dir, struct arena *a, struct journal_exit *out);

struct journal_result {
    bool success, retriable;
    const char *cause; /* as above; NULL with a success */
    struct str message;
    struct str outputs; /* JSON object */
};
int journal_result_write(int dir, const struct journal_result *r);
bool journal_result_read(int dir, struct arena *a, struct journal_result *out);

struct journal_said {
    bool accepted, started, completed;
    int64_t completed_ms;
};
int journal_said_write(int dir, const struct journal_said *s);
bool journal_said_read(int dir, struct arena *a, struct journal_said *out);

int journal_envelope(int dir, struct buf *out);
/* The command ended: its secrets go from the disk. */
int journal_strip(int dir);
/* The server knows everything: output and work folder go. */
void journal_settle(int dir);

/* The parent's lock. journal_lock keeps it until the process ends; EAGAIN when another one lives. */
int journal_lock(int dir);
bool journal_locked(int dir);

#endif

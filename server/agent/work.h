/* What the agent does itself: the tasks of deploy.h, in the child of a task's parent (server/agent/task.h).
 *
 * The child is one thread that blocks. What it says goes to the task's log as lines of the stream "system", what its
 * hooks and commands print as "stdout" and "stderr"; how it ended goes to the task's folder as `result`. SIGTERM is
 * blocked and looked for: work_stopped. The child may be killed at any time. */
#ifndef SERVER_AGENT_WORK_H
#define SERVER_AGENT_WORK_H

#include "server/agent/protocol.h"

struct journal_result;

enum { WORK_MESSAGE = 512, WORK_PATIENCE_MS = 30000 };

struct work {
    const struct task *task;
    struct arena *arena;
    int dir;             /* the task's folder */
    int system;          /* descriptor for lines; -1: nobody listens */
    int64_t patience_ms; /* for the agent's own server to be back */
    bool stopped;
    const char *cause; /* of a failure */
    bool retriable;
    char message[WORK_MESSAGE];
    struct buf outputs; /* JSON object; empty: {} */
};

bool work_knows(struct str type); /* a type that is done here */
/* The whole task: SIGTERM, the work, its result in the folder. Exit status: 0 there is a result. */
int work_run(const struct task *task, struct arena *a, int dir, int system);
/* The same without process or folder around it: false and cause, message, retriable; fills `outputs`. */
bool work_do(struct work *w);
/* For the parent of one that was killed: takes back what it left half done. False: there was nothing to do, or it could
 * not be done. `text` says what was done, or why not; "" when there is nothing to say. */
bool work_undo(const struct task *task, struct arena *a, char text[WORK_MESSAGE]);

/* For the tasks' own files. */
void work_say(struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void work_progress(struct work *w, int percent, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Notes the first failure, whether another attempt may help following from the cause; always false. */
bool work_fail(struct work *w, const char *cause, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void work_forgive(struct work *w);           /* takes the noted failure back: it is tried again */
bool work_stopped(struct work *w);           /* TERM has come */
void work_sleep(struct work *w, int64_t ms); /* or until TERM comes */
bool work_stopped_fail(struct work *w);      /* work_stopped, and noted as the cause */
const char *work_settings_read(struct work *w, const struct json **out); /* deploy.json; a sentence or NULL */

/* One for each type. */
bool deploy_run(struct work *w);
bool deploy_undo(const struct task *task, struct arena *a, char text[WORK_MESSAGE]);
bool check_run(struct work *w);
bool sticker_write(struct work *w);
bool sticker_read(struct work *w);

#endif

/* What an agent and a server say to each other: one table for both sides.
 *
 * Messages are JSON objects with a `type`, on the WebSocket of /agents/{id}/task-stream. The server's carry `seq` and
 * `timestamp` when they are events of the agent's channel; the agent's carry `id`, and are answered by `ack {ref}` once
 * what they say is committed. Whatever has no ack is said again after a reconnect, so the server sees each at least
 * once and tells repetitions by (taskId, state) and, for lines, by (taskId, number).
 *
 *   S>A  ready, task_assigned {task}, task_cancel {taskId, reason, graceSeconds}, config_update {config}
 *        ack {ref}
 *        nack {ref, next}     not stored: the store is short, or line `next` is the first one missing. The agent waits
 *                             PROTOCOL_NACK_MS and goes on behind what is acknowledged
 *   A>S  task_accepted {taskId}                                       it is in the journal, a kill -9 does not lose it
 *        task_refused {taskId, reason}                                reason: a row of PROTOCOL_REFUSALS
 *        task_started {taskId, startedAt, pid}
 *        task_progress {taskId, progress, message}
 *        task_log {taskId, seq, lines: [{timestamp, level, stream, line}]}    seq: number of the first line, from 1;
 *                              skip: true when the lines before it are gone for good
 *        task_completed {taskId, success, startedAt, completedAt, lines, outputs, error, errorType, retriable}
 *        heartbeat {version, resourceUsage, runningTaskIds}           not acknowledged
 *                              status: offline: the last one. The agent counts as offline at once, and tasks of its that
 *                              it does not name go to others
 *
 * For one task the agent sends accepted, started, lines in order, completed; each kind only once everything before it
 * has its ack. A task's id is "<run>:<node>:<attempt>", so it names its place without a table. */
#ifndef SERVER_AGENT_PROTOCOL_H
#define SERVER_AGENT_PROTOCOL_H

#include "lib/json.h"

enum {
    PROTOCOL_VERSION = 1,          /* sent at registration as protocol {min, max} */
    PROTOCOL_MESSAGE = 192 * 1024, /* bytes an agent's message may have; the stream takes 256 KiB */
    PROTOCOL_LINES = 100,          /* lines in one task_log */
    PROTOCOL_LINE = 16 * 1024,     /* bytes of one line; longer ones are split */
    PROTOCOL_BATCH_MS = 50,        /* a line waits at most this long for company */
    PROTOCOL_WINDOW = 1000,        /* lines of a task under way without an ack */
    PROTOCOL_NACK_MS = 1000,
    PROTOCOL_HEARTBEAT_S = 30,
    PROTOCOL_GRACE_S = 30,         /* from TERM to KILL, unless the task says otherwise */
    PROTOCOL_ACCEPT_S = 30,        /* not accepted by then: assigned again */
    PROTOCOL_ID = 160,             /* a task id and its NUL */
    PROTOCOL_NODE = 63,            /* bytes of a node's id */
    PROTOCOL_SECRET_MIN = 4,       /* shorter secrets would mask half of every line and are not masked */
    PROTOCOL_TASK_MAX = 240 * 1024 /* bytes of an envelope */
};

enum protocol_refusal { PROTOCOL_BUSY, PROTOCOL_CAPABILITY, PROTOCOL_EXPIRED, PROTOCOL_INVALID, PROTOCOL_REFUSALS };
extern const char *const protocol_refusals[PROTOCOL_REFUSALS]; /* "busy", "capability_missing", "expired", "invalid" */

/* errorType of a result. */
#define PROTOCOL_EXIT      "exit_code"    /* the command ended with another status than 0 */
#define PROTOCOL_SIGNAL    "signal"       /* it was ended by a signal that nobody here sent */
#define PROTOCOL_TIMEOUT   "timeout"      /* its own time was over */
#define PROTOCOL_CANCELLED "cancelled"    /* by task_cancel */
#define PROTOCOL_LOST      "agent_lost"   /* the host went down under it, or its parent was killed */
#define PROTOCOL_START     "start_failed" /* no such command, no such folder, no more processes */
/* Those of the tasks in deploy.h. */
#define PROTOCOL_PAYLOAD     "invalid_payload"
#define PROTOCOL_DIGEST      "digest_mismatch"
#define PROTOCOL_DOWNLOAD    "download_failed"
#define PROTOCOL_GUARD       "download_refused"
#define PROTOCOL_TOO_LARGE   "artifact_too_large"
#define PROTOCOL_UNPACK      "unpack_failed"
#define PROTOCOL_HOOK        "hook_failed"
#define PROTOCOL_TARGET_BUSY "target_busy"
#define PROTOCOL_TARGET      "target_unusable"
#define PROTOCOL_UNHEALTHY   "unhealthy"

struct protocol_cause {
    const char *name;
    bool retriable; /* another attempt may end better, unless the result says otherwise */
};
const struct protocol_cause *protocol_cause(struct str name); /* NULL: none of the above */

/* The envelope of a task (spec §4.4). Texts and trees are borrowed from where it was read. */
struct task {
    struct str id, type, idempotency_key, priority, target_id;
    double timeout_s;                /* of the command alone; 0: none */
    int64_t assigned_ms, expires_ms; /* expires: not started by then, it is refused; 0: never */
    /* execute-command: {command: [argv…] or "text for /bin/sh -c", env: {name: value}, graceSeconds} */
    const struct json *payload;
    /* {name: value}: added to the environment where the name can be one; every value is masked in what is sent. */
    const struct json *credentials;
};
#define PROTOCOL_EXECUTE "execute-command"

/* The capability that tasks of a type need; NULL: there is no such type here. */
const char *protocol_capability(struct str type);

/* False and a sentence when a member is missing or of the wrong kind. */
bool task_read(const struct json *j, struct task *out, const char **fault);
void task_write(struct json_out *o, const struct task *t);

/* "<run>:<node>:<attempt>" */
struct task_place {
    struct str run, node;
    int64_t attempt;
};
bool task_place(struct str id, struct task_place *out); /* strict: a UUID, a node's id, 1..999 */
void task_place_write(struct buf *b, const struct task_place *place);

#endif

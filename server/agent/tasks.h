/* All tasks of an agent: taken on, launched, watched, reported, and remembered for a day.
 *
 * Nothing here is lost with the process. What a task is comes from its folder (server/agent/journal.h); what is to be
 * said of it follows from its state and from what the server has acknowledged, so after a restart or a new connection
 * the right things are said again without a queue of messages:
 *
 *   NEW    accepted; its parent is being started
 *   RUNS   started, lines as they come
 *   ENDED  the rest of the lines; completed, once all of them are acknowledged
 *   DONE   the server knows everything; kept to recognise the task if it is sent again
 *
 * Synchronous and without a loop: the owner calls tasks_tick every PROTOCOL_BATCH_MS while it answers true. */
#ifndef SERVER_AGENT_TASKS_H
#define SERVER_AGENT_TASKS_H

#include "lib/json.h"
#include "lib/list.h"
#include "server/agent/journal.h"
#include "server/agent/protocol.h"

struct tasks_settings { /* borrowed for the life of the tasks */
    const char *path;   /* of the data folder */
    const char *exe;    /* what `--task` is run with */
    const char *const *capabilities;
    size_t capability_count;
    size_t most; /* tasks at once */
};

/* Sends one message; false: the connection takes no more now, tasks_tick tries again. */
typedef bool tasks_send(void *arg, struct str message);

struct tasks {
    const struct tasks_settings *settings;
    struct journal journal;
    struct list list; /* of struct held, oldest first */
    size_t running;   /* not DONE */
    bool draining;    /* private from here */
    tasks_send *send; /* NULL: no connection */
    void *arg;
    struct buf message;
    uint64_t refusals; /* numbers their messages */
    struct unsaid {
        char id[PROTOCOL_ID];
        enum protocol_refusal why;
    } unsaid[8]; /* refusals of what was told before tasks_link; the server asks again for what is beyond, in a while */
    size_t unsaid_count;
};

/* Reads the journal and goes on with what it says. 0, or an errno. `data`: the data folder. */
int tasks_open(struct tasks *t, const struct tasks_settings *settings, int data);
void tasks_close(struct tasks *t); /* the tasks themselves live on */

/* A connection is there and everything without an acknowledgement is said on it; or (NULL) it is gone. */
void tasks_link(struct tasks *t, tasks_send *send, void *arg);
/* From the server. `now_ms`: its clock. */
void tasks_assign(struct tasks *t, const struct json *task, int64_t now_ms);
void tasks_cancel(struct tasks *t, struct str id, struct str reason, double grace_s);
void tasks_cancel_all(struct tasks *t, struct str reason);
void tasks_ack(struct tasks *t, struct str ref);
void tasks_nack(struct tasks *t, struct str ref, int64_t next);
/* New tasks are refused as busy. */
void tasks_drain(struct tasks *t);

/* Looks after everything; true: there is something that needs to be looked after again. */
bool tasks_tick(struct tasks *t);
/* True when every command has ended; what they did may still have to be reported. */
bool tasks_idle(const struct tasks *t);
void tasks_write_ids(const struct tasks *t, struct json_out *o); /* array of the ids of those not DONE */

#endif

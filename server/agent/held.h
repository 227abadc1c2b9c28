/* One task of an agent, as tasks.c keeps it and report.c speaks of it. Private to them. */
#ifndef SERVER_AGENT_HELD_H
#define SERVER_AGENT_HELD_H

#include "server/agent/protocol.h"
#include "server/agent/spool.h"
#include "server/agent/tasks.h"

#include <sys/types.h>

enum held_state { HELD_NEW, HELD_RUNS, HELD_ENDED, HELD_DONE };

struct held {
    struct list link;
    char id[PROTOCOL_ID];
    char key[256]; /* idempotency key */
    enum held_state state;
    int dir;                  /* -1 when DONE */
    struct arena arena;       /* texts of `exit` */
    struct journal_said said; /* acknowledged */
    struct {
        bool accepted, started, completed;
    } sent; /* on this connection */
    struct journal_started started;
    struct journal_exit exit;
    bool cancelling; /* there is a cancel record */
    pid_t child;     /* the parent we launched and have not reaped; 0: none */
    unsigned launches;
    int64_t looked; /* monotonic ms of the last look at whether the parent lives */
    struct spool_reader out;
    bool reading;     /* `out` is open */
    bool skip;        /* the next lines go with `skip` */
    bool dry;         /* the spool has nothing more */
    int64_t wait;     /* monotonic ms until which no lines are sent */
    uint64_t sent_to; /* last line sent on this connection */
};

/* Sends what is to be said of the task and can be said now. False: the connection takes no more. */
bool report(struct tasks *t, struct held *h);
/* What comes back. True: `h` has become DONE in the eyes of the server. */
bool report_ack(struct held *h, struct str what);
void report_nack(struct held *h, struct str what, int64_t next);
void report_forget_sent(struct held *h); /* a new connection */
bool report_refusal(struct tasks *t, struct str id, enum protocol_refusal why);

#endif

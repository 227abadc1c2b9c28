/* Everything between a run and the people who watch it, in one deterministic process: the run engine, the hub
 * (server/hub*.c), the server's side of the agents' protocol (server/task_stream.c) and the agent's (server/agent/tasks.c
 * and report.c) are the real ones; the clock, the network, the store, the agents' disks and processes are here.
 *
 * Two instances, two agents, watchers of the run's channel. What happens next is drawn among all that could: a command
 * reaches the store, an answer or a hint an instance, a message the other end, a task prints a line. Bad luck:
 * instances, agents and tasks that die, links that break with messages under way, store answers that are errors,
 * sometimes of what was done, hints that are lost, commits that are, drains that have lost their lease, clocks that
 * jump, data replaced by an older copy of itself (a failover, a restored backup). Half of the runs are workflows, the
 * others deployment jobs. Then luck turns, and everything must come to its end:
 *
 *   - a watcher is handed every event once and in order, or is told to start over; of other data than it began with it
 *     is told nothing but that;
 *   - each attempt that an agent had comes to one end, every step succeeds or fails as its tasks did, the run ends;
 *   - no agent begins a task twice;
 *   - the lines of a task are in the log once, in order, and all of them when its result counted (but for one that had
 *     been told to leave the task to another agent: its lines may be dropped, its success counts);
 *   - agents and store are left with no open task, and an agent forgets a task only when its run knows the result;
 *   - a job's batches do not overlap, whoever deployed also checks and takes back, and what it rolled back it took back
 *     everywhere.
 *
 * Data that was replaced has forgotten what was said since the copy was made: then lines may be missing from a log, in
 * order all the same, and tasks unknown that an agent has done. */
#ifndef TEST_WHOLE_WHOLE_H
#define TEST_WHOLE_WHOLE_H

#include "lib/op.h"
#include "server/engine/run.h"
#include "server/hub.h"
#include "server/request.h"
#include "server/store/append.h"
#include "server/worker.h"
#include "test/lib/dice.h"

enum {
    WHOLE_SERVERS = 2,
    WHOLE_AGENTS = 2,
    WHOLE_WATCHERS = 3,
    WHOLE_CHANNELS = 1 + WHOLE_AGENTS, /* the run's, then the agents' */
    WHOLE_LOGS = 256,
    WHOLE_TASKS = 48, /* an agent ever hears of */
    WHOLE_LINES = 12, /* of a task, at most */
    WHOLE_OPS = 512,
    WHOLE_MESSAGES = 256, /* under way on one link */
    WHOLE_LINKS = 4,      /* of an agent: one that it uses, others that the servers still believe in */
    WHOLE_ENTRIES = 4096,
    WHOLE_TURNS = 1500, /* with bad luck */
    WHOLE_REST = 60000  /* turns after which everything must have come to its end */
};

#define WHOLE_TENANT "0190a0b0-0000-7000-8000-000000000002"
#define WHOLE_RUN    "0190a0b0-0000-7000-8000-000000000001"

enum whole_bug {
    WHOLE_NO_BUG,
    WHOLE_HINT_TRUSTED,   /* an instance takes a hint behind a hole for the next one */
    WHOLE_ACK_EARLY,      /* a message is acknowledged before it is stored */
    WHOLE_SAID_AGAIN,     /* the store takes lines twice */
    WHOLE_TASK_FORGOTTEN, /* an agent that restarts has forgotten a task */
    WHOLE_EPOCH_UNSEEN,   /* an instance does not see that the data was replaced */
    WHOLE_NOT_FENCED,     /* a drain commits what it made of data that have moved on */
    WHOLE_WISH_IGNORED,   /* any agent is asked for any task of a job */
    WHOLE_BUGS
};

struct whole_open { /* a task that an agent has to do; an empty id: none */
    char id[160];
    struct str text;
};

struct whole_channel {
    const char *name;
    int64_t seq;
    size_t n, trimmed; /* of these, the first so many can be read no more */
    struct whole_entry {
        int64_t first, last, epoch; /* in which it was written */
        struct str text;
    } * entries;
};

/* A copy of the data, to go back to, and what was lost that way. */
struct whole_copy {
    bool there;
    int64_t seq[WHOLE_CHANNELS];
    size_t n[WHOLE_CHANNELS], trimmed[WHOLE_CHANNELS];
    struct whole_open open[WHOLE_AGENTS][WHOLE_TASKS];
    struct whole_log *logs;
    size_t n_logs;
    struct str header, *steps, inbox[WHOLE_OPS];
    size_t n_inbox;
    int64_t timer;
    bool online[WHOLE_AGENTS];
    struct whole_entry *lost; /* events of the run's channel that are in no data any more */
    size_t n_lost;
};

struct whole_op { /* a command to the store: done at one time, answered at another */
    struct op op;
    struct arena arena; /* of the answer */
    struct whole_op *next;
    int server;
    enum { OP_BEHIND, OP_CHECK, OP_IS_OPEN, OP_TASK, OP_LINES, OP_ENTRY } kind;
    bool done, failed, entered; /* entered: OP_ENTRY is in the inbox, and answered once it is consumed */
    uint64_t entry;
    int channel;
    int64_t behind;
    struct str task;
    int agent;
    struct append lines;
    struct run_event event;
    struct redis_value *reply;
    struct appended appended;
    void *then; /* store_then, append_then or drain_then, by kind */
    void *arg;
};

struct whole_server {
    int index;
    bool up;
    struct worker worker;
    struct hub *hub;
    void (*flush)(void *arg), (*tick)(void *arg);
    void *flush_arg, *tick_arg;
    const struct redis_events *events; /* of its subscription */
    void *subscriber;
    bool subscribed[WHOLE_CHANNELS], asked[WHOLE_CHANNELS];
    bool cut;                       /* its links to the store were, and it has not noticed that of its subscriptions */
    struct whole_op *first, **last; /* commands in the order given */
    struct str hints[WHOLE_MESSAGES];
    int hint_of[WHOLE_MESSAGES];
    size_t n_hints;
};

struct feed { /* of an agent; server/feed.h for its users */
    struct follower follower;
    struct whole_server *server;
    struct ops ops;
    struct caller caller;
    void *data;
    int agent;
    int64_t since;
    bool used; /* the server believes in it */
    bool up;   /* and so does the agent */
    bool paused, greeted, greet_more, closed;
    struct str to_server[WHOLE_MESSAGES], to_agent[WHOLE_MESSAGES];
    size_t n_to_server, n_to_agent;
};

struct whole_process { /* what an agent's disk and the kernel know of a task */
    char id[160];
    bool there, started, exited, cancel, result, lost;
    unsigned starting; /* parents that were launched and have not come to the lock */
    bool runs;         /* one that has it */
    bool told_to_stop;
    unsigned begun; /* how often its command was */
    uint64_t lines, acked;
    bool said_accepted, said_started, said_completed;
    int64_t completed_ms;
    bool success;
    char cause[32];
    struct str envelope;
};

struct whole_agent {
    int index;
    bool up;
    struct tasks *tasks;
    struct feed links[WHOLE_LINKS];
    struct feed *link; /* NULL: none */
    struct whole_process disk[WHOLE_TASKS];
    int64_t mono_ms;
};

struct whole_watcher {
    struct follower follower;
    struct whole_server *server; /* NULL: it looks for one */
    int64_t seq, epoch;          /* of the data it follows */
    bool full, reset;
    uint64_t resets;
};

struct whole_log {    /* of an attempt of a step */
    int64_t next;     /* of the log */
    int64_t expected; /* of the task that numbers */
    bool complete;
    unsigned agents; /* bits: those that the task was given to */
    char task[160];
};

struct whole_coverage {
    uint64_t plays, turns, events, frames, handed, resets, messages, lines, tasks, ended[RUN_STATUSES], faults;
    uint64_t server_kills, agent_kills, task_kills, cuts, store_errors, answers_lost, hints_lost, commits_lost, jumps,
        trims, replaced, fenced, jobs, rolled_back;
};

struct whole {
    struct arena arena;
    struct dice dice;
    enum whole_bug bug;
    bool calm; /* luck has turned */
    struct whole_coverage *coverage;
    int64_t now;

    /* the store */
    int64_t epoch;
    uint64_t commits; /* the fence: whoever read the run before another's commit has lost its lease */
    struct whole_copy copy;
    struct whole_channel channels[WHOLE_CHANNELS];
    struct whole_open open[WHOLE_AGENTS][WHOLE_TASKS];
    struct whole_log *logs;
    size_t n_logs;
    const struct template *t;
    struct run_origin origin;
    struct str header, *steps, definition;
    struct str inbox[WHOLE_OPS];
    size_t n_inbox;
    uint64_t appended, consumed;
    int64_t timer;
    bool online[WHOLE_AGENTS];

    struct whole_server servers[WHOLE_SERVERS];
    struct whole_agent agents[WHOLE_AGENTS];
    struct whole_watcher watchers[WHOLE_WATCHERS];
    struct arena scratch, held; /* held: of a drain that takes long */
    char fault[300];
};

/* The one that is played in this thread. */
extern _Thread_local struct whole *world;

bool whole_play(struct whole *w, uint64_t seed, enum whole_bug bug, struct whole_coverage *coverage);
void whole_init(struct whole *w);
void whole_fini(struct whole *w);

/* --- shared by its files --- */

void whole_fault(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* While luck is bad: true in so many of a thousand cases, and counted. */
bool whole_unlucky(unsigned permille, uint64_t *count);

/* whole_template.c */
void whole_make_template(void);
void whole_make_plan(void); /* of a job */
struct str whole_agent_id(int agent);

/* whole_data.c */
void whole_data_copy(void);
void whole_data_replace(void);                                      /* by the copy; no-op when there is none */
bool whole_data_lost(int64_t seq, struct str event, int64_t epoch); /* it was in the data of that epoch */

/* whole_drain.c */
struct run *whole_load(struct arena *a);
bool whole_drain(void);
bool whole_drain_late(void); /* one that took long comes to its commit */
void whole_drain_forget(void);

/* whole_store.c */
struct whole_frames { /* events that become one entry of a channel */
    struct buf b;
    struct whole_channel *channel;
    int64_t first;
};
void whole_frames_begin(struct whole_frames *f, int channel);
void whole_frames_add(struct whole_frames *f, struct str rest); /* without its opening brace, seq and timestamp */
void whole_frames_end(struct whole_frames *f);
struct whole_open *whole_open_task(int agent, struct str task, bool make); /* NULL: there is none */
struct whole_log *whole_log_get(struct str task);
void whole_store_begin(void);
struct whole_op *whole_op_new(struct whole_server *s, int kind, struct ops *asker, void *then, void *arg);
bool whole_store_step(struct whole_server *s);   /* does the next command */
bool whole_store_answer(struct whole_server *s); /* and answers one that is done */
void whole_store_drop(struct whole_server *s); /* the instance is gone: what it sent is done, or not, and unanswered */
void whole_enter(const struct run_event *e);
bool whole_is_open(int agent, struct str task);
int whole_agent_index(struct str id);
int whole_channel_of(struct str key);
const struct whole_log *whole_log_of(struct str task);

/* whole_hub.c */
bool whole_server_start(struct whole_server *s);
void whole_server_stop(struct whole_server *s);
void whole_server_turn(struct whole_server *s);
bool whole_server_subscription(struct whole_server *s); /* one that was asked for comes into force */
bool whole_server_hint(struct whole_server *s);
void whole_server_tick(struct whole_server *s);
void whole_server_cut(struct whole_server *s); /* off the store: what it asked fails, what it subscribed to is over */

/* whole_stream.c */
void whole_feed_open(struct feed *f);
void whole_feed_close(struct feed *f); /* at the server */
void whole_feed_take(struct feed *f);  /* the next message of the agent */
/* Has room: says more of its greeting, or what comes behind it. */
bool whole_feed_goes_on(struct feed *f);

/* whole_agent.c */
bool whole_agent_start(struct whole_agent *a);
void whole_agent_stop(struct whole_agent *a);
void whole_agent_tick(struct whole_agent *a);
void whole_agent_linked(struct whole_agent *a);
void whole_agent_unlinked(struct whole_agent *a);
void whole_agent_take(struct whole_agent *a, struct str message);
void whole_agent_beat(struct whole_agent *a);
bool whole_agent_idle(const struct whole_agent *a);
/* A process of one of its tasks does something. */
bool whole_process_step(struct whole_agent *a);
bool whole_process_kill(struct whole_agent *a);

/* whole_check.c */
void whole_check_end(void);
bool whole_watch(struct whole_watcher *v);

#endif

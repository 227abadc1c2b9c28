/* A run as a value, and the one pure function that moves it: run_transition(run, event, now) -> run', effects.
 *
 * No I/O, no clock, no randomness: the same run, event and time give the same result, so it can be simulated by the
 * million and re-run after a crash. Whatever has to happen outside leaves as an effect; whoever commits the changed run
 * carries the effects out in the same commit (server/engine/drain.h). Delivery is at least once: every event may come
 * doubled, late or for something unknown, and then changes nothing.
 *
 *   run:   pending --> running <--> paused          step:  pending --> ready --> running --> succeeded
 *             |       ^|  |           |                     |  |         |        |  ^  |       failed
 *             |  waiting  |           |                     |  `-> waiting|       |  |  `---->  timed_out
 *             v           v           v                     v       |     v       v  |          cancelled
 *             `--> cancelling --> cancelled                skipped  `-------> retrying
 *             running --> succeeded | failed
 *
 * How joins, failures and skips combine:
 * - An edge is live when its source ended the way `on` wants and its condition holds; `success` is met by succeeded and
 * by a failure that onFailure `continue` lets pass; `failure` by failed and timed_out; `always` by both. Anything else
 *   (source skipped, on not met, condition false) makes it dead.
 * - join `all`: waits until every incoming edge is settled, then starts if one is live; `any`: starts with the first
 * live one. With every edge dead the node is skipped. Under `all` one edge poisoned by an uncaught failure upstream
 * skips the node as well: what needs a failed step does not run because another branch was fine.
 * - A failure is caught by onFailure `continue`, by `goto:<node>` (the target starts at once) and by a live `failure`
 *   edge; the run may still succeed. A live `always` edge lets the run go on but it fails in the end. Any other failure
 *   is the template's affair: fail-fast, continue, or rollback.
 * - onFailure `pause` pauses the run; resuming gives the node another attempt.
 * - Stopping (fail-fast, rollback, run time-out): nothing new starts, running steps end, waiting ones are cancelled,
 *   retries are given up. Then rollback runs the compensating nodes, one at a time in reverse order of completion; then
 *   come the `finally` nodes, whatever happened; then the run ends.
 *
 * That is a workflow run. What is run may also be a deployment job or a probe (server/engine/kind.h): the same events,
 * attempts, agents, time-outs and pauses, another schedule, other documents and frames.
 *
 * A step BY_JOB is carried out by another run, a job: an instance makes it (EFFECT_WORK) and says so
 * (EVENT_JOB_STARTED); the job tells its end (EVENT_WORK_COMPLETED). Cancel, time-out and resuming are told to the job
 * (EFFECT_TELL). Each attempt has a job of its own.
 *
 * Times are Unix milliseconds of the store's clock; 0 means none. Strings live in the run's arena. */
#ifndef SERVER_ENGINE_RUN_H
#define SERVER_ENGINE_RUN_H

#include "server/engine/template.h"

enum {
    RUN_ACCEPT_MS = 30000,       /* an assignment not accepted by then is made again */
    RUN_GRACE_MS = 30000,        /* from the cancel signal to giving up on the step */
    RUN_JOB_GRACE_MS = 60000,    /* the same of a step that a job carries out, whose own tasks have the grace above */
    RUN_EXPIRY_MS = 60000,       /* a task expires this long after its time-out: accept + grace */
    RUN_CHOOSE_AGAIN_MS = 30000, /* no agent was eligible: ask again (an offer comes earlier) */
    RUN_ATTEMPTS_KEPT = 50,      /* of a step's history */
    RUN_REFUSALS_KEPT = 8,
    RUN_ASKED_KEPT = 16,         /* agents of an attempt that may still take it over */
    RUN_OUTPUTS_MAX = 64 * 1024, /* bytes of one step's outputs */
    RUN_TEXT_MAX = 2048          /* bytes of a message or reason; longer ones are cut */
};

enum run_status {
    RUN_PENDING,
    RUN_RUNNING,
    RUN_WAITING, /* only timers and retries are left to wait for */
    RUN_PAUSED,
    RUN_CANCELLING,
    RUN_SUCCEEDED,
    RUN_FAILED,
    RUN_CANCELLED,
    RUN_STATUSES
};
enum step_status {
    STEP_PENDING,
    STEP_READY, /* an agent is to take it */
    STEP_RUNNING,
    STEP_WAITING,  /* a timer */
    STEP_RETRYING, /* between two attempts */
    STEP_SUCCEEDED,
    STEP_FAILED,
    STEP_TIMED_OUT,
    STEP_CANCELLED,
    STEP_SKIPPED,
    STEP_STATUSES
};
const char *run_status_name(enum run_status s);
const char *step_status_name(enum step_status s);
bool run_status_ended(enum run_status s);
bool step_status_ended(enum step_status s);

/* --- events --- */

enum run_event_type {
    EVENT_START,            /* the run was created */
    EVENT_PAUSE,            /* by, reason; node, attempt: only while that attempt of the step runs */
    EVENT_RESUME,           /* by */
    EVENT_CANCEL,           /* by, reason */
    EVENT_TICK,             /* something may be due */
    EVENT_OFFER,            /* an agent may have become eligible */
    EVENT_TASK_ASSIGNED,    /* node, attempt, agent: the answer to EFFECT_CHOOSE */
    EVENT_TASK_UNASSIGNED,  /* node, attempt, message: nobody is eligible */
    EVENT_TASK_ACCEPTED,    /* node, attempt, agent */
    EVENT_TASK_REFUSED,     /* node, attempt, agent, reason */
    EVENT_TASK_STARTED,     /* node, attempt, agent */
    EVENT_TASK_PROGRESS,    /* node, attempt, progress, message */
    EVENT_TASK_COMPLETED,   /* node, attempt, agent, success, outputs or error_type, message, retriable */
    EVENT_TASK_LOST,        /* node, attempt, agent: that agent knows nothing of the task */
    EVENT_AGENT_GONE,       /* agent: revoked or deleted; it will never answer */
    EVENT_WORK_COMPLETED,   /* as EVENT_TASK_COMPLETED, from an instance or a job */
    EVENT_JOB_STARTED,      /* node, attempt, agent: the id of the job that carries the step out */
    EVENT_ROLLBACK_STARTED, /* by: the id of the rollback. Of a run that has ended */
    EVENT_ROLLBACK_ENDED,   /* success */
    EVENT_TYPES
};

struct run_event {
    enum run_event_type type;
    struct str node;
    int64_t attempt;
    struct str agent; /* its id */
    struct str by, reason, message, error_type;
    bool success, retriable;
    int64_t progress;           /* 0..100 */
    const struct json *outputs; /* object, or NULL */
};

const char *run_event_name(enum run_event_type type);
/* An inbox entry: JSON. run_event_read takes what any instance, past or present, may have written. */
void run_event_write(struct buf *b, const struct run_event *e);
bool run_event_read(struct arena *a, struct str entry, struct run_event *out);

/* --- effects --- */

enum effect_type {
    EFFECT_EVENT,     /* text: a frame for the run's channel without its opening brace, seq and timestamp */
    EFFECT_CHOOSE,    /* step: find an agent, then feed EVENT_TASK_ASSIGNED or _UNASSIGNED into the same transition */
    EFFECT_ASSIGN,    /* step, agent, task, text: the task's envelope, to the agent's open tasks and channel */
    EFFECT_CANCEL,    /* agent, task, text: reason; the agent is to stop the task */
    EFFECT_FORGET,    /* agent, task: it is no open task any more */
    EFFECT_WAIT,      /* task: put it among those that wait for an agent */
    EFFECT_WAIT_OVER, /* task */
    EFFECT_WORK,      /* task, at: an instance is to carry the step out */
    EFFECT_WORK_OVER, /* task */
    EFFECT_TIMER,     /* at: the run's next tick; 0: none */
    EFFECT_TELL,      /* kind, run, id, text: an entry for the inbox of another run, which is drained then */
    EFFECT_STATUS,    /* a job has another public status */
    EFFECT_FINISHED   /* the run has ended */
};

struct effect {
    enum effect_type type;
    int step; /* -1: none */
    struct str agent;
    struct str task; /* "<run>:<node>:<attempt>" */
    struct str text;
    int64_t at;
    const char *kind; /* of the other run */
    struct str run;   /* its id */
    struct str id;    /* of the entry: a repetition is dropped */
};

struct effects {
    struct arena *arena;
    struct effect *list;
    size_t n, cap;
    bool failed; /* memory ran out: nothing of the transition may be committed */
};
void effects_init(struct effects *fx, struct arena *a);

/* --- the run --- */

enum run_rollback { ROLLBACK_NONE, ROLLBACK_RUNNING, ROLLBACK_DONE, ROLLBACK_FAILED };
enum run_phase { PHASE_MAIN, PHASE_COMPENSATION, PHASE_FINALLY, PHASE_OVER };

struct step_attempt {
    int64_t attempt;
    enum step_status status;
    int64_t started_ms, finished_ms;
    struct str error_type, message; /* empty: none */
    bool answered;                  /* its result has come; a further one is a repetition */
    struct str late;                /* a result that came too late: succeeded, failed */
};

struct step {
    enum step_status status;
    int64_t attempt;    /* of the present or last attempt; 0 before the first */
    int64_t assignment; /* how often the present attempt was given to an agent */
    bool accepted, waits_agent;
    bool caught, poisoned; /* of an ended step: its failure is dealt with; a failure upstream skipped it */
    bool cancelling;       /* the cancel signal is out */
    bool expired;          /* ... because its time is up */
    bool resume;           /* the run was resumed while the step's job was not known yet: to be told */
    int64_t order;         /* 1, 2, ... in which steps succeeded */
    int64_t first_ms;      /* start of the first attempt */
    int64_t started_ms, finished_ms;
    int64_t due_ms;    /* end of a wait or of a retry's delay; when to ask for an agent again */
    int64_t accept_ms; /* accepted by then */
    int64_t expires_ms;
    int64_t cancel_ms; /* end of the grace */
    int64_t progress;  /* -1: unknown */
    struct str agent;
    struct str job; /* id of the job that carries the present attempt out; STR_NONE: not known yet */
    struct str refused[RUN_REFUSALS_KEPT];
    unsigned n_refused;
    struct str asked[RUN_ASKED_KEPT]; /* agents that the present attempt was assigned to, the latest last */
    unsigned n_asked;
    struct str released[RUN_ASKED_KEPT]; /* of these, agents told to leave it to another: they are not asked again */
    unsigned n_released;
    struct str busy;    /* the last one that refused it as busy: asked again only when no other fits */
    struct str inputs;  /* JSON, secrets masked */
    struct str outputs; /* JSON; STR_NONE: none */
    const struct json *outputs_json;
    struct str error_type, message, reason; /* reason: why skipped, why no agent */
    bool retriable;
    struct step_attempt *attempts;
    unsigned n_attempts, attempts_cap;
    bool dirty;
};

struct run_origin { /* what never changes */
    struct str id, tenant, template_id, template_name;
    int64_t template_version, created_ms;
    struct str triggered_by, trigger; /* trigger: manual promotion api schedule auto */
    const struct json *inputs;        /* complete, with defaults */
    const struct json *context, *labels;
    const struct json *facts; /* what expressions see as context: {release, environment, promotion, run, tenant} */
};

struct run {
    struct arena *arena;
    const struct template *template;
    struct run_origin origin;
    enum run_status status;
    enum run_phase phase;
    bool paused, cancelling, stopping, failed, timed_out;
    int64_t started_ms, finished_ms, paused_ms, deadline_ms, timer_ms;
    int64_t succeeded; /* steps so far: step.order */
    struct str paused_by, pause_reason, cancelled_by, cancel_reason;
    int64_t rollback; /* enum run_rollback: what the run did is undone, by itself or (rolled_back_by) by another */
    struct str rolled_back_by;
    int64_t batch, batch_due_ms;    /* of a job: the present batch, 0 before the first; when the next one begins */
    int64_t told_done, told_status; /* of a job: what was last told about it */
    struct str error_code, error_message, error_node;
    struct str outputs; /* JSON */
    struct step *steps;
    signed char *edges; /* memory of settled edges; not stored */
    bool dirty;
};

/* A run that has not begun. NULL: memory. `origin` and `t` are borrowed. */
struct run *run_new(struct arena *a, const struct template *t, const struct run_origin *origin);
/* What is stored: the origin once, a header, one text per step. A step without text is still pending. False: not ours.
 */
void run_origin_write(struct buf *b, const struct run_origin *origin);
bool run_origin_read(const struct json *j, struct run_origin *out);
void run_header_write(struct buf *b, const struct run *r);
bool run_header_read(struct run *r, struct str text);
void run_step_write(struct buf *b, const struct run *r, int step);
bool run_step_read(struct run *r, int step, struct str text);

/* Applies one event. On fx->failed the run is not to be used any more. `now` never goes back. */
void run_transition(struct run *r, const struct run_event *e, int64_t now, struct effects *fx);

/* What an action would meet: OK to apply, a repetition to be answered as done, or not allowed. */
enum run_action { ACTION_PAUSE, ACTION_RESUME, ACTION_CANCEL, ACTIONS };
enum run_verdict { VERDICT_ALLOWED, VERDICT_DONE, VERDICT_REFUSED };
enum run_verdict run_action_verdict(enum run_status status, enum run_action action);
const char *run_action_name(enum run_action action);

/* The configuration of a step's present attempt, rendered and normalised; redact: masked, for showing. NULL and a
 * sentence when an expression or the result is faulty. */
const struct json *run_step_config(struct arena *a, const struct run *r, int step, bool redact, struct str *why);
/* "<run>:<node>:<attempt>", in the arena. */
struct str run_task_id(struct arena *a, const struct run *r, int step);

/* Public documents of a workflow run, members in RFC 8785 order. */
void run_document_write(struct buf *b, const struct run *r, int64_t revision, int64_t now);
void run_step_document_write(struct buf *b, const struct run *r, int step);

#endif

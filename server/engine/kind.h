/* Kinds of runs. Everything that takes time is a run: moved by run_transition under a fenced lease, drained, swept, kept
 * for a while. A row says what differs.
 *
 * | kind    | its template is       | ids of its nodes                                | public as                    |
 * | ------- | --------------------- | ----------------------------------------------- | ---------------------------- |
 * | `run`   | the workflow's        | begin with a letter                             | a workflow run (spec §6.3)   |
 * | `job`   | made of the job's plan| `<n>-<type>`, n from 1: `12-deploy`             | a deployment job (spec §8)   |
 * | `probe` | of one task           | `0-<type>`: `0-health-check`, `0-read-sticker`  | nothing; it answers a request|
 *
 * The name is the document's kind, the prefix of the channel ("job:<id>"), and the middle of what the partition's lists
 * call it ("<tenant>:job:<id>"). So the id of a task, "<run>:<node>:<attempt>", tells the kind by its node.
 *
 * A new kind: its row, a line in kind.c, and its node ids in run_kind_of_node. */
#ifndef SERVER_ENGINE_KIND_H
#define SERVER_ENGINE_KIND_H

#include "lib/json.h"
#include "server/store/key.h"

struct choose_wish;
struct commit;
struct effects;
struct move;
struct resource;
struct run;
struct run_event;
struct template;
struct worker;

enum run_moment {
    MOMENT_STARTED,
    MOMENT_PAUSED,
    MOMENT_RESUMED,
    MOMENT_CANCELLING,
    MOMENT_COMPLETED,
    MOMENT_ROLLING_BACK, /* r->rollback has changed; also of a run that has ended */
    MOMENT_ROLLED_BACK
};
enum step_moment {
    MOMENT_STEP_ASSIGNED,
    MOMENT_STEP_STARTED,
    MOMENT_STEP_WAITING,
    MOMENT_STEP_PROGRESS,
    MOMENT_STEP_RETRYING,
    MOMENT_STEP_SKIPPED,
    MOMENT_STEP_LOG_END,
    MOMENT_STEP_COMPLETED
};

/* What takes a struct move is part of a transition: pure, and free to use server/engine/run_parts.h. */
struct run_kind {
    const char *name;                /* "run", "job", "probe" */
    const struct resource *resource; /* rows of the public document, for its index; NULL: it has none */
    /* Of what the run's hash has as "def". Lives in the arena; `kind` is set. NULL: damaged, or no memory. */
    const struct template *(*parse)(struct arena *a, const struct json *definition);
    /* After every event: starts, skips, stops and ends steps; sets r->phase, and effect_add EFFECT_FINISHED at the end.
     * r->status and the timer are worked out behind it. */
    void (*schedule)(struct move *m);
    void (*failed)(struct move *m, int step); /* a step's last attempt has failed or timed out */
    void (*resumed)(struct move *m);          /* a pause is over, before the schedule; NULL: nothing to do */
    /* Nobody is eligible: true when it dealt with it. NULL: the step waits for an offer. */
    bool (*unassigned)(struct move *m, int step, struct str why);
    /* Frames for the run's channel (EFFECT_EVENT), or none. */
    void (*frame_run)(struct move *m, enum run_moment what);
    void (*frame_step)(struct move *m, enum step_moment what, int step);
    /* The public document, members in RFC 8785 order. */
    void (*document)(struct buf *b, const struct run *r, int64_t revision, int64_t now);
    /* What run_step_config answers. */
    const struct json *(*config)(struct arena *a, const struct run *r, int step, bool redact, struct str *why);
    /* Of a task: its type (spec §4.4), the object `payload`, and the members of `credentials`: values that the agent
     * masks in all it says (NULL: none). */
    const char *(*task_type)(const struct run *r, int step);
    void (*payload)(struct json_out *o, struct move *m, int step, const struct json *config);
    void (*credentials)(struct json_out *o, struct move *m, int step, const struct json *config);
    /* Which agent it wants, beyond the step type's capability and those that refused it: labels, agent. NULL: any. */
    void (*wish)(struct arena *a, const struct run *r, int step, const struct json *config, struct choose_wish *wish);
    /* What else belongs into the drain's commit. NULL: nothing. */
    void (*write)(struct commit *c, struct arena *a, const struct run *r, const struct effects *fx, int64_t now_ms,
                  bool finished);
    /* Behind the drain's commit: what else may be looked at now. NULL: nothing. */
    void (*committed)(struct worker *w, struct space space, const struct run *r, const struct effects *fx,
                      bool finished);
    /* How a line of a task's log says where it belongs: {"step_log", "nodeId": the node's id} or {"task_log", "taskId":
     * the node's id}. */
    const char *log_frame, *log_member;
    unsigned metric; /* counts those that succeeded, the two behind it those that failed and were cancelled; 0: none */
    const char *audit; /* action noted at its end: "run.completed"; NULL: none */
    int64_t keep_ms;   /* kept so long after its end; 0: the setting run.keep */
};

extern const struct run_kind workflow_kind, job_kind, probe_kind;

/* By name; and by the id of a node (or a whole "<node>:<attempt>"). NULL: there is no such kind. */
const struct run_kind *run_kind_find(struct str name);
const struct run_kind *run_kind_of_node(struct str node);

#endif

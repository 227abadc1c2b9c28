/* A deployment job as a run: its plan is the template, its tasks are the steps, batches are the schedule (spec §8).
 *
 * The plan, `def` of the job's hash, is what job_start.h says. Each of its targets has two or three tasks, and their
 * nodes are named by the target's place in the plan, from 1: `12-deploy`; `12-health-check` when the plan's
 * config.healthCheck has a type other than none; `12-rollback`, which is used, and shown, only when the job rolls back
 * and the target was touched: an agent was given its deployment and did not refuse it. There are no edges.
 *
 *   job:   pending --> running <--> paused                                  task:  pending --> assigned --> running
 *             |        |     |                                                         |  ^       |             |
 *             |        |     `--> rolling_back --> rolled_back | rollback_failed       |  `-------+-- (retry) --'
 *             |        `--> succeeded | failed                                         v          v
 *             `--------`--> cancelling --> cancelled                       skipped, succeeded, failed, timed_out, cancelled
 *             succeeded | failed | cancelled --> rolling_back --> ...  by a rollback's job, told by its events
 *
 * - Targets that the plan skips are skipped at the start and belong to no batch. The others are cut into batches in the
 *   plan's order: all-at-once one; rolling batchSize, or batchPercent of them rounded up. A batch starts when every
 *   target of the one before it is done with, pauseBetweenBatchesSeconds later.
 * - A target is deployed, then its health is checked. At most maxConcurrent tasks are under way (0: no bound); one that
 *   waits for its next attempt or for an agent counts. What goes on with a target comes before new ones.
 * - A task has 3 attempts, while failing is retriable. Then the target has failed. Once more than maxFailures have:
 *   `rollback` starts nothing new, lets run what runs, then sends every touched target back, in reverse order;
 *   `continue` goes on with all others and fails in the end; `pause` pauses, tells the parent's run to pause, and gives
 *   each failed target one more attempt when resumed (without a parent nobody could: it stops and fails).
 * - onUnavailableTarget, when no agent is eligible, busy ones not counted: `wait` until the job's time is over; `skip`
 *   skips a target that is untouched; `fail`, and `skip` otherwise, fail the task after JOB_UNAVAILABLE_MS. The tasks of a
 *   rollback wait for the job's time as well, or JOB_UNAVAILABLE_MS.
 * - The deadline (timeoutSeconds, pauses not counted) and cancel stop what runs. The deadline fails the job with
 *   SYS_TIMEOUT and then rolls back, if that is its behaviour; a cancelled job rolls nothing back, and a rollback that is
 *   cancelled stays where it is.
 * - What was not begun when the job stops is `cancelled`, what was left out is `skipped`. A job all of whose targets were
 *   skipped fails with DEPLOY_NO_TARGET; one with more than maxFailures failed targets with DEPLOY_TARGET_FAILED.
 * - The end is told to the parent step (EVENT_WORK_COMPLETED): success, or error_type deployment_failed,
 *   deployment_rolled_back or cancelled, with outputs {deploymentJobId, status, targets, completed, failed, skipped,
 *   stickerIds: of a job that writes stickers anew}. */
#ifndef SERVER_ENGINE_JOB_H
#define SERVER_ENGINE_JOB_H

#include "lib/id.h"
#include "server/engine/run.h"

enum { JOB_ATTEMPTS = 3, JOB_UNAVAILABLE_MS = 60000 };

enum job_behaviour { JOB_ROLLS_BACK, JOB_CONTINUES, JOB_PAUSES, JOB_STOPS };
enum job_unavailable { JOB_WAITS, JOB_SKIPS, JOB_FAILS };
enum job_task_type { JOB_DEPLOY, JOB_CHECK, JOB_ROLLBACK, JOB_TASK_TYPES };

struct job_target {
    struct str id, name, agent; /* agent: STR_NONE unless it is pinned to one */
    struct str skip;            /* the plan's reason; STR_NONE: it takes part */
    const struct json *json;    /* its element of the plan */
    int number;                 /* place in the plan, from 1 */
    int batch;                  /* from 1; 0: skipped by the plan */
    int task[JOB_TASK_TYPES];   /* index of the step; JOB_CHECK -1: no check */
};

struct job_task { /* in the order of the template's nodes */
    int target;
    enum job_task_type type;
};

struct job {
    struct template template; /* first: a job's template is the job */
    const struct json *plan;
    struct job_target *targets;
    struct job_task *tasks;
    int n_targets, n_batches;
    int64_t max_concurrent, max_failures, pause_ms;
    enum job_behaviour behaviour;
    enum job_unavailable unavailable;
    bool again;                         /* targets get what they have: it writes their stickers anew */
    struct str parent_run, parent_node; /* STR_NONE: none */
    int64_t parent_attempt;
};

/* struct run_kind's parse: NULL when it is no plan, or memory ran out. */
const struct template *job_parse(struct arena *a, const struct json *plan);

static inline const struct job *job_of(const struct run *r)
{
    return (const struct job *)(const void *)r->template;
}

/* --- what is shown --- */

enum job_status {
    JOB_STATUS_PENDING,
    JOB_STATUS_RUNNING,
    JOB_STATUS_PAUSED,
    JOB_STATUS_CANCELLING,
    JOB_STATUS_ROLLING_BACK,
    JOB_STATUS_SUCCEEDED,
    JOB_STATUS_FAILED,
    JOB_STATUS_CANCELLED,
    JOB_STATUS_ROLLED_BACK,
    JOB_STATUS_ROLLBACK_FAILED,
    JOB_STATUSES
};
extern const char *const job_statuses[]; /* their names; NULL ends */
enum job_status job_status(const struct run *r);
const char *job_status_name(const struct run *r);

extern const char
    *const job_task_statuses[]; /* pending assigned running succeeded failed timed_out skipped cancelled */
const char *job_task_status_name(const struct run *r, int task);
extern const char *const job_task_types[JOB_TASK_TYPES]; /* deploy health-check rollback */
/* Tasks of a rollback exist for others once they are begun. */
bool job_task_shown(const struct run *r, int task);
/* The task's document (spec §8.2), members in RFC 8785 order; `id` is the node's. */
void job_task_document_write(struct buf *b, const struct run *r, int task);

struct job_counts {                              /* of targets */
    int total, completed, failed, skipped, done; /* done: nothing more is to be done with it */
};
struct job_counts job_count(const struct run *r);

/* --- what is told --- */

/* What the step that made it is told at its end: EVENT_WORK_COMPLETED but for node and attempt. False: no memory. */
bool job_end(struct arena *a, const struct run *r, struct run_event *e);
/* The id of the sticker document of what a task of the job has written to a target: known to the job before the target
 * is settled (target_settle.h). */
void job_sticker_id(struct str job, struct str target, int64_t written_ms, char out[ID_UUID]);

#endif

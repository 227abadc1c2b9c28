/* Steps that a deployment job carries out (BY_JOB): what an instance does for one of them.
 *
 * work.c calls job_step_work behind the commit that began the step, and again, from any instance, whenever the step's
 * queue entry comes up once more (a crash; or merely half a minute): as long as the step runs. So it looks first whether
 * the step's job is there already (unique by `task`), and makes it only if not. It answers with what the run is to be told:
 *
 *   OK, EVENT_JOB_STARTED    the job is there, under way; agent: its id
 *   OK, EVENT_WORK_COMPLETED it has ended (the same outcome that the job itself tells), or cannot be made: success false,
 *                            error_type, message, retriable
 *   OK, NULL                 nothing new: the job `job` is under way
 *   a SYS_ code              not now; asked again later
 *
 * What an instance and the job tell about the end counts once: entries of the inbox with the id `task`.
 *
 * `then` runs once, later, in lib/op.h's manner; the event is borrowed for the call. node and attempt of the event are
 * filled in by the caller. */
#ifndef SERVER_ENGINE_JOB_STEP_H
#define SERVER_ENGINE_JOB_STEP_H

#include "lib/op.h"
#include "server/code.h"
#include "server/engine/run.h"
#include "server/store/key.h"

struct worker;

struct job_step { /* lives until `then` */
    struct space space;
    struct str run, node, task; /* task: "<run>:<node>:<attempt>" */
    int64_t attempt;
    const struct step_type *type;
    const struct json *config;  /* rendered and normalised */
    const struct json *context; /* of the run: environmentId, releaseId, promotionId as far as it has them */
    struct str triggered_by;    /* of the run */
    int64_t timeout_ms;         /* of the step */
    struct str job;             /* id of its job as far as the run knows; STR_NONE: none yet */
    struct arena *arena;
};

typedef void job_step_then(void *arg, enum code c, const struct run_event *e);
enum code job_step_work(struct worker *w, const struct job_step *step, struct ops *asker, job_step_then *then,
                        void *arg);

#endif

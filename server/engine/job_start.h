/* Making deployment jobs: whoever wants one (the deploy step, a rollback) prepares a plan and writes it into a commit of
 * its own.
 *
 *     code = job_prepare(worker, arena, &request, &ops, prepared, me);     reads, answers a plan or a refusal
 *     static void prepared(void *me, enum code c, struct str why, const struct job_plan *plan)
 *         commit_begin(&commit, arena, space, COMMIT_GROWS);
 *         job_write(&commit, plan, id);                                    document, plan, origin, inbox entry, audit
 *         store_commit(...), and in its continuation drain_run(worker, &job_kind, space, id)
 *
 * Nothing is decided later: releases, artifacts, targets and their order are those of the moment in which the job was
 * prepared. The plan:
 *
 *     {strategy, config,                    strategy_normalise's type and config
 *      again?: true,
 *      timeoutSeconds, createdBy, parent?: {run, node, attempt}, promotionId?, rollbackId?, rollbackOf?,
 *      release?: RELEASE,                   absent with to_previous and again: then every target has its own
 *      environment: {id, name, variables, agentLabels: ["name" or "name=value"]},
 *      hooks?: {preDeploy?: [argv], postDeploy?: [argv], timeoutSeconds},
 *      targets: [{id, name, agentId?, labels, path, keep, port?,
 *                 release?: RELEASE|null,   what the target gets, when the plan has none; null: nothing
 *                 before?: RELEASE,         what it had before what it has now: what it has before once it went back
 *                 previous: RELEASE|null,   what it has now, and goes back to when this job fails; where it has or gets
 *                                           the very same, what was there before
 *                 beforeJobId?, previousJobId?, releaseJobId?:  the jobs that brought these releases there; the last
 *                                           only with again
 *                 skip?: "reason"}]}        in the order of deployment
 *
 * RELEASE: {id, name, createdAt, components: [{componentId, name, role, tag?, semver?, digest, versionId, artifactUrl}]};
 * an artifactUrl that begins with a slash is a path of this server, which an agent fetches with its own token. */
#ifndef SERVER_ENGINE_JOB_START_H
#define SERVER_ENGINE_JOB_START_H

#include "lib/json.h"
#include "lib/op.h"
#include "server/store/commit.h"

struct worker;

enum { JOB_TARGETS_MAX = 1000 }; /* of one job; more are a refusal: DEPLOY_TOO_MANY_TARGETS */

#define JOB_KIND "job"

struct job_request {
    struct space space;
    struct str environment_id;
    struct str release_id;   /* what all targets get; not looked at with one of the next two */
    bool to_previous;        /* each gets what it had before; nothing, where it had nothing */
    bool again;              /* each gets what it has: its sticker is written anew, and what is missing is put there */
    struct str promotion_id; /* STR_NONE: none. Its own strategy, if it has one, comes before `strategy` */
    struct str parent_run, parent_node; /* the step that makes it; STR_NONE: none. At most one job for each attempt */
    int64_t parent_attempt;
    struct str rollback_id, rollback_of; /* the rollback that makes it, the job it takes back; STR_NONE */
    const struct json *strategy;         /* {type, config}, checked by strategy_fields; NULL: all-at-once */
    /* Array of ids. With to_previous: only what one of these jobs did last is taken back; NULL: whatever was done last.
     * Without: the jobs of earlier attempts. Targets they brought the release to, and did not find unhealthy, are left
     * out; none is when that would be all of them. */
    const struct json *jobs;
    struct str from_release;       /* with to_previous: only where this release is now. STR_NONE: wherever one is */
    const struct json *target_ids; /* array; NULL: all targets of the environment */
    const struct json *hooks;      /* {preDeploy?: [argv], postDeploy?: [argv], timeoutSeconds?}, or NULL */
    struct str created_by;
};

struct job_plan { /* lives in job_prepare's arena */
    struct space space;
    struct str text;         /* the plan, JSON */
    const struct json *json; /* the same, parsed */
    int64_t now_ms;
};

/* OK: `plan`. Otherwise plan is NULL and `why` a sentence: RES_REFERENCE_UNKNOWN (environment, release, a target),
 * DEPLOY_NO_TARGET (none to deploy to), DEPLOY_TOO_MANY_TARGETS, DEPLOY_ARTIFACT_MISSING, DEPLOY_NO_PREVIOUS_RELEASE
 * (to_previous, and no target was ever deployed to), REL_NOT_READY (a draft), VAL_FAILED (strategy); or SYS_*, to be
 * tried again. */
typedef void job_then(void *arg, enum code c, struct str why, const struct job_plan *plan);
/* lib/op.h's contract. `request` and what it points at must live until `then`; the arena as long as the plan. */
enum code job_prepare(struct worker *w, struct arena *a, const struct job_request *request, struct ops *ops,
                      job_then *then, void *arg);

/* Adds the job to the commit: `id` is a new UUID. A job of the same parent step refuses the commit with
 * RES_ALREADY_EXISTS and the label "job", a run that is gone with RES_NOT_FOUND. Memory that runs out fails the commit.
 */
void job_write(struct commit *c, const struct job_plan *plan, struct str id);

/* The field of the run's hash that holds the id of the job which an attempt of its step made. */
struct str job_parent_field(struct arena *a, struct str node, int64_t attempt);

#endif

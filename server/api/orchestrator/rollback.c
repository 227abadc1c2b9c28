/* Rollbacks: back to what was deployed before (spec §8.6).
 *
 *     POST -> running --its job succeeded--> succeeded      the environment is held from the first to the last moment;
 *                 `-----anything else------> failed         server/engine/rollback_settle.h ends it
 *
 * | deploymentJobId's status                            | POST /rollbacks                                            |
 * | --------------------------------------------------- | ---------------------------------------------------------- |
 * | pending running paused                              | 409 RES_INVALID_STATE: it has not ended (cancel-run helps) |
 * | cancelling rolling_back                             | 409 RES_INVALID_STATE: it has not ended                    |
 * | rolled_back                                         | 409 RES_INVALID_STATE: it is taken back already            |
 * | succeeded failed cancelled rollback_failed          | 201                                                        |
 *
 * An environment that a promotion or another rollback holds is a 409, too, which names it. No approval is asked for,
 * and freeze windows only count when they have blockRollbacks. Of the strategies only redeploy_previous makes a job:
 * there are no snapshots to restore, and manual is the plan alone, for people to carry out. A release is switched as a
 * whole, so a rollback of single components is refused. A rollback of a rollback brings back what that took away;
 * further back leads toReleaseId. */
#include "server/api/orchestrator/rollback.h"

#include "server/api/orchestrator/resources.h"
#include "server/engine/job_start.h"

static const char *const strategies[] = {"redeploy_previous", "restore_snapshot", "manual", NULL};
static const char *const states[] = {"running", "succeeded", "failed", NULL};

// clang-format off
static const struct field release_fields[] = {
    {"id",   FIELD_UUID,   FIELD_REQUIRED},
    {"name", FIELD_STRING, FIELD_REQUIRED, .max = 128},
    {0}};

static const struct field step_fields[] = {
    {"order",       FIELD_INT,    FIELD_REQUIRED, .min = 1, .max = JOB_TARGETS_MAX},
    {"targetId",    FIELD_UUID,   FIELD_REQUIRED},
    {"targetName",  FIELD_STRING, FIELD_REQUIRED, .max = 100},
    {"fromRelease", FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULLABLE, .fields = release_fields, .doc = "What it has now."},
    {"toRelease",   FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULLABLE, .fields = release_fields, .doc = "null: back to nothing."},
    {0}};

static const struct field affected_fields[] = {
    {"id",   FIELD_UUID,   FIELD_REQUIRED},
    {"name", FIELD_STRING, FIELD_REQUIRED, .max = 100},
    {0}};

static const struct field plan_fields[] = {
    {"steps",           FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = step_fields, .max = JOB_TARGETS_MAX},
    {"affectedTargets", FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = affected_fields, .max = JOB_TARGETS_MAX},
    {"fromReleaseId",   FIELD_UUID,   FIELD_REQUIRED | FIELD_NULLABLE},
    {"fromReleaseName", FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 128},
    {"toReleaseId",     FIELD_UUID,   FIELD_REQUIRED | FIELD_NULLABLE, .doc = "null: the targets go back to different releases."},
    {"toReleaseName",   FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 128},
    {"partial",         FIELD_BOOL,   FIELD_REQUIRED,
     .doc = "Not all of it comes to one release: then what the environment, the job and the promotion say stays."},
    {"warnings",        FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_STRING, .item_max = 4096, .max = JOB_TARGETS_MAX, .doc = "For people."},
    {0}};

static const struct field error_fields[] = {
    {"code",    FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "DEPLOY_TARGET_FAILED, SYS_TIMEOUT ..."},
    {"message", FIELD_STRING, FIELD_REQUIRED, .max = 4096, .doc = "For people."},
    {0}};

static const struct field fields[] = {
    {"id",                 FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",           FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"environmentId",      FIELD_UUID,   FIELD_FILTER | FIELD_SCOPE | FIELD_ALWAYS,
     .doc = "What is deployed there is taken back, from every target that has it, or what a failed deployment has left there since; or give deploymentJobId."},
    {"deploymentJobId",    FIELD_UUID,   FIELD_NULLABLE | FIELD_FILTER | FIELD_SCOPE, .ref = "job",
     .doc = "The job that is taken back, where no other job has been since; or give environmentId."},
    {"newDeploymentJobId", FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .doc = "The job that takes it back."},
    {"toReleaseId",        FIELD_UUID,   FIELD_NULLABLE | FIELD_FILTER,
     .doc = "A release that was deployed there once. Default: to each target what it had before."},
    {"releaseId",          FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE | FIELD_FILTER, .doc = "The release that is taken back."},
    {"strategy",           FIELD_ENUM,   FIELD_FILTER, .choices = strategies, .preset = "\"redeploy_previous\"",
     .doc = "manual: the plan alone, nothing is done or kept. restore_snapshot is not possible here."},
    {"status",             FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = states},
    {"targetIds",          FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_UUID, .min = 1, .max = JOB_TARGETS_MAX, .doc = "These targets alone."},
    {"componentNames",     FIELD_LIST,   FIELD_WRITEONLY, .item = FIELD_STRING, .item_max = 100, .max = 200,
     .doc = "Not possible: a release is switched as a whole."},
    {"reason",             FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 2000, .doc = "Kept with it and in the audit trail."},
    {"allowDeprecated",    FIELD_BOOL,   FIELD_WRITEONLY, .doc = "Back to a deprecated release, too."},
    {"dryRun",             FIELD_BOOL,   FIELD_WRITEONLY, .doc = "The plan alone; nothing is done or kept."},
    {"plan",               FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .fields = plan_fields, .doc = "As it was when it began."},
    {"requestedBy",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 255},
    {"finishedAt",         FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE | FIELD_SORT},
    {"error",              FIELD_OBJECT, FIELD_READONLY | FIELD_NULLABLE, .fields = error_fields, .doc = "Why it failed."},
    {"createdAt",          FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"updatedAt",          FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",           FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct field dry_fields[] = {
    {"plan",     FIELD_OBJECT, FIELD_REQUIRED, .fields = plan_fields},
    {"strategy", FIELD_ENUM,   FIELD_REQUIRED, .choices = strategies},
    {0}};

static const struct route routes[] = {
    {POST, "/rollbacks", rollback_create, "deployment:rollback", "createRollback",
     "Take a deployment back: at once, without approvals or pauses. With dryRun, or the strategy manual, only say what would be done.",
     .status = 201, .action = "deployment.rollback_started", .other_status = 200, .other_data = dry_fields,
     .codes = {RES_INVALID_STATE, RES_QUOTA_EXCEEDED, DEPLOY_NO_PREVIOUS_RELEASE, DEPLOY_ROLLBACK_NOT_POSSIBLE, DEPLOY_ARTIFACT_MISSING,
               DEPLOY_NO_TARGET, DEPLOY_TOO_MANY_TARGETS, REL_DEPRECATED, REL_NOT_READY, ENV_FREEZE_ACTIVE,
               RES_REFERENCE_UNKNOWN}},
    {GET, "/rollbacks", crud_list, "deployment:read", "listRollbacks", "List rollbacks.", ROUTE_LIST},
    {GET, "/rollbacks/{id}", crud_get, "deployment:read", "getRollback", "Read a rollback."},
    ROUTE_END};
// clang-format on

const struct resource rollback_resource = {
    .kind = "rollback",
    .plural = "rollbacks",
    .tag = "DEPLOY",
    .doc = "Ways back to what was deployed before.",
    .fields = fields,
    .routes = routes,
    .gather = rollback_gather,
};

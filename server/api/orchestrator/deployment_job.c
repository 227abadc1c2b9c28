/* Deployment jobs: a release on its way to the targets of an environment. They are made by deploy and rollback steps and
 * by rollbacks (server/engine/job_start.h); here they are only read. The document is written by the engine
 * (server/engine/job.h). */
#include "server/api/orchestrator/resources.h"

#include "server/crud.h"
#include "server/engine/job_start.h"
#include "server/engine/strategy.h"

static const char *const states[] = {"pending",      "running",         "paused", "cancelling",
                                     "rolling_back", "succeeded",       "failed", "cancelled",
                                     "rolled_back",  "rollback_failed", NULL};

// clang-format off
static const struct field error_fields[] = {
    {"code",     FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "DEPLOY_TARGET_FAILED, DEPLOY_NO_TARGET, SYS_TIMEOUT ..."},
    {"message",  FIELD_STRING, .max = 4096, .doc = "For people."},
    {"targetId", FIELD_UUID,   .doc = "The target that failed first."},
    {0}};

static const struct field skipped_fields[] = {
    {"targetId",   FIELD_UUID,   FIELD_REQUIRED},
    {"targetName", FIELD_STRING, FIELD_REQUIRED, .max = 100},
    {"reason",     FIELD_STRING, FIELD_REQUIRED, .max = 4096},
    {0}};

static const struct field fields[] = {
    {"id",               FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",         FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"environmentId",    FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER | FIELD_SCOPE},
    {"environmentName",  FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 63, .doc = "As it was called then."},
    {"releaseId",        FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "Absent when each target goes back to what it had before."},
    {"releaseName",      FIELD_STRING, FIELD_READONLY, .max = 128},
    {"previousReleaseId", FIELD_UUID,  FIELD_READONLY, .doc = "What its first target had before."},
    {"promotionId",      FIELD_UUID,   FIELD_READONLY | FIELD_FILTER},
    {"workflowRunId",    FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "The run whose step made it."},
    {"workflowNodeId",   FIELD_STRING, FIELD_READONLY, .max = 63, .doc = "That step."},
    {"strategy",         FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = strategy_types},
    {"strategyConfig",   FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "With every default."},
    {"status",           FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = states},
    {"progress",         FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .min = 0, .max = 100, .doc = "Targets that are done with, in per cent."},
    {"totalTargets",     FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Those left out are among them."},
    {"completedTargets", FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {"failedTargets",    FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {"skippedTargets",   FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {"skipped",          FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .max = JOB_TARGETS_MAX, .item = FIELD_OBJECT, .fields = skipped_fields,
     .doc = "Targets left out, and why: skipped is not failed."},
    {"batch",            FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "The present or last one, from 1; 0 before the first."},
    {"totalBatches",     FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {"startedAt",        FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"finishedAt",       FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"duration",         FIELD_NUMBER, FIELD_READONLY, .doc = "Seconds from start to end, pauses included."},
    {"error",            FIELD_OBJECT, FIELD_READONLY, .fields = error_fields, .doc = "Why it failed."},
    {"rollbackId",       FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "The rollback that made it."},
    {"rollbackOf",       FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "The job that it takes back."},
    {"rolledBackBy",     FIELD_STRING, FIELD_READONLY, .max = 64, .doc = "The rollback that took it back; absent when it did so itself."},
    {"pausedBy",         FIELD_STRING, FIELD_READONLY, .max = 2048, .doc = "While it is paused. engine: failureBehavior."},
    {"pauseReason",      FIELD_STRING, FIELD_READONLY, .max = 4096},
    {"cancelledBy",      FIELD_STRING, FIELD_READONLY, .max = 2048},
    {"cancelReason",     FIELD_STRING, FIELD_READONLY, .max = 4096},
    {"createdBy",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"createdAt",        FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"updatedAt",        FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",         FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct route routes[] = {
    {GET, "/deployment-jobs", crud_list, "deployment:read", "listDeploymentJobs", "List deployment jobs.", ROUTE_LIST},
    {GET, "/deployment-jobs/{id}", crud_get, "deployment:read", "getDeploymentJob", "Read a deployment job."},
    ROUTE_END};
// clang-format on

const struct resource deployment_job_resource = {
    .kind = JOB_KIND,
    .plural = "deployment-jobs",
    .tag = "DEPLOY",
    .doc = "A release on its way to the targets of an environment.",
    .fields = fields,
    .routes = routes,
};

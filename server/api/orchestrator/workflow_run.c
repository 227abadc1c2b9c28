#include "server/api/orchestrator/workflow_run.h"

#include "server/api/orchestrator/resources.h"
#include "server/crud.h"
#include "server/engine/drain.h"

static const char *const states[] = {"pending",   "running", "waiting",   "paused", "cancelling",
                                     "succeeded", "failed",  "cancelled", NULL};
static const char *const triggers[] = {"manual", "promotion", "api", "schedule", "auto", NULL};

// clang-format off
static const struct field context_fields[] = {
    {"environmentId", FIELD_UUID, FIELD_SCOPE, .doc = "Expressions see it as context.environment."},
    {"releaseId",     FIELD_UUID, .doc = "Expressions see it as context.release."},
    {"promotionId",   FIELD_UUID, .doc = "Expressions see it as context.promotion."},
    {0}};

static const struct field error_fields[] = {
    {"code",    FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "WF_STEP_FAILED, SYS_TIMEOUT ..."},
    {"message", FIELD_STRING, .max = 4096, .doc = "For people."},
    {"nodeId",  FIELD_STRING, .max = 63, .doc = "The step that failed first."},
    {0}};

static const struct field fields[] = {
    {"id",              FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"templateId",      FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "Of the template it was started from; absent when that is built in: default-deploy."},
    {"templateName",    FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 100, .doc = "As it was called then."},
    {"templateVersion", FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "The definition it is pinned to."},
    {"status",          FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = states,
     .doc = "waiting: only timers are left to wait for."},
    {"inputs",          FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "With defaults; values named like secrets are masked."},
    {"outputs",         FIELD_OBJECT, FIELD_READONLY, .doc = "Once it has succeeded."},
    {"context",         FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .fields = context_fields, .doc = "What it is about."},
    {"environmentId",   FIELD_UUID,   FIELD_READONLY | FIELD_FILTER | FIELD_SCOPE, .doc = "Of the context."},
    {"releaseId",       FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "Of the context."},
    {"promotionId",     FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "Of the context."},
    {"labels",          FIELD_MAP,    FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .doc = "Names and values of your own."},
    {"progress",        FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .min = 0, .max = 100, .doc = "Steps that have ended, in per cent."},
    {"activeSteps",     FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_STRING, .doc = "Steps under way."},
    {"startedAt",       FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"finishedAt",      FIELD_TIME,   FIELD_READONLY | FIELD_SORT},
    {"duration",        FIELD_NUMBER, FIELD_READONLY, .doc = "Seconds from start to end, pauses included."},
    {"triggeredBy",     FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 255, .doc = "Who started it."},
    {"triggerType",     FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = triggers, .doc = "How it was started."},
    {"error",           FIELD_OBJECT, FIELD_READONLY, .fields = error_fields, .doc = "Why it failed."},
    {"pausedBy",        FIELD_STRING, FIELD_READONLY, .max = 2048, .doc = "While it is paused. engine: a step's onFailure."},
    {"pauseReason",     FIELD_STRING, FIELD_READONLY, .max = 4096},
    {"cancelledBy",     FIELD_STRING, FIELD_READONLY, .max = 2048},
    {"cancelReason",    FIELD_STRING, FIELD_READONLY, .max = 4096},
    {"createdAt",       FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"updatedAt",       FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",        FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct field start_fields[] = {
    {"templateId",   FIELD_UUID,   .doc = "The template; or give templateName."},
    {"templateName", FIELD_STRING, .min = 1, .max = 100, .doc = "The template; or give templateId."},
    {"version",      FIELD_INT,    .min = 1, .max = 1000000000, .doc = "An earlier version of its definition. Default: the present one."},
    {"inputs",       FIELD_OBJECT, .preset = "{}", .doc = "As the template declares them."},
    {"context",      FIELD_OBJECT, .fields = context_fields, .preset = "{}", .doc = "What the run is about."},
    {"labels",       FIELD_MAP,    .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}", .doc = "Names and values of your own."},
    {0}};

static const struct field reason_fields[] = {
    {"reason", FIELD_STRING, .min = 1, .max = 500, .doc = "Shown with the run and kept in the audit trail."},
    {0}};
// clang-format on

// clang-format off
static const struct route routes[] = {
    {POST, "/workflow-runs", workflow_run_start, "workflow:execute", "createWorkflowRun", "Start a run of an active workflow template.",
     ROUTE_BUILD, .status = 201, .body = start_fields,
     .codes = {RES_REFERENCE_UNKNOWN, RES_QUOTA_EXCEEDED, WF_INPUT_MISSING, WF_TEMPLATE_INACTIVE, WF_TEMPLATE_INVALID, PROM_REQUIRED}},
    {GET, "/workflow-runs", crud_list, "workflow:read", "listWorkflowRuns", "List workflow runs.", ROUTE_LIST},
    {GET, "/workflow-runs/{id}", crud_get, "workflow:read", "getWorkflowRun", "Read a workflow run."},
    {POST, "/workflow-runs/{id}/pause", workflow_run_pause, "workflow:execute", "pauseWorkflowRun",
     "Start nothing new; running steps finish, timers stand still.", ROUTE_NO_BODY, .body = reason_fields, .action = "run.paused",
     .codes = {RES_INVALID_STATE}},
    {POST, "/workflow-runs/{id}/resume", workflow_run_resume, "workflow:execute", "resumeWorkflowRun", "Go on after a pause.",
     ROUTE_NO_BODY, .body = reason_fields, .action = "run.resumed", .codes = {RES_INVALID_STATE}},
    {POST, "/workflow-runs/{id}/cancel", workflow_run_cancel, "workflow:execute", "cancelWorkflowRun",
     "Stop: running steps get a signal and 30 seconds, finally steps run.", ROUTE_NO_BODY, .body = reason_fields,
     .action = "run.cancelled", .codes = {RES_INVALID_STATE}},
    ROUTE_END};
// clang-format on

const struct resource workflow_run_resource = {
    .kind = RUN_KIND,
    .plural = "workflow-runs",
    .tag = "WORKFL",
    .doc = "A workflow on its way.",
    .fields = fields,
    .routes = routes,
};

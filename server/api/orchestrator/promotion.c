/* Promotions: a release on its way into an environment. They are asked for and cancelled here; what becomes of them is
 * decided by environment_settle (server/engine/environment_settle.h). */
#include "server/api/orchestrator/promotion.h"
#include "server/api/orchestrator/resources.h"

#include "server/engine/environment_settle.h"
#include "server/engine/promotion.h"
#include "server/engine/strategy.h"
#include "server/scope.h"
#include "server/worker.h"

static const char *const triggers[] = {"manual", "api", "auto", NULL};

// clang-format off
static const struct field override_fields[] = {
    {"windowIds", FIELD_LIST,   FIELD_REQUIRED | FIELD_UNIQUE_ITEMS, .min = 1, .max = 100, .item = FIELD_UUID, .doc = "Freeze windows of the target environment."},
    {"reason",    FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 500, .doc = "Kept with the promotion and in the audit trail."},
    {0}};

static const struct field approvals_fields[] = {
    {"required",  FIELD_INT, FIELD_REQUIRED, .min = 0, .max = 20},
    {"received",  FIELD_INT, FIELD_REQUIRED, .min = 0, .max = 20},
    {"remaining", FIELD_INT, FIELD_REQUIRED, .min = 0, .max = 20},
    {0}};

static const struct field blocker_fields[] = {
    {"gate",        FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "freeze-window, environment-order, environment-busy, approval, release, template."},
    {"message",     FIELD_STRING, FIELD_REQUIRED, .max = 4096, .doc = "For people."},
    {"reason",      FIELD_STRING, .max = 500, .doc = "Of the freeze window."},
    {"until",       FIELD_TIME,   .doc = "When the freeze window ends."},
    {"windowId",    FIELD_UUID,   .doc = "The freeze window."},
    {"promotionId", FIELD_UUID,   .doc = "The promotion that is deploying there."},
    {"rollbackId",  FIELD_UUID,   .doc = "The rollback that is under way there."},
    {0}};

static const struct field error_fields[] = {
    {"code",    FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "WF_CANCELLED, WF_STEP_FAILED, REL_DEPRECATED ..."},
    {"message", FIELD_STRING, FIELD_REQUIRED, .max = 4096, .doc = "For people."},
    {0}};

static const struct field fields[] = {
    {"id",                    FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",              FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"releaseId",             FIELD_UUID,   FIELD_REQUIRED | FIELD_FILTER, .ref = "release", .doc = "What is promoted."},
    {"releaseName",           FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 128},
    {"componentIds",          FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_UUID, .doc = "Of the release: those with the same components are of one line."},
    {"environmentId",         FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER | FIELD_SCOPE, .doc = "The target environment."},
    {"targetEnvironmentId",   FIELD_UUID,   FIELD_REQUIRED | FIELD_SEARCH | FIELD_SCOPE, .ref = "environment", .doc = "Where to."},
    {"targetEnvironmentName", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 63, .doc = "As it was called then."},
    {"sourceEnvironmentId",   FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE | FIELD_FILTER, .doc = "The environment before it in the order; null for the first."},
    {"sourceEnvironmentName", FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE, .max = 63},
    {"sourcePromotionId",     FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE, .doc = "The promotion that brought the release into the source."},
    {"status",                FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = promotion_statuses,
     .doc = "approved: it waits for the environment; see blockers."},
    {"reason",                FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 2000, .doc = "Why it is promoted."},
    {"requestedBy",           FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 255, .doc = "Who asked for it; system: autoPromoteFrom."},
    {"requestedAt",           FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"triggerType",           FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = triggers, .doc = "auto: by the target's autoPromoteFrom."},
    {"decidedAt",             FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE, .doc = "When it was approved or rejected."},
    {"startedAt",             FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE, .doc = "When its workflow run began."},
    {"completedAt",           FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE, .doc = "When it ended, however it did."},
    {"approvals",             FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .fields = approvals_fields},
    {"blockers",              FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .max = 200, .item = FIELD_OBJECT, .fields = blocker_fields,
     .doc = "What it waits for, or was rejected for."},
    {"freezeOverride",        FIELD_OBJECT, .fields = override_fields,
     .doc = "Goes on in spite of these freeze windows: for those named in their exceptions, and with freeze:override."},
    {"strategy",              FIELD_OBJECT, .fields = strategy_fields, .doc = "How it reaches the targets. Default: all at once."},
    {"templateId",            FIELD_UUID,   .ref = "workflow-template",
     .doc = "The workflow that deploys it. Default: the environment's deploymentTemplate, else the components', else one that only deploys."},
    {"inputs",                FIELD_OBJECT, FIELD_SECRET, .doc = "Inputs of the workflow run; never shown here."},
    {"redeploy",              FIELD_BOOL,   .doc = "It may be what is deployed there already."},
    {"skipOrderReason",       FIELD_STRING, .min = 1, .max = 500, .doc = "Promotes what is not deployed in the environment before; needs promotion:skip-order."},
    {"supersede",             FIELD_BOOL,   FIELD_WRITEONLY,
     .doc = "Cancels the caller's own promotions of releases of the same components into that environment that do not deploy yet."},
    {"supersededBy",          FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE, .doc = "The promotion for which it was cancelled."},
    {"workflowRunId",         FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE | FIELD_FILTER, .doc = "The run that deploys it."},
    {"deploymentJobId",       FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE | FIELD_FILTER, .doc = "The latest job of that run."},
    {"evidencePacketId",      FIELD_UUID,   FIELD_READONLY | FIELD_NULLABLE},
    {"cancelledBy",           FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE, .max = 255},
    {"cancelReason",          FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE, .max = 500},
    {"error",                 FIELD_OBJECT, FIELD_READONLY | FIELD_NULLABLE, .fields = error_fields, .doc = "Why it failed or was rejected."},
    {"createdAt",             FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"updatedAt",             FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",              FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct field cancel_fields[] = {
    {"reason", FIELD_STRING, .min = 1, .max = 500, .doc = "Shown with the promotion and kept in the audit trail."},
    {0}};

static enum flow promotion_cancel(struct request *r);

static const struct route routes[] = {
    {POST, "/promotions", crud_create, "promotion:request", "createPromotion",
     "Ask for a release to be promoted into an environment. What it waits for afterwards is in blockers.", ROUTE_BUILD,
     .status = 201,
     .action = "promotion.requested",
     .codes = {REL_DEPRECATED, REL_NOT_READY, PROMOTION_BLOCKED, PROM_SOURCE_NOT_DEPLOYED, PROM_ALREADY_DEPLOYED,
               PROM_CONFLICTING_ACTIVE}},
    {GET, "/promotions", crud_list, "promotion:read", "listPromotions", "List promotions.", ROUTE_LIST},
    {GET, "/promotions/{id}", crud_get, "promotion:read", "getPromotion", "Read a promotion."},
    {POST, "/promotions/{id}/cancel", promotion_cancel, "promotion:read", "cancelPromotion",
     "Cancel a promotion that does not deploy yet: one's own, or with promotion:cancel any.", ROUTE_NO_BODY,
     .body = cancel_fields, .action = "promotion.cancelled", .codes = {RES_INVALID_STATE}},
    ROUTE_END};
// clang-format on

static enum code refuse_cancel(struct request *r)
{
    request_lacks(r, "promotion:cancel");
    return request_refuse(r, PERM_DENIED, "promotion:cancel is needed for promotions of others");
}

/* Of a deploying one the refusal names what helps: its run, its job. */
static enum code refuse_state(struct request *r, const struct json *promotion)
{
    enum promotion_status status = promotion_status(promotion);
    enum code code = change_refuse_state(r, promotion_statuses[status], promotion_actions(status));
    struct str run = json_str(json_get(promotion, "workflowRunId"));

    if (status == PROMOTION_DEPLOYING && r->details.n > 1) {
        r->details = arena_printf(&r->arena, STR_FMT ",\"workflowRunId\":\"" STR_FMT "\"}", (int)r->details.n - 1,
                                  r->details.p, STR_ARG(run));
        request_refuse(r, code, "it is deploying: cancel its workflow run, or roll its deployment back");
    }
    return code;
}

static enum code cancel(struct request *r, struct change *c)
{
    enum promotion_status status = promotion_status(c->old);
    struct str reason = json_str(json_get(r->json, "reason"));
    const struct space space = {r->caller.partition, r->caller.tenant};
    const struct promotion_names names = promotion_names(c->old);

    if (!str_eq(json_str(json_get(c->old, "requestedBy")), r->caller.id) &&
        !scope_may(&r->caller, "promotion:cancel", json_str(json_get(c->old, "targetEnvironmentId")),
                   json_str(json_get(c->old, "targetEnvironmentName"))))
        return refuse_cancel(r);
    if (status > PROMOTION_APPROVED)
        return refuse_state(r, c->old);
    overlay_str(&c->set, "status", S("cancelled"));
    overlay_time(&c->set, "completedAt", c->now_ms);
    overlay_str(&c->set, "cancelledBy", r->caller.id);
    overlay_raw(&c->set, "blockers", S("[]"));
    if (reason.n > 0)
        overlay_str(&c->set, "cancelReason", reason);
    promotion_moved(c->commit, &r->arena, space, &names, status, PROMOTION_CANCELLED, c->now_ms);
    environment_settle(r->worker, space, names.environment);
    return OK;
}

static enum flow promotion_cancel(struct request *r)
{
    return crud_change(r, cancel, r->route->action);
}

const struct resource promotion_resource = {
    .kind = PROMOTION_KIND,
    .plural = "promotions",
    .tag = "PROMOT",
    .doc = "Releases on their way into environments.",
    .fields = fields,
    .routes = routes,
    .gather = promotion_gather,
    .prepare = promotion_prepare,
};

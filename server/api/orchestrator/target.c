/* Targets. What is deployed on them and how they are is written by server/engine/target_settle.h; asking them is
 * target_probe.c. */
#include "server/api/orchestrator/target.h"

#include "server/api/orchestrator/resources.h"
#include "server/crud.h"
#include "server/engine/target_settle.h"
#include "server/worker.h"

// clang-format off
static const char *const types[] = {"host", NULL};
static const char *const healths[] = {"healthy", "degraded", "unhealthy", "unknown", NULL};
static const char *const probe_checks[] = {"http", "tcp", "none", NULL};
static const char *const sticker_sources[] = {"deployment", "agent", NULL};
static const char *const drifts[] = {"missing", "unexpected", "digest_mismatch", "config_mismatch", "sticker_missing", NULL};

static const struct field connection_fields[] = {
    {"path", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 1000, .pattern = "^(/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+$",
     .doc = "Folder on the agent's host that releases are kept in: releases/<name> and the link current."},
    {"port", FIELD_INT,    .min = 1, .max = 65535,
     .doc = "Where what is deployed there listens: health checks that name no port connect to it, hooks see it as SLIPWAY_PORT."},
    {"keep", FIELD_INT,    .min = 0, .max = 50, .preset = "3", .doc = "Releases kept beside the current one."},
    {0}};

static const struct field release_fields[] = {
    {"id",         FIELD_UUID,   FIELD_REQUIRED},
    {"name",       FIELD_STRING, FIELD_REQUIRED, .max = 255},
    {"deployedAt", FIELD_TIME,   FIELD_REQUIRED},
    {0}};

static const struct field fields[] = {
    {"id",              FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"environmentId",   FIELD_UUID,   FIELD_REQUIRED | FIELD_IMMUTABLE | FIELD_FILTER | FIELD_SCOPE, .ref = "environment",
     .doc = "The environment it belongs to, for good."},
    {"name",            FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE | FIELD_PER_PARENT, .min = 1,
     .max = 100, .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", .doc = "Unique in its environment."},
    {"displayName",     FIELD_STRING, FIELD_SEARCH, .min = 1, .max = 200, .doc = "For people."},
    {"type",            FIELD_ENUM,   FIELD_REQUIRED | FIELD_IMMUTABLE | FIELD_FILTER, .choices = types,
     .doc = "host: a folder on the host of an agent."},
    {"connection",      FIELD_OBJECT, FIELD_REQUIRED, .fields = connection_fields},
    {"labels",          FIELD_MAP,    FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}",
     .doc = "Names and values of your own; an agent that serves it carries the environment's agentLabels."},
    {"agentId",         FIELD_UUID,   FIELD_NULLABLE | FIELD_FILTER, .ref = "agent",
     .doc = "The one agent that serves it; null: any with the environment's labels."},
    {"maintenance",     FIELD_BOOL,   FIELD_FILTER, .preset = "false", .doc = "While true, deployments leave it out."},
    {"healthStatus",    FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = healths},
    {"healthMessage",   FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE, .max = 1024},
    {"lastHealthCheck", FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE},
    {"hasDrift",        FIELD_BOOL,   FIELD_READONLY | FIELD_FILTER,
     .doc = "Drift was found when it was last looked for; a deployment since then has put it right."},
    {"currentRelease",  FIELD_OBJECT, FIELD_READONLY | FIELD_NULLABLE, .fields = release_fields,
     .doc = "What is deployed there; null before the first deployment."},
    {"currentDigests",  FIELD_LIST,   FIELD_READONLY, .item = FIELD_STRING, .item_max = 72, .max = 1000,
     .doc = "Of the components of currentRelease, sorted."},
    DOCUMENT_STAMPS,
    {0}};

static const struct field check_body[] = {
    {"type",           FIELD_ENUM,   .choices = probe_checks, .doc = "none: whether an agent that serves it answers. Default: the environment's healthCheckConfig."},
    {"port",           FIELD_INT,    .min = 1, .max = 65535, .doc = "On the agent's host. Default: the target's."},
    {"path",           FIELD_STRING, .min = 1, .max = 1024, .pattern = "^/", .doc = "Of an http check. Default: /health."},
    {"expectStatus",   FIELD_INT,    .min = 100, .max = 599, .doc = "Of an http check. Default: any from 200 to 399."},
    {"expectBody",     FIELD_STRING, .min = 1, .max = 1024, .doc = "What the answer of an http check contains."},
    {"timeoutSeconds", FIELD_INT,    .min = 1, .max = PROBE_CHECK_S, .doc = "Until it counts as failed."},
    {0}};

static const struct field sample_fields[] = {
    {"at",        FIELD_TIME},
    {"latencyMs", FIELD_NUMBER},
    {"message",   FIELD_STRING, .max = 4096},
    {"ok",        FIELD_BOOL},
    {0}};

static const struct field check_data[] = {
    {"targetId",  FIELD_UUID,   FIELD_REQUIRED},
    {"status",    FIELD_ENUM,   FIELD_REQUIRED, .choices = healths, .doc = "Now the target's healthStatus."},
    {"type",      FIELD_STRING, FIELD_REQUIRED, .max = 16, .doc = "Of the check that was made."},
    {"checks",    FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = sample_fields, .max = 100, .doc = "One after the other."},
    {"latencyMs", FIELD_NUMBER, FIELD_REQUIRED | FIELD_NULLABLE, .doc = "Of the last one."},
    {"message",   FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 1024},
    {"checkedAt", FIELD_TIME,   FIELD_REQUIRED},
    {0}};

static const struct field sticker_data[] = {
    {"targetId",   FIELD_UUID,   FIELD_REQUIRED},
    {"content",    FIELD_OBJECT, FIELD_REQUIRED, .doc = "version.json."},
    {"observedAt", FIELD_TIME,   FIELD_REQUIRED, .doc = "When it was last written or read."},
    {"source",     FIELD_ENUM,   FIELD_REQUIRED, .choices = sticker_sources, .doc = "deployment: written by one; agent: read by one."},
    {0}};

static const struct field side_component_fields[] = {
    {"name",   FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 255},
    {"digest", FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 128},
    {0}};

static const struct field expected_fields[] = {
    {"releaseId",   FIELD_UUID,   FIELD_REQUIRED},
    {"releaseName", FIELD_STRING, FIELD_REQUIRED, .max = 255},
    {"components",  FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = side_component_fields, .max = 1000},
    {0}};

static const struct field actual_fields[] = {
    {"releaseId",   FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 255, .doc = "As the sticker says."},
    {"current",     FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 1024, .doc = "The release folder that the link current names."},
    {"components",  FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = side_component_fields, .max = 1000},
    {0}};

static const struct field difference_fields[] = {
    {"component", FIELD_STRING, FIELD_REQUIRED | FIELD_NULLABLE, .max = 255},
    {"kind",      FIELD_ENUM,   FIELD_REQUIRED, .choices = drifts},
    {"expected",  FIELD_ANY,    FIELD_REQUIRED | FIELD_NULLABLE},
    {"actual",    FIELD_ANY,    FIELD_REQUIRED | FIELD_NULLABLE},
    {0}};

static const struct field drift_data[] = {
    {"targetId",    FIELD_UUID,   FIELD_REQUIRED},
    {"hasDrift",    FIELD_BOOL,   FIELD_REQUIRED},
    {"expected",    FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULLABLE, .fields = expected_fields, .doc = "null: nothing was ever deployed there."},
    {"actual",      FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULLABLE, .fields = actual_fields, .doc = "null: nobody was asked."},
    {"differences", FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = difference_fields, .max = 3000},
    {"checkedAt",   FIELD_TIME,   FIELD_REQUIRED},
    {0}};

static const struct route routes[] = {
    {POST, "/targets", crud_create, "target:create", "createTarget", "Add a target to an environment.", ROUTE_ONE_COMMIT, .status = 201},
    {GET, "/targets", crud_list, "target:read", "listTargets", "List targets.", ROUTE_LIST},
    {GET, "/targets/{id}", crud_get, "target:read", "getTarget", "Read a target."},
    {PUT | PATCH, "/targets/{id}", crud_update, "target:update", "updateTarget",
     "Change a target; what is not given stays."},
    {DELETE, "/targets/{id}", crud_delete, "target:delete", "deleteTarget",
     "Take a target away; what was deployed there stays on its host. Not while its environment is deployed to.", .status = 204,
     .codes = {RES_IN_USE}},
    {POST, "/targets/{id}/health-check", target_health_check, "target:update", "checkTarget",
     "Have an agent check a target's health now, once; the target says the result from then on.", ROUTE_NO_BODY, .body = check_body,
     .data = check_data, .action = "target.health_changed", .codes = {ENV_NO_ELIGIBLE_AGENT}},
    {GET, "/targets/{id}/sticker", target_sticker, "target:read", "getTargetSticker",
     "The version sticker last written to a target or read there; 404 when there was none.", .data = sticker_data},
    {GET, "/targets/{id}/drift", target_drift, "target:read", "getTargetDrift",
     "Have an agent look what is really on a target, and compare it with what was deployed.", .data = drift_data,
     .codes = {ENV_NO_ELIGIBLE_AGENT, AGT_TASK_FAILED}},
    ROUTE_END};
// clang-format on

/* --- a target that is taken away --- */

static enum code refuse_held(struct request *r, struct str holder)
{
    struct str id = holder, kind = str_cut(&id, ':');

    r->details = arena_printf(
        &r->arena, "{\"usedBy\":[{\"field\":\"environmentId\",\"id\":\"" STR_FMT "\",\"resource\":\"" STR_FMT "\"}]}",
        STR_ARG(id), STR_ARG(kind));
    return request_refuse(r, RES_IN_USE, "its environment is being deployed to by a " STR_FMT, STR_ARG(kind));
}

static void got_holder(void *arg, enum code c, const struct redis_value *v)
{
    struct request *r = arg;
    const struct change *change = change_current(r);

    if (c == OK && !redis_is_nil(v))
        c = refuse_held(r, arena_str(&r->arena, redis_text(v)));
    if (c != OK) {
        reply_error(r, c);
        return;
    }
    commit_expect_field(change->commit, RES_VERSION_CONFLICT, "pin",
                        key_environment_holders(&r->arena, change->commit->space),
                        json_str(json_get(change->old, "environmentId")), STR_NONE);
    change_gathered(r);
}

static enum flow target_gather(struct request *r, struct change *c)
{
    const struct space space = {r->caller.partition, r->caller.tenant};
    const struct store_command command = STORE_COMMAND(S("HGET"), key_environment_holders(&r->arena, space),
                                                       json_str(json_get(c->old, "environmentId")));
    enum code code;

    if (c->verb != CHANGE_DELETE)
        return NEXT;
    code = store_read(r->worker->store, &command, 1, &r->ops, got_holder, r);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum code target_prepare(struct request *r, struct change *c)
{
    if (c->verb == CHANGE_CREATE) {
        overlay_str(&c->set, "healthStatus", S("unknown"));
        overlay_bool(&c->set, "hasDrift", false);
        overlay_raw(&c->set, "currentDigests", S("[]"));
    }
    if (c->verb == CHANGE_DELETE) {
        commit_hset(c->commit, key_target_facts(&r->arena, c->commit->space), c->id, STR_NONE);
        commit_timer(c->commit, TARGET_TIMER, c->id, 0);
    }
    return OK;
}

const struct resource target_resource = {
    .kind = "target",
    .plural = "targets",
    .tag = "ENVMGR",
    .doc = "Where an environment's releases are put.",
    .fields = fields,
    .routes = routes,
    .parent_field = "environmentId",
    .gather = target_gather,
    .prepare = target_prepare,
};

/* Releases.
 *
 *     POST {draft: true} -> draft --PUT status=ready--> ready --deprecate--> deprecated --PUT status=archived--> archived
 *     POST (default)     -> ready
 *
 * In a draft the components may be changed and are resolved again; from ready on the set of digests never changes. */
#include "server/api/orchestrator/release.h"
#include "server/api/orchestrator/release_resolve.h"
#include "server/api/orchestrator/resources.h"

#include "server/crud.h"

enum state { DRAFT, READY, DEPRECATED, ARCHIVED, STATES };

static const char *const states[] = {"draft", "ready", "deprecated", "archived", NULL};
static const char *const roles[] = {"primary", "sidecar", "init", "migration", NULL};

/* What is allowed in each state, as refusals tell it. */
static const char *const actions[STATES][5] = {
    [DRAFT] = {"update", "publish", "delete", NULL},
    [READY] = {"update", "deprecate", "delete", NULL},
    [DEPRECATED] = {"update", "archive", NULL},
    [ARCHIVED] = {"update", NULL},
};

// clang-format off
#define DIGEST "^sha256:[0-9a-f]{64}$"

static const struct field part_fields[] = {
    {"componentId",     FIELD_UUID,   FIELD_REQUIRED, .doc = "The component."},
    {"tag",             FIELD_STRING, .min = 1, .max = 128, .doc = "Its newest version with this tag; or give digest, or versionId."},
    {"digest",          FIELD_STRING, .max = 71, .pattern = DIGEST, .doc = "What it stands for, for good."},
    {"versionId",       FIELD_UUID,   .doc = "The version it was resolved to."},
    {"role",            FIELD_ENUM,   .choices = roles, .preset = "\"primary\"", .doc = "Its part in the release."},
    {"name",            FIELD_STRING, FIELD_READONLY, .max = 100, .doc = "The component's name when it was resolved."},
    {"semver",          FIELD_STRING, FIELD_READONLY, .max = 128},
    {"imageRepository", FIELD_STRING, FIELD_READONLY, .max = 255},
    {0}};

static const struct field source_fields[] = {
    {"repository",  FIELD_STRING, .min = 1, .max = 500},
    {"commitSha",   FIELD_STRING, .pattern = "^[0-9a-f]{7,64}$"},
    {"branch",      FIELD_STRING, .min = 1, .max = 255},
    {"buildId",     FIELD_STRING, .min = 1, .max = 255},
    {"pipelineUrl", FIELD_STRING, .min = 1, .max = 2048, .pattern = "^https?://[^ @]+$"},
    {0}};

static const struct field fields[] = {
    {"id",               FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",         FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",             FIELD_STRING, FIELD_REQUIRED | FIELD_IMMUTABLE | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 1, .max = 128,
     .pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$", .doc = "Unique in the tenant, for good."},
    {"displayName",      FIELD_STRING, FIELD_SEARCH, .min = 1, .max = 200, .doc = "For people."},
    {"status",           FIELD_ENUM,   FIELD_FILTER | FIELD_ALWAYS, .choices = states,
     .doc = "ready publishes a draft, archived puts a deprecated release away."},
    {"draft",            FIELD_BOOL,   FIELD_WRITEONLY, .doc = "At creation: begin as a draft, whose components may still change."},
    {"components",       FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = part_fields, .max = RELEASE_COMPONENTS,
     .doc = "What it is made of; tags are resolved to digests at once."},
    {"componentIds",     FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .item = FIELD_UUID, .ref = "component"},
    {"digests",          FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .item = FIELD_STRING, .item_max = 72, .doc = "Sorted."},
    {"contentHash",      FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 71, .pattern = DIGEST,
     .doc = "SHA-256 over the sorted digests: the same set of digests is the same release."},
    {"sourceRef",        FIELD_OBJECT, .fields = source_fields, .doc = "Where it was built from."},
    {"notes",            FIELD_STRING, .max = 16384, .doc = "For people."},
    {"metadata",         FIELD_MAP,    FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}", .doc = "Names and values of your own."},
    {"deprecatedReason", FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE, .max = 500},
    DOCUMENT_STAMPS,
    {0}};

static const struct field reason_fields[] = {
    {"reason", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 500, .doc = "Shown to whoever still uses it."},
    {0}};

static enum flow release_deprecate(struct request *r);

static const struct route routes[] = {
    {POST, "/releases", crud_create, "release:create", "createRelease", "Make a release: a set of components, each at one digest.",
     .status = 201, .codes = {REL_EMPTY, REL_TAG_UNRESOLVED, REL_COMPONENT_UNKNOWN}},
    {POST, "/releases/from-latest", release_from_latest, "release:create", "createReleaseFromLatest",
     "Make a release of the newest version of each component.", .status = 201, .body = release_latest_fields,
     .action = "release.created", .codes = {REL_EMPTY, REL_TAG_UNRESOLVED, REL_COMPONENT_UNKNOWN, RES_ALREADY_EXISTS, RES_QUOTA_EXCEEDED}},
    {GET, "/releases", release_list, "release:read", "listReleases", "List releases.", ROUTE_LIST, .query = release_list_query},
    {GET, "/releases/{id}", crud_get, "release:read", "getRelease", "Read a release."},
    {GET, "/releases/{id}/state", release_state, "release:read", "getReleaseState", "Tell where a release is: its state in each environment.",
     .data = release_state_fields},
    {GET, "/releases/{id}/compare/{otherId}", release_comparison, "release:read", "compareReleases", "Tell how two releases differ.",
     .data = release_compare_fields},
    {PUT | PATCH, "/releases/{id}", crud_update, "release:update", "updateRelease",
     "Change a release; its components only while it is a draft.",
     .codes = {REL_EMPTY, REL_TAG_UNRESOLVED, REL_COMPONENT_UNKNOWN, RES_INVALID_STATE}},
    {DELETE, "/releases/{id}", crud_delete, "release:delete", "deleteRelease", "Delete a draft or ready release that nothing refers to.",
     .status = 204, .codes = {RES_INVALID_STATE}},
    {POST, "/releases/{id}/deprecate", release_deprecate, "release:deprecate", "deprecateRelease",
     "Keep a ready release from being promoted any further.", .body = reason_fields, .action = "release.deprecated",
     .codes = {RES_INVALID_STATE}},
    ROUTE_END};
// clang-format on

static enum state state_of(const struct json *release)
{
    struct str status = json_str(json_get(release, "status"));

    for (enum state s = DRAFT; s < STATES; s++)
        if (str_eqz(status, states[s]))
            return s;
    return STATES;
}

static enum code refuse_state(struct request *r, enum state s)
{
    return change_refuse_state(r, states[s], actions[s]);
}

static bool renews_components(const struct change *c)
{
    return c->verb == CHANGE_CREATE || (c->verb == CHANGE_UPDATE && json_get(c->patch, "components") != NULL);
}

static bool puts_away(const struct change *c)
{
    return c->verb == CHANGE_UPDATE && state_of(c->old) == DEPRECATED && state_of(c->whole) == ARCHIVED;
}

static enum flow release_gather(struct request *r, struct change *c)
{
    if (puts_away(c)) {
        bool *deployed = arena_new(&r->arena, bool);
        return deployed == NULL ? reply_error(r, SYS_OVERLOADED) : release_look_deployed(r, c, deployed);
    }
    return renews_components(c) ? release_resolve(r, c, json_get(c->whole, "components")) : NEXT;
}

static enum code check_create(struct request *r, struct change *c, enum state *status)
{
    bool draft = json_bool(json_get(c->patch, "draft"), false);

    *status = json_get(c->whole, "status") == NULL ? (draft ? DRAFT : READY) : state_of(c->whole);
    if (*status > READY || (draft && *status != DRAFT))
        return change_refuse_field(r, VAL_FAILED, "status", "of a new release is draft or ready");
    return OK;
}

static enum code check_update(struct request *r, struct change *c, enum state *status)
{
    enum state before = state_of(c->old);
    static const enum state next[STATES] = {READY, READY, ARCHIVED, ARCHIVED};

    *status = state_of(c->whole);
    if (*status != before && *status != next[before])
        return refuse_state(r, before);
    if (puts_away(c) && *(const bool *)c->state)
        return change_refuse_state(r, "deprecated and was deployed", (const char *const[]){"update", NULL});
    return renews_components(c) && before != DRAFT ? refuse_state(r, before) : OK;
}

static enum code release_prepare(struct request *r, struct change *c)
{
    enum state status = DRAFT;
    enum code code = OK;

    if (c->verb == CHANGE_DELETE)
        return state_of(c->old) > READY ? refuse_state(r, state_of(c->old)) : OK;
    code = c->verb == CHANGE_CREATE ? check_create(r, c, &status) : check_update(r, c, &status);
    if (code != OK)
        return code;
    if (status != DRAFT && json_count(json_get(c->whole, "components")) == 0)
        return request_refuse(r, REL_EMPTY, "a release that is not a draft has at least one component");
    overlay_str(&c->set, "status", str_z(states[status]));
    if (renews_components(c))
        return release_resolved(r, c);
    overlay_json(&c->set, "components", json_get(c->old, "components")); /* with what the server said of them */
    return OK;
}

static enum code deprecate(struct request *r, struct change *c)
{
    enum state before = state_of(c->old);

    if (before != READY)
        return refuse_state(r, before);
    overlay_str(&c->set, "status", S("deprecated"));
    overlay_str(&c->set, "deprecatedReason", json_str(json_get(r->json, "reason")));
    return OK;
}

static enum flow release_deprecate(struct request *r)
{
    return crud_change(r, deprecate, r->route->action);
}

const struct resource release_resource = {
    .kind = "release",
    .plural = "releases",
    .tag = "RELMAN",
    .doc = "Sets of components at fixed digests, promoted as one.",
    .fields = fields,
    .routes = routes,
    .gather = release_gather,
    .prepare = release_prepare,
};

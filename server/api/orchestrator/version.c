#include "server/api/orchestrator/resources.h"

#include "lib/clock.h"
#include "lib/semver.h"
#include "server/api/orchestrator/version_artifact.h"
#include "server/api/orchestrator/version_digest.h"

// clang-format off
#define DIGEST "^sha256:[0-9a-f]{64}$"

static const struct field artifact_fields[] = {
    {"size",        FIELD_INT,    FIELD_REQUIRED, .min = 0, .max = INT64_MAX, .doc = "Bytes."},
    {"contentHash", FIELD_STRING, FIELD_REQUIRED, .max = 71, .pattern = DIGEST, .doc = "The version's digest, as computed here."},
    {"contentType", FIELD_STRING, FIELD_REQUIRED, .max = 255},
    {"uploadedAt",  FIELD_TIME,   FIELD_REQUIRED},
    {0}};

static const struct field fields[] = {
    {"id",           FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",     FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"componentId",  FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .ref = "component"},
    {"tag",          FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER, .min = 1, .max = 128,
     .pattern = "^[A-Za-z0-9_][A-Za-z0-9._+-]*$", .doc = "As people call it. A tag that moves to another digest is a version of its own."},
    {"digest",       FIELD_STRING, FIELD_FILTER | FIELD_ALWAYS, .max = 71, .pattern = DIGEST, .doc = "What the tag stands for. Default: that of what artifactUrl has now."},
    {"reference",    FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_UNIQUE | FIELD_PER_PARENT, .max = 255,
     .doc = "<tag>@<digest>, unique in the component."},
    {"semver",       FIELD_STRING, FIELD_READONLY | FIELD_NULLABLE | FIELD_FILTER, .max = 128, .doc = "The tag as a semantic version, when it is one."},
    {"prerelease",   FIELD_BOOL,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER},
    {"channel",      FIELD_STRING, FIELD_FILTER | FIELD_ALWAYS, .min = 1, .max = 63, .pattern = "^[a-z][a-z0-9-]*$",
     .doc = "Default: the component's defaultChannel."},
    {"artifactUrl",  FIELD_STRING, .min = 1, .max = 2048, .pattern = "^https?://[^ @]+$", .doc = "Where agents fetch it from."},
    {"artifact",     FIELD_OBJECT, FIELD_READONLY, .fields = artifact_fields,
     .doc = "There once the bytes were uploaded; agents then fetch them from here."},
    {"size",         FIELD_INT,    .min = 0, .max = INT64_MAX, .doc = "Bytes."},
    {"labels",       FIELD_MAP,    FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}", .doc = "Names and values of your own."},
    {"pushedAt",     FIELD_TIME,   FIELD_SORT | FIELD_ALWAYS, .doc = "Default: now."},
    {"discoveredAt", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"sortKey",      FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT, .max = 512,
     .doc = "Its place among the component's versions by the versioning strategy, in the order of bytes."},
    {"createdBy",    FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"revision",     FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct route routes[] = {
    {POST, "/components/{id}/versions", crud_create, "component:update", "addVersion", "Add a version by hand, by its digest, or by where its artifact is.",
     .status = 201, .codes = {REL_ARTIFACT_UNREACHABLE}},
    {GET, "/components/{id}/versions", crud_list, "component:read", "listVersions", "List a component's versions, the newest first.",
     ROUTE_LIST},
    {GET, "/components/{id}/versions/{versionId}", crud_get, "component:read", "getVersion", "Read a version."},
    {PUT, "/components/{id}/versions/{versionId}/artifact", version_artifact_put, "component:update", "uploadVersionArtifact",
     "Upload the bytes of a version; their SHA-256 is its digest, or they are refused. The same bytes again are fine.",
     ROUTE_BODY_STREAM, .status = 201, .data = artifact_fields, .codes = {REL_DIGEST_MISMATCH, RES_QUOTA_EXCEEDED}},
    {GET, "/components/{id}/versions/{versionId}/artifact", version_artifact_get, "artifact:read", "downloadVersionArtifact",
     "Download the bytes of a version. Their digest is the ETag.", ROUTE_ENVELOPE_NONE | ROUTE_BYTES, .media = "application/octet-stream"},
    ROUTE_END};
// clang-format on

/* A version's place. What is no semantic version comes before all that are; numbers in dates and counters are brought to
 * one width. */
static struct str sort_key(struct arena *a, struct str strategy, struct str tag, const struct semver *semver,
                           int64_t pushed_ms)
{
    struct buf b;

    buf_init_arena(&b, a, 128);
    if (str_eqz(strategy, "manual"))
        buf_printf(&b, "%020lld", (long long)pushed_ms);
    else if (str_eqz(strategy, "semver") && semver != NULL)
        semver_key(&b, semver);
    else if (str_eqz(strategy, "semver"))
        buf_printf(&b, " %020lld", (long long)pushed_ms);
    else
        for (size_t i = 0, n; i < tag.n; i += n) {
            for (n = 0; i + n < tag.n && tag.p[i + n] >= '0' && tag.p[i + n] <= '9'; n++)
                ;
            if (n == 0)
                buf_char(&b, tag.p[i + n++]);
            else
                buf_printf(&b, "%02zu" STR_FMT, n, (int)n, tag.p + i);
        }
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum code version_prepare(struct request *r, struct change *c)
{
    const struct json *component = change_reference(c, "componentId", true);
    struct str tag = json_str(json_get(c->whole, "tag")), digest = json_str(change_member(c, "digest"));
    struct str pushed = json_str(json_get(c->whole, "pushedAt"));
    int64_t pushed_ms = c->now_ms;
    struct semver v;
    struct buf text;

    if (c->verb == CHANGE_DELETE)
        return OK;
    bool semantic = semver_parse(tag, &v);
    if (pushed.n == 0 || !clock_parse(pushed, &pushed_ms))
        overlay_time(&c->set, "pushedAt", pushed_ms);
    if (json_get(c->whole, "channel") == NULL)
        overlay_str(&c->set, "channel", json_str(json_get(component, "defaultChannel")));
    overlay_str(&c->set, "reference", arena_printf(&r->arena, STR_FMT "@" STR_FMT, STR_ARG(tag), STR_ARG(digest)));
    overlay_str(
        &c->set, "sortKey",
        sort_key(&r->arena, json_str(json_get(component, "versioningStrategy")), tag, semantic ? &v : NULL, pushed_ms));
    overlay_bool(&c->set, "prerelease", semantic && v.prerelease.n > 0);
    overlay_time(&c->set, "discoveredAt", c->now_ms);
    if (semantic) {
        buf_init_arena(&text, &r->arena, 64);
        semver_write(&text, &v);
        overlay_str(&c->set, "semver", buf_view(&text));
    }
    return OK;
}

const struct resource version_resource = {
    .kind = "version",
    .plural = "versions",
    .tag = "RELMAN",
    .doc = "Versions of a component: what a tag stood for when it was added.",
    .fields = fields,
    .routes = routes,
    .parent = "component",
    .parent_field = "componentId",
    .sort = "-sortKey",
    .gather = version_digest_gather,
    .prepare = version_prepare,
};

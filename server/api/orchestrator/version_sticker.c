/* Version stickers: what was written to a target's version.json, one document for each writing. Made and changed by
 * server/engine/target_settle.h, only read here. */
#include "server/api/orchestrator/resources.h"

#include "server/crud.h"

static const char *const statuses[] = {"current", "superseded", "missing", "mismatch", NULL};

// clang-format off
static const struct field fields[] = {
    {"id",              FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"targetId",        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .doc = "Where it was written; the target may be gone."},
    {"environmentId",   FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER | FIELD_SCOPE},
    {"releaseId",       FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "The release it names."},
    {"deploymentJobId", FIELD_UUID,   FIELD_READONLY | FIELD_FILTER, .doc = "The job that wrote it."},
    {"content",         FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "As written."},
    {"contentHash",     FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .max = 128},
    {"writtenAt",       FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"status",          FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = statuses,
     .doc = "current: the last one written there. missing, mismatch: so, but when the target was last asked, it was gone or other."},
    {"lastVerifiedAt",  FIELD_TIME,   FIELD_READONLY | FIELD_NULLABLE, .doc = "When the target was last asked for it."},
    {"createdAt",       FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"updatedAt",       FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"revision",        FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct route routes[] = {
    {GET, "/version-stickers", crud_list, "evidence:read", "listVersionStickers", "List version stickers, old ones too.", ROUTE_LIST},
    {GET, "/version-stickers/{id}", crud_get, "evidence:read", "getVersionSticker", "Read a version sticker."},
    ROUTE_END};
// clang-format on

const struct resource version_sticker_resource = {
    .kind = "version-sticker",
    .plural = "version-stickers",
    .tag = "RELEVI",
    .doc = "What was written to a target's version.json.",
    .fields = fields,
    .routes = routes,
};

#include "server/api/orchestrator/resources.h"

#include "server/engine/step_type.h"
#include "server/shelf.h"

static const char *const categories[] = {"control", "gate", "deploy", "integration", "notify", "progressive", NULL};
static const char *const providers[] = {"builtin", "plugin", NULL};
static const char *const backoffs[] = {"fixed", "linear", "exponential", NULL};

// clang-format off
static const struct field retry_fields[] = {
    {"maxAttempts",         FIELD_INT,    FIELD_REQUIRED, .min = 1, .max = 10, .doc = "Attempts in all."},
    {"backoff",             FIELD_ENUM,   FIELD_REQUIRED, .choices = backoffs, .doc = "How the delay grows."},
    {"initialDelaySeconds", FIELD_NUMBER, FIELD_REQUIRED, .doc = "Before the second attempt."},
    {"maxDelaySeconds",     FIELD_NUMBER, FIELD_REQUIRED, .doc = "The delay never exceeds this."},
    {0}};

static const struct field fields[] = {
    {"type",                  FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .max = 63, .doc = "What a node of a template names."},
    {"displayName",           FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 200, .doc = "For people."},
    {"category",              FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .choices = categories, .doc = "What it is for."},
    {"description",           FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 1000, .doc = "What it does."},
    {"configSchema",          FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "JSON Schema of a node's config."},
    {"inputsSchema",          FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "JSON Schema of what it takes beside its config."},
    {"outputsSchema",         FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .doc = "JSON Schema of what it leaves behind."},
    {"defaultTimeoutSeconds", FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Of one attempt, when the node says nothing."},
    {"defaultRetry",          FIELD_OBJECT, FIELD_READONLY | FIELD_REQUIRED, .fields = retry_fields, .doc = "When the node says nothing."},
    {"cancellable",           FIELD_BOOL,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .doc = "It stops when the run is cancelled."},
    {"provider",              FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .choices = providers, .doc = "Who brings it."},
    {0}};
// clang-format on

static struct json *document(struct request *r, const struct step_type *t)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &r->arena, 4096);
    json_out_init(&o, &b);
    step_type_write(&o, t);
    return b.failed ? NULL : json_parse(&r->arena, buf_view(&b), NULL, NULL);
}

static enum flow list(struct request *r)
{
    enum { MOST = 64 };
    const struct json *items[MOST];
    size_t n = 0;

    for (const struct step_type *t; n < MOST && (t = step_type_at(n)) != NULL; n++) {
        items[n] = document(r, t);
        if (items[n] == NULL)
            return reply_error(r, SYS_OVERLOADED);
    }
    return shelf_reply(r, &step_type_resource, items, n);
}

static enum flow get(struct request *r)
{
    const struct step_type *t = step_type_find(r->params[0]);
    struct json_out o;
    struct buf b;

    if (t == NULL)
        return reply_error(r, RES_NOT_FOUND);
    buf_init_arena(&b, &r->arena, 4096);
    json_out_init(&o, &b);
    step_type_write(&o, t);
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, 200, buf_view(&b));
}

// clang-format off
static const struct route routes[] = {
    {GET, "/step-types", list, "workflow:read", "listStepTypes", "List what the nodes of a workflow can do.", ROUTE_LIST},
    {GET, "/step-types/{type}", get, "workflow:read", "getStepType", "Read one step type with the schema of its configuration."},
    ROUTE_END};
// clang-format on

const struct resource step_type_resource = {
    .kind = "step-type",
    .plural = "step-types",
    .tag = "WORKFL",
    .doc = "What a node of a workflow can do.",
    .fields = fields,
    .routes = routes,
    .sort = "type",
};

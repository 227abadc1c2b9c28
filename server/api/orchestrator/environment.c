#include "server/api/orchestrator/resources.h"

#include "lib/id.h"
#include "server/crud.h"
#include "server/engine/environment_settle.h"
#include "server/reference.h"
#include "server/store/page.h"
#include "server/worker.h"

// clang-format off
static const char *const check_types[] = {"http", "tcp", "command", "none", NULL};

static const struct field health_check_fields[] = {
    {"type",     FIELD_ENUM,   .choices = check_types, .preset = "\"http\"", .doc = "How health is asked for."},
    {"path",     FIELD_STRING, .min = 1, .max = 1024, .preset = "\"/health\"", .doc = "Of an http check."},
    {"port",     FIELD_INT,    .min = 1, .max = 65535, .doc = "Where an http or tcp check connects."},
    {"timeout",  FIELD_INT,    .min = 1, .max = 3600, .preset = "30", .doc = "Seconds until a check has failed."},
    {"retries",  FIELD_INT,    .min = 0, .max = 100, .preset = "3", .doc = "Failures in a row that count."},
    {"interval", FIELD_INT,    .min = 1, .max = 3600, .preset = "10", .doc = "Seconds between checks."},
    {0}};

static const struct field registry_fields[] = {
    {"registry",      FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 255, .doc = "As images name it."},
    {"replacement",   FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 255, .doc = "What is used instead."},
    {"credentialRef", FIELD_STRING, .min = 1, .max = 500, .doc = "Reference into the vault."},
    {0}};

static const struct field config_fields[] = {
    {"variables",           FIELD_MAP,    .item = FIELD_STRING, .item_max = 4096, .max = 200,
     .doc = "Given to everything that is deployed here."},
    {"secrets",             FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .item_max = 500, .max = 200,
     .doc = "References into the vault, never the secrets."},
    {"registryOverrides",   FIELD_LIST,   .item = FIELD_OBJECT, .fields = registry_fields, .max = 50,
     .doc = "Registries this environment reaches by other names."},
    {"agentLabels",         FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .item_max = 128, .max = 50,
     .pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]*(=[A-Za-z0-9._/-]*)?$", .doc = "Labels an agent must carry: name or name=value."},
    {"deploymentTimeout",   FIELD_INT,    .min = 1, .max = 86400, .preset = "600", .doc = "Seconds."},
    {"deploymentTemplate",  FIELD_STRING, .min = 1, .max = 100, .doc = "Name of the workflow template that deploys here."},
    {"healthCheckInterval", FIELD_INT,    .min = 1, .max = 3600, .preset = "30", .doc = "Seconds."},
    {"healthCheckConfig",   FIELD_OBJECT, .fields = health_check_fields, .preset = "{}"},
    {0}};

static const struct field release_fields[] = {
    {"id",         FIELD_UUID,   FIELD_REQUIRED},
    {"name",       FIELD_STRING, FIELD_REQUIRED, .max = 255},
    {"deployedAt", FIELD_TIME,   FIELD_REQUIRED},
    {0}};

static const struct field fields[] = {
    {"id",                        FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SCOPE},
    {"tenantId",                  FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",                      FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 1, .max = 63,
     .pattern = "^[a-z][a-z0-9-]{0,62}$", .doc = "Unique in the tenant."},
    {"displayName",               FIELD_STRING, FIELD_SEARCH | FIELD_ALWAYS, .min = 1, .max = 200, .doc = "Default: the name."},
    {"orderIndex",                FIELD_INT,    FIELD_SORT | FIELD_UNIQUE | FIELD_ALWAYS, .min = 0, .max = 1000000,
     .doc = "Place in the order of promotion, unique in the tenant. Default: behind the last."},
    {"config",                    FIELD_OBJECT, .fields = config_fields, .preset = "{}"},
    {"requiredApprovals",         FIELD_INT,    FIELD_SEARCH, .min = 0, .max = 20, .preset = "0",
     .doc = "People who must approve a promotion into it."},
    {"requireSeparationOfDuties", FIELD_BOOL,   FIELD_FILTER, .preset = "false",
     .doc = "Whoever asks for a promotion cannot approve it."},
    {"requireSod",                FIELD_BOOL,   FIELD_WRITEONLY, .alias = "requireSeparationOfDuties",
     .doc = "Short for requireSeparationOfDuties."},
    {"promotionPolicy",           FIELD_STRING, FIELD_SEARCH, .min = 1, .max = 100, .doc = "Name of a policy."},
    {"autoPromoteFrom",           FIELD_UUID,   FIELD_NULLABLE | FIELD_FILTER, .ref = "environment",
     .doc = "What is deployed there is promoted here by itself. Must have a lower orderIndex."},
    {"isProduction",              FIELD_BOOL,   FIELD_FILTER | FIELD_ALWAYS, .doc = "Default: whether it is called prod or production."},
    {"currentRelease",            FIELD_OBJECT, FIELD_READONLY | FIELD_LIVE | FIELD_NULLABLE, .fields = release_fields,
     .doc = "Only with includeState; null before the first deployment."},
    DOCUMENT_STAMPS,
    {0}};

static const struct field state_query[] = {
    {"includeState", FIELD_BOOL, .preset = "false", .doc = "Adds currentRelease."},
    {0}};

static const struct route routes[] = {
    {POST, "/environments", crud_create, "environment:create", "createEnvironment", "Create an environment.",
     .status = 201, .codes = {ENV_ORDER_VIOLATION}},
    {GET, "/environments", crud_list, "environment:read", "listEnvironments", "List environments in their order of promotion.",
     ROUTE_LIST, .query = state_query},
    {GET, "/environments/{id}", crud_get, "environment:read", "getEnvironment", "Read an environment.",
     .query = state_query},
    {PUT | PATCH, "/environments/{id}", crud_update, "environment:update", "updateEnvironment",
     "Change an environment; what is not given stays.", .codes = {ENV_ORDER_VIOLATION}},
    {DELETE, "/environments/{id}", crud_delete, "environment:delete", "deleteEnvironment",
     "Delete an environment that nothing refers to.", .status = 204},
    ROUTE_END};
// clang-format on

enum { PATIENT = 4 };

/* What had to be read before a change can be judged. */
struct gathered {
    struct request *r;
    struct change *change;
    bool crowded;   /* more follow than can be looked at */
    int64_t lowest; /* orderIndex of those that promote from here by themselves */
};

static int64_t order_of(const struct json *environment, int64_t otherwise)
{
    return json_int(json_get(environment, "orderIndex"), otherwise);
}

static void got_last(void *arg, enum code c, const struct page_result *result)
{
    struct gathered *g = arg;
    struct request *r = g->r;
    struct page_item last;
    int64_t order = -1;
    if (c == OK && page_item(result, 0, &last))
        order = order_of(json_parse(&r->arena, last.json, NULL, NULL), -1);
    if (c != OK) {
        reply_error(r, c);
        return;
    }
    /* Many at once would all choose the same, and one a time get it: those who lost often stand back a little. */
    if (g->change->tries > PATIENT)
        order += random_below(g->change->tries);
    overlay_int(&g->change->set, "orderIndex", order + 1);
    g->change->chosen = "orderIndex";
    change_gathered(r);
}

static enum flow read_last(struct request *r, struct gathered *g)
{
    const struct page_query q = {.space = {r->caller.partition, r->caller.tenant},
                                 .kind = "environment",
                                 .source = PAGE_SORTED,
                                 .field = "orderIndex",
                                 .reverse = true,
                                 .count = 1};
    enum code c = store_page(r->worker->store, &r->arena, &q, &r->ops, got_last, g);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow got_followers(struct request *r, const struct reference_users *users)
{
    struct gathered *g = change_current(r)->state;
    g->crowded = users->more;
    for (size_t i = 0; i < users->n; i++) {
        int64_t order = order_of(users->list[i], INT64_MAX);
        g->lowest = order < g->lowest ? order : g->lowest;
    }
    return change_gathered(r);
}

static enum flow environment_gather(struct request *r, struct change *c)
{
    struct gathered *g = arena_new(&r->arena, struct gathered);
    if (g == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *g = (struct gathered){.r = r, .change = c, .lowest = INT64_MAX};
    c->state = g;
    int64_t order = order_of(c->whole, -1);
    if (c->verb != CHANGE_DELETE && order < 0)
        return read_last(r, g);
    if (c->verb == CHANGE_UPDATE && order > order_of(c->old, 0))
        return reference_users(r, c->resource, "autoPromoteFrom", c->id, c->commit, got_followers);
    return NEXT;
}

static enum code check_order(struct request *r, struct change *c)
{
    const struct gathered *g = c->state;
    int64_t order = json_int(change_member(c, "orderIndex"), 0);
    const struct json *source = change_reference(c, "autoPromoteFrom", true);
    if (str_eq(json_str(json_get(c->whole, "autoPromoteFrom")), c->id))
        return change_refuse_field(r, ENV_ORDER_VIOLATION, "autoPromoteFrom", "is the environment itself");
    if (source != NULL && order_of(source, 0) >= order)
        return change_refuse_field(r, ENV_ORDER_VIOLATION, "autoPromoteFrom",
                                   "has orderIndex %lld, which is not below %lld", (long long)order_of(source, 0),
                                   (long long)order);
    if (g->crowded || g->lowest <= order)
        return change_refuse_field(r, ENV_ORDER_VIOLATION, "orderIndex",
                                   "must stay below that of the environments promoted from here");
    return OK;
}

/* Promotions that are not over keep it; what became of earlier ones stays readable without it. */
static void expect_idle(struct request *r, struct change *c)
{
    struct arena *a = &r->arena;
    const struct space space = {r->caller.partition, r->caller.tenant};
    static const char label[] = "promotion.environmentId";

    commit_expect_field(c->commit, RES_IN_USE, label, key_environment_holders(a, space), c->id, STR_NONE);
    commit_expect_absent(c->commit, RES_IN_USE, label, key_promotions_pending(a, space, c->id));
    commit_expect_absent(c->commit, RES_IN_USE, label, key_promotions_awaiting(a, space, c->id));
    commit_expect_absent(c->commit, RES_IN_USE, label, key_promotions_approved(a, space, c->id));
    commit_hset(c->commit, key_environment_releases(a, space), c->id, STR_NONE);
}

static enum code environment_prepare(struct request *r, struct change *c)
{
    if (c->verb == CHANGE_DELETE) {
        expect_idle(r, c);
        return OK;
    }
    environment_wake(c->commit, c->id, c->now_ms);
    environment_settle(r->worker, (struct space){r->caller.partition, r->caller.tenant}, c->id);
    struct str name = json_str(json_get(c->whole, "name"));
    if (json_get(c->whole, "displayName") == NULL)
        overlay_str(&c->set, "displayName", name);
    if (json_get(c->whole, "isProduction") == NULL)
        overlay_bool(&c->set, "isProduction", str_eqz(name, "prod") || str_eqz(name, "production"));
    return check_order(r, c);
}

/* --- what is deployed there --- */

struct stating {
    struct request *r;
    struct document *documents;
    size_t n;
};

/* {deployedAt, id, name} of what P:er has. */
static struct str current_release(struct arena *a, const struct redis_value *fact)
{
    static const char *const members[] = {"deployedAt", "id", "name"};
    const struct json *json =
        redis_is_nil(fact) ? NULL : json_parse(a, arena_str(a, redis_text(fact)), NULL, &(struct json_fault){0});
    struct json_out o;
    struct buf b;

    if (json_get(json, "id") == NULL)
        return S("\"currentRelease\":null");
    buf_init_arena(&b, a, 192);
    buf_z(&b, "\"currentRelease\":");
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        json_key(&o, str_z(members[i]));
        json_put(&o, json_get(json, members[i]));
    }
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static void got_states(void *arg, enum code c, const struct redis_value *v)
{
    struct stating *s = arg;

    for (size_t i = 0; c == OK && i < s->n; i++) {
        s->documents[i].live = current_release(&s->r->arena, redis_at(v, i));
        if (s->documents[i].live.p == NULL)
            c = SYS_OVERLOADED;
    }
    if (c != OK)
        reply_error(s->r, c);
    else
        crud_enriched(s->r);
}

static enum flow environment_live(struct request *r, struct document *documents, size_t n)
{
    struct arena *a = &r->arena;
    struct stating *s = arena_new(a, struct stating);
    struct str *argv = arena_array(a, n + 2, sizeof(*argv));

    if (!json_bool(json_get(r->parameters, "includeState"), false))
        return NEXT;
    if (s == NULL || argv == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *s = (struct stating){r, documents, n};
    argv[0] = S("HMGET");
    argv[1] = key_environment_releases(a, (struct space){r->caller.partition, r->caller.tenant});
    for (size_t i = 0; i < n; i++)
        argv[i + 2] = documents[i].id;
    const struct store_command read = {n + 2, argv};
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, got_states, s);
    return c == OK ? WAIT : reply_error(r, c);
}

const struct resource environment_resource = {
    .kind = "environment",
    .plural = "environments",
    .tag = "ENVMGR",
    .doc = "Where releases are deployed, in an order of promotion.",
    .fields = fields,
    .routes = routes,
    .sort = "orderIndex",
    .gather = environment_gather,
    .prepare = environment_prepare,
    .live = environment_live,
};

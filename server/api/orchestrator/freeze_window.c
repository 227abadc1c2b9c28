#include "server/api/orchestrator/resources.h"

#include "lib/clock.h"
#include "server/crud.h"
#include "server/engine/environment_settle.h"
#include "server/engine/freeze.h"
#include "server/list.h"
#include "server/worker.h"

// clang-format off
static const struct field fields[] = {
    {"id",             FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",       FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"environmentId",  FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER | FIELD_SCOPE, .ref = "environment"},
    {"start",          FIELD_TIME,   FIELD_REQUIRED | FIELD_SORT, .doc = "First instant of the freeze."},
    {"end",            FIELD_TIME,   FIELD_REQUIRED | FIELD_SORT, .doc = "First instant after it."},
    {"reason",         FIELD_STRING, FIELD_REQUIRED | FIELD_SEARCH, .min = 1, .max = 500},
    {"exceptions",     FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .item_max = 255, .max = 100, .preset = "[]",
     .doc = "Ids of users who may override it."},
    {"blockRollbacks", FIELD_BOOL,   FIELD_FILTER, .preset = "false"},
    {"active",         FIELD_BOOL,   FIELD_READONLY | FIELD_LIVE | FIELD_REQUIRED, .doc = "It is in force now."},
    {"createdAt",      FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"createdBy",      FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"revision",       FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."},
    {0}};

static const struct field list_query[] = {
    {"active", FIELD_BOOL, .doc = "Those in force now, or all others."},
    {"from",   FIELD_TIME, .doc = "Those that end later."},
    {"to",     FIELD_TIME, .doc = "Those that start earlier."},
    {0}};

static enum flow freeze_window_list(struct request *r);

static const struct route routes[] = {
    {POST, "/environments/{envId}/freeze-windows", crud_create, "freeze:create", "createFreezeWindow",
     "Announce a freeze of an environment.", .status = 201},
    {GET, "/environments/{envId}/freeze-windows", freeze_window_list, "freeze:read", "listFreezeWindows",
     "List the freezes of an environment, past ones too.", ROUTE_LIST, .query = list_query},
    {DELETE, "/environments/{envId}/freeze-windows/{windowId}", crud_delete, "freeze:delete", "deleteFreezeWindow",
     "Take a freeze back.", .status = 204},
    ROUTE_END};
// clang-format on

/* --- the list --- */

static void put_bound(struct json_out *o, const char *field, const char *op, struct str time)
{
    json_open(o, '{');
    json_key(o, str_z(field));
    json_open(o, '{');
    json_key(o, str_z(op));
    json_put_str(o, time);
    json_close(o, '}');
    json_close(o, '}');
}

static struct str time_text(struct request *r, int64_t unix_ms)
{
    char text[CLOCK_TEXT];

    clock_text(unix_ms, text);
    return arena_str(&r->arena, str_z(text));
}

/* What the parameters of its own ask for, as a filter expression; STR_NONE: nothing. */
static struct str scope_text(struct request *r)
{
    struct str from = json_str(json_get(r->parameters, "from")), to = json_str(json_get(r->parameters, "to"));
    const struct json *active = json_get(r->parameters, "active");
    struct str now = time_text(r, store_now_ms(r->worker->store));
    struct json_out o;
    struct buf b;

    if (from.n == 0 && to.n == 0 && active == NULL)
        return STR_NONE;
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("$and"));
    json_open(&o, '[');
    if (from.n > 0)
        put_bound(&o, "end", "$gt", from);
    if (to.n > 0)
        put_bound(&o, "start", "$lt", to);
    if (active != NULL) {
        bool wanted = json_bool(active, false);
        json_open(&o, '{');
        json_key(&o, wanted ? S("$and") : S("$or"));
        json_open(&o, '[');
        put_bound(&o, "start", wanted ? "$lte" : "$gt", now);
        put_bound(&o, "end", wanted ? "$gt" : "$lte", now);
        json_close(&o, ']');
        json_close(&o, '}');
    }
    json_close(&o, ']');
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum flow freeze_window_list(struct request *r)
{
    struct faults *faults = arena_new(&r->arena, struct faults);
    struct str text = scope_text(r);
    const struct filter *scope = NULL;

    if (faults == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(faults, &r->arena);
    if (text.n > 0 && !filter_parse(&r->arena, fields, text, faults, &scope))
        return reply_error(r, SYS_OVERLOADED);
    return list_reply(r, &freeze_window_resource, scope);
}

static enum flow freeze_window_live(struct request *r, struct document *documents, size_t n)
{
    int64_t now_ms = store_now_ms(r->worker->store);

    for (size_t i = 0; i < n; i++) {
        const struct json *window = document_json(&r->arena, documents[i].json, NULL);
        if (window == NULL)
            return reply_error(r, SYS_OVERLOADED);
        documents[i].live = freeze_active(window, now_ms) ? S("\"active\":true") : S("\"active\":false");
    }
    return NEXT;
}

/* --- changes --- */

/* What waits in the environment may go on now, or has to wait. */
static enum code freeze_window_prepare(struct request *r, struct change *c)
{
    bool taken_back = c->verb == CHANGE_DELETE;
    const struct json *window = taken_back ? c->old : c->whole;
    struct str environment =
        json_str(taken_back ? json_get(c->old, "environmentId") : change_member(c, "environmentId"));
    int64_t start_ms = 0, end_ms = 0;

    if (!taken_back && clock_parse(json_str(json_get(window, "start")), &start_ms) &&
        clock_parse(json_str(json_get(window, "end")), &end_ms) && end_ms <= start_ms)
        return change_refuse_field(r, VAL_FAILED, "end", "is not behind the start");
    if (!taken_back)
        freeze_schedule(c->commit, window, c->id);
    else
        freeze_taken_back(c->commit, window, c->id, c->now_ms);
    environment_wake(c->commit, environment, c->now_ms);
    environment_settle(r->worker, (struct space){r->caller.partition, r->caller.tenant}, environment);
    return OK;
}

const struct resource freeze_window_resource = {
    .kind = "freeze-window",
    .plural = "freeze-windows",
    .tag = "ENVMGR",
    .doc = "When nothing is promoted into an environment.",
    .fields = fields,
    .routes = routes,
    .parent = "environment",
    .parent_field = "environmentId",
    .sort = "start",
    .prepare = freeze_window_prepare,
    .live = freeze_window_live,
};

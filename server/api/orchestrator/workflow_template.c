#include "server/api/orchestrator/resources.h"

#include "server/bitmap.h"
#include "server/crud.h"
#include "server/engine/template.h"
#include "server/filter.h"
#include "server/store/page.h"
#include "server/worker.h"

static const char *const states[] = {"draft", "active", "archived", NULL};

// clang-format off
static const struct field fields[] = {
    {"id",             FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",       FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",           FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE, .min = 1, .max = 100,
     .pattern = "^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$", .doc = "Unique in the tenant."},
    {"displayName",    FIELD_STRING, FIELD_SEARCH, .min = 1, .max = 200, .doc = "For people."},
    {"description",    FIELD_STRING, .max = 4096, .doc = "For people."},
    {"labels",         FIELD_MAP,    FIELD_FILTER, .max = 50, .item = FIELD_STRING, .item_max = 255, .preset = "{}", .doc = "Names and values of your own."},
    {"version",        FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT, .doc = "Counts changes of the definition; a run pins one."},
    {"status",         FIELD_ENUM,   FIELD_FILTER, .choices = states, .preset = "\"active\"",
     .doc = "draft: may be faulty, cannot run. active: checked, can run. archived: cannot run."},
    TEMPLATE_DEFINITION,
    DOCUMENT_STAMPS,
    {0}};

static const struct field candidate_fields[] = { /* whatever it is: faults are part of the answer */
    {"name",           FIELD_ANY, .doc = "Not looked at."},
    {"inputs",         FIELD_ANY, .doc = "What a run takes."},
    {"nodes",          FIELD_ANY, .doc = "The steps. Without them the stored definition is checked."},
    {"edges",          FIELD_ANY, .doc = "What comes after what."},
    {"outputs",        FIELD_ANY, .doc = "Name to expression."},
    {"timeoutSeconds", FIELD_ANY, .doc = "Of a whole run."},
    {"onFailure",      FIELD_ANY, .doc = "What an uncaught failure does to the others."},
    {"finally",        FIELD_ANY, .doc = "Nodes that run last."},
    {0}};

static const struct field fault_fields[] = {
    {"code",    FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "WF_CYCLE, WF_STEP_TYPE_UNKNOWN, WF_EXPRESSION, VAL_REQUIRED ..."},
    {"path",    FIELD_STRING, FIELD_REQUIRED, .max = 512, .doc = "Where in the definition: nodes[2].config.url"},
    {"nodeId",  FIELD_STRING, .max = 63, .doc = "The node it is about."},
    {"message", FIELD_STRING, FIELD_REQUIRED, .max = 1024, .doc = "For people."},
    {0}};
static const struct field report_fields[] = {
    {"valid",        FIELD_BOOL, FIELD_REQUIRED, .doc = "There are no errors."},
    {"errors",       FIELD_LIST, FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = fault_fields, .doc = "What keeps it from running."},
    {"warnings",     FIELD_LIST, FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = fault_fields, .doc = "What is probably not meant."},
    {"plan",         FIELD_LIST, FIELD_REQUIRED, .item = FIELD_ANY, .doc = "Layers of node ids: each layer can run at once."},
    {"criticalPath", FIELD_LIST, FIELD_REQUIRED, .item = FIELD_STRING, .doc = "The path with the largest sum of time-outs."},
    {0}};
// clang-format on

/* --- the definition --- */

static struct str definition_of(struct arena *a, const struct json *document)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 2048);
    json_out_init(&o, &b);
    template_definition_write(&o, document);
    return b.failed ? STR_NONE : buf_view(&b);
}

/* What a template that runs may pin must run. */
static enum code check_active(struct request *r, const struct json *whole)
{
    struct template_report *report;
    struct json_out o;
    struct buf b;

    if (template_is_sound(&r->arena, whole))
        return OK;
    report = arena_new(&r->arena, struct template_report);
    if (report == NULL || template_parse(&r->arena, whole, report) != NULL)
        return SYS_OVERLOADED;
    if (report->n_errors == 0)
        return SYS_OVERLOADED;
    buf_init_arena(&b, &r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("errors"));
    template_errors_write(&o, report);
    json_close(&o, '}');
    r->details = b.failed ? STR_NONE : buf_view(&b);
    return request_refuse(r, WF_TEMPLATE_INVALID, STR_FMT ": " STR_FMT, STR_ARG(report->errors[0].path),
                          STR_ARG(report->errors[0].message));
}

/* Each definition is kept under its number, beside the document, for runs to pin. */
static void keep_version(struct request *r, struct change *c, int64_t version, struct str definition)
{
    struct str key =
        key_document(&r->arena, (struct space){r->caller.partition, r->caller.tenant}, c->resource->kind, c->id);

    commit_hset(c->commit, key, ARENA_CAT(&r->arena, S("v:"), arena_int(&r->arena, version)), definition);
    if (version > TEMPLATE_VERSIONS_KEPT)
        commit_hset(c->commit, key, arena_printf(&r->arena, "v:%lld", (long long)(version - TEMPLATE_VERSIONS_KEPT)),
                    STR_NONE);
}

static enum code template_prepare(struct request *r, struct change *c)
{
    int64_t version = json_int(json_get(c->old, "version"), 0);
    struct str before, after;
    enum code code;

    if (c->verb == CHANGE_DELETE)
        return OK;
    code = str_eqz(json_str(json_get(c->whole, "status")), "active") ? check_active(r, c->whole) : OK;
    if (code != OK)
        return code;
    before = c->old == NULL ? S("") : definition_of(&r->arena, c->old);
    after = definition_of(&r->arena, c->whole);
    if (before.p == NULL || after.p == NULL)
        return SYS_OVERLOADED;
    if (!str_eq(before, after))
        keep_version(r, c, ++version, after);
    overlay_int(&c->set, "version", version);
    return OK;
}

/* --- a template stays while runs of it are active, or an environment deploys with it --- */

enum { ENVIRONMENTS = 500, USERS_NAMED = 10 };

static const char *const active_states[] = {"pending", "running", "waiting", "paused", "cancelling"};

static void refuse_used(struct request *r, struct str users, const char *why)
{
    r->details = arena_printf(&r->arena, "{\"usedBy\":" STR_FMT "}", STR_ARG(users));
    reply_error(r, request_refuse(r, RES_IN_USE, "%s", why));
}

/* Environments whose config names the template. */
static void got_environments(void *arg, enum code c, const struct page_result *result)
{
    struct request *r = arg;
    struct str name = json_str(json_get(change_current(r)->old, "name"));
    struct page_item item;
    struct json_out o;
    struct buf b;
    int users = 0;

    if (c != OK) {
        reply_error(r, c);
        return;
    }
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '[');
    for (size_t i = 0; page_item(result, i, &item); i++) {
        const struct json *e = item.json.p == NULL ? NULL : json_parse(&r->arena, item.json, NULL, NULL);

        if (!str_eq(json_str(json_path(e, S("config.deploymentTemplate"))), name) || users++ >= USERS_NAMED)
            continue;
        json_open(&o, '{');
        json_key(&o, S("id"));
        json_put_str(&o, item.id);
        json_key(&o, S("kind"));
        json_put_z(&o, environment_resource.kind);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    if (users > 0)
        refuse_used(r, buf_view(&b), "environments deploy with this template");
    else
        change_gathered(r);
}

static void read_environments(struct request *r)
{
    struct page_query q = {.space = {r->caller.partition, r->caller.tenant},
                           .kind = environment_resource.kind,
                           .source = PAGE_CREATED,
                           .count = ENVIRONMENTS};
    enum code c = store_page(r->worker->store, &r->arena, &q, &r->ops, got_environments, r);

    if (c != OK)
        reply_error(r, c);
}

static void got_runs(void *arg, enum code c, const struct page_result *result)
{
    struct request *r = arg;
    struct bitmap of_template, in_state;
    bool used = false, fine = c == OK && bitmap_join(&r->arena, redis_at(result->facets, 0), &of_template);

    for (size_t i = 0; fine && i < ARRAY_LEN(active_states); i++) {
        fine = bitmap_join(&r->arena, redis_at(result->facets, i + 1), &in_state);
        for (size_t k = 0; fine && k < of_template.n && k < in_state.n; k++)
            used = used || (of_template.words[k] & in_state.words[k]) != 0;
    }
    if (c != OK || !fine)
        reply_error(r, c != OK ? c : SYS_OVERLOADED);
    else if (used)
        refuse_used(r, S("[{\"kind\":\"run\"}]"), "runs of this template are active");
    else
        read_environments(r);
}

static enum flow template_gather(struct request *r, struct change *c)
{
    struct str *facets = arena_array(&r->arena, 1 + ARRAY_LEN(active_states), sizeof *facets);
    struct page_query q = {.space = {r->caller.partition, r->caller.tenant},
                           .kind = workflow_run_resource.kind,
                           .source = PAGE_NONE,
                           .facets = facets,
                           .facet_count = 1 + ARRAY_LEN(active_states)};
    enum code code;

    if (c->verb != CHANGE_DELETE)
        return NEXT;
    if (facets == NULL)
        return reply_error(r, SYS_OVERLOADED);
    facets[0] = arena_printf(&r->arena, "templateId=" STR_FMT, STR_ARG(c->id));
    for (size_t i = 0; i < ARRAY_LEN(active_states); i++)
        facets[i + 1] = arena_printf(&r->arena, "status=%s", active_states[i]);
    code = store_page(r->worker->store, &r->arena, &q, &r->ops, got_runs, r);
    return code == OK ? WAIT : reply_error(r, code);
}

/* --- validate --- */

static enum flow report_on(struct request *r, struct document *d, const struct json *stored)
{
    const struct json *definition = json_count(r->json) > 0 ? r->json : stored;
    struct template_report *report = arena_new(&r->arena, struct template_report);
    const struct template *t;
    struct json_out o;
    struct buf b;

    (void)d;
    if (report == NULL)
        return reply_error(r, SYS_OVERLOADED);
    t = template_parse(&r->arena, definition, report);
    buf_init_arena(&b, &r->arena, 1024);
    json_out_init(&o, &b);
    template_report_write(&o, t, report);
    if (b.failed || (t == NULL && report->n_errors == 0))
        return reply_error(r, SYS_OVERLOADED);
    return reply_data(r, 200, buf_view(&b));
}

static enum flow validate(struct request *r)
{
    return crud_read(r, &workflow_template_resource, r->params[0], report_on);
}

// clang-format off
static const struct route routes[] = {
    {POST, "/workflow-templates", crud_create, "workflow:create", "createWorkflowTemplate", "Create a workflow template.", ROUTE_ONE_COMMIT,
     .status = 201, .codes = {WF_TEMPLATE_INVALID}},
    {GET, "/workflow-templates", crud_list, "workflow:read", "listWorkflowTemplates", "List workflow templates.", ROUTE_LIST},
    {GET, "/workflow-templates/{id}", crud_get, "workflow:read", "getWorkflowTemplate", "Read a workflow template."},
    {PUT | PATCH, "/workflow-templates/{id}", crud_update, "workflow:update", "updateWorkflowTemplate",
     "Change a workflow template; what is not given stays. Runs keep the version they were started with.", .codes = {WF_TEMPLATE_INVALID}},
    {DELETE, "/workflow-templates/{id}", crud_delete, "workflow:delete", "deleteWorkflowTemplate",
     "Delete a workflow template that has no active runs.", .status = 204, .codes = {RES_IN_USE}},
    {POST, "/workflow-templates/{id}/validate", validate, "workflow:read", "validateWorkflowTemplate",
     "Check the stored definition, or the one in the body: errors, warnings, plan and critical path.",
     ROUTE_NO_BODY | ROUTE_NO_AUDIT, .body = candidate_fields, .data = report_fields},
    ROUTE_END};
// clang-format on

const struct resource workflow_template_resource = {
    .kind = "workflow-template",
    .plural = "workflow-templates",
    .tag = "WORKFL",
    .doc = "A directed graph of steps that runs are started from.",
    .fields = fields,
    .routes = routes,
    .prepare = template_prepare,
    .gather = template_gather,
};

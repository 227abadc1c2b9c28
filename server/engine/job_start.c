/* Making a job. Reading goes in five trips at most: the documents that are named; the versions of the release's
 * components; which targets the environment has; those targets; what is known to be deployed on them. */
#include "server/engine/job_start.h"

#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/bitmap.h"
#include "server/dashboard/event.h"
#include "server/document.h"
#include "server/engine/environment_settle.h"
#include "server/engine/job_start_parts.h"
#include "server/engine/kind.h"
#include "server/engine/run.h"
#include "server/store/page.h"
#include "server/worker.h"

struct preparing {
    struct worker *worker;
    struct arena *arena;
    struct ops *ops;
    job_then *then;
    void *arg;
    struct plan_parts parts;
    struct job_plan plan;
    const struct str *ids; /* of the targets, in the order of parts.targets */
};

static void end(struct preparing *p, enum code c, struct str why)
{
    p->then(p->arg, c, why, c == OK ? &p->plan : NULL);
}

static void go_on(struct preparing *p, enum code started)
{
    if (started != OK)
        end(p, started, str_z(code_text(started)));
}

static struct json *parsed(struct preparing *p, const struct redis_value *v)
{
    return v == NULL || redis_is_nil(v) ? NULL : document_json(p->arena, arena_str(p->arena, redis_text(v)), NULL);
}

/* --- the plan --- */

static void compile(struct preparing *p)
{
    struct str why = STR_NONE;
    struct buf b;
    enum code c;

    buf_init_arena(&b, p->arena, 4096);
    c = job_compile(p->arena, &p->parts, &b, &why);
    if (c == OK) {
        p->plan = (struct job_plan){p->parts.request->space, buf_view(&b), document_json(p->arena, buf_view(&b), NULL),
                                    store_now_ms(p->worker->store)};
        if (p->plan.json == NULL)
            c = SYS_OVERLOADED;
    }
    end(p, c, why.n > 0 ? why : str_z(code_text(c)));
}

/* --- targets --- */

static void got_facts(void *arg, enum code c, const struct redis_value *v)
{
    struct preparing *p = arg;

    if (c != OK) {
        end(p, c, str_z(code_text(c)));
        return;
    }
    for (size_t i = 0; i < p->parts.n_targets; i++)
        p->parts.targets[i].facts = arena_str(p->arena, redis_text(redis_at(v, i)));
    compile(p);
}

static enum code read_facts(struct preparing *p)
{
    struct str *argv = arena_array(p->arena, p->parts.n_targets + 2, sizeof *argv);
    struct store_command command = {p->parts.n_targets + 2, argv};

    if (argv == NULL)
        return SYS_OVERLOADED;
    argv[0] = S("HMGET");
    argv[1] = key_target_facts(p->arena, p->parts.request->space);
    for (size_t i = 0; i < p->parts.n_targets; i++)
        argv[i + 2] = json_str(json_get(p->parts.targets[i].document, "id"));
    return store_read(p->worker->store, &command, 1, p->ops, got_facts, p);
}

static bool belongs(const struct preparing *p, const struct json *target)
{
    return target != NULL && str_eq(json_str(json_get(target, "environmentId")), p->parts.request->environment_id);
}

static void got_targets(void *arg, enum code c, const struct page_result *result)
{
    struct preparing *p = arg;
    struct page_item item;

    for (size_t i = 0; c == OK && page_item(result, i, &item); i++) {
        struct document d = {.id = item.id, .json = item.json, .schema = item.schema};
        const struct json *target = item.json.p == NULL ? NULL : document_parse(p->arena, &target_resource, &d, &c);

        if (c == OK && belongs(p, target)) {
            p->parts.targets[p->parts.n_targets++].document = target;
        } else if (c == OK && p->ids != NULL) {
            end(p, RES_REFERENCE_UNKNOWN,
                arena_printf(p->arena, "target " STR_FMT " is not in the environment", STR_ARG(p->ids[i])));
            return;
        }
    }
    if (c != OK)
        end(p, c, str_z(code_text(c)));
    else if (p->parts.n_targets == 0)
        compile(p);
    else
        go_on(p, read_facts(p));
}

static enum code ask_targets(struct preparing *p, struct page_query q, page_then *then)
{
    q.space = p->parts.request->space;
    q.kind = target_resource.kind;
    return store_page(p->worker->store, p->arena, &q, p->ops, then, p);
}

/* Room for them, and their documents. */
static enum code read_targets(struct preparing *p, struct page_query q)
{
    p->parts.targets = arena_array(p->arena, q.n, sizeof *p->parts.targets);
    return p->parts.targets == NULL ? SYS_OVERLOADED : ask_targets(p, q, got_targets);
}

static void refuse_many(struct preparing *p)
{
    end(p, DEPLOY_TOO_MANY_TARGETS, arena_printf(p->arena, "a job has at most %d targets", (int)JOB_TARGETS_MAX));
}

static void got_facet(void *arg, enum code c, const struct page_result *result)
{
    struct preparing *p = arg;
    int64_t *ordinals = arena_array(p->arena, JOB_TARGETS_MAX, sizeof *ordinals);
    struct bitmap bits;

    if (c == OK && (ordinals == NULL || !bitmap_join(p->arena, redis_at(result->facets, 0), &bits)))
        c = SYS_OVERLOADED;
    if (c != OK)
        end(p, c, str_z(code_text(c)));
    else if (bitmap_count(&bits) > JOB_TARGETS_MAX)
        refuse_many(p);
    else if (bitmap_count(&bits) == 0)
        compile(p);
    else
        go_on(p, read_targets(p, (struct page_query){.source = PAGE_ORDINALS,
                                                     .ordinals = ordinals,
                                                     .n = bitmap_pick(&bits, false, 0, JOB_TARGETS_MAX, ordinals)}));
}

static enum code find_targets(struct preparing *p)
{
    struct str *facet = arena_new(p->arena, struct str);

    if (facet == NULL)
        return SYS_OVERLOADED;
    *facet = arena_printf(p->arena, "environmentId=" STR_FMT, STR_ARG(p->parts.request->environment_id));
    return ask_targets(p, (struct page_query){.source = PAGE_NONE, .facets = facet, .facet_count = 1}, got_facet);
}

static bool among(const struct str *ids, size_t n, struct str id)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(ids[i], id))
            return true;
    return false;
}

/* Those the request names, each once. */
static void name_targets(struct preparing *p)
{
    const struct json *wanted = p->parts.request->target_ids;
    struct str *ids = arena_array(p->arena, json_count(wanted), sizeof *ids);
    size_t n = 0;

    for (size_t i = 0; ids != NULL && i < json_count(wanted); i++)
        if (!among(ids, n, json_str(json_at(wanted, i))))
            ids[n++] = json_str(json_at(wanted, i));
    p->ids = ids;
    if (n > JOB_TARGETS_MAX)
        refuse_many(p);
    else
        go_on(p, ids == NULL ? SYS_OVERLOADED
                             : read_targets(p, (struct page_query){.source = PAGE_IDS, .ids = ids, .n = n}));
}

static void choose_targets(struct preparing *p)
{
    if (json_count(p->parts.request->target_ids) > 0)
        name_targets(p);
    else
        go_on(p, find_targets(p));
}

/* --- the release --- */

static void got_versions(void *arg, enum code c, const struct redis_value *v)
{
    struct preparing *p = arg;

    if (c != OK) {
        end(p, c, str_z(code_text(c)));
        return;
    }
    for (size_t i = 0; i < p->parts.n_components; i++)
        p->parts.components[i].version = parsed(p, redis_at(v, i));
    choose_targets(p);
}

/* The versions of the release's components; the first twice, so that the answer is always an array. */
static enum code read_versions(struct preparing *p)
{
    struct store_command commands[JOB_COMPONENTS_MAX + 1];
    struct str argv[JOB_COMPONENTS_MAX][3];
    size_t n = p->parts.n_components;

    for (size_t i = 0; i < n; i++) {
        argv[i][0] = S("HGET");
        argv[i][1] = key_document(p->arena, p->parts.request->space, version_resource.kind,
                                  json_str(json_get(p->parts.components[i].part, "versionId")));
        argv[i][2] = S("j");
        commands[i] = (struct store_command){3, argv[i]};
    }
    commands[n] = commands[0];
    return store_read(p->worker->store, commands, n + 1, p->ops, got_versions, p);
}

/* --- the documents named --- */

static void got_documents(void *arg, enum code c, const struct redis_value *v)
{
    struct preparing *p = arg;
    const struct json *components;

    if (c != OK) {
        end(p, c, str_z(code_text(c)));
        return;
    }
    p->parts.environment = parsed(p, redis_at(v, 0));
    p->parts.release = parsed(p, redis_at(v, 1));
    p->parts.promotion = parsed(p, redis_at(v, 2));
    components = json_get(p->parts.release, "components");
    for (size_t i = 0; i < json_count(components) && i < JOB_COMPONENTS_MAX; i++)
        p->parts.components[p->parts.n_components++].part = json_at(components, i);
    if (p->parts.environment == NULL ||
        (p->parts.release == NULL && !p->parts.request->to_previous && !p->parts.request->again))
        compile(p);
    else if (p->parts.n_components > 0)
        go_on(p, read_versions(p));
    else
        choose_targets(p);
}

/* A document that is not asked for is read under a name that nothing has. */
static struct str name_of(const struct preparing *p, const char *kind, struct str id)
{
    return key_document(p->arena, p->parts.request->space, kind, id.n > 0 ? id : S("none"));
}

static enum code read_documents(struct preparing *p)
{
    const struct job_request *q = p->parts.request;
    struct str release = q->to_previous || q->again ? STR_NONE : q->release_id;
    struct store_command commands[] = {
        STORE_COMMAND(S("HGET"), name_of(p, environment_resource.kind, q->environment_id), S("j")),
        STORE_COMMAND(S("HGET"), name_of(p, release_resource.kind, release), S("j")),
        STORE_COMMAND(S("HGET"), name_of(p, "promotion", q->promotion_id), S("j")),
    };

    return store_read(p->worker->store, commands, ARRAY_LEN(commands), p->ops, got_documents, p);
}

enum code job_prepare(struct worker *w, struct arena *a, const struct job_request *request, struct ops *ops,
                      job_then *then, void *arg)
{
    struct preparing *p = arena_new(a, struct preparing);

    if (p == NULL)
        return SYS_OVERLOADED;
    *p = (struct preparing){
        .worker = w, .arena = a, .ops = ops, .then = then, .arg = arg, .parts = {.request = request}};
    return read_documents(p);
}

/* --- the job --- */

struct str job_parent_field(struct arena *a, struct str node, int64_t attempt)
{
    return arena_printf(a, "job:" STR_FMT ":%lld", STR_ARG(node), (long long)attempt);
}

static struct str member(const struct job_plan *plan, const char *path)
{
    return json_str(json_path(plan->json, str_z(path)));
}

static const struct json *context_of(struct arena *a, const struct job_plan *plan)
{
    static const struct {
        const char *name, *path;
    } members[] = {{"environmentId", "environment.id"}, {"promotionId", "promotionId"}, {"releaseId", "release.id"}};
    struct json *context = json_new(a, JSON_OBJECT);

    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (member(plan, members[i].path).n > 0)
            json_set(a, context, str_z(members[i].name), json_new_str(a, member(plan, members[i].path)));
    return context;
}

static struct run *make_run(struct arena *a, const struct job_plan *plan, struct str id)
{
    struct json *nothing = json_new(a, JSON_OBJECT);
    const struct template *t = job_kind.parse(a, plan->json);
    struct run_origin origin = {.id = id,
                                .tenant = plan->space.tenant,
                                .template_version = 1, /* the only one there is of a plan */
                                .created_ms = plan->now_ms,
                                .triggered_by = member(plan, "createdBy"),
                                .trigger = member(plan, "parent.run").n > 0 ? S("auto") : S("manual"),
                                .inputs = nothing,
                                .context = context_of(a, plan),
                                .labels = nothing,
                                .facts = nothing};

    return t == NULL || nothing == NULL || origin.context == NULL ? NULL : run_new(a, t, &origin);
}

/* At most one job for each attempt of a step: the step's run remembers it, for as long as it is kept itself. */
static void write_parent(struct commit *c, const struct job_plan *plan, struct str id)
{
    struct str run = member(plan, "parent.run"),
               field = job_parent_field(c->arena, member(plan, "parent.node"),
                                        json_int(json_path(plan->json, S("parent.attempt")), 0));

    if (run.n == 0)
        return;
    commit_expect_field(c, RES_ALREADY_EXISTS, "job", key_document(c->arena, c->space, workflow_kind.name, run), field,
                        STR_NONE);
    commit_field(c, workflow_kind.name, run, field, id);
}

static void write_document(struct commit *c, const struct job_plan *plan, struct str id, struct str text,
                           const struct json *json)
{
    struct commit_index *index = arena_new(c->arena, struct commit_index);
    struct audit_entry entry = {.action = "job.created",
                                .resource = JOB_KIND,
                                .resource_id = id,
                                .environment_id = member(plan, "environment.id"),
                                .release_id = member(plan, "release.id"),
                                .promotion_id = member(plan, "promotionId"),
                                .after = text};

    if (index == NULL) {
        c->failed = true;
        return;
    }
    document_index(index, c->arena, &deployment_job_resource, json);
    commit_put(c, &(struct commit_document){.kind = JOB_KIND,
                                            .id = id,
                                            .revision = 1,
                                            .schema = document_schema(&deployment_job_resource),
                                            .json = text,
                                            .index = index});
    audit_add_system(c, c->arena, "engine", &entry);
}

static void write_run(struct commit *c, const struct job_plan *plan, struct str id, const struct run *r)
{
    struct buf origin, header, entry;

    buf_init_arena(&origin, c->arena, 512);
    buf_init_arena(&header, c->arena, 512);
    buf_init_arena(&entry, c->arena, 64);
    run_origin_write(&origin, &r->origin);
    run_header_write(&header, r);
    run_event_write(&entry, &(struct run_event){.type = EVENT_START});
    if (origin.failed || header.failed || entry.failed)
        c->failed = true;
    commit_field(c, JOB_KIND, id, S("def"), plan->text);
    commit_field(c, JOB_KIND, id, S("origin"), buf_view(&origin));
    commit_field(c, JOB_KIND, id, S("h"), buf_view(&header));
    commit_inbox(c, job_kind.name, id, S("start"), buf_view(&entry));
    if (member(plan, "promotionId").n > 0)
        environment_wake(c, member(plan, "environment.id"), plan->now_ms);
}

void job_write(struct commit *c, const struct job_plan *plan, struct str id)
{
    struct run *r = make_run(c->arena, plan, id);
    struct json *json = NULL;
    struct buf b;

    buf_init_arena(&b, c->arena, 2048);
    if (r != NULL)
        job_kind.document(&b, r, 1, plan->now_ms);
    if (r != NULL && !b.failed)
        json = document_json(c->arena, buf_view(&b), NULL);
    if (json == NULL) {
        c->failed = true; /* out of memory, or the plan is not one: the commit is refused */
        return;
    }
    write_parent(c, plan, id);
    write_document(c, plan, id, buf_view(&b), json);
    write_run(c, plan, id, r);
    dashboard_event(c, arena_printf(c->arena,
                                    "\"type\":\"deployment_updated\",\"jobId\":\"" STR_FMT
                                    "\",\"status\":\"pending\",\"environmentId\":\"" STR_FMT "\"}",
                                    STR_ARG(id), STR_ARG(member(plan, "environment.id"))));
}

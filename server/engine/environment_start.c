/* Starting an approved promotion: which workflow deploys it, the gates once more, and one commit that gives it the
 * environment, makes it deploying and starts its run.
 *
 * The workflow: the promotion's templateId, else the environment's config.deploymentTemplate, else the components'
 * deploymentTemplate if all that have one agree, else `default-deploy`, which only deploys. What can never start is
 * rejected. */
#include "server/engine/environment_private.h"

#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/settings.h"
#include "server/worker.h"

#include <string.h>

#define TEMPLATE_KIND "workflow-template"

static const char default_deploy[] = "{\"edges\":[],\"finally\":[],\"inputs\":[],\"name\":\"default-deploy\","
                                     "\"nodes\":[{\"config\":{},\"id\":\"deploy\",\"type\":\"deploy\"}],"
                                     "\"onFailure\":\"fail-fast\",\"outputs\":{},\"timeoutSeconds\":86400}";

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static void reject(struct settle *s, const char *gate, enum code code, const char *message)
{
    settle_begin_commit(s);
    settle_change(s, s->starting);
    promotion_error(&s->change, code_name(code), str_z(message));
    overlay_raw(&s->change.set, "blockers",
                arena_printf(&s->arena, "[{\"gate\":\"%s\",\"message\":\"%s\"}]", gate, message));
    promotion_write(&s->commit, &s->change, PROMOTION_REJECTED, "promotion.rejected", NULL);
    settle_commit(s);
}

/* --- the commit --- */

static void commit_start(struct settle *s)
{
    struct arena *a = &s->arena;
    const struct promoted *p = s->starting;

    commit_begin(&s->commit, a, s->space, COMMIT_GROWS);
    commit_expect_field(&s->commit, RES_VERSION_CONFLICT, "holder", key_environment_holders(a, s->space), s->id,
                        STR_NONE);
    commit_expect_revision(&s->commit, RES_VERSION_CONFLICT, "release", "release", member(s->release, "id"),
                           s->release_revision);
    freeze_set_pin(&s->commit, &s->freezes);
    commit_hset(&s->commit, key_environment_holders(a, s->space), s->id,
                arena_printf(a, PROMOTION_KIND ":" STR_FMT, STR_ARG(p->id)));
    settle_change(s, p);
    overlay_str(&s->change.set, "workflowRunId", str_z(s->made.id));
    promotion_write(&s->commit, &s->change, PROMOTION_DEPLOYING, "promotion.started", NULL);
    run_start_write(&s->commit, a, &s->start, &s->made);
    const struct audit_entry entry = run_start_audit(&s->made);
    audit_add_system(&s->commit, a, "engine", &entry);
    settle_commit(s);
}

static const struct json *context_of(struct settle *s)
{
    struct json *context = json_new(&s->arena, JSON_OBJECT);
    bool ok = json_set(&s->arena, context, S("environmentId"), json_new_str(&s->arena, s->id)) &&
              json_set(&s->arena, context, S("promotionId"), json_new_str(&s->arena, s->starting->id)) &&
              json_set(&s->arena, context, S("releaseId"), json_new_str(&s->arena, member(s->release, "id")));

    return ok ? context : NULL;
}

static void make_run(struct settle *s)
{
    struct arena *a = &s->arena;
    struct faults *faults = arena_new(a, struct faults);
    struct buf missing;

    if (faults == NULL) {
        settle_drop(s);
        return;
    }
    faults_init(faults, a);
    buf_init_arena(&missing, a, 64);
    s->start.inputs = template_inputs(a, s->start.t, s->inputs, faults, &missing);
    if (faults->n > 0 || missing.n > 0) {
        reject(s, "template", faults->n > 0 ? VAL_FAILED : WF_INPUT_MISSING,
               "its inputs are not those that the workflow takes");
        return;
    }
    s->start.space = s->space;
    s->start.keyring = settle_worker(s)->settings->keyring;
    s->start.now_ms = s->now_ms;
    s->start.context = context_of(s);
    s->start.labels = json_new(a, JSON_OBJECT);
    s->start.triggered_by = member(s->starting->json, "requestedBy");
    s->start.trigger = S("promotion");
    s->start.documents[CONTEXT_ENVIRONMENT] = s->document;
    s->start.documents[CONTEXT_RELEASE] = s->release;
    s->start.documents[CONTEXT_PROMOTION] = s->starting->json;
    if (s->start.inputs == NULL || s->start.context == NULL || s->start.labels == NULL ||
        !run_start_make(a, &s->start, &s->made))
        settle_drop(s);
    else
        commit_start(s);
}

/* --- the workflow --- */

static void use_definition(struct settle *s, struct str definition)
{
    const struct json_limits limits = {.depth = 64, .nodes = 400000};
    const struct json *json = json_parse(&s->arena, definition, &limits, NULL);

    s->start.definition = definition;
    s->start.t = json == NULL ? NULL : template_parse(&s->arena, json, NULL);
    if (s->start.t == NULL)
        reject(s, "template", WF_TEMPLATE_INVALID, "the workflow that deploys it cannot run");
    else
        make_run(s);
}

static void use_template(struct settle *s, const struct json *document)
{
    struct json_out o;
    struct buf b;

    if (document == NULL) {
        reject(s, "template", RES_REFERENCE_UNKNOWN, "the workflow that deploys it does not exist");
        return;
    }
    if (!str_eqz(member(document, "status"), "active")) {
        reject(s, "template", WF_TEMPLATE_INACTIVE, "the workflow that deploys it is not active");
        return;
    }
    buf_init_arena(&b, &s->arena, 2048);
    json_out_init(&o, &b);
    template_definition_write(&o, document);
    s->start.template_id = member(document, "id");
    s->start.template_name = member(document, "name");
    s->start.template_version = json_int(json_get(document, "version"), 1);
    if (b.failed)
        settle_drop(s);
    else
        use_definition(s, buf_view(&b));
}

static void got_template(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;

    if (c != OK)
        settle_drop(s);
    else
        use_template(s, settle_json(s, v));
}

static void read_template(struct settle *s, struct str id)
{
    const struct store_command read =
        STORE_COMMAND(S("HGET"), key_document(&s->arena, s->space, TEMPLATE_KIND, id), S("j"));

    if (store_read(settle_worker(s)->store, &read, 1, &s->ops, got_template, s) != OK)
        settle_drop(s);
}

static void got_name(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;

    if (c != OK)
        settle_drop(s);
    else if (redis_is_nil(v))
        use_template(s, NULL);
    else
        read_template(s, arena_str(&s->arena, redis_text(v)));
}

static void find_template(struct settle *s, struct str name)
{
    const struct store_command read =
        STORE_COMMAND(S("HGET"), key_unique(&s->arena, s->space, TEMPLATE_KIND, STR_NONE, "name"), name);

    if (store_read(settle_worker(s)->store, &read, 1, &s->ops, got_name, s) != OK)
        settle_drop(s);
}

static void use_default(struct settle *s)
{
    s->start.template_id = S("");
    s->start.template_name = S("default-deploy");
    s->start.template_version = 1;
    use_definition(s, str_z(default_deploy));
}

/* One name if all components that have one agree. */
static void got_components(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    struct str name = STR_NONE;
    bool agree = true;

    if (c != OK) {
        settle_drop(s);
        return;
    }
    for (size_t i = 1; i < v->count; i++) {
        struct str its = member(settle_json(s, redis_at(v, i)), "deploymentTemplate");
        if (its.n == 0)
            continue;
        agree = agree && (name.n == 0 || str_eq(name, its));
        name = its;
    }
    if (agree && name.n > 0)
        find_template(s, name);
    else
        use_default(s);
}

static void read_components(struct settle *s)
{
    enum { MOST = 60 };
    const struct json *ids = json_get(s->release, "componentIds");
    struct store_command commands[MOST + 1] = {
        STORE_COMMAND(S("EXISTS"), key_environment_holders(&s->arena, s->space))};
    struct str(*argv)[3] = arena_array(&s->arena, MOST, sizeof(*argv));
    size_t n = 1;

    if (argv == NULL || json_count(ids) == 0) {
        use_default(s);
        return;
    }
    for (size_t i = 0; i < json_count(ids) && i < MOST; i++, n++) {
        argv[i][0] = S("HGET");
        argv[i][1] = key_document(&s->arena, s->space, "component", json_str(json_at(ids, i)));
        argv[i][2] = S("j");
        commands[n] = (struct store_command){3, argv[i]};
    }
    if (store_read(settle_worker(s)->store, commands, n, &s->ops, got_components, s) != OK)
        settle_drop(s);
}

static void choose_template(struct settle *s)
{
    struct str id = member(s->starting->json, "templateId");
    struct str name = json_str(json_path(s->document, S("config.deploymentTemplate")));

    if (id.n > 0)
        read_template(s, id);
    else if (name.n > 0)
        find_template(s, name);
    else
        read_components(s);
}

/* --- the gates once more --- */

static void got_release(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    struct str source = member(s->starting->json, "sourcePromotionId"), sealed = STR_NONE;

    if (c != OK) {
        settle_drop(s);
        return;
    }
    if (!redis_is_nil(redis_at(v, 1)))
        sealed = arena_str(&s->arena, redis_text(redis_at(v, 1)));
    s->release = settle_json(s, redis_at(redis_at(v, 0), 0));
    s->release_revision = redis_int(redis_at(redis_at(v, 0), 1), 0);
    s->inputs = json_get(document_unseal(&s->arena, settle_worker(s)->settings->keyring, s->space, &promotion_resource,
                                         s->starting->id, sealed),
                         "inputs");
    s->source = settle_json(s, redis_at(v, 2));
    if (!str_eqz(member(s->release, "status"), "ready"))
        reject(s, "release", REL_DEPRECATED, "the release was deprecated meanwhile");
    else if (source.n > 0 && promotion_status(s->source) == PROMOTION_ROLLED_BACK)
        reject(s, "environment-order", PROM_SOURCE_NOT_DEPLOYED,
               "the release was rolled back in the environment before meanwhile");
    else
        choose_template(s);
}

void settle_start(struct settle *s, const struct promoted *p)
{
    struct arena *a = &s->arena;
    struct str source = member(p->json, "sourcePromotionId");
    const struct store_command commands[] = {
        STORE_COMMAND(S("HMGET"), key_document(a, s->space, "release", member(p->json, "releaseId")), S("j"), S("r")),
        STORE_COMMAND(S("HGET"), key_document(a, s->space, PROMOTION_KIND, p->id), S("s")),
        STORE_COMMAND(S("HGET"), key_document(a, s->space, PROMOTION_KIND, source.n > 0 ? source : S("none")), S("j")),
    };

    s->starting = p;
    memset(&s->start, 0, sizeof(s->start));
    s->made.run = NULL;
    if (store_read(settle_worker(s)->store, commands, ARRAY_LEN(commands), &s->ops, got_release, s) != OK)
        settle_drop(s);
}

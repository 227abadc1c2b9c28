/* Starting a run: find the template, check the inputs against it, look at what the context names, and commit the run with
 * the definition it is pinned to and the first entry of its inbox. */
#include "server/api/orchestrator/workflow_run.h"

#include "server/audit.h"
#include "server/crud.h"
#include "server/document.h"
#include "server/engine/drain.h"
#include "server/engine/run_start.h"
#include "server/idempotency.h"
#include "server/settings.h"
#include "server/worker.h"

struct start {
    struct request *r;
    struct space space;
    struct str template_id;
    int64_t version; /* asked for; 0: the present one */
    const struct json *template_document;
    struct run_start start; /* `documents`: what the context names */
    struct run_made made;
    struct commit commit;
};

static enum flow refuse_field(struct request *r, enum code c, const char *field, const char *why)
{
    return reply_error(r, change_refuse_field(r, c, field, "%s", why));
}

/* --- the commit --- */

static void committed(void *arg, const struct commit_result *result)
{
    struct start *s = arg;
    struct request *r = s->r;
    struct str label = arena_str(&r->arena, result->label);

    if (result->code == RES_REFERENCE_UNKNOWN) {
        refuse_field(r, result->code, label.p == NULL ? "" : label.p, "does not exist");
    } else if (result->code != OK) {
        reply_error(r, result->code);
    } else {
        drain_run(r->worker, &workflow_kind, s->space, str_z(s->made.id));
        reply_created(r, str_z(s->made.id), s->made.json, 1);
    }
}

static void expect_references(struct start *s)
{
    struct arena *a = &s->r->arena;

    commit_expect_exists(&s->commit, RES_REFERENCE_UNKNOWN, "templateId",
                         key_document(a, s->space, workflow_template_resource.kind, s->template_id));
    for (size_t i = 0; i < RUN_CONTEXTS; i++)
        if (s->start.documents[i] != NULL)
            commit_expect_exists(
                &s->commit, RES_REFERENCE_UNKNOWN, arena_printf(a, "context.%s", run_contexts[i].member).p,
                key_document(a, s->space, run_contexts[i].kind, json_str(json_get(s->start.documents[i], "id"))));
}

static enum flow commit_run(struct start *s)
{
    struct request *r = s->r;
    struct str id = str_z(s->made.id);
    struct audit_entry entry = run_start_audit(&s->made);
    enum code c;

    commit_begin(&s->commit, &r->arena, s->space, COMMIT_GROWS);
    expect_references(s);
    change_expect_room(r, &s->commit, s->space, workflow_run_resource.kind);
    run_start_write(&s->commit, &r->arena, &s->start, &s->made);
    audit_add(&s->commit, r, &entry);
    idempotency_commit(r, &s->commit,
                       &(struct idempotent_answer){.status = 201,
                                                   .data = s->made.json,
                                                   .revision = 1,
                                                   .location = crud_location(r, id),
                                                   .kind = workflow_run_resource.kind,
                                                   .id = id});
    c = store_commit(r->worker->store, &s->commit, &r->ops, committed, s);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- the run --- */

/* No way around the gates: what deploys belongs to a promotion that was let through, and deploys that. */
static bool may_deploy(const struct start *s)
{
    const struct json *promotion = s->start.documents[CONTEXT_PROMOTION];
    const struct json *context = json_get(s->r->json, "context");
    struct str status = json_str(json_get(promotion, "status"));

    return (str_eqz(status, "approved") || str_eqz(status, "deploying")) &&
           str_eq(json_str(json_get(context, "environmentId")), json_str(json_get(promotion, "targetEnvironmentId"))) &&
           str_eq(json_str(json_get(context, "releaseId")), json_str(json_get(promotion, "releaseId")));
}

static enum flow make_run(struct start *s)
{
    struct request *r = s->r;

    if (run_start_deploys(s->start.t) && !may_deploy(s))
        return reply_error(r, request_refuse(r, PROM_REQUIRED,
                                             "a run that deploys needs a promotionId in its context: of an approved or "
                                             "deploying promotion of that release into that environment"));
    s->start.space = s->space;
    s->start.keyring = r->worker->settings->keyring;
    s->start.now_ms = store_now_ms(r->worker->store);
    s->start.template_id = s->template_id;
    s->start.template_name = json_str(json_get(s->template_document, "name"));
    s->start.template_version = s->version;
    s->start.triggered_by = r->caller.id;
    s->start.trigger = r->caller.type == CALLER_USER ? S("manual") : S("api");
    s->start.context = json_get(r->json, "context");
    s->start.labels = json_get(r->json, "labels");
    return run_start_make(&r->arena, &s->start, &s->made) ? commit_run(s) : reply_error(r, SYS_OVERLOADED);
}

/* names: "a, b" */
static enum flow refuse_missing(struct request *r, struct str names)
{
    struct str rest = names;
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &r->arena, 128);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("missing"));
    json_open(&o, '[');
    while (rest.n > 0)
        json_put_str(&o, str_trim(str_cut(&rest, ',')));
    json_close(&o, ']');
    json_close(&o, '}');
    r->details = b.failed ? STR_NONE : buf_view(&b);
    return reply_error(r, request_refuse(r, WF_INPUT_MISSING, "missing: " STR_FMT, STR_ARG(names)));
}

static enum flow check_inputs(struct start *s)
{
    struct request *r = s->r;
    struct faults *faults = arena_new(&r->arena, struct faults);
    struct buf missing;

    if (faults == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(faults, &r->arena);
    buf_init_arena(&missing, &r->arena, 64);
    s->start.inputs = template_inputs(&r->arena, s->start.t, json_get(r->json, "inputs"), faults, &missing);
    if (s->start.inputs == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (faults->n > 0) {
        r->faults = faults;
        return reply_error(r, request_refuse(r, VAL_FAILED, STR_FMT ": " STR_FMT, STR_ARG(faults->list[0].field),
                                             STR_ARG(faults->list[0].message)));
    }
    if (missing.n > 0)
        return refuse_missing(r, buf_view(&missing));
    return make_run(s);
}

/* --- what it is started from --- */

static enum flow use_template(struct start *s, struct str kept)
{
    struct request *r = s->r;
    const struct json *document = s->template_document;
    struct json_out o;
    struct json *definition;
    struct buf b;

    if (!str_eqz(json_str(json_get(document, "status")), "active"))
        return reply_error(r, request_refuse(r, WF_TEMPLATE_INACTIVE, "the template is " STR_FMT,
                                             STR_ARG(json_str(json_get(document, "status")))));
    if (s->version == 0 || s->version == json_int(json_get(document, "version"), 0)) {
        buf_init_arena(&b, &r->arena, 2048);
        json_out_init(&o, &b);
        template_definition_write(&o, document);
        s->start.definition = buf_view(&b);
        s->version = json_int(json_get(document, "version"), 1);
    } else if (kept.n == 0) {
        return refuse_field(r, RES_REFERENCE_UNKNOWN, "version", "is not kept");
    } else {
        s->start.definition = arena_str(&r->arena, kept);
    }
    definition = json_parse(&r->arena, s->start.definition, &(struct json_limits){.depth = 64, .nodes = 400000}, NULL);
    s->start.t = definition == NULL ? NULL : template_parse(&r->arena, definition, NULL);
    return s->start.t == NULL ? reply_error(r, WF_TEMPLATE_INVALID) : check_inputs(s);
}

static struct json *document_of(struct start *s, const struct redis_value *text)
{
    struct str copy = arena_str(&s->r->arena, redis_text(text));

    return redis_is_nil(text) ? NULL : document_json(&s->r->arena, copy, NULL);
}

static void found(void *arg, enum code c, const struct redis_value *v)
{
    struct start *s = arg;
    struct request *r = s->r;
    size_t at = 1;

    if (c != OK) {
        reply_error(r, c);
        return;
    }
    s->template_document = document_of(s, redis_at(redis_at(v, 0), 0));
    if (s->template_document == NULL) {
        refuse_field(r, RES_REFERENCE_UNKNOWN, json_get(r->json, "templateId") != NULL ? "templateId" : "templateName",
                     "does not exist");
        return;
    }
    for (size_t i = 0; i < RUN_CONTEXTS; i++) {
        if (json_get(json_get(r->json, "context"), run_contexts[i].member) == NULL)
            continue;
        s->start.documents[i] = document_of(s, redis_at(redis_at(v, at++), 0));
        if (s->start.documents[i] == NULL) {
            refuse_field(r, RES_REFERENCE_UNKNOWN, arena_printf(&r->arena, "context.%s", run_contexts[i].member).p,
                         "does not exist");
            return;
        }
    }
    use_template(s, redis_text(redis_at(redis_at(v, 0), 1)));
}

/* The template, and whatever the context names, in one trip; a second command keeps the answer an array. */
static enum flow read_all(struct start *s)
{
    struct request *r = s->r;
    struct store_command commands[RUN_CONTEXTS + 2];
    struct str argv[RUN_CONTEXTS + 2][4];
    size_t n = 1;
    enum code c;

    argv[0][0] = S("HMGET");
    argv[0][1] = key_document(&r->arena, s->space, workflow_template_resource.kind, s->template_id);
    argv[0][2] = S("j");
    argv[0][3] = arena_printf(&r->arena, "v:%lld", (long long)s->version);
    commands[0] = (struct store_command){4, argv[0]};
    for (size_t i = 0; i < RUN_CONTEXTS; i++) {
        struct str id = json_str(json_get(json_get(r->json, "context"), run_contexts[i].member));

        if (id.n == 0)
            continue;
        argv[n][0] = S("HMGET");
        argv[n][1] = key_document(&r->arena, s->space, run_contexts[i].kind, id);
        argv[n][2] = S("j");
        commands[n] = (struct store_command){3, argv[n]};
        n++;
    }
    argv[n][0] = S("EXISTS");
    argv[n][1] = argv[0][1];
    commands[n] = (struct store_command){2, argv[n]};
    c = store_read(r->worker->store, commands, n + 1, &r->ops, found, s);
    return c == OK ? WAIT : reply_error(r, c);
}

static void named(void *arg, enum code c, const struct redis_value *v)
{
    struct start *s = arg;

    s->template_id = arena_str(&s->r->arena, redis_text(v));
    if (c != OK)
        reply_error(s->r, c);
    else if (redis_is_nil(v))
        refuse_field(s->r, RES_REFERENCE_UNKNOWN, "templateName", "does not exist");
    else
        read_all(s);
}

static enum flow find_by_name(struct start *s, struct str name)
{
    struct request *r = s->r;
    struct store_command command = STORE_COMMAND(
        S("HGET"), key_unique(&r->arena, s->space, workflow_template_resource.kind, STR_NONE, "name"), name);
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, named, s);

    return c == OK ? WAIT : reply_error(r, c);
}

enum flow workflow_run_start(struct request *r)
{
    struct start *s = arena_new(&r->arena, struct start);
    struct str id = json_str(json_get(r->json, "templateId")), name = json_str(json_get(r->json, "templateName"));

    if (s == NULL)
        return reply_error(r, SYS_OVERLOADED);
    s->r = r;
    s->space = (struct space){r->caller.partition, r->caller.tenant};
    s->version = json_int(json_get(r->json, "version"), 0);
    s->template_id = id;
    if ((id.n > 0) == (name.n > 0))
        return refuse_field(r, VAL_FAILED, "templateId", "exactly one of templateId and templateName is needed");
    return id.n > 0 ? read_all(s) : find_by_name(s, name);
}

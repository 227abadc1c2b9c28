/* Starting a run: find the template, check the inputs against it, look at what the context names, and commit the run with
 * the definition it is pinned to and the first entry of its inbox. */
#include "server/api/orchestrator/workflow_run.h"

#include "lib/id.h"
#include "server/audit.h"
#include "server/crud.h"
#include "server/document.h"
#include "server/engine/drain.h"
#include "server/idempotency.h"
#include "server/worker.h"

static const struct {
    const char *member, *kind, *fact;
} contexts[] = {
    {"environmentId", "environment", "environment"},
    {"releaseId", "release", "release"},
    {"promotionId", "promotion", "promotion"},
};
enum { CONTEXTS = ARRAY_LEN(contexts) };

struct start {
    struct request *r;
    struct space space;
    struct str template_id;
    int64_t version;                    /* asked for; 0: the present one */
    const struct json *found[CONTEXTS]; /* documents that the context names */
    const struct json *template_document;
    struct str definition;
    const struct template *t;
    const struct json *inputs;
    char id[ID_UUID];
    struct run *run;
    struct str json;
    struct commit commit;
    struct commit_index index;
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
        drain_run(r->worker, s->space, str_z(s->id));
        reply_created(r, str_z(s->id), s->json, 1);
    }
}

static struct str text_of(struct start *s, void (*write)(struct buf *b, const struct start *s))
{
    struct buf b;

    buf_init_arena(&b, &s->r->arena, 1024);
    write(&b, s);
    return b.failed ? STR_NONE : buf_view(&b);
}

static void write_origin(struct buf *b, const struct start *s)
{
    run_origin_write(b, &s->run->origin);
}
static void write_header(struct buf *b, const struct start *s)
{
    run_header_write(b, s->run);
}
static void write_document(struct buf *b, const struct start *s)
{
    run_document_write(b, s->run, 1, s->run->origin.created_ms);
}
static void write_entry(struct buf *b, const struct start *s)
{
    (void)s;
    run_event_write(b, &(struct run_event){.type = EVENT_START});
}

static void expect_references(struct start *s)
{
    struct arena *a = &s->r->arena;

    commit_expect_exists(&s->commit, RES_REFERENCE_UNKNOWN, "templateId",
                         key_document(a, s->space, workflow_template_resource.kind, s->template_id));
    for (size_t i = 0; i < CONTEXTS; i++)
        if (s->found[i] != NULL)
            commit_expect_exists(&s->commit, RES_REFERENCE_UNKNOWN, arena_printf(a, "context.%s", contexts[i].member).p,
                                 key_document(a, s->space, contexts[i].kind, json_str(json_get(s->found[i], "id"))));
}

static enum flow commit_run(struct start *s)
{
    struct request *r = s->r;
    struct str id = str_z(s->id);
    struct audit_entry entry = {.action = "run.created", .resource = RUN_KIND, .resource_id = id};
    struct json *json;
    enum code c;

    s->json = text_of(s, write_document);
    json = s->json.p == NULL ? NULL : json_parse(&r->arena, s->json, NULL, NULL);
    if (json == NULL)
        return reply_error(r, SYS_OVERLOADED);
    entry.after = s->json;
    entry.environment_id = json_str(json_get(json, "environmentId"));
    entry.release_id = json_str(json_get(json, "releaseId"));
    entry.promotion_id = json_str(json_get(json, "promotionId"));
    commit_begin(&s->commit, &r->arena, s->space, COMMIT_GROWS);
    expect_references(s);
    document_index(&s->index, &r->arena, &workflow_run_resource, json);
    commit_put(&s->commit, &(struct commit_document){.kind = RUN_KIND,
                                                     .id = id,
                                                     .revision = 1,
                                                     .schema = document_schema(&workflow_run_resource),
                                                     .json = s->json,
                                                     .index = &s->index});
    commit_field(&s->commit, RUN_KIND, id, S("def"), s->definition);
    commit_field(&s->commit, RUN_KIND, id, S("origin"), text_of(s, write_origin));
    commit_field(&s->commit, RUN_KIND, id, S("h"), text_of(s, write_header));
    commit_inbox(&s->commit, id, S("start"), text_of(s, write_entry));
    audit_add(&s->commit, r, &entry);
    idempotency_commit(
        r, &s->commit,
        &(struct idempotent_answer){.status = 201, .data = s->json, .revision = 1, .location = crud_location(r, id)});
    c = store_commit(r->worker->store, &s->commit, &r->ops, committed, s);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- the run --- */

static void put_fact(struct json_out *o, const struct json *document)
{
    static const char *const members[] = {"displayName", "id", "name", "version"};

    json_open(o, '{');
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_get(document, members[i]) != NULL) {
            json_key(o, str_z(members[i]));
            json_put(o, json_get(document, members[i]));
        }
    json_close(o, '}');
}

/* What expressions see as context. */
static const struct json *facts(struct start *s, struct str template_name)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &s->r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < CONTEXTS; i++)
        if (s->found[i] != NULL) {
            json_key(&o, str_z(contexts[i].fact));
            put_fact(&o, s->found[i]);
        }
    json_key(&o, S("run"));
    json_open(&o, '{');
    json_key(&o, S("id"));
    json_put_z(&o, s->id);
    json_key(&o, S("templateId"));
    json_put_str(&o, s->template_id);
    json_key(&o, S("templateName"));
    json_put_str(&o, template_name);
    json_key(&o, S("triggeredBy"));
    json_put_str(&o, s->r->caller.id);
    json_close(&o, '}');
    json_key(&o, S("tenant"));
    json_open(&o, '{');
    json_key(&o, S("id"));
    json_put_str(&o, s->space.tenant);
    json_close(&o, '}');
    json_close(&o, '}');
    return b.failed ? NULL : json_parse(&s->r->arena, buf_view(&b), NULL, NULL);
}

static enum flow make_run(struct start *s)
{
    struct request *r = s->r;
    int64_t now_ms = store_now_ms(r->worker->store);
    struct run_origin origin = {.tenant = s->space.tenant,
                                .template_id = s->template_id,
                                .template_name = json_str(json_get(s->template_document, "name")),
                                .template_version = s->version,
                                .created_ms = now_ms,
                                .triggered_by = r->caller.id,
                                .trigger = r->caller.type == CALLER_USER ? S("manual") : S("api"),
                                .inputs = s->inputs,
                                .context = json_get(r->json, "context"),
                                .labels = json_get(r->json, "labels")};

    id_uuid(now_ms, s->id);
    origin.id = str_z(s->id);
    origin.facts = facts(s, origin.template_name);
    s->run = origin.facts == NULL ? NULL : run_new(&r->arena, s->t, &origin);
    return s->run == NULL ? reply_error(r, SYS_OVERLOADED) : commit_run(s);
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
    s->inputs = template_inputs(&r->arena, s->t, json_get(r->json, "inputs"), faults, &missing);
    if (s->inputs == NULL)
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
        s->definition = buf_view(&b);
        s->version = json_int(json_get(document, "version"), 1);
    } else if (kept.n == 0) {
        return refuse_field(r, RES_REFERENCE_UNKNOWN, "version", "is not kept");
    } else {
        s->definition = arena_str(&r->arena, kept);
    }
    definition = json_parse(&r->arena, s->definition, &(struct json_limits){.depth = 64, .nodes = 400000}, NULL);
    s->t = definition == NULL ? NULL : template_parse(&r->arena, definition, NULL);
    return s->t == NULL ? reply_error(r, WF_TEMPLATE_INVALID) : check_inputs(s);
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
    for (size_t i = 0; i < CONTEXTS; i++) {
        if (json_get(json_get(r->json, "context"), contexts[i].member) == NULL)
            continue;
        s->found[i] = document_of(s, redis_at(redis_at(v, at++), 0));
        if (s->found[i] == NULL) {
            refuse_field(r, RES_REFERENCE_UNKNOWN, arena_printf(&r->arena, "context.%s", contexts[i].member).p,
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
    struct store_command commands[CONTEXTS + 2];
    struct str argv[CONTEXTS + 2][4];
    size_t n = 1;
    enum code c;

    argv[0][0] = S("HMGET");
    argv[0][1] = key_document(&r->arena, s->space, workflow_template_resource.kind, s->template_id);
    argv[0][2] = S("j");
    argv[0][3] = arena_printf(&r->arena, "v:%lld", (long long)s->version);
    commands[0] = (struct store_command){4, argv[0]};
    for (size_t i = 0; i < CONTEXTS; i++) {
        struct str id = json_str(json_get(json_get(r->json, "context"), contexts[i].member));

        if (id.n == 0)
            continue;
        argv[n][0] = S("HMGET");
        argv[n][1] = key_document(&r->arena, s->space, contexts[i].kind, id);
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

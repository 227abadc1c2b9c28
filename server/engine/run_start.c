#include "server/engine/run_start.h"

#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/document.h"
#include "server/engine/drain.h"
#include "server/engine/seal.h"

const struct run_context_row run_contexts[RUN_CONTEXTS] = {
    [CONTEXT_ENVIRONMENT] = {"environmentId", "environment", "environment"},
    [CONTEXT_RELEASE] = {"releaseId", "release", "release"},
    [CONTEXT_PROMOTION] = {"promotionId", "promotion", "promotion"},
};

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
static const struct json *facts(struct arena *a, const struct run_start *s, struct str id)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < RUN_CONTEXTS; i++)
        if (s->documents[i] != NULL) {
            json_key(&o, str_z(run_contexts[i].fact));
            put_fact(&o, s->documents[i]);
        }
    json_key(&o, S("run"));
    json_open(&o, '{');
    json_key(&o, S("id"));
    json_put_str(&o, id);
    json_key(&o, S("templateId"));
    json_put_str(&o, s->template_id);
    json_key(&o, S("templateName"));
    json_put_str(&o, s->template_name);
    json_key(&o, S("triggeredBy"));
    json_put_str(&o, s->triggered_by);
    json_close(&o, '}');
    json_key(&o, S("tenant"));
    json_open(&o, '{');
    json_key(&o, S("id"));
    json_put_str(&o, s->space.tenant);
    json_close(&o, '}');
    json_close(&o, '}');
    return b.failed ? NULL : json_parse(a, buf_view(&b), NULL, NULL);
}

bool run_start_make(struct arena *a, const struct run_start *s, struct run_made *out)
{
    struct run_origin origin = {.tenant = s->space.tenant,
                                .template_id = s->template_id,
                                .template_name = s->template_name,
                                .template_version = s->template_version,
                                .created_ms = s->now_ms,
                                .triggered_by = s->triggered_by,
                                .trigger = s->trigger,
                                .inputs = s->inputs,
                                .context = s->context,
                                .labels = s->labels != NULL ? s->labels : json_new(a, JSON_OBJECT)};
    struct buf b;

    id_uuid(s->now_ms, out->id);
    origin.id = str_z(out->id);
    origin.facts = facts(a, s, origin.id);
    out->run = origin.facts == NULL ? NULL : run_new(a, s->t, &origin);
    if (out->run == NULL)
        return false;
    buf_init_arena(&b, a, 1024);
    run_document_write(&b, out->run, 1, s->now_ms);
    out->json = b.failed ? STR_NONE : buf_view(&b);
    out->document = b.failed ? NULL : json_parse(a, out->json, NULL, NULL);
    return out->document != NULL && seal_inputs(a, s->keyring, &origin, s->t, &out->run->origin.inputs, &out->sealed);
}

static struct str text_of(struct arena *a, void (*write)(struct buf *b, const struct run *r), const struct run *r)
{
    struct buf b;

    buf_init_arena(&b, a, 1024);
    write(&b, r);
    return b.failed ? STR_NONE : buf_view(&b);
}

static void write_origin(struct buf *b, const struct run *r)
{
    run_origin_write(b, &r->origin);
}
static void write_entry(struct buf *b, const struct run *r)
{
    (void)r;
    run_event_write(b, &(struct run_event){.type = EVENT_START});
}

void run_start_write(struct commit *c, struct arena *a, const struct run_start *s, const struct run_made *made)
{
    struct str id = arena_str(a, str_z(made->id));
    struct commit_index index = {0};

    document_index(&index, a, &workflow_run_resource, made->document);
    commit_put(c, &(struct commit_document){.kind = RUN_KIND,
                                            .id = id,
                                            .revision = 1,
                                            .schema = document_schema(&workflow_run_resource),
                                            .json = made->json,
                                            .index = &index,
                                            .sealed = made->sealed});
    commit_field(c, RUN_KIND, id, S("def"), s->definition);
    commit_field(c, RUN_KIND, id, S("origin"), text_of(a, write_origin, made->run));
    commit_field(c, RUN_KIND, id, S("h"), text_of(a, run_header_write, made->run));
    commit_inbox(c, RUN_KIND, id, S("start"), text_of(a, write_entry, made->run));
}

struct audit_entry run_start_audit(const struct run_made *made)
{
    return (struct audit_entry){.action = "run.created",
                                .resource = RUN_KIND,
                                .resource_id = str_z(made->id),
                                .environment_id = json_str(json_get(made->document, "environmentId")),
                                .release_id = json_str(json_get(made->document, "releaseId")),
                                .promotion_id = json_str(json_get(made->document, "promotionId")),
                                .after = made->json};
}

bool run_start_deploys(const struct template *t)
{
    for (int i = 0; i < t->n; i++)
        if (step_type_brings(t->nodes[i].type))
            return true;
    return false;
}

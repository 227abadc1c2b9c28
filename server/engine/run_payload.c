/* What an agent is told to do. Values that must not be shown travel as credentials: the agent masks each of them in
 * everything it sends back, and puts those whose names can be variables into the environment. */
#include "server/engine/run_parts.h"

#include "server/agent/protocol.h"
#include "server/engine/redact.h"

static void write_environment(struct json_out *o, const struct json *env, bool secret)
{
    for (struct json_iter it = json_members(env); json_next(&it);)
        if (redact_name(it.name) == secret) {
            json_key(o, it.name);
            json_put(o, it.value);
        }
}

const char *workflow_task_type(const struct run *r, int step)
{
    const char *task = r->template->nodes[step].type->task;

    return task == NULL ? PROTOCOL_EXECUTE : task;
}

static void write_script(struct json_out *o, const struct json *config)
{
    json_key(o, S("command"));
    json_put(o, json_get(config, "command"));
    json_key(o, S("env"));
    json_open(o, '{');
    write_environment(o, json_get(config, "env"), false);
    json_close(o, '}');
    json_key(o, S("graceSeconds"));
    json_put_int(o, RUN_GRACE_MS / 1000);
    if (json_get(config, "workingDirectory") != NULL) {
        json_key(o, S("workingDirectory"));
        json_put(o, json_get(config, "workingDirectory"));
    }
}

void workflow_payload(struct json_out *o, struct move *m, int step, const struct json *config)
{
    const struct step_type *type = node_of(m, step)->type;

    json_open(o, '{');
    (type->payload == NULL ? write_script : type->payload)(o, config);
    json_close(o, '}');
}

/* Every text below a secret name, under its path: "inputs.database.password", which is no variable's name. */
static void write_secrets(struct arena *a, struct json_out *o, struct str path, const struct json *j, bool secret)
{
    if (json_is(j, JSON_STRING)) {
        if (secret && json_str(j).n > 0) {
            json_key(o, path);
            json_put(o, j);
        }
        return;
    }
    for (struct json_iter it = json_members(j); json_next(&it);)
        write_secrets(a, o, arena_printf(a, STR_FMT "." STR_FMT, STR_ARG(path), STR_ARG(it.name)), it.value,
                      secret || redact_name(it.name));
    for (size_t i = 0; json_is(j, JSON_ARRAY) && i < json_count(j); i++)
        write_secrets(a, o, arena_printf(a, STR_FMT ".%zu", STR_ARG(path), i), json_at(j, i), secret);
}

void workflow_credentials(struct json_out *o, struct move *m, int step, const struct json *config)
{
    (void)step;
    write_environment(o, json_get(config, "env"), true);
    write_secrets(m->fx->arena, o, S("inputs"), m->r->origin.inputs, false);
}

static const struct json *tree(struct move *m, const struct buf *b)
{
    struct json *j = b->failed ? NULL : json_parse(m->fx->arena, buf_view(b), NULL, &(struct json_fault){0});

    m->fx->failed = m->fx->failed || j == NULL;
    return j;
}

struct str task_envelope(struct move *m, int i)
{
    struct arena *a = m->fx->arena;
    const struct run_kind *kind = m->r->template->kind;
    struct str why, id = run_task_id(a, m->r, i);
    const struct json *config = run_step_config(a, m->r, i, false, &why);
    struct task task = {.id = id,
                        .type = str_z(kind->task_type(m->r, i)),
                        .idempotency_key = id,
                        .priority = S("normal"),
                        .timeout_s = (double)node_of(m, i)->timeout_ms / 1000,
                        .assigned_ms = m->now,
                        .expires_ms = m->r->steps[i].expires_ms};
    struct json_out o;
    struct buf b, text;

    buf_init_arena(&b, a, 512);
    json_out_init(&o, &b);
    kind->payload(&o, m, i, config);
    task.payload = tree(m, &b);
    buf_init_arena(&b, a, 128);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (kind->credentials != NULL)
        kind->credentials(&o, m, i, config);
    json_close(&o, '}');
    task.credentials = tree(m, &b);
    buf_init_arena(&text, a, 1024);
    json_out_init(&o, &text);
    task_write(&o, &task);
    m->fx->failed = m->fx->failed || text.failed;
    return buf_view(&text);
}

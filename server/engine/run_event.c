/* Entries of a run's inbox. */
#include "server/engine/run.h"

#include <string.h>

static const char *const names[EVENT_TYPES] = {
    "start",          "pause",         "resume",           "cancel",        "tick",
    "offer",          "task_assigned", "task_unassigned",  "task_accepted", "task_refused",
    "task_started",   "task_progress", "task_completed",   "task_lost",     "agent_gone",
    "work_completed", "job_started",   "rollback_started", "rollback_ended"};

const char *run_event_name(enum run_event_type type)
{
    return names[type];
}

static const struct {
    const char *name;
    size_t at;
} texts[] = {
    {"agent", offsetof(struct run_event, agent)},
    {"by", offsetof(struct run_event, by)},
    {"errorType", offsetof(struct run_event, error_type)},
    {"message", offsetof(struct run_event, message)},
    {"node", offsetof(struct run_event, node)},
    {"reason", offsetof(struct run_event, reason)},
};

void run_event_write(struct buf *b, const struct run_event *e)
{
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("event"));
    json_put_z(&o, names[e->type]);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct str text = *(const struct str *)(const void *)((const char *)e + texts[i].at);

        if (text.n == 0)
            continue;
        json_key(&o, str_z(texts[i].name));
        json_put_str(&o, text);
    }
    if (e->attempt != 0) {
        json_key(&o, S("attempt"));
        json_put_int(&o, e->attempt);
    }
    if (e->progress != 0) {
        json_key(&o, S("progress"));
        json_put_int(&o, e->progress);
    }
    if (e->outputs != NULL) {
        json_key(&o, S("outputs"));
        json_put(&o, e->outputs);
    }
    json_key(&o, S("success"));
    json_put_bool(&o, e->success);
    json_key(&o, S("retriable"));
    json_put_bool(&o, e->retriable);
    json_close(&o, '}');
}

/* Outputs beyond the limit turn a success into a failure that no further attempt would change. */
static void bound_outputs(struct arena *a, struct run_event *e)
{
    struct buf b;

    if (!json_is(e->outputs, JSON_OBJECT)) {
        e->outputs = NULL;
        return;
    }
    buf_init_arena(&b, a, 256);
    b.max = RUN_OUTPUTS_MAX;
    json_write(&b, e->outputs);
    if (!b.failed)
        return;
    e->outputs = NULL;
    if (!e->success)
        return;
    e->success = e->retriable = false;
    e->error_type = S("outputs_too_large");
    e->message = S("the step's outputs are larger than 65536 bytes");
}

bool run_event_read(struct arena *a, struct str entry, struct run_event *out)
{
    static const struct json_limits limits = {.depth = 64, .nodes = 200000};
    struct json *j = json_parse(a, entry, &limits, &(struct json_fault){0});
    struct str name = json_str(json_get(j, "event"));
    int type = 0;

    while (type < EVENT_TYPES && !str_eqz(name, names[type]))
        type++;
    if (type == EVENT_TYPES)
        return false;
    memset(out, 0, sizeof *out);
    out->type = (enum run_event_type)type;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *(struct str *)(void *)((char *)out + texts[i].at) = json_str(json_get(j, texts[i].name));
    out->attempt = json_int(json_get(j, "attempt"), 0);
    out->progress = json_int(json_get(j, "progress"), 0);
    out->success = json_bool(json_get(j, "success"), false);
    out->retriable = json_bool(json_get(j, "retriable"), true);
    out->outputs = json_get(j, "outputs");
    if (out->outputs != NULL)
        bound_outputs(a, out);
    return true;
}

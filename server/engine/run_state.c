#include "server/engine/run_parts.h"

#include <string.h>

static const char *const run_names[RUN_STATUSES] = {"pending",    "running",   "waiting", "paused",
                                                    "cancelling", "succeeded", "failed",  "cancelled"};
static const char *const step_names[STEP_STATUSES] = {"pending",   "ready",  "running",   "waiting",   "retrying",
                                                      "succeeded", "failed", "timed_out", "cancelled", "skipped"};
static const char *const phase_names[] = {"main", "compensation", "finally", "over"};

const char *run_status_name(enum run_status s)
{
    return run_names[s];
}
const char *step_status_name(enum step_status s)
{
    return step_names[s];
}
bool run_status_ended(enum run_status s)
{
    return s >= RUN_SUCCEEDED;
}
bool step_status_ended(enum step_status s)
{
    return s >= STEP_SUCCEEDED;
}

/* What we wrote ourselves; outputs were bounded when they came. */
static const struct json_limits limits = {.depth = 64, .nodes = 200000};

static bool find_name(const char *const *names, size_t n, struct str name, int *out)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(name, names[i])) {
            *out = (int)i;
            return true;
        }
    return false;
}

/* --- rows: which members of a struct are stored, under which name --- */

enum kind { NUMBER, FLAG, TEXT, RAW };

struct row {
    const char *name;
    enum kind kind;
    size_t at;
};

#define AT(m) offsetof(struct run, m)
// clang-format off
static const struct row header_rows[] = {
    {"batch", NUMBER, AT(batch)},
    {"batchDue", NUMBER, AT(batch_due_ms)},
    {"cancelReason", TEXT, AT(cancel_reason)},
    {"cancelledBy", TEXT, AT(cancelled_by)},
    {"cancelling", FLAG, AT(cancelling)},
    {"deadline", NUMBER, AT(deadline_ms)},
    {"errorCode", TEXT, AT(error_code)},
    {"errorMessage", TEXT, AT(error_message)},
    {"errorNode", TEXT, AT(error_node)},
    {"failed", FLAG, AT(failed)},
    {"finished", NUMBER, AT(finished_ms)},
    {"outputs", RAW, AT(outputs)},
    {"pauseReason", TEXT, AT(pause_reason)},
    {"paused", FLAG, AT(paused)},
    {"pausedAt", NUMBER, AT(paused_ms)},
    {"pausedBy", TEXT, AT(paused_by)},
    {"rollback", NUMBER, AT(rollback)},
    {"rolledBackBy", TEXT, AT(rolled_back_by)},
    {"started", NUMBER, AT(started_ms)},
    {"stopping", FLAG, AT(stopping)},
    {"succeeded", NUMBER, AT(succeeded)},
    {"timedOut", FLAG, AT(timed_out)},
    {"timer", NUMBER, AT(timer_ms)},
    {"toldDone", NUMBER, AT(told_done)},
    {"toldStatus", NUMBER, AT(told_status)},
    {0}};
#undef AT
#define AT(m) offsetof(struct step, m)
static const struct row step_rows[] = {
    {"accept", NUMBER, AT(accept_ms)},
    {"accepted", FLAG, AT(accepted)},
    {"agent", TEXT, AT(agent)},
    {"assignment", NUMBER, AT(assignment)},
    {"attempt", NUMBER, AT(attempt)},
    {"busy", TEXT, AT(busy)},
    {"cancel", NUMBER, AT(cancel_ms)},
    {"cancelling", FLAG, AT(cancelling)},
    {"caught", FLAG, AT(caught)},
    {"due", NUMBER, AT(due_ms)},
    {"errorType", TEXT, AT(error_type)},
    {"expired", FLAG, AT(expired)},
    {"expires", NUMBER, AT(expires_ms)},
    {"finished", NUMBER, AT(finished_ms)},
    {"first", NUMBER, AT(first_ms)},
    {"inputs", RAW, AT(inputs)},
    {"job", TEXT, AT(job)},
    {"message", TEXT, AT(message)},
    {"order", NUMBER, AT(order)},
    {"outputs", RAW, AT(outputs)},
    {"poisoned", FLAG, AT(poisoned)},
    {"progress", NUMBER, AT(progress)},
    {"reason", TEXT, AT(reason)},
    {"resume", FLAG, AT(resume)},
    {"retriable", FLAG, AT(retriable)},
    {"started", NUMBER, AT(started_ms)},
    {"waitsAgent", FLAG, AT(waits_agent)},
    {0}};
#undef AT
#define AT(m) offsetof(struct step_attempt, m)
static const struct row attempt_rows[] = {
    {"answered", FLAG, AT(answered)},
    {"attempt", NUMBER, AT(attempt)},
    {"errorType", TEXT, AT(error_type)},
    {"finished", NUMBER, AT(finished_ms)},
    {"late", TEXT, AT(late)},
    {"message", TEXT, AT(message)},
    {"started", NUMBER, AT(started_ms)},
    {0}};
#undef AT
// clang-format on

static void write_row(struct json_out *o, const struct row *row, const void *base)
{
    const void *p = (const char *)base + row->at;
    const struct str *text = p;

    switch (row->kind) {
    case NUMBER:
        if (*(const int64_t *)p != 0) {
            json_key(o, str_z(row->name));
            json_put_int(o, *(const int64_t *)p);
        }
        break;
    case FLAG:
        if (*(const bool *)p) {
            json_key(o, str_z(row->name));
            json_put_bool(o, true);
        }
        break;
    case TEXT:
        if (text->n > 0) {
            json_key(o, str_z(row->name));
            json_put_str(o, *text);
        }
        break;
    case RAW:
        if (text->n > 0) {
            json_key(o, str_z(row->name));
            json_put_raw(o, *text);
        }
        break;
    }
}

static void write_rows(struct json_out *o, const struct row *rows, const void *base)
{
    for (; rows->name != NULL; rows++)
        write_row(o, rows, base);
}

static bool read_raw(struct arena *a, const struct json *j, struct str *out)
{
    struct buf b;

    if (j == NULL)
        return true;
    buf_init_arena(&b, a, 256);
    json_write(&b, j);
    *out = buf_view(&b);
    return !b.failed;
}

static bool read_rows(struct arena *a, const struct row *rows, const struct json *j, void *base)
{
    bool fine = json_is(j, JSON_OBJECT);

    for (; fine && rows->name != NULL; rows++) {
        const struct json *value = json_get(j, rows->name);
        void *p = (char *)base + rows->at;

        if (rows->kind == NUMBER)
            *(int64_t *)p = json_int(value, 0);
        else if (rows->kind == FLAG)
            *(bool *)p = json_bool(value, false);
        else if (rows->kind == TEXT)
            *(struct str *)p = json_str(value);
        else
            fine = read_raw(a, value, p);
    }
    return fine;
}

/* --- the run --- */

struct run *run_new(struct arena *a, const struct template *t, const struct run_origin *origin)
{
    struct run *r = arena_new(a, struct run);

    if (r == NULL)
        return NULL;
    r->arena = a;
    r->template = t;
    r->origin = *origin;
    r->steps = arena_array(a, (size_t)t->n, sizeof *r->steps);
    r->edges = arena_array(a, (size_t)t->n_edges + 1, sizeof *r->edges);
    for (int i = 0; r->steps != NULL && i < t->n; i++)
        r->steps[i].progress = -1;
    return r->steps != NULL && r->edges != NULL ? r : NULL;
}

static const struct {
    const char *name;
    size_t at;
} origin_texts[] = {
    {"id", offsetof(struct run_origin, id)},
    {"templateId", offsetof(struct run_origin, template_id)},
    {"templateName", offsetof(struct run_origin, template_name)},
    {"tenantId", offsetof(struct run_origin, tenant)},
    {"trigger", offsetof(struct run_origin, trigger)},
    {"triggeredBy", offsetof(struct run_origin, triggered_by)},
};

void run_origin_write(struct buf *b, const struct run_origin *origin)
{
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    for (size_t i = 0; i < ARRAY_LEN(origin_texts); i++) {
        json_key(&o, str_z(origin_texts[i].name));
        json_put_str(&o, *(const struct str *)(const void *)((const char *)origin + origin_texts[i].at));
    }
    json_key(&o, S("created"));
    json_put_int(&o, origin->created_ms);
    json_key(&o, S("templateVersion"));
    json_put_int(&o, origin->template_version);
    json_key(&o, S("inputs"));
    json_put(&o, origin->inputs);
    json_key(&o, S("context"));
    json_put(&o, origin->context);
    json_key(&o, S("labels"));
    json_put(&o, origin->labels);
    json_key(&o, S("facts"));
    json_put(&o, origin->facts);
    json_close(&o, '}');
}

bool run_origin_read(const struct json *j, struct run_origin *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < ARRAY_LEN(origin_texts); i++)
        *(struct str *)(void *)((char *)out + origin_texts[i].at) = json_str(json_get(j, origin_texts[i].name));
    out->created_ms = json_int(json_get(j, "created"), 0);
    out->template_version = json_int(json_get(j, "templateVersion"), 0);
    out->inputs = json_get(j, "inputs");
    out->context = json_get(j, "context");
    out->labels = json_get(j, "labels");
    out->facts = json_get(j, "facts");
    return out->id.n > 0 && out->template_version > 0;
}

void run_header_write(struct buf *b, const struct run *r)
{
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    write_rows(&o, header_rows, r);
    json_key(&o, S("phase"));
    json_put_z(&o, phase_names[r->phase]);
    json_key(&o, S("status"));
    json_put_z(&o, run_names[r->status]);
    json_close(&o, '}');
}

bool run_header_read(struct run *r, struct str text)
{
    struct json *j = json_parse(r->arena, text, &limits, &(struct json_fault){0});
    int status, phase;

    if (!read_rows(r->arena, header_rows, j, r) ||
        !find_name(run_names, RUN_STATUSES, json_str(json_get(j, "status")), &status) ||
        !find_name(phase_names, ARRAY_LEN(phase_names), json_str(json_get(j, "phase")), &phase))
        return false;
    r->status = (enum run_status)status;
    r->phase = (enum run_phase)phase;
    return true;
}

/* --- a step --- */

static void write_attempts(struct json_out *o, const struct step *s)
{
    json_key(o, S("attempts"));
    json_open(o, '[');
    for (unsigned i = 0; i < s->n_attempts; i++) {
        json_open(o, '{');
        write_rows(o, attempt_rows, &s->attempts[i]);
        json_key(o, S("status"));
        json_put_z(o, step_names[s->attempts[i].status]);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static void write_agents(struct json_out *o, struct str name, const struct str *agents, unsigned n)
{
    if (n == 0)
        return;
    json_key(o, name);
    json_open(o, '[');
    for (unsigned i = 0; i < n; i++)
        json_put_str(o, agents[i]);
    json_close(o, ']');
}

void run_step_write(struct buf *b, const struct run *r, int step)
{
    const struct step *s = &r->steps[step];
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    write_rows(&o, step_rows, s);
    if (s->n_attempts > 0)
        write_attempts(&o, s);
    write_agents(&o, S("asked"), s->asked, s->n_asked);
    write_agents(&o, S("released"), s->released, s->n_released);
    write_agents(&o, S("refused"), s->refused, s->n_refused);
    json_key(&o, S("status"));
    json_put_z(&o, step_names[s->status]);
    json_close(&o, '}');
}

static bool read_attempts(struct run *r, struct step *s, const struct json *list)
{
    size_t n = json_count(list);
    int status;

    if (n == 0)
        return true;
    if (n > RUN_ATTEMPTS_KEPT || !step_more_attempts(r->arena, s, (unsigned)n))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct json *j = json_at(list, i);

        if (!read_rows(r->arena, attempt_rows, j, &s->attempts[i]) ||
            !find_name(step_names, STEP_STATUSES, json_str(json_get(j, "status")), &status))
            return false;
        s->attempts[i].status = (enum step_status)status;
    }
    s->n_attempts = (unsigned)n;
    return true;
}

static unsigned read_agents(const struct json *list, struct str *agents, unsigned most)
{
    unsigned n = 0;

    for (; n < json_count(list) && n < most; n++)
        agents[n] = json_str(json_at(list, n));
    return n;
}

bool run_step_read(struct run *r, int step, struct str text)
{
    struct step *s = &r->steps[step];
    struct json *j = json_parse(r->arena, text, &limits, &(struct json_fault){0});
    int status;

    if (!read_rows(r->arena, step_rows, j, s) || !read_attempts(r, s, json_get(j, "attempts")) ||
        !find_name(step_names, STEP_STATUSES, json_str(json_get(j, "status")), &status))
        return false;
    s->status = (enum step_status)status;
    s->outputs_json = json_get(j, "outputs");
    s->n_asked = read_agents(json_get(j, "asked"), s->asked, RUN_ASKED_KEPT);
    s->n_released = read_agents(json_get(j, "released"), s->released, RUN_ASKED_KEPT);
    s->n_refused = read_agents(json_get(j, "refused"), s->refused, RUN_REFUSALS_KEPT);
    return true;
}

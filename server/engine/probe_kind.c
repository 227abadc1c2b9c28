/* The kind of run that a probe is: one task, one attempt, no waiting. Its plan, `def` of its hash:
 *
 *     {type, target, agent?, labels?, payload, timeoutMs}
 *
 * and the one frame of its channel: probe_completed {success, outputs?, errorType?, message?}. */
#include "server/engine/probe_private.h"

#include "server/engine/choose.h"
#include "server/engine/run_parts.h"

static const struct step_type probe_step = {.key = "probe",
                                            .name = "Probe",
                                            .category = "deploy",
                                            .executor = BY_AGENT,
                                            .capability = "host",
                                            .retry = {.attempts = 1},
                                            .cancellable = true};

struct plan {
    struct template template; /* first: a probe's template is the plan */
    struct template_node node;
    struct str type, agent;
    const struct json *labels, *payload;
};

static const struct plan *plan_of(const struct run *r)
{
    return (const struct plan *)(const void *)r->template;
}

static const struct template *parse(struct arena *a, const struct json *definition)
{
    struct plan *p = arena_new(a, struct plan);

    if (p == NULL || !json_is(json_get(definition, "payload"), JSON_OBJECT))
        return NULL;
    p->type = json_str(json_get(definition, "type"));
    p->agent = json_str(json_get(definition, "agent"));
    p->labels = json_get(definition, "labels");
    p->payload = json_get(definition, "payload");
    p->node = (struct template_node){.id = arena_printf(a, "0-" STR_FMT, STR_ARG(p->type)),
                                     .name = p->type,
                                     .type = &probe_step,
                                     .config = p->payload,
                                     .timeout_ms = json_int(json_get(definition, "timeoutMs"), 0),
                                     .retry = probe_step.retry,
                                     .target = -1,
                                     .compensates = -1};
    p->template = (struct template){.kind = &probe_kind,
                                    .name = p->type,
                                    .nodes = &p->node,
                                    .n = 1,
                                    .timeout_ms = p->node.timeout_ms + PROBE_LATE_MS};
    return p->type.n > 0 && p->node.id.p != NULL && template_index(a, &p->template) ? &p->template : NULL;
}

static void schedule(struct move *m)
{
    static const enum run_status ends[STEP_STATUSES] = {[STEP_SUCCEEDED] = RUN_SUCCEEDED,
                                                        [STEP_FAILED] = RUN_FAILED,
                                                        [STEP_TIMED_OUT] = RUN_FAILED,
                                                        [STEP_CANCELLED] = RUN_CANCELLED,
                                                        [STEP_SKIPPED] = RUN_CANCELLED};
    const struct step *s = &m->r->steps[0];
    bool stops = m->r->cancelling || m->r->timed_out;

    if (stops && !step_status_ended(s->status))
        step_kill(m, 0, S("nobody waits for it any more"));
    else if (s->status == STEP_PENDING && m->r->started_ms > 0)
        step_begin(m, 0);
    if (step_status_ended(s->status) && m->r->phase != PHASE_OVER)
        run_end(m, ends[s->status]);
}

static void failed(struct move *m, int step)
{
    run_fail(m, "AGT_TASK_FAILED", m->r->steps[step].message, step);
}

static bool unassigned(struct move *m, int step, struct str why)
{
    step_over(m, step, &(struct outcome){STEP_FAILED, S(PROBE_NO_AGENT), why, false, false, NULL});
    return true;
}

static void frame_run(struct move *m, enum run_moment what)
{
    const struct step *s = &m->r->steps[0];
    struct frame f;

    if (what != MOMENT_COMPLETED)
        return;
    frame_begin(&f, m, PROBE_LAST, -1);
    json_key(&f.o, S("success"));
    json_put_bool(&f.o, m->r->status == RUN_SUCCEEDED);
    if (s->outputs_json != NULL) {
        json_key(&f.o, S("outputs"));
        json_put(&f.o, s->outputs_json);
    }
    if (m->r->status != RUN_SUCCEEDED) {
        json_key(&f.o, S("errorType"));
        json_put_str(&f.o, m->r->status == RUN_CANCELLED ? S(PROBE_CANCELLED) : s->error_type);
        json_key(&f.o, S("message"));
        json_put_str(&f.o, s->message.p == NULL ? S("") : s->message);
    }
    frame_end(&f);
}

static void frame_step(struct move *m, enum step_moment what, int step)
{
    (void)m;
    (void)what;
    (void)step;
}

static void document(struct buf *b, const struct run *r, int64_t revision, int64_t now)
{
    struct json_out o;

    (void)now;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("id"));
    json_put_str(&o, r->origin.id);
    json_key(&o, S("revision"));
    json_put_int(&o, revision);
    json_key(&o, S("status"));
    json_put_z(&o, run_status_name(r->status));
    json_key(&o, S("type"));
    json_put_str(&o, plan_of(r)->type);
    json_close(&o, '}');
}

static const struct json *config(struct arena *a, const struct run *r, int step, bool redact, struct str *why)
{
    (void)step;
    *why = S("out of memory");
    return redact ? json_new(a, JSON_OBJECT) : plan_of(r)->payload;
}

static const char *task_type(const struct run *r, int step)
{
    (void)step;
    return probe_type(plan_of(r)->type);
}

static void payload(struct json_out *o, struct move *m, int step, const struct json *config_of)
{
    (void)m;
    (void)step;
    json_put(o, config_of);
}

static void wish(struct arena *a, const struct run *r, int step, const struct json *config_of, struct choose_wish *out)
{
    (void)a;
    (void)step;
    (void)config_of;
    out->labels = plan_of(r)->labels;
    if (plan_of(r)->agent.n > 0)
        out->agent = plan_of(r)->agent;
}

const struct run_kind probe_kind = {
    .name = PROBE_KIND,
    .parse = parse,
    .schedule = schedule,
    .failed = failed,
    .unassigned = unassigned,
    .frame_run = frame_run,
    .frame_step = frame_step,
    .document = document,
    .config = config,
    .task_type = task_type,
    .payload = payload,
    .wish = wish,
    .log_frame = "task_log",
    .log_member = "taskId",
    .keep_ms = PROBE_KEEP_MS,
};

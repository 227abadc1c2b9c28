/* The frames of the run's channel (spec §13.3), rendered once: without the opening brace, seq and timestamp, which the
 * store's function writes in front. */
#include "server/engine/run_parts.h"

#include "server/engine/member.h"

/* --- the run --- */

static void started(struct json_out *o, const struct run *r)
{
    json_key(o, S("templateId"));
    json_put_str(o, r->origin.template_id);
    json_key(o, S("templateVersion"));
    json_put_int(o, r->origin.template_version);
}

static void paused(struct json_out *o, const struct run *r)
{
    member_text(o, "by", r->paused_by);
    member_text(o, "reason", r->pause_reason);
}

static void cancelling(struct json_out *o, const struct run *r)
{
    member_text(o, "by", r->cancelled_by);
    member_text(o, "reason", r->cancel_reason);
}

static void completed(struct json_out *o, const struct run *r)
{
    json_key(o, S("status"));
    json_put_z(o, run_status_name(r->status));
    member_seconds(o, "duration", r->started_ms > 0 ? r->finished_ms - r->started_ms : 0);
    member_raw(o, "outputs", r->outputs);
    if (r->error_code.n > 0) {
        json_key(o, S("error"));
        json_open(o, '{');
        member_text(o, "code", r->error_code);
        member_text(o, "message", r->error_message);
        member_text(o, "nodeId", r->error_node);
        json_close(o, '}');
    }
}

static const struct {
    const char *type;
    void (*write)(struct json_out *o, const struct run *r);
} run_frames[] = {
    [MOMENT_STARTED] = {"workflow_started", started},       [MOMENT_PAUSED] = {"workflow_paused", paused},
    [MOMENT_RESUMED] = {"workflow_resumed", NULL},          [MOMENT_CANCELLING] = {"workflow_cancelling", cancelling},
    [MOMENT_COMPLETED] = {"workflow_completed", completed}, [MOMENT_ROLLED_BACK] = {NULL, NULL},
};

/* --- a step --- */

static void step_started(struct json_out *o, const struct run *r, int i)
{
    json_key(o, S("stepType"));
    json_put_z(o, r->template->nodes[i].type->key);
    json_key(o, S("attempt"));
    json_put_int(o, r->steps[i].attempt);
    member_text(o, "agentId", r->steps[i].agent);
}

static void step_waiting(struct json_out *o, const struct run *r, int i)
{
    json_key(o, S("waitingFor"));
    json_put_z(o, "timer");
    json_key(o, S("until"));
    json_put_time(o, r->steps[i].due_ms);
}

static void step_progress(struct json_out *o, const struct run *r, int i)
{
    json_key(o, S("progress"));
    json_put_int(o, r->steps[i].progress);
    member_text(o, "message", r->steps[i].message);
}

static void step_retrying(struct json_out *o, const struct run *r, int i)
{
    const struct step *s = &r->steps[i];
    int64_t from = r->paused ? r->paused_ms : s->finished_ms;

    json_key(o, S("attempt"));
    json_put_int(o, s->attempt + 1);
    json_key(o, S("maxAttempts"));
    json_put_int(o, r->template->nodes[i].retry.attempts);
    member_seconds(o, "delaySeconds", s->due_ms - from);
    member_error(o, s);
}

static void step_skipped(struct json_out *o, const struct run *r, int i)
{
    member_text(o, "reason", r->steps[i].reason);
}

static void step_log_end(struct json_out *o, const struct run *r, int i)
{
    json_key(o, S("attempt"));
    json_put_int(o, r->steps[i].attempt);
}

static void step_completed(struct json_out *o, const struct run *r, int i)
{
    const struct step *s = &r->steps[i];

    json_key(o, S("stepType"));
    json_put_z(o, r->template->nodes[i].type->key);
    json_key(o, S("status"));
    json_put_z(o, step_status_name(s->status));
    json_key(o, S("attempt"));
    json_put_int(o, s->attempt);
    member_seconds(o, "duration", s->first_ms > 0 ? s->finished_ms - s->first_ms : 0);
    member_raw(o, "outputs", s->outputs);
    member_error(o, s);
}

static const struct {
    const char *type;
    void (*write)(struct json_out *o, const struct run *r, int step);
} step_frames[] = {
    [MOMENT_STEP_STARTED] = {"step_started", step_started},
    [MOMENT_STEP_WAITING] = {"step_waiting", step_waiting},
    [MOMENT_STEP_PROGRESS] = {"step_progress", step_progress},
    [MOMENT_STEP_RETRYING] = {"step_retrying", step_retrying},
    [MOMENT_STEP_SKIPPED] = {"step_skipped", step_skipped},
    [MOMENT_STEP_LOG_END] = {"step_log_end", step_log_end},
    [MOMENT_STEP_COMPLETED] = {"step_completed", step_completed},
};

void frame_begin(struct frame *f, struct move *m, const char *type, int step)
{
    f->m = m;
    f->step = step;
    buf_init_arena(&f->b, m->fx->arena, 192);
    json_out_init(&f->o, &f->b);
    json_open(&f->o, '{');
    json_key(&f->o, S("type"));
    json_put_z(&f->o, type);
}

void frame_end(struct frame *f)
{
    struct effect *e;

    json_close(&f->o, '}');
    e = effect_add(f->m, EFFECT_EVENT, f->step);
    e->text = str_slice(buf_view(&f->b), 1, SIZE_MAX);
    f->m->fx->failed = f->m->fx->failed || f->b.failed;
}

void workflow_frame_run(struct move *m, enum run_moment what)
{
    struct frame f;

    if (run_frames[what].type == NULL)
        return;
    frame_begin(&f, m, run_frames[what].type, -1);
    if (run_frames[what].write != NULL)
        run_frames[what].write(&f.o, m->r);
    frame_end(&f);
}

void workflow_frame_step(struct move *m, enum step_moment what, int step)
{
    struct frame f;

    if (step_frames[what].type == NULL)
        return;
    frame_begin(&f, m, step_frames[what].type, step);
    json_key(&f.o, S("nodeId"));
    json_put_str(&f.o, node_of(m, step)->id);
    step_frames[what].write(&f.o, m->r, step);
    frame_end(&f);
}

/* The frames of the run's channel (spec §13.3), rendered once: without the opening brace, seq and timestamp, which the
 * store's function writes in front. */
#include "server/engine/run_parts.h"

#include <string.h>

struct frame {
    struct move *m;
    struct buf b;
    struct json_out o;
    int step;
};

static void put_text(struct json_out *o, const char *name, struct str text)
{
    if (text.n > 0) {
        json_key(o, str_z(name));
        json_put_str(o, text);
    }
}

static void put_seconds(struct json_out *o, const char *name, int64_t ms)
{
    json_key(o, str_z(name));
    json_put_real(o, (double)ms / 1000);
}

static void put_outputs(struct json_out *o, struct str outputs)
{
    if (outputs.n > 0) {
        json_key(o, S("outputs"));
        json_put_raw(o, outputs);
    }
}

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
    put_text(o, "by", r->paused_by);
    put_text(o, "reason", r->pause_reason);
}

static void cancelling(struct json_out *o, const struct run *r)
{
    put_text(o, "by", r->cancelled_by);
    put_text(o, "reason", r->cancel_reason);
}

static void completed(struct json_out *o, const struct run *r)
{
    json_key(o, S("status"));
    json_put_z(o, run_status_name(r->status));
    put_seconds(o, "duration", r->started_ms > 0 ? r->finished_ms - r->started_ms : 0);
    put_outputs(o, r->outputs);
    if (r->error_code.n > 0) {
        json_key(o, S("error"));
        json_open(o, '{');
        put_text(o, "code", r->error_code);
        put_text(o, "message", r->error_message);
        put_text(o, "nodeId", r->error_node);
        json_close(o, '}');
    }
}

static const struct {
    const char *type;
    void (*write)(struct json_out *o, const struct run *r);
} run_frames[] = {
    {"workflow_started", started},       {"workflow_paused", paused},       {"workflow_resumed", NULL},
    {"workflow_cancelling", cancelling}, {"workflow_completed", completed},
};

/* --- a step --- */

static void put_error(struct json_out *o, const struct step *s)
{
    if (s->error_type.n == 0)
        return;
    json_key(o, S("error"));
    json_open(o, '{');
    json_key(o, S("message"));
    json_put_str(o, s->message.p == NULL ? S("") : s->message);
    json_key(o, S("retriable"));
    json_put_bool(o, s->retriable);
    json_key(o, S("type"));
    json_put_str(o, s->error_type);
    json_close(o, '}');
}

static void step_started(struct json_out *o, const struct run *r, int i)
{
    json_key(o, S("stepType"));
    json_put_z(o, r->template->nodes[i].type->key);
    json_key(o, S("attempt"));
    json_put_int(o, r->steps[i].attempt);
    put_text(o, "agentId", r->steps[i].agent);
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
    put_text(o, "message", r->steps[i].message);
}

static void step_retrying(struct json_out *o, const struct run *r, int i)
{
    const struct step *s = &r->steps[i];
    int64_t from = r->paused ? r->paused_ms : s->finished_ms;

    json_key(o, S("attempt"));
    json_put_int(o, s->attempt + 1);
    json_key(o, S("maxAttempts"));
    json_put_int(o, r->template->nodes[i].retry.attempts);
    put_seconds(o, "delaySeconds", s->due_ms - from);
    put_error(o, s);
}

static void step_skipped(struct json_out *o, const struct run *r, int i)
{
    put_text(o, "reason", r->steps[i].reason);
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
    put_seconds(o, "duration", s->first_ms > 0 ? s->finished_ms - s->first_ms : 0);
    put_outputs(o, s->outputs);
    put_error(o, s);
}

static const struct {
    const char *type;
    void (*write)(struct json_out *o, const struct run *r, int step);
} step_frames[] = {
    {"step_started", step_started},     {"step_waiting", step_waiting}, {"step_progress", step_progress},
    {"step_retrying", step_retrying},   {"step_skipped", step_skipped}, {"step_log_end", step_log_end},
    {"step_completed", step_completed},
};

static void frame_begin(struct frame *f, struct move *m, const char *type, int step)
{
    f->m = m;
    f->step = step;
    buf_init_arena(&f->b, m->fx->arena, 192);
    json_out_init(&f->o, &f->b);
    json_open(&f->o, '{');
    json_key(&f->o, S("type"));
    json_put_z(&f->o, type);
}

static void frame_end(struct frame *f)
{
    struct effect *e;

    json_close(&f->o, '}');
    e = effect_add(f->m, EFFECT_EVENT, f->step);
    e->text = str_slice(buf_view(&f->b), 1, SIZE_MAX);
    f->m->fx->failed = f->m->fx->failed || f->b.failed;
}

void frame_run(struct move *m, const char *type)
{
    struct frame f;

    frame_begin(&f, m, type, -1);
    for (size_t i = 0; i < ARRAY_LEN(run_frames); i++)
        if (strcmp(run_frames[i].type, type) == 0 && run_frames[i].write != NULL)
            run_frames[i].write(&f.o, m->r);
    frame_end(&f);
}

void frame_step(struct move *m, const char *type, int step)
{
    struct frame f;

    frame_begin(&f, m, type, step);
    json_key(&f.o, S("nodeId"));
    json_put_str(&f.o, node_of(m, step)->id);
    for (size_t i = 0; i < ARRAY_LEN(step_frames); i++)
        if (strcmp(step_frames[i].type, type) == 0)
            step_frames[i].write(&f.o, m->r, step);
    frame_end(&f);
}

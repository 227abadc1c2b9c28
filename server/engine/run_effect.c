#include "server/engine/run_parts.h"

#include <string.h>

void effects_init(struct effects *fx, struct arena *a)
{
    *fx = (struct effects){.arena = a};
}

struct effect *effect_add(struct move *m, enum effect_type type, int step)
{
    static struct effect lost; /* written to and never read once memory ran out */
    struct effects *fx = m->fx;

    if (fx->n == fx->cap) {
        size_t cap = fx->cap == 0 ? 16 : fx->cap * 2;
        struct effect *list = arena_array(fx->arena, cap, sizeof *list);

        if (list == NULL) {
            fx->failed = true;
            return &lost;
        }
        if (fx->n > 0)
            memcpy(list, fx->list, fx->n * sizeof *list);
        fx->list = list;
        fx->cap = cap;
    }
    fx->list[fx->n] = (struct effect){.type = type, .step = step};
    return &fx->list[fx->n++];
}

struct str run_task_id(struct arena *a, const struct run *r, int step)
{
    return arena_printf(a, STR_FMT ":" STR_FMT ":%lld", STR_ARG(r->origin.id), STR_ARG(r->template->nodes[step].id),
                        (long long)r->steps[step].attempt);
}

void effect_task(struct move *m, enum effect_type type, int step, struct str agent, struct str text)
{
    struct effect *e = effect_add(m, type, step);

    e->agent = agent;
    e->task = run_task_id(m->fx->arena, m->r, step);
    e->text = text;
    e->at = m->now;
    m->fx->failed = m->fx->failed || e->task.p == NULL;
}

/* Cut where no character is split. */
static struct str cut(struct str s)
{
    size_t n = RUN_TEXT_MAX;

    if (s.n <= n)
        return s;
    while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return str_slice(s, 0, n);
}

struct str keep(struct move *m, struct str s)
{
    struct str copy;

    if (s.n == 0)
        return STR_NONE;
    copy = arena_str(m->r->arena, cut(s));
    m->fx->failed = m->fx->failed || copy.p == NULL;
    return copy;
}

void effect_tell(struct move *m, const char *kind, struct str run, struct str id, const struct run_event *e)
{
    struct effect *effect = effect_add(m, EFFECT_TELL, -1);
    struct buf b;

    buf_init_arena(&b, m->fx->arena, 128);
    run_event_write(&b, e);
    effect->kind = kind;
    effect->run = run;
    effect->id = id;
    effect->text = buf_view(&b);
    m->fx->failed = m->fx->failed || b.failed;
}

void step_tell_job(struct move *m, int i, const struct run_event *e)
{
    const struct step *s = &m->r->steps[i];

    if (s->status == STEP_RUNNING && s->job.n > 0)
        effect_tell(m, "job", s->job, STR_NONE, e);
}

void step_resume_job(struct move *m, int i, struct str by)
{
    struct step *s = &m->r->steps[i];

    step_tell_job(m, i, &(struct run_event){.type = EVENT_RESUME, .by = by});
    if (s->status != STEP_RUNNING || node_of(m, i)->type->executor != BY_JOB || s->job.n > 0)
        return;
    s->resume = true;
    step_touch(m, i);
}

/* The run in the store: loaded, moved by the entries of its inbox, and committed, or not. */
#include "server/engine/choose.h"
#include "server/engine/kind.h"
#include "server/engine/template.h"
#include "test/whole/whole.h"

#include <string.h>

struct run *whole_load(struct arena *a)
{
    struct run *r = run_new(a, world->t, &world->origin);
    bool fine = r != NULL && (world->header.n == 0 || run_header_read(r, world->header));

    for (int i = 0; fine && i < world->t->n; i++)
        fine = world->steps[i].n == 0 || run_step_read(r, i, world->steps[i]);
    if (!fine)
        whole_fault("the run cannot be read back");
    return fine ? r : NULL;
}

static bool among(const struct str *list, unsigned n, struct str id)
{
    for (unsigned i = 0; i < n; i++)
        if (str_eq(list[i], id))
            return true;
    return false;
}

/* The one that has to do it; STR_NONE: any may. */
static struct str wanted(const struct run *r, int step)
{
    struct choose_wish wish = {0};
    struct str why;

    if (world->t->kind == &job_kind && world->bug != WHOLE_WISH_IGNORED)
        job_kind.wish(&world->scratch, r, step, run_step_config(&world->scratch, r, step, false, &why), &wish);
    return wish.agent;
}

static void choose_for(struct run *r, int step, struct effects *fx)
{
    const struct step *s = &r->steps[step];
    struct run_event e = {.type = EVENT_TASK_UNASSIGNED,
                          .node = world->t->nodes[step].id,
                          .attempt = s->attempt,
                          .message = S("nobody is there")};
    unsigned from = dice_below(&world->dice, WHOLE_AGENTS);
    struct str only = wanted(r, step);

    if (s->agent.n > 0 && s->accept_ms > 0 && !s->waits_agent)
        return;
    for (unsigned i = 0; i < WHOLE_AGENTS && e.agent.n == 0; i++) {
        int k = (int)((from + i) % WHOLE_AGENTS);

        if (world->online[k] && (only.n == 0 || str_eq(only, whole_agent_id(k))) &&
            !among(s->refused, s->n_refused, whole_agent_id(k)) &&
            !among(s->released, s->n_released, whole_agent_id(k)))
            e.agent = whole_agent_id(k);
    }
    if (e.agent.n > 0)
        e.type = EVENT_TASK_ASSIGNED;
    run_transition(r, &e, world->now, fx);
}

static void write_effect(const struct effect *e, struct whole_frames frames[WHOLE_CHANNELS])
{
    struct whole_open *open;
    int agent;

    switch (e->type) {
    case EFFECT_EVENT:
        whole_frames_add(&frames[0], e->text);
        break;
    case EFFECT_ASSIGN:
        agent = whole_agent_index(e->agent);
        open = whole_open_task(agent, e->task, true);
        if (open == NULL) {
            whole_fault("too many open tasks");
            break;
        }
        open->text = arena_str(&world->arena, e->text);
        whole_log_get(e->task)->agents |= 1U << agent;
        whole_frames_add(
            &frames[1 + agent],
            arena_printf(&world->arena, "\"type\":\"task_assigned\",\"task\":" STR_FMT "}", STR_ARG(open->text)));
        world->coverage->tasks++;
        break;
    case EFFECT_CANCEL:
        whole_frames_add(&frames[1 + whole_agent_index(e->agent)],
                         arena_printf(&world->arena,
                                      "\"type\":\"task_cancel\",\"taskId\":\"" STR_FMT
                                      "\",\"reason\":\"r\",\"graceSeconds\":30}",
                                      STR_ARG(e->task)));
        break;
    case EFFECT_FORGET:
        agent = whole_agent_index(e->agent);
        open = whole_open_task(agent, e->task, false);
        if (open != NULL)
            open->id[0] = '\0';
        break;
    case EFFECT_TIMER:
        world->timer = e->at;
        break;
    default:
        break;
    }
}

static struct str text_of(void (*write)(struct buf *b, const struct run *r, int step), const struct run *r, int step)
{
    struct buf b;

    buf_init_arena(&b, &world->arena, 256);
    write(&b, r, step);
    return buf_view(&b);
}

static void header_of(struct buf *b, const struct run *r, int step)
{
    (void)step;
    run_header_write(b, r);
}

static void commit(const struct run *r, const struct effects *fx, size_t consumed)
{
    struct whole_frames frames[WHOLE_CHANNELS];

    if (r->dirty)
        world->header = text_of(header_of, r, 0);
    for (int i = 0; i < world->t->n; i++)
        if (r->steps[i].dirty)
            world->steps[i] = text_of(run_step_write, r, i);
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        whole_frames_begin(&frames[i], i);
    for (size_t i = 0; i < fx->n; i++)
        write_effect(&fx->list[i], frames);
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        whole_frames_end(&frames[i]);
    world->commits++;
    consumed = consumed < world->n_inbox ? consumed : world->n_inbox; /* more: with a planted bug alone */
    world->n_inbox -= consumed;
    world->consumed += consumed;
    memmove(world->inbox, world->inbox + consumed, world->n_inbox * sizeof *world->inbox);
}

/* The run moved by the first `n` of its inbox; NULL: there is a fault. */
static struct run *move(struct arena *a, size_t n, struct effects *fx)
{
    struct run *r = whole_load(a);
    size_t done = 0;

    effects_init(fx, a);
    for (size_t i = 0; r != NULL && i < n; i++) {
        struct run_event e;

        if (!run_event_read(a, world->inbox[i], &e)) {
            whole_fault("an entry cannot be read back");
            return NULL;
        }
        run_transition(r, &e, world->now, fx);
        world->coverage->events++;
        for (; done < fx->n; done++)
            if (fx->list[done].type == EFFECT_CHOOSE)
                choose_for(r, fx->list[done].step, fx);
    }
    if (fx->failed)
        whole_fault("the transition ran out of memory");
    return fx->failed ? NULL : r;
}

/* One that takes long: others may drain meanwhile, for its lease runs out. */
static _Thread_local struct {
    struct run *run; /* NULL: there is none */
    struct effects fx;
    size_t n;
    uint64_t commits;
} late;

void whole_drain_forget(void)
{
    late.run = NULL;
}

bool whole_drain_late(void)
{
    bool fenced = late.commits != world->commits && world->bug != WHOLE_NOT_FENCED;

    if (late.run == NULL)
        return false;
    if (fenced)
        world->coverage->fenced++;
    else
        commit(late.run, &late.fx, late.n);
    late.run = NULL;
    return true;
}

bool whole_drain(void)
{
    struct run *r;
    struct effects fx;
    size_t n = world->n_inbox;

    if (n == 0)
        return false;
    n = 1 + dice_below(&world->dice, (unsigned)n);
    if (late.run == NULL && whole_unlucky(60, &world->coverage->faults)) {
        arena_reset(&world->held);
        late.run = move(&world->held, n, &late.fx);
        late.n = n;
        late.commits = world->commits;
        return true;
    }
    arena_reset(&world->scratch);
    r = move(&world->scratch, n, &fx);
    if (r != NULL && !whole_unlucky(50, &world->coverage->commits_lost))
        commit(r, &fx, n);
    return true;
}

/* When runs are looked at without anybody asking: at the time of their timer, by the worker that committed it last; and by
 * the sweep, for whatever was left lying by workers that are no more.
 *
 * Each process sweeps each partition once a second, its workers sharing the partitions among them; the order starts
 * anywhere, so that instances do not beat in step. */
#include "server/engine/drain_private.h"

#include "server/blob_store.h"
#include "server/engine/agents.h"
#include "server/engine/environment_settle.h"
#include "server/engine/freeze.h"
#include "server/engine/target_settle.h"
#include "server/settings.h"
#include "server/store/lease.h"
#include "server/worker.h"

#include <stdlib.h>

enum { SWEEP_MS = 1000, SWEEP_LEASE_MS = 3000, SWEEP_MOST = 100, TICKS_MOST = 20000, TICK_LONGEST_MS = 3600 * 1000 };

struct tick {
    struct drains *drains;
    struct place place;
    struct timer timer;
};

static void tick_free(struct tick *t)
{
    map_remove(&t->drains->ticks, str_z(t->place.key));
    timer_stop(&t->timer);
    free(t);
}

static void tick_due(void *arg)
{
    struct tick *t = arg;
    struct drains *ds = t->drains;
    struct place p;

    place_set(&p, t->place.kind, t->place.space, t->place.id);
    tick_free(t);
    drain_run(ds->worker, p.kind, p.space, p.id);
}

void timers_set(struct drains *ds, const struct place *p, int64_t due_ms)
{
    struct tick **at = map_get(&ds->ticks, str_z(p->key)), *t = at == NULL ? NULL : *at;
    int64_t delay = due_ms - store_now_ms(ds->worker->store);

    if (due_ms == 0 || ds->closing || delay > TICK_LONGEST_MS) { /* the sweep sees to the far ones */
        if (t != NULL)
            tick_free(t);
        return;
    }
    if (t == NULL) {
        t = ds->ticks.n >= TICKS_MOST ? NULL : calloc(1, sizeof *t);
        at = t == NULL ? NULL : map_put(&ds->ticks, str_z(p->key), NULL);
        if (at == NULL) {
            free(t);
            return;
        }
        *at = t;
        t->drains = ds;
        place_set(&t->place, p->kind, p->space, p->id);
    }
    timer_start(&t->timer, &ds->worker->loop, delay > 0 ? delay + 1 : 1, tick_due, t);
}

/* --- the sweep --- */

/* Timers that are no run's: what is looked at when one of them is due. Each is level-triggered: it reads everything, makes
 * one commit with checks, starts over on a conflict, and takes its timer away when there is nothing left to do; safe to
 * run twice, at once, by anyone. Names are copied by whoever keeps them. */
static const struct settler {
    const char *kind;
    void (*settle)(struct worker *w, struct space space, struct str id);
} settlers[] = {
    {TARGET_TIMER, target_settle},
    {ENVIRONMENT_TIMER, environment_settle},
    {FREEZE_TIMER, freeze_settle},
    {"blob", blob_settle},
};

static void settle(struct drains *ds, unsigned partition, struct str kind, struct str tenant, struct str id)
{
    for (size_t i = 0; i < ARRAY_LEN(settlers); i++)
        if (str_eqz(kind, settlers[i].kind) && id_is_uuid(tenant, NULL))
            settlers[i].settle(ds->worker, (struct space){partition, tenant}, id);
}

/* "<tenant>:<kind>:<id>" */
static void look_at(struct drains *ds, unsigned partition, struct str member)
{
    struct str rest = member, tenant = str_cut(&rest, ':'), kind = str_cut(&rest, ':');
    struct place p;

    if (place_parse(&p, run_kind_find(kind), partition, tenant, rest))
        drain_run(ds->worker, p.kind, p.space, p.id);
    else
        settle(ds, partition, kind, tenant, rest);
}

static void tell_stale(struct drains *ds, unsigned partition, const struct swept *s)
{
    for (size_t i = 0; ds->stale != NULL && i + 1 < s->stale->count; i += 2) {
        struct str agent = redis_text(redis_at(s->stale, i)), tenant = str_cut(&agent, ':');

        ds->stale(ds->worker, (struct space){partition, tenant}, agent, redis_int(redis_at(s->stale, i + 1), 0),
                  s->now_ms);
    }
}

static void swept(void *arg, enum code c, const struct swept *s)
{
    struct sweep_slot *slot = arg;
    struct drains *ds = slot->drains;

    slot->busy = false;
    if (c != OK || ds->closing)
        return;
    for (size_t i = 0; i < s->dirty->count; i++)
        look_at(ds, slot->partition, redis_text(redis_at(s->dirty, i)));
    for (size_t i = 0; i < s->timers->count; i++)
        look_at(ds, slot->partition, redis_text(redis_at(s->timers, i)));
    for (size_t i = 0; i < s->queue->count; i++)
        work_swept(ds, slot->partition, redis_text(redis_at(s->queue, i)));
    tell_stale(ds, slot->partition, s);
}

static void sweep_next(void *arg)
{
    struct drains *ds = arg;
    struct worker *w = ds->worker;
    unsigned share = w->process->count > 0 ? w->process->count : 1, mine = (ID_PARTITIONS + share - 1) / share;
    struct sweep_slot *slot = &ds->slots[(ds->sweep_next++ % mine * share + w->index) % ID_PARTITIONS];
    struct sweep in = {.partition = slot->partition,
                       .dirty_ms = SWEEP_MS,
                       .stale_ms = AGENT_DEGRADED * w->settings->agent_heartbeat,
                       .lease_ms = SWEEP_LEASE_MS,
                       .most = SWEEP_MOST};

    timer_start(&ds->sweeper, &w->loop, SWEEP_MS / mine, sweep_next, ds);
    if (slot->busy || !store_ready(w->store))
        return;
    arena_reset(&ds->scratch);
    slot->busy = store_sweep(w->store, &ds->scratch, &in, &ds->ops, swept, slot) == OK;
}

void timers_start(struct drains *ds)
{
    for (unsigned i = 0; i < ID_PARTITIONS; i++)
        ds->slots[i] = (struct sweep_slot){ds, i, false};
    ds->sweep_next = random_below(ID_PARTITIONS);
    timer_start(&ds->sweeper, &ds->worker->loop, 1 + random_below(SWEEP_MS), sweep_next, ds);
}

void timers_stop(struct drains *ds)
{
    size_t at = 0;
    void *value;

    timer_stop(&ds->sweeper);
    while (map_next(&ds->ticks, &at, NULL, &value)) {
        tick_free(*(struct tick **)value);
        at = 0;
    }
}

void drains_on_stale(struct drains *ds, drain_stale *fn)
{
    ds->stale = fn;
}

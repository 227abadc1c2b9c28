#include "server/engine/drain_private.h"

#include "lib/log.h"
#include "server/engine/seal.h"
#include "server/settings.h"
#include "server/store/lease.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FENCES_MOST = 5, FIRST_DELAY_MS = 5, LAST_DELAY_MS = 200, ROUND_MEMORY = 16 << 20, CLOSE_MS = 3000 };

/* An entry on its way into the inbox, and who waits for it. */
struct append {
    struct list link;
    struct drains *drains;
    struct waiter *waiter;
    struct place place;
    bool claims;
};

static void claim_lease(void *arg);
static void process(struct drain *d, const struct redis_value *entries);
static void reload(struct drain *d);

/* --- names --- */

static void copy_name(char *to, size_t size, struct str from)
{
    size_t n = from.n < size ? from.n : size - 1;

    if (n > 0)
        memcpy(to, from.p, n);
    to[n] = '\0';
}

void place_set(struct place *p, const struct run_kind *kind, struct space space, struct str run)
{
    p->kind = kind;
    copy_name(p->tenant, sizeof p->tenant, space.tenant);
    copy_name(p->run, sizeof p->run, run);
    snprintf(p->key, sizeof p->key, "%s:%s:%s", p->tenant, kind->name, p->run);
    p->space = (struct space){space.partition, str_z(p->tenant)};
    p->id = str_z(p->run);
}

bool place_parse(struct place *p, const struct run_kind *kind, unsigned partition, struct str tenant, struct str run)
{
    if (kind == NULL || !id_is_uuid(tenant, NULL) || !id_is_uuid(run, NULL))
        return false;
    place_set(p, kind, (struct space){partition, tenant}, run);
    return true;
}

struct str place_channel(struct arena *a, const struct place *p)
{
    return arena_printf(a, "%s:%s", p->kind->name, p->run);
}

/* A struct place holds pointers to itself: copies are made anew. */
static void place_copy(struct place *to, const struct place *from)
{
    place_set(to, from->kind, from->space, from->id);
}

/* --- waiters --- */

static struct waiter *waiter_new(struct ops *asker, drain_then *then, void *arg)
{
    struct waiter *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    list_init(&w->link);
    op_begin(&w->op, asker);
    w->then = then;
    w->arg = arg;
    return w;
}

static void waiter_tell(struct waiter *w, enum code c, const struct drained *drained)
{
    drain_then *then = w->then;
    void *arg = w->arg;
    bool live = op_finish(&w->op) && then != NULL;

    list_remove(&w->link);
    free(w);
    if (live)
        then(arg, c, drained);
}

/* --- one drain --- */

static struct drain *drain_find(struct drains *ds, const struct place *p)
{
    struct drain **at = map_get(&ds->running, str_z(p->key));

    return at == NULL ? NULL : *at;
}

static struct drain *drain_new(struct drains *ds, const struct place *p)
{
    struct drain *d = ds->running.n >= DRAIN_MOST ? NULL : calloc(1, sizeof *d);
    struct drain **at = d == NULL ? NULL : map_put(&ds->running, str_z(p->key), NULL);

    if (at == NULL) {
        free(d);
        return NULL;
    }
    *at = d;
    metrics_set(&ds->worker->metrics, METRIC_DRAINS_RUNNING, ds->running.n);
    d->drains = ds;
    place_copy(&d->place, p);
    arena_init(&d->arena, DRAIN_MEMORY);
    ops_init(&d->ops);
    list_init(&d->waiters);
    d->began_ms = loop_now_ms(&ds->worker->loop);
    d->delay_ms = FIRST_DELAY_MS;
    return d;
}

void drain_end(struct drain *d, enum code c)
{
    struct drains *ds = d->drains;
    struct drained drained = {.json = d->json, .revision = d->revision, .now_ms = d->now_ms};

    if (d->r != NULL)
        drained.status = d->r->status;
    map_remove(&ds->running, str_z(d->place.key));
    metrics_set(&ds->worker->metrics, METRIC_DRAINS_RUNNING, ds->running.n);
    timer_stop(&d->timer);
    ops_detach(&d->ops);
    while (!list_empty(&d->waiters)) /* who is told may go away, and take others along */
        waiter_tell(list_entry(d->waiters.next, struct waiter, link), c, c == OK ? &drained : NULL);
    definition_drop(&ds->definitions, d->definition);
    arena_fini(&d->arena);
    free(d);
    drains_check_closed(ds);
}

static void start_over(struct drain *d)
{
    definition_drop(&d->drains->definitions, d->definition);
    d->definition = NULL;
    d->r = NULL;
    d->roster = NULL;
    d->json = STR_NONE;
    d->consumed = 0;
    d->token = 0;
    arena_reset(&d->arena);
}

/* Somebody else has the run. */
static void wait_for_lease(struct drain *d)
{
    if (loop_now_ms(&d->drains->worker->loop) - d->began_ms > DRAIN_WAIT_MS) {
        drain_end(d, SYS_TIMEOUT);
        return;
    }
    timer_start(&d->timer, &d->drains->worker->loop, d->delay_ms, claim_lease, d);
    d->delay_ms = d->delay_ms * 2 < LAST_DELAY_MS ? d->delay_ms * 2 : LAST_DELAY_MS;
}

/* --- the commit --- */

static void committed(void *arg, const struct commit_result *result);

static void fenced_out(struct drain *d)
{
    metrics_add(&d->drains->worker->metrics, METRIC_DRAINS_FENCED, 1);
    if (++d->fences > FENCES_MOST) {
        drain_end(d, SYS_STORAGE);
        return;
    }
    start_over(d);
    wait_for_lease(d);
}

static void committed(void *arg, const struct commit_result *result)
{
    struct drain *d = arg;

    if (result->code == RES_VERSION_CONFLICT) {
        fenced_out(d);
        return;
    }
    if (result->code != OK) {
        drain_end(d, result->code);
        return;
    }
    d->now_ms = result->now_ms;
    metrics_add(&d->drains->worker->metrics, METRIC_DRAINS, 1);
    if (d->r == NULL || d->removed) { /* the run is gone, and its inbox empty */
        drain_end(d, RES_NOT_FOUND);
        return;
    }
    d->revision += d->wrote;
    drain_committed_effects(d);
    d->consumed = 0;
    d->roster = NULL; /* what it counted is old now */
    if (!result->claimed || !result->claim.held)
        drain_end(d, OK);
    else if (d->arena.used > d->loaded + ROUND_MEMORY)
        reload(d);
    else
        process(d, result->claim.entries);
}

static void commit(struct drain *d)
{
    enum code c;

    commit_begin(&d->commit, &d->arena, d->place.space, COMMIT_ESSENTIAL);
    d->wrote = false;
    if (d->r != NULL && !d->removed)
        drain_write(d, &d->commit);
    commit_drained(&d->commit, d->place.kind->name, d->place.id, d->token, d->consumed, LEASE_MS);
    if (d->removed)
        retention_write(d, &d->commit);
    c = d->fx.failed ? SYS_OVERLOADED : store_commit(d->drains->worker->store, &d->commit, &d->ops, committed, d);
    if (c != OK)
        drain_end(d, c);
}

void drain_decide(struct drain *d)
{
    for (; d->chosen < d->fx.n && !d->fx.failed; d->chosen++) {
        const struct effect *e = &d->fx.list[d->chosen];
        enum code c;

        if (e->type != EFFECT_CHOOSE)
            continue;
        if (d->roster == NULL) {
            c = roster_read(d);
            if (c != OK)
                drain_end(d, c);
            return;
        }
        roster_choose(d, e);
    }
    commit(d);
}

static void process(struct drain *d, const struct redis_value *entries)
{
    effects_init(&d->fx, &d->arena);
    d->chosen = 0;
    for (size_t i = 0; entries != NULL && i < entries->count; i++) {
        struct run_event e;

        d->consumed++;
        if (run_event_read(&d->arena, redis_text(redis_at(entries, i)), &e))
            run_transition(d->r, &e, d->now_ms, &d->fx);
        else if (!d->arena.failed) /* else it is read again: nothing of this is committed */
            log_error("run.entry", "kind=%s run=%s entry=" STR_FMT, d->place.kind->name, d->place.run,
                      STR_ARG(str_slice(redis_text(redis_at(entries, i)), 0, 200)));
    }
    d->removed = run_status_ended(d->r->status) && retention_at(d->drains, d->r) <= d->now_ms;
    if (d->r->timer_ms > 0 && d->r->timer_ms <= d->now_ms)
        run_transition(d->r, &(struct run_event){.type = EVENT_TICK}, d->now_ms, &d->fx);
    drain_decide(d);
}

/* --- the lease --- */

/* With the definition as it was parsed before, if it was. NULL: damaged, or no memory. */
static struct run *read_run(struct drain *d, const struct redis_value *hash)
{
    struct str text = redis_text(redis_field(hash, S("def")));

    d->definition = definition_take(&d->drains->definitions, d->place.kind, text);
    if (d->definition != NULL)
        return run_of_template(&d->arena, d->definition->template, hash);
    return run_of_hash(&d->arena, d->place.kind, hash);
}

static void have_lease(struct drain *d, const struct claim *claim)
{
    d->token = claim->token;
    d->now_ms = claim->until_ms - LEASE_MS;
    if (redis_is_nil(claim->run) || claim->run->count == 0) {
        d->consumed = (unsigned)(claim->entries == NULL ? 0 : claim->entries->count);
        commit(d);
        return;
    }
    d->r = read_run(d, claim->run);
    if (d->r == NULL ||
        !seal_open_inputs(d->r, d->drains->worker->settings->keyring, redis_text(redis_field(claim->run, S("s"))))) {
        drain_end(d, d->arena.failed ? SYS_OVERLOADED : SYS_INTERNAL);
        return;
    }
    d->loaded = d->arena.used;
    d->revision = redis_int(redis_field(claim->run, S("r")), 0);
    d->json = arena_str(&d->arena, redis_text(redis_field(claim->run, S("j"))));
    process(d, claim->entries);
}

static void reloaded(void *arg, enum code c, const struct redis_value *v)
{
    struct drain *d = arg;

    if (c != OK)
        drain_end(d, c);
    else
        have_lease(d, &(struct claim){.held = true,
                                      .token = d->token,
                                      .until_ms = d->now_ms + LEASE_MS,
                                      .run = redis_at(v, 0),
                                      .entries = redis_at(v, 1)});
}

/* The rounds so far have taken much memory: the rest from a fresh start, under the same lease. */
static void reload(struct drain *d)
{
    int64_t token = d->token;
    enum code c;

    start_over(d);
    d->token = token;
    const struct store_command reads[] = {
        STORE_COMMAND(S("HGETALL"), key_document(&d->arena, d->place.space, d->place.kind->name, d->place.id)),
        STORE_COMMAND(S("LRANGE"), key_inbox(&d->arena, d->place.space, d->place.id), S("0"), S("99"))};
    c = store_read(d->drains->worker->store, reads, ARRAY_LEN(reads), &d->ops, reloaded, d);
    if (c != OK)
        drain_end(d, c);
}

static void claimed(void *arg, enum code c, const struct claim *claim)
{
    struct drain *d = arg;

    if (c != OK)
        drain_end(d, c);
    else if (!claim->held)
        wait_for_lease(d);
    else
        have_lease(d, claim);
}

static void claim_lease(void *arg)
{
    struct drain *d = arg;
    enum code c = store_claim(d->drains->worker->store, &d->arena, d->place.space, d->place.kind->name, d->place.id,
                              str_z(d->drains->owner), 0, LEASE_MS, &d->ops, claimed, d);

    if (c != OK)
        drain_end(d, c);
}

/* From the next turn of the loop on: whoever starts a drain is not to be called back inside its own call. */
static void drain_begin(struct drain *d)
{
    timer_start(&d->timer, &d->drains->worker->loop, 0, claim_lease, d);
}

void drain_run(struct worker *w, const struct run_kind *kind, struct space space, struct str run)
{
    struct drains *ds = w->drains;
    struct place p;
    struct drain *d;

    place_set(&p, kind, space, run);
    if (ds == NULL || ds->closing || drain_find(ds, &p) != NULL)
        return;
    d = drain_new(ds, &p);
    if (d != NULL)
        drain_begin(d);
}

/* --- appends --- */

/* The entry is in the inbox; who waits for it waits for the end of a drain that started before or starts now. */
static void appended(void *arg, const struct commit_result *result)
{
    struct append *a = arg;
    struct drains *ds = a->drains;
    struct waiter *w = a->waiter;
    struct place p;
    struct drain *d;
    bool held = result->code == OK && result->claimed && result->claim.held;

    place_copy(&p, &a->place);
    list_remove(&a->link);
    free(a);
    if (result->code != OK) {
        waiter_tell(w, result->code, NULL);
        drains_check_closed(ds);
        return;
    }
    d = drain_find(ds, &p);
    if (d == NULL)
        d = drain_new(ds, &p);
    else if (held)
        held = d->token == 0; /* it waits for the lease that we have just been given */
    if (d == NULL) {
        waiter_tell(w, SYS_OVERLOADED, NULL);
        return;
    }
    list_append(&d->waiters, &w->link);
    if (held) {
        timer_stop(&d->timer);
        ops_detach(&d->ops);
        have_lease(d, &result->claim);
    } else if (!timer_running(&d->timer) && ops_idle(&d->ops)) {
        drain_begin(d);
    }
}

enum code drain_commit(struct worker *w, const struct run_kind *kind, struct commit *c, struct str run, struct str id,
                       const struct run_event *e, struct ops *asker, drain_then *then, void *arg)
{
    struct drains *ds = w->drains;
    struct append *a = ds == NULL || ds->closing ? NULL : calloc(1, sizeof *a);
    struct waiter *waiter = a == NULL ? NULL : waiter_new(asker, then, arg);
    struct buf entry;
    enum code code = SYS_OVERLOADED;

    if (waiter == NULL) {
        free(a);
        return code;
    }
    *a = (struct append){.drains = ds, .waiter = waiter};
    list_append(&ds->appends, &a->link);
    place_set(&a->place, kind, c->space, run);
    buf_init_arena(&entry, c->arena, 256);
    run_event_write(&entry, e);
    commit_inbox(c, kind->name, run, id, entry.failed ? STR_NONE : buf_view(&entry));
    if (drain_find(ds, &a->place) == NULL)
        commit_claim(c, kind->name, run, str_z(ds->owner), LEASE_MS);
    if (!entry.failed)
        code = store_commit(w->store, c, &ds->ops, appended, a);
    if (code != OK) {
        list_remove(&a->link);
        op_finish(&waiter->op);
        free(waiter);
        free(a);
    }
    return code;
}

enum code drain_append(struct worker *w, const struct run_kind *kind, struct space space, struct str run, struct str id,
                       const struct run_event *e, struct ops *asker, drain_then *then, void *arg)
{
    struct arena scratch;
    struct commit c;
    enum code code;

    arena_init(&scratch, 1 << 20);
    commit_begin(&c, &scratch, space, COMMIT_ESSENTIAL);
    code = drain_commit(w, kind, &c, run, id, e, asker, then, arg);
    arena_fini(&scratch);
    return code;
}

/* --- all of them --- */

struct drains *drains_open(struct worker *w)
{
    struct drains *ds = calloc(1, sizeof *ds);

    if (ds == NULL)
        return NULL;
    ds->worker = w;
    id_uuid(store_now_ms(w->store), ds->owner);
    ops_init(&ds->ops);
    map_init(&ds->running, sizeof(struct drain *));
    map_init(&ds->ticks, sizeof(void *));
    list_init(&ds->works);
    list_init(&ds->appends);
    definitions_init(&ds->definitions);
    arena_init(&ds->scratch, 1 << 20);
    if (!works_start(ds)) {
        free(ds);
        return NULL;
    }
    timers_start(ds);
    return ds;
}

void drains_check_closed(struct drains *ds)
{
    void (*closed)(void *arg) = ds->closed;
    void *arg = ds->closed_arg;

    if (!ds->closing || ds->running.n > 0 || !list_empty(&ds->appends) || !ds->fetcher_closed)
        return;
    timer_stop(&ds->closer);
    ops_detach(&ds->ops);
    map_fini(&ds->running);
    map_fini(&ds->ticks);
    definitions_fini(&ds->definitions);
    arena_fini(&ds->scratch);
    free(ds);
    closed(arg);
}

static void force_closed(void *arg)
{
    struct drains *ds = arg;
    size_t at = 0;
    void *value;

    ops_detach(&ds->ops);
    ds->fetcher_closed = true;
    while (!list_empty(&ds->appends)) {
        struct append *a = list_entry(ds->appends.next, struct append, link);

        list_remove(&a->link);
        waiter_tell(a->waiter, SYS_DRAINING, NULL);
        free(a);
    }
    while (ds->running.n > 1 && map_next(&ds->running, &at, NULL, &value)) {
        drain_end(*(struct drain **)value, SYS_DRAINING);
        at = 0;
    }
    at = 0;
    if (map_next(&ds->running, &at, NULL, &value))
        drain_end(*(struct drain **)value, SYS_DRAINING); /* the last one closes */
    else
        drains_check_closed(ds);
}

static void check_closed(void *arg)
{
    struct drains *ds = arg;

    timer_start(&ds->closer, &ds->worker->loop, CLOSE_MS, force_closed, ds);
    drains_check_closed(ds);
}

static void on_fetcher_closed(void *arg)
{
    struct drains *ds = arg;

    ds->fetcher_closed = true;
    drains_check_closed(ds);
}

void drains_close(struct drains *ds, void (*closed)(void *arg), void *arg)
{
    ds->closing = true;
    ds->closed = closed;
    ds->closed_arg = arg;
    timers_stop(ds);
    works_stop(ds);
    fetcher_close(ds->fetcher, on_fetcher_closed, ds);
    timer_start(&ds->closer, &ds->worker->loop, 0, check_closed, ds);
}

#include "server/credit.h"

#include "lib/id.h"
#include "lib/list.h"
#include "lib/timer.h"
#include "server/auth.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Here a grant is over after half of its time at the store, and what was used of it is told before three quarters. */
enum { SETS = 1024, WAYS = 4, ID_ROOM = 64, SHARED = 5, LIFE_MS = ADMIT_CREDIT_MS / 2, TICK_MS = ADMIT_CREDIT_MS / 8 };

struct credit {
    struct list owing; /* in `owing` while something was used and not told */
    uint64_t touched;  /* 0: free */
    enum caller_type type;
    char tenant[ID_UUID], id[ID_ROOM];
    unsigned partition, tier;
    int64_t left, used;
    int64_t asked_ms; /* when a grant was last asked for; its answer may never come */
    bool asking;      /* and has not come yet */
    int64_t until_ms; /* of the grant */
    int64_t known_ms; /* when `rate` was true */
    struct rate rate;
};

struct credits {
    struct worker *worker;
    struct credit *sets[SETS]; /* WAYS each, allocated when first used */
    uint64_t clock;
    int64_t share;   /* of the SHARED that all workers of all instances have together */
    char holder[17]; /* name of this worker at the store */
    struct list owing;
    struct timer timer;
    struct ops ops;
};

struct credits *credits_new(struct worker *w)
{
    uint64_t name;
    struct credits *all = calloc(1, sizeof *all);
    if (all == NULL)
        return NULL;
    all->worker = w;
    all->share = w->process->count < SHARED ? SHARED / w->process->count : 1;
    random_bytes(&name, sizeof name);
    snprintf(all->holder, sizeof all->holder, "%016llx", (unsigned long long)name);
    list_init(&all->owing);
    ops_init(&all->ops);
    return all;
}

void credits_free(struct credits *all)
{
    if (all == NULL)
        return;
    timer_stop(&all->timer);
    ops_detach(&all->ops);
    for (size_t i = 0; i < SETS; i++)
        free(all->sets[i]);
    free(all);
}

static bool is_of(const struct credit *k, const struct caller *c)
{
    return k->touched != 0 && k->type == c->type && str_eqz(c->id, k->id) && str_eqz(c->tenant, k->tenant);
}

static struct credit *set_of(struct credits *all, const struct caller *c, bool make)
{
    struct credit **set = &all->sets[str_hash(c->id) % SETS];
    if (*set == NULL && make)
        *set = calloc(WAYS, sizeof **set);
    return *set;
}

static struct credit *find(struct credits *all, const struct caller *c)
{
    struct credit *set = set_of(all, c, false);
    for (size_t i = 0; set != NULL && i < WAYS; i++)
        if (is_of(&set[i], c))
            return &set[i];
    return NULL;
}

/* The place of one that owes nothing, longest untouched; NULL: none is free. */
static struct credit *place_for(struct credits *all, const struct caller *c)
{
    struct credit *set = set_of(all, c, true), *place = NULL;
    for (size_t i = 0; set != NULL && i < WAYS; i++)
        if (set[i].used == 0 && (place == NULL || set[i].touched < place->touched))
            place = &set[i];
    return place;
}

static struct credit *find_or_make(struct credits *all, const struct caller *c)
{
    struct credit *k = find(all, c);
    if (k != NULL || c->id.n == 0 || c->id.n >= ID_ROOM || c->tenant.n >= ID_UUID || (k = place_for(all, c)) == NULL)
        return k;
    *k = (struct credit){.type = c->type, .partition = c->partition, .tier = c->tier};
    list_init(&k->owing);
    memcpy(k->id, c->id.p, c->id.n);
    memcpy(k->tenant, c->tenant.p, c->tenant.n);
    return k;
}

/* Telling what was used. */

static void told(void *arg, enum code c, const struct admitted *a)
{
    (void)arg, (void)c, (void)a; /* a store that is away admits nothing either */
}

/* A charge for something that is done already: `in` has what is charged. */
static bool charge(struct credits *all, const struct caller *caller, struct admission in)
{
    struct arena scratch;
    arena_init(&scratch, 0);
    in.partition = caller->partition;
    in.space = (struct space){caller->partition, caller->tenant};
    in.caller = auth_caller_name(&scratch, caller);
    in.rates = &all->worker->settings->tiers[caller->tier];
    in.rate_count = 1;
    enum code c =
        in.caller.p == NULL ? SYS_OVERLOADED : store_admit(all->worker->store, &scratch, &in, &all->ops, told, NULL);
    arena_fini(&scratch);
    return c == OK;
}

static bool tell(struct credits *all, const struct credit *k)
{
    const struct caller caller = {
        .type = k->type, .id = str_z(k->id), .tenant = str_z(k->tenant), .partition = k->partition, .tier = k->tier};
    return charge(all, &caller, (struct admission){.credit = {.holder = str_z(all->holder), .used = k->used}});
}

void credit_return_build(struct credits *all, const struct caller *caller)
{
    if (all->worker->settings->tiers[caller->tier].more[RATE_BUILDS] > 0)
        charge(all, caller, (struct admission){.builds = -1});
}

static void settle(struct credit *k)
{
    k->left = 0;
    k->used = 0;
    list_remove(&k->owing);
}

static void tick(void *arg)
{
    struct credits *all = arg;
    int64_t now_ms = loop_now_ms(&all->worker->loop);
    list_for (it, &all->owing) {
        struct credit *k = list_entry(it, struct credit, owing);
        if (now_ms >= k->until_ms && tell(all, k))
            settle(k);
    }
    if (!list_empty(&all->owing))
        timer_start(&all->timer, &all->worker->loop, TICK_MS, tick, all);
}

/* Taking and asking. */

static void show(const struct credit *k, int64_t now_ms, struct rate *rate)
{
    int64_t filled = k->rate.bucket + (now_ms - k->known_ms) * k->rate.limit / 60000;
    *rate = k->rate;
    rate->left -= k->used;
    rate->bucket = (filled < rate->burst ? filled : rate->burst) - k->used;
    rate->reset_in_s -= (now_ms - k->known_ms) / 1000;
    for (size_t i = 0; i < RATE_WINDOWS; i++) {
        rate->more[i].left -= i == RATE_BUILDS ? 0 : k->used;
        rate->more[i].reset_in_s -= (now_ms - k->known_ms) / 1000;
    }
}

bool credit_take(struct credits *all, const struct caller *caller, struct rate *rate)
{
    struct credit *k = find(all, caller);
    int64_t now_ms = loop_now_ms(&all->worker->loop);
    if (k == NULL || k->left == 0 || now_ms >= k->until_ms)
        return false;
    k->touched = ++all->clock;
    k->left--;
    if (k->used++ == 0)
        list_append(&all->owing, &k->owing);
    if (!timer_running(&all->timer))
        timer_start(&all->timer, &all->worker->loop, TICK_MS, tick, all);
    show(k, now_ms, rate);
    return true;
}

void credit_ask(struct credits *all, const struct caller *caller, struct admission *in)
{
    if (caller == NULL) {
        in->credit.holder = str_z(all->holder);
        in->credit.wanted = all->share;
        in->credit.beside = true;
        return;
    }
    struct credit *k = find_or_make(all, caller);
    int64_t now_ms = loop_now_ms(&all->worker->loop);
    /* One grant at a time: a second one would not replace the first at the store while it may be used here. */
    if (k == NULL || (k->asking && now_ms < k->asked_ms + ADMIT_CREDIT_MS))
        return;
    in->credit.holder = str_z(all->holder);
    in->credit.used = k->used;
    in->credit.wanted = all->share;
    settle(k);
    k->touched = ++all->clock;
    k->asking = true;
    k->asked_ms = now_ms;
}

void credit_got(struct credits *all, const struct caller *caller, const struct rate *rate, int64_t granted,
                int64_t asked_ms)
{
    struct credit *k = find(all, caller);
    if (k == NULL &&
        (k = find_or_make(all, caller)) != NULL) { /* a caller that was not known, or forgotten meanwhile */
        k->touched = ++all->clock;
        k->asking = true;
        k->asked_ms = asked_ms;
    }
    /* Another grant may be in use here: then this one, which stands beside it at the store, is left. */
    if (k == NULL || !k->asking || k->asked_ms != asked_ms)
        return;
    k->asking = false;
    k->tier = caller->tier;
    k->left = rate->known ? granted : 0;
    k->rate = *rate;
    k->known_ms = loop_now_ms(&all->worker->loop);
    k->until_ms = asked_ms + LIFE_MS;
    int64_t window_ms = (rate->reset_in_s - 1) * 1000; /* at least; what is used behind its end is of the next */
    for (size_t i = 0; i < RATE_WINDOWS; i++)
        if (rate->more[i].limit > 0 && (rate->more[i].reset_in_s - 1) * 1000 < window_ms)
            window_ms = (rate->more[i].reset_in_s - 1) * 1000;
    if (asked_ms + window_ms < k->until_ms)
        k->until_ms = asked_ms + window_ms;
}

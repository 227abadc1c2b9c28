/* What happens next. */
#include "server/agent/tasks.h"
#include "test/whole/whole.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Thread_local struct whole *world;

void whole_fault(const char *fmt, ...)
{
    va_list ap;

    if (world->fault[0] != '\0')
        return;
    va_start(ap, fmt);
    vsnprintf(world->fault, sizeof world->fault, fmt, ap);
    va_end(ap);
}

bool whole_unlucky(unsigned permille, uint64_t *count)
{
    if (world->calm || dice_below(&world->dice, 1000) >= permille)
        return false;
    ++*count;
    if (count != &world->coverage->faults)
        world->coverage->faults++;
    return true;
}

static struct whole_server *some_server(void)
{
    struct whole_server *s = &world->servers[dice_below(&world->dice, WHOLE_SERVERS)];

    return s->up ? s : NULL;
}

static struct whole_agent *some_agent(void)
{
    return &world->agents[dice_below(&world->dice, WHOLE_AGENTS)];
}

/* --- servers --- */

static bool store_step(void)
{
    struct whole_server *s = some_server();

    return s != NULL && whole_store_step(s);
}

static bool store_answer(void)
{
    struct whole_server *s = some_server();

    return s != NULL && whole_store_answer(s);
}

static bool server_turn(void)
{
    struct whole_server *s = some_server();

    if (s != NULL)
        whole_server_turn(s);
    return s != NULL;
}

static bool subscription(void)
{
    struct whole_server *s = some_server();

    return s != NULL && whole_server_subscription(s);
}

static bool hint(void)
{
    struct whole_server *s = some_server();

    return s != NULL && whole_server_hint(s);
}

static bool server_tick(void)
{
    struct whole_server *s = some_server();

    if (s == NULL || !dice_percent(&world->dice, 10))
        return false;
    whole_server_tick(s);
    return true;
}

static bool timer(void)
{
    if (world->timer == 0 || world->now < world->timer)
        return false;
    world->timer = world->now + 5000; /* leased by whoever saw it */
    whole_enter(&(struct run_event){.type = EVENT_TICK});
    return true;
}

/* --- links --- */

static struct feed *some_link(const struct whole_agent *a)
{
    struct feed *f = (struct feed *)(uintptr_t)&a->links[dice_below(&world->dice, WHOLE_LINKS)];

    return f->used ? f : NULL;
}

static void cut(struct feed *f)
{
    struct whole_agent *a = &world->agents[f->agent];

    f->up = false;
    f->n_to_agent = 0;
    if (a->link == f)
        whole_agent_unlinked(a);
}

/* The server notices that its feed is over, sooner or later; what was under way to it may still be read before. */
static bool feed_end(void)
{
    struct feed *f = some_link(some_agent());

    if (f == NULL || (f->up && !f->closed))
        return false;
    if (!f->closed && f->n_to_server > 0 && dice_percent(&world->dice, 80))
        return false;
    cut(f);
    whole_feed_close(f);
    return true;
}

static bool connects(void)
{
    struct whole_agent *a = some_agent();
    struct whole_server *s = some_server();

    if (!a->up || a->link != NULL || s == NULL || !dice_percent(&world->dice, 30))
        return false;
    for (int i = 0; i < WHOLE_LINKS; i++) {
        struct feed *f = &a->links[i];

        if (f->used)
            continue;
        memset(f, 0, sizeof *f);
        f->agent = a->index;
        f->server = s;
        f->used = f->up = true;
        a->link = f;
        whole_feed_open(f);
        return true;
    }
    return false;
}

static bool to_server(void)
{
    struct feed *f = some_link(some_agent());

    if (f == NULL || f->closed || f->paused || f->n_to_server == 0)
        return false;
    whole_feed_take(f);
    return true;
}

static bool to_agent(void)
{
    struct whole_agent *a = some_agent();
    struct feed *f = a->link;
    struct str message;

    if (f == NULL || f->n_to_agent == 0)
        return false;
    message = f->to_agent[0];
    f->n_to_agent--;
    memmove(f->to_agent, f->to_agent + 1, f->n_to_agent * sizeof *f->to_agent);
    whole_agent_take(a, message);
    return true;
}

static bool goes_on(void)
{
    struct feed *f = some_link(some_agent());

    return f != NULL && whole_feed_goes_on(f);
}

/* --- agents --- */

static bool agent_tick(void)
{
    struct whole_agent *a = some_agent();

    if (a->up)
        whole_agent_tick(a);
    return a->up;
}

static bool agent_beat(void)
{
    struct whole_agent *a = some_agent();

    if (!a->up || a->link == NULL || !dice_percent(&world->dice, 5))
        return false;
    whole_agent_beat(a);
    return true;
}

static bool process_step(void)
{
    return whole_process_step(some_agent());
}

static bool watch(void)
{
    return whole_watch(&world->watchers[dice_below(&world->dice, WHOLE_WATCHERS)]);
}

/* --- faults, and what mends them --- */

static void kill_server(struct whole_server *s)
{
    for (int k = 0; k < WHOLE_AGENTS; k++)
        for (int i = 0; i < WHOLE_LINKS; i++) {
            struct feed *f = &world->agents[k].links[i];

            if (!f->used || f->server != s)
                continue;
            cut(f);
            whole_feed_close(f);
        }
    for (int i = 0; i < WHOLE_WATCHERS; i++)
        if (world->watchers[i].server == s) {
            hub_unfollow(&world->watchers[i].follower);
            world->watchers[i].server = NULL;
        }
    whole_server_stop(s);
}

static void kill_agent(struct whole_agent *a)
{
    if (a->link != NULL)
        cut(a->link);
    whole_agent_stop(a);
}

static void trim(struct whole_channel *c)
{
    c->trimmed += dice_below(&world->dice, (unsigned)(c->n - c->trimmed) + 1);
}

static bool bad_luck(void)
{
    struct whole_coverage *c = world->coverage;
    struct whole_server *s = some_server();
    struct whole_agent *a = some_agent();

    if (s != NULL && whole_unlucky(20, &c->server_kills))
        kill_server(s);
    if (a->up && whole_unlucky(25, &c->agent_kills))
        kill_agent(a);
    if (whole_unlucky(20, &c->task_kills))
        whole_process_kill(a);
    if (a->link != NULL && whole_unlucky(60, &c->cuts))
        cut(a->link);
    if (whole_unlucky(15, &c->jumps))
        world->now += dice_below(&world->dice, 90000);
    if (whole_unlucky(15, &c->trims))
        trim(&world->channels[dice_below(&world->dice, WHOLE_CHANNELS)]);
    if (whole_unlucky(25, &c->faults))
        whole_data_copy();
    if (world->copy.there && whole_unlucky(25, &c->faults))
        whole_data_replace();
    if (a->link == NULL && whole_unlucky(80, &c->faults))
        world->online[a->index] = false;
    return true;
}

static bool mend(void)
{
    struct whole_server *s = &world->servers[dice_below(&world->dice, WHOLE_SERVERS)];
    struct whole_agent *a = some_agent();

    if (!s->up)
        return whole_server_start(s);
    return !a->up && whole_agent_start(a);
}

/* Early on, somebody does something to the run; whoever pauses it also lets it go on. */
static bool people(void)
{
    static const enum run_event_type clicks[] = {EVENT_PAUSE, EVENT_RESUME, EVENT_RESUME, EVENT_CANCEL};

    if (world->calm) {
        struct run *r;

        arena_reset(&world->scratch);
        r = whole_load(&world->scratch);
        if (r == NULL || !r->paused || world->n_inbox > 0)
            return false;
        whole_enter(&(struct run_event){.type = EVENT_RESUME, .by = S("somebody")});
        return true;
    }
    if (dice_below(&world->dice, 100) >= 2)
        return false;
    whole_enter(&(struct run_event){.type = clicks[dice_below(&world->dice, 8) == 0 ? 3 : dice_below(&world->dice, 3)],
                                    .by = S("somebody"),
                                    .reason = S("r")});
    return true;
}

// clang-format off
static const struct {
    unsigned weight;
    bool (*happens)(void);
} happenings[] = {
    {20, store_step},   {20, store_answer}, {12, server_turn}, {4, subscription}, {8, hint},     {2, server_tick},
    {10, whole_drain},  {4, timer},         {3, feed_end},     {4, connects},     {14, to_server}, {14, to_agent},
    {6, goes_on},        {8, agent_tick},    {2, agent_beat},   {8, process_step}, {6, watch},    {4, bad_luck},
    {2, mend},          {1, people},       {2, whole_drain_late},
};
// clang-format on

static void next(void)
{
    unsigned sum = 0, roll;
    size_t i = 0;

    for (size_t k = 0; k < ARRAY_LEN(happenings); k++)
        sum += happenings[k].weight;
    roll = dice_below(&world->dice, sum);
    while (roll >= happenings[i].weight)
        roll -= happenings[i++].weight;
    for (size_t tries = 0; tries < ARRAY_LEN(happenings) && !happenings[i].happens(); tries++)
        i = (i + 1) % ARRAY_LEN(happenings);
    world->now += dice_below(&world->dice, 30);
    if (world->calm && dice_percent(&world->dice, 2))
        world->now += 3000;
    world->coverage->turns++;
}

/* --- a play --- */

static bool links_quiet(const struct whole_agent *a)
{
    for (int i = 0; i < WHOLE_LINKS; i++)
        if (a->links[i].used && (!a->links[i].up || a->links[i].n_to_server > 0 || a->links[i].n_to_agent > 0))
            return false;
    return true;
}

/* NULL: nothing is left to happen. */
static const char *restless(void)
{
    struct run *r;

    for (int i = 0; i < WHOLE_SERVERS; i++)
        if (!world->servers[i].up || world->servers[i].n_hints > 0)
            return "an instance";
    for (int i = 0; i < WHOLE_AGENTS; i++) {
        const struct whole_agent *a = &world->agents[i];

        if (!a->up || !whole_agent_idle(a))
            return "an agent";
        if (!links_quiet(a))
            return "a link";
        for (int k = 0; k < WHOLE_TASKS; k++)
            if (world->open[i][k].id[0] != '\0' || (a->disk[k].there && (a->disk[k].runs || a->disk[k].starting > 0)))
                return "a task";
    }
    for (int i = 0; i < WHOLE_WATCHERS; i++)
        if (world->watchers[i].server == NULL || world->watchers[i].seq != world->channels[0].seq ||
            world->watchers[i].epoch != world->epoch)
            return "a watcher";
    arena_reset(&world->scratch);
    r = world->n_inbox > 0 ? NULL : whole_load(&world->scratch);
    return r != NULL && run_status_ended(r->status) ? NULL : "the run";
}

static void begin(void)
{
    world->now = 1700000000000;
    whole_store_begin();
    for (int i = 0; i < WHOLE_SERVERS; i++) {
        world->servers[i].index = i;
        whole_server_start(&world->servers[i]);
    }
    for (int i = 0; i < WHOLE_AGENTS; i++) {
        world->agents[i].index = i;
        whole_agent_start(&world->agents[i]);
    }
}

static void end(void)
{
    world->calm = true;
    for (int i = 0; i < WHOLE_SERVERS; i++)
        if (world->servers[i].up)
            kill_server(&world->servers[i]);
    for (int i = 0; i < WHOLE_AGENTS; i++)
        if (world->agents[i].up)
            kill_agent(&world->agents[i]);
}

void whole_init(struct whole *w)
{
    memset(w, 0, sizeof *w);
    arena_init(&w->arena, 0);
    arena_init(&w->scratch, 0);
    arena_init(&w->held, 0);
    w->logs = calloc(WHOLE_LOGS, sizeof *w->logs);
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        w->channels[i].entries = calloc(WHOLE_ENTRIES, sizeof *w->channels[i].entries);
}

void whole_fini(struct whole *w)
{
    arena_fini(&w->arena);
    arena_fini(&w->scratch);
    arena_fini(&w->held);
    free(w->logs);
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        free(w->channels[i].entries);
}

static void reset(struct whole *w)
{
    struct whole kept = *w;

    memset(w, 0, sizeof *w);
    w->arena = kept.arena;
    w->scratch = kept.scratch;
    w->held = kept.held;
    whole_drain_forget();
    arena_reset(&w->arena);
    w->logs = kept.logs;
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        w->channels[i].entries = kept.channels[i].entries;
}

bool whole_play(struct whole *w, uint64_t seed, enum whole_bug bug, struct whole_coverage *coverage)
{
    const char *restless_one = "";

    world = w;
    reset(w);
    w->dice.state = seed;
    w->bug = bug;
    w->coverage = coverage;
    begin();
    coverage->plays++;
    for (unsigned turn = dice_below(&w->dice, WHOLE_TURNS); turn > 0 && w->fault[0] == '\0'; turn--)
        next();
    w->calm = true;
    for (unsigned rest = 0; w->fault[0] == '\0' && restless_one != NULL; rest++) {
        next();
        if (rest % 64 == 0)
            restless_one = restless();
        if (rest > WHOLE_REST && restless_one != NULL)
            whole_fault("it does not come to rest: %s", restless_one);
    }
    if (w->fault[0] == '\0')
        whole_check_end();
    end();
    return w->fault[0] == '\0';
}

/* The hub of an instance, on the store and the time of here: what it includes is the real one. */
#include "lib/id.h"
#include "lib/stream.h"
#include "server/settings.h"
#include "server/store/key.h"
#include "test/whole/whole.h"

static const struct redis_target *fake_target(const struct store *s);
static struct redis *fake_open(struct loop *loop, const struct redis_target *target, const struct redis_limits *limits,
                               const struct redis_events *events, void *arg);
static void fake_close(struct redis *r, void (*closed)(void *arg), void *arg);
static bool fake_ready(const struct redis *r);
static void fake_drop(struct redis *r);
static enum redis_error fake_subscribe(struct redis *r, struct str key);
static enum redis_error fake_unsubscribe(struct redis *r, struct str key);
static enum code fake_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                           store_then *then, void *arg);
static void fake_defer(struct loop *loop, struct loop_task *task, void (*fn)(void *arg), void *arg);
static void fake_on_flush(struct loop *loop, struct loop_hook *hook, void (*fn)(void *arg), void *arg);
static void fake_timer(struct timer *t, struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg);

#define redis_open        fake_open
#define redis_close       fake_close
#define redis_ready       fake_ready
#define redis_drop(r, y)  fake_drop(r)
#define redis_subscribe   fake_subscribe
#define redis_unsubscribe fake_unsubscribe
#define store_read        fake_read
#define store_target      fake_target
#define loop_defer        fake_defer
#define loop_undefer(t)   ((void)(t))
#define loop_on_flush     fake_on_flush
#define loop_off_flush(h) ((void)(h))
#define timer_start       fake_timer
#define timer_stop(t)     ((void)(t))
#define random_below(n)   ((int)dice_below(&world->dice, (n)))
#include "server/hub.c"
#include "server/hub_deliver.c"
#include "server/hub_read.c"

/* --- what the hub calls --- */

static struct whole_server *server_of(const struct loop *loop)
{
    for (int i = 0; i < WHOLE_SERVERS; i++)
        if (loop == &world->servers[i].worker.loop)
            return &world->servers[i];
    abort();
}

static const struct redis_target *fake_target(const struct store *s)
{
    (void)s;
    return NULL;
}

static struct redis *fake_open(struct loop *loop, const struct redis_target *target, const struct redis_limits *limits,
                               const struct redis_events *events, void *arg)
{
    struct whole_server *s = server_of(loop);

    (void)target, (void)limits;
    s->events = events;
    s->subscriber = arg;
    return (struct redis *)(void *)s;
}

static void fake_close(struct redis *r, void (*closed)(void *arg), void *arg)
{
    (void)r;
    closed(arg);
}

static void fake_drop(struct redis *r)
{
    struct whole_server *s = (struct whole_server *)(void *)r;

    memset(s->subscribed, 0, sizeof s->subscribed);
    s->n_hints = 0;
    s->cut = true;
}

static bool fake_ready(const struct redis *r)
{
    (void)r;
    return true;
}

static enum redis_error fake_subscribe(struct redis *r, struct str key)
{
    ((struct whole_server *)(void *)r)->asked[whole_channel_of(key)] = true;
    return REDIS_OK;
}

static enum redis_error fake_unsubscribe(struct redis *r, struct str key)
{
    struct whole_server *s = (struct whole_server *)(void *)r;

    s->asked[whole_channel_of(key)] = s->subscribed[whole_channel_of(key)] = false;
    return REDIS_OK;
}

static enum code fake_read(struct store *store, const struct store_command *commands, size_t n, struct ops *asker,
                           store_then *then, void *arg)
{
    struct whole_server *s = (struct whole_server *)(void *)store;
    const struct str *argv = commands[0].argv;
    struct whole_op *o;

    (void)n;
    if (str_eqz(argv[0], "XRANGE")) {
        o = whole_op_new(s, OP_BEHIND, asker, then, arg);
        o->channel = whole_channel_of(argv[1]);
        o->behind = strtoll(argv[2].p + 1, NULL, 10);
        return OK;
    }
    struct buf keys;
    o = whole_op_new(s, OP_CHECK, asker, then, arg);
    buf_init_arena(&keys, &o->arena, 256);
    for (size_t i = 1; i < commands[0].argc; i++)
        buf_printf(&keys, STR_FMT "\n", STR_ARG(argv[i]));
    o->task = buf_view(&keys);
    return OK;
}

static void fake_defer(struct loop *loop, struct loop_task *task, void (*fn)(void *arg), void *arg)
{
    (void)loop, (void)task, (void)fn, (void)arg; /* the next turn comes anyway */
}

static void fake_on_flush(struct loop *loop, struct loop_hook *hook, void (*fn)(void *arg), void *arg)
{
    struct whole_server *s = server_of(loop);

    (void)hook;
    s->flush = fn;
    s->flush_arg = arg;
}

static void fake_timer(struct timer *t, struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg)
{
    struct whole_server *s = server_of(loop);

    (void)t, (void)ms;
    s->tick = fn;
    s->tick_arg = arg;
}

/* --- an instance --- */

bool whole_server_start(struct whole_server *s)
{
    static const struct settings settings;

    memset(&s->worker, 0, sizeof s->worker);
    memset(s->subscribed, 0, sizeof s->subscribed);
    memset(s->asked, 0, sizeof s->asked);
    s->n_hints = 0;
    s->cut = false;
    s->worker.store = (struct store *)(void *)s;
    s->worker.settings = &settings;
    s->hub = hub_open(&s->worker);
    s->up = s->hub != NULL;
    return s->up;
}

static void closed(void *arg)
{
    ((struct whole_server *)arg)->hub = NULL;
}

/* Nothing of it is left; its followers have gone before. */
void whole_server_stop(struct whole_server *s)
{
    whole_store_drop(s);
    while (!list_empty(&s->hub->due) || !list_empty(&s->hub->doomed))
        s->flush(s->flush_arg);
    whole_store_drop(s);
    hub_close(s->hub, closed, s);
    s->up = false;
    s->n_hints = 0;
}

void whole_server_turn(struct whole_server *s)
{
    s->flush(s->flush_arg);
}

void whole_server_tick(struct whole_server *s)
{
    s->tick(s->tick_arg);
}

bool whole_server_subscription(struct whole_server *s)
{
    if (s->cut) { /* now it sees it, and what it had heard before is behind it */
        s->cut = false;
        s->n_hints = 0;
        s->events->on_down(s->subscriber, REDIS_LOST, "cut");
        s->events->on_ready(s->subscriber);
        return true;
    }
    for (int i = 0; i < WHOLE_CHANNELS; i++) {
        char key[128];

        if (!s->asked[i] || s->subscribed[i])
            continue;
        s->subscribed[i] = true;
        snprintf(key, sizeof key, "{p07}:e:" WHOLE_TENANT ":%s", world->channels[i].name);
        s->events->on_subscribed(s->subscriber, str_z(key));
        return true;
    }
    return false;
}

bool whole_server_hint(struct whole_server *s)
{
    char key[128];
    struct str hint = s->hints[0];

    if (s->n_hints == 0)
        return false;
    snprintf(key, sizeof key, "{p07}:e:" WHOLE_TENANT ":%s", world->channels[s->hint_of[0]].name);
    s->n_hints--;
    memmove(s->hints, s->hints + 1, s->n_hints * sizeof *s->hints);
    memmove(s->hint_of, s->hint_of + 1, s->n_hints * sizeof *s->hint_of);
    struct hub_channel *c = hub_channel_find(s->hub, str_z(key));
    if (world->bug == WHOLE_HINT_TRUSTED && c != NULL && hub_tail_known(c)) { /* the planted bug: holes are not seen */
        struct str events = hint, event;
        int64_t seq = 0;

        str_cut(&events, '\n');
        if (event_next(&events, &event, &seq) && seq > c->tail.head + 1) {
            tail_reset(&c->tail, seq - 1);
            c->flushed = seq - 1;
        }
    }
    s->events->on_message(s->subscriber, str_z(key), hint);
    return true;
}

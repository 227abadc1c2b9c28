/* The server's side of an agent's stream: what it includes is the real one, on feeds that are here. */
#include "lib/stream.h"
#include "server/engine/agents.h"
#include "server/engine/drain.h"
#include "server/engine/seal.h"
#include "server/feed.h"
#include "test/whole/whole.h"

#include <stdlib.h>
#include <string.h>

static enum code fake_append(struct worker *w, const struct run_kind *kind, struct space space, struct str run,
                             struct str id, const struct run_event *e, struct ops *asker, drain_then *then, void *arg);
static enum code fake_lines(struct store *s, struct arena *scratch, const struct append *in, struct ops *asker,
                            append_then *then, void *arg);
static enum code fake_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                           store_then *then, void *arg);
static int64_t fake_now(const struct store *s);
static void fake_offer(struct worker *w, struct space space);
static enum code fake_beat(struct worker *w, struct space space, struct str agent, const struct beat *beat,
                           struct ops *asker, agents_then *then, void *arg);
static bool fake_capabilities(const struct json *j);
static void fake_open_task(const struct keyring *k, struct str tenant, struct str stored, struct buf *out);
static void fake_send(struct feed *f, struct str message);
static void fake_close(struct feed *f, int why, const char *text);

#define drain_append        fake_append
#define store_append        fake_lines
#define store_read          fake_read
#define store_now_ms        fake_now
#define agents_offer        fake_offer
#define agents_beat         fake_beat
#define agents_capabilities fake_capabilities
#define seal_open_task      fake_open_task
#define feed_data(f)        ((f)->data)
#define feed_set_data(f, d) ((f)->data = (d))
#define feed_worker(f)      (&(f)->server->worker)
#define feed_caller(f)      (&(f)->caller)
#define feed_ops(f)         (&(f)->ops)
#define feed_pause(f)       ((f)->paused = true)
#define feed_resume(f)      ((f)->paused = false)
#define feed_greet_more(f)  ((f)->greet_more = true)
#define feed_greeted        whole_feed_greeted
#define feed_send           fake_send
#define feed_close          fake_close

static void whole_feed_greeted(struct feed *f, enum code c);
#include "server/task_stream.c"

/* --- the network --- */

static void put_under_way(struct str *queue, size_t *n, struct str message)
{
    if (*n == WHOLE_MESSAGES) {
        whole_fault("too many messages are under way");
        return;
    }
    queue[(*n)++] = arena_str(&world->arena, message);
    world->coverage->messages++;
}

static void fake_send(struct feed *f, struct str message)
{
    if (!f->up || f->closed)
        return;
    if (world->bug == WHOLE_ACK_EARLY && str_find(message, S("\"nack\"")) >= 0) {
        struct str ref = event_member(message, "ref"); /* the planted bug: not stored, and acknowledged all the same */

        message = arena_printf(&world->arena, "{\"type\":\"ack\",\"ref\":\"" STR_FMT "\"}", STR_ARG(ref));
    }
    put_under_way(f->to_agent, &f->n_to_agent, message);
}

static void fake_close(struct feed *f, int why, const char *text)
{
    if (why == FEED_BAD_MESSAGE || why == FEED_UNKNOWN || why == FEED_FORBIDDEN)
        whole_fault("the server closes an agent's stream: %s", text);
    f->closed = true;
}

/* --- the store --- */

static struct whole_server *server_of(const struct worker *w)
{
    return (struct whole_server *)(void *)w->store;
}

static void ignored(void *arg, enum code c, const struct drained *d)
{
    (void)arg, (void)c, (void)d;
}

static enum code fake_append(struct worker *w, const struct run_kind *kind, struct space space, struct str run,
                             struct str id, const struct run_event *e, struct ops *asker, drain_then *then, void *arg)
{
    struct whole_op *o = whole_op_new(server_of(w), OP_ENTRY, asker, then != NULL ? then : ignored, arg);
    struct buf b;

    (void)kind, (void)space, (void)run, (void)id;
    buf_init_arena(&b, &o->arena, 256);
    run_event_write(&b, e);
    if (!run_event_read(&o->arena, buf_view(&b), &o->event))
        whole_fault("an event cannot be read back");
    return OK;
}

static enum code fake_lines(struct store *s, struct arena *scratch, const struct append *in, struct ops *asker,
                            append_then *then, void *arg)
{
    struct whole_op *o = whole_op_new((struct whole_server *)(void *)s, OP_LINES, asker, then, arg);
    struct str *lines = arena_array(&o->arena, in->count + 1, sizeof *lines);

    (void)scratch;
    o->lines = *in;
    o->lines.task = arena_str(&o->arena, in->task);
    o->lines.agent = arena_str(&o->arena, in->agent);
    for (size_t i = 0; i < in->count; i++)
        lines[i] = arena_str(&o->arena, in->lines[i]);
    o->lines.lines = lines;
    return OK;
}

static enum code fake_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                           store_then *then, void *arg)
{
    const struct str *argv = commands[0].argv;
    int kind = str_eqz(argv[0], "HEXISTS") ? OP_IS_OPEN : OP_TASK;
    struct whole_op *o = whole_op_new((struct whole_server *)(void *)s, kind, asker, then, arg);

    (void)n;
    o->agent = whole_agent_index(argv[1]);
    o->task = arena_str(&o->arena, argv[2]);
    return OK;
}

static int64_t fake_now(const struct store *s)
{
    (void)s;
    return world->now;
}

static void fake_offer(struct worker *w, struct space space)
{
    (void)w, (void)space;
    whole_enter(&(struct run_event){.type = EVENT_OFFER});
}

static bool fake_capabilities(const struct json *j)
{
    return j != NULL;
}

static void fake_open_task(const struct keyring *k, struct str tenant, struct str stored, struct buf *out)
{
    (void)k, (void)tenant;
    buf_str(out, stored);
}

static bool says(const struct json *running, const char *id)
{
    for (size_t i = 0; i < json_count(running); i++)
        if (str_eqz(json_str(json_at(running, i)), id))
            return true;
    return false;
}

static void tell(enum run_event_type type, struct str agent, struct str task)
{
    struct task_place place;

    if (task_place(task, &place))
        whole_enter(&(struct run_event){.type = type, .node = place.node, .attempt = place.attempt, .agent = agent});
}

/* As agents.c reconciles. */
static enum code fake_beat(struct worker *w, struct space space, struct str agent, const struct beat *beat,
                           struct ops *asker, agents_then *then, void *arg)
{
    int k = whole_agent_index(agent);
    struct arena a;

    (void)w, (void)space, (void)asker, (void)then, (void)arg;
    arena_init(&a, 0);
    if (!world->online[k])
        whole_enter(&(struct run_event){.type = EVENT_OFFER});
    world->online[k] = true;
    for (size_t i = 0; i < json_count(beat->running); i++)
        if (!whole_is_open(k, json_str(json_at(beat->running, i))))
            tell(EVENT_TASK_ACCEPTED, agent, json_str(json_at(beat->running, i)));
    for (int i = 0; i < WHOLE_TASKS; i++) {
        const char *id = world->open[k][i].id;
        const struct json *task = id[0] == '\0' ? NULL : json_parse(&a, world->open[k][i].text, NULL, NULL);
        int64_t assigned_ms;

        if (task != NULL && clock_parse(json_str(json_get(task, "assignedAt")), &assigned_ms) &&
            world->now - assigned_ms > 1000 * PROTOCOL_ACCEPT_S && !says(beat->running, id))
            tell(EVENT_TASK_LOST, agent, str_z(id));
    }
    arena_fini(&a);
    return OK;
}

/* --- a feed: its greeting, then what the hub hands it --- */

static bool on_batch(struct follower *follower, const struct hub_batch *batch)
{
    struct feed *f = list_entry(follower, struct feed, follower);
    struct str rest = batch->bytes != NULL ? shared_str(batch->bytes) : STR_NONE, event;
    int64_t seq;

    if (batch->first != f->since + 1)
        whole_fault("an agent's stream goes on at %lld behind %lld", (long long)batch->first, (long long)f->since);
    f->since = batch->last;
    while (event_next(&rest, &event, &seq))
        fake_send(f, event);
    return true;
}

static void on_live(struct follower *follower)
{
    struct feed *f = list_entry(follower, struct feed, follower);

    if (f->greeted)
        return;
    f->greeted = true;
    fake_send(f, S("{\"type\":\"synced\"}"));
}

static void on_reset(struct follower *follower)
{
    list_entry(follower, struct feed, follower)->closed = true; /* the agent comes again */
}

static const struct follower_type type = {on_batch, on_live, on_reset, NULL};

static void whole_feed_greeted(struct feed *f, enum code c)
{
    struct hub_source source = {
        S(WHOLE_TENANT), 7, world->epoch, str_z(world->channels[1 + f->agent].name), NULL, NULL};

    f->follower.type = &type;
    if (c != OK || !hub_follow(f->server->hub, &source, STR_NONE, ENCODE_JSON, f->since, &f->follower))
        f->closed = true;
}

static const struct redis_value *redis_value_of(struct str text)
{
    struct redis_value *v = arena_new(&world->arena, struct redis_value);

    *v = (struct redis_value){.type = REDIS_STRING, .text = text};
    return v;
}

void whole_feed_open(struct feed *f)
{
    const struct redis_value *document[] = {redis_value_of(S("j")), redis_value_of(S("{\"config\":{}}"))},
                             *names[WHOLE_TASKS];
    struct redis_value hash = {.type = REDIS_ARRAY, .count = 2, .items = document},
                       extra = {.type = REDIS_ARRAY, .items = names};

    for (int i = 0; i < WHOLE_TASKS; i++)
        if (world->open[f->agent][i].id[0] != '\0')
            names[extra.count++] = redis_value_of(str_z(world->open[f->agent][i].id));
    f->since = world->channels[1 + f->agent].seq;
    ops_init(&f->ops);
    f->caller = (struct caller){.type = CALLER_AGENT,
                                .id = str_slice(str_z(world->channels[1 + f->agent].name), 6, 64),
                                .tenant = S(WHOLE_TENANT),
                                .partition = 7};
    spec.greet(
        &(struct feed_state){.feed = f, .seq = f->since, .epoch = world->epoch, .document = &hash, .extra = &extra});
    f->greet_more = !f->closed;
}

bool whole_feed_goes_on(struct feed *f)
{
    if (f->closed)
        return false;
    hub_next(&f->follower);
    if (!f->greet_more)
        return false;
    f->greet_more = false;
    spec.greet_on(f);
    return true;
}

void whole_feed_close(struct feed *f)
{
    hub_unfollow(&f->follower);
    spec.on_close(f);
    ops_detach(&f->ops);
    f->used = f->up = false;
}

void whole_feed_take(struct feed *f)
{
    struct arena a;
    const struct json *j;

    arena_init(&a, 0);
    j = json_parse(&a, f->to_server[0], NULL, NULL);
    f->n_to_server--;
    memmove(f->to_server, f->to_server + 1, f->n_to_server * sizeof *f->to_server);
    if (j == NULL)
        whole_fault("an agent's message is no JSON");
    else
        spec.on_message(f, json_str(json_get(j, "type")), j);
    arena_fini(&a);
}

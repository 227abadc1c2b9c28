#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/id.h"
#include "server/hub_private.h"
#include "server/store/store.h"
#include "server/worker.h"

enum { TICK_MS = 750, TICK_JITTER_MS = 500, CHECKED = 256 };

/* --- reading the stream --- */

struct str hub_entry_events(const struct redis_value *entries, size_t i)
{
    return redis_text(redis_field(redis_at(redis_at(entries, i), 1), S("b")));
}

/* What stands behind `from`, the channel's last number and the epoch, all of one instant. */
static enum code read_behind(struct hub_channel *c, int64_t from, store_then *then, void *arg)
{
    char start[32], count[16];
    snprintf(start, sizeof(start), "(%" PRId64 "-0", from);
    snprintf(count, sizeof(count), "%d", HUB_ENTRIES);
    struct arena scratch;
    arena_init(&scratch, 0);
    struct str range[] = {S("XRANGE"), c->key, str_z(start), S("+"), S("COUNT"), str_z(count)};
    struct str seq[] = {S("GET"), c->seq_key};
    struct str epoch[] = {S("HGET"), key_meta(&scratch, c->partition), S("epoch")};
    struct store_command commands[] = {{ARRAY_LEN(range), range}, {ARRAY_LEN(seq), seq}, {ARRAY_LEN(epoch), epoch}};
    c->hub->figures.reads++;
    enum code code = store_read(c->hub->worker->store, commands, ARRAY_LEN(commands), &c->ops, then, arg);
    arena_fini(&scratch);
    return code;
}

/* False when the answer is of another data set than what is followed: all were told to start over. */
static bool same_data(struct hub_channel *c, const struct redis_value *v)
{
    int64_t epoch = redis_int(redis_at(v, 2), 0), before = c->hub->epochs[c->partition];
    hub_epoch(c->hub, c->partition, epoch);
    c->unsure = false;
    return before == 0 || before == epoch;
}

struct slice {
    struct list link; /* in its channel's slices */
    struct hub_channel *channel;
    int64_t from, known; /* known: the last number anybody had heard of when it was asked for */
};

static void slice_read(void *arg, enum code code, const struct redis_value *v)
{
    struct slice *slice = arg;
    struct hub_channel *c = slice->channel;
    int64_t from = slice->from, known = slice->known;
    list_remove(&slice->link);
    free(slice);
    if (code != OK || !same_data(c, v))
        return; /* the tick asks again */
    int64_t seq = redis_int(redis_at(v, 1), 0);
    if (seq < known) /* it went back; one that is beyond it else heard of more while this was under way */
        hub_channel_reset_beyond(c, seq);
    hub_deliver_slice(c, from, redis_at(v, 0), seq);
}

void hub_read_slice(struct hub_channel *c, int64_t from)
{
    list_for (link, &c->slices)
        if (list_entry(link, struct slice, link)->from == from)
            return;
    struct slice *slice = malloc(sizeof(*slice));
    if (slice == NULL)
        return;
    slice->channel = c;
    slice->from = from;
    slice->known = from > c->tail.head ? from : c->tail.head;
    if (read_behind(c, from, slice_read, slice) == OK)
        list_append(&c->slices, &slice->link);
    else
        free(slice);
}

static void healed(void *arg, enum code code, const struct redis_value *v)
{
    struct hub_channel *c = arg;
    c->healing = false;
    if (code != OK || !same_data(c, v))
        return;
    const struct redis_value *entries = redis_at(v, 0);
    int64_t seq = redis_int(redis_at(v, 1), 0);
    enum tail_added added = TAIL_OLD;
    for (size_t i = 0; i < entries->count && added != TAIL_HOLE && added != TAIL_MEMORY; i++)
        added = tail_add(&c->tail, hub_entry_events(entries, i));
    if (added == TAIL_HOLE || (seq > c->tail.head && entries->count < HUB_ENTRIES && added != TAIL_MEMORY)) {
        hub_channel_reset(c); /* the stream does not go on from here */
        return;
    }
    hub_channel_reset_beyond(c, seq > c->tail.head ? seq : c->tail.head);
    hub_channel_grew(c);
    if (c->heal_again || seq > c->tail.head)
        hub_heal(c);
}

void hub_heal(struct hub_channel *c)
{
    if (c->tail.head < 0)
        return;
    c->heal_again = c->healing;
    if (!c->healing)
        c->healing = read_behind(c, c->tail.head, healed, c) == OK;
}

void hub_reads_drop(struct hub_channel *c)
{
    ops_detach(&c->ops);
    c->healing = c->heal_again = false;
    list_for (link, &c->slices) {
        list_remove(link);
        free(list_entry(link, struct slice, link));
    }
}

/* --- hints --- */

void hub_subscribe(struct hub_channel *c)
{
    if (redis_ready(c->hub->subscriber)) /* else on_ready does it */
        redis_subscribe(c->hub->subscriber, c->key);
}

void hub_unsubscribe(struct hub_channel *c)
{
    if (redis_ready(c->hub->subscriber))
        redis_unsubscribe(c->hub->subscriber, c->key);
}

static void on_ready(void *arg)
{
    struct hub *hub = arg;
    for (size_t i = 0; i < HUB_PARTITIONS; i++)
        list_for (peer, &hub->partitions[i])
            hub_subscribe(list_entry(peer, struct hub_channel, peer));
}

static void on_down(void *arg, enum redis_error e, const char *what)
{
    struct hub *hub = arg;
    (void)e, (void)what;
    for (size_t i = 0; i < HUB_PARTITIONS; i++)
        list_for (peer, &hub->partitions[i])
            list_entry(peer, struct hub_channel, peer)->unsure = true;
}

static void on_subscribed(void *arg, struct str key)
{
    struct hub_channel *c = hub_channel_find(arg, key);
    if (c != NULL)
        hub_heal(c);
}

/* "<first> <last>\n<events>", or "!<note>". */
static void on_message(void *arg, struct str key, struct str payload)
{
    struct hub *hub = arg;
    struct hub_channel *c = hub_channel_find(hub, key);
    if (c == NULL)
        return;
    if (str_starts(payload, S("!"))) {
        hub_channel_note(c, str_slice(payload, 1, payload.n));
        return;
    }
    struct str events = payload;
    str_cut(&events, '\n');
    hub->figures.hints++;
    if (c->unsure) {
        hub_heal(c);
        return;
    }
    switch (tail_add(&c->tail, events)) {
    case TAIL_ADDED:
        hub_channel_grew(c);
        break;
    case TAIL_OLD:
        break;
    case TAIL_HOLE:
    case TAIL_MEMORY:
        hub->figures.hints_skipped++;
        hub_heal(c);
        break;
    }
}

static void noted(void *arg, enum code code, const struct redis_value *v)
{
    (void)arg, (void)code, (void)v;
}

void hub_note(struct follower *f, struct str text)
{
    struct hub_channel *c = f->view->channel;
    struct buf payload = {0};
    buf_char(&payload, '!');
    buf_str(&payload, text);
    struct str argv[] = {S("PUBLISH"), c->key, buf_view(&payload)};
    struct store_command command = {ARRAY_LEN(argv), argv};
    if (!payload.failed)
        store_read(c->hub->worker->store, &command, 1, NULL, noted, NULL);
    buf_free(&payload);
}

/* --- once a second --- */

struct check {        /* the channels asked about, by name: they may be gone when the answer comes */
    struct list link; /* in hub->checks */
    struct hub *hub;
    unsigned partition;
    size_t n;
    int64_t heads[CHECKED];
    struct buf keys; /* each with a newline */
};

static void check_free(struct check *check)
{
    list_remove(&check->link);
    buf_free(&check->keys);
    free(check);
}

static void check_channel(struct hub_channel *c, int64_t head, int64_t seq)
{
    if (c == NULL || c->tail.head < 0)
        return;
    if (seq < head)
        hub_channel_reset(c);
    else if (seq > c->tail.head || c->unsure)
        hub_heal(c);
}

static void checked(void *arg, enum code code, const struct redis_value *v)
{
    struct check *check = arg;
    if (code == OK) {
        struct str keys = buf_view(&check->keys);
        hub_epoch(check->hub, check->partition, redis_int(redis_at(v, 1), 0));
        for (size_t i = 0; i < check->n; i++)
            check_channel(hub_channel_find(check->hub, str_cut(&keys, '\n')), check->heads[i],
                          redis_int(redis_at(redis_at(v, 0), i), 0));
    }
    check_free(check);
}

/* Asks for up to CHECKED channels of the partition, from `peer` on; answers where to go on. */
static struct list *check_some(struct hub *hub, unsigned partition, struct list *peer)
{
    struct list *end = &hub->partitions[partition];
    struct str get[CHECKED + 1] = {S("MGET")};
    struct check *check = calloc(1, sizeof(*check));
    if (check == NULL)
        return end;
    list_append(&hub->checks, &check->link);
    check->hub = hub;
    check->partition = partition;
    for (; peer != end && check->n < CHECKED; peer = peer->next) {
        struct hub_channel *c = list_entry(peer, struct hub_channel, peer);
        hub_channel_due(c); /* a read that failed is tried again */
        check->heads[check->n++] = c->tail.head;
        get[check->n] = c->seq_key;
        buf_str(&check->keys, c->key);
        buf_char(&check->keys, '\n');
    }
    struct arena scratch;
    arena_init(&scratch, 0);
    struct str epoch[] = {S("HGET"), key_meta(&scratch, partition), S("epoch")};
    struct store_command commands[] = {{check->n + 1, get}, {ARRAY_LEN(epoch), epoch}};
    if (check->keys.failed ||
        store_read(hub->worker->store, commands, ARRAY_LEN(commands), &hub->ops, checked, check) != OK)
        check_free(check);
    arena_fini(&scratch);
    return peer;
}

static void on_tick(void *arg)
{
    struct hub *hub = arg;
    for (unsigned p = 0; p < HUB_PARTITIONS; p++)
        for (struct list *peer = hub->partitions[p].next; peer != &hub->partitions[p];)
            peer = check_some(hub, p, peer);
    timer_start(&hub->tick, &hub->worker->loop, TICK_MS + random_below(TICK_JITTER_MS), on_tick, hub);
}

bool hub_read_open(struct hub *hub)
{
    static const struct redis_events events = {on_ready, on_down, on_message, on_subscribed};
    list_init(&hub->checks);
    hub->subscriber = redis_open(&hub->worker->loop, store_target(hub->worker->store), NULL, &events, hub);
    if (hub->subscriber == NULL)
        return false;
    timer_start(&hub->tick, &hub->worker->loop, TICK_MS + random_below(TICK_JITTER_MS), on_tick, hub);
    return true;
}

void hub_read_stop(struct hub *hub)
{
    timer_stop(&hub->tick);
    ops_detach(&hub->ops);
    list_for (link, &hub->checks)
        check_free(list_entry(link, struct check, link));
}

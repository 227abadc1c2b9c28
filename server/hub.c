#include "server/hub.h"

#include <stdlib.h>
#include <string.h>

#include "lib/must.h"
#include "lib/stream.h"
#include "server/hub_private.h"
#include "server/store/key.h"
#include "server/worker.h"

/* --- channels and views --- */

static struct list *bucket(struct hub *hub, struct str key)
{
    return &hub->buckets[str_hash(key) % HUB_BUCKETS];
}

struct hub_channel *hub_channel_find(struct hub *hub, struct str key)
{
    list_for (link, bucket(hub, key)) {
        struct hub_channel *c = list_entry(link, struct hub_channel, link);
        if (str_eq(c->key, key))
            return c;
    }
    return NULL;
}

static struct hub_channel *channel_new(struct hub *hub, const struct hub_source *source, struct str key,
                                       struct str seq_key)
{
    struct hub_channel *c = calloc(1, sizeof(*c) + key.n + seq_key.n);
    if (c == NULL)
        return NULL;
    c->hub = hub;
    c->partition = source->partition;
    c->last = source->last;
    c->open = source->open;
    c->flushed = -1;
    tail_init(&c->tail);
    list_init(&c->views);
    list_init(&c->slices);
    list_init(&c->due);
    ops_init(&c->ops);
    memcpy(c->text, key.p, key.n);
    memcpy(c->text + key.n, seq_key.p, seq_key.n);
    c->key = (struct str){c->text, key.n};
    c->seq_key = (struct str){c->text + key.n, seq_key.n};
    c->tenant = str_slice(c->key, key.n - source->channel.n - 1 - source->tenant.n, key.n - source->channel.n - 1);
    list_append(bucket(hub, c->key), &c->link);
    list_append(&hub->partitions[c->partition], &c->peer);
    hub->figures.channels++;
    hub_subscribe(c);
    return c;
}

static struct hub_channel *channel_get(struct hub *hub, const struct hub_source *source)
{
    struct arena scratch;
    arena_init(&scratch, 0);
    struct space space = {source->partition, source->tenant};
    struct str key = key_channel(&scratch, space, source->channel);
    struct str seq_key = key_channel_seq(&scratch, space, source->channel);
    struct hub_channel *c = NULL;
    if (key.p != NULL && seq_key.p != NULL) {
        c = hub_channel_find(hub, key);
        if (c == NULL)
            c = channel_new(hub, source, key, seq_key);
    }
    arena_fini(&scratch);
    return c;
}

static void channel_free(struct hub_channel *c)
{
    hub_reads_drop(c);
    hub_unsubscribe(c);
    timer_stop(&c->rest);
    loop_undefer(&c->sent);
    list_for (link, &c->views)
        free(hub_view_of(link));
    tail_fini(&c->tail);
    list_remove(&c->link);
    list_remove(&c->peer);
    list_remove(&c->due);
    c->hub->figures.channels--;
    free(c);
}

static struct hub_view *view_get(struct hub_channel *c, enum encoding encoding, struct str filter)
{
    if (filter.n <= 2)
        filter = S("");
    list_for (link, &c->views) {
        struct hub_view *v = hub_view_of(link);
        if (v->encoding == encoding && str_eq(v->filter, filter))
            return v;
    }
    struct hub_view *v = calloc(1, sizeof(*v) + filter.n);
    if (v == NULL)
        return NULL;
    v->channel = c;
    v->encoding = encoding;
    memcpy(v->text, filter.p, filter.n);
    v->filter = (struct str){v->text, filter.n};
    list_init(&v->live);
    list_init(&v->behind);
    list_append(&c->views, &v->link);
    return v;
}

static void drop_empty_views(struct hub_channel *c)
{
    list_for (link, &c->views) {
        struct hub_view *v = hub_view_of(link);
        if (list_empty(&v->live) && list_empty(&v->behind)) {
            list_remove(&v->link);
            free(v);
        }
    }
}

static void another_turn(void *arg)
{
    (void)arg;
}

void hub_channel_due(struct hub_channel *c)
{
    if (!list_empty(&c->due))
        return;
    list_append(&c->hub->due, &c->due);
    loop_defer(&c->hub->worker->loop, &c->hub->again, another_turn, NULL);
}

/* --- followers --- */

static void join(struct hub_view *v, struct follower *f)
{
    f->view = v;
    f->live = false;
    list_append(&v->behind, &f->link);
    hub_channel_due(v->channel);
}

bool hub_follow(struct hub *hub, const struct hub_source *source, struct str filter, enum encoding encoding,
                int64_t since, struct follower *f)
{
    must(f->view == NULL && since >= 0 && source->partition < HUB_PARTITIONS);
    hub_epoch(hub, source->partition, source->epoch);
    struct hub_channel *c = channel_get(hub, source);
    if (c == NULL)
        return false;
    struct hub_view *v = view_get(c, encoding, filter);
    if (v == NULL) {
        hub_channel_due(c); /* takes the channel away when nobody else follows it */
        return false;
    }
    hub_unfollow(f); /* one that waits to be told of a reset */
    f->seq = since;
    f->wants = true;
    f->told = false;
    c->followers++;
    hub->figures.followers++;
    join(v, f);
    return true;
}

void hub_unfollow(struct follower *f)
{
    if (f->link.next == NULL)
        return;
    list_remove(&f->link);
    f->link.next = NULL;
    if (f->view == NULL)
        return;
    struct hub_channel *c = f->view->channel;
    if (c->hub->calling == f)
        c->hub->calling = NULL;
    c->followers--;
    c->hub->figures.followers--;
    f->view = NULL;
    hub_channel_due(c);
}

void hub_next(struct follower *f)
{
    if (f->view == NULL || f->live || f->wants)
        return;
    f->wants = true;
    hub_channel_due(f->view->channel);
}

bool hub_refilter(struct follower *f, struct str filter)
{
    struct hub_channel *c = f->view->channel;
    struct hub_view *v = view_get(c, f->view->encoding, filter);
    if (v == NULL)
        return false;
    if (v == f->view)
        return true;
    if (f->live)
        f->wants = true;
    list_remove(&f->link);
    join(v, f);
    return true;
}

/* Takes it off, to be told in the next flush. */
void hub_doom(struct follower *f)
{
    struct hub *hub = f->view->channel->hub;
    hub->figures.resets++;
    hub_unfollow(f);
    list_append(&hub->doomed, &f->link);
}

static void doom_beyond(struct list *followers, int64_t seq)
{
    list_for (link, followers)
        if (hub_follower_of(link)->seq > seq)
            hub_doom(hub_follower_of(link));
}

void hub_channel_reset_beyond(struct hub_channel *c, int64_t seq)
{
    list_for (link, &c->views) {
        doom_beyond(&hub_view_of(link)->live, seq);
        doom_beyond(&hub_view_of(link)->behind, seq);
    }
}

void hub_channel_reset(struct hub_channel *c)
{
    hub_reads_drop(c);
    tail_reset(&c->tail, -1);
    c->flushed = -1;
    hub_channel_reset_beyond(c, -1);
}

void hub_epoch(struct hub *hub, unsigned partition, int64_t epoch)
{
    if (epoch == 0 || hub->epochs[partition] == epoch)
        return;
    bool other = hub->epochs[partition] != 0;
    hub->epochs[partition] = epoch;
    if (!other)
        return;
    list_for (peer, &hub->partitions[partition])
        hub_channel_reset(list_entry(peer, struct hub_channel, peer));
    redis_drop(hub->subscriber, "the data set is another one"); /* it may still tell of the old one */
}

/* --- the hub --- */

static void on_flush(void *arg)
{
    struct hub *hub = arg;
    struct list due, doomed;
    hub_take_all(&hub->due, &due);
    while (!list_empty(&due)) {
        struct hub_channel *c = list_entry(due.next, struct hub_channel, due);
        list_remove(&c->due);
        hub_flush(c);
        hub_serve(c);
        drop_empty_views(c);
        if (c->followers == 0)
            channel_free(c);
    }
    hub_take_all(&hub->doomed, &doomed);
    while (!list_empty(&doomed)) {
        struct follower *f = hub_follower_of(doomed.next);
        list_remove(&f->link);
        f->link.next = NULL;
        f->type->on_reset(f);
    }
}

struct hub *hub_open(struct worker *worker)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    if (hub == NULL)
        return NULL;
    hub->worker = worker;
    hub->buckets = malloc(HUB_BUCKETS * sizeof(hub->buckets[0]));
    if (hub->buckets == NULL) {
        free(hub);
        return NULL;
    }
    for (size_t i = 0; i < HUB_BUCKETS; i++)
        list_init(&hub->buckets[i]);
    for (size_t i = 0; i < HUB_PARTITIONS; i++)
        list_init(&hub->partitions[i]);
    list_init(&hub->due);
    list_init(&hub->doomed);
    ops_init(&hub->ops);
    if (!hub_read_open(hub)) {
        free(hub->buckets);
        free(hub);
        return NULL;
    }
    loop_on_flush(&worker->loop, &hub->hook, on_flush, hub);
    return hub;
}

static void subscriber_closed(void *arg)
{
    struct hub *hub = arg;
    void (*closed)(void *) = hub->closed;
    void *closed_arg = hub->closed_arg;
    free(hub->buckets);
    free(hub);
    closed(closed_arg);
}

void hub_close(struct hub *hub, void (*closed)(void *arg), void *arg)
{
    hub->closed = closed;
    hub->closed_arg = arg;
    must(list_empty(&hub->doomed));
    for (size_t i = 0; i < HUB_PARTITIONS; i++) {
        list_for (peer, &hub->partitions[i]) {
            struct hub_channel *c = list_entry(peer, struct hub_channel, peer);
            must(c->followers == 0);
            channel_free(c);
        }
    }
    loop_off_flush(&hub->hook);
    loop_undefer(&hub->again);
    hub_read_stop(hub);
    redis_close(hub->subscriber, subscriber_closed, hub);
}

void hub_figures(const struct hub *hub, struct hub_figures *out)
{
    *out = hub->figures;
}

#include "server/hub_private.h"

#include "lib/clock.h"
#include "lib/stream.h"
#include "server/worker.h"

static struct encode encode_of(const struct hub_view *v)
{
    const struct hub_channel *c = v->channel;
    return (struct encode){.encoding = v->encoding,
                           .deflate = c->hub->worker->deflate,
                           .epoch = c->hub->epochs[c->partition],
                           .filter = v->filter,
                           .last = c->last,
                           .open = c->open,
                           .worker = c->hub->worker,
                           .tenant = c->tenant};
}

/* False when memory ran out: nothing is to be delivered, and the followers ask again. */
static bool batch_make(struct hub *hub, struct hub_batch *batch, struct buf *out)
{
    batch->bytes = NULL;
    bool made = !out->failed;
    if (made && out->n > 0) {
        batch->bytes = shared_copy(buf_view(out));
        made = batch->bytes != NULL;
        hub->figures.batches++;
        hub->figures.batch_bytes += out->n;
    }
    buf_free(out);
    return made;
}

/* One that has no room goes behind, and waits to be asked. */
static void deliver(struct hub_view *v, struct follower *f, const struct hub_batch *batch)
{
    struct hub *hub = v->channel->hub;
    f->seq = batch->last;
    hub->calling = f;
    hub->figures.deliveries++;
    bool taken = f->type->on_batch(f, batch);
    if (hub->calling == f && !taken) {
        f->seq = batch->first - 1;
        f->live = f->wants = false;
        list_remove(&f->link);
        list_append(&f->view->behind, &f->link);
    }
    hub->calling = NULL;
}

/* What the live followers of a view lack, up to `upto`. */
static void flush_view(struct hub_view *v, int64_t from, int64_t upto)
{
    struct hub *hub = v->channel->hub;
    struct encode how = encode_of(v);
    struct buf out = {0};
    struct hub_batch batch = {.first = from + 1, .last = from};
    struct list todo;
    tail_encode(&v->channel->tail, &how, upto, &batch.last, &out, &batch.ended);
    bool made = batch_make(hub, &batch, &out);
    hub_take_all(&v->live, &todo);
    while (!list_empty(&todo)) {
        struct follower *f = hub_follower_of(todo.next);
        list_remove(&f->link);
        if (made) {
            list_append(&v->live, &f->link);
            deliver(v, f, &batch);
        } else { /* it reads these again, as one that is behind */
            f->live = false;
            f->wants = true;
            list_append(&v->behind, &f->link);
        }
    }
    shared_drop(batch.bytes);
}

/* Unless more than a batch waits. */
static bool rests(const struct hub_channel *c)
{
    return timer_running(&c->rest) &&
           (!hub_tail_known(c) || tail_upto(&c->tail, c->flushed, HUB_BATCH) >= c->tail.head);
}

static void rested(void *arg)
{
    hub_channel_due(arg);
}

static void sent(void *arg)
{
    struct hub_channel *c = arg;
    int64_t ms = (clock_mono_ms() - c->began_ms) / HUB_REST_PART;
    if (ms > 0)
        timer_start(&c->rest, &c->hub->worker->loop, ms < HUB_REST_MS ? ms : HUB_REST_MS, rested, c);
}

void hub_flush(struct hub_channel *c)
{
    int64_t before = c->flushed;
    if (rests(c))
        return;
    c->began_ms = clock_mono_ms();
    while (hub_tail_known(c) && c->flushed < c->tail.head) {
        int64_t from = c->flushed, upto = tail_upto(&c->tail, from, HUB_BATCH);
        c->flushed = upto;
        list_for (link, &c->views)
            if (!list_empty(&hub_view_of(link)->live))
                flush_view(hub_view_of(link), from, upto);
    }
    if (hub_tail_known(c))
        tail_trim(&c->tail, HUB_TAIL, c->flushed);
    if (c->followers >= HUB_WIDE && before >= 0 && c->flushed > before + 1)
        loop_defer(&c->hub->worker->loop, &c->sent, sent, c);
}

static void go_live(struct hub_view *v, struct follower *f)
{
    list_remove(&f->link);
    list_append(&v->live, &f->link);
    f->live = true;
    f->wants = false;
    if (f->told)
        return;
    f->told = true;
    f->type->on_live(f);
}

struct memo { /* the last slice made of the tail: followers that reconnect together share it */
    struct hub_view *view;
    int64_t from;
    struct hub_batch batch;
};

static bool memo_make(struct memo *m, struct hub_view *v, int64_t from)
{
    const struct hub_channel *c = v->channel;
    if (m->view == v && m->from == from)
        return true;
    struct encode how = encode_of(v);
    struct buf out = {0};
    int64_t upto = tail_upto(&c->tail, from, HUB_SLICE);
    shared_drop(m->batch.bytes);
    m->view = v;
    m->from = from;
    m->batch = (struct hub_batch){.first = from + 1, .last = from};
    tail_encode(&c->tail, &how, upto < c->flushed ? upto : c->flushed, &m->batch.last, &out, &m->batch.ended);
    if (!batch_make(c->hub, &m->batch, &out))
        m->view = NULL;
    return m->view != NULL;
}

/* One that is behind and has room. */
static void serve_follower(struct hub_channel *c, struct hub_view *v, struct follower *f, struct memo *memo)
{
    if (!hub_tail_known(c) || f->seq < c->tail.floor) {
        hub_read_slice(c, f->seq);
        return;
    }
    if (f->seq > c->flushed) {
        hub_heal(c);
        return;
    }
    if (f->seq < c->flushed) {
        if (!memo_make(memo, v, f->seq))
            return;
        f->wants = false;
        deliver(v, f, &memo->batch);
        return; /* it asks again when that has left, and is live with nothing queued */
    }
    go_live(v, f);
}

void hub_serve(struct hub_channel *c)
{
    struct memo memo = {0};
    list_for (link, &c->views) {
        struct hub_view *v = hub_view_of(link);
        struct list todo;
        hub_take_all(&v->behind, &todo);
        while (!list_empty(&todo)) {
            struct follower *f = hub_follower_of(todo.next);
            list_remove(&f->link);
            list_append(&v->behind, &f->link);
            if (f->wants)
                serve_follower(c, v, f, &memo);
        }
    }
    shared_drop(memo.batch.bytes);
}

static void slice_encode(struct hub_view *v, int64_t from, const struct redis_value *entries, struct hub_batch *batch,
                         struct buf *out, bool *whole)
{
    struct encode how = encode_of(v);
    size_t bytes = 0;
    *whole = true;
    *batch = (struct hub_batch){.first = from + 1, .last = from};
    for (size_t i = 0; i < entries->count && bytes < HUB_SLICE && *whole; i++) {
        struct str events = hub_entry_events(entries, i);
        *whole = events_encode(events, &how, &batch->last, out, &batch->ended);
        bytes += events.n;
    }
}

static void slice_view(struct hub_view *v, int64_t from, const struct redis_value *entries)
{
    struct hub *hub = v->channel->hub;
    struct hub_batch batch;
    struct buf out = {0};
    struct list todo;
    bool whole, made = false, tried = false;
    hub_take_all(&v->behind, &todo);
    while (!list_empty(&todo)) {
        struct follower *f = hub_follower_of(todo.next);
        list_remove(&f->link);
        list_append(&v->behind, &f->link);
        if (!f->wants || f->seq != from)
            continue;
        if (!tried) {
            tried = true;
            slice_encode(v, from, entries, &batch, &out, &whole);
            made = batch_make(hub, &batch, &out);
        }
        if (!whole && batch.last == from) { /* trimmed: what it lacks is not there any more */
            hub_doom(f);
        } else if (made) {
            f->wants = false;
            deliver(v, f, &batch);
        }
    }
    if (tried)
        shared_drop(batch.bytes);
}

void hub_deliver_slice(struct hub_channel *c, int64_t from, const struct redis_value *entries, int64_t seq)
{
    if (entries->count > 0) {
        list_for (link, &c->views)
            slice_view(hub_view_of(link), from, entries);
        return;
    }
    if (seq > from) { /* the stream is gone, or reaches not far enough back */
        list_for (link, &c->views)
            list_for (it, &hub_view_of(link)->behind)
                if (hub_follower_of(it)->wants && hub_follower_of(it)->seq == from)
                    hub_doom(hub_follower_of(it));
        return;
    }
    if (!hub_tail_known(c)) {
        tail_reset(&c->tail, seq);
        c->flushed = seq;
        hub_heal(c); /* what was published before the subscription was in force */
    }
    hub_channel_due(c);
}

void hub_channel_grew(struct hub_channel *c)
{
    if (c->flushed < 0)
        c->flushed = c->tail.floor;
    hub_channel_due(c);
}

void hub_channel_note(struct hub_channel *c, struct str text)
{
    list_for (link, &c->views) {
        struct list *lists[] = {&hub_view_of(link)->live, &hub_view_of(link)->behind};
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            struct list todo;
            hub_take_all(lists[i], &todo);
            while (!list_empty(&todo)) {
                struct follower *f = hub_follower_of(todo.next);
                list_remove(&f->link);
                list_append(lists[i], &f->link);
                if (f->type->on_note != NULL)
                    f->type->on_note(f, text);
            }
        }
    }
}

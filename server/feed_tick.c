#include "server/feed_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/must.h"
#include "server/store/store.h"

static struct feed *in_wheel(struct list *link)
{
    return list_entry(link, struct feed, wheel);
}

/* --- one feed's deadlines --- */

/* Milliseconds from now until the caller's credential needs a word, or is over; INT64_MAX: never. */
static int64_t expiry_in(const struct feed *f)
{
    if (f->caller->expires_ms == 0)
        return INT64_MAX;
    int64_t left = f->caller->expires_ms - clock_wall_ms();
    return f->warned ? left : left - feed_worker(f)->settings->stream_expiry_warning;
}

void feed_schedule(struct feed *f)
{
    int64_t in = feed_due(f), over = expiry_in(f);
    if (f->stage != FEED_CLOSING && over < in)
        in = over;
    int64_t slot = (loop_now_ms(&feed_worker(f)->loop) + in) / FEED_SLOT_MS + 1,
            last = feeds_of(f)->slot + FEED_WHEEL - 1;
    if (slot < feeds_of(f)->slot)
        slot = feeds_of(f)->slot;
    if (slot > last) /* looked at again when the wheel has turned */
        slot = last;
    list_remove(&f->wheel);
    list_append(&feeds_of(f)->wheel[slot % FEED_WHEEL], &f->wheel);
}

static void say_expiring(struct feed *f, int64_t left_ms)
{
    struct say s;
    f->warned = true;
    say_begin(&s, f);
    say_open(&s, "token_expiring");
    json_key(&s.json, S("inSeconds"));
    json_put_int(&s.json, (left_ms + 999) / 1000);
    say_close(&s);
    say_send(&s);
}

/* A filtered feed, too, shows how far it is: everything up to `seq` was looked at. */
static void say_heartbeat(struct feed *f)
{
    struct say s;
    say_begin(&s, f);
    ws_write(&s.out, WS_SERVER, WS_PING, STR_NONE);
    say_open(&s, "heartbeat");
    json_key(&s.json, S("seq"));
    json_put_int(&s.json, f->follower.seq);
    say_close(&s);
    say_send(&s);
}

/* A comment keeps proxies awake; an id without data moves what a browser will resume from. */
static void say_comment(struct feed *f)
{
    char text[96];
    snprintf(text, sizeof(text), ": heartbeat\nid: %" PRId64 ":%" PRId64 "\n\n",
             store_epoch(feed_worker(f)->store, f->caller->partition), f->follower.seq);
    if (!conn_write(f->conn, str_z(text)))
        conn_abort(f->conn);
}

static void beat(struct feed *f)
{
    if (f->unanswered >= 2) {
        feed_close(f, FEED_GOING, "two pings were not answered");
        conn_abort(f->conn);
        return;
    }
    feed_due_in(f, feed_interval(f));
    if (f->stage != FEED_BEHIND && f->stage != FEED_LIVE)
        return;
    if (f->sse) {
        say_comment(f);
    } else {
        f->unanswered++;
        say_heartbeat(f);
    }
}

static void on_deadline(struct feed *f)
{
    bool due = feed_due(f) <= 0;
    if (f->stage == FEED_CLOSING) {
        if (due)
            conn_end(f->conn);
        feed_due_in(f, FEED_LINGER_MS);
        return;
    }
    if (f->stage == FEED_LOGIN && due) {
        feed_close(f, FEED_AUTH_TIMEOUT, "no token came in time");
        return;
    }
    if (f->caller->expires_ms > 0 && expiry_in(f) <= 0) {
        int64_t left = f->caller->expires_ms - clock_wall_ms();
        if (left <= 0) {
            feed_close_with(f, FEED_UNAUTHENTICATED, AUTH_TOKEN_EXPIRED, "the token's time is over");
            return;
        }
        say_expiring(f, left);
    }
    if (f->stage != FEED_CLOSING && due)
        beat(f);
}

/* --- the wheel --- */

static void turn_slot(struct feeds *feeds)
{
    struct list *slot = &feeds->wheel[feeds->slot % FEED_WHEEL], todo;
    list_init(&todo);
    while (!list_empty(slot)) {
        struct list *link = slot->next;
        list_remove(link);
        list_append(&todo, link);
    }
    feeds->slot++;
    while (!list_empty(&todo)) {
        struct feed *f = in_wheel(todo.next);
        list_remove(&f->wheel);
        if (f->stage == FEED_OPENING)
            continue;
        on_deadline(f);
        feed_schedule(f);
    }
}

static void on_tick(void *arg)
{
    struct feeds *feeds = arg;
    int64_t now = loop_now_ms(&feeds->worker->loop) / FEED_SLOT_MS;
    while (feeds->slot <= now)
        turn_slot(feeds);
    timer_start(&feeds->timer, &feeds->worker->loop, FEED_SLOT_MS, on_tick, feeds);
}

/* --- more, once the socket took what there was --- */

/* Runs in the turn after the flush. Something may have been written since, so it is handed to the kernel first: only what
 * is queued then waits for the socket, and only then will on_drain come. */
static void after_flush(void *arg)
{
    struct feeds *feeds = arg;
    struct list todo;
    list_init(&todo);
    while (!list_empty(&feeds->wanting)) {
        struct list *link = feeds->wanting.next;
        list_remove(link);
        list_append(&todo, link);
    }
    while (!list_empty(&todo)) {
        struct feed *f = list_entry(todo.next, struct feed, want);
        list_remove(&f->want);
        conn_flush(f->conn);
        f->stalled = conn_queued(f->conn) > 0;
        if (!f->stalled)
            feed_go_on(f);
    }
}

static void before_flush(void *arg)
{
    struct feeds *feeds = arg;
    feeds->turn++;
    if (!list_empty(&feeds->wanting))
        loop_defer(&feeds->worker->loop, &feeds->task, after_flush, feeds);
}

void feed_want(struct feed *f)
{
    if (list_empty(&f->want))
        list_append(&feeds_of(f)->wanting, &f->want);
}

/* --- the worker's side --- */

struct feeds *feeds_open(struct worker *worker)
{
    const struct settings *s = worker->settings;
    struct feeds *feeds = calloc(1, sizeof(*feeds));
    if (feeds == NULL)
        return NULL;
    feeds->worker = worker;
    feeds->ws_limits =
        (struct ws_limits){(uint64_t)s->stream_message_max, (uint32_t)s->stream_fragments_max, FEED_TOO_LARGE};
    list_init(&feeds->all);
    list_init(&feeds->wanting);
    for (size_t i = 0; i < FEED_WHEEL; i++)
        list_init(&feeds->wheel[i]);
    for (size_t i = 0; i < FEED_CALLERS; i++)
        list_init(&feeds->callers[i]);
    slab_init(&feeds->slots, sizeof(struct feed));
    feeds->slot = loop_now_ms(&worker->loop) / FEED_SLOT_MS;
    loop_on_flush(&worker->loop, &feeds->hook, before_flush, feeds);
    timer_start(&feeds->timer, &worker->loop, FEED_SLOT_MS, on_tick, feeds);
    return feeds;
}

void feeds_sample(struct feeds *feeds)
{
    struct metrics *m = &feeds->worker->metrics;
    struct hub_figures hub;
    hub_figures(feeds->worker->hub, &hub);
    metrics_set(m, METRIC_STREAMS_OPEN, feeds->count);
    metrics_set(m, METRIC_HUB_CHANNELS, hub.channels);
    metrics_set(m, METRIC_HUB_HINTS, hub.hints);
    metrics_set(m, METRIC_HUB_HINTS_SKIPPED, hub.hints_skipped);
    metrics_set(m, METRIC_HUB_READS, hub.reads);
    metrics_set(m, METRIC_HUB_RESETS, hub.resets);
    metrics_set(m, METRIC_HUB_BATCHES, hub.batches);
    metrics_set(m, METRIC_HUB_DELIVERIES, hub.deliveries);
}

void feeds_close(struct feeds *feeds)
{
    must(feeds->count == 0);
    timer_stop(&feeds->timer);
    loop_off_flush(&feeds->hook);
    loop_undefer(&feeds->task);
    slab_fini(&feeds->slots);
    free(feeds);
}

/* The hub against a model of Redis: answers and hints come late, out of step or never, followers come and go at their
 * own pace, the data set is replaced under them. Whatever happens, each follower is handed every event exactly once and
 * in order, or is told to start over. */
#define redis_open        fake_open
#define redis_close       fake_close
#define redis_ready       fake_ready
#define redis_drop        fake_drop
#define redis_subscribe   fake_subscribe
#define redis_unsubscribe fake_unsubscribe
#define store_read        fake_read
#define store_target      fake_target
#define key_channel       fake_key
#define key_channel_seq   fake_seq_key
#define key_meta          fake_meta_key
#include "server/hub.c"
#include "server/hub_deliver.c"
#include "server/hub_read.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/lib/fault.h"

#define TENANT  "01900000-0000-7000-8000-000000000001"
#define CHANNEL "run:01900000-0000-7000-8000-000000000002"

enum { ENTRIES = 4000, FOLLOWERS = 12, PENDING = 256 };

/* --- Redis --- */

struct str fake_key(struct arena *a, struct space s, struct str channel)
{
    (void)a, (void)s;
    return channel;
}
struct str fake_seq_key(struct arena *a, struct space s, struct str channel)
{
    (void)a, (void)s, (void)channel;
    return S("seq");
}
struct str fake_meta_key(struct arena *a, unsigned partition)
{
    (void)a, (void)partition;
    return S("meta");
}

struct entry {
    int64_t first, last;
    char text[200];
};
static struct model {
    struct entry entries[ENTRIES];
    size_t n;
    int64_t seq, epoch;
    bool broken;     /* answers are errors */
    bool subscribed; /* hints come */
    const struct redis_events *events;
    void *arg;
    char key[128];
    unsigned reads;
} model;

struct fake_op { /* a command: done at one time, answered at another */
    struct op op;
    store_then *then;
    void *arg;
    bool range, done;
    char start[32];
    struct redis_value reply, parts[3], rows[HUB_ENTRIES], ids[HUB_ENTRIES], values[HUB_ENTRIES],
        names[4 * HUB_ENTRIES];
    const struct redis_value *part_items[3], *row_items[HUB_ENTRIES], *row_parts[2 * HUB_ENTRIES],
        *value_items[4 * HUB_ENTRIES];
    struct entry copies[HUB_ENTRIES];
};
static struct fake_op pool[PENDING]; /* not allocated: only the hub is to meet a failure */
static struct fake_op *pending[PENDING];
static size_t pending_n;

static struct redis_value text_value(const char *text)
{
    return (struct redis_value){.type = REDIS_STRING, .text = str_z(text)};
}

static void do_range(struct fake_op *f)
{
    int64_t behind = strtoll(f->start + 1, NULL, 10);
    size_t n = 0;
    for (size_t i = 0; i < model.n && n < HUB_ENTRIES; i++) {
        if (model.entries[i].last <= behind)
            continue;
        f->copies[n] = model.entries[i];
        f->ids[n] = text_value("0-0");
        f->names[2 * n] = text_value("b");
        f->names[2 * n + 1] = text_value(f->copies[n].text);
        f->value_items[2 * n] = &f->names[2 * n];
        f->value_items[2 * n + 1] = &f->names[2 * n + 1];
        f->values[n] = (struct redis_value){.type = REDIS_ARRAY, .count = 2, .items = &f->value_items[2 * n]};
        f->row_parts[2 * n] = &f->ids[n];
        f->row_parts[2 * n + 1] = &f->values[n];
        f->rows[n] = (struct redis_value){.type = REDIS_ARRAY, .count = 2, .items = &f->row_parts[2 * n]};
        f->row_items[n] = &f->rows[n];
        n++;
    }
    f->parts[0] = (struct redis_value){.type = REDIS_ARRAY, .count = n, .items = f->row_items};
    f->parts[1] = (struct redis_value){.type = REDIS_INTEGER, .integer = model.seq};
    f->parts[2] = (struct redis_value){.type = REDIS_INTEGER, .integer = model.epoch};
}

static void do_check(struct fake_op *f)
{
    f->ids[0] = (struct redis_value){.type = REDIS_INTEGER, .integer = model.seq};
    f->row_items[0] = &f->ids[0];
    f->parts[0] = (struct redis_value){.type = REDIS_ARRAY, .count = 1, .items = f->row_items};
    f->parts[1] = (struct redis_value){.type = REDIS_INTEGER, .integer = model.epoch};
}

static void fake_do(struct fake_op *f)
{
    if (f->range)
        do_range(f);
    else
        do_check(f);
    f->part_items[0] = &f->parts[0];
    f->part_items[1] = &f->parts[1];
    f->part_items[2] = &f->parts[2];
    f->reply = (struct redis_value){.type = REDIS_ARRAY, .count = 3, .items = f->part_items};
    f->done = true;
}

enum code fake_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                    store_then *then, void *arg)
{
    (void)s, (void)n;
    if (str_eqz(commands[0].argv[0], "PUBLISH")) {
        if (model.subscribed)
            model.events->on_message(model.arg, commands[0].argv[1], commands[0].argv[2]);
        return OK;
    }
    assert_true(pending_n < PENDING);
    struct fake_op *f = pool;
    while (f->then != NULL)
        f++;
    memset(f, 0, sizeof(*f));
    f->then = then;
    f->arg = arg;
    f->range = str_eqz(commands[0].argv[0], "XRANGE");
    if (f->range) {
        model.reads++;
        snprintf(f->start, sizeof(f->start), STR_FMT, STR_ARG(commands[0].argv[2]));
    }
    op_begin(&f->op, asker);
    pending[pending_n++] = f;
    return OK;
}

static void fake_answer(size_t i)
{
    struct fake_op *f = pending[i];
    pending[i] = pending[--pending_n];
    if (op_finish(&f->op))
        f->then(f->arg, model.broken ? SYS_STORAGE : OK, model.broken ? NULL : &f->reply);
    f->then = NULL;
}

struct redis *fake_open(struct loop *loop, const struct redis_target *target, const struct redis_limits *limits,
                        const struct redis_events *events, void *arg)
{
    (void)loop, (void)target, (void)limits;
    model.events = events;
    model.arg = arg;
    return (struct redis *)&model;
}
void fake_close(struct redis *r, void (*closed)(void *arg), void *arg)
{
    (void)r;
    closed(arg);
}
bool fake_ready(const struct redis *r)
{
    (void)r;
    return true;
}
void fake_drop(struct redis *r, const char *why)
{
    (void)r, (void)why;
    model.subscribed = false;
    model.events->on_down(model.arg, REDIS_LOST, "");
}
enum redis_error fake_subscribe(struct redis *r, struct str channel)
{
    (void)r;
    snprintf(model.key, sizeof(model.key), STR_FMT, STR_ARG(channel));
    return REDIS_OK;
}
enum redis_error fake_unsubscribe(struct redis *r, struct str channel)
{
    (void)r, (void)channel;
    model.subscribed = false;
    model.key[0] = '\0';
    return REDIS_OK;
}
const struct redis_target *fake_target(const struct store *s)
{
    (void)s;
    return NULL;
}

static void hint(const struct entry *e)
{
    char payload[300];
    int n = snprintf(payload, sizeof(payload), "%" PRId64 " %" PRId64 "\n%s", e->first, e->last, e->text);
    if (model.subscribed)
        model.events->on_message(model.arg, str_z(model.key), (struct str){payload, (size_t)n});
}

/* Appends 1 to 3 events as one entry. */
static struct entry *append(unsigned count)
{
    assert_true(model.n < ENTRIES);
    struct entry *e = &model.entries[model.n++];
    size_t n = 0;
    e->first = model.seq + 1;
    for (unsigned i = 0; i < count; i++)
        n += (size_t)snprintf(e->text + n, sizeof(e->text) - n,
                              "%s{\"seq\":%" PRId64 ",\"timestamp\":\"t\",\"e\":%" PRId64 "}", i > 0 ? "\n" : "",
                              ++model.seq, model.epoch);
    e->last = model.seq;
    return e;
}

/* --- followers --- */

struct watcher {
    struct follower follower;
    int64_t seq, epoch;
    bool resets, notes, once, full; /* was told to start over; unfollow in the next batch; has no room */
    bool slow;                      /* handing it something takes 100 ms */
    unsigned lives, batches;
};

static int64_t number(struct str text)
{
    int64_t n = -1;
    str_i64(text, &n);
    return n;
}

static bool on_batch(struct follower *f, const struct hub_batch *batch)
{
    struct watcher *w = list_entry(f, struct watcher, follower);
    struct str rest = shared_str(batch->bytes), event;
    int64_t seq;
    assert_int_equal(batch->first, w->seq + 1);
    if (w->full)
        return false;
    while (event_next(&rest, &event, &seq)) {
        assert_int_equal(seq, w->seq + 1);
        assert_int_equal(number(event_member(event, "e")), w->epoch);
        w->seq = seq;
    }
    assert_int_equal(rest.n, 0);
    assert_int_equal(batch->last, w->seq);
    w->batches++;
    if (w->slow)
        clock_fake(clock_mono_ms() + 100);
    if (w->once) {
        hub_unfollow(f);
        w->once = false;
    }
    return true;
}

static void on_live(struct follower *f)
{
    struct watcher *w = list_entry(f, struct watcher, follower);
    assert_int_equal(f->seq, w->seq);
    w->lives++;
}

static void on_reset(struct follower *f)
{
    struct watcher *w = list_entry(f, struct watcher, follower);
    assert_null(f->view);
    w->resets = true;
}

static void on_note(struct follower *f, struct str text)
{
    assert_true(str_eq(text, S("hello")));
    list_entry(f, struct watcher, follower)->notes = true;
}

static const struct follower_type type = {on_batch, on_live, on_reset, on_note};

static struct worker worker;
static struct hub *hub;
static struct watcher watchers[FOLLOWERS];
static bool closed;

static void follow(struct watcher *w, int64_t since)
{
    struct hub_source source = {S(TENANT), 7, model.epoch, S(CHANNEL), NULL, NULL};
    w->follower.type = &type;
    w->seq = since;
    w->epoch = model.epoch;
    w->lives = 0;
    w->resets = false;
    if (!hub_follow(hub, &source, STR_NONE, ENCODE_JSON, since, &w->follower)) {
        assert_true(fault_fired());
        w->resets = true; /* tries again */
    }
}

static int setup(void **state)
{
    (void)state;
    memset(&model, 0, sizeof(model));
    memset(watchers, 0, sizeof(watchers));
    model.epoch = 1;
    pending_n = 0;
    closed = false;
    if (loop_init(&worker.loop) != 0)
        return -1;
    hub = hub_open(&worker);
    return hub == NULL ? -1 : 0;
}

static void on_closed(void *arg)
{
    (void)arg;
    closed = true;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < FOLLOWERS; i++)
        hub_unfollow(&watchers[i].follower);
    loop_turn(&worker.loop, false);
    hub_close(hub, on_closed, NULL);
    while (pending_n > 0) {
        if (!pending[0]->done)
            fake_do(pending[0]);
        fake_answer(0);
    }
    loop_fini(&worker.loop);
    return closed ? 0 : -1;
}

/* Everything that is under way comes to its end, and a tick or two pass. */
static void settle(void)
{
    for (size_t i = 0; i < FOLLOWERS; i++)
        watchers[i].full = false;
    for (unsigned round = 0; round < 400; round++) {
        if (round % 100 == 50)
            on_tick(hub);
        loop_turn(&worker.loop, false);
        while (pending_n > 0) {
            if (!pending[0]->done)
                fake_do(pending[0]);
            fake_answer(0);
        }
        for (size_t i = 0; i < FOLLOWERS; i++) {
            if (watchers[i].resets)
                follow(&watchers[i], model.seq);
            hub_next(&watchers[i].follower);
        }
    }
}

static void confirm(void)
{
    model.subscribed = true;
    if (model.key[0] != '\0')
        model.events->on_subscribed(model.arg, str_z(model.key));
}

/* --- single properties --- */

static void a_hint_that_continues_needs_no_read(void **state)
{
    (void)state;
    follow(&watchers[0], 0);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    assert_int_equal(watchers[0].lives, 1);
    unsigned reads = model.reads;
    for (int i = 0; i < 20; i++) {
        hint(append(2));
        loop_turn(&worker.loop, false);
    }
    assert_int_equal(watchers[0].seq, 40);
    assert_int_equal(model.reads, reads);
}

static void without_any_hint_the_tick_finds_everything(void **state)
{
    (void)state;
    follow(&watchers[0], 0);
    settle();
    for (int i = 0; i < 50; i++)
        append(3);
    settle();
    assert_int_equal(watchers[0].seq, 150);
}

static void a_hint_behind_a_hole_is_healed_at_once(void **state)
{
    (void)state;
    follow(&watchers[0], 0);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    append(1);
    hint(append(1));
    loop_turn(&worker.loop, false);
    assert_int_equal(watchers[0].seq, 0);
    fake_do(pending[0]);
    fake_answer(0);
    loop_turn(&worker.loop, false);
    assert_int_equal(watchers[0].seq, 2);
}

static void followers_from_one_place_share_a_read(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        append(1);
    for (size_t i = 0; i < FOLLOWERS; i++)
        follow(&watchers[i], 0);
    loop_turn(&worker.loop, false);
    assert_int_equal(model.reads, 1);
    settle();
    for (size_t i = 0; i < FOLLOWERS; i++)
        assert_int_equal(watchers[i].seq, 10);
}

static void one_batch_serves_all_followers_of_a_view(void **state)
{
    (void)state;
    for (size_t i = 0; i < FOLLOWERS; i++)
        follow(&watchers[i], 0);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    struct hub_figures before, now;
    hub_figures(hub, &before);
    hint(append(1));
    hint(append(1));
    loop_turn(&worker.loop, false);
    hub_figures(hub, &now);
    assert_int_equal(now.batches - before.batches, 1);
    assert_int_equal(now.deliveries - before.deliveries, FOLLOWERS);
}

static void a_follower_at_its_own_pace_is_handed_nothing_unasked(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        append(1);
    follow(&watchers[0], 0);
    loop_turn(&worker.loop, false);
    fake_do(pending[0]);
    fake_answer(0);
    assert_int_equal(watchers[0].seq, HUB_ENTRIES);
    for (int i = 0; i < 10; i++)
        loop_turn(&worker.loop, false);
    assert_int_equal(watchers[0].seq, HUB_ENTRIES);
    assert_int_equal(pending_n, 0);
    settle();
    assert_int_equal(watchers[0].seq, 100);
    assert_int_equal(watchers[0].lives, 1);
}

static void what_comes_after_a_slow_bunch_to_many_is_put_together(void **state)
{
    (void)state;
    static struct watcher crowd[HUB_WIDE];
    memset(crowd, 0, sizeof crowd);
    clock_fake(1000);
    for (size_t i = 0; i < HUB_WIDE; i++)
        follow(&crowd[i], 0);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    crowd[0].slow = true;
    struct hub_channel *c = crowd[0].follower.view->channel;
    hint(append(1));
    loop_turn(&worker.loop, false);
    loop_turn(&worker.loop, false);
    assert_false(timer_running(&c->rest)); /* one event is no bunch */
    hint(append(2));
    loop_turn(&worker.loop, false);
    loop_turn(&worker.loop, false);
    assert_true(timer_running(&c->rest));
    timer_start(&c->rest, &worker.loop, 60000, rested, c);
    for (int i = 0; i < 3; i++) {
        hint(append(2));
        loop_turn(&worker.loop, false);
    }
    assert_int_equal(crowd[0].seq, 3);
    timer_stop(&c->rest);
    rested(c);
    loop_turn(&worker.loop, false);
    assert_int_equal(crowd[0].seq, 9);
    assert_int_equal(crowd[0].batches, 3);
    for (size_t i = 0; i < HUB_WIDE; i++)
        hub_unfollow(&crowd[i].follower);
    clock_fake(-1);
}

static void a_trimmed_stream_makes_the_follower_start_over(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        append(1);
    model.n -= 5;
    memmove(model.entries, model.entries + 5, 5 * sizeof(model.entries[0]));
    follow(&watchers[0], 2);
    loop_turn(&worker.loop, false);
    fake_do(pending[0]);
    fake_answer(0);
    loop_turn(&worker.loop, false);
    assert_true(watchers[0].resets);
    model.n = 0; /* gone altogether, but the sequence is known */
    follow(&watchers[0], 9);
    loop_turn(&worker.loop, false);
    fake_do(pending[0]);
    fake_answer(0);
    loop_turn(&worker.loop, false);
    assert_true(watchers[0].resets);
}

/* Hints and answers come on links of their own: an answer may be older than what was heard meanwhile. */
static void an_answer_that_hints_have_overtaken_resets_nobody(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        append(1);
    follow(&watchers[0], 10);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    follow(&watchers[1], 2);
    loop_turn(&worker.loop, false);
    assert_int_equal(pending_n, 1);
    fake_do(pending[0]); /* as of 10 */
    hint(append(2));
    loop_turn(&worker.loop, false);
    assert_int_equal(watchers[0].seq, 12);
    fake_answer(0);
    loop_turn(&worker.loop, false);
    assert_false(watchers[0].resets);
    settle();
    assert_false(watchers[1].resets);
    assert_int_equal(watchers[1].seq, 12);
    assert_int_equal(watchers[0].seq, 12);
}

static void a_slice_of_a_sequence_that_went_back_resets_who_is_beyond(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        append(1);
    follow(&watchers[0], 10);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    follow(&watchers[1], 2);
    loop_turn(&worker.loop, false);
    assert_int_equal(pending_n, 1);
    model.n = 5;
    model.seq = 5;
    fake_do(pending[0]);
    fake_answer(0);
    loop_turn(&worker.loop, false);
    assert_true(watchers[0].resets);
    assert_false(watchers[1].resets);
}

static void a_new_epoch_makes_every_follower_start_over(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        follow(&watchers[i], 0);
    hint(append(3));
    settle();
    model.epoch = 2;
    on_tick(hub);
    fake_do(pending[0]);
    fake_answer(0);
    loop_turn(&worker.loop, false);
    for (size_t i = 0; i < 3; i++)
        assert_true(watchers[i].resets);
}

/* An old master that goes on publishing, or hints that were read late. */
static void behind_a_new_epoch_nothing_is_heard_on_the_old_link(void **state)
{
    (void)state;
    follow(&watchers[0], 0);
    loop_turn(&worker.loop, false);
    confirm();
    hint(append(3));
    settle();
    struct entry stale = *append(1);
    model.epoch = 2;
    follow(&watchers[1], 3); /* whoever comes with the new epoch tells of it */
    hint(&stale);
    loop_turn(&worker.loop, false);
    assert_true(watchers[0].resets);
    assert_int_equal(watchers[1].seq, 3);
}

static void a_note_reaches_all_followers(void **state)
{
    (void)state;
    follow(&watchers[0], 0);
    follow(&watchers[1], 0);
    loop_turn(&worker.loop, false);
    confirm();
    hub_note(&watchers[0].follower, S("hello"));
    assert_true(watchers[0].notes && watchers[1].notes);
}

static void one_without_room_goes_behind_and_comes_back(void **state)
{
    (void)state;
    follow(&watchers[0], 0);
    follow(&watchers[1], 0);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    watchers[1].full = true;
    for (int i = 0; i < 5; i++) {
        hint(append(1));
        loop_turn(&worker.loop, false);
    }
    assert_int_equal(watchers[0].seq, 5);
    assert_int_equal(watchers[1].seq, 0);
    watchers[1].full = false;
    loop_turn(&worker.loop, false);
    assert_int_equal(watchers[1].seq, 0); /* not unasked */
    hub_next(&watchers[1].follower);
    loop_turn(&worker.loop, false);
    assert_int_equal(watchers[1].seq, 5);
    hub_next(&watchers[1].follower);
    loop_turn(&worker.loop, false);
    for (int i = 0; i < 2; i++) {
        hint(append(1));
        loop_turn(&worker.loop, false);
    }
    assert_int_equal(watchers[1].seq, 7);
    assert_int_equal(watchers[1].lives, 1);
}

static void a_follower_may_leave_in_its_own_batch(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        follow(&watchers[i], 0);
    loop_turn(&worker.loop, false);
    confirm();
    settle();
    watchers[1].once = watchers[2].once = true;
    hint(append(1));
    loop_turn(&worker.loop, false);
    hint(append(1));
    loop_turn(&worker.loop, false);
    assert_int_equal(watchers[0].seq, 2);
    assert_int_equal(watchers[1].seq, 1);
    assert_int_equal(watchers[3].seq, 2);
}

/* --- chance --- */

static uint64_t seed;

static uint32_t chance(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static void restore(void)
{
    size_t keep = model.n == 0 ? 0 : chance((uint32_t)model.n);
    model.n = keep;
    model.seq = keep == 0 ? 0 : model.entries[keep - 1].last;
    model.epoch++;
    for (size_t i = 0; i < keep; i++) { /* the same numbers, other events */
        struct entry *e = &model.entries[i];
        size_t n = 0;
        for (int64_t seq = e->first; seq <= e->last; seq++)
            n += (size_t)snprintf(e->text + n, sizeof(e->text) - n,
                                  "%s{\"seq\":%" PRId64 ",\"timestamp\":\"t\",\"e\":%" PRId64 "}",
                                  seq > e->first ? "\n" : "", seq, model.epoch);
    }
    /* What was on its way belongs to the connection that is gone. */
    model.subscribed = false;
    model.broken = true;
    while (pending_n > 0)
        fake_answer(0);
    model.broken = false;
    model.events->on_down(model.arg, REDIS_LOST, "");
}

static void act(void)
{
    struct watcher *w = &watchers[chance(FOLLOWERS)];
    size_t i = pending_n > 0 ? chance((uint32_t)pending_n) : 0;
    switch (chance(15)) {
    case 0:
    case 1:
    case 2:
        if (model.n < ENTRIES) {
            const struct entry *e = append(1 + chance(3));
            if (chance(4) > 0)
                hint(e);
        }
        break;
    case 3: /* a hint that comes twice, or late */
        if (model.n > 0)
            hint(&model.entries[model.n - 1 - chance(model.n < 4 ? (uint32_t)model.n : 4)]);
        break;
    case 4:
    case 5:
        if (pending_n > 0 && !pending[i]->done)
            fake_do(pending[i]);
        break;
    case 6:
    case 7:
        if (pending_n > 0 && pending[i]->done)
            fake_answer(i);
        break;
    case 8:
        if (w->follower.view == NULL && !w->resets)
            follow(w, chance((uint32_t)model.seq + 1));
        break;
    case 9:
        hub_next(&w->follower);
        break;
    case 10:
        if (chance(4) == 0) {
            hub_unfollow(&w->follower);
            w->resets = false;
        }
        break;
    case 11:
        if (model.key[0] != '\0' && !model.subscribed)
            confirm();
        break;
    case 12:
        if (pending_n < PENDING / 2)
            on_tick(hub);
        break;
    case 14:
        w->full = chance(3) == 0;
        break;
    case 13:
        if (w->resets)
            follow(w, model.seq);
        else if (w->follower.view != NULL)
            assert_true(hub_refilter(&w->follower, chance(2) ? S("||") : S("||debug")) || fault_fired());
        break;
    }
}

static void every_follower_sees_everything_whatever_happens(void **state)
{
    for (uint64_t run = 1; run <= 400; run++) {
        seed = run;
        if (run > 1)
            assert_int_equal(setup(state), 0);
        for (unsigned step = 0; step < 1500; step++) {
            if (run % 3 == 0)
                fault_arm(chance(8) == 0 ? 1 + chance(3) : 0, false);
            act();
            if (chance(3) == 0)
                loop_turn(&worker.loop, false);
            if (run % 4 == 0 && chance(300) == 0)
                restore();
        }
        fault_arm(0, false);
        settle();
        for (size_t i = 0; i < FOLLOWERS; i++) {
            struct watcher *w = &watchers[i];
            if (w->follower.view == NULL)
                continue;
            if (w->seq != model.seq || w->epoch != model.epoch || !w->follower.live)
                print_message("seed %d follower %zu: at %d of %d\n", (int)run, i, (int)w->seq, (int)model.seq);
            assert_int_equal(w->seq, model.seq);
            assert_int_equal(w->epoch, model.epoch);
            assert_int_equal(w->lives, 1);
        }
        if (run < 400)
            assert_int_equal(teardown(state), 0);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_hint_that_continues_needs_no_read),
        T(without_any_hint_the_tick_finds_everything),
        T(a_hint_behind_a_hole_is_healed_at_once),
        T(followers_from_one_place_share_a_read),
        T(one_batch_serves_all_followers_of_a_view),
        T(a_follower_at_its_own_pace_is_handed_nothing_unasked),
        T(what_comes_after_a_slow_bunch_to_many_is_put_together),
        T(a_trimmed_stream_makes_the_follower_start_over),
        T(an_answer_that_hints_have_overtaken_resets_nobody),
        T(a_slice_of_a_sequence_that_went_back_resets_who_is_beyond),
        T(a_new_epoch_makes_every_follower_start_over),
        T(behind_a_new_epoch_nothing_is_heard_on_the_old_link),
        T(a_note_reaches_all_followers),
        T(one_without_room_goes_behind_and_comes_back),
        T(a_follower_may_leave_in_its_own_batch),
        T(every_follower_sees_everything_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "server/dashboard/board.h"

#include <stdlib.h>
#include <string.h>

#include "lib/id.h"
#include "lib/list.h"
#include "lib/stream.h"
#include "lib/timer.h"
#include "server/dashboard/figures.h"
#include "server/event.h"
#include "server/worker.h"

enum { READING_MEMORY = 32 * 1024 * 1024 };

struct board {
    struct board *next;
    struct worker *worker;
    char tenant[ID_UUID];
    unsigned partition;
    struct list viewers;
    struct list openers; /* wait for the next reading */
    struct list asking;  /* wait for the one under way */
    struct arena arenas[3];
    unsigned told_in, seen_in, next_in; /* which arenas: of what was told, of what was read last, of the next reading */
    struct figures told, seen;
    struct ops ops;
    struct timer timer;
    int64_t started_ms, told_ms; /* the last reading and the last telling, on the loop's clock */
    bool known, reading, moved, owing, busy;
    bool late; /* seen, but not told: the last message is not a second old */
};

struct viewer { /* a feed's data */
    struct list link;
    struct board *board;
    struct feed *feed;
    bool owed; /* it had no room: everything is to be told */
};

struct opener {
    struct op op;
    struct list link;
    struct feed *feed;
};

/* --- telling --- */

static struct shared *encode(enum encoding encoding, struct str text)
{
    struct buf b = {0};
    event_encode_control(&b, encoding, NULL, text);
    struct shared *bytes = b.failed ? NULL : shared_copy(buf_view(&b));
    buf_free(&b);
    return bytes;
}

struct news { /* one message, both ways; ws == NULL: nothing to tell */
    struct shared *ws, *sse;
    bool failed;
};

static void news_make(struct news *n, struct board *b, const struct figures *now, const struct figures *before,
                      struct str scope)
{
    struct buf text = {0};
    struct json_out o;
    *n = (struct news){NULL, NULL, false};
    json_out_init(&o, &text);
    json_open(&o, '{');
    json_key(&o, S("type"));
    json_put_z(&o, "metrics_updated");
    json_key(&o, S("timestamp"));
    json_put_time(&o, store_now_ms(b->worker->store));
    bool some = figures_write(&o, now, before, scope);
    json_close(&o, '}');
    if (some && !text.failed) {
        n->ws = encode(ENCODE_WS, buf_view(&text));
        n->sse = encode(ENCODE_SSE, buf_view(&text));
    }
    n->failed = text.failed || (some && (n->ws == NULL || n->sse == NULL));
    buf_free(&text);
}

static void news_drop(struct news *n)
{
    shared_drop(n->ws);
    shared_drop(n->sse);
}

static void tell(struct board *b, struct viewer *v, const struct news *n)
{
    if (n->failed)
        v->owed = true;
    else if (n->ws != NULL)
        v->owed = !feed_send_shared(v->feed, "metrics_updated", n->ws, n->sse);
    b->owing = b->owing || v->owed;
}

static void publish(struct board *b, const struct figures *now, const struct figures *before)
{
    struct news common;
    b->owing = false;
    news_make(&common, b, now, before, STR_NONE);
    list_for (link, &b->viewers) {
        struct viewer *v = list_entry(link, struct viewer, link);
        struct str scope = feed_scope(v->feed);
        struct news own;
        if (scope.p == NULL && !v->owed) {
            tell(b, v, &common);
            continue;
        }
        news_make(&own, b, now, v->owed ? NULL : before, scope);
        tell(b, v, &own);
        news_drop(&own);
    }
    news_drop(&common);
}

/* --- reading --- */

static void board_plan(struct board *b);

static void answer(struct list *openers, enum code code)
{
    while (!list_empty(openers)) {
        struct opener *o = list_entry(openers->next, struct opener, link);
        struct feed *f = o->feed;
        list_remove(&o->link);
        bool there = op_finish(&o->op);
        free(o);
        if (there)
            feed_gathered(f, code);
    }
}

static void take(struct board *b, const struct figures *f)
{
    int64_t now = loop_now_ms(&b->worker->loop);
    b->seen = *f;
    b->seen_in = b->next_in;
    b->late = b->known && !list_empty(&b->viewers) && now - b->told_ms < BOARD_GAP_MS;
    if (!b->late) {
        if (b->known)
            publish(b, &b->seen, &b->told);
        b->told = b->seen;
        b->told_in = b->seen_in;
        b->told_ms = now;
    }
    b->known = true;
    b->next_in = 0;
    while (b->next_in == b->told_in || b->next_in == b->seen_in)
        b->next_in++;
}

static void got_figures(void *arg, enum code code, const struct figures *f)
{
    struct board *b = arg;
    b->reading = false;
    b->busy = true;
    if (code == OK)
        take(b, f);
    else
        b->moved = true;
    answer(&b->asking, code);
    b->busy = false;
    board_plan(b);
}

static void hand_over(struct list *from, struct list *to)
{
    while (!list_empty(from)) {
        struct list *link = from->next;
        list_remove(link);
        list_append(to, link);
    }
}

static enum code board_read(struct board *b)
{
    struct arena *a = &b->arenas[b->next_in];
    timer_stop(&b->timer);
    arena_reset(a);
    b->started_ms = loop_now_ms(&b->worker->loop);
    b->moved = false;
    enum code code =
        figures_read(b->worker, a, (struct space){b->partition, str_z(b->tenant)}, &b->ops, got_figures, b);
    b->reading = code == OK;
    b->moved = code != OK;
    if (b->reading)
        hand_over(&b->openers, &b->asking);
    return code;
}

static void board_free(struct board *b)
{
    struct board **at = &b->worker->boards;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    timer_stop(&b->timer);
    for (size_t i = 0; i < ARRAY_LEN(b->arenas); i++)
        arena_fini(&b->arenas[i]);
    free(b);
}

static void on_timer(void *arg)
{
    struct board *b = arg;
    board_read(b);
    board_plan(b);
}

/* Decides when the next reading is. The board may be gone afterwards. */
static void board_plan(struct board *b)
{
    if (b->reading || b->busy)
        return;
    if (!list_empty(&b->openers)) {
        enum code code = board_read(b);
        if (code != OK) {
            b->busy = true;
            answer(&b->openers, code);
            b->busy = false;
        }
        if (b->reading)
            return;
    }
    if (list_empty(&b->viewers)) {
        board_free(b);
        return;
    }
    bool soon = b->moved || b->owing || b->late;
    int64_t due = b->started_ms + (soon ? BOARD_GAP_MS : BOARD_LOOK_MS);
    if (soon && due < b->told_ms + BOARD_GAP_MS)
        due = b->told_ms + BOARD_GAP_MS;
    timer_start(&b->timer, &b->worker->loop, due - loop_now_ms(&b->worker->loop), on_timer, b);
}

static struct board *board_find(struct worker *w, struct str tenant)
{
    struct board *b = w->boards;
    while (b != NULL && !str_eqz(tenant, b->tenant))
        b = b->next;
    return b;
}

static struct board *board_new(struct worker *w, const struct caller *caller)
{
    struct board *b = caller->tenant.n >= ID_UUID ? NULL : calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->worker = w;
    b->partition = caller->partition;
    memcpy(b->tenant, caller->tenant.p, caller->tenant.n);
    list_init(&b->viewers);
    list_init(&b->openers);
    list_init(&b->asking);
    ops_init(&b->ops);
    for (size_t i = 0; i < ARRAY_LEN(b->arenas); i++)
        arena_init(&b->arenas[i], READING_MEMORY);
    b->started_ms = loop_now_ms(&w->loop);
    b->next = w->boards;
    w->boards = b;
    return b;
}

/* --- the feed's hooks --- */

enum code board_gather(struct feed *f)
{
    struct worker *w = feed_worker(f);
    struct board *b = board_find(w, feed_caller(f)->tenant);
    struct opener *o = malloc(sizeof *o);
    if (b == NULL && o != NULL)
        b = board_new(w, feed_caller(f));
    if (b == NULL || o == NULL) {
        free(o);
        return SYS_OVERLOADED;
    }
    o->feed = f;
    list_init(&o->link);
    op_begin(&o->op, feed_ops(f));
    list_append(&b->openers, &o->link);
    enum code code = b->reading || b->busy ? OK : board_read(b);
    if (code == OK)
        return OK;
    list_remove(&o->link);
    op_finish(&o->op);
    free(o);
    board_plan(b);
    return code;
}

bool board_snapshot(const struct feed_state *state, struct json_out *o)
{
    const struct board *b = board_find(feed_worker(state->feed), feed_caller(state->feed)->tenant);
    if (b == NULL || !b->known)
        return false;
    json_open(o, '{');
    figures_write(o, &b->seen, NULL, feed_scope(state->feed));
    json_close(o, '}');
    return true;
}

void board_greet(const struct feed_state *state)
{
    struct feed *f = state->feed;
    struct viewer *v = feed_data(f);
    if (v == NULL && (v = malloc(sizeof *v)) != NULL) {
        v->board = board_find(feed_worker(f), feed_caller(f)->tenant);
        v->feed = f;
        list_append(&v->board->viewers, &v->link);
        feed_set_data(f, v);
    }
    if (v == NULL) {
        feed_close(f, FEED_LATER, "out of memory");
        return;
    }
    v->owed = v->board->late; /* what it was shown is not what the others were told last */
    v->board->owing = v->board->owing || v->owed;
}

void board_moved(struct feed *f)
{
    struct viewer *v = feed_data(f);
    if (v == NULL || v->board->moved)
        return;
    v->board->moved = true;
    board_plan(v->board);
}

void board_leave(struct feed *f)
{
    struct viewer *v = feed_data(f);
    if (v == NULL)
        return;
    struct board *b = v->board;
    list_remove(&v->link);
    free(v);
    feed_set_data(f, NULL);
    board_plan(b);
}

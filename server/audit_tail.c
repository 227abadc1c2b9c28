#include "server/audit_tail.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/timer.h"
#include "server/audit_chain.h"
#include "server/conn.h"
#include "server/session.h"
#include "server/settings.h"
#include "server/store/store.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

enum { SLICE = 50, LOOK_MS = 1000, SHOW_LIFE_MS = 15000, SCRATCH = 32 << 20 };

struct tail {
    struct conn *conn;
    struct worker *worker;
    struct session session;
    struct caller caller; /* what the session needs of it; its texts are in `kept` */
    struct timer timer;
    struct ops ops;
    struct arena kept, scratch;
    struct space space;
    char tenant[ID_UUID];
    int64_t next;       /* the first sequence that was not sent */
    int64_t said_ms;    /* when something was sent last */
    int64_t expires_ms; /* of the caller's token; 0: never */
    bool follow, reading, full, ending;
};

// clang-format off
const struct field audit_tail_query[] = {
    {"afterSequence", FIELD_INT, .min = 0, .max = INT64_MAX, .doc = "Only entries behind this one; 0, the default: from the first on."},
    {"follow",        FIELD_BOOL, .doc = "Go on with what comes; false, the default: end behind the last sealed entry."},
    {0}};
// clang-format on

static void look(void *arg);

static void end(struct tail *t)
{
    if (t->ending)
        return;
    t->ending = true;
    timer_stop(&t->timer);
    conn_end(t->conn);
}

/* An orderly end would look like all of it. */
static void give_up(struct tail *t)
{
    t->ending = true;
    timer_stop(&t->timer);
    conn_abort(t->conn);
}

/* --- lines --- */

/* One entry, with the hashes that are kept for it; `hashes` begin with that of sequence `from`. False: it is not sealed yet,
 * or does not fit any more, and is read again. */
static bool say(struct tail *t, const struct audit_link *link, struct str hashes, int64_t from)
{
    static const uint8_t none[CRYPTO_HASH];
    const uint8_t *own = (const uint8_t *)hashes.p + (link->sequence - from) * CRYPTO_HASH;
    bool broken;
    struct buf line;
    if ((link->sequence - from + 1) * CRYPTO_HASH > (int64_t)hashes.n || memcmp(own, none, CRYPTO_HASH) == 0)
        return false;
    struct json *event = audit_event(&t->scratch, link, link->sequence == 1 ? none : own - CRYPTO_HASH, &broken);
    if (event == NULL && broken)
        return true; /* verify tells */
    buf_init_arena(&line, &t->scratch, 1024);
    if (json_set(&t->scratch, event, S("eventHash"), json_new_str(&t->scratch, audit_hex(&t->scratch, own))))
        json_write(&line, event);
    buf_char(&line, '\n');
    if (line.failed || line.n < 3) { /* out of memory */
        give_up(t);
        return false;
    }
    t->full = !conn_write(t->conn, buf_view(&line));
    if (t->full)
        return false;
    t->next = link->sequence + 1;
    t->said_ms = loop_now_ms(&t->worker->loop);
    return true;
}

static size_t say_slice(struct tail *t, const struct redis_value *entries, struct str hashes)
{
    struct audit_link link;
    int64_t from = t->next > 1 ? t->next - 1 : 1;
    size_t n = 0;
    while (n < entries->count && audit_link_read(redis_at(entries, n), &link) && say(t, &link, hashes, from))
        n++;
    return n;
}

/* Older entries than are kept: the trail begins later. */
static bool skip_to_first(struct tail *t, const struct redis_value *entries)
{
    struct audit_link first;
    if (!audit_link_read(redis_at(entries, 0), &first) || first.sequence <= t->next)
        return false;
    t->next = first.sequence;
    return true;
}

static void wait_for_more(struct tail *t)
{
    int64_t now_ms = loop_now_ms(&t->worker->loop);
    if (!t->follow || (t->expires_ms > 0 && clock_wall_ms() >= t->expires_ms)) {
        end(t);
        return;
    }
    if (now_ms - t->said_ms >= SHOW_LIFE_MS && conn_write(t->conn, S("\n")))
        t->said_ms = now_ms;
    timer_start(&t->timer, &t->worker->loop, LOOK_MS, look, t);
}

static void make_room(struct tail *t)
{
    conn_flush(t->conn);
    t->full = conn_queued(t->conn) > 0;
    if (!t->full)
        timer_start(&t->timer, &t->worker->loop, 0, look, t);
}

static void got_slice(void *arg, enum code c, const struct redis_value *v)
{
    struct tail *t = arg;
    const struct redis_value *entries = redis_at(v, 0);
    t->reading = false;
    if (t->ending)
        return;
    if (c != OK && !t->follow) {
        give_up(t);
    } else if (c != OK) {
        wait_for_more(t);
    } else if (skip_to_first(t, entries)) {
        look(t);
    } else {
        size_t said = say_slice(t, entries, redis_text(redis_at(v, 1)));
        if (t->ending)
            return;
        if (said == SLICE)
            look(t);
        else if (t->full) /* on_drain goes on, unless the kernel takes it all at once */
            make_room(t);
        else
            wait_for_more(t);
    }
}

static struct str number(struct tail *t, int64_t n)
{
    return arena_int(&t->scratch, n);
}

static void look(void *arg)
{
    struct tail *t = arg;
    struct arena *a = &t->scratch;
    int64_t from = t->next > 1 ? t->next - 1 : 1;
    arena_reset(a);
    const struct store_command commands[] = {
        STORE_COMMAND(S("XRANGE"), key_audit(a, t->space), number(t, t->next), S("+"), S("COUNT"), number(t, SLICE)),
        STORE_COMMAND(S("GETRANGE"), key_audit_sealed(a, t->space), number(t, (from - 1) * CRYPTO_HASH),
                      number(t, (t->next + SLICE) * CRYPTO_HASH - 1)),
    };
    t->full = false;
    t->reading = true;
    enum code c = store_read(t->worker->store, commands, ARRAY_LEN(commands), &t->ops, got_slice, t);
    if (c != OK)
        got_slice(t, c, NULL);
}

/* --- the connection --- */

static void on_read(void *state, struct str bytes)
{
    (void)state; /* nothing is expected, and nothing is made of it */
    (void)bytes;
}

static void on_drain(void *state)
{
    struct tail *t = state;
    if (t->full && !t->reading && !t->ending)
        look(t);
}

static void on_stop(void *state)
{
    end(state);
}

static void on_close(void *state)
{
    struct tail *t = state;
    timer_stop(&t->timer);
    session_unwatch(&t->session);
    ops_detach(&t->ops);
    arena_fini(&t->scratch);
    arena_fini(&t->kept);
    t->worker->tails--;
    free(t);
}

static void on_revoked(void *arg)
{
    end(arg);
}

static bool keep(struct arena *a, struct str *text)
{
    *text = text->n == 0 ? STR_NONE : arena_str(a, *text);
    return text->n == 0 || text->p != NULL;
}

static bool keep_caller(struct tail *t, const struct caller *c)
{
    t->caller = *c;
    t->caller.tenant = str_z(t->tenant);
    t->caller.id = t->caller.name = t->caller.networks = STR_NONE;
    return keep(&t->kept, &t->caller.narrowed) && keep(&t->kept, &t->caller.granted);
}

enum flow audit_tail(struct request *r)
{
    static const struct conn_protocol protocol = {on_read, on_drain, on_stop, on_close};
    struct worker *w = r->worker;
    if (r->method == HEAD)
        return reply_raw(r, 200, "application/x-ndjson", STR_NONE);
    struct tail *t = w->tails < AUDIT_TAILS_MAX ? calloc(1, sizeof *t) : NULL;
    if (t == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *t = (struct tail){.conn = r->conn,
                       .worker = w,
                       .follow = json_bool(json_get(r->parameters, "follow"), false),
                       .next = json_int(json_get(r->parameters, "afterSequence"), 0) + 1,
                       .said_ms = loop_now_ms(&w->loop),
                       .expires_ms = r->caller.expires_ms};
    memcpy(t->tenant, r->caller.tenant.p, r->caller.tenant.n);
    t->space = (struct space){r->caller.partition, str_z(t->tenant)};
    ops_init(&t->ops);
    arena_init(&t->scratch, SCRATCH);
    arena_init(&t->kept, 0);
    if (!keep_caller(t, &r->caller)) {
        arena_fini(&t->kept);
        free(t);
        return reply_error(r, SYS_OVERLOADED);
    }
    w->tails++;
    session_watch(w->sessions, &t->session, &t->caller, on_revoked, t);
    conn_upgrade(r->conn, 200, reply_upgraded(r, 200, S("Content-Type: application/x-ndjson\r\n")), &protocol, t);
    timer_start(&t->timer, &w->loop, 0, look, t);
    return DONE;
}

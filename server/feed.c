#include "server/feed.h"
#include "server/feed_private.h"

#include <stdio.h>

#include "lib/id.h"
#include "lib/stream.h"
#include "proto/http.h"
#include "proto/sse.h"
#include "server/store/store.h"

static struct feed *feed_of(struct follower *f)
{
    return list_entry(f, struct feed, follower);
}

const struct caller *feed_caller(const struct feed *f)
{
    return f->caller;
}
struct worker *feed_worker(const struct feed *f)
{
    return conn_worker(f->conn);
}
struct ops *feed_ops(struct feed *f)
{
    return &f->ops;
}
void *feed_data(const struct feed *f)
{
    return f->data;
}
void feed_set_data(struct feed *f, void *data)
{
    f->data = data;
}
struct str feed_scope(const struct feed *f)
{
    return f->opening == NULL || f->opening->scope == NULL ? STR_NONE : str_z(f->opening->scope);
}
void feed_pause(struct feed *f)
{
    conn_pause(f->conn);
}
void feed_resume(struct feed *f)
{
    conn_resume(f->conn);
}

static struct str channel_name(const struct feed *f, char out[64])
{
    if (f->spec->kind == NULL)
        return str_z(f->spec->channel);
    char id[ID_UUID];
    id_uuid_text(f->id, id);
    snprintf(out, 64, "%s:%s", f->spec->channel, id);
    return str_z(out);
}

/* What an attacker can have a secret compressed with shows the secret by its length, even through TLS: a channel that
 * has such is never. */
static bool may_pack(const struct feed *f)
{
    return feed_worker(f)->settings->stream_compress && f->spec->open == NULL;
}

/* --- the upgrade, and what follows from the present state --- */

void feed_upgrade(struct feed *f)
{
    struct request *r = f->opening->request;
    struct buf fields;
    buf_init_arena(&fields, &r->arena, 256);
    if (f->sse) {
        http_write_field(&fields, S("Content-Type"), S("text/event-stream"));
        http_write_field(&fields, S("X-Accel-Buffering"), S("no"));
        reply_header(r, "Cache-Control", S("no-store, no-transform"));
    } else {
        ws_write_accept(&fields, r->head);
        f->packed = may_pack(f) && ws_accept_deflate(&fields, r->head);
        if (http_has_token(r->head, S("sec-websocket-protocol"), S(FEED_SUBPROTOCOL)))
            http_write_field(&fields, S("Sec-WebSocket-Protocol"), S(FEED_SUBPROTOCOL));
    }
    int status = f->sse ? 200 : 101;
    f->stage = FEED_LOGIN;
    conn_upgrade(r->conn, status, reply_upgraded(r, status, buf_view(&fields)), &feed_protocol, f);
    feed_due_in(f, feed_worker(f)->settings->stream_auth_timeout);
    feed_schedule(f);
}

static void end_revoked(struct feed *f)
{
    if (f->caller->type == CALLER_AGENT)
        feed_close_with(f, FEED_FORBIDDEN, AGT_REVOKED, "the agent was revoked");
    else
        feed_close_with(f, FEED_UNAUTHENTICATED, AUTH_TOKEN_REVOKED, "the credential was revoked");
}

/* One that is not answered yet watches anew when it enters, and is told then. */
static void revoked(void *arg)
{
    struct feed_caller *c = arg;
    list_for (it, &c->all->all) {
        struct feed *f = list_entry(it, struct feed, link);
        if (f->caller == &c->caller && f->stage != FEED_OPENING)
            end_revoked(f);
    }
}

void feed_watch(struct feed *f)
{
    struct feed_caller *c = feed_caller_of(f);
    if (!session_watched(&c->session))
        session_watch(feed_worker(f)->sessions, &c->session, &c->caller, revoked, c);
}

static void say_ready(struct say *s, const struct feed_state *state)
{
    struct feed *f = state->feed;
    char channel[64];
    say_open(s, "ready");
    json_key(&s->json, S("streamId"));
    json_put_str(&s->json, channel_name(f, channel));
    json_key(&s->json, S("epoch"));
    json_put_int(&s->json, state->epoch);
    json_key(&s->json, S("currentSeq"));
    json_put_int(&s->json, state->seq);
    json_key(&s->json, S("heartbeatInterval"));
    json_put_real(&s->json, (double)feed_interval(f) / 1000);
    say_close(s);
}

/* What was between the last event sent, or the one the client named, and the present state is not to be had. */
static void say_gap(struct say *s, const struct feed_state *state, int64_t behind, const char *reason)
{
    say_open(s, "gap");
    json_key(&s->json, S("fromSeq"));
    json_put_int(&s->json, behind == INT64_MAX ? 0 : behind + 1);
    json_key(&s->json, S("toSeq"));
    json_put_int(&s->json, state->seq);
    json_key(&s->json, S("reason"));
    json_put_z(&s->json, reason);
    say_close(s);
}

static void say_snapshot(struct say *s, const struct feed_state *state)
{
    const struct feed_spec *spec = state->feed->spec;
    if (spec->snapshot == NULL)
        return;
    say_open(s, "snapshot");
    json_key(&s->json, S("seq"));
    json_put_int(&s->json, state->seq);
    json_key(&s->json, S("data"));
    if (!spec->snapshot(state, &s->json))
        s->text.failed = true;
    say_close(s);
}

static bool follow(struct feed *f)
{
    char channel[64];
    struct hub_source source = {f->caller->tenant,        f->caller->partition, f->opening->epoch,
                                channel_name(f, channel), f->spec->last,        f->spec->open};
    return hub_follow(feed_worker(f)->hub, &source, feed_filter(f), feed_encoding(f), f->opening->seq, &f->follower);
}

static void note_arrival(struct feed *f)
{
    char stamp[32];
    snprintf(stamp, sizeof(stamp), "%020llu", (unsigned long long)f->opening->stamp);
    hub_note(&f->follower, str_z(stamp));
}

void feed_greet_more(struct feed *f)
{
    if (f->stage == FEED_GREETING)
        feed_want(f);
}

void feed_greeted(struct feed *f, enum code code)
{
    if (f->stage != FEED_GREETING)
        return;
    f->stage = FEED_BEHIND;
    if (code == OK && !follow(f))
        code = SYS_OVERLOADED;
    if (code != OK) {
        feed_close_with(f, FEED_LATER, code, code_text(code));
        return;
    }
    if (f->spec->one && !f->opening->again)
        note_arrival(f);
    feed_opened(f);
}

void feed_go_on(struct feed *f)
{
    if (f->stage == FEED_GREETING)
        f->spec->greet_on(f);
    else
        hub_next(&f->follower);
}

/* Tells the client where it stands and follows from there. */
static void begin(struct feed *f, const struct feed_state *state)
{
    struct feed_opening *o = f->opening;
    bool foreign = o->since_epoch != 0 && o->since_epoch != state->epoch;
    bool gap = o->again || (o->since >= 0 && (foreign || o->since > state->seq));
    bool whole = gap || o->since <= 0 || f->spec->whole;
    int64_t from = gap || o->since < 0 ? state->seq : o->since;
    struct say s;
    say_begin(&s, f);
    if (f->sse && !o->again)
        sse_write_retry(&s.out, FEED_RETRY_MS);
    if (!o->again)
        say_ready(&s, state);
    if (gap)
        say_gap(&s, state, o->since, foreign ? "epoch" : o->again ? "reset" : "ahead");
    if (whole)
        say_snapshot(&s, state);
    f->stage = FEED_GREETING;
    o->seq = from;
    o->epoch = state->epoch;
    f->over = f->spec->over != NULL && f->spec->over(state);
    say_send(&s);
    if (f->stage == FEED_GREETING && whole && f->spec->greet != NULL)
        f->spec->greet(state);
    if (whole && f->spec->greet_on != NULL)
        feed_greet_more(f);
    else
        feed_greeted(f, OK);
}

/* The first time: the request is answered by the upgrade. */
static void enter(struct feed *f, const struct feed_state *state)
{
    if (f->stage == FEED_OPENING)
        feed_upgrade(f);
    feed_watch(f);
    int64_t interval = feed_interval(f);
    feed_due_in(f, interval / 2 + random_below((uint32_t)interval / 2 + 1)); /* not all at once */
    f->stage = FEED_READING;
    feed_schedule(f);
    begin(f, state);
}

static void refuse(struct feed *f, enum code code)
{
    if (f->stage == FEED_OPENING)
        reply_error(f->opening->request, code);
    else if (code == RES_NOT_FOUND)
        feed_close(f, FEED_UNKNOWN, "no such resource for this tenant");
    else if (code == PERM_DENIED)
        feed_close(f, FEED_FORBIDDEN, "the caller may not follow this");
    else
        feed_close_with(f, FEED_LATER, code, code_text(code));
}

/* Of a feed without a document. */
static enum code gather(struct feed *f, const struct redis_value *v)
{
    f->opening->seq = redis_int(redis_at(v, 0), 0);
    f->opening->epoch = redis_int(redis_at(v, 1), 0);
    return f->spec->gather(f);
}

void feed_gathered(struct feed *f, enum code code)
{
    struct feed_state state = {.feed = f, .seq = f->opening->seq, .epoch = f->opening->epoch};
    if (code != OK)
        refuse(f, code);
    else
        enter(f, &state);
}

static void place_read(void *arg, enum code code, const struct redis_value *v)
{
    struct feed *f = arg;
    if (code == OK)
        code = gather(f, v);
    if (code != OK)
        refuse(f, code);
}

static void state_read(void *arg, enum code code, const struct redis_value *v)
{
    struct feed *f = arg;
    if (code == OK && redis_at(v, 0)->count == 0)
        code = RES_NOT_FOUND;
    if (code != OK) {
        refuse(f, code);
        return;
    }
    struct feed_state state = {
        .feed = f,
        .document = redis_at(v, 0),
        .seq = redis_int(redis_at(v, 1), 0),
        .epoch = redis_int(redis_at(v, 2), 0),
        .extra = redis_at(v, 3),
    };
    enter(f, &state);
}

static enum code read_state(struct feed *f)
{
    struct arena scratch;
    char channel[64], id[ID_UUID];
    struct space space = {f->caller->partition, f->caller->tenant};
    arena_init(&scratch, 0);
    id_uuid_text(f->id, id);
    struct str key = f->spec->kind == NULL ? STR_NONE : key_document(&scratch, space, f->spec->kind, str_z(id));
    struct str document[] = {S("HGETALL"), key};
    struct str seq[] = {S("GET"), key_channel_seq(&scratch, space, channel_name(f, channel))};
    struct str epoch[] = {S("HGET"), key_meta(&scratch, f->caller->partition), S("epoch")};
    struct str extra[] = {S("HKEYS"), f->spec->extra == NULL ? STR_NONE : f->spec->extra(f, &scratch)};
    struct store_command commands[] = {{2, document}, {2, seq}, {3, epoch}, {2, extra}};
    struct store *store = feed_worker(f)->store;
    enum code code = f->spec->kind == NULL
                         ? store_read(store, commands + 1, 2, &f->ops, place_read, f)
                         : store_read(store, commands, f->spec->extra == NULL ? 3 : 4, &f->ops, state_read, f);
    arena_fini(&scratch);
    return code;
}

void feed_enter(struct feed *f)
{
    char id[ID_UUID];
    enum code code = PERM_DENIED;
    id_uuid_text(f->id, id);
    if (f->spec->may == NULL || f->spec->may(f->caller, str_z(id)))
        code = read_state(f);
    if (code != OK)
        refuse(f, code);
}

/* --- following --- */

static void over(struct feed *f)
{
    struct say s;
    say_begin(&s, f);
    say_open(&s, "end");
    json_key(&s.json, S("reason"));
    json_put_z(&s.json, "completed");
    say_close(&s);
    say_send(&s);
    feed_close(f, FEED_END, NULL);
}

static void say_synced(struct feed *f)
{
    struct say s;
    f->synced = true;
    say_begin(&s, f);
    say_open(&s, "synced");
    json_key(&s.json, S("seq"));
    json_put_int(&s.json, f->follower.seq);
    say_close(&s);
    say_send(&s);
}

/* A reader is too slow when what it did not take in earlier turns leaves no room. What comes at once in one turn, however
 * much it is, is no fault of the reader's: it goes behind and is served at its own pace. */
static bool take(struct feed *f, const struct hub_batch *batch)
{
    enum room room = batch->bytes == NULL ? ROOM_ENOUGH : feed_room_for(f, batch->bytes->n);
    if (room == ROOM_NONE)
        feed_close(f, FEED_SLOW, slow_reader);
    if (room != ROOM_ENOUGH)
        return false;
    if (batch->bytes == NULL)
        return true;
    feed_wrote(f, batch->bytes->n);
    return conn_write_shared(f->conn, batch->bytes);
}

static bool on_batch(struct follower *follower, const struct hub_batch *batch)
{
    struct feed *f = feed_of(follower);
    if (f->spec->on_events != NULL)
        f->spec->on_events(f);
    if (!take(f, batch)) {
        if (f->stage != FEED_CLOSING)
            feed_want(f);
        return false;
    }
    /* Behind what seemed to be the end there may be more, of a job that was taken back: only the present end is one. */
    if (batch->last >= batch->first)
        f->ended = batch->ended;
    if (f->ended && f->synced)
        over(f);
    else if (!follower->live)
        feed_want(f);
    return true;
}

static void on_live(struct follower *follower)
{
    struct feed *f = feed_of(follower);
    bool first = !f->synced;
    f->stage = FEED_LIVE;
    say_synced(f);
    if (f->stage == FEED_LIVE && (f->over || f->ended))
        over(f);
    else if (f->stage == FEED_LIVE && first && f->spec->on_open != NULL)
        f->spec->on_open(f);
}

static void on_reset(struct follower *follower)
{
    struct feed *f = feed_of(follower);
    f->stage = FEED_READING;
    if (!feed_reopen(f)) {
        refuse(f, SYS_OVERLOADED);
        return;
    }
    f->opening->again = true;
    f->opening->since = follower->seq;
    enum code code = read_state(f);
    if (code != OK)
        refuse(f, code);
}

static void on_note(struct follower *follower, struct str text)
{
    struct feed *f = feed_of(follower);
    uint64_t stamp;
    if (f->spec->one && str_u64(text, &stamp) && stamp > f->opening->stamp)
        feed_close(f, FEED_REPLACED, "a newer connection took over");
    else if (f->spec->on_events != NULL)
        f->spec->on_events(f);
}

const struct follower_type feed_follower = {on_batch, on_live, on_reset, on_note};

/* --- the connection --- */

static void on_read(void *state, struct str bytes)
{
    struct feed *f = state;
    if (!f->sse)
        feed_client_read(f, bytes);
}

static void on_drain(void *state)
{
    struct feed *f = state;
    if (f->stalled)
        feed_go_on(f);
    f->stalled = false;
}

/* Each client is told its own time to come back, so that they do not come all at once. */
static void on_stop(void *state)
{
    struct feed *f = state;
    uint32_t in = random_below((uint32_t)feed_worker(f)->settings->stream_drain_window + 1);
    struct say s;
    if (f->stage == FEED_CLOSING)
        return;
    say_begin(&s, f);
    if (f->sse)
        sse_write_retry(&s.out, in);
    say_open(&s, "drain");
    json_key(&s.json, S("reconnectInMs"));
    json_put_int(&s.json, in);
    say_close(&s);
    say_send(&s);
    feed_close(f, FEED_RESTART, NULL);
}

static void on_close(void *state)
{
    struct feed *f = state;
    if (f->spec->on_close != NULL)
        f->spec->on_close(f);
    feed_free(f);
}

const struct conn_protocol feed_protocol = {on_read, on_drain, on_stop, on_close};

#include "server/feed.h"
#include "server/feed_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/stream.h"
#include "proto/http.h"
#include "proto/sse.h"
#include "server/store/store.h"

const char *const feed_levels[] = {"debug", "info", "warn", "error", NULL};

static struct feed *feed_of(struct follower *f)
{
    return list_entry(f, struct feed, follower);
}

const struct caller *feed_caller(const struct feed *f)
{
    return &f->caller;
}
struct worker *feed_worker(const struct feed *f)
{
    return f->feeds->worker;
}
struct str feed_id(const struct feed *f)
{
    return str_z(f->id);
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
    snprintf(out, 64, "%s:%s", f->spec->channel, f->id);
    return str_z(out);
}

/* --- opening --- */

/* Read from the query, and from Last-Event-ID, which a browser sends with the old URL. */
static void read_since(struct feed *f, struct str text)
{
    struct str number = text, epoch = STR_NONE;
    if (str_index(text, ':') >= 0)
        epoch = str_cut(&number, ':');
    if (!str_i64(number, &f->since) || f->since < 0 || (epoch.p != NULL && !str_i64(epoch, &f->since_epoch)))
        f->since = INT64_MAX; /* beyond everything: a gap and a snapshot */
}

static struct str joined(struct arena *a, const struct json *list)
{
    struct buf b;
    buf_init_arena(&b, a, 64);
    for (size_t i = 0; i < json_count(list); i++) {
        if (i > 0)
            buf_char(&b, ',');
        buf_str(&b, json_str(json_at(list, i)));
    }
    return buf_view(&b);
}

bool feed_set_filter(struct feed *f, struct str types, struct str nodes, struct str level, const char **fault)
{
    struct buf text = {0};
    bool good = event_filter(types, nodes, level, &text, fault);
    if (good && text.failed)
        *fault = NULL;
    if (!good || text.failed) {
        buf_free(&text);
        return false;
    }
    free(f->filter);
    f->filter = text.p;
    f->filter_n = text.n;
    return true;
}

static enum flow refuse_parameter(struct request *r, const char *name)
{
    struct faults *faults = arena_new(&r->arena, struct faults);
    if (faults == NULL || name == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(faults, &r->arena);
    fault_add(faults, arena_printf(&r->arena, "query.%s", strcmp(name, "nodeIds") == 0 ? "nodeId" : name),
              "VAL_INVALID_FORMAT", "a list of names, separated by commas, of at most %d bytes", EVENT_FILTER_MAX);
    r->faults = faults;
    return reply_error(r, VAL_FAILED);
}

/* 400s, then the handshake, so that a client that speaks neither is told so. */
static enum flow check_request(struct request *r, const struct feed_spec *spec, bool *sse)
{
    const char *why = NULL;
    bool upgrade = http_has_token(r->head, S("upgrade"), S("websocket"));
    *sse = !upgrade && !spec->ws_only && r->method == GET &&
           str_find(http_header(r->head, S("accept")), S("text/event-stream")) >= 0;
    if (*sse)
        return NEXT;
    int status = upgrade ? ws_check_request(r->head, &why) : 426;
    if (status == 0)
        return NEXT;
    if (status == 400) {
        request_refuse(r, VAL_MALFORMED_HTTP, "the WebSocket handshake: %s", why);
        return reply_error(r, VAL_MALFORMED_HTTP);
    }
    request_refuse(r, RES_UPGRADE_REQUIRED, "%s",
                   spec->ws_only ? "this is a WebSocket, version 13"
                                 : "this is a WebSocket, version 13, or an event stream (Accept: text/event-stream)");
    return reply_error(r, RES_UPGRADE_REQUIRED);
}

/* --- the upgrade, and what follows from the present state --- */

static void upgrade(struct feed *f)
{
    struct request *r = f->request;
    struct buf fields;
    buf_init_arena(&fields, &r->arena, 256);
    if (f->sse) {
        http_write_field(&fields, S("Content-Type"), S("text/event-stream"));
        http_write_field(&fields, S("X-Accel-Buffering"), S("no"));
        reply_header(r, "Cache-Control", S("no-store, no-transform"));
    } else {
        ws_write_accept(&fields, r->head);
        if (http_has_token(r->head, S("sec-websocket-protocol"), S(FEED_SUBPROTOCOL)))
            http_write_field(&fields, S("Sec-WebSocket-Protocol"), S(FEED_SUBPROTOCOL));
    }
    int status = f->sse ? 200 : 101;
    f->conn = r->conn;
    f->stage = FEED_LOGIN;
    conn_upgrade(r->conn, status, reply_upgraded(r, status, buf_view(&fields)), &feed_protocol, f);
    f->beat_ms = feed_now_ms(f) + f->feeds->worker->settings->stream_auth_timeout;
    feed_schedule(f);
}

static void revoked(void *arg)
{
    struct feed *f = arg;
    if (f->caller.type == CALLER_AGENT)
        feed_close_with(f, FEED_FORBIDDEN, AGT_REVOKED, "the agent was revoked");
    else
        feed_close_with(f, FEED_UNAUTHENTICATED, AUTH_TOKEN_REVOKED, "the credential was revoked");
}

void feed_watch(struct feed *f)
{
    session_unwatch(&f->session);
    session_watch(f->feeds->worker->sessions, &f->session, &f->caller, revoked, f);
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

static bool follow(struct feed *f, const struct feed_state *state, int64_t since)
{
    char channel[64];
    struct hub_source source = {f->caller.tenant, f->caller.partition, state->epoch, channel_name(f, channel),
                                f->spec->last};
    return hub_follow(f->feeds->worker->hub, &source, (struct str){f->filter, f->filter_n},
                      f->sse ? ENCODE_SSE : ENCODE_WS, since, &f->follower);
}

static void note_arrival(struct feed *f)
{
    char stamp[32];
    snprintf(stamp, sizeof(stamp), "%020llu", (unsigned long long)f->stamp);
    hub_note(&f->follower, str_z(stamp));
}

/* Tells the client where it stands and follows from there. */
static void begin(struct feed *f, const struct feed_state *state)
{
    bool foreign = f->since_epoch != 0 && f->since_epoch != state->epoch;
    bool gap = f->again || (f->since >= 0 && (foreign || f->since > state->seq));
    bool whole = gap || f->since <= 0 || f->spec->whole;
    int64_t from = gap || f->since < 0 ? state->seq : f->since;
    struct say s;
    say_begin(&s, f);
    if (f->sse && !f->again)
        sse_write_retry(&s.out, FEED_RETRY_MS);
    if (!f->again)
        say_ready(&s, state);
    if (gap)
        say_gap(&s, state, f->since, foreign ? "epoch" : f->again ? "reset" : "ahead");
    if (whole)
        say_snapshot(&s, state);
    f->stage = FEED_BEHIND;
    f->over = f->spec->over != NULL && f->spec->over(state);
    say_send(&s);
    if (f->stage == FEED_BEHIND && whole && f->spec->greet != NULL)
        f->spec->greet(state);
    if (f->stage != FEED_BEHIND)
        return;
    if (!follow(f, state, from)) {
        feed_close(f, FEED_LATER, "out of memory");
        return;
    }
    if (f->spec->one && !f->again)
        note_arrival(f);
    f->again = false;
}

/* The first time: the request is answered by the upgrade. */
static void enter(struct feed *f, const struct feed_state *state)
{
    if (f->stage == FEED_OPENING)
        upgrade(f);
    feed_watch(f);
    int64_t interval = feed_interval(f);
    f->beat_ms = feed_now_ms(f) + interval / 2 + random_below((uint32_t)interval / 2 + 1); /* not all at once */
    f->stage = FEED_READING;
    feed_schedule(f);
    begin(f, state);
}

static void refuse(struct feed *f, enum code code)
{
    if (f->stage == FEED_OPENING)
        reply_error(f->request, code);
    else if (code == RES_NOT_FOUND)
        feed_close(f, FEED_UNKNOWN, "no such resource for this tenant");
    else if (code == PERM_DENIED)
        feed_close(f, FEED_FORBIDDEN, "the caller may not follow this");
    else
        feed_close_with(f, FEED_LATER, code, code_text(code));
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
    char channel[64];
    struct space space = {f->caller.partition, f->caller.tenant};
    arena_init(&scratch, 0);
    struct str document[] = {S("HGETALL"), key_document(&scratch, space, f->spec->kind, feed_id(f))};
    struct str seq[] = {S("GET"), key_channel_seq(&scratch, space, channel_name(f, channel))};
    struct str epoch[] = {S("HGET"), key_meta(&scratch, f->caller.partition), S("epoch")};
    struct str extra[] = {S("HGETALL"), f->spec->extra == NULL ? STR_NONE : f->spec->extra(f, &scratch)};
    struct store_command commands[] = {{2, document}, {2, seq}, {3, epoch}, {2, extra}};
    enum code code =
        store_read(f->feeds->worker->store, commands, f->spec->extra == NULL ? 3 : 4, &f->ops, state_read, f);
    arena_fini(&scratch);
    return code;
}

void feed_enter(struct feed *f)
{
    enum code code = PERM_DENIED;
    if (f->spec->may == NULL || f->spec->may(&f->caller, feed_id(f)))
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
    if (!take(f, batch)) {
        if (f->stage != FEED_CLOSING)
            feed_want(f);
        return false;
    }
    if (batch->ended) {
        if (!f->synced)
            say_synced(f);
        over(f);
    } else if (!follower->live) {
        feed_want(f);
    }
    return true;
}

static void on_live(struct follower *follower)
{
    struct feed *f = feed_of(follower);
    bool first = !f->synced;
    f->stage = FEED_LIVE;
    say_synced(f);
    if (f->stage == FEED_LIVE && f->over)
        over(f);
    else if (f->stage == FEED_LIVE && first && f->spec->on_open != NULL)
        f->spec->on_open(f);
}

static void on_reset(struct follower *follower)
{
    struct feed *f = feed_of(follower);
    f->again = true;
    f->since = follower->seq;
    f->stage = FEED_READING;
    enum code code = read_state(f);
    if (code != OK)
        refuse(f, code);
}

static void on_note(struct follower *follower, struct str text)
{
    struct feed *f = feed_of(follower);
    uint64_t stamp;
    if (f->spec->one && str_u64(text, &stamp) && stamp > f->stamp)
        feed_close(f, FEED_REPLACED, "a newer connection took over");
}

static const struct follower_type feed_follower = {on_batch, on_live, on_reset, on_note};

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
        hub_next(&f->follower);
    f->stalled = false;
}

/* Each client is told its own time to come back, so that they do not come all at once. */
static void on_stop(void *state)
{
    struct feed *f = state;
    uint32_t in = random_below((uint32_t)f->feeds->worker->settings->stream_drain_window + 1);
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

/* --- the request --- */

/* How many feeds of the worker are open for the tenant, and of these for the caller. Looked at only where the worker as
 * a whole has as many as the smaller limit. */
static void count_feeds(const struct feeds *feeds, const struct caller *caller, int64_t *tenant, int64_t *own)
{
    *tenant = *own = 0;
    list_for (link, &feeds->all) {
        const struct feed *f = list_entry(link, struct feed, link);
        if (!str_eq(f->caller.tenant, caller->tenant))
            continue;
        ++*tenant;
        if (f->caller.type == caller->type && str_eq(f->caller.id, caller->id))
            ++*own;
    }
}

enum code feed_room(const struct feeds *feeds, const struct caller *caller)
{
    const struct settings *s = feeds->worker->settings;
    int64_t all = (int64_t)feeds->count, tenant, own;
    if (all > s->stream_per_worker)
        return SYS_OVERLOADED;
    if (caller->type == CALLER_NONE ||
        all <= (s->stream_per_caller < s->stream_per_tenant ? s->stream_per_caller : s->stream_per_tenant))
        return OK;
    count_feeds(feeds, caller, &tenant, &own);
    return tenant > s->stream_per_tenant || own > s->stream_per_caller ? RATE_LIMIT_EXCEEDED : OK;
}

static struct feed *feed_new(struct request *r, const struct feed_spec *spec, bool sse)
{
    struct feeds *feeds = r->worker->feeds;
    struct feed *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->feeds = feeds;
    f->spec = spec;
    f->request = r;
    f->sse = sse;
    f->since = -1;
    f->stamp = (uint64_t)clock_wall_ms() * 1000 + random_below(1000);
    f->follower.type = &feed_follower;
    ops_init(&f->ops);
    list_init(&f->wheel);
    list_init(&f->want);
    list_append(&feeds->all, &f->link);
    feeds->count++;
    return f;
}

void feed_free(struct feed *f)
{
    if (f->own != NULL)
        *f->own = NULL;
    hub_unfollow(&f->follower);
    ops_detach(&f->ops);
    feed_client_fini(f);
    session_unwatch(&f->session);
    list_remove(&f->link);
    list_remove(&f->wheel);
    list_remove(&f->want);
    f->feeds->count--;
    free(f->caller_text);
    free(f->filter);
    free(f);
}

/* The request ends: with the client gone, refused, or upgraded. */
static void request_ended(void *arg)
{
    struct feed *f = *(struct feed **)arg;
    if (f == NULL)
        return;
    f->request = NULL;
    f->own = NULL;
    if (f->stage == FEED_OPENING)
        feed_free(f);
}

static enum flow take_parameters(struct feed *f, struct request *r)
{
    const struct json *p = r->parameters;
    struct str since = json_str(json_get(p, "since")), last = http_header(r->head, S("last-event-id"));
    const char *fault;
    if (f->sse && last.n > 0)
        since = last;
    if (since.p != NULL)
        read_since(f, since);
    if (!feed_set_filter(f, joined(&r->arena, json_get(p, "types")), joined(&r->arena, json_get(p, "nodeId")),
                         json_str(json_get(p, "level")), &fault))
        return refuse_parameter(r, fault);
    return NEXT;
}

enum flow feed_open(struct request *r, const struct feed_spec *spec)
{
    bool sse;
    enum flow flow = check_request(r, spec, &sse);
    if (flow != NEXT)
        return flow;
    if (worker_phase(r->worker) >= PHASE_DRAINING)
        return reply_error(r, SYS_DRAINING);
    struct feed **own = arena_new(&r->arena, struct feed *);
    struct feed *f = own == NULL ? NULL : feed_new(r, spec, sse);
    if (f == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *own = f;
    f->own = own;
    if (!arena_defer(&r->arena, request_ended, own) ||
        (r->caller.type != CALLER_NONE && !feed_take_caller(f, &r->caller)))
        return reply_error(r, SYS_OVERLOADED);
    flow = take_parameters(f, r);
    if (flow != NEXT)
        return flow;
    enum code room = feed_room(f->feeds, &f->caller);
    if (room != OK)
        return reply_error(r, room);
    if (!id_is_uuid(r->params[0], f->id))
        return reply_error(r, RES_NOT_FOUND);
    if (f->caller.type == CALLER_NONE) {
        upgrade(f);
        return DONE;
    }
    feed_enter(f);
    return WAIT;
}

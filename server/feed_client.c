#include "server/feed_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/auth.h"
#include "server/scope.h"

/* --- who calls --- */

struct login { /* a token that is being checked */
    struct arena arena;
    struct ops ops;
    const struct caller *caller; /* in the arena, while it is judged */
};

static void login_end(struct feed *f)
{
    if (f->login == NULL)
        return;
    ops_detach(&f->login->ops);
    arena_fini(&f->login->arena);
    free(f->login);
    f->login = NULL;
}

static struct str put_text(char **at, struct str s)
{
    struct str copy = {*at, s.n};
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

const struct caller feed_nobody = {.type = CALLER_NONE};

static struct list *bucket_of(struct feeds *feeds, const struct caller *c)
{
    return &feeds->callers[(str_hash(str_z(c->credential)) ^ str_hash(c->id)) % FEED_CALLERS];
}

static bool same_caller(const struct caller *a, const struct caller *b)
{
    return a->type == b->type && strcmp(a->credential, b->credential) == 0 && str_eq(a->id, b->id) &&
           str_eq(a->name, b->name) && str_eq(a->tenant, b->tenant) && a->partition == b->partition &&
           memcmp(&a->permissions, &b->permissions, sizeof a->permissions) == 0 && str_eq(a->narrowed, b->narrowed) &&
           a->tier == b->tier && a->expires_ms == b->expires_ms && a->revocations == b->revocations;
}

static struct feed_caller *caller_find(struct feeds *feeds, const struct caller *caller)
{
    list_for (it, bucket_of(feeds, caller)) {
        struct feed_caller *c = list_entry(it, struct feed_caller, link);
        if (same_caller(&c->caller, caller))
            return c;
    }
    return NULL;
}

static struct feed_caller *caller_new(struct feeds *feeds, const struct caller *caller)
{
    size_t n = caller->id.n + caller->name.n + caller->tenant.n + caller->narrowed.n + caller->granted.n;
    struct feed_caller *c = calloc(1, sizeof(*c) + n);
    if (c == NULL)
        return NULL;
    char *at = c->text;
    c->all = feeds;
    c->caller = *caller;
    c->caller.id = put_text(&at, caller->id);
    c->caller.name = put_text(&at, caller->name);
    c->caller.tenant = put_text(&at, caller->tenant);
    c->caller.narrowed = put_text(&at, caller->narrowed);
    c->caller.granted = caller->granted.n == 0 ? STR_NONE : put_text(&at, caller->granted);
    c->caller.networks = c->caller.user = STR_NONE;
    list_append(bucket_of(feeds, caller), &c->link);
    return c;
}

bool feed_take_caller(struct feed *f, const struct caller *caller)
{
    struct feed_caller *c = caller_find(feeds_of(f), caller);
    if (c == NULL)
        c = caller_new(feeds_of(f), caller);
    if (c == NULL)
        return false;
    c->feeds++;
    feed_drop_caller(f);
    f->caller = &c->caller;
    f->warned = false;
    return true;
}

void feed_drop_caller(struct feed *f)
{
    if (f->caller == &feed_nobody)
        return;
    struct feed_caller *c = feed_caller_of(f);
    f->caller = &feed_nobody;
    if (--c->feeds > 0)
        return;
    session_unwatch(&c->session);
    list_remove(&c->link);
    free(c);
}

static void prolong(struct feed *f)
{
    feed_watch(f);
    feed_schedule(f);
}

static void refuse_login(struct feed *f, enum code code)
{
    enum feed_close close = code == SYS_STORAGE || code == SYS_OVERLOADED ? FEED_LATER : FEED_UNAUTHENTICATED;
    if (code == RES_NOT_FOUND)
        feed_close(f, FEED_UNKNOWN, "no such resource for this tenant");
    else if (code_status(code) == 403)
        feed_close(f, FEED_FORBIDDEN, "the caller lacks the permission to follow this");
    else
        feed_close_with(f, close, code, code_text(code));
}

/* The first login decides what is followed; a later one prolongs it and has to be of the same caller. */
static void permitted(struct feed *f, const struct caller *caller)
{
    bool first = f->stage == FEED_LOGIN;
    if (!first && (!str_eq(caller->tenant, f->caller->tenant) || !str_eq(caller->id, f->caller->id))) {
        feed_close(f, FEED_FORBIDDEN, "the token is of another caller");
        return;
    }
    enum code room = first ? feed_room(feeds_of(f), caller) : OK;
    bool taken = room == OK && feed_take_caller(f, caller);
    login_end(f);
    if (!taken)
        feed_close_with(f, FEED_LATER, room == OK ? SYS_OVERLOADED : room, "too many streams are open");
    else if (first)
        feed_enter(f);
    else
        prolong(f);
}

static void confine(void *arg, enum code code, const struct scope_ids *ids)
{
    struct feed *f = arg;
    if (code == OK && f->stage == FEED_LOGIN && (!feed_set_scope(f, ids) || !feed_confine(f)))
        code = SYS_OVERLOADED;
    if (code != OK)
        refuse_login(f, code);
    else
        permitted(f, f->login->caller);
}

static void judged(void *arg, enum code code)
{
    struct feed *f = arg;
    if (code != OK)
        refuse_login(f, code);
    else
        permitted(f, f->login->caller);
}

/* One with the permission in some environments only. */
static void judge(struct feed *f, const struct caller *caller)
{
    struct worker *w = feed_worker(f);
    struct login *l = f->login;
    const char *permission = f->spec->permission;
    /* A login that prolongs does not confine what is followed already. */
    bool wider = f->stage != FEED_LOGIN && f->spec->scoped && feed_scope(f).p == NULL;
    enum code code = PERM_DENIED;
    char id[ID_UUID];
    id_uuid_text(f->id, id);
    l->caller = caller;
    if (!wider && scope_granted(caller, permission) && f->spec->scoped)
        code = scope_find(w, &l->arena, caller, permission, &l->ops, confine, f);
    else if (!wider && scope_granted(caller, permission))
        code = scope_judge(w, &l->arena, caller, permission, f->spec->kind, arena_str(&l->arena, str_z(id)), &l->ops,
                           judged, f);
    if (code != OK)
        refuse_login(f, code);
}

static void checked(void *arg, enum code code, const struct caller *caller)
{
    struct feed *f = arg;
    const char *permission = f->spec->permission;
    if (code != OK)
        refuse_login(f, code);
    else if (permission != NULL && !caller_may(caller, permission))
        judge(f, caller);
    else
        permitted(f, caller);
}

static void on_auth(struct feed *f, const struct json *message)
{
    struct str token = json_str(json_get(message, "token"));
    if (token.n == 0) {
        feed_close_with(f, FEED_UNAUTHENTICATED, AUTH_TOKEN_MISSING, "the message has no token");
        return;
    }
    if (f->login != NULL || f->stage == FEED_READING)
        return; /* one at a time */
    f->login = calloc(1, sizeof(*f->login));
    if (f->login == NULL) {
        feed_close(f, FEED_LATER, "out of memory");
        return;
    }
    arena_init(&f->login->arena, 0);
    ops_init(&f->login->ops);
    struct str address = f->opening != NULL ? str_z(f->opening->address) : conn_address(f->conn);
    enum code code = auth_token(feed_worker(f), token, false, address, &f->login->arena, &f->login->ops, checked, f);
    if (code != OK)
        checked(f, code, NULL);
}

/* --- what it wants --- */

static void on_ping(struct feed *f)
{
    struct say s;
    say_begin(&s, f);
    say_open(&s, "pong");
    say_close(&s);
    say_send(&s);
}

static bool list_text(const struct json *list, struct buf *out)
{
    if (list != NULL && !json_is(list, JSON_ARRAY))
        return false;
    for (size_t i = 0; i < json_count(list); i++) {
        if (!json_is(json_at(list, i), JSON_STRING))
            return false;
        if (i > 0)
            buf_char(out, ',');
        buf_str(out, json_str(json_at(list, i)));
    }
    return !out->failed;
}

static void say_subscribed(struct feed *f, const struct json *filters)
{
    struct say s;
    say_begin(&s, f);
    say_open(&s, "subscribed");
    json_key(&s.json, S("filters"));
    json_put(&s.json, filters);
    say_close(&s);
    say_send(&s);
}

/* "nodeIds", "taskIds": as the stream calls its parts. */
static struct str parts_name(const struct feed *f, char name[16])
{
    snprintf(name, 16, "%ss", feed_part(f));
    return str_z(name);
}

static bool only_known(const struct json *filters, struct str parts)
{
    for (struct json_iter it = json_members(filters); json_next(&it);)
        if (!str_eqz(it.name, "types") && !str_eq(it.name, parts) && !str_eqz(it.name, "minLevel"))
            return false;
    return true;
}

static void on_subscribe(struct feed *f, const struct json *message)
{
    const struct json *filters = json_get(message, "filters"), *level = json_get(filters, "minLevel");
    struct buf types = {0}, nodes = {0};
    char name[16];
    struct str parts = parts_name(f, name);
    const char *fault = "filters";
    bool good = json_is(filters, JSON_OBJECT) && only_known(filters, parts) &&
                list_text(json_get(filters, "types"), &types) && list_text(json_get_str(filters, parts), &nodes) &&
                (level == NULL || json_is(level, JSON_STRING)) &&
                feed_set_filter(f, buf_view(&types), buf_view(&nodes), json_str(level), &fault);
    buf_free(&types);
    buf_free(&nodes);
    if (!good) {
        char why[80];
        snprintf(why, sizeof(why), "subscribe takes filters {types, %s, minLevel}", name);
        feed_close(f, FEED_BAD_MESSAGE, why);
        return;
    }
    if (f->follower.view != NULL && !hub_refilter(&f->follower, feed_filter(f))) {
        feed_close(f, FEED_LATER, "out of memory");
        return;
    }
    say_subscribed(f, filters);
}

static void on_message(struct feed *f, const struct json *message)
{
    struct str type = json_str(json_get(message, "type"));
    if (str_eq(type, S("auth")))
        on_auth(f, message);
    else if (f->stage == FEED_LOGIN)
        feed_close_with(f, FEED_UNAUTHENTICATED, AUTH_TOKEN_MISSING,
                        "the first message is {\"type\":\"auth\",\"token\":…}");
    else if (str_eq(type, S("ping")))
        on_ping(f);
    else if (str_eq(type, S("subscribe")))
        on_subscribe(f, message);
    else if (type.p != NULL && f->spec->on_message != NULL)
        f->spec->on_message(f, type, message);
    else
        feed_close(f, FEED_BAD_MESSAGE, "the type of the message is not known");
}

static void on_text(struct feed *f, struct str text)
{
    const struct settings *s = feed_worker(f)->settings;
    const struct json_limits limits = {(unsigned)s->json_depth, (unsigned)s->json_nodes};
    struct arena arena;
    struct json_fault fault;
    arena_init(&arena, (size_t)s->request_memory);
    const struct json *message = json_parse(&arena, text, &limits, &fault);
    if (json_is(message, JSON_OBJECT))
        on_message(f, message);
    else
        feed_close_with(f, FEED_BAD_MESSAGE, VAL_MALFORMED_JSON, "a message is one JSON object");
    arena_fini(&arena);
}

/* --- frames --- */

static void pong(struct feed *f, struct str payload)
{
    struct buf out = {0};
    ws_write(&out, WS_SERVER, WS_PONG, payload);
    if (out.failed || !conn_write(f->conn, buf_view(&out)))
        conn_abort(f->conn); /* a flood of pings by one that does not read */
    buf_free(&out);
}

static void on_fault(struct feed *f, const struct ws *ws)
{
    enum feed_close code = ws->code == FEED_TOO_LARGE ? FEED_TOO_LARGE
                           : ws->code == WS_NOT_UTF8  ? FEED_NOT_UTF8
                                                      : FEED_PROTOCOL;
    feed_close(f, code, ws->why);
}

static void on_event(struct feed *f, enum ws_event event, const struct ws *ws)
{
    if (event == WS_CLOSED) {
        if (f->stage != FEED_CLOSING) /* the client's wish: echo its code */
            feed_close(f, FEED_END, NULL);
        conn_end(f->conn);
    } else if (f->stage == FEED_CLOSING) {
        return;
    } else if (event == WS_FAULT) {
        on_fault(f, ws);
    } else if (event == WS_PINGED) {
        pong(f, ws->payload);
    } else if (event == WS_MESSAGE && ws->opcode == WS_TEXT) {
        on_text(f, ws->payload);
    } else if (event == WS_MESSAGE) {
        feed_close(f, FEED_BAD_MESSAGE, "messages are text");
    }
}

static void ws_end(struct feed *f)
{
    if (f->ws != NULL)
        ws_fini(f->ws);
    free(f->ws);
    f->ws = NULL;
}

void feed_client_read(struct feed *f, struct str bytes)
{
    enum ws_event event;
    f->unanswered = 0;
    if (f->ws == NULL) {
        f->ws = malloc(sizeof(*f->ws));
        if (f->ws == NULL) {
            conn_abort(f->conn);
            return;
        }
        ws_init(f->ws, WS_SERVER, &feeds_of(f)->ws_limits);
        f->ws->deflate = f->packed ? feed_worker(f)->deflate : NULL;
    }
    while ((event = ws_feed(f->ws, &bytes)) != WS_MORE) {
        on_event(f, event, f->ws);
        if (event == WS_CLOSED || event == WS_FAULT)
            return;
    }
    if (ws_idle(f->ws))
        ws_end(f);
}

void feed_client_stop(struct feed *f)
{
    login_end(f);
}

void feed_client_fini(struct feed *f)
{
    login_end(f);
    ws_end(f);
}

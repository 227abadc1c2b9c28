#include "server/feed_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "proto/http.h"

const char *const feed_levels[] = {"debug", "info", "warn", "error", NULL};

/* --- what is asked for --- */

/* Read from the query, and from Last-Event-ID, which a browser sends with the old URL. */
static void read_since(struct feed *f, struct str text)
{
    struct str number = text, epoch = STR_NONE;
    if (str_index(text, ':') >= 0)
        epoch = str_cut(&number, ':');
    struct feed_opening *o = f->opening;
    if (!str_i64(number, &o->since) || o->since < 0 || (epoch.p != NULL && !str_i64(epoch, &o->since_epoch)))
        o->since = INT64_MAX; /* beyond everything: a gap and a snapshot */
}

const char *feed_part(const struct feed *f)
{
    return f->spec->part == NULL ? "nodeId" : f->spec->part;
}

static const struct str everything = {"||", 2};

struct str feed_filter(const struct feed *f)
{
    return f->filter == NULL ? everything : str_z(f->filter);
}

/* Takes the text form over. False: no memory. */
static bool keep_filter(struct feed *f, struct buf *text)
{
    buf_char(text, '\0');
    if (text->failed) {
        buf_free(text);
        return false;
    }
    free(f->filter);
    f->filter = text->p;
    if (str_eqz(everything, f->filter)) {
        buf_free(text);
        f->filter = NULL;
    }
    return true;
}

static bool in_scope(const struct feed *f, struct str environment)
{
    struct str rest = feed_scope(f);
    while (rest.n > 0)
        if (str_eq(str_cut(&rest, ','), environment))
            return true;
    return feed_scope(f).p == NULL;
}

/* The fourth part of a filter: what is wanted of what may be seen. */
static void put_environments(const struct feed *f, struct str wanted, struct buf *text)
{
    size_t start;
    if (wanted.n == 0 && feed_scope(f).p == NULL)
        return;
    buf_char(text, '|');
    start = text->n;
    if (wanted.n == 0)
        buf_str(text, feed_scope(f));
    while (wanted.n > 0) {
        struct str one = str_cut(&wanted, ',');
        if (!in_scope(f, one))
            continue;
        if (text->n > start)
            buf_char(text, ',');
        buf_str(text, one);
    }
    if (text->n == start)
        buf_char(text, '-'); /* no environment is called that */
}

bool feed_confine(struct feed *f)
{
    struct buf text = {0};
    struct str rest = feed_filter(f);
    buf_str(&text, str_cut(&rest, '|'));
    buf_z(&text, "||");
    str_cut(&rest, '|');
    buf_str(&text, str_cut(&rest, '|'));
    put_environments(f, rest, &text);
    return keep_filter(f, &text);
}

bool feed_set_filter(struct feed *f, struct str types, struct str nodes, struct str level, const char **fault)
{
    struct buf text = {0};
    if (!event_filter(types, nodes, level, &text, fault)) {
        buf_free(&text);
        return false;
    }
    if (f->spec->scoped && !text.failed) { /* parts are environments, whose place in the text is the fourth */
        struct str rest = buf_view(&text), known = str_cut(&rest, '|'), wanted = str_cut(&rest, '|');
        struct buf confined = {0};
        buf_str(&confined, known);
        buf_z(&confined, "||");
        buf_str(&confined, rest);
        put_environments(f, wanted, &confined);
        buf_free(&text);
        text = confined;
    }
    *fault = NULL;
    return keep_filter(f, &text);
}

bool feed_set_scope(struct feed *f, const struct scope_ids *ids)
{
    struct buf b = {0};
    for (size_t i = 0; i < ids->n; i++) {
        if (i > 0)
            buf_char(&b, ',');
        buf_str(&b, ids->ids[i]);
    }
    if (ids->n == 0)
        buf_char(&b, '-');
    buf_char(&b, '\0');
    if (b.failed) {
        buf_free(&b);
        return false;
    }
    free(f->opening->scope);
    f->opening->scope = b.p;
    return true;
}

static enum flow refuse_parameter(struct request *r, const struct feed *f, const char *name)
{
    struct faults *faults = arena_new(&r->arena, struct faults);
    if (faults == NULL || name == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(faults, &r->arena);
    fault_add(faults, arena_printf(&r->arena, "query.%s", strcmp(name, "nodeIds") == 0 ? feed_part(f) : name),
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

/* --- the request --- */

/* How many feeds of the worker are open for the tenant, and of these for the caller. Looked at only where the worker as
 * a whole has as many as the smaller limit. */
static void count_feeds(const struct feeds *feeds, const struct caller *caller, int64_t *tenant, int64_t *own)
{
    *tenant = *own = 0;
    list_for (link, &feeds->all) {
        const struct feed *f = list_entry(link, struct feed, link);
        if (!str_eq(f->caller->tenant, caller->tenant))
            continue;
        ++*tenant;
        if (f->caller->type == caller->type && str_eq(f->caller->id, caller->id))
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

bool feed_reopen(struct feed *f)
{
    if (f->opening == NULL)
        f->opening = calloc(1, sizeof(*f->opening));
    if (f->opening == NULL)
        return false;
    f->opening->feed = f;
    return true;
}

static void let_go(struct feed *f)
{
    struct feed_opening *o = f->opening;
    f->opening = NULL;
    if (o == NULL)
        return;
    free(o->scope);
    o->scope = NULL;
    o->feed = NULL;
    if (o->request == NULL)
        free(o);
}

void feed_opened(struct feed *f)
{
    f->opening->again = false;
    if (f->opening->scope == NULL && !f->spec->one)
        let_go(f);
}

static struct feed *feed_new(struct request *r, const struct feed_spec *spec, bool sse)
{
    struct feeds *feeds = r->worker->feeds;
    struct feed *f = slab_get(&feeds->slots);
    if (f == NULL || !feed_reopen(f)) {
        slab_put(&feeds->slots, f);
        return NULL;
    }
    f->conn = r->conn;
    f->spec = spec;
    f->opening->request = r;
    f->opening->since = -1;
    str_copy(f->opening->address, sizeof f->opening->address, r->address);
    f->opening->stamp = (uint64_t)clock_wall_ms() * 1000 + random_below(1000);
    f->caller = &feed_nobody;
    f->sse = sse;
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
    let_go(f);
    hub_unfollow(&f->follower);
    ops_detach(&f->ops);
    feed_client_fini(f);
    list_remove(&f->link);
    list_remove(&f->wheel);
    list_remove(&f->want);
    feeds_of(f)->count--;
    feed_drop_caller(f);
    free(f->filter);
    slab_put(&feeds_of(f)->slots, f);
}

/* The request ends: with the client gone, refused, or upgraded. */
static void request_ended(void *arg)
{
    struct feed_opening *o = arg;
    o->request = NULL;
    if (o->feed == NULL)
        free(o);
    else if (o->feed->stage == FEED_OPENING)
        feed_free(o->feed);
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
    if (!feed_set_filter(f, json_join(&r->arena, json_get(p, "types"), ','),
                         json_join(&r->arena, json_get(p, feed_part(f)), ','), json_str(json_get(p, "level")), &fault))
        return refuse_parameter(r, f, fault);
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
    struct feed *f = feed_new(r, spec, sse);
    if (f == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (!arena_defer(&r->arena, request_ended, f->opening)) {
        f->opening->request = NULL;
        feed_free(f);
        return reply_error(r, SYS_OVERLOADED);
    }
    if (r->caller.type != CALLER_NONE && !feed_take_caller(f, &r->caller))
        return reply_error(r, SYS_OVERLOADED);
    struct scope_ids scope;
    if (spec->scoped && scope_take(r, &scope) && !feed_set_scope(f, &scope))
        return reply_error(r, SYS_OVERLOADED);
    flow = take_parameters(f, r);
    if (flow != NEXT)
        return flow;
    enum code room = feed_room(feeds_of(f), f->caller);
    if (room != OK)
        return reply_error(r, room);
    if (spec->kind != NULL && !id_uuid_pack(r->params[0], f->id))
        return reply_error(r, RES_NOT_FOUND);
    if (f->caller->type == CALLER_NONE) {
        feed_upgrade(f);
        return DONE;
    }
    feed_enter(f);
    return WAIT;
}

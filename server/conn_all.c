#include "server/conn_private.h"

#include "lib/must.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SPARE_MAX = 256,   /* exchanges kept for reuse */
    WARM_MAX = 16,     /* of them with the memory of their last request, at most 64 KiB each */
    REFUSED_MAX = 256, /* connections above the limit whose one request is read; more are closed */
    CALM_MS = 1000     /* after a rush is over */
};

/* --- exchanges --- */

struct exchange *exchange_take(struct conns *conns)
{
    struct exchange *x;
    if (conns->spare_n > 0) {
        x = list_entry(conns->spare.next, struct exchange, link);
        list_remove(&x->link);
        conns->spare_n--;
    } else {
        x = calloc(1, sizeof(*x));
        if (x == NULL)
            return NULL;
        list_init(&x->link);
        http_parser_init(&x->parser, HTTP_SERVER, &conns->limits);
        arena_init(&x->request.arena, (size_t)conns->worker->settings->request_memory);
    }
    x->since_ms = loop_now_ms(&conns->worker->loop);
    x->headed = x->started = x->wanted = x->continued = x->whole = x->broken = x->answered = x->asking = false;
    x->unread = x->left = 0;
    x->sink = NULL;
    x->held_ms = 0;
    return x;
}

static void free_exchange(struct exchange *x)
{
    http_parser_fini(&x->parser);
    arena_fini(&x->request.arena);
    free(x);
}

/* What many requests at once needed is free again, but in pieces between what stayed. */
static void on_calm(void *arg)
{
    (void)arg;
    malloc_trim(0);
}

void exchange_give_back(struct conns *conns, struct exchange *x)
{
    if (x->started) {
        if (!x->answered)
            metrics_set(&conns->worker->metrics, METRIC_REQUESTS_ASKED, --conns->asked);
        request_end(&x->request);
    }
    buf_free(&x->body);
    if (conns->spare_n == SPARE_MAX) {
        free_exchange(x);
        if (!conns->closing)
            timer_start(&conns->calm, &conns->worker->loop, CALM_MS, on_calm, conns);
        return;
    }
    if (conns->spare_n >= WARM_MAX)
        arena_fini(&x->request.arena);
    http_next(&x->parser);
    list_prepend(&conns->spare, &x->link);
    conns->spare_n++;
}

/* --- the end --- */

void conn_http_end(struct conn *c)
{
    struct conn_http *h = c->http;
    if (h == NULL)
        return;
    timer_stop(&h->timer);
    loop_undefer(&h->task);
    if (h->x != NULL)
        exchange_give_back(conn_all(c), h->x);
    buf_free(&h->pending);
    slab_put(&conn_all(c)->https, h);
    c->http = NULL;
}

static void end_parts(struct conn *c)
{
    struct metrics *m = conn_metrics(c);
    if (c->http != NULL && c->http->x != NULL && c->http->x->started && !c->http->x->answered)
        metrics_add(m, METRIC_REQUESTS_GONE, 1);
    conn_http_end(c);
    if (c->protocol != NULL) {
        metrics_set(m, METRIC_CONNECTIONS_UPGRADED, --conn_all(c)->upgraded);
        c->protocol->on_close(c->state);
    }
    peer_drop(c->peer);
}

void conn_closed(struct conn *c, enum stream_end why)
{
    struct conns *conns = conn_all(c);
    bool early = !c->late && conns->closing;
    if (why == STREAM_STALLED)
        metrics_add(conn_metrics(c), METRIC_CUT_WRITE, 1);
    end_parts(c);
    list_remove(&c->link);
    slab_put(&conns->slots, c);
    metrics_set(&conns->worker->metrics, METRIC_CONNECTIONS_OPEN, --conns->open);
    __atomic_fetch_sub(&conns->worker->process->connections, 1, __ATOMIC_RELAXED);
    if (early && --conns->early == 0 && conns->drained != NULL)
        conns->drained(conns->arg);
    if (conns->open == 0 && conns->emptied != NULL)
        conns->emptied(conns->arg);
}

/* --- all of them --- */

void conns_init(struct conns *conns, struct worker *worker)
{
    const struct settings *s = worker->settings;
    *conns = (struct conns){.worker = worker};
    conns->limits = (struct http_limits){.line = (uint32_t)s->request_line_max,
                                         .head = (uint32_t)s->head_max,
                                         .fields = (uint32_t)s->head_fields_max,
                                         .body = (uint64_t)s->body_max};
    list_init(&conns->all);
    list_init(&conns->spare);
    slab_init(&conns->slots, sizeof(struct conn));
    slab_init(&conns->https, sizeof(struct conn_http));
    peers_init(&conns->peers);
}

void conns_fini(struct conns *conns)
{
    must(conns->open == 0);
    timer_stop(&conns->calm);
    list_for (it, &conns->spare)
        free_exchange(list_entry(it, struct exchange, link));
    buf_free(&conns->head);
    slab_fini(&conns->slots);
    slab_fini(&conns->https);
}

/* There is no room for it. Its first request is still read, since it may be the probe that tells whether we live. */
static void turn_away(struct conn *c, enum metric why)
{
    metrics_add(conn_metrics(c), why, 1);
    c->surplus = c->last = true;
}

/* NULL: no memory. */
static struct conn *conn_new(struct conns *conns)
{
    struct conn *c = slab_get(&conns->slots);
    if (c == NULL)
        return NULL;
    c->http = slab_get(&conns->https);
    if (c->http != NULL)
        return c;
    slab_put(&conns->slots, c);
    return NULL;
}

void conn_open(struct conns *conns, int fd, bool tls)
{
    struct worker *w = conns->worker;
    const struct settings *s = w->settings;
    char text[64];
    int64_t open = __atomic_add_fetch(&w->process->connections, 1, __ATOMIC_RELAXED);
    struct conn *c = open > s->connections_max + REFUSED_MAX ? NULL : conn_new(conns);
    if (c == NULL)
        metrics_add(&w->metrics, METRIC_CONNECTIONS_LIMIT, 1);
    const struct stream_limits limits = {.queue = SIZE_MAX / 2, .send_ms = s->send_timeout}; /* see conn.c */
    if (c == NULL || stream_open_fd(&c->stream, &w->loop, fd, &conn_events, &limits) != 0) {
        if (c == NULL)
            close(fd);
        else
            slab_put(&conns->https, c->http);
        slab_put(&conns->slots, c);
        __atomic_fetch_sub(&w->process->connections, 1, __ATOMIC_RELAXED);
        return;
    }
    c->late = conns->closing;
    list_append(&conns->all, &c->link);
    metrics_add(&w->metrics, METRIC_CONNECTIONS_ACCEPTED, 1);
    metrics_set(&w->metrics, METRIC_CONNECTIONS_OPEN, ++conns->open);
    struct buf address = {.p = text, .cap = sizeof(text), .max = sizeof(text)};
    stream_peer(&c->stream, &address);
    c->peer = peer_take(&conns->peers, buf_view(&address));
    if (open > s->connections_max)
        turn_away(c, METRIC_CONNECTIONS_LIMIT);
    else if (c->peer != NULL && c->peer->connections > (size_t)s->connections_address_max &&
             !forwarded_trusts(&s->forwarded, conn_address(c)))
        turn_away(c, METRIC_CONNECTIONS_ADDRESS);
    if (c->peer == NULL || (tls && !tls_accept(&c->stream, &w->door)))
        stream_close(&c->stream);
    else
        conn_settle(c);
}

static void stop_protocol(struct conn *c)
{
    if (c->stopping || stream_closing(&c->stream))
        return;
    c->stopping = true;
    if (c->protocol->on_stop != NULL)
        c->protocol->on_stop(c->state);
    else
        conn_end(c);
}

void conns_drain(struct conns *conns)
{
    conns->closing = true;
    timer_stop(&conns->calm);
    conns->early = conns->open;
    list_for (it, &conns->all) {
        struct conn *c = list_entry(it, struct conn, link);
        if (c->protocol == NULL)
            conn_settle(c);
        else
            stop_protocol(c);
    }
}

void conns_abort(struct conns *conns)
{
    list_for (it, &conns->all)
        stream_close(&list_entry(it, struct conn, link)->stream);
}

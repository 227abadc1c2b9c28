#include "server/tail.h"

#include <stdlib.h>
#include <string.h>

struct piece {
    struct list link;
    int64_t last;
    size_t n;
    char text[];
};

static struct piece *piece_of(struct list *link)
{
    return list_entry(link, struct piece, link);
}

void tail_init(struct tail *t)
{
    t->floor = t->head = -1;
    t->bytes = 0;
    list_init(&t->pieces);
}

void tail_fini(struct tail *t)
{
    tail_reset(t, -1);
}

static void drop(struct tail *t, struct piece *piece)
{
    t->floor = piece->last;
    t->bytes -= piece->n;
    list_remove(&piece->link);
    free(piece);
}

void tail_reset(struct tail *t, int64_t seq)
{
    list_for (link, &t->pieces)
        drop(t, piece_of(link));
    t->floor = t->head = seq;
}

enum tail_added tail_add(struct tail *t, struct str events)
{
    struct str rest = events, event, fresh = STR_NONE;
    int64_t seq, first = 0, last = t->head;
    while (event_next(&rest, &event, &seq)) {
        if (fresh.p == NULL) {
            if (t->head >= 0 && seq <= t->head)
                continue;
            fresh = (struct str){event.p, (size_t)(events.p + events.n - event.p)};
            first = seq;
            if (t->head < 0)
                last = seq - 1;
        }
        if (seq != last + 1)
            return TAIL_HOLE;
        last = seq;
    }
    if (rest.n > 0)
        return TAIL_HOLE;
    if (fresh.p == NULL)
        return TAIL_OLD;
    struct piece *piece = malloc(sizeof(*piece) + fresh.n);
    if (piece == NULL)
        return TAIL_MEMORY;
    piece->last = last;
    piece->n = fresh.n;
    memcpy(piece->text, fresh.p, fresh.n);
    list_append(&t->pieces, &piece->link);
    if (t->head < 0)
        t->floor = first - 1;
    t->head = last;
    t->bytes += fresh.n;
    return TAIL_ADDED;
}

void tail_trim(struct tail *t, size_t keep, int64_t needed)
{
    while (t->bytes > keep && !list_empty(&t->pieces)) {
        struct piece *oldest = piece_of(t->pieces.next);
        if (oldest->last > needed)
            return;
        drop(t, oldest);
    }
}

int64_t tail_upto(const struct tail *t, int64_t seq, size_t bytes)
{
    size_t sum = 0;
    list_for (link, &t->pieces) {
        const struct piece *piece = piece_of(link);
        if (piece->last <= seq)
            continue;
        sum += piece->n;
        if (sum >= bytes)
            return piece->last;
    }
    return t->head;
}

static void put(const struct encode *how, int64_t n, struct str event, struct buf *out)
{
    struct buf opened = {0};
    if (how->open == NULL) {
        event_encode(out, how->encoding, how->deflate, how->epoch, n, event);
        return;
    }
    how->open(how->worker, how->tenant, event, &opened);
    event_encode(out, how->encoding, how->deflate, how->epoch, n, buf_view(&opened));
    out->failed = out->failed || opened.failed;
    buf_free(&opened);
}

static bool encode(struct str events, const struct encode *how, int64_t upto, int64_t *seq, struct buf *out,
                   bool *ended)
{
    struct str event;
    int64_t n;
    while (event_next(&events, &event, &n)) {
        if (n <= *seq)
            continue;
        if (n > upto)
            return true;
        if (n != *seq + 1)
            return false;
        if (event_passes(event, how->filter))
            put(how, n, event, out);
        if (how->last != NULL)
            *ended = str_eqz(event_member(event, "type"), how->last);
        *seq = n;
    }
    return true;
}

bool events_encode(struct str events, const struct encode *how, int64_t *seq, struct buf *out, bool *ended)
{
    return encode(events, how, INT64_MAX, seq, out, ended);
}

void tail_encode(const struct tail *t, const struct encode *how, int64_t upto, int64_t *seq, struct buf *out,
                 bool *ended)
{
    list_for (link, &t->pieces) {
        struct piece *piece = piece_of(link);
        if (piece->last > *seq && *seq < upto)
            encode((struct str){piece->text, piece->n}, how, upto, seq, out, ended);
    }
}

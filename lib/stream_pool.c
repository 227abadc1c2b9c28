#include "lib/stream_internal.h"
#include <stdlib.h>
#include <string.h>

/* Free pieces kept per loop, of each size. */
enum { KEPT_CHUNKS = 64, KEPT_SMALL = 4096 };

struct shared *shared_new(size_t n)
{
    struct shared *b = n > SIZE_MAX - sizeof *b ? NULL : malloc(sizeof *b + n);

    if (b) {
        b->refs = 1;
        b->n = n;
    }
    return b;
}

struct shared *shared_copy(struct str bytes)
{
    struct shared *b = shared_new(bytes.n);

    if (b && bytes.n)
        memcpy(b->bytes, bytes.p, bytes.n);
    return b;
}

void shared_drop(struct shared *b)
{
    if (b && --b->refs == 0)
        free(b);
}

bool stream_pool_ready(struct loop *loop)
{
    if (!loop->pool)
        loop->pool = calloc(1, sizeof *loop->pool);
    return loop->pool;
}

static void free_pieces(struct stream_piece *piece)
{
    while (piece) {
        struct stream_piece *next = piece->next;

        free(piece);
        piece = next;
    }
}

void stream_pool_free(struct loop *loop)
{
    struct loop_pool *pool = loop->pool;

    if (!pool)
        return;
    free_pieces(pool->chunks);
    free_pieces(pool->small);
    free_pieces(pool->references);
    while (pool->writes) {
        struct stream_write *w = pool->writes;

        pool->writes = w->next;
        free(w);
    }
    free(pool);
    loop->pool = NULL;
}

/* The free list a piece of this capacity belongs to; NULL: none. */
static struct stream_piece **kept(struct loop_pool *pool, size_t cap, unsigned **count, unsigned *most)
{
    *most = cap == STREAM_CHUNK ? KEPT_CHUNKS : KEPT_SMALL;
    switch (cap) {
    case 0:
        *count = &pool->reference_count;
        return &pool->references;
    case STREAM_CHUNK_BLOCKED:
        *count = &pool->small_count;
        return &pool->small;
    case STREAM_CHUNK:
        *count = &pool->chunk_count;
        return &pool->chunks;
    default:
        return NULL;
    }
}

struct stream_piece *stream_piece_get(struct loop_pool *pool, size_t cap)
{
    unsigned *count, most;
    struct stream_piece **list = kept(pool, cap, &count, &most), *piece;

    if (list && *list) {
        piece = *list;
        *list = piece->next;
        --*count;
    } else {
        piece = cap > SIZE_MAX - sizeof *piece ? NULL : malloc(sizeof *piece + cap);
    }
    if (piece) {
        piece->next = NULL;
        piece->shared = NULL;
        piece->p = piece->own;
        piece->from = piece->to = 0;
        piece->cap = cap;
    }
    return piece;
}

void stream_piece_put(struct loop_pool *pool, struct stream_piece *piece)
{
    unsigned *count, most;
    struct stream_piece **list = kept(pool, piece->cap, &count, &most);

    shared_drop(piece->shared);
    if (!list || *count >= most) {
        free(piece);
        return;
    }
    piece->next = *list;
    *list = piece;
    ++*count;
}

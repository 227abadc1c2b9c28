/* Sets of documents by ordinal: bit o % 64 of word o / 64. Words beyond `n` are zero. */
#ifndef SERVER_BITMAP_H
#define SERVER_BITMAP_H

#include "lib/arena.h"
#include "proto/redis.h"

struct bitmap {
    uint64_t *words;
    size_t n;
};

size_t bitmap_count(const struct bitmap *b);
bool bitmap_has(const struct bitmap *b, int64_t ordinal);
/* The ordinals in ascending or descending order, `most` of them after skipping `skip`; answers how many. */
size_t bitmap_pick(const struct bitmap *b, bool descending, int64_t skip, size_t most, int64_t *out);
/* From a facet's hash: chunk numbers and their bytes in turn (server/store/key.h). False: memory ran out. */
bool bitmap_join(struct arena *a, const struct redis_value *chunks, struct bitmap *out);

#endif

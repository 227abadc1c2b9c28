#include "server/bitmap.h"

#include "server/store/key.h"

#include <string.h>

enum { CHUNK_WORDS = KEY_CHUNK / 64, CHUNKS_MAX = 1 << 20 };
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bytes of a chunk are taken as words");

size_t bitmap_count(const struct bitmap *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += (size_t)__builtin_popcountll(b->words[i]);
    return n;
}

bool bitmap_has(const struct bitmap *b, int64_t ordinal)
{
    return ordinal >= 0 && (size_t)ordinal / 64 < b->n && (b->words[ordinal / 64] >> (ordinal % 64) & 1) != 0;
}

size_t bitmap_pick(const struct bitmap *b, bool descending, int64_t skip, size_t most, int64_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n && n < most; i++) {
        size_t at = descending ? b->n - 1 - i : i;
        uint64_t word = b->words[at];
        int64_t here = __builtin_popcountll(word);
        if (skip >= here) {
            skip -= here;
            continue;
        }
        while (word != 0 && n < most) {
            int bit = descending ? 63 - __builtin_clzll(word) : __builtin_ctzll(word);
            word &= ~(UINT64_C(1) << bit);
            if (skip-- <= 0)
                out[n++] = (int64_t)(at * 64) + bit;
        }
        skip = 0;
    }
    return n;
}

bool bitmap_join(struct arena *a, const struct redis_value *chunks, struct bitmap *out)
{
    int64_t last = -1;
    *out = (struct bitmap){NULL, 0};
    for (size_t i = 0; chunks != NULL && i + 1 < chunks->count; i += 2) {
        int64_t number = redis_int(redis_at(chunks, i), -1);
        last = number > last && number < CHUNKS_MAX ? number : last;
    }
    if (last < 0)
        return true;
    out->n = (size_t)(last + 1) * CHUNK_WORDS;
    out->words = arena_array(a, out->n, sizeof(uint64_t));
    for (size_t i = 0; out->words != NULL && i + 1 < chunks->count; i += 2) {
        struct str bytes = redis_text(redis_at(chunks, i + 1));
        int64_t number = redis_int(redis_at(chunks, i), -1);
        if (number >= 0 && number <= last && bytes.n > 0 && bytes.n <= KEY_CHUNK / 8)
            memcpy(out->words + number * CHUNK_WORDS, bytes.p, bytes.n);
    }
    return out->words != NULL;
}

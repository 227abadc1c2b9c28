#include "proto/deflate.h"

#include <stdlib.h>

#define ZLIB_CONST
#include <zlib.h>

enum {
    LEVEL = 1,   /* of effort: twice the time of it buys a tenth of the bytes */
    WINDOW = 15, /* bits; negative asks zlib for raw data */
    MEMORY = 6,  /* of hash table and symbols: less has to be cleared before each message */
    PIECE = 16 << 10
};

struct deflate {
    z_stream packer, unpacker;
    bool packs, unpacks; /* they were made */
    unsigned char piece[PIECE];
};

struct deflate *deflate_new(void)
{
    return calloc(1, sizeof(struct deflate));
}

void deflate_free(struct deflate *d)
{
    if (d == NULL)
        return;
    if (d->packs)
        deflateEnd(&d->packer);
    if (d->unpacks)
        inflateEnd(&d->unpacker);
    free(d);
}

static bool ready_to_pack(struct deflate *d)
{
    if (d->packs)
        return deflateReset(&d->packer) == Z_OK;
    d->packs = deflateInit2(&d->packer, LEVEL, Z_DEFLATED, -WINDOW, MEMORY, Z_DEFAULT_STRATEGY) == Z_OK;
    return d->packs;
}

static bool ready_to_unpack(struct deflate *d)
{
    if (d->unpacks)
        return inflateReset(&d->unpacker) == Z_OK;
    d->unpacks = inflateInit2(&d->unpacker, -WINDOW) == Z_OK;
    return d->unpacks;
}

static const unsigned char tail[] = {0, 0, 0xff, 0xff}; /* of an empty stored block, which ends at a whole byte */

static bool pack(struct deflate *d, struct str message, struct buf *out)
{
    z_stream *z = &d->packer;
    if (message.n > UINT32_MAX / 2 || !ready_to_pack(d))
        return false;
    size_t most = deflateBound(z, message.n) + sizeof(tail) + 1;
    if (!buf_reserve(out, most))
        return false;
    z->next_in = (const Bytef *)message.p;
    z->avail_in = (uInt)message.n;
    z->next_out = (Bytef *)out->p + out->n;
    z->avail_out = (uInt)most;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0 || z->avail_out == 0)
        return false;
    out->n += most - z->avail_out - sizeof(tail);
    return true;
}

bool deflate_pack(struct deflate *d, struct str message, struct buf *out)
{
    out->failed = !pack(d, message, out) || out->failed;
    return !out->failed;
}

/* Everything that `bytes` stand for. A final block may come anywhere (§7.2.3.4); behind it begins another stream. */
static enum deflate_result unpack(struct deflate *d, struct str bytes, size_t max, struct buf *out)
{
    z_stream *z = &d->unpacker;
    z->next_in = (const Bytef *)bytes.p;
    z->avail_in = (uInt)bytes.n;
    do {
        z->next_out = d->piece;
        z->avail_out = PIECE;
        int r = inflate(z, Z_SYNC_FLUSH);
        size_t n = PIECE - z->avail_out;
        if (r == Z_MEM_ERROR)
            return DEFLATE_MEMORY;
        if (r != Z_OK && r != Z_BUF_ERROR && r != Z_STREAM_END)
            return DEFLATE_BAD;
        if (n > max - out->n)
            return DEFLATE_LONG;
        buf_add(out, d->piece, n);
        if (out->failed)
            return DEFLATE_MEMORY;
        if (r == Z_STREAM_END && z->avail_in > 0 && inflateReset(z) != Z_OK)
            return DEFLATE_BAD;
    } while (z->avail_in > 0 || z->avail_out == 0);
    return DEFLATE_OK;
}

enum deflate_result deflate_unpack(struct deflate *d, struct str packed, size_t max, struct buf *out)
{
    enum { BETWEEN_BLOCKS = 128, UNUSED_BITS = 7 }; /* of data_type after inflate */
    if (packed.n > UINT32_MAX || out->n > max || !ready_to_unpack(d))
        return packed.n > UINT32_MAX || out->n > max ? DEFLATE_LONG : DEFLATE_MEMORY;
    enum deflate_result r = packed.n > 0 ? unpack(d, packed, max, out) : DEFLATE_BAD;
    if (r == DEFLATE_OK)
        r = unpack(d, (struct str){(const char *)tail, sizeof(tail)}, max, out);
    if (r == DEFLATE_OK && (d->unpacker.data_type & (BETWEEN_BLOCKS | UNUSED_BITS)) != BETWEEN_BLOCKS)
        r = DEFLATE_BAD;
    return r;
}

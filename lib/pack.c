#include "lib/pack.h"

#include <string.h>

/* A type byte and `n` bytes of `v` in network order. */
static void head(struct buf *b, unsigned type, uint64_t v, unsigned n)
{
    unsigned char out[9] = {(unsigned char)type};
    for (unsigned i = 1; i <= n; i++)
        out[i] = (unsigned char)(v >> (8 * (n - i)));
    buf_add(b, out, n + 1);
}

void pack_nil(struct buf *b)
{
    head(b, 0xc0, 0, 0);
}

void pack_bool(struct buf *b, bool v)
{
    head(b, v ? 0xc3 : 0xc2, 0, 0);
}

static void pack_unsigned(struct buf *b, uint64_t v)
{
    if (v < 0x80)
        head(b, (unsigned)v, 0, 0);
    else if (v <= UINT8_MAX)
        head(b, 0xcc, v, 1);
    else if (v <= UINT16_MAX)
        head(b, 0xcd, v, 2);
    else if (v <= UINT32_MAX)
        head(b, 0xce, v, 4);
    else
        head(b, 0xcf, v, 8);
}

void pack_int(struct buf *b, int64_t v)
{
    if (v >= 0)
        pack_unsigned(b, (uint64_t)v);
    else if (v >= -32)
        head(b, 0xe0 | ((unsigned)v & 0x1f), 0, 0);
    else if (v >= INT8_MIN)
        head(b, 0xd0, (uint64_t)v, 1);
    else if (v >= INT16_MIN)
        head(b, 0xd1, (uint64_t)v, 2);
    else if (v >= INT32_MIN)
        head(b, 0xd2, (uint64_t)v, 4);
    else
        head(b, 0xd3, (uint64_t)v, 8);
}

void pack_real(struct buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    head(b, 0xcb, bits, 8);
}

void pack_str(struct buf *b, struct str s)
{
    if (s.n > UINT32_MAX) {
        b->failed = true;
        return;
    }
    if (s.n < 32) {
        buf_char(b, (char)(0xa0 | s.n));
    } else if (s.n <= UINT8_MAX) {
        buf_char(b, (char)0xd9);
        buf_char(b, (char)s.n);
    } else if (s.n <= UINT16_MAX) {
        head(b, 0xda, s.n, 2);
    } else {
        head(b, 0xdb, s.n, 4);
    }
    buf_str(b, s);
}

void pack_z(struct buf *b, const char *z)
{
    pack_str(b, str_z(z));
}

static void sized(struct buf *b, unsigned small, unsigned middle, uint32_t n)
{
    if (n < 16)
        head(b, small | n, 0, 0);
    else if (n <= UINT16_MAX)
        head(b, middle, n, 2);
    else
        head(b, middle + 1, n, 4);
}

void pack_array(struct buf *b, uint32_t n)
{
    sized(b, 0x90, 0xdc, n);
}

void pack_map(struct buf *b, uint32_t n)
{
    sized(b, 0x80, 0xde, n);
}

static struct pack_open open_sized(struct buf *b, unsigned type)
{
    struct pack_open open = {.at = b->n + 1};
    head(b, type, 0, 4);
    return open;
}

struct pack_open pack_open_array(struct buf *b)
{
    return open_sized(b, 0xdd);
}

struct pack_open pack_open_map(struct buf *b)
{
    return open_sized(b, 0xdf);
}

void pack_close(struct buf *b, struct pack_open open)
{
    if (b->failed)
        return;
    for (unsigned i = 0; i < 4; i++)
        b->p[open.at + i] = (char)(open.n >> (24 - 8 * i));
}

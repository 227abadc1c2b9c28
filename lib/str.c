#include "lib/str.h"

#include "lib/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return d != 0 ? d : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_slice(s, 0, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_eq(str_slice(s, s.n - suffix.n, s.n), suffix);
}

ptrdiff_t str_index(struct str s, char c)
{
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return at == NULL ? -1 : at - s.p;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
    if (needle.n == 0)
        return 0;
    const char *at = s.n < needle.n ? NULL : memmem(s.p, s.n, needle.p, needle.n);
    return at == NULL ? -1 : at - s.p;
}

struct str str_slice(struct str s, size_t from, size_t to)
{
    if (to > s.n)
        to = s.n;
    if (from > to)
        from = to;
    return s.p == NULL ? STR_NONE : (struct str){s.p + from, to - from};
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && blank(s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str str_cut(struct str *rest, char sep)
{
    struct str whole = *rest;
    ptrdiff_t at = str_index(whole, sep);
    if (at < 0) {
        *rest = STR_NONE;
        return whole;
    }
    *rest = str_slice(whole, (size_t)at + 1, whole.n);
    return str_slice(whole, 0, (size_t)at);
}

bool str_u64(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool str_i64(struct str s, int64_t *out)
{
    bool minus = s.n > 0 && s.p[0] == '-';
    uint64_t v;
    if (!str_u64(str_slice(s, minus, s.n), &v) || v > (uint64_t)INT64_MAX + minus)
        return false;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Length of the well-formed sequence at p (Unicode, table 3-7), 0 when it is none. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    size_t length = c < 0x80                 ? 1
                    : c >= 0xc2 && c <= 0xdf ? 2
                    : c >= 0xe0 && c <= 0xef ? 3
                    : c >= 0xf0 && c <= 0xf4 ? 4
                                             : 0;
    if (length == 0 || length > n)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
        if (p[i] < low || p[i] > high)
            return 0;
    return length;
}

size_t str_utf8_valid(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t eight;
        while (s.n - i >= 8 && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080u) == 0))
            i += 8;
        if (i == s.n)
            break;
        size_t length = utf8_sequence(p + i, s.n - i);
        if (length == 0)
            break;
        i += length;
    }
    return i;
}

bool str_utf8(struct str s)
{
    return str_utf8_valid(s) == s.n;
}

size_t str_utf8_length(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* SipHash-2-4, Aumasson and Bernstein 2012. */

static uint64_t sip_key[2];

__attribute__((constructor)) static void make_sip_key(void)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    return; /* a fuzzing run with the same seed takes the same way */
#endif
    if (getrandom(sip_key, sizeof sip_key, 0) == (ssize_t)sizeof sip_key)
        return;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    sip_key[0] = (uint64_t)t.tv_nsec ^ (uint64_t)(uintptr_t)&t;
    sip_key[1] = (uint64_t)t.tv_sec ^ (uint64_t)(uintptr_t)&make_sip_key;
}

static uint64_t rotate(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

bool str_copy(char *to, size_t room, struct str s)
{
    bool fits = s.n < room;
    if (fits && s.n > 0)
        memcpy(to, s.p, s.n);
    if (room > 0)
        to[fits ? s.n : 0] = '\0';
    return fits;
}

uint64_t str_hash(struct str s)
{
    uint64_t v[4] = {sip_key[0] ^ 0x736f6d6570736575, sip_key[1] ^ 0x646f72616e646f6d, sip_key[0] ^ 0x6c7967656e657261,
                     sip_key[1] ^ 0x7465646279746573};
    size_t i = 0;
    uint64_t m;
    for (; s.n - i >= 8; i += 8) {
        memcpy(&m, s.p + i, 8);
        v[3] ^= m;
        sip_round(v), sip_round(v);
        v[0] ^= m;
    }
    m = (uint64_t)s.n << 56;
    for (unsigned shift = 0; i < s.n; i++, shift += 8)
        m |= (uint64_t)(unsigned char)s.p[i] << shift;
    v[3] ^= m;
    sip_round(v), sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    sip_round(v), sip_round(v), sip_round(v), sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void buf_init(struct buf *b)
{
    *b = (struct buf){0};
}

void buf_init_arena(struct buf *b, struct arena *a, size_t capacity)
{
    *b = (struct buf){.arena = a};
    if (capacity > 0)
        buf_reserve(b, capacity);
}

void buf_free(struct buf *b)
{
    if (b->arena == NULL)
        free(b->p);
    *b = (struct buf){.max = b->max, .arena = b->arena};
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}

/* Doubles, so that appending is linear in all; what is too large for doubling is taken exactly. */
static size_t grown(const struct buf *b, size_t need)
{
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    return b->max != 0 && cap > b->max ? b->max : cap;
}

static bool fail(struct buf *b)
{
    b->failed = true;
    return false;
}

bool buf_grow(struct buf *b, size_t more)
{
    size_t need;
    if (b->failed)
        return false;
    if (__builtin_add_overflow(b->n, more, &need) || need > PTRDIFF_MAX || (b->max != 0 && need > b->max))
        return fail(b);
    if (need <= b->cap)
        return true;
    size_t cap = grown(b, need);
    char *p = b->arena == NULL ? realloc(b->p, cap) : arena_room(b->arena, cap);
    if (p == NULL)
        return fail(b);
    if (b->arena != NULL && b->n > 0)
        memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !buf_reserve(b, n))
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void buf_u64(struct buf *b, uint64_t v)
{
    char text[20], *p = text + sizeof text;
    do
        *--p = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    buf_add(b, p, (size_t)(text + sizeof text - p));
}

void buf_i64(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_char(b, '-');
    buf_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buf_hex(struct buf *b, const void *p, size_t n)
{
    const unsigned char *in = p;
    if (n > SIZE_MAX / 2 || !buf_reserve(b, n * 2))
        return;
    for (size_t i = 0; i < n; i++) {
        b->p[b->n++] = "0123456789abcdef"[in[i] >> 4];
        b->p[b->n++] = "0123456789abcdef"[in[i] & 15];
    }
}

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64(struct buf *b, const unsigned char *in, size_t n, const char *alphabet, bool pad)
{
    if (n > SIZE_MAX / 2 || !buf_reserve(b, (n + 2) / 3 * 4))
        return;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        char *out = b->p + b->n;
        out[0] = alphabet[v >> 18];
        out[1] = alphabet[v >> 12 & 63];
        out[2] = left > 1 ? alphabet[v >> 6 & 63] : '=';
        out[3] = left > 2 ? alphabet[v & 63] : '=';
        b->n += pad || left > 2 ? 4 : left + 1;
    }
}

void buf_base64(struct buf *b, const void *p, size_t n)
{
    base64(b, p, n, standard, true);
}

void buf_base64url(struct buf *b, const void *p, size_t n)
{
    base64(b, p, n, url_safe, false);
}

static int url_value(char c)
{
    const char *at = c == '\0' ? NULL : strchr(url_safe, c);
    return at == NULL ? -1 : (int)(at - url_safe);
}

bool buf_unbase64url(struct buf *b, struct str text)
{
    size_t before = b->n;
    uint32_t v = 0;
    unsigned bits = 0;
    if (text.n % 4 == 1 || !buf_reserve(b, text.n / 4 * 3 + 2))
        return false;
    for (size_t i = 0; i < text.n; i++) {
        int six = url_value(text.p[i]);
        if (six < 0) {
            b->n = before;
            return false;
        }
        v = v << 6 | (uint32_t)six;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            b->p[b->n++] = (char)(v >> bits & 0xff);
        }
    }
    if ((v & ((1u << bits) - 1)) != 0) { /* one text for each value: the bits left over are zero */
        b->n = before;
        return false;
    }
    return true;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    size_t room = b->failed ? 0 : b->cap - b->n;
    int n = vsnprintf(room == 0 ? NULL : b->p + b->n, room, fmt, args);
    if (n < 0)
        fail(b);
    else if ((size_t)n < room)
        b->n += (size_t)n;
    else if (buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

struct str buf_view(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

void buf_drop(struct buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

#include "lib/id.h"

#include "lib/must.h"

#include <sodium.h>
#include <string.h>

void random_bytes(void *p, size_t n)
{
    randombytes_buf(p, n);
}

uint32_t random_below(uint32_t bound)
{
    return randombytes_uniform(bound);
}

/* Per thread: the last time stamp and the 12-bit counter behind it. The counter starts anywhere in its lower half, and
 * when it is used up the time stamp runs ahead by a millisecond. */
static _Thread_local int64_t last_ms = -1;
static _Thread_local unsigned counter;

static int64_t next_stamp(int64_t unix_ms, unsigned start)
{
    bool same = unix_ms <= last_ms && last_ms - unix_ms < 1000;
    if (same && counter < 0xfff) {
        counter++;
        return last_ms;
    }
    counter = start & 0x7ff;
    return last_ms = same ? last_ms + 1 : unix_ms;
}

/* Randomness for ids, taken from the system by the half kilobyte: every request needs an id, and a system call each would
 * be most of its cost. Secrets are never made from it. */
static void pooled_bytes(unsigned char *p, size_t n)
{
    static _Thread_local unsigned char pool[512];
    static _Thread_local size_t left;
    if (left < n) {
        random_bytes(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= n;
    memcpy(p, pool + left, n);
}

void id_uuid_text(const uint8_t bytes[16], char out[ID_UUID])
{
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = "0123456789abcdef"[bytes[i] >> 4];
        *out++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *out = '\0';
}

static void put_stamp(unsigned char *b, uint64_t ms)
{
    for (size_t i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
}

void id_uuid(int64_t unix_ms, char out[ID_UUID])
{
    unsigned char b[16];
    pooled_bytes(b, sizeof b);
    put_stamp(b, (uint64_t)next_stamp(unix_ms, (unsigned)b[6] << 8 | b[7]));
    b[6] = (unsigned char)(0x70 | counter >> 8);
    b[7] = (unsigned char)counter;
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
    id_uuid_text(b, out);
}

void id_uuid_of(int64_t unix_ms, struct str seed, char out[ID_UUID])
{
    unsigned char b[crypto_generichash_BYTES];
    crypto_generichash(b, sizeof b, (const unsigned char *)seed.p, seed.n, NULL, 0);
    put_stamp(b, (uint64_t)unix_ms);
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0f));
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
    id_uuid_text(b, out);
}

bool id_is_uuid(struct str text, char out[ID_UUID])
{
    char lower[ID_UUID] = "";
    if (text.n != ID_UUID - 1)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c >= 'A' && c <= 'F')
            c = (char)(c + ('a' - 'A'));
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        lower[i] = c;
    }
    if (out != NULL)
        memcpy(out, lower, ID_UUID);
    return true;
}

bool id_uuid_pack(struct str text, uint8_t out[16])
{
    char lower[ID_UUID];
    size_t n = 0;
    if (!id_is_uuid(text, lower))
        return false;
    for (const char *p = lower; *p != '\0'; p++)
        if (*p != '-') {
            unsigned digit = (unsigned)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
            out[n / 2] = (uint8_t)(n % 2 == 0 ? digit << 4 : out[n / 2] | digit);
            n++;
        }
    return true;
}

uint32_t id_crc32(struct str s)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned char)s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

enum { PARTITION = 2, RANDOM = 28, CHECKSUM = 6, TAIL = PARTITION + RANDOM + CHECKSUM };

static void put62(char *out, unsigned width, uint32_t v)
{
    while (width-- > 0) {
        out[width] = base62[v % 62];
        v /= 62;
    }
}

size_t id_key(const char *prefix, unsigned partition, char out[ID_KEY_MAX])
{
    size_t n = strlen(prefix);
    must(n > 0 && n + 1 + TAIL < ID_KEY_MAX && partition < ID_PARTITIONS);
    memcpy(out, prefix, n);
    out[n++] = '_';
    put62(out + n, PARTITION, partition);
    n += PARTITION;
    for (size_t i = 0; i < RANDOM; i++)
        out[n++] = base62[random_below(62)];
    put62(out + n, CHECKSUM, id_crc32((struct str){out, n}));
    n += CHECKSUM;
    out[n] = '\0';
    return n;
}

static bool get62(struct str digits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits.n; i++) {
        const char *at = digits.p[i] == '\0' ? NULL : strchr(base62, digits.p[i]);
        if (at == NULL)
            return false;
        *out = *out * 62 + (uint64_t)(at - base62);
    }
    return true;
}

bool id_key_check(struct str key, struct str *prefix, unsigned *partition)
{
    if (key.n < TAIL + 2 || key.n >= ID_KEY_MAX || key.p[key.n - TAIL - 1] != '_')
        return false;
    struct str body = str_slice(key, 0, key.n - CHECKSUM), tail = str_slice(key, key.n - TAIL, key.n);
    uint64_t number, ignored, sum;
    if (!get62(str_slice(tail, 0, PARTITION), &number) || number >= ID_PARTITIONS ||
        !get62(str_slice(tail, PARTITION, PARTITION + RANDOM / 2), &ignored) ||
        !get62(str_slice(tail, PARTITION + RANDOM / 2, PARTITION + RANDOM), &ignored) ||
        !get62(str_slice(tail, PARTITION + RANDOM, TAIL), &sum) || sum != id_crc32(body))
        return false;
    *prefix = str_slice(key, 0, key.n - TAIL - 1);
    *partition = (unsigned)number;
    return true;
}

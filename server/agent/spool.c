#include "server/agent/spool.h"
#include "server/agent/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const struct spool_limits spool_limits_default = {
    .segment = 1024 * 1024, .total = 64 * 1024 * 1024, .sync = SPOOL_SYNC_SEGMENT};

/* A record: length and checksum as 32-bit little-endian numbers, then the payload. The checksum covers the record's
 * number and the payload, so that a record in the wrong place is no record. */
enum { HEAD = 8, NAME = 28, READ_AHEAD = 64 * 1024 };
#define ACKED_FILE "acked"

static uint32_t crc_add(uint32_t crc, const void *p, size_t n)
{
    static uint32_t table[256];
    if (table[1] == 0)
        for (uint32_t i = 256; i-- > 0;) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    for (const unsigned char *at = p; n > 0; n--, at++)
        crc = table[(crc ^ *at) & 255] ^ (crc >> 8);
    return crc;
}

static void put_le(unsigned char *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get_le(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static uint32_t checksum(uint64_t number, struct str payload)
{
    unsigned char text[8];
    put_le(text, number, sizeof text);
    return ~crc_add(crc_add(~0u, text, sizeof text), payload.p, payload.n);
}

static void segment_name(uint64_t first, char out[NAME])
{
    snprintf(out, NAME, "%020" PRIu64 ".s1", first);
}

static bool segment_first(const char *name, uint64_t *first)
{
    struct str s = str_z(name);
    return str_ends(s, S(".s1")) && s.n == 23 && str_u64(str_slice(s, 0, 20), first) && *first > 0;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The first numbers of all segments in order, for the caller to free; -1 and errno. */
static ssize_t segments_list(int dir, uint64_t **out)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    size_t n = 0, cap = 0;
    uint64_t *list = NULL, first;
    bool failed = false;
    for (struct dirent *e; !failed && (e = readdir(entries)) != NULL;) {
        if (!segment_first(e->d_name, &first))
            continue;
        if (n == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            uint64_t *grown = realloc(list, cap * sizeof *grown);
            failed = grown == NULL;
            list = failed ? list : grown;
        }
        if (!failed)
            list[n++] = first;
    }
    closedir(entries);
    if (failed) {
        free(list);
        errno = ENOMEM;
        return -1;
    }
    if (n > 0)
        qsort(list, n, sizeof *list, by_number);
    *out = list;
    return (ssize_t)n;
}

static int segment_open(int dir, uint64_t first, int flags)
{
    char name[NAME];
    segment_name(first, name);
    return openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static uint64_t acked_read(int dir)
{
    char text[16];
    int fd = openat(dir, ACKED_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    ssize_t n = pread(fd, text, sizeof text, 0);
    close(fd);
    uint64_t number = n == sizeof text ? get_le(text, 8) : 0;
    return n == sizeof text && get_le(text + 8, 8) == ~number ? number : 0;
}

/* A failure here only means that records are read and sent once more. */
static void acked_write(int dir, uint64_t number)
{
    unsigned char text[16];
    put_le(text, number, 8);
    put_le(text + 8, ~number, 8);
    int fd = openat(dir, ACKED_FILE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    if (pwrite(fd, text, sizeof text, 0) != sizeof text)
        unlinkat(dir, ACKED_FILE, 0);
    close(fd);
}

/* --- writing --- */

/* Walks the whole records of a segment: where they end, and the number behind the last one. */
static int segment_walk(int fd, uint64_t first, uint64_t *end, uint64_t *next)
{
    struct buf all = {0};
    int error = 0;
    for (;;) {
        if (!buf_reserve(&all, READ_AHEAD)) {
            error = ENOMEM;
            break;
        }
        ssize_t n = read(fd, all.p + all.n, READ_AHEAD);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error = n < 0 ? errno : 0;
            break;
        }
        all.n += (size_t)n;
    }
    size_t at = 0;
    uint64_t number = first;
    while (all.n - at >= HEAD) {
        size_t n = get_le(all.p + at, 4);
        if (n == 0 || n > SPOOL_RECORD_MAX || n > all.n - at - HEAD ||
            get_le(all.p + at + 4, 4) != checksum(number, (struct str){all.p + at + HEAD, n}))
            break;
        at += HEAD + n;
        number++;
    }
    buf_free(&all);
    *end = at;
    *next = number;
    return error;
}

static int writer_resume(struct spool_writer *w)
{
    uint64_t *list = NULL, acked = acked_read(w->dir);
    ssize_t n = segments_list(w->dir, &list);
    if (n < 0)
        return errno;
    w->next = acked + 1;
    int error = 0;
    if (n > 0) {
        uint64_t first = list[n - 1], next = first;
        w->fd = segment_open(w->dir, first, O_RDWR | O_APPEND);
        error = w->fd < 0 ? errno : segment_walk(w->fd, first, &w->segment, &next);
        if (error == 0 && ftruncate(w->fd, (off_t)w->segment) != 0)
            error = errno;
        if (error == 0 && next > acked) {
            w->next = next;
        } else if (error == 0) { /* acknowledged records were lost with the power: their numbers are used up */
            close(w->fd);
            w->fd = -1;
            w->segment = 0;
        }
    }
    free(list);
    return error;
}

int spool_writer_open(struct spool_writer *w, int dir, const struct spool_limits *limits)
{
    *w = (struct spool_writer){.limits = *limits, .fd = -1, .dir = fcntl(dir, F_DUPFD_CLOEXEC, 3)};
    if (w->dir < 0)
        return errno;
    int error = writer_resume(w);
    if (error != 0) {
        if (w->fd >= 0)
            close(w->fd);
        close(w->dir);
        *w = (struct spool_writer){.fd = -1, .dir = -1};
    }
    return error;
}

static void others_measure(struct spool_writer *w)
{
    uint64_t *list = NULL;
    ssize_t n = segments_list(w->dir, &list);
    if (n < 0)
        return;
    w->others = 0;
    for (ssize_t i = 0; i < n - (w->fd >= 0); i++) {
        char name[NAME];
        struct stat st;
        segment_name(list[i], name);
        if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            w->others += (uint64_t)st.st_size;
    }
    free(list);
}

bool spool_room(struct spool_writer *w, size_t more)
{
    if (w->unflushed.n > 4 * SPOOL_RECORD_MAX)
        return false;
    if (w->others + w->segment + more <= w->limits.total)
        return true;
    others_measure(w);
    return w->others + w->segment + more <= w->limits.total;
}

static int roll(struct spool_writer *w)
{
    if (w->fd >= 0) {
        if (w->limits.sync == SPOOL_SYNC_SEGMENT)
            fdatasync(w->fd);
        close(w->fd);
        w->others += w->segment;
        w->segment = 0;
    }
    w->fd = segment_open(w->dir, w->next, O_WRONLY | O_APPEND | O_CREAT | O_EXCL);
    return w->fd < 0 ? errno : 0;
}

int spool_append(struct spool_writer *w, struct str record)
{
    if (record.n == 0 || record.n > SPOOL_RECORD_MAX)
        return EMSGSIZE;
    if (w->fd < 0 || (w->segment >= w->limits.segment && spool_flush(w) == 0)) {
        int error = roll(w);
        if (error != 0)
            return error;
    }
    unsigned char head[HEAD];
    put_le(head, record.n, 4);
    put_le(head + 4, checksum(w->next, record), 4);
    if (!buf_reserve(&w->unflushed, HEAD + record.n))
        return ENOMEM;
    buf_add(&w->unflushed, head, HEAD);
    buf_str(&w->unflushed, record);
    w->segment += HEAD + record.n;
    w->next++;
    return 0;
}

int spool_flush(struct spool_writer *w)
{
    size_t done = 0;
    int error = 0;
    while (done < w->unflushed.n && error == 0) {
        ssize_t n = write(w->fd, w->unflushed.p + done, w->unflushed.n - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            error = errno;
    }
    buf_drop(&w->unflushed, done);
    if (error == 0 && done > 0 && w->limits.sync == SPOOL_SYNC_FLUSH && fdatasync(w->fd) != 0)
        error = errno;
    return error;
}

int spool_writer_close(struct spool_writer *w)
{
    if (w->dir <= 0)
        return 0;
    int error = spool_flush(w);
    if (w->fd >= 0) {
        if (w->limits.sync != SPOOL_SYNC_NEVER && fdatasync(w->fd) != 0 && error == 0)
            error = errno;
        close(w->fd);
    }
    close(w->dir);
    buf_free(&w->unflushed);
    *w = (struct spool_writer){.fd = -1, .dir = -1};
    return error;
}

/* --- reading --- */

/* Removes the segments of which everything is acknowledged; the last one stays, it may still be written to. */
static void segments_sweep(struct spool_reader *r)
{
    uint64_t *list = NULL;
    ssize_t n = segments_list(r->dir, &list), i = 0;
    for (; i + 1 < n && list[i + 1] <= r->acked + 1; i++) {
        char name[NAME];
        segment_name(list[i], name);
        unlinkat(r->dir, name, 0);
    }
    if (n > i && list[i] > r->acked + 1) /* what was acknowledged is not remembered, but it is gone */
        r->acked = list[i] - 1;
    r->boundary = i + 1 < n ? list[i + 1] : 0;
    free(list);
}

static void reader_forget(struct spool_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->offset = 0;
    r->used = 0;
    buf_clear(&r->ahead);
}

int spool_reader_open(struct spool_reader *r, int dir)
{
    *r = (struct spool_reader){.fd = -1, .dir = fcntl(dir, F_DUPFD_CLOEXEC, 3)};
    if (r->dir < 0)
        return errno;
    r->acked = acked_read(r->dir);
    segments_sweep(r);
    spool_rewind(r);
    return 0;
}

/* Opens the segment that holds, or will hold, the first record without acknowledgement. */
static bool reader_find(struct spool_reader *r)
{
    uint64_t *list = NULL;
    ssize_t n = segments_list(r->dir, &list);
    while (n > 0 && list[n - 1] > r->acked + 1)
        n--;
    if (n > 0) {
        r->fd = segment_open(r->dir, list[n - 1], O_RDONLY);
        r->first = r->next = list[n - 1];
    }
    free(list);
    return r->fd >= 0;
}

static bool reader_turn(struct spool_reader *r)
{
    int fd = r->next != r->first ? segment_open(r->dir, r->next, O_RDONLY) : -1;
    if (fd < 0)
        return false;
    uint64_t next = r->next;
    reader_forget(r);
    r->fd = fd;
    r->first = next;
    if (r->boundary == 0)
        r->boundary = next;
    return true;
}

/* More bytes into `ahead`: 1 some, 0 none yet, -1 and errno. */
static int reader_fill(struct spool_reader *r)
{
    buf_drop(&r->ahead, r->used);
    r->used = 0;
    if (!buf_reserve(&r->ahead, READ_AHEAD + HEAD)) {
        buf_clear(&r->ahead); /* start over from the segment's beginning */
        reader_forget(r);
        errno = ENOMEM;
        return -1;
    }
    ssize_t n;
    do
        n = pread(r->fd, r->ahead.p + r->ahead.n, READ_AHEAD, (off_t)r->offset);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -1 : 0;
    r->ahead.n += (size_t)n;
    r->offset += (uint64_t)n;
    return 1;
}

enum spool_answer spool_read(struct spool_reader *r, struct str *record)
{
    if (r->fd < 0 && !reader_find(r))
        return SPOOL_NOTHING;
    for (;;) {
        const char *at = r->ahead.p + r->used;
        size_t left = r->ahead.n - r->used, n = left >= HEAD ? get_le(at, 4) : 0;
        if (n > SPOOL_RECORD_MAX) {
            errno = EIO;
            return SPOOL_BROKEN;
        }
        if (n > 0 && left >= HEAD + n) {
            *record = (struct str){at + HEAD, n};
            if (get_le(at + 4, 4) != checksum(r->next, *record)) {
                errno = EIO;
                return SPOOL_BROKEN;
            }
            r->used += HEAD + n;
            if (r->next++ < r->fresh)
                continue;
            r->fresh = r->next;
            return SPOOL_RECORD;
        }
        int filled = reader_fill(r);
        if (filled < 0)
            return SPOOL_BROKEN;
        if (filled == 0 && (r->ahead.n > 0 || !reader_turn(r)))
            return SPOOL_NOTHING;
    }
}

void spool_ack(struct spool_reader *r, uint64_t number)
{
    if (number <= r->acked)
        return;
    r->acked = number;
    acked_write(r->dir, number);
    if (r->boundary != 0 && r->boundary <= number + 1)
        segments_sweep(r);
}

void spool_rewind(struct spool_reader *r)
{
    reader_forget(r);
    r->fresh = r->next = r->acked + 1;
}

void spool_reader_close(struct spool_reader *r)
{
    if (r->dir <= 0)
        return;
    reader_forget(r);
    close(r->dir);
    buf_free(&r->ahead);
    *r = (struct spool_reader){.fd = -1, .dir = -1};
}

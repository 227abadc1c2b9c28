/* Records on disk between one writer and one reader, which may be two processes and may each be killed at any time.
 *
 * A folder of append-only segment files, each named after the number of its first record. Numbers run 1, 2, 3 ...; the
 * reader acknowledges by number, and segments of which everything is acknowledged are removed. What is on disk is
 * bounded: a writer that finds no room waits for the reader (back-pressure), nothing is ever dropped. A record carries
 * a checksum; a torn one at the end does not exist yet for the reader, and is cut off by a writer that comes back.
 *
 * Records survive the death of both processes once they are flushed; a loss of power as `sync` says. */
#ifndef SERVER_AGENT_SPOOL_H
#define SERVER_AGENT_SPOOL_H

#include "lib/str.h"

enum { SPOOL_RECORD_MAX = 64 * 1024 };

enum spool_sync {
    SPOOL_SYNC_NEVER,
    SPOOL_SYNC_SEGMENT, /* when a segment is full and when the writer closes */
    SPOOL_SYNC_FLUSH    /* at each flush */
};

struct spool_limits {
    uint64_t segment; /* bytes at which a new segment begins */
    uint64_t total;   /* bytes on disk before there is no room; at least two segments */
    enum spool_sync sync;
};
extern const struct spool_limits spool_limits_default; /* 1 MiB, 64 MiB, SPOOL_SYNC_SEGMENT */

struct spool_writer { /* private but for next */
    struct spool_limits limits;
    uint64_t next; /* number of the next record */
    int dir, fd;
    uint64_t segment; /* bytes of the present segment, the unflushed among them */
    uint64_t others;  /* bytes of the others when last looked at */
    struct buf unflushed;
};

/* Goes on behind the last whole record in `dir`, which is duplicated. 0, or an errno. */
int spool_writer_open(struct spool_writer *w, int dir, const struct spool_limits *limits);
/* False: no room for `more` bytes of records until the reader acknowledges. Nothing else enforces the limit. */
bool spool_room(struct spool_writer *w, size_t more);
/* Takes a record of 1..SPOOL_RECORD_MAX bytes; ENOMEM, EMSGSIZE. On disk after the next flush. */
int spool_append(struct spool_writer *w, struct str record);
/* 0, or an errno (ENOSPC among them): what could not be written is kept and tried again by the next flush. */
int spool_flush(struct spool_writer *w);
int spool_writer_close(struct spool_writer *w); /* flushes first; fine on a zeroed one */

enum spool_answer {
    SPOOL_RECORD,
    SPOOL_NOTHING, /* nothing more yet */
    SPOOL_BROKEN   /* a record is damaged, or memory ran out: errno says which (EIO, ENOMEM) */
};

struct spool_reader { /* private but for fresh and acked */
    uint64_t fresh;   /* number of the record that spool_read gives next */
    uint64_t acked;   /* everything up to here is acknowledged */
    uint64_t next;    /* number of the record at `used` */
    int dir, fd;
    uint64_t first;    /* number of the present segment's first record */
    uint64_t boundary; /* first number of the second segment that is left; 0: not known to exist */
    uint64_t offset;   /* in the present segment, behind `ahead` */
    struct buf ahead;  /* read, not yet handed out */
    size_t used;
};

/* Stands behind what was acknowledged. 0, or an errno. `dir` is duplicated. */
int spool_reader_open(struct spool_reader *r, int dir);
/* `record` is valid until the next call. */
enum spool_answer spool_read(struct spool_reader *r, struct str *record);
/* Everything up to `number` may go. Remembered across restarts, but not across a loss of power: then it is read again.
 */
void spool_ack(struct spool_reader *r, uint64_t number);
/* Stand behind what was acknowledged again: the connection on which the rest was sent is gone. */
void spool_rewind(struct spool_reader *r);
void spool_reader_close(struct spool_reader *r); /* fine on a zeroed one */

#endif

/* The tail of a channel: its last events, in memory, without a hole.
 *
 * Holds the events floor+1 … head. Events are added at the end only; old ones are dropped from the front, whole pieces
 * at a time, when there are more than `keep` bytes. A tail of which nothing is known yet has floor and head -1; it
 * takes whatever comes first. */
#ifndef SERVER_TAIL_H
#define SERVER_TAIL_H

#include "lib/list.h"
#include "server/event.h"

struct tail {
    int64_t floor, head;
    size_t bytes;       /* of the events held */
    struct list pieces; /* private */
};

enum tail_added {
    TAIL_ADDED, /* head moved */
    TAIL_OLD,   /* nothing new in it */
    TAIL_HOLE,  /* begins behind head+1, or does not ascend by one; nothing was added */
    TAIL_MEMORY /* nothing was added */
};

void tail_init(struct tail *t);
void tail_fini(struct tail *t);
/* Forget everything; the next event that is taken is seq+1 (-1: any). */
void tail_reset(struct tail *t, int64_t seq);
/* Events joined by newlines. What is at or before head is skipped. Copies. */
enum tail_added tail_add(struct tail *t, struct str events);
/* Drops from the front until at most `keep` bytes are held, but nothing behind `needed`. */
void tail_trim(struct tail *t, size_t keep, int64_t needed);

/* The end of the piece with which at least `bytes` are reached, counted from behind `seq`; head when there are fewer.
 */
int64_t tail_upto(const struct tail *t, int64_t seq, size_t bytes);

/* Encodes the events behind *seq, up to `upto`, that pass `filter`, and moves *seq to the last one looked at. *seq must
 * be floor at least. `ended` is set when an event's type is `last` (NULL: none is). */
struct worker;
/* Appends the event as its reader is to see it. */
typedef void encode_open(struct worker *w, struct str tenant, struct str event, struct buf *out);
struct encode {
    enum encoding encoding;
    struct deflate *deflate; /* of ENCODE_PACKED */
    int64_t epoch;
    struct str filter;
    const char *last;
    encode_open *open; /* NULL: as it stands */
    struct worker *worker;
    struct str tenant;
};
void tail_encode(const struct tail *t, const struct encode *how, int64_t upto, int64_t *seq, struct buf *out,
                 bool *ended);
/* The same over events that are in no tail. False when they do not continue *seq. */
bool events_encode(struct str events, const struct encode *how, int64_t *seq, struct buf *out, bool *ended);

#endif

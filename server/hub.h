/* The hub: fan-out of channels to the followers of one worker.
 *
 * A channel (`run:<id>`, `agent:<id>`) is a Redis stream of events with a sequence without holes. The stream is the
 * truth and pub/sub the hint: while somebody here follows a channel the hub subscribes to it, and
 *
 *   - a hint that continues the sequence is delivered from its own bytes, without asking Redis;
 *   - any other hint, a new subscription and a reconnect make it read the stream from where it stands, one read at a
 *     time per channel;
 *   - once a second (jittered) it compares the sequence of every followed channel, so nothing is lost without hints;
 *   - a new epoch of the data set, a sequence that went back, or a stream that no longer reaches back to a follower
 *     resets the followers: they start over from the present state.
 *
 * What arrived in a turn of the loop is encoded once for each view, that is for each pair of encoding and filter in
 * use, into one contiguous reference-counted buffer which every follower of the view writes by reference. A follower
 * itself costs its struct. The tail of every followed channel is kept, so that a storm of reconnects is served from
 * memory, and followers that read the same slice of the past share one read.
 *
 * A follower starts behind (`since`), is handed slice after slice at its own pace, and once it has caught up it is told
 * so and is handed everything as it comes:
 *
 *     hub_follow(hub, &source, filter, ENCODE_WS, since, &f->follower)
 *       -> on_batch ... the owner calls hub_next when its socket has room ... -> on_batch -> on_live -> on_batch ...
 *
 * No callback runs inside hub_follow, hub_next, hub_refilter or hub_unfollow; all may be called from callbacks, and a
 * callback may unfollow (and then free) its own follower or any other. */
#ifndef SERVER_HUB_H
#define SERVER_HUB_H

#include "lib/list.h"
#include "server/event.h"
#include "server/tail.h"

struct follower;
struct hub;
struct hub_view;
struct shared; /* lib/stream.h: refcounted bytes */
struct worker;

enum {
    HUB_TAIL = 256 * 1024,  /* bytes of events kept per followed channel */
    HUB_SLICE = 128 * 1024, /* bytes of events from which on a slice of the past is handed over */
    HUB_BATCH = 64 * 1024   /* the same for what comes live: more in one go would cost latency */
};

struct hub_source { /* names a channel; copied */
    struct str tenant;
    unsigned partition;
    int64_t epoch;      /* of the data set, as read with the state the follower starts from */
    struct str channel; /* "run:<id>" */
    const char *last;   /* type of the event with which it ends, static; NULL: never ends */
    encode_open *open;  /* of all its followers; NULL: they are sent what stands in the channel */
};

struct hub_batch {        /* events handed over at once; valid during the callback */
    struct shared *bytes; /* encoded; NULL when the filter let none through. Write it by reference */
    int64_t first, last;  /* all sequence numbers this covers, let through or not */
    bool ended;           /* the last of them is one that ends the channel */
};

struct follower_type {
    /* False: there is no room, nothing of it was taken. The follower is behind then, and is handed these events again
     * once it has called hub_next. (Not looked at when the callback unfollowed.) */
    bool (*on_batch)(struct follower *f, const struct hub_batch *batch);
    /* Caught up: f->seq is the present end of the channel. From here batches come unasked. */
    void (*on_live)(struct follower *f);
    /* What was followed cannot be continued from f->seq: the data was restored from a backup, or the stream was trimmed
     * or deleted. The follower was taken off; it reads the present state and follows anew. */
    void (*on_reset)(struct follower *f);
    /* Somebody said `text` to all followers of the channel (hub_note); NULL: not interested. */
    void (*on_note)(struct follower *f, struct str text);
};

struct follower { /* embedded in its owner; zeroed memory is a follower of nothing */
    const struct follower_type *type;
    int64_t seq;           /* everything up to here was handed over */
    struct hub_view *view; /* private from here; NULL: follows nothing */
    struct list link;
    bool live, wants, told;
};

/* Opened by the worker after its store, closed before it. NULL: no memory. */
struct hub *hub_open(struct worker *worker);
/* There are no followers any more. `closed` runs once, later, when the subscriber connection is gone. */
void hub_close(struct hub *hub, void (*closed)(void *arg), void *arg);

/* Follow `source` from behind event `since`. `filter`: see server/event.h; copied. False: no memory, nothing happened.
 */
bool hub_follow(struct hub *hub, const struct hub_source *source, struct str filter, enum encoding encoding,
                int64_t since, struct follower *f);
/* A follower that is behind has room for its next slice. No effect on a live one. */
void hub_next(struct follower *f);
/* From the next batch on, `filter` decides; on_live does not come again. False: no memory, the old one stays. */
bool hub_refilter(struct follower *f, struct str filter);
/* Safe on a follower of nothing. */
void hub_unfollow(struct follower *f);
/* Says `text` to the followers of the channel of `f` on every worker of every instance, without a guarantee: for what
 * has no place in the sequence. The caller's own follower may hear it as well. */
void hub_note(struct follower *f, struct str text);

struct hub_figures {
    uint64_t channels, followers;                 /* now */
    uint64_t hints, hints_skipped, reads, resets; /* since start; skipped: did not continue the sequence */
    uint64_t batches, batch_bytes, deliveries;    /* since start; deliveries: batches times their followers */
};
void hub_figures(const struct hub *hub, struct hub_figures *out);

#endif

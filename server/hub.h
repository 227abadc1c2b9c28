/* The hub: fan-out of channels to the followers of one worker.
 *
 * A channel (`run:<id>`, `agent:<id>`) is a Redis stream of events with a sequence without holes. The stream is the
 * truth and pub/sub the hint: while somebody here follows a channel the hub subscribes to it, and
 *
 *   - a hint that continues the sequence is delivered from its own bytes, without asking Redis;
 *   - any other hint, a new subscription and a reconnect make it read the stream from where it stands, one read at a
 *     time per channel;
 *   - once a second (jittered) it compares the sequence of every followed channel, so nothing is lost without hints;
 *   - a new epoch of the data set, or a sequence that went back, resets the followers: they start over.
 *
 * What arrived in a turn of the loop is encoded once for each view, that is for each pair of encoding and filter in
 * use, into one contiguous reference-counted buffer which every follower of the view writes by reference. A follower
 * itself costs its struct. A few hundred kilobytes of tail are kept per followed channel, so that a storm of reconnects
 * is served from memory.
 *
 * A follower starts behind (`since`), is handed slice after slice at its own pace, and once it has caught up it is told
 * so and is handed everything as it comes:
 *
 *     hub_follow(hub, &source, filter, ENCODE_WS, since, &f->follower)
 *       -> on_batch ... the owner calls hub_next when its socket has room ... -> on_batch -> on_live -> on_batch ...
 *
 * No callback runs inside hub_follow, hub_next or hub_refilter; all may be called from callbacks, and a callback may
 * unfollow itself or any other follower. */
#ifndef SERVER_HUB_H
#define SERVER_HUB_H

#include "lib/list.h"
#include "server/event.h"

struct follower;
struct hub;
struct hub_channel;
struct hub_view;
struct shared; /* lib/stream.h: refcounted bytes */
struct worker;

struct hub_source { /* names a channel; copied */
    struct str tenant;
    unsigned partition;
    struct str channel; /* "run:<id>" */
    const char *last;   /* type of the event after which nothing comes, static; NULL: never ends */
};

struct hub_batch {        /* events handed over at once; valid during the callback */
    struct shared *bytes; /* encoded; NULL when the filter let none through. Write it by reference */
    int64_t first, last;  /* all sequence numbers this covers, let through or not */
    bool ended;           /* the channel's last event is among them */
};

struct follower_type {
    void (*on_batch)(struct follower *f, const struct hub_batch *batch);
    /* Caught up: f->seq is the present end of the channel. From here batches come unasked. */
    void (*on_live)(struct follower *f);
    /* The sequence is not the one that was followed any more (data restored from a backup). The follower was taken off
     * the hub; it reads the present state and follows anew. */
    void (*on_reset)(struct follower *f);
};

struct follower { /* embedded in its owner; zeroed memory is a follower of nothing */
    struct list link;
    struct hub_view *view; /* NULL: follows nothing */
    const struct follower_type *type;
    int64_t seq; /* everything up to here was handed over */
    bool live;   /* private from here */
    bool wants;
};

/* Opened by the worker after its store, closed before it. hub_open answers NULL when memory or Redis' address fails. */
struct hub *hub_open(struct worker *worker);
/* Takes every follower off, without callbacks; `closed` runs once, later, when the subscriber connection is gone. */
void hub_close(struct hub *hub, void (*closed)(void *arg), void *arg);

/* Follow `source` from behind event `since`. `filter`: see server/event.h; copied. False: no memory, nothing happened.
 */
bool hub_follow(struct hub *hub, const struct hub_source *source, struct str filter, enum encoding encoding,
                int64_t since, struct follower *f);
/* A follower that is behind has room for its next slice. No effect on a live one. */
void hub_next(struct follower *f);
/* From the next batch on, `filter` decides. False: no memory, the old one stays. */
bool hub_refilter(struct follower *f, struct str filter);
/* Safe on a follower of nothing. */
void hub_unfollow(struct follower *f);

/* The epoch of the partition's data set as far as the hub has seen it; 0: not yet. */
int64_t hub_epoch(const struct hub *hub, unsigned partition);

struct hub_figures {
    uint64_t channels, views, followers;          /* now */
    uint64_t hints, hints_skipped, reads, resets; /* since start; skipped: did not continue the sequence */
    uint64_t batches, batch_bytes, deliveries;    /* since start; deliveries: batches × followers */
};
void hub_figures(const struct hub *hub, struct hub_figures *out);

#endif

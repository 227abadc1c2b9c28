/* What hub.c (channels, views, followers), hub_deliver.c (who is handed what) and hub_read.c (Redis) share. */
#ifndef SERVER_HUB_PRIVATE_H
#define SERVER_HUB_PRIVATE_H

#include "lib/loop.h"
#include "lib/op.h"
#include "lib/timer.h"
#include "proto/redis.h"
#include "server/hub.h"
#include "server/tail.h"

enum { HUB_BUCKETS = 4096, HUB_PARTITIONS = 64 };

/* A channel with many followers to which events come in bunches rests after a flush for a part of the time that took: what
 * comes meanwhile goes out with one write to each of them instead of two. One event at a time is never kept waiting. */
enum { HUB_WIDE = 64 /* followers */, HUB_REST_PART = 2, HUB_REST_MS = 8 /* at most */ };

struct hub_view { /* followers that are sent the same bytes */
    struct list link;
    struct hub_channel *channel;
    enum encoding encoding;
    struct list live;   /* have everything up to channel->flushed */
    struct list behind; /* the rest */
    struct str filter;  /* behind this struct */
    char text[];
};

struct hub_channel {
    struct list link; /* in its bucket */
    struct list peer; /* among those of its partition */
    struct list due;  /* in hub->due: the next flush looks at it */
    struct hub *hub;
    unsigned partition;
    const char *last;
    encode_open *open;
    struct str tenant; /* points into the key */
    struct tail tail;
    int64_t flushed;       /* live followers have everything up to here */
    int64_t began_ms;      /* the last flush of a bunch, */
    struct loop_task sent; /* which the kernel has when this runs, */
    struct timer rest;     /* and no other while this does */
    struct list views;
    size_t followers;
    struct list slices; /* reads of the past under way */
    struct ops ops;
    bool healing, heal_again;
    bool unsure;             /* the link was lost: until the epoch was read again, hints may be of another data set */
    struct str key, seq_key; /* behind this struct */
    char text[];
};

struct hub {
    struct worker *worker;
    struct redis *subscriber;
    struct list *buckets;
    struct list partitions[HUB_PARTITIONS]; /* channels */
    struct list due;                        /* channels the next flush looks at */
    struct list doomed;                     /* followers that are to be told of a reset */
    struct follower *calling;               /* whose callback runs; NULL: it was unfollowed meanwhile */
    struct loop_hook hook;
    struct loop_task again;
    struct timer tick;
    struct ops ops;
    struct list checks;             /* questions of the tick under way */
    int64_t epochs[HUB_PARTITIONS]; /* 0: not known */
    struct hub_figures figures;
    void (*closed)(void *arg);
    void *closed_arg;
};

static inline struct hub_view *hub_view_of(struct list *link)
{
    return list_entry(link, struct hub_view, link);
}
static inline struct follower *hub_follower_of(struct list *link)
{
    return list_entry(link, struct follower, link);
}
static inline bool hub_tail_known(const struct hub_channel *c)
{
    return c->tail.floor >= 0;
}
/* Moves every element of `from` to the head `to`: callbacks may unlink any of them while they are gone through. */
static inline void hub_take_all(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

/* hub.c */
struct hub_channel *hub_channel_find(struct hub *hub, struct str key);
void hub_channel_due(struct hub_channel *c);
void hub_doom(struct follower *f); /* takes it off; it is told to start over in the next flush */
/* The same for every follower of the channel. */
void hub_channel_reset(struct hub_channel *c);
/* The same for those that claim to have seen more than there is. */
void hub_channel_reset_beyond(struct hub_channel *c, int64_t seq);
/* A partition's data set is of this epoch: another one than before resets its channels. */
void hub_epoch(struct hub *hub, unsigned partition, int64_t epoch);

/* hub_deliver.c */
void hub_flush(struct hub_channel *c);        /* hands the live followers what the tail has more than they */
void hub_serve(struct hub_channel *c);        /* and those behind, that have room, their next slice */
void hub_channel_grew(struct hub_channel *c); /* the tail took events, or became known */
void hub_channel_note(struct hub_channel *c, struct str text);
/* XRANGE's answer for those that wait behind `from`; `seq` is the channel's last, read at the same instant. */
void hub_deliver_slice(struct hub_channel *c, int64_t from, const struct redis_value *entries, int64_t seq);

/* hub_read.c */
bool hub_read_open(struct hub *hub);
void hub_read_stop(struct hub *hub);
void hub_subscribe(struct hub_channel *c);
void hub_unsubscribe(struct hub_channel *c);
void hub_heal(struct hub_channel *c);                     /* reads what came behind the tail's head; one at a time */
void hub_read_slice(struct hub_channel *c, int64_t from); /* unless that read is under way */
void hub_reads_drop(struct hub_channel *c);               /* nobody waits for them any more */
enum { HUB_ENTRIES = 16 };                                /* stream entries in one read */
/* The events of the i-th entry of XRANGE's answer. */
struct str hub_entry_events(const struct redis_value *entries, size_t i);

#endif

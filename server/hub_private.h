/* What hub.c (channels, views, delivery) and hub_read.c (Redis) share. */
#ifndef SERVER_HUB_PRIVATE_H
#define SERVER_HUB_PRIVATE_H

#include "lib/loop.h"
#include "lib/op.h"
#include "lib/timer.h"
#include "proto/redis.h"
#include "server/hub.h"
#include "server/tail.h"
#include "server/worker.h"

enum { HUB_BUCKETS = 4096, HUB_PARTITIONS = 64 };

struct hub_view { /* followers that are sent the same bytes */
    struct list link;
    struct hub_channel *channel;
    enum encoding encoding;
    struct list live;   /* have everything up to channel->flushed */
    struct list behind; /* the rest */
    struct str filter;
    char text[];
};

struct hub_channel {
    struct list link;    /* in its bucket */
    struct list due;     /* in hub->due: the next flush looks at it */
    struct hub *hub;
    unsigned partition;
    const char *last;
    struct tail tail;
    int64_t flushed;     /* live followers have everything up to here */
    struct list views;
    size_t followers;
    struct list slices;  /* reads of the past under way */
    struct ops ops;
    bool subscribed, healing, heal_again;
    struct str key, seq_key; /* behind this struct */
};

struct hub {
    struct worker *worker;
    struct redis *subscriber;
    struct list *buckets;
    struct list due;     /* channels for the next flush */
    struct list doomed;  /* followers that are to be told of a reset */
    struct follower *calling; /* whose callback runs; NULL: it was unfollowed meanwhile */
    struct loop_hook hook;
    struct timer tick;
    struct ops ops;
    int64_t epochs[HUB_PARTITIONS]; /* 0: not known */
    struct hub_figures figures;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* hub.c */
struct hub_channel *hub_channel_find(struct hub *hub, struct str key);
void hub_channel_due(struct hub_channel *c);   /* the next flush looks at it */
void hub_channel_reset(struct hub_channel *c); /* every follower starts over */
void hub_follower_reset(struct follower *f);
/* Events read from the past, a whole slice, for every follower that waits behind `from`; false: they do not continue. */
void hub_channel_note(struct hub_channel *c, struct str text);
struct hub_slice_events {
    const struct redis_value *entries; /* XRANGE's answer */
};
bool hub_deliver_slice(struct hub_channel *c, int64_t from, const struct redis_value *entries, int64_t *last);

/* hub_read.c */
bool hub_read_open(struct hub *hub);
void hub_subscribe(struct hub_channel *c);
void hub_unsubscribe(struct hub_channel *c);
/* Reads what came behind the tail's head; one at a time. */
void hub_heal(struct hub_channel *c);
/* Reads the slice behind `from`, unless that read is under way. */
void hub_read_slice(struct hub_channel *c, int64_t from);
void hub_channel_fini_reads(struct hub_channel *c);

#endif

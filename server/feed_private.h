/* What the files of the feed share: feed_open.c (the request), feed.c (from the upgrade to the last close),
 * feed_client.c (what the client says), feed_say.c (what it is told), feed_tick.c (heartbeat, deadlines, the worker's
 * side). */
#ifndef SERVER_FEED_PRIVATE_H
#define SERVER_FEED_PRIVATE_H

#include "lib/cidr.h"
#include "lib/id.h"
#include "lib/slab.h"
#include "lib/timer.h"
#include "proto/ws.h"
#include "server/feed.h"
#include "server/hub.h"
#include "server/scope.h"
#include "server/session.h"
#include "server/settings.h"
#include "server/worker.h"

enum feed_stage {
    FEED_OPENING,  /* the request is not answered yet: it is known, its state is being read */
    FEED_LOGIN,    /* upgraded; the first message will say who it is, or has and is being checked */
    FEED_READING,  /* upgraded; the present state is being read */
    FEED_GREETING, /* the resource says what it has to say before anything else */
    FEED_BEHIND,   /* follows; what it missed is being sent */
    FEED_LIVE,
    FEED_CLOSING /* the close frame is out: waiting for the client's, or for the queue to drain */
};

struct feed_caller {  /* what all feeds of one credential share */
    struct list link; /* in its bucket of feeds->callers */
    size_t feeds;
    struct feeds *all;
    struct session session;
    struct caller caller; /* its texts stand behind this struct */
    char text[];
};

/* What a feed needs until it follows. It is let go then, but for what is of use later: a scope, and the stamp of one
 * that may be replaced. A request that has not ended yet keeps it as well, to tell the feed of its end. */
struct feed_opening {
    struct feed *feed;          /* NULL: let go */
    struct request *request;    /* while it lives */
    int64_t since, since_epoch; /* asked for. -1: not given; 0: any */
    int64_t seq, epoch;         /* of the state that was read, or where to follow from */
    uint64_t stamp;             /* when it was opened, for spec->one */
    char *scope;                /* see feed_scope; NULL: everything */
    bool again;                 /* after a reset */
    char address[CIDR_TEXT];    /* of the client; later only the peer's is known */
};

struct feed {
    struct follower follower;
    struct list link;  /* in feeds->all */
    struct list wheel; /* in the slot of its next deadline */
    struct list want;  /* in feeds->wanting: has room for more once the queue was flushed */
    const struct feed_spec *spec;
    struct feed_opening *opening; /* NULL once it was let go */
    struct conn *conn;            /* its own from the upgrade on */
    struct ws *ws;                /* while a frame of the client is under way */
    struct login *login;          /* while a token is being checked */
    struct ops ops;
    const struct caller *caller; /* of a feed_caller; of type CALLER_NONE until it is known */
    char *filter;                /* text form, see event.h; NULL: everything */
    void *data;
    uint32_t due;   /* the next beat, or the end when closing; ms of the loop's clock, modulo 2^32 */
    uint32_t fresh; /* bytes written in turn `turn` */
    uint32_t turn;  /* of feeds->turn */
    uint8_t id[16]; /* of the document */
    uint8_t stage : 4, unanswered : 4;
    bool sse : 1, packed : 1, synced : 1, over : 1, ended : 1, warned : 1, stalled : 1;
};

enum {
    FEED_WHEEL = 256,
    FEED_CALLERS = 1024, /* buckets */
    FEED_SLOT_MS = 250,
    FEED_RETRY_MS = 2000, /* how long an EventSource waits before it comes again */
    FEED_LINGER_MS = 2000 /* from our close frame to the end, when the client sends none */
};

struct feeds {
    struct worker *worker;
    struct list all, wanting;
    size_t count;
    struct list wheel[FEED_WHEEL];
    struct list callers[FEED_CALLERS];
    struct slab slots;
    uint32_t turn; /* counts flushes */
    int64_t slot;  /* the next to be looked at: time in units of FEED_SLOT_MS */
    struct timer timer;
    struct loop_hook hook;
    struct loop_task task;
    struct ws_limits ws_limits;
};

/* Offered by a browser that cannot leave it out, and then chosen. */
#define FEED_SUBPROTOCOL "slipway.v1.json"

static inline int64_t feed_interval(const struct feed *f)
{
    const struct settings *s = feed_worker(f)->settings;
    return f->sse ? s->stream_comment : s->stream_heartbeat;
}
static inline enum encoding feed_encoding(const struct feed *f)
{
    return f->sse ? ENCODE_SSE : f->packed ? ENCODE_PACKED : ENCODE_WS;
}
static inline struct feeds *feeds_of(const struct feed *f)
{
    return feed_worker(f)->feeds;
}
static inline void feed_due_in(struct feed *f, int64_t ms)
{
    f->due = (uint32_t)(loop_now_ms(&feed_worker(f)->loop) + ms);
}
static inline int64_t feed_due(const struct feed *f) /* in ms; what is over is negative */
{
    return (int32_t)(f->due - (uint32_t)loop_now_ms(&feed_worker(f)->loop));
}

/* feed.c */
void feed_upgrade(struct feed *f);
extern const struct follower_type feed_follower;
void feed_free(struct feed *f);              /* the last thing that happens to it */
void feed_watch(struct feed *f);             /* is told when the caller is revoked */
bool feed_reopen(struct feed *f);            /* has an opening again; false: no memory */
void feed_opened(struct feed *f);            /* follows: lets go what it needed until then */
void feed_enter(struct feed *f);             /* the caller is known: reads the present state, then follows */
void feed_go_on(struct feed *f);             /* the socket took everything: the next piece of the greeting, or slice */
const char *feed_part(const struct feed *f); /* "nodeId", "taskId" */
bool feed_set_scope(struct feed *f, const struct scope_ids *ids); /* false: no memory; the filter is set afterwards */
bool feed_confine(struct feed *f); /* the filter that is set, to the scope; false: no memory */
struct str feed_filter(const struct feed *f);
bool feed_set_filter(struct feed *f, struct str types, struct str nodes, struct str level, const char **fault);
enum code feed_room(const struct feeds *feeds, const struct caller *caller); /* OK, or what to refuse with */
extern const struct conn_protocol feed_protocol;

/* feed_say.c */
enum room {
    ROOM_ENOUGH,
    ROOM_LATER, /* once the socket has taken what this turn brought */
    ROOM_NONE   /* the reader is too slow */
};
enum room feed_room_for(const struct feed *f, size_t n);
void feed_wrote(struct feed *f, size_t n);
extern const char slow_reader[];
struct say { /* messages that leave in one write */
    struct feed *feed;
    struct buf out;  /* encoded */
    struct buf text; /* of the present message */
    struct json_out json;
};
void say_begin(struct say *s, struct feed *f);
void say_open(struct say *s, const char *type); /* members follow through s->json */
void say_close(struct say *s);                  /* adds the timestamp */
void say_send(struct say *s);                   /* writes; a reader too slow is cut */
void feed_close_with(struct feed *f, enum feed_close code, enum code error, const char *why);

/* feed_client.c */
void feed_client_read(struct feed *f, struct str bytes);
void feed_client_stop(struct feed *f); /* forgets a token that is being checked */
void feed_client_fini(struct feed *f);
extern const struct caller feed_nobody;
static inline struct feed_caller *feed_caller_of(const struct feed *f) /* whose caller is known */
{
    return (struct feed_caller *)(uintptr_t)((const char *)f->caller - offsetof(struct feed_caller, caller));
}
bool feed_take_caller(struct feed *f, const struct caller *caller); /* false: no memory */
void feed_drop_caller(struct feed *f);

/* feed_tick.c */
void feed_schedule(struct feed *f); /* after a deadline of its changed */
void feed_want(struct feed *f);     /* feed_go_on as soon as the socket took what was written */

#endif

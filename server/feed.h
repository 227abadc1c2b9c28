/* A feed: one client's view of a channel, over WebSocket or server-sent events on the same URL.
 *
 *   ready {streamId, epoch, currentSeq, heartbeatInterval}
 *   snapshot {seq, data}      without `since`, with since=0, and after a gap
 *   every event behind `since` or the snapshot, in slices as the socket takes them
 *   synced {seq}, then events as they come, heartbeat {seq}
 *   end {reason}, close 1000  after the channel's last event
 *
 * Control messages have a timestamp and no sequence number (snapshot, synced, heartbeat: `seq` says how far the client
 * now is). A handler of a stream route calls feed_open and returns what it answers; everything from the upgrade to the
 * last close frame is the feed's business: authentication by header, `?token=` or first message, `since` and
 * Last-Event-ID, filters, heartbeat, expiry and revocation of the caller, limits, slow readers, drain.
 *
 * A feed that waits costs about half a kilobyte: no arena, no buffer, no timer (one tick per worker walks a wheel). */
#ifndef SERVER_FEED_H
#define SERVER_FEED_H

#include "lib/json.h"
#include "server/request.h"

struct feed;
struct feeds; /* all feeds of a worker */
struct redis_value;

/* WebSocket close codes (spec §13.2). */
enum feed_close {
    FEED_END = 1000,
    FEED_GOING = 1001,
    FEED_PROTOCOL = 1002,
    FEED_NOT_UTF8 = 1007,
    FEED_FAULT = 1011,
    FEED_RESTART = 1012,
    FEED_LATER = 1013,
    FEED_BAD_MESSAGE = 4400,
    FEED_UNAUTHENTICATED = 4401,
    FEED_FORBIDDEN = 4403,
    FEED_UNKNOWN = 4404,
    FEED_AUTH_TIMEOUT = 4408,
    FEED_REPLACED = 4409,
    FEED_TOO_LARGE = 4413,
    FEED_SLOW = 4429
};

struct feed_state { /* what was read, at one instant, for a snapshot; valid during the call */
    struct feed *feed;
    int64_t seq, epoch, now_ms;
    const struct redis_value *document; /* the document's HASH as names and values */
    const struct redis_value *extra;    /* the HASH named by spec->extra; NULL without one */
};

struct feed_spec {          /* one per stream resource, static */
    const char *kind;       /* kind of the document whose existence decides 404 */
    const char *channel;    /* prefix of the channel, "run": the channel is "run:<id>" */
    const char *last;       /* type of the channel's last event; NULL: it never ends */
    const char *permission; /* asked again after a first-message login; NULL: `may` decides alone */
    bool ws_only;
    bool one;      /* one feed per id: a newer one closes the older with 4409 */
    bool from_now; /* without `since`: snapshot, whatever the client says (agents) */
    /* Beyond the permission: false is 403 or 4403. NULL: everybody with the permission. */
    bool (*may)(const struct caller *caller, struct str id);
    /* Name of another HASH to read with the document, into `key`; NULL: none. */
    void (*extra)(struct feed *feed, struct buf *key);
    /* Writes the snapshot's `data`; `over`: the channel's last event is already behind us. False: 500. */
    bool (*snapshot)(const struct feed_state *state, struct json_out *o, bool *over);
    /* Instead of one snapshot message, messages of its own (agents: one task_assigned per open task); NULL: none. */
    bool (*greet)(const struct feed_state *state);
    /* A message of the client that is none of auth, ping and subscribe. NULL: 4400. `message` dies with the call. */
    void (*on_message)(struct feed *feed, struct str type, const struct json *message);
    void (*on_open)(struct feed *feed);  /* authenticated and synced for the first time */
    void (*on_close)(struct feed *feed); /* the last call for this feed */
};

/* For a handler of a ROUTE_STREAM route with the id as its first path parameter. Upgrades, or answers 404, 426, 429,
 * 503. */
enum flow feed_open(struct request *r, const struct feed_spec *spec);

const struct caller *feed_caller(const struct feed *feed);
struct worker *feed_worker(const struct feed *feed);
struct str feed_id(const struct feed *feed); /* of the document */
struct ops *feed_ops(struct feed *feed);     /* operations whose continuation wants the feed; detached at its end */
void *feed_data(const struct feed *feed);    /* the resource's own, set by feed_set_data */
void feed_set_data(struct feed *feed, void *data);
/* Sends one JSON message as it is. */
void feed_send(struct feed *feed, struct str message);
/* Sends an error frame when `message` is not NULL, then the close frame; the feed is over. */
void feed_close(struct feed *feed, enum feed_close code, const char *message);

/* The worker's side. */
struct feeds *feeds_open(struct worker *worker);
/* Tells every feed `drain {reconnectInMs}`, each its own delay within `window_ms`, and closes it with 1012 then. */
void feeds_drain(struct feeds *feeds, int64_t window_ms);
size_t feeds_count(const struct feeds *feeds);
/* Cuts what is left; `closed` runs once, later. */
void feeds_close(struct feeds *feeds, void (*closed)(void *arg), void *arg);

#endif

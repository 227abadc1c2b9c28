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
struct shared; /* lib/stream.h: refcounted bytes */

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

struct feed_state { /* what was read, at one instant; valid during the call */
    struct feed *feed;
    int64_t seq, epoch;
    const struct redis_value *document; /* the document's HASH: names and values */
    const struct redis_value *extra;    /* names of the fields of the HASH named by spec->extra; nil without one */
};

struct feed_spec {          /* one per stream resource, static */
    const char *kind;       /* of the document whose existence decides 404; NULL: the tenant has one, without an id */
    const char *channel;    /* "run": the channel is "run:<id>"; without a kind it is this */
    const char *part;       /* what the filter for parts of it asks for: "taskId"; NULL: "nodeId" */
    const char *last;       /* type of the event with which it ends, until more comes; NULL: it never ends */
    const char *permission; /* of a first-message login; the route's own has been asked before otherwise */
    bool ws_only;
    bool one;   /* one feed per id: a newer one, on any instance, closes the older with 4409 */
    bool whole; /* always starts with the snapshot, whatever `since` says (agents: their open tasks) */
    /* A caller whose permission is narrowed to environments is shown their events and no others (feed_scope); its
     * resource has a FIELD_SCOPE row. Only without a kind. */
    bool scoped;
    /* Beyond the permission: false is 403 or 4403. NULL: everybody with the permission. */
    bool (*may)(const struct caller *caller, struct str id);
    /* The channel's events as its readers are to see them, appended to `out`: what stands there sealed. NULL: as they
     * stand. */
    void (*open)(struct worker *w, struct str tenant, struct str event, struct buf *out);
    /* Name of another HASH whose fields are read with the document, in `scratch`; NULL: none. */
    struct str (*extra)(const struct feed *feed, struct arena *scratch);
    /* Reads what the snapshot needs beyond the document: OK, and feed_gathered follows, unless feed_ops are detached before.
     * The state is read first, so what is gathered is not older than state->seq. NULL: nothing more. Only without a kind. */
    enum code (*gather)(struct feed *feed);
    void (*on_events)(struct feed *feed); /* the channel has gone on, or somebody said something */
    /* Whether the channel's last event has been: nothing more will come. NULL: never. */
    bool (*over)(const struct feed_state *state);
    /* Writes the object `data` of the snapshot message; false: memory. NULL: no snapshot message. */
    bool (*snapshot)(const struct feed_state *state, struct json_out *o);
    /* In its place, or behind it: messages of the resource's own, by feed_send. NULL: none. */
    void (*greet)(const struct feed_state *state);
    /* What would be too much to say at once: called when the socket has taken everything said before. It sends a piece,
     * now or later, and calls feed_greet_more, or feed_greeted: only then events follow. NULL: greet has said it all. */
    void (*greet_on)(struct feed *feed);
    /* A message of the client that is none of auth, ping and subscribe; it dies with the call. NULL: 4400. */
    void (*on_message)(struct feed *feed, struct str type, const struct json *message);
    void (*on_open)(struct feed *feed);  /* authenticated and, for the first time, synced */
    void (*on_close)(struct feed *feed); /* the last call, also when on_open was never called */
};

/* Query rows of a stream route. */
// clang-format off
#define FEED_QUERY FEED_QUERY_OF("nodeId", "nodes")
#define FEED_QUERY_OF(part, parts)                                                                                                     \
    {"since", FIELD_STRING, .max = 40, .pattern = "^([0-9]{1,18}:)?[0-9]{1,18}$",                                      \
     .doc = "Events after this number are sent; `epoch:number` also names the data set it belongs to."},               \
    {"types", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these types, separated by commas."}, \
    {part, FIELD_LIST, .item = FIELD_STRING, .max = 64,                                                                \
     .doc = "Only events of these " parts ", and those that belong to none; separated by commas."},                        \
    {"level", FIELD_ENUM, .choices = feed_levels, .doc = "Only log lines at least this grave."}
// clang-format on
extern const char *const feed_levels[];
/* For a handler of a ROUTE_STREAM route with the id as its first path parameter. Upgrades, or answers 400, 404, 426,
 * 429, 503. */
enum flow feed_open(struct request *r, const struct feed_spec *spec);

const struct caller *feed_caller(const struct feed *feed);
struct worker *feed_worker(const struct feed *feed);
struct ops *feed_ops(struct feed *feed);  /* operations whose continuation wants the feed; detached at its end */
void *feed_data(const struct feed *feed); /* the resource's own, set by feed_set_data */
void feed_set_data(struct feed *feed, void *data);
/* Sends one JSON message as it is. A reader too slow for it is cut with 4429. */
void feed_send(struct feed *feed, struct str message);
void feed_gathered(struct feed *feed, enum code code);
void feed_greet_more(struct feed *feed);
void feed_greeted(struct feed *feed, enum code code);
/* The environments a narrowed caller is shown, ids between commas; STR_NONE: everything. */
struct str feed_scope(const struct feed *feed);
/* A message of `type` for many feeds, encoded once for each way: sent if the filter lets the type through. False: the
 * feed has no room for it now, and is to be told later. */
bool feed_send_shared(struct feed *feed, const char *type, struct shared *ws, struct shared *sse);
/* Bytes of the client's are not read until feed_resume: what its messages caused is still under way. */
void feed_pause(struct feed *feed);
void feed_resume(struct feed *feed);
/* Sends an error message with this sentence (NULL: none), then the close frame. Nothing but on_close is called then. */
void feed_close(struct feed *feed, enum feed_close code, const char *why);

/* The worker's side. Opened after the hub, closed before it, when the connections are gone. */
struct feeds *feeds_open(struct worker *worker); /* NULL: no memory */
void feeds_close(struct feeds *feeds);
void feeds_sample(struct feeds *feeds); /* copies the figures of feeds and hub to the worker's metrics */

#endif

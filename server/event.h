/* Events as they stand in a channel: JSON objects, one a line, each starting {"seq":N,"timestamp":"…", as the store
 * function wrote it. This module cuts them apart and reads their top-level members without building a tree, and decides
 * what a filtered feed sees. Pure; nothing is allocated, everything answered is a view into the event. */
#ifndef SERVER_EVENT_H
#define SERVER_EVENT_H

#include "lib/str.h"

struct deflate; /* proto/deflate.h */

/* Cuts the next event off `events` (joined by newlines). False at the end, and at bytes that are no event:
 * then `events` keeps them. */
bool event_next(struct str *events, struct str *event, int64_t *seq);

/* The top-level member `name` of a JSON object: a string's contents as they are written (escapes stay), any other
 * value's text. STR_NONE when absent or not well formed. */
struct str event_member(struct str event, const char *name);

/* A filter in its one text form: `types|nodes|level`, the first two comma-separated lists in ascending order, each part
 * may be empty, and STR_NONE or "||" lets everything through. Two feeds with the same text share their frames. An event
 * is let through when its type is listed; its nodeId (or taskId) is listed, or it has none; its level is at least
 * `level` (debug < info < warn < error), or it has none. */
enum { EVENT_FILTER_MAX = 2048 };
bool event_passes(struct str event, struct str filter);
/* A further part, `types|nodes|level|environments`, is strict: only events whose environmentId is listed. */
bool event_lets(struct str filter, const char *type); /* the first part alone */
/* How events go out. */
enum encoding {
    ENCODE_JSON,   /* each followed by a newline */
    ENCODE_WS,     /* unmasked text frames (RFC 6455 §5.2) */
    ENCODE_PACKED, /* the same, long ones compressed (RFC 7692) */
    ENCODE_SSE     /* "id: <epoch>:<seq>", "data: <event>" and an empty line */
};
/* `deflate` may be NULL where nothing is ENCODE_PACKED. */
void event_encode(struct buf *out, enum encoding encoding, struct deflate *deflate, int64_t epoch, int64_t seq,
                  struct str event);
/* A message without a number of the channel: no id over SSE. */
void event_encode_control(struct buf *out, enum encoding encoding, struct deflate *deflate, struct str message);

/* Makes the text form from comma-separated lists (repeats are dropped). On false `fault` names the part that is none:
 * "types", "nodeIds", "level". */
bool event_filter(struct str types, struct str nodes, struct str level, struct buf *out, const char **fault);

#endif

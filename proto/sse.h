/* Server-sent events (WHATWG HTML §9.2): writing an event stream. Text that would break a line is split over several
 * lines (data) or refused (id, event: a CR, LF or NUL makes the buffer `failed`). */
#ifndef PROTO_SSE_H
#define PROTO_SSE_H

#include "lib/str.h"

/* One event with its empty line. `id` and `event` may be STR_NONE; any of CR, LF, CRLF in `data` begins a new line. */
void sse_write(struct buf *b, struct str id, struct str event, struct str data);
void sse_write_comment(struct buf *b, struct str text); /* ": text" and an empty line: keeps proxies awake */
void sse_write_retry(struct buf *b, uint64_t ms);       /* how long a client waits before it reconnects */

#endif

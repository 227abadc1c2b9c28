/* The audit trail as lines of JSON (NDJSON), for a SIEM: one sealed entry per line, oldest first, hashes included, as they
 * are verified. With `follow` the answer has no end: entries come within about two seconds of what they tell, and an empty
 * line now and then shows that the connection lives. Whoever was cut goes on behind the last `sequence` it has: sequences
 * have no gaps but those of entries that are older than audit-keep.
 *
 * An upgraded connection without a request: it holds no more than the socket takes, is watched for revocation and the end
 * of its token, and goes when the server drains. */
#ifndef SERVER_AUDIT_TAIL_H
#define SERVER_AUDIT_TAIL_H

#include "server/request.h"

enum { AUDIT_TAILS_MAX = 64 }; /* open at once, for each worker */

extern const struct field audit_tail_query[];

enum flow audit_tail(struct request *r);

#endif

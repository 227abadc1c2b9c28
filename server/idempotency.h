/* Idempotency-Key (decision 18): the same POST with the same key is done once, and answered again as it was.
 *
 *   none --admit--> in flight --commit--> done (document, revision, status)        replayed for 24 h
 *                       |  `------answer without a commit (404, 409, 422)--> done (status, body)
 *                       `---------answer that is not kept (400 401 403 429 503)--> none
 *
 * The record is opened by the admission, in its one trip, and closed by the commit, in its one transaction; it belongs
 * to (tenant, caller, route, key). Its fingerprint is the hash of the body: another body is refused with the dialect's
 * code. An opened record that is never closed (the process died) is taken over after the request's deadline. A body
 * with a secret in it is stored sealed under a key made from the Idempotency-Key and the bearer. */
#ifndef SERVER_IDEMPOTENCY_H
#define SERVER_IDEMPOTENCY_H

#include "server/request.h"

struct commit;

/* Notes the request's key, if it has one; a malformed one is a fault of `faults`. Called when the caller is known. */
void idempotency_begin(struct request *r, struct faults *faults);
/* After the body is known: goes on, waits, or answers a replay or a conflict. */
enum flow idempotency_check(struct request *r);
/* Puts the closing of the record into the commit that makes the change; `status` and where the answer's document is. */
void idempotency_commit(struct request *r, struct commit *c, int status, struct str kind, struct str id,
                        int64_t revision);
/* The same for an answer that shows a secret and so cannot be made again: the whole body, sealed. */
void idempotency_commit_sealed(struct request *r, struct commit *c, int status, struct str body);
/* Before an answer goes out: keeps or drops the record when no commit has closed it. WAIT: the answer follows later. */
enum flow idempotency_keep(struct request *r, int status, const char *type, struct str body);

#endif

/* Idempotency-Key (decision 18): the same POST with the same key is done once, and answered again as it was.
 *
 *   none --valid request--> claimed --the change's own commit--> kept      replayed for `idempotency-keep`
 *                              |  `----another answer (404 409 422, or 2xx without idempotency_commit)--> kept
 *                              `-------400 401 403 429 5xx--> none
 *
 * A request that is but one commit (ROUTE_ONE_COMMIT) claims nothing: that commit makes the record whole, or is refused
 * since there is one. Only an answer without it, or after such a refusal, claims, and finds what to replay.
 *
 * A record belongs to (tenant, caller, route, key); its fingerprint is the hash of method, path, query and body. It is
 * claimed once the request is known to be valid, so faults leave none behind. A claim that is never closed (the process
 * died, or Redis did) is over soon after the deadline of an operation: whoever asks again then does the work, and the
 * commit of one that was only slow is refused, since the claim is no longer its own.
 *
 * A kept record of an answer that is a document holds (document, revision, status); its text only once the document
 * moved on, which whatever moves it sees to (commit_idempotency). Other answers are held whole. One that shows a secret
 * is sealed under a key made from the Idempotency-Key and the bearer, which the store knows neither of.
 */
#ifndef SERVER_IDEMPOTENCY_H
#define SERVER_IDEMPOTENCY_H

#include "server/request.h"

struct commit;

enum { IDEMPOTENCY_KEY_MAX = 255 }; /* bytes of the header's value */

/* A POST's Idempotency-Key, if there is one; one that is malformed becomes a fault. False when memory ran out. */
bool idempotency_begin(struct request *r, struct faults *faults);
/* The step: claims, or leaves that to the commit, or answers a replay, a conflict, or that the first is still running. */
enum flow idempotency_claim(struct request *r);

struct idempotent_answer {
    int status;
    struct str data;     /* JSON, as given to reply_data or reply_document */
    int64_t revision;    /* 0: an answer without ETag */
    struct str location; /* STR_NONE: none */
    bool secret;         /* `data` is kept sealed */
    const char *kind;    /* `data` is this document, as the commit stores it; NULL: it is none */
    struct str id;
};
/* Closes the claim, or makes the record, in the commit that makes the change. No-op for a request without a key. */
void idempotency_commit(struct request *r, struct commit *c, const struct idempotent_answer *a);

/* The same where the answer is known only later: should it get lost, `data` as it is now is what is replayed. */
void idempotency_draft(struct request *r, struct commit *c, const struct idempotent_answer *a);

/* Before a refusal, of a request that left its claim to its commit: claims now. WAIT: what was done before is replayed, or
 * the refusal is made again and kept. */
enum flow idempotency_look(struct request *r, enum code refused);

/* Before an answer goes out: closes or gives back a claim that no commit has closed. WAIT: the answer follows. */
enum flow idempotency_keep(struct request *r, int status, const char *type, struct str body);

#endif

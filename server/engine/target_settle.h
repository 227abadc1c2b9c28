/* Brings a target's documents in line with what happened on it.
 *
 * What a job did to a target is a fact (P:ts:<tenant>, key_target_facts), written in the job's own commit together with the
 * timer (TARGET_TIMER, target, now). Settling reads the facts and the target and makes one commit of what follows from
 * them: currentRelease, currentDigests and health of the target's document, a sticker document that is `current`, the one before
 * `superseded`, and the timer taken off. It is safe to settle at any time, twice, and from several instances at once: a commit
 * that finds anything changed is made anew, and where there is nothing to do there is no commit.
 *
 * Beside the store's own fields a target's hash has: `sticker`, the id of its current sticker document; `settled`, the
 * facts last settled; `seen`, the sticker last read or written: {content, contentHash, jobId, observedAt, source}. */
#ifndef SERVER_ENGINE_TARGET_SETTLE_H
#define SERVER_ENGINE_TARGET_SETTLE_H

#include "lib/op.h"
#include "server/store/commit.h"

struct json;
struct request;
struct worker;

#define TARGET_TIMER "target"

/* Nobody waits; what fails is left to the sweep. */
void target_settle(struct worker *w, struct space space, struct str target);

/* What somebody has learned by asking an agent; times are Unix ms, texts and trees are borrowed until the commit. */
struct target_news {
    int64_t at_ms;
    struct str health, message; /* healthStatus and healthMessage; health STR_NONE: nothing was asked */
    bool read;                  /* the sticker was read: */
    const struct json *content; /* NULL: there is none */
    struct str content_hash;
    bool drifted;       /* event drift_detected */
    struct request *by; /* whose audit entry a change of health is */
};
/* RES_NOT_FOUND: the target is gone. */
typedef void target_then(void *arg, enum code c);
/* Settles with the news; lib/op.h's contract. The arena holds what is read and written. */
enum code target_tell(struct worker *w, struct space space, struct str target, const struct target_news *news,
                      struct arena *a, struct ops *asker, target_then *then, void *arg);

#endif

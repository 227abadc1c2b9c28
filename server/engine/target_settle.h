/* Brings a target's documents in line with what happened on it.
 *
 * What a job did to a target is a fact (P:ts:<tenant>, key_target_facts), written in the job's own commit together with the
 * timer (TARGET_TIMER, target, now). Settling reads the facts and the target and makes one commit of what follows from
 * them: currentRelease, currentDigests, hasDrift and health of the target's document, a sticker document that is
 * `current`, the one before `superseded`, and the timer taken off. It is safe to settle at any time, twice, and from
 * several instances at once: a commit that finds anything changed is made anew.
 *
 * The channel `dashboard` hears target_health_changed {targetId, targetName, environmentId, status, previousStatus} when
 * the status is another, and drift_detected {targetId, targetName, environmentId} each time somebody looked and found it.
 *
 * Beside the store's own fields a target's hash has: `sticker`, the id of its current sticker document; `settled`, the
 * facts last settled; `seen`, the sticker last read or written: {content, observedAt, source}. */
#ifndef SERVER_ENGINE_TARGET_SETTLE_H
#define SERVER_ENGINE_TARGET_SETTLE_H

#include "server/request.h"
#include "server/store/commit.h"

#define TARGET_TIMER "target"

/* Nobody waits; what fails is left to the sweep. */
void target_settle(struct worker *w, struct space space, struct str target);

/* What a request has learned by asking an agent. Texts and trees are borrowed until `then`. */
struct target_news {
    int64_t at_ms;
    struct str health, message; /* healthStatus and healthMessage; health STR_NONE: nothing was asked */
    bool read;                  /* the sticker was read: */
    const struct json *content; /* NULL: there is none */
    bool drifted;               /* event drift_detected */
};
/* RES_NOT_FOUND: the target is gone. On a live request. */
typedef enum flow target_then(struct request *r, enum code c, void *arg);
/* Settles with the news, in the request's memory and, for the audit trail, in its caller's name. */
enum flow target_tell(struct request *r, struct str target, const struct target_news *news, target_then *then,
                      void *arg);

#endif

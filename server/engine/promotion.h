/* What everybody who moves a promotion needs: its states, and a change of it as part of a commit.
 *
 *   pending -> awaiting_approval -> approved -> deploying -> deployed -> rolled_back
 *   pending -> approved -> rejected              deploying -> failed -> rolled_back
 *   pending | awaiting_approval | approved -> cancelled        deploying -> rolled_back
 *
 * Beside its document a promotion stands in one of the environment's lines (pending, awaiting, approved; key.h) until it
 * deploys or ends, and among the active ones (at most one of a release and an environment) until it ends. */
#ifndef SERVER_ENGINE_PROMOTION_H
#define SERVER_ENGINE_PROMOTION_H

#include "server/document.h"

struct request;

#define PROMOTION_KIND   "promotion"
#define PROMOTION_SYSTEM "system" /* requestedBy of a promotion that nobody asked for */

enum promotion_status {
    PROMOTION_PENDING,
    PROMOTION_AWAITING,
    PROMOTION_APPROVED,
    PROMOTION_DEPLOYING,
    PROMOTION_DEPLOYED,
    PROMOTION_REJECTED,
    PROMOTION_CANCELLED,
    PROMOTION_FAILED,
    PROMOTION_ROLLED_BACK,
    PROMOTION_STATUSES
};
extern const char *const promotion_statuses[];                        /* ends with NULL */
enum promotion_status promotion_status(const struct json *promotion); /* PROMOTION_STATUSES: none of them */
bool promotion_is_over(enum promotion_status s);
/* What can be done with it, ends with NULL: details.allowedActions. */
const char *const *promotion_actions(enum promotion_status s);

struct promotion_names {
    struct str id, environment, release;
};
struct promotion_names promotion_names(const struct json *promotion);

/* Lines, active ones and the dashboard's frames of a promotion that goes from a status (PROMOTION_STATUSES: it is new)
 * to another; its environment is woken. */
void promotion_moved(struct commit *c, struct arena *a, struct space s, const struct promotion_names *names,
                     enum promotion_status from, enum promotion_status to, int64_t now_ms);

/* A change by the system, or (`by`) in the name of a request. */
struct promotion_change {
    struct arena *arena;
    struct space space;
    const struct json *old; /* the document as stored, and its revision */
    int64_t revision, now_ms;
    struct overlays set; /* members to be set */
};
void promotion_change(struct promotion_change *p, struct arena *a, struct space s, const struct json *old,
                      int64_t revision, int64_t now_ms);
/* Into the commit: the document with `to` and the members set (and decidedAt, startedAt, completedAt as they follow), what
 * promotion_moved says, and the audit entry `action` (NULL: none). Memory that runs out fails the commit. */
void promotion_write(struct commit *c, struct promotion_change *p, enum promotion_status to, const char *action,
                     struct request *by);
void promotion_error(struct promotion_change *p, const char *code, struct str message); /* sets `error` */

/* The hash field of an active one: "<environment>:<release>". */
struct str promotion_active_field(struct arena *a, struct str environment, struct str release);

/* What P:er says of an environment: {deployedAt, deployedBy, deploymentJobId, id, name, previous, promotionId}. `job`:
 * id or NULL. `before`: what it said, or NULL; a release that is deployed again keeps what was before it. STR_NONE: no
 * memory. */
struct str promotion_deployed_fact(struct arena *a, const struct json *promotion, const struct json *job,
                                   const struct json *before, int64_t now_ms);

#endif

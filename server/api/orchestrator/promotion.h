/* The handlers of a promotion, beside its rows. */
#ifndef SERVER_API_ORCHESTRATOR_PROMOTION_H
#define SERVER_API_ORCHESTRATOR_PROMOTION_H

#include "server/crud.h"

/* promotion_create.c: what has to be read before a promotion can be judged, and the judgement. */
enum flow promotion_gather(struct request *r, struct change *c);
enum code promotion_prepare(struct request *r, struct change *c);

#endif

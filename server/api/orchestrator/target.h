/* Operations on a target that ask an agent or tell what one said. */
#ifndef SERVER_API_ORCHESTRATOR_TARGET_H
#define SERVER_API_ORCHESTRATOR_TARGET_H

#include "server/request.h"

enum { PROBE_CHECK_S = 5 }; /* what one check on request may take: the request waits for it */

enum flow target_health_check(struct request *r);
enum flow target_sticker(struct request *r);
enum flow target_drift(struct request *r);

#endif

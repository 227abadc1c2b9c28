/* The handler of POST /rollbacks, beside the rows. */
#ifndef SERVER_API_ORCHESTRATOR_ROLLBACK_H
#define SERVER_API_ORCHESTRATOR_ROLLBACK_H

#include "server/crud.h"

enum flow rollback_create(struct request *r);
enum flow rollback_gather(struct request *r, struct change *c);

#endif

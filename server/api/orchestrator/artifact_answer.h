/* How one artifact of a job or a step is answered: what is known of it, or its bytes. */
#ifndef SERVER_API_ORCHESTRATOR_ARTIFACT_ANSWER_H
#define SERVER_API_ORCHESTRATOR_ARTIFACT_ANSWER_H

#include "server/request.h"

extern const struct field artifact_query[]; /* of the route: download */

/* Whether the bytes are wanted: ?download=true, or an Accept that takes no JSON. */
bool artifact_wants_bytes(const struct request *r);
/* Content-Disposition for a download; the name is one of artifact_name_valid. */
void artifact_disposition(struct request *r, struct str name);

#endif

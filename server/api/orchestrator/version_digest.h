/* The digest of a version that names only where its artifact is: it is fetched once, within the request, to be hashed; it is
 * not kept. The outbound guard holds (setting outbound.allow), and no more than artifact-max. */
#ifndef SERVER_API_ORCHESTRATOR_VERSION_DIGEST_H
#define SERVER_API_ORCHESTRATOR_VERSION_DIGEST_H

#include "server/crud.h"

/* Hook of the resource: sets digest and size of a new version without a digest, or refuses with
 * REL_ARTIFACT_UNREACHABLE, or VAL_FAILED when there is no URL either. */
enum flow version_digest_gather(struct request *r, struct change *c);

#endif

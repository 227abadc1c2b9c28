/* The bytes of a version: uploaded through the connection's sink into the store of blobs, hashed on the way, and taken
 * only when they have the version's digest; downloaded as the client takes them. */
#ifndef SERVER_API_ORCHESTRATOR_VERSION_ARTIFACT_H
#define SERVER_API_ORCHESTRATOR_VERSION_ARTIFACT_H

#include "server/crud.h"

enum flow version_artifact_put(struct request *r);
enum flow version_artifact_get(struct request *r);

#endif

/* What a release is made of: the components a caller names, each brought to one version and its digest.
 *
 * A caller names a component and exactly one of versionId, digest and tag; a tag or digest that several versions share
 * means the newest of them. Resolved once, a release holds digests and no longer depends on what tags do. */
#ifndef SERVER_API_ORCHESTRATOR_RELEASE_RESOLVE_H
#define SERVER_API_ORCHESTRATOR_RELEASE_RESOLVE_H

#include "server/crud.h"

enum { RELEASE_COMPONENTS = 30 }; /* one trip reads the components and the versions named by id */

struct release_part {
    const struct json *named;     /* as the caller gave it */
    const struct json *component; /* NULL: no such component */
    const struct json *version;   /* NULL: none fits */
};
struct release_parts {
    struct request *r;
    struct change *change;
    struct release_part part[RELEASE_COMPONENTS];
    size_t n, at;
};

/* Starts reading; change_gathered follows. `c->state` becomes the parts. */
enum flow release_resolve(struct request *r, struct change *c, const struct json *components);
/* Sets components, componentIds, digests and contentHash, or refuses naming what could not be resolved. */
enum code release_resolved(struct request *r, struct change *c);

#endif

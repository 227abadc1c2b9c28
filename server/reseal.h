/* Seals what documents keep secret anew, under the newest key of the ring (`slipway key rotate`). Walks the whole data set,
 * one document at a time, each by a commit that holds only if the document did not change meanwhile; one that did was
 * sealed by whoever changed it, or is found by running this again. */
#ifndef SERVER_RESEAL_H
#define SERVER_RESEAL_H

#include "lib/arena.h"
#include "lib/op.h"
#include "server/code.h"

struct settings;
struct store;

struct resealed {
    size_t seen;   /* documents with secrets */
    size_t sealed; /* of these, sealed anew */
    size_t failed; /* of these, not readable with this ring, or changed meanwhile */
};

typedef void reseal_then(void *arg, enum code c, const struct resealed *result);
/* lib/op.h's contract. `arena` must live until then. */
enum code reseal(const struct settings *s, struct store *store, struct arena *arena, struct ops *asker,
                 reseal_then *then, void *arg);

#endif

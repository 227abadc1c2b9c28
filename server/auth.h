/* Who calls: bearer tokens, API keys and JWTs.
 *
 * An API key is refused by its checksum before any store trip; what is stored is its hash under the pepper. A JWT is
 * verified here and its subject and id are looked up, so that both can be revoked. A verified credential is kept per
 * worker with the partition's revocation counter as it was; every admission reads the counter in the same trip, and a
 * credential from before it moved is looked up again: a revocation is felt at the next request, on every worker.
 *
 * Everything in a caller is copied into the asker's arena: nothing points into the cache. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "server/permission.h"
#include "server/request.h"

struct settings;
struct auth; /* a worker's cache of verified credentials and its watched sessions */

struct auth *auth_new(struct worker *w); /* NULL when memory ran out */
void auth_free(struct auth *a);

/* The step: authenticates, charges the rate, opens the idempotency record, then answers 401, 429, 404, 405 or 403, or
 * goes on. A reading handler may go on beside it; its answer is held until the admission is back. */
enum flow auth_admit(struct request *r);

/* The bearer token of the request: Authorization, or `?token=` on a stream. STR_NONE and a code when there is none that
 * can be used (AUTH_TOKEN_MISSING, AUTH_TOKEN_INVALID). */
enum code auth_bearer(const struct request *r, struct str *token, bool *in_query);

/* Authenticates a token that came by another way than the request's head (the first message of a stream). The contract
 * is lib/op.h's: `then` runs once, later, with OK and a caller whose texts live in `arena`, or with the code of the
 * refusal. */
typedef void auth_then(void *arg, enum code c, const struct caller *caller);
enum code auth_token(struct worker *w, struct str token, bool in_query, struct arena *arena, struct ops *asker,
                     auth_then *then, void *arg);

/* A connection that outlives its request. `revoked` runs once when the credential is revoked, within a second; the
 * session is no longer watched then. */
struct auth_session {
    struct list link; /* private */
    char credential[65];
    char tenant[37];
    unsigned partition;
    void (*revoked)(void *arg);
    void *arg;
};
void auth_watch(struct worker *w, struct auth_session *s, const struct caller *caller, void (*revoked)(void *arg),
                void *arg);
void auth_unwatch(struct worker *w, struct auth_session *s); /* fine on one that is not watched */

/* How a credential is found in the store: 64 hex digits of its hash under the pepper. */
void auth_credential(const struct settings *settings, struct str secret, char hex[65]);
/* The same for what has no secret of its own: `what` is "user", "agent" or "jwt", `id` its id. */
void auth_subject(const struct settings *settings, const char *what, struct str tenant, struct str id, char hex[65]);

/* Signs an access token of an agent: role agent, bound to `agent_id`, `ttl_ms` long. Appends to `out`. */
void auth_agent_token(const struct settings *settings, struct buf *out, struct str tenant, struct str agent_id,
                      struct str name, int64_t now_ms, int64_t ttl_ms);

unsigned partition_of(struct str tenant); /* crc32 of the tenant's UUID text, modulo 64 */

#endif

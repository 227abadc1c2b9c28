/* Who calls: bearer tokens, API keys and JWTs.
 *
 * An API key is refused by its checksum before any store trip; what is stored is its hash under the pepper. A JWT is
 * verified here and its subject and id are looked up, so that both can be revoked. A verified credential is kept per
 * worker with the partition's revocation counter as it was, and trusted while the counter is as it was and was read
 * within `auth-trust`; one from before the counter moved is looked up again: a revocation is felt within that time.
 *
 * Everything in a caller is copied into the asker's arena: nothing points into the cache. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "server/permission.h"
#include "server/request.h"

struct settings;
/* The step: authenticates, charges the rate, opens the idempotency record, then answers 401, 429, 404, 405 or 403, or
 * goes on. A reading handler may go on beside it; its answer is held until the admission is back. */
enum flow auth_admit(struct request *r);

/* What the request authenticates itself with as it stands in its head: Authorization, or a key in X-API-Key; STR_NONE:
 * neither. */
struct str auth_header(const struct http_head *head);
/* The bearer token of the request: of Authorization, of X-API-Key if it is a key, or `?token=` on a stream, where a
 * ticket will do as well. STR_NONE and a code when there is none that can be used (AUTH_TOKEN_MISSING,
 * AUTH_TOKEN_INVALID). */
enum code auth_bearer(const struct request *r, struct str *token, bool *in_query);

/* Authenticates a token that came by another way than the request's head (the first message of a stream), and charges
 * its caller for one operation. The contract is lib/op.h's: OK, and `then` runs once, later, with OK and the caller,
 * whose texts live in `arena`, or with the code of the refusal; or another code, and it never runs. */
typedef void auth_then(void *arg, enum code c, const struct caller *caller);
enum code auth_token(struct worker *w, struct str token, bool in_query, struct str address, struct arena *arena,
                     struct ops *asker, auth_then *then, void *arg);

/* How a credential is found in the store (key_credential): 64 hex digits of the secret's hash under the pepper. Its
 * record has the fields tenant, kind ("key", "agent", "client", "user", "grant", …), id, name, tier (its number), roles and
 * permissions (between commas), networks (from where it may be used, server/caller.h), expires (ms, 0: never), and
 * revoked (ms) once it is.
 *
 * Credentials form chains: `of` names, by such digits and between spaces, those that one depends on ("?" before one
 * that may be missing), in the same partition and at most three deep: a grant is of a user and of a client, a person's
 * key of the person. One is good only while all of its chain is good: nothing missing, revoked or over, and the tenant
 * (key_tenant) not suspended; and it never gives more than the user of its chain has at this moment. So whoever takes a
 * user, a client or a grant back writes `revoked` there, counts the revocation (commit_revoked), and everything below
 * ends with it, everywhere. The chain is followed by the store, in the trip of the look-up (admit.lua). */
void auth_credential(const struct settings *settings, struct str secret, char hex[65]);
/* The same for what has an id and no secret: "user", "client", "grant" (the claim `sid` of its tokens), and access tokens,
 * which have no record until something is revoked: "jwt" with the token's jti, or "agent" with the agent's id, for all
 * tokens of that agent. */
void auth_subject(const struct settings *settings, const char *what, struct str id, char hex[65]);

/* Signs an access token of an agent: role agent, bound to `agent_id`, `ttl_ms` long. Appends to `out`. */
void auth_agent_token(const struct settings *settings, struct buf *out, struct str tenant, struct str agent_id,
                      struct str name, int64_t now_ms, int64_t ttl_ms);

struct admitted; /* server/store/admit.h */
/* What the chain that was looked up leaves of a caller: no more than its user has now, and from where it may call. */
enum code auth_bound(struct arena *a, struct caller *c, const struct admitted *in);
/* What is to end with the caller: the `of` of a record that acts on its authority later (an invitation). With a user
 * when it acts in one's name, with a key or client once that is taken back; a login or a key's own time may end before.
 * STR_NONE when memory ran out. */
struct str auth_depends_on(struct arena *a, const struct settings *s, const struct caller *c);
/* What the headers show of a charge. */
struct rate auth_rate(const struct admitted *a, unsigned tier);
/* "<kind>:<id>": how rates and idempotency records name a caller. */
struct str auth_caller_name(struct arena *a, const struct caller *c);
unsigned partition_of(struct str tenant); /* crc32 of the tenant's UUID text, modulo 64 */

#endif

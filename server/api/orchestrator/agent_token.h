/* Tokens of agents. All are stored as the hash of the secret under the pepper (key_credential), like API keys:
 *
 *   reg_…  registration: kind "registration"; tenant, id, expires, and `used` (the agent's id) once it is
 *          its document (of its id) has the hash alone, so that it can be taken back
 *   agt_…  refresh: kind "refresh"; tenant, id (of the agent), expires, and the hashes of its neighbours: `next`, given out
 *          against this one and not used yet, and `prev`, against which this one was given out
 *
 * Using a refresh token makes the next one and ends the previous one; itself it stays good until the next one is used.
 * So an agent that never saw the answer can ask again, and of a chain two tokens are good at most. */
#ifndef SERVER_API_ORCHESTRATOR_AGENT_TOKEN_H
#define SERVER_API_ORCHESTRATOR_AGENT_TOKEN_H

#include "lib/id.h"
#include "server/request.h"
#include "server/store/commit.h"

/* Looks at a registration token. OK: `then` runs once, later, on a live request, with OK and r->caller set to the token
 * (type CALLER_SYSTEM) in its tenant, or with the code of the refusal. */
enum code agent_token_check(struct request *r, struct str token, void (*then)(struct request *r, enum code c));
/* The record's key of the token that was checked; STR_NONE: memory. */
struct str agent_token_record(struct request *r);

struct agent_tokens {
    struct str access, refresh;
    bool failed;
};
/* Signs an access token, and makes a refresh token whose record goes into the commit. prev: hash of the one it follows;
 * STR_NONE: the first. */
void agent_tokens_make(struct agent_tokens *t, struct request *r, struct commit *c, struct str agent, struct str name,
                       struct str prev);
/* JSON of what registration and renewal answer. */
struct str agent_tokens_answer(const struct agent_tokens *t, struct request *r, struct str agent,
                               const struct json *config);
/* Every access token of the agent is refused from this commit on. */
void agent_tokens_revoke(struct request *r, struct commit *c, struct str agent, int64_t now_ms);

/* Handler of POST /agents/token. */
enum flow agent_token_renew(struct request *r);

#endif

/* What moves agents apart from people: their heartbeats, their silence, and the steps that wait for one.
 *
 *   online --2 intervals of silence--> degraded --3 intervals--> offline --heartbeat--> online
 *   online | degraded --it says that it leaves--> offline
 *
 * A heartbeat is a record beside the documents (liveness, and the use of the host's resources); only a change of
 * status, version or capabilities is a change of the agent's document, its roster entry and the audit trail. Silence is
 * noticed by whoever sweeps the partition, by the store's clock. A silent agent keeps its tasks until they expire. */
#ifndef SERVER_ENGINE_AGENTS_H
#define SERVER_ENGINE_AGENTS_H

#include "lib/json.h"
#include "lib/op.h"
#include "server/code.h"
#include "server/store/commit.h"

struct redis_value;
struct worker;

#define AGENT_KIND  "agent"
#define AGENT_PULSE "pulse" /* field of the document's hash: live members, ready to be answered */

extern const char *const agent_capabilities[]; /* all there are; ends with NULL */
/* An array of them, and of nothing else. */
bool agents_capabilities(const struct json *j);

enum { AGENT_DEGRADED = 2, AGENT_OFFLINE = 3 }; /* intervals */

/* The roster's entry of an agent, from its document. */
void agents_roster(struct buf *b, const struct json *document);
/* The dashboard's event of a change of an agent's status or lifecycle state. */
void agents_tell_status(struct commit *c, struct arena *a, struct str agent, struct str name, struct str status,
                        struct str lifecycle);
/* What AGENT_PULSE holds: "lastHeartbeat":…,"resourceUsage":…; usage NULL: null. */
void agents_pulse(struct buf *b, int64_t now_ms, const struct json *usage);

struct beat {                        /* copied */
    const struct json *usage;        /* object; NULL: not said */
    struct str version;              /* STR_NONE: not said */
    const struct json *capabilities; /* array; NULL: not said */
    const struct json *running;      /* array of the ids of its tasks; NULL: not said, nothing is reconciled */
    bool leaves;                     /* its last one: it goes offline at once, what it does not have goes to others */
};
struct beaten { /* borrowed */
    int64_t now_ms;
    const struct json *document;    /* as it is now */
    const struct redis_value *open; /* its open tasks: ids and envelopes in turn */
    const struct str *unknown;      /* of those it runs, what is no open task */
    size_t unknown_count;
};
typedef void agents_then(void *arg, enum code c, const struct beaten *b);
/* Takes a heartbeat, brings the agent back online, offers it waiting steps, and reconciles: the run of a task that only
 * the agent knows is told that the agent has it (and stops it, if it is over), the run of one that only the server knows,
 * and that the agent should have accepted long ago, is told that it is lost. RES_NOT_FOUND, AGT_REVOKED, or SYS_*;
 * `b` is NULL then. lib/op.h's contract. */
enum code agents_beat(struct worker *w, struct space space, struct str agent, const struct beat *beat,
                      struct ops *asker, agents_then *then, void *arg);

/* For drains_on_stale: an agent said nothing for AGENT_DEGRADED times the setting agent.heartbeat or longer. One whose own
 * interval is longer is left alone. */
void agents_silent(struct worker *w, struct space space, struct str agent, int64_t last_ms, int64_t now_ms);

/* An agent may have become eligible, or has room again: the runs of steps that wait for one are told. */
void agents_offer(struct worker *w, struct space space);

/* An agent is gone for good: adds the news to the inbox of each run that has a task open with it (`open`: as above), and
 * takes the agent off roster and liveness. After the commit call agents_told with the same. */
void agents_gone(struct commit *c, struct arena *a, struct str agent, const struct redis_value *open);
void agents_told(struct worker *w, struct space space, const struct redis_value *open);

#endif

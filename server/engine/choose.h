/* Which agent gets a task: a pure choice among the entries of the tenant's roster.
 *
 * An agent fits when it is active and online, has the capability, carries every wanted label, has not refused this very
 * attempt and has room (open tasks below its maxTasks). Of those that fit the least loaded one (open tasks over
 * maxTasks) is taken, then the one with fewer open tasks, then the lower id: the same roster gives the same choice. One
 * that is to be avoided comes last.
 * When none fits, the answer says why, for people. */
#ifndef SERVER_ENGINE_CHOOSE_H
#define SERVER_ENGINE_CHOOSE_H

#include "lib/json.h"

enum { CHOOSE_MAX_TASKS = 4, CHOOSE_INTERVAL_S = 30 }; /* of an agent that says nothing */

/* One entry of the roster (HASH P:g:<tenant>), and how many tasks the agent has open (HLEN P:gt:<tenant>:<agent>). */
struct choose_agent {
    struct str id, name;
    struct str status;    /* online, degraded, offline */
    struct str lifecycle; /* active, inactive, revoked */
    const struct json *labels, *capabilities;
    int64_t max_tasks, open_tasks;
    int64_t interval_s; /* between its heartbeats */
};

/* The roster's text of an agent, and back. The texts live in the arena. False when it is not one. */
void choose_write(struct buf *b, const struct choose_agent *agent);
bool choose_read(struct arena *a, struct str id, struct str text, int64_t open_tasks, struct choose_agent *out);

struct choose_wish {
    struct str capability;     /* "script"; STR_NONE: any agent */
    const struct json *labels; /* {name: value} or ["name", "name=value"], all must match; NULL: none */
    struct str agent;          /* this one and no other; STR_NONE: any */
    const struct str *refused; /* agents that refused this attempt */
    size_t refused_count;
    struct str avoid; /* taken only when no other fits: it was busy just now */
};

/* NULL when nobody fits; then `why` has a sentence: "3 agents: 1 is offline, 2 lack the capability script". */
const struct choose_agent *choose(const struct choose_agent *agents, size_t n, const struct choose_wish *wish,
                                  struct buf *why);
/* The sentence says that somebody would fit if it had room. */
bool choose_busy(struct str why);

#endif

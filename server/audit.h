/* The audit trail: who changed what, when and from where, in one hash chain per tenant.
 *
 * The entry of a change is in the change's own commit, with a gapless number per tenant. Refused changes (403, 409,
 * 422) of a known caller are entries of their own; failed authentications become one counted entry per source and
 * minute. Redis cannot hash, so a sealer (one per partition, under a lease) links the entries within a second, in
 * order:
 *
 *     eventHash = SHA-256(canonical JSON of the entry without eventHash), previousEventHash of the first: 64 zeros
 *
 * and signs a checkpoint (number, hash, time) with the evidence key now and then. Verification recomputes everything
 * from the entries: a changed, removed, added or moved entry breaks the chain at its number. Entries that are not yet
 * sealed are named as the tail. */
#ifndef SERVER_AUDIT_H
#define SERVER_AUDIT_H

#include "server/request.h"

struct audit_entry {
    const char *action;   /* "environment.updated" */
    const char *resource; /* kind */
    struct str resource_id;
    struct str environment_id, release_id, promotion_id; /* STR_NONE: none */
    struct str before, after;                            /* JSON without secrets; STR_NONE */
    struct str metadata;                                 /* JSON object; STR_NONE */
};

/* Adds the entry of a change by the request's caller to the commit. Memory that runs out fails the commit. */
void audit_add(struct commit *c, struct request *r, const struct audit_entry *e);
/* The same by the system itself (sweeps, timers, the engine): `actor` names the part, "engine". */
void audit_add_system(struct commit *c, struct arena *a, const char *actor, const struct audit_entry *e);

/* A refusal on its way out: becomes an entry when it is one of the kinds that are kept. Never fails, never waits. */
void audit_refused(struct request *r, enum code c);
/* An authentication that failed. Counted per address and tenant-less; written once a minute. */
void audit_unauthenticated(struct worker *w, struct str address, enum code c);

struct sealer;
struct sealer *sealer_new(struct worker *w); /* NULL: no memory */
void sealer_free(struct sealer *s);

extern const struct resource audit_event_resource;

#endif

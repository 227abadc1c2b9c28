/* The audit trail: who changed what, when and from where, in one hash chain per tenant.
 *
 * The entry of a change is in the change's own commit, with a gapless sequence per tenant. Refused changes (403, 409,
 * 422) of a known caller are entries of their own. Failed authentications belong to nobody: one counted entry per
 * address and minute, in the trail of the installation's first tenant.
 *
 * Redis cannot hash, so the worker that committed an entry seals it within a second (audit_chain.h); what was left lying
 * by one that died is swept up partition by partition. Sealing is deterministic and writes at a fixed offset, so it does
 * not matter who does it, or how often. Now and then, and before old entries are trimmed, a checkpoint (sequence and
 * hash) is signed with the evidence key. */
#ifndef SERVER_AUDIT_H
#define SERVER_AUDIT_H

#include "server/request.h"

enum {
    AUDIT_TEXT_MAX = 65536,        /* bytes of `before` or `after`; larger ones are replaced by their hash */
    AUDIT_SOURCES = 1000,          /* addresses counted at once; further ones are one */
    AUDIT_SLICE = 500,             /* entries of one trip */
    AUDIT_CHECKPOINT_EVERY = 1000, /* entries between signed checkpoints */
    AUDIT_SEAL_AFTER_MS = 200,
    AUDIT_REPORT_AFTER_MS = 60000 /* failed authentications */
};

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

/* An error on its way out: becomes an entry when it is one of the kinds that are kept. Never fails, never waits. */
void audit_refused(struct request *r, enum code c, struct str message);

/* One per worker. audit_add and audit_refused on this thread find it by themselves. */
struct auditor;
struct auditor *auditor_new(struct worker *w); /* NULL: memory ran out */
/* What is under way must have been detached or ended; entries not yet sealed are left to others. */
void auditor_free(struct auditor *a);

#endif

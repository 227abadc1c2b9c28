/* The worker's auditor: seals chains and counts failed authentications. Between audit.c and audit_seal.c. */
#ifndef SERVER_AUDIT_SEAL_H
#define SERVER_AUDIT_SEAL_H

#include "server/audit.h"
#include "server/store/key.h"

/* This thread commits an entry there: it will be sealed. Answers the store's clock. */
int64_t audit_seal_note(struct space s);
/* An authentication failed. */
void audit_seal_count(struct str address, enum code c);
void audit_write_failed_authentications(struct worker *w, struct str address, int64_t count, enum code last);

#endif

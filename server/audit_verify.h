/* GET /audit-events/verify: recomputes the chain from the entries, up to AUDIT_VERIFY_MAX of them in one call. */
#ifndef SERVER_AUDIT_VERIFY_H
#define SERVER_AUDIT_VERIFY_H

#include "server/request.h"

enum { AUDIT_VERIFY_MAX = 50000 };

extern const struct field audit_verify_query[], audit_verify_data[];
enum flow audit_verify(struct request *r);

#endif

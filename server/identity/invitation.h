/* Invitations: whoever has the token becomes a user of the tenant, with the roles that the invitation names. An
 * invitation is a document (kind "invitation") and a record of the credentials under its token's hash (server/auth.h):
 * fields kind "invitation", tenant, id, email, roles, expires, `used` once it was taken, and `of` who made it: with
 * that person, key or client it ends, it gives nothing that the person may not do any more, and the tenant's suspension
 * and networks hold for it as for everything. Taken once. */
#ifndef SERVER_IDENTITY_INVITATION_H
#define SERVER_IDENTITY_INVITATION_H

#include "server/request.h"

#define INVITATION_KIND   "invitation"
#define INVITATION_PREFIX "slin"

/* What accepting one may be refused with, for the rows of routes. */
#define INVITATION_CODES                                                                                               \
    AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AUTH_TOKEN_REVOKED, PERM_TENANT_SUSPENDED, PERM_NETWORK, RES_ALREADY_EXISTS

/* Makes the user. `then` runs once, later, with OK and the user's document, or with what is wrong (r->why says it). The
 * caller has checked the form. */
typedef void invitation_then(struct request *r, enum code c, struct str user);
enum code invitation_accept(struct request *r, struct str token, struct str name, struct str password,
                            invitation_then *then);

#endif

/* Invitations: whoever has the token becomes a user of the tenant, with the roles and groups that the invitation names.
 * An invitation is a document (kind "invitation") and a record of the credentials under its token's hash: fields kind
 * "invitation", tenant, id, email, roles, groups (ids between commas), expires, and `used`. Taken once. */
#ifndef SERVER_IDENTITY_INVITATION_H
#define SERVER_IDENTITY_INVITATION_H

#include "server/request.h"

#define INVITATION_KIND   "invitation"
#define INVITATION_PREFIX "slin"

/* Makes the user. `then` runs once, later, with OK and the user's document, or with what is wrong (r->why says it). The
 * caller has checked the form. */
typedef void invitation_then(struct request *r, enum code c, struct str user);
enum code invitation_accept(struct request *r, struct str token, struct str name, struct str password,
                            invitation_then *then);

#endif

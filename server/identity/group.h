/* Groups: what they have, their members have (server/identity/user.h), from the next request on. A group is a document
 * (kind "group") and a record of the credentials: fields kind "group", tenant, id, roles. */
#ifndef SERVER_IDENTITY_GROUP_H
#define SERVER_IDENTITY_GROUP_H

#include "server/store/key.h"

#define GROUP_KIND "group"

struct settings;
/* The key of its record; STR_NONE when memory ran out. */
struct str group_key(struct arena *a, const struct settings *s, struct space space, struct str id);
/* Roles that people and groups may have; ends with NULL. */
extern const char *const group_roles[];

#endif

/* What a caller may do, put together from roles and permissions; and from where it may call. */
#ifndef SERVER_CALLER_H
#define SERVER_CALLER_H

#include "server/request.h"

/* Adds what roles and permissions grant, names between commas; what is none grants nothing. False: memory ran out. */
bool caller_grant(struct arena *a, struct caller *c, struct str roles, struct str permissions);
/* Takes away what these do not grant. A permission that only one side narrows to an environment stays narrowed. */
bool caller_bound(struct arena *a, struct caller *c, struct str roles, struct str permissions);

/* What a caller was granted, bounded by what the user of its chain has at this moment: caller.granted keeps the former
 * where that is more, so that it can be done again when the user has changed. False: memory ran out. */
bool caller_of_user(struct arena *a, struct caller *c, struct str roles, struct str permissions);
/* Whether `now` lacks a permission that it had before. */
bool caller_lost(const struct caller *before, const struct caller *now);

/* The first permission of `wanted` that the caller has nowhere or in some environments only; NULL: none. */
const char *caller_lacks(const struct caller *c, const struct permission_set *wanted);

/* Allow-lists: networks (lib/cidr.h) between commas, lists between semicolons. The caller needs to be in each of them; an
 * empty one holds everything. What has no address, a Unix socket, is in no network. */
enum { NETWORKS_MAX = 32 };                               /* of one list */
bool networks_known(struct str list, struct str *wrong);  /* whether they are networks; the first that is none */
bool networks_hold(struct str lists, struct str address); /* address: in text form */

#endif

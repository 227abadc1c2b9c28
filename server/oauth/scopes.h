/* Scopes of OAuth (RFC 6749 §3.3): what a client may ask for, and what each lets its token do.
 *
 * A scope is one of the table's names, which stand for several permissions, or a permission as a caller may have it:
 * `release:read`, `workflow:*`, `promotion:request@prod` (server/permission.h). One that says `write` grants
 * reading, too. */
#ifndef SERVER_OAUTH_SCOPES_H
#define SERVER_OAUTH_SCOPES_H

#include "server/permission.h"

enum { SCOPES_MAX = 64, SCOPES_NAME_MAX = 128 }; /* of one client; characters of a name */

/* The table; false behind its end. `grants` are permissions between spaces. */
bool scopes_row(size_t i, const char **name, const char **grants, const char **doc);
/* What a client has that was registered without any: what a pipeline needs to publish and deploy. A JSON array. */
extern const char scopes_preset[];

/* The next of a list between single spaces; false at its end. An empty name, of a list that is malformed, is no scope. */
bool scopes_next(struct str *rest, struct str *name);
bool scopes_known(struct str name);
/* Adds what the scope grants everywhere. */
void scopes_add(struct permission_set *set, struct str name);
/* Whether whoever has the scopes of `list` may be given `name`: it is among them, or grants nothing beyond them. */
bool scopes_cover(struct str list, struct str name);
/* What the scopes grant, as the claim `permissions` says it. Names live in `list` or in the table. The answer is how many
 * there are, at most `most`. */
size_t scopes_permissions(struct str list, struct str *out, size_t most);

#endif

/* What a caller may do: `<resource>:<action>`, one bit each, and the roles that are sets of them. Published in the
 * docs; the effective permissions of a caller are those of all its roles and those given singly.
 *
 * One given singly may be narrowed to an environment, by id or name: `promotion:request@prod`. It grants nothing outside
 * of it (server/scope.h). */
#ifndef SERVER_PERMISSION_H
#define SERVER_PERMISSION_H

#include "lib/json.h"

enum { PERMISSION_WORDS = 4, PERMISSION_PLACE_MAX = 63 };

struct permission_set {
    uint64_t word[PERMISSION_WORDS];
};

int permission_find(struct str name); /* its bit, or -1 */
size_t permission_count(void);
const char *permission_name(size_t bit);
const char *permission_doc(size_t bit);

size_t role_count(void);
const char *role_name(size_t i);
const char *role_doc(size_t i);
bool role_find(struct str name, struct permission_set *out); /* adds the role's permissions */

/* Adds one permission, `<resource>:*`, or `*`; false when it names none (and so grants nothing). */
bool permission_add(struct permission_set *set, struct str name);
/* The two parts of a narrowed permission: what it grants, as permission_add takes it, and where, the id or the name of an
 * environment. False when the text is none, or names no permission. */
bool permission_narrowed(struct str text, struct str *what, struct str *where);
/* Whether `pattern`, as permission_add takes it, grants the permission. */
bool permission_covers(struct str pattern, const char *permission);
bool permission_has(const struct permission_set *set, size_t bit);
void permission_list(struct buf *out, const struct permission_set *set); /* names between commas */

#endif

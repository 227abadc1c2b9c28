/* Permissions narrowed to environments (`target:update@prod`, spec §1.2): what they grant, and where.
 *
 * Rows say which member names the environment: the one with FIELD_SCOPE, of a document and of a body. A row of an
 * environment itself, `id`, names it; in a body a FIELD_SCOPE row with a `ref` to another kind names a document, whose
 * environment counts. What is only reached by another document's id (steps of a run, a stream) names its kind in
 * `resource.below`, and a resource with `parent` belongs to that. Handlers need nothing:
 *
 *   an id in the path     the document's environment decides: 404 when there is none, 403 PERM_ENVIRONMENT_SCOPE outside
 *   a body                every environment it names must be one of them; a creation that names none is refused
 *   a list                shows what belongs to them, with the totals of that
 *   anything else         is refused with PERM_DENIED, as without the permission; a handler that can tell environments
 *                         apart by itself takes the ids with scope_take
 *
 * Environments are named by id or name; a name that is taken by another environment later grants there. Callers who have
 * the permission everywhere take no part in this and pay nothing for it. */
#ifndef SERVER_SCOPE_H
#define SERVER_SCOPE_H

#include "server/request.h"

enum {
    SCOPE_MOST = 100
}; /* environments that one permission of a caller can be narrowed to; further ones grant nothing */

/* The caller has the permission everywhere, or in the environment with this id and name: for handlers that ask for more than
 * their route does. */
bool scope_may(const struct caller *c, const char *permission, struct str id, struct str name);
/* The caller has the permission in some environment. */
bool scope_granted(const struct caller *c, const char *permission);
/* The row that names the environment; NULL: none does. */
const struct field *scope_row(const struct field *rows);
/* Whether what the resource is about belongs to environments. */
bool scope_applies(const struct resource *of);
/* Looks at who has the route's permission in some environments only: marks the request, or answers false. */
bool scope_enter(struct request *r);
/* The step after validation: reads what a marked request is about and refuses what lies elsewhere. */
enum flow scope_step(struct request *r);
/* For handlers of lists: the environments the answer is to be confined to. False: not confined. Taking them is a promise;
 * a success of a marked request that nothing has judged or taken is turned into a refusal. */
struct scope_ids {
    const struct str *ids; /* lower-case UUIDs, in the arena */
    size_t n;
};
bool scope_take(struct request *r, struct scope_ids *out);
/* A marked request that was neither judged nor taken: no success may go out. */
bool scope_open(const struct request *r);

/* May the caller, who has the permission in some environments, do this to the document of `kind`? lib/op.h: OK, and
 * `then` runs once, later, with OK, RES_NOT_FOUND, PERM_ENVIRONMENT_SCOPE or what failed. */
typedef void scope_then(void *arg, enum code c);
enum code scope_judge(struct worker *w, struct arena *a, const struct caller *c, const char *permission,
                      const char *kind, struct str id, struct ops *asker, scope_then *then, void *arg);
/* The environments in which the caller has the permission; `then` runs once, later. The ids live in the arena. */
typedef void scope_found(void *arg, enum code c, const struct scope_ids *ids);
enum code scope_find(struct worker *w, struct arena *a, const struct caller *c, const char *permission,
                     struct ops *asker, scope_found *then, void *arg);

#endif

/* The generic handlers: what a plain resource names in its routes.
 *
 * Create and update go: read what is needed (the document, the documents its references name) in one trip; merge and check
 * the whole (RFC 7396); the resource's `prepare`; one commit with the revision, free unique values, existing references,
 * index entries, audit entry and idempotency record; answer. When the revision moved meanwhile, all of it is done again, a few
 * times. Delete refuses with RES_IN_USE while another document's row with `ref` names it (rows with a facet only).
 *
 * Reference: a FIELD_UUID row (or a FIELD_LIST of them) with `ref` naming a kind. Unknown: 422 RES_REFERENCE_UNKNOWN with a
 * fault that names the field. A resource with `parent` answers 404 when the parent in the path does not exist, and
 * deleting a parent that has children is RES_IN_USE.
 *
 * An action of a resource that changes its document (`POST /things/{id}/deprecate`) is one function:
 *
 *     static enum code deprecate(struct request *r, struct change *c)
 *     {
 *         if (str_eqz(json_str(json_get(c->old, "status")), "deprecated"))
 *             return change_refuse_state(r, "deprecated", actions);
 *         overlay_str(&c->set, "status", S("deprecated"));
 *         return OK;
 *     }
 *     static enum flow thing_deprecate(struct request *r) { return crud_change(r, deprecate, "thing.deprecated"); } */
#ifndef SERVER_CRUD_H
#define SERVER_CRUD_H

#include "server/document.h"
#include "server/request.h"

enum flow crud_create(struct request *r);
enum flow crud_list(struct request *r); /* server/list.h */
enum flow crud_get(struct request *r);
enum flow crud_update(struct request *r);
enum flow crud_delete(struct request *r);

enum change_verb { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE };

/* One change of one document, on its way into a commit. Everything lives in the request's arena. */
struct change {
    enum change_verb verb;
    const struct resource *resource;
    struct str id;                /* new on create */
    int64_t now_ms;               /* the store's clock, near enough for createdAt */
    const struct document *before; /* NULL on create */
    const struct json *old;       /* `before`, parsed; NULL on create */
    const struct json *patch;     /* what the caller sent, valid: r->json */
    const struct json *whole;     /* what will be stored, before `set`; NULL on delete */
    struct overlays set;          /* members set by the server; prepare adds its own */
    struct commit *commit;        /* for further checks, writes, events; made anew for each attempt */
    const char *action;           /* of the audit entry */
    struct str after;             /* in change_then: the JSON as stored; STR_NONE after a delete */
    int64_t revision;             /* of `after` */
    void *state;                  /* prepare's own */
};

/* The document a reference of `whole` names, parsed, as this attempt read it; NULL when the member is absent or null. With
 * `pin` the commit also expects that it did not change meanwhile: for rules that depend on its members. */
const struct json *change_reference(struct change *c, const char *field, bool pin);
/* Refusals that name the member: a fault beside the code. */
enum code change_refuse_field(struct request *r, enum code c, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* 409 RES_INVALID_STATE with details {currentState, allowedActions}; `actions` ends with NULL. */
enum code change_refuse_state(struct request *r, const char *state, const char *const *actions);

/* An action: the update cycle with another hook and without a body of the resource's fields. The answer is the document, 200.
 */
typedef enum code change_prepare(struct request *r, struct change *c);
enum flow crud_change(struct request *r, change_prepare *prepare, const char *action);
/* The same for any of the verbs, when the answer is not the plain document. `then` runs on a live request after the
 * commit and replies. */
typedef enum flow change_then(struct request *r, struct change *c);
enum flow crud_commit(struct request *r, enum change_verb verb, change_prepare *prepare, const char *action,
                      change_then *then);

/* Reads the document {id} names (r->params[i]) of any kind and calls `then` on a live request, or answers 404. */
typedef enum flow document_then(struct request *r, struct document *d, const struct json *parsed);
enum flow crud_read(struct request *r, const struct resource *of, struct str id, document_then *then);

/* For `gather` hooks that answered WAIT: goes on to `prepare`. */
enum flow change_gathered(struct request *r);
/* For `live` hooks that answered WAIT: what was asked for is there. */
enum flow crud_enriched(struct request *r);

#endif

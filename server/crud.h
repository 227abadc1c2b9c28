/* The generic handlers: what a plain resource names in its routes.
 *
 * Create and update go: read what is needed (the document, and the documents its references name when `prepare` wants to
 * look at them); merge and check the whole (RFC 7396); `gather` and `prepare` of the resource; one commit with the
 * revision, free unique values, existing references, index entries, audit entry and idempotency record; answer. When the
 * revision moved meanwhile, all of it is done again, CHANGE_TRIES times in all. Delete refuses with RES_IN_USE while
 * another document names it in a row with `ref`.
 *
 * Reference: a FIELD_UUID row, or a FIELD_LIST of them, with `ref` naming a kind; FIELD_FILTER on it is what keeps the
 * other from being deleted. Unknown: 422 RES_REFERENCE_UNKNOWN and a fault that names the field. A resource with
 * `parent` has the parent's id as the first path parameter, and a read-only row `parent_field` with `ref` to it; without
 * that parent everything is 404.
 *
 * Rows named tenantId, createdAt, createdBy, updatedAt, updatedBy (or tenant_id, …), revision are filled in when a
 * resource has them.
 *
 * An action of a resource that changes its document (`POST /things/{id}/deprecate`) is one function:
 *
 *     static enum code deprecate(struct request *r, struct change *c)
 *     {
 *         if (str_eqz(json_str(json_get(c->old, "status")), "deprecated"))
 *             return change_refuse_state(r, "deprecated", (const char *[]){"archive", NULL});
 *         overlay_str(&c->set, "status", S("deprecated"));
 *         return OK;
 *     }
 *     static enum flow thing_deprecate(struct request *r) { return crud_change(r, deprecate, "thing.deprecated"); } */
#ifndef SERVER_CRUD_H
#define SERVER_CRUD_H

#include "server/document.h"
#include "server/request.h"

enum { CHANGE_TRIES = 5, CHANGE_TRIES_CHOSEN = 16 };

enum flow crud_create(struct request *r); /* 201 with Location */
enum flow crud_list(struct request *r);   /* server/list.h */
enum flow crud_get(struct request *r);
enum flow crud_update(struct request *r);
enum flow crud_delete(struct request *r); /* 204 */

enum change_verb { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE, CHANGE_ACTION };

/* One change of one document, on its way into a commit. Everything lives in the request's arena. */
struct change {
    enum change_verb verb;
    const struct resource *resource;
    struct str id;                      /* new on create */
    int64_t now_ms;                     /* the store's clock */
    const struct document *before;      /* NULL on create */
    const struct json *old;             /* `before`, parsed; NULL on create */
    const struct json *patch;           /* what the caller sent, valid: r->json */
    const struct json *whole;           /* what will be stored but for `set`; NULL on delete */
    struct overlays set;                /* members set by the server; prepare adds its own */
    struct commit *commit;              /* for further checks, writes, events; new for each try, open from gather on */
    const char *action;                 /* of the audit entry; NULL: none is written */
    struct str after;                   /* in change_then: the JSON as stored; STR_NONE after a delete */
    int64_t revision;                   /* of `after` */
    const struct commit_result *result; /* in change_then, borrowed */
    unsigned tries;                     /* counts from 1 */
    const char *chosen;                 /* a unique member the server chose: when it is taken, all is tried again,
                                           CHANGE_TRIES_CHOSEN times in all */
    void *state;                        /* gather's and prepare's own */
};

/* The member as it will be: of `set`, else of `whole`. NULL when absent or when memory ran out. */
const struct json *change_member(struct change *c, const char *name);
/* The document a top-level reference of `whole` names, parsed, as this try read it; NULL when the member is absent or null.
 * For `prepare`. With `pin` the commit also expects that it did not change meanwhile: for rules that depend on its
 * members. */
const struct json *change_reference(struct change *c, const char *field, bool pin);
/* Refusals that name the member: a fault beside the code. */
enum code change_refuse_field(struct request *r, enum code c, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* 409 RES_INVALID_STATE with details {currentState, allowedActions}; `actions` ends with NULL. */
enum code change_refuse_state(struct request *r, const char *state, const char *const *actions);

/* An action: the cycle of an update, with another hook than the resource's own and a body of the route's own (r->json).
 * Answers the document, 200. */
typedef enum code change_prepare(struct request *r, struct change *c);
enum flow crud_change(struct request *r, change_prepare *prepare, const char *action);
/* The whole cycle for any verb, when the answer is not the plain document. `then` runs on a live request after the
 * commit, and replies; NULL: the usual answer. */
typedef enum flow change_then(struct request *r, struct change *c);
enum flow crud_commit(struct request *r, enum change_verb verb, change_prepare *prepare, const char *action,
                      change_then *then);
/* An action that has to read more first, by a hook like the resource's `gather`. */
typedef enum flow change_gather(struct request *r, struct change *c);
enum flow crud_action(struct request *r, change_gather *gathering, change_prepare *prepare, const char *action,
                      change_then *then);

/* Reads a document of any kind and calls `then` on a live request, or answers 404. `id` need not be well formed. */
typedef enum flow document_then(struct request *r, struct document *d, const struct json *parsed);
enum flow crud_read(struct request *r, const struct resource *of, struct str id, document_then *then);
/* The id in the path: the last parameter of what is under a parent, else the first. */
struct str crud_id(const struct request *r);
/* The request's path and `id`. */
struct str crud_location(struct request *r, struct str id);
/* In a commit that makes a document: refused when the tenant keeps `documents-max` of the kind. */
void change_expect_room(struct request *r, struct commit *c, struct space space, const char *kind);

/* The change under way, for continuations of `gather`. */
struct change *change_current(const struct request *r);
/* For `gather` hooks that answered WAIT: goes on to `prepare`. */
enum flow change_gathered(struct request *r);
/* Answers documents, through the `live` hook of the resource: one with its revision, or a page of a list. */
enum flow crud_answer(struct request *r, int status, struct document *d);
enum flow crud_answer_list(struct request *r, struct document *list, size_t n, const struct page *page);
/* For `live` hooks that answered WAIT: what was asked for is there. */
enum flow crud_enriched(struct request *r);

#endif

/* References between documents: rows with `ref`. What create and update must find, and what keeps a document from being
 * deleted. */
#ifndef SERVER_REFERENCE_H
#define SERVER_REFERENCE_H

#include "server/document.h"
#include "server/request.h"

struct reference {
    const struct field *row;
    struct str path; /* "autoPromoteFrom", "approvers[2]" */
    struct str id;
    const struct json *found; /* once it was read */
    int64_t revision;
    bool pinned;
};
struct references {
    struct reference *list;
    size_t n;
};
/* Those of `json` that are not null. False: no memory. */
bool references_of(struct arena *a, const struct field *rows, const struct json *json, struct references *out);
bool references_has(const struct references *all, const struct reference *one); /* the same row, the same id */

/* Every row of every resource that can keep documents of `kind` from being deleted becomes a check of the commit. Its
 * label is "<kind>.<field>". */
void reference_expect_unused(struct commit *c, struct arena *a, struct space s, const char *kind, struct str id);
/* 409 RES_IN_USE after such a check failed, with details.usedBy naming the first few. */
enum flow reference_reply_used(struct request *r, struct str label, struct str id);

/* Reads the documents of `of` whose row `path` names `id`, REFERENCE_USERS at most, and calls `then` on a live request.
 * `pin` (may be NULL): a commit that must find the same set, else it is a RES_VERSION_CONFLICT labelled "pin", which the
 * change cycle tries again. */
enum { REFERENCE_USERS = 1000 };
struct reference_users {
    const struct json **list;
    size_t n;
    bool more;
};
typedef enum flow reference_then(struct request *r, const struct reference_users *users);
enum flow reference_users(struct request *r, const struct resource *of, const char *path, struct str id,
                          struct commit *pin, reference_then *then);

#endif

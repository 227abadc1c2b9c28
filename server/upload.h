/* A request's body on its way into the store of blobs: the connection's sink above, a blob_put below, and the clean-up when
 * the client goes away, the body is too long or too slow, or the commit is refused.
 *
 *     upload_start -> (the body comes) -> `whole` -> a commit with blob_refer -> upload_kept
 *
 * What was put and never kept is discarded when the request ends, unless it cannot be known whether the commit was made. */
#ifndef SERVER_UPLOAD_H
#define SERVER_UPLOAD_H

#include "server/blob_store.h"
#include "server/request.h"

struct upload {
    struct request *r;
    struct blob_put *put;    /* while the body comes */
    struct blob_ref made;    /* once it is whole */
    struct blob_books books; /* for the commit: upload_books */
    bool keep;               /* the bytes are stored, and not only hashed */
    bool replace;            /* what the books name is lost */
    bool stored;             /* `made` is there and nobody refers to it yet */
    bool committing;         /* a commit may be under way */
    struct str wanted;       /* the digest */
    enum flow (*whole)(struct upload *u);
    enum flow (*ready)(struct upload *u); /* of upload_books */
    void *arg;
};

/* Takes the body: `whole` is called once it is there, with the wished digest, or else the request has been answered
 * (RES_BODY_TOO_LARGE, RES_REQUEST_TIMEOUT, REL_DIGEST_MISMATCH, RES_QUOTA_EXCEEDED, SYS_*). With a digest whose bytes are
 * known here `keep` false only compares. The upload lives in the request's arena and is r->kept from here on. */
enum flow upload_start(struct request *r, struct str digest, bool keep, bool replace,
                       enum flow (*whole)(struct upload *u), void *arg);
/* Reads u->books for u->made, then calls `ready`. */
enum flow upload_books(struct upload *u, enum flow (*ready)(struct upload *u));
/* The commit that refers to the content was made. */
void upload_kept(struct upload *u);

#endif

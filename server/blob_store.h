/* Blobs of tenants: bytes kept once for each content, as files or as pieces in Redis (setting blobs), and the books about
 * them, which are always in Redis.
 *
 * The book of a content is a hash named by its digest: the id under which the bytes are kept, their size, and one field
 * for each document that refers to them (owner, "<kind>:<id>"). It is written in the very commit that makes the document
 * refer to them, and taken away in one that checks that nobody refers to them any more; so there is no moment at which
 * bytes that somebody means to keep can be removed:
 *
 *     upload (an id of its own) -> blob_books_read -> commit {checks, blob_refer, the document} -> again when it refused
 *                                                                      `-> discard the own bytes if others were first
 *     timer "blob" (blob-check) -> blob_settle: which owners are gone? -> commit {book and pieces away} -> file away
 *
 * What a crash leaves: a file that no book names (a scan removes it after an hour), pieces that nobody took (they expire
 * after an hour). One store of blobs per worker. */
#ifndef SERVER_BLOB_STORE_H
#define SERVER_BLOB_STORE_H

#include "lib/blob.h"
#include "server/resource.h"
#include "server/store/commit.h"

struct blob_put;
struct blob_store;
struct request;
struct settings;
struct worker;

/* The folder that setting blobs chooses, or NULL for pieces in Redis; "" when memory ran out. */
const char *blob_folder(const struct settings *s, struct arena *a);
/* NULL after a line in the log: the folder cannot be used. */
struct blob_store *blob_store_open(struct worker *w);
void blob_store_close(struct blob_store *s, void (*closed)(void *arg), void *arg);

/* ---- bytes in */

struct blob_put_events {
    void (*on_room)(void *arg); /* after blob_put_add said false */
    /* The end, once, after blob_put_end or a failure: OK, REL_DIGEST_MISMATCH (`made` has the digest found), SYS_STORAGE.
     * The put is gone; `made` is borrowed for the call. */
    void (*on_end)(void *arg, enum code c, const struct blob_ref *made);
};
/* digest: what the bytes are to have; STR_NONE: any. keep: false only looks at the digest. NULL: no memory, or the store
 * is full. No callback runs inside these calls. */
struct blob_put *blob_put_start(struct blob_store *s, struct space space, struct str digest, uint64_t limit, bool keep,
                                const struct blob_put_events *events, void *arg);
bool blob_put_add(struct blob_put *p, struct str bytes); /* copies; false: wait for on_room. Failures come by on_end */
void blob_put_end(struct blob_put *p);
void blob_put_drop(struct blob_put *p); /* gives up; nothing stays, no callback follows */
/* Bytes that were put, and that no commit refers to. */
void blob_discard(struct blob_store *s, struct space space, const struct blob_ref *made);

/* ---- books */

struct blob_books {
    bool there;          /* the content has a book: */
    struct blob_ref ref; /* what it says */
    int64_t used;        /* bytes of all the tenant's blobs */
};
/* lib/op.h's contract. `books` is NULL unless c is OK, and borrowed. */
typedef void blob_books_then(void *arg, enum code c, const struct blob_books *books);
enum code blob_books_read(struct blob_store *s, struct arena *a, struct space space, struct str digest,
                          struct ops *asker, blob_books_then *then, void *arg);
/* Adds to a commit that `owner` ("version:<id>") refers to the content: to what is kept already, or else to `made`, which
 * has to fit (RES_QUOTA_EXCEEDED). When the books were changed meanwhile the commit is refused with RES_ALREADY_EXISTS and
 * the label "blob". replace: what the books name is lost, `made` takes its place. */
enum code blob_refer(struct blob_store *s, struct commit *c, struct arena *a, struct space space,
                     const struct blob_books *books, const struct blob_ref *made, bool replace, struct str owner);

/* ---- bytes out */

/* lib/op.h's contract; RES_NOT_FOUND when the bytes are not there. `bytes`: at most BLOB_PIECE from the offset on, which is
 * a multiple of it; none at the end; borrowed. */
typedef void blob_bytes_then(void *arg, enum code c, struct str bytes);
enum code blob_bytes(struct blob_store *s, struct arena *a, struct space space, const struct blob_ref *ref,
                     uint64_t offset, struct ops *asker, blob_bytes_then *then, void *arg);
/* Answers a request of a ROUTE_BYTES route with the content: as it is taken by the client, with its ETag, or 304. */
enum flow blob_reply(struct request *r, struct str digest, const char *content_type);

/* ---- of the timer "blob" (server/engine/timers.c); digits: the digest's 64 */
void blob_settle(struct worker *w, struct space space, struct str digits);

#endif

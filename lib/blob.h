/* Blobs: immutable bytes named by their SHA-256, kept as files.
 *
 *     <folder>/sha256/ab/cdef…    a blob; complete and synced once it has its name
 *     <folder>/new/…              being written, or left by a crash: removed at start when older than a day
 *
 * A blob is written by pieces as they come, hashed on the way, and appears under its digest by one rename; two writers
 * of the same bytes end with one file. A folder may be shared by several instances. All file work is done on the thread
 * pool; one piece of an upload is under way at a time, and the source is told to wait when another is waiting already.
 */
#ifndef LIB_BLOB_H
#define LIB_BLOB_H

#include "lib/op.h"
#include "lib/str.h"

struct blobs;
struct blob_upload;
struct loop;

enum { BLOB_DIGEST = 72, BLOB_PIECE = 256 * 1024 }; /* "sha256:" + 64 hex digits + NUL; bytes written or read at once */

enum blob_result {
    BLOB_OK,
    BLOB_WAIT,      /* taken, but add no more until on_room */
    BLOB_TOO_LARGE, /* over the upload's limit; nothing more is taken */
    BLOB_UNKNOWN,   /* no blob of this digest */
    BLOB_FAILED     /* disk full, no permission, out of memory: `errno` style in the answer */
};

/* `folder` is made when it is missing. NULL with errno set. One per loop; several may share a folder. */
struct blobs *blobs_open(struct loop *loop, const char *folder);
void blobs_close(struct blobs *b); /* no upload may be open and no read under way */

bool blob_digest_valid(struct str digest); /* "sha256:" and 64 lower-case hex digits */

struct blob_events {
    void (*on_room)(void *arg); /* after BLOB_WAIT: add again */
    /* The end, once, after blob_upload_end or a failure: BLOB_OK with digest and size, or BLOB_FAILED. The upload is
     * gone. */
    void (*on_end)(void *arg, enum blob_result result, const char *digest, uint64_t size);
};
/* NULL: no memory. No callback runs inside these calls. */
struct blob_upload *blob_upload_start(struct blobs *b, uint64_t limit, const struct blob_events *events, void *arg);
enum blob_result blob_upload_add(struct blob_upload *u, struct str bytes); /* copies */
void blob_upload_end(struct blob_upload *u);
void blob_upload_drop(struct blob_upload *u); /* gives up; no callback follows */

struct blob_read {
    enum blob_result result;
    uint64_t size;    /* of the whole blob */
    struct str bytes; /* at most BLOB_PIECE from the offset on; borrowed for the call */
};
/* lib/op.h's contract; false: refused (no memory, or no digest). */
bool blob_read_start(struct blobs *b, struct str digest, uint64_t offset, struct ops *asker,
                     void (*then)(void *arg, const struct blob_read *read), void *arg);
/* Removes the blob, now, from the calling thread; fine when there is none. */
void blob_remove(struct blobs *b, struct str digest);

#endif

/* Blobs: immutable bytes known by their SHA-256, hashed as they come and kept as files, or handed on to be kept
 * elsewhere.
 *
 *     <folder>/<space>/ab/<digest>.<id>   a blob: complete and synced once it has its name ("ab" begins the digest)
 *     <folder>/new/<id>                   being written, or left by a crash: removed at start when older than a day
 *
 * Each upload makes a file of its own, under an id of its own, also when the same bytes are there already: whoever keeps
 * the books says which id a digest has, and removes the other. So nothing here can be overwritten, or removed while
 * somebody else means to keep it. A folder may be shared by several instances. All work on bytes is done on the thread
 * pool; one piece of an upload is under way at a time, and the source is told to wait when another is waiting already. */
#ifndef LIB_BLOB_H
#define LIB_BLOB_H

#include "lib/id.h"
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
    BLOB_OTHER,     /* the bytes have another digest than was wished for; nothing is kept */
    BLOB_UNKNOWN,   /* there is no such blob */
    BLOB_FAILED     /* disk full, no permission, out of memory */
};

/* Which one. */
struct blob_ref {
    char digest[BLOB_DIGEST];
    char id[ID_UUID];
    uint64_t size;
};

/* `folder` is made when it is missing. NULL with errno set. One per loop; several may share a folder. */
struct blobs *blobs_open(struct loop *loop, const char *folder);
/* For uploads that keep no file. NULL: no memory. */
struct blobs *blobs_open_none(struct loop *loop);
/* No upload may be open; `closed` runs later, once what is under way has ended. */
void blobs_close(struct blobs *b, void (*closed)(void *arg), void *arg);

bool blob_digest_valid(struct str digest); /* "sha256:" and 64 lower-case hex digits */
void blob_digest_write(const uint8_t sum[32], char out[BLOB_DIGEST]);

enum blob_keep { BLOB_KEEP_FILE, BLOB_KEEP_NOTHING, BLOB_HAND_ON };

struct blob_wish {
    struct str space;  /* a tenant: a plain name of at most 36 letters, digits and dashes; copied */
    struct str digest; /* what the bytes are to have; STR_NONE: any */
    uint64_t limit;    /* bytes */
    enum blob_keep keep;
};

struct blob_events {
    void (*on_room)(void *arg); /* after BLOB_WAIT: add again */
    /* BLOB_HAND_ON: the next piece, hashed; it stays until blob_upload_taken, which goes on. */
    void (*on_piece)(void *arg, uint64_t number, struct str bytes);
    /* The end, once, after blob_upload_end or a failure: BLOB_OK, BLOB_OTHER (`made` has the digest found), or
     * BLOB_FAILED. The upload is gone; `made` is borrowed for the call. */
    void (*on_end)(void *arg, enum blob_result result, const struct blob_ref *made);
};
/* NULL: no memory, or a bad wish. No callback runs inside these calls but blob_upload_taken. */
struct blob_upload *blob_upload_start(struct blobs *b, const struct blob_wish *wish, const struct blob_events *events,
                                      void *arg);
const char *blob_upload_id(const struct blob_upload *u);
enum blob_result blob_upload_add(struct blob_upload *u, struct str bytes); /* copies */
void blob_upload_end(struct blob_upload *u);
void blob_upload_taken(struct blob_upload *u); /* the piece of on_piece was kept */
void blob_upload_drop(struct blob_upload *u);  /* gives up; no callback follows */

struct blob_read {
    enum blob_result result;
    uint64_t size;    /* of the whole blob */
    struct str bytes; /* at most BLOB_PIECE from the offset on; borrowed for the call */
};
/* lib/op.h's contract; false: refused (no memory, or no name). */
bool blob_read_start(struct blobs *b, struct str space, const struct blob_ref *ref, uint64_t offset, struct ops *asker,
                     void (*then)(void *arg, const struct blob_read *read), void *arg);
/* Removes the file, now, from the calling thread; fine when there is none. */
void blob_remove(struct blobs *b, struct str space, const struct blob_ref *ref);

/* Looking through a folder for what nobody knows of: the files older than `age_ms` of one of its 256 parts, at most `most`
 * of them, with the spaces they are in. */
struct blob_found {
    char space[ID_UUID];
    struct blob_ref ref; /* without the size */
};
bool blob_scan_start(struct blobs *b, unsigned part, int64_t age_ms, size_t most, struct ops *asker,
                     void (*then)(void *arg, const struct blob_found *found, size_t n), void *arg);

#endif

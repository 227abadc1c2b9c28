/* Between blob_store.c (bytes), blob_books.c (who refers to them) and blob_settle.c (what nobody refers to). */
#ifndef SERVER_BLOB_PRIVATE_H
#define SERVER_BLOB_PRIVATE_H

#include "lib/timer.h"
#include "server/blob_store.h"

struct blob_store {
    struct worker *worker;
    struct blobs *blobs;
    bool files; /* else pieces in Redis */
    struct ops ops;
    struct timer scanner;
    struct scanning *scan;
    unsigned part; /* of the folder, that is looked through next */
    struct arena scratch;
    void (*closed)(void *arg);
    void *closed_arg;
};

static inline struct str blob_digits(const struct blob_ref *ref)
{
    return (struct str){ref->digest + 7, 64};
}

/* How a tenant's usage is written: no field for nothing. */
struct str blob_number(struct arena *a, int64_t n);

/* blob_settle.c: looking through the folder. */
void blob_scan_begin(struct blob_store *s);
void blob_scan_end(struct blob_store *s);

#endif

/* Functions that block or take long, run on the thread pool as an operation (lib/op.h): password hashes, digests of
 * large blobs, files.
 *
 * The work gets a copy of its input, so the asker may go away at once; the copy is wiped when all is done. The function
 * writes its results into the copy. What else it allocated is given back by `drop`, which runs on the loop's thread
 * after `then`, or instead of it when the asker has gone. */
#ifndef LIB_WORK_H
#define LIB_WORK_H

#include "lib/loop.h"
#include "lib/op.h"

struct work_kind {
    void (*run)(void *data);  /* on a thread of the pool; touches nothing but `data` */
    void (*drop)(void *data); /* may be NULL */
};

/* 0, or a negative errno; then nothing runs. */
int work_start(struct loop *loop, struct ops *asker, const struct work_kind *kind, const void *data, size_t n,
               void (*then)(void *arg, void *data), void *arg);

#endif

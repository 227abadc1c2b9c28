/* An operation in flight, and who waits for it.
 *
 * An operation belongs to whoever will complete it (the Redis client, the thread pool, a timer), never to the one that
 * asked: Redis cannot unsend and a thread cannot be recalled. The asker (a request, a feed, a drain of a run) keeps a
 * list of its operations. When the asker goes away it calls ops_detach, frees its memory at once, and a completion that
 * comes later finds no asker and ends there. So no reference counts, and a continuation only ever runs on a live asker.
 *
 * The contract of every x_start(..., struct ops *asker, then, arg): if it returns an error, `then` never runs; if it
 * returns 0, `then` runs exactly once, later, never inside the call, unless the asker detached first. Completers do:
 * take what is needed, unlink, free the operation, and call `then` as the very last statement. */
#ifndef LIB_OP_H
#define LIB_OP_H

#include "lib/list.h"

struct ops { /* kept by the asker; zero-initialise with ops_init */
    struct list waiting;
};

struct op { /* embedded by the completer */
    struct list link;
    struct ops *asker; /* NULL once detached */
};

void ops_init(struct ops *ops);
void ops_detach(struct ops *ops); /* every waiting op loses its asker */
bool ops_idle(const struct ops *ops);
void op_begin(struct op *op, struct ops *asker); /* asker may be NULL: nobody waits */
/* Unlinks; true when the asker is still there and the continuation is to be called. Counts orphans otherwise. */
bool op_finish(struct op *op);
extern _Thread_local uint64_t op_orphans;

#endif

/* Objects of one size that live long and are many, side by side in blocks of their own: no header each, and what comes
 * and goes between two of them does not tear holes that nothing else fits into. A block is given back when its last
 * object is, but for one. Under AddressSanitizer every object is an allocation of its own. */
#ifndef LIB_SLAB_H
#define LIB_SLAB_H

#include "lib/list.h"

struct slab { /* private */
    size_t size;
    unsigned per_block;
    struct list open; /* blocks with room, the ones used last in front */
    size_t used;      /* objects */
};

void slab_init(struct slab *s, size_t size); /* allocates nothing; size of at most 8 KiB */
void slab_fini(struct slab *s);              /* aborts when an object is left */
void *slab_get(struct slab *s);              /* zeroed, aligned for any type; NULL when memory ran out */
void slab_put(struct slab *s, void *object); /* NULL is fine */

#endif

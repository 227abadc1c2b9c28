#include "lib/slab.h"

#include "lib/must.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SLAB_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SLAB_ASAN 1
#endif

enum { BLOCK = 65536, ALIGN = 16, LARGEST = 8192 };

struct slab_free {
    struct slab_free *next;
};

struct slab_block { /* at the start of BLOCK bytes, on a multiple of BLOCK */
    struct list link;
    unsigned used, fresh; /* objects; how many were handed out at least once */
    struct slab_free *free;
    _Alignas(ALIGN) char objects[];
};

void slab_init(struct slab *s, size_t size)
{
    must(size > 0 && size <= LARGEST);
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    *s = (struct slab){.size = size, .per_block = (unsigned)((BLOCK - sizeof(struct slab_block)) / size)};
    list_init(&s->open);
}

#ifdef SLAB_ASAN

void slab_fini(struct slab *s)
{
    must(s->used == 0);
}

void *slab_get(struct slab *s)
{
    void *object = calloc(1, s->size);
    s->used += object != NULL;
    return object;
}

void slab_put(struct slab *s, void *object)
{
    s->used -= object != NULL;
    free(object);
}

#else

void slab_fini(struct slab *s)
{
    must(s->used == 0);
    list_for (it, &s->open)
        munmap(list_entry(it, struct slab_block, link), BLOCK);
}

static struct slab_block *block_of(void *object)
{
    return (struct slab_block *)(void *)((char *)object - ((uintptr_t)object & (BLOCK - 1)));
}

/* Not of malloc, which would take twice as much to find such a multiple. NULL: no memory. */
static struct slab_block *map_block(void)
{
    char *p = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (BLOCK - ((uintptr_t)p & (BLOCK - 1))) & (BLOCK - 1);
    if (before > 0)
        munmap(p, before);
    munmap(p + before + BLOCK, BLOCK - before);
    return (struct slab_block *)(void *)(p + before);
}

static struct slab_block *block_with_room(struct slab *s)
{
    if (!list_empty(&s->open))
        return list_entry(s->open.next, struct slab_block, link);
    struct slab_block *b = map_block();
    if (b == NULL)
        return NULL;
    b->used = b->fresh = 0;
    b->free = NULL;
    list_prepend(&s->open, &b->link);
    return b;
}

void *slab_get(struct slab *s)
{
    struct slab_block *b = block_with_room(s);
    if (b == NULL)
        return NULL;
    void *object = b->free;
    if (b->free != NULL)
        b->free = b->free->next;
    else
        object = b->objects + b->fresh++ * s->size;
    if (++b->used == s->per_block)
        list_remove(&b->link);
    s->used++;
    return memset(object, 0, s->size);
}

void slab_put(struct slab *s, void *object)
{
    if (object == NULL)
        return;
    struct slab_block *b = block_of(object);
    struct slab_free *f = object;
    f->next = b->free;
    b->free = f;
    s->used--;
    if (b->used-- == s->per_block)
        list_prepend(&s->open, &b->link);
    if (b->used > 0 || s->used == 0) /* the last block stays for the next */
        return;
    list_remove(&b->link);
    munmap(b, BLOCK);
}

#endif

/* An intrusive binary heap, smallest key first; equal keys in the order they were pushed. Nodes are embedded by the
 * caller, nothing is allocated, nothing can fail. push, remove and pop take O(log n). */
#ifndef LIB_HEAP_H
#define LIB_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node { /* private but for key */
    struct heap_node *left, *right, *parent;
    int64_t key;
    uint64_t order;
};

struct heap { /* private but for n; zero-initialised it is empty */
    struct heap_node *root;
    size_t n;
    uint64_t pushed;
};

#define heap_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

void heap_push(struct heap *h, struct heap_node *node, int64_t key); /* node is in no heap */
void heap_remove(struct heap *h, struct heap_node *node);            /* node is in this heap */
struct heap_node *heap_first(const struct heap *h);                  /* NULL when empty */
struct heap_node *heap_pop(struct heap *h);                          /* NULL when empty */

#endif

#include "lib/heap.h"

/* A complete binary tree by links. Counted from 1, level by level, the number of a node spells the way to it: behind
 * its highest bit, 0 is left and 1 is right. */

static struct heap_node **link_of(struct heap *h, size_t number, struct heap_node **parent)
{
    struct heap_node **link = &h->root;
    *parent = NULL;
    for (int bit = 62 - __builtin_clzll(number); bit >= 0; bit--) {
        *parent = *link;
        link = number >> bit & 1 ? &(*link)->right : &(*link)->left;
    }
    return link;
}

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

/* Makes whatever pointed to `old` from above point to `node`. */
static void hang(struct heap *h, struct heap_node *node, const struct heap_node *old)
{
    node->parent = old->parent;
    if (node->parent == NULL)
        h->root = node;
    else if (node->parent->left == old)
        node->parent->left = node;
    else
        node->parent->right = node;
}

static void adopt(struct heap_node *node, struct heap_node *left, struct heap_node *right)
{
    node->left = left;
    node->right = right;
    if (left != NULL)
        left->parent = node;
    if (right != NULL)
        right->parent = node;
}

static void swap_with_parent(struct heap *h, struct heap_node *node)
{
    struct heap_node *parent = node->parent, *left = parent->left, *right = parent->right;
    hang(h, node, parent);
    adopt(parent, node->left, node->right);
    adopt(node, left == node ? parent : left, right == node ? parent : right);
}

static void rise(struct heap *h, struct heap_node *node)
{
    while (node->parent != NULL && before(node, node->parent))
        swap_with_parent(h, node);
}

static void sink(struct heap *h, struct heap_node *node)
{
    for (;;) {
        struct heap_node *least = node->left;
        if (node->right != NULL && before(node->right, least))
            least = node->right;
        if (least == NULL || before(node, least))
            return;
        swap_with_parent(h, least);
    }
}

void heap_push(struct heap *h, struct heap_node *node, int64_t key)
{
    struct heap_node *parent, **link = link_of(h, h->n + 1, &parent);
    *node = (struct heap_node){.parent = parent, .key = key, .order = h->pushed++};
    *link = node;
    h->n++;
    rise(h, node);
}

void heap_remove(struct heap *h, struct heap_node *node)
{
    struct heap_node *parent, **link = link_of(h, h->n, &parent), *last = *link;
    *link = NULL;
    h->n--;
    if (last != node) {
        hang(h, last, node);
        adopt(last, node->left, node->right);
        rise(h, last);
        sink(h, last);
    }
    node->left = node->right = node->parent = NULL;
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->root;
}

struct heap_node *heap_pop(struct heap *h)
{
    struct heap_node *first = h->root;
    if (first != NULL)
        heap_remove(h, first);
    return first;
}

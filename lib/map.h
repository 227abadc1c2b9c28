/* A hash map from strings to values of one size: open addressing, linear probing, no tombstones.
 *
 *     struct map m;
 *     map_init(&m, sizeof(struct entry));
 *     struct entry *e = map_put(&m, name, NULL);    // NULL: out of memory, the map is as before
 *     e = map_get(&m, name);                        // NULL: not there
 *     for (size_t at = 0; map_next(&m, &at, &key, &value);) …
 *
 * The map owns a copy of each key; values are moved bytewise, so a pointer into the map is good until the next map_put
 * or map_remove. Keys may hold any bytes and be empty. The hash is keyed (lib/str.h), so clients cannot choose
 * collisions. */
#ifndef LIB_MAP_H
#define LIB_MAP_H

#include "lib/str.h"

struct map { /* private but for n */
    struct map_slot *slots;
    char *values;
    size_t n, capacity, value_size; /* capacity is 0 or a power of two */
};

void map_init(struct map *m, size_t value_size); /* allocates nothing; value_size 0 makes a set */
void map_fini(struct map *m);                    /* what values point to is the caller's */
void map_clear(struct map *m);                   /* keeps the table */

void *map_get(const struct map *m, struct str key);
bool map_has(const struct map *m, struct str key);
/* The value of `key`, zeroed when `fresh` (may be NULL) says it was not there before. NULL: out of memory. Of a set, a
 * pointer that is not NULL and not to be used. */
void *map_put(struct map *m, struct str key, bool *fresh);
bool map_remove(struct map *m, struct str key); /* false: was not there */

/* Every entry once, in no order; start with *at = 0. The one just answered may be changed; to remove while walking,
 * collect first: removal moves others. key and value may be NULL. */
bool map_next(const struct map *m, size_t *at, struct str *key, void **value);

#endif

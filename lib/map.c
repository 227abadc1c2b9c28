#include "lib/map.h"

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 8 };

struct map_slot {
    char *key; /* NULL: free */
    size_t n;
    uint64_t hash;
};

void map_init(struct map *m, size_t value_size)
{
    *m = (struct map){.value_size = value_size};
}

void map_fini(struct map *m)
{
    map_clear(m);
    free(m->slots);
    free(m->values);
    map_init(m, m->value_size);
}

void map_clear(struct map *m)
{
    for (size_t i = 0; i < m->capacity; i++) {
        free(m->slots[i].key);
        m->slots[i].key = NULL;
    }
    m->n = 0;
}

static void *value_at(const struct map *m, size_t i)
{
    return m->value_size == 0 ? (void *)&m->slots[i] : m->values + i * m->value_size;
}

/* Where `key` is, or the free slot where it would go. There always is a free one. */
static size_t find(const struct map *m, struct str key, uint64_t hash)
{
    size_t i = hash & (m->capacity - 1);
    while (m->slots[i].key != NULL) {
        const struct map_slot *s = &m->slots[i];
        if (s->hash == hash && str_eq((struct str){s->key, s->n}, key))
            break;
        i = (i + 1) & (m->capacity - 1);
    }
    return i;
}

static bool present(const struct map *m, struct str key, size_t *i)
{
    if (m->n == 0)
        return false;
    *i = find(m, key, str_hash(key));
    return m->slots[*i].key != NULL;
}

void *map_get(const struct map *m, struct str key)
{
    size_t i;
    return present(m, key, &i) ? value_at(m, i) : NULL;
}

bool map_has(const struct map *m, struct str key)
{
    return map_get(m, key) != NULL;
}

/* A table of twice the size with all entries moved over. */
static bool grow(struct map *m)
{
    struct map bigger = {.n = m->n, .value_size = m->value_size};
    bigger.capacity = m->capacity == 0 ? SMALLEST : m->capacity * 2;
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    bigger.values = m->value_size == 0 ? NULL : calloc(bigger.capacity, m->value_size);
    if (bigger.slots == NULL || (m->value_size != 0 && bigger.values == NULL)) {
        free(bigger.slots);
        free(bigger.values);
        return false;
    }
    for (size_t i = 0; i < m->capacity; i++) {
        const struct map_slot *s = &m->slots[i];
        if (s->key == NULL)
            continue;
        size_t to = find(&bigger, (struct str){s->key, s->n}, s->hash);
        bigger.slots[to] = *s;
        if (m->value_size != 0)
            memcpy(value_at(&bigger, to), value_at(m, i), m->value_size);
    }
    free(m->slots);
    free(m->values);
    *m = bigger;
    return true;
}

void *map_put(struct map *m, struct str key, bool *fresh)
{
    size_t i;
    bool there = present(m, key, &i);
    if (fresh != NULL)
        *fresh = !there;
    if (there)
        return value_at(m, i);
    if ((m->n + 1) * 4 > m->capacity * 3 && !grow(m))
        return NULL;
    char *copy = malloc(key.n + 1);
    if (copy == NULL)
        return NULL;
    if (key.n > 0)
        memcpy(copy, key.p, key.n);
    copy[key.n] = '\0';
    uint64_t hash = str_hash(key);
    i = find(m, key, hash);
    m->slots[i] = (struct map_slot){copy, key.n, hash};
    m->n++;
    if (m->value_size != 0)
        memset(value_at(m, i), 0, m->value_size);
    return value_at(m, i);
}

/* Closes the gap at `hole`: an entry further on moves into it if it may stand there, that is, if its own place is not
 * between the hole and where it is now. */
static void close_gap(struct map *m, size_t hole)
{
    size_t mask = m->capacity - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
        size_t own = m->slots[i].hash & mask;
        if (((i - own) & mask) < ((i - hole) & mask))
            continue;
        m->slots[hole] = m->slots[i];
        if (m->value_size != 0)
            memcpy(value_at(m, hole), value_at(m, i), m->value_size);
        hole = i;
    }
    m->slots[hole].key = NULL;
}

bool map_remove(struct map *m, struct str key)
{
    size_t i;
    if (!present(m, key, &i))
        return false;
    free(m->slots[i].key);
    m->n--;
    close_gap(m, i);
    return true;
}

bool map_next(const struct map *m, size_t *at, struct str *key, void **value)
{
    while (*at < m->capacity && m->slots[*at].key == NULL)
        ++*at;
    if (*at >= m->capacity)
        return false;
    if (key != NULL)
        *key = (struct str){m->slots[*at].key, m->slots[*at].n};
    if (value != NULL)
        *value = value_at(m, *at);
    ++*at;
    return true;
}

#include "lib/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ARENA_ASAN 1
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { GAP = 16 }; /* stays poisoned between two allocations */
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { GAP = 0 };
#endif

enum { ALIGN = 16, FIRST = 4096, LARGEST = 65536 };

struct arena_block {
    struct arena_block *next;
    size_t size; /* of data */
    _Alignas(ALIGN) char data[];
};

struct arena_cleanup {
    struct arena_cleanup *next;
    void (*fn)(void *);
    void *p;
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

static void run_cleanups(struct arena *a)
{
    while (a->cleanups != NULL) {
        struct arena_cleanup *c = a->cleanups;
        a->cleanups = c->next;
        c->fn(c->p);
    }
}

static void free_block(struct arena_block *b)
{
    ASAN_UNPOISON_MEMORY_REGION(b->data, b->size);
    free(b);
}

void arena_fini(struct arena *a)
{
    run_cleanups(a);
    while (a->block != NULL) {
        struct arena_block *b = a->block;
        a->block = b->next;
        free_block(b);
    }
    *a = (struct arena){.limit = a->limit};
}

/* What may be had from the first block, from `at` on. */
static void look_at_room(struct arena *a)
{
    size_t room = a->block == NULL ? 0 : (size_t)(a->block->data + a->block->size - a->at);
    size_t allowed = a->limit == 0 ? SIZE_MAX : a->limit - a->used;
    a->left = room < allowed ? room : allowed;
}

void arena_reset(struct arena *a)
{
    run_cleanups(a);
    a->failed = false;
    struct arena_block *kept = NULL;
    while (a->block != NULL) {
        struct arena_block *b = a->block;
        a->block = b->next;
        if (b->size > LARGEST || (kept != NULL && kept->size >= b->size)) {
            free_block(b);
            continue;
        }
        if (kept != NULL)
            free_block(kept);
        kept = b;
    }
    a->block = kept;
    a->used = 0;
    if (kept != NULL) {
        kept->next = NULL;
        a->at = kept->data;
        ASAN_POISON_MEMORY_REGION(kept->data, kept->size);
    }
    look_at_room(a);
}

static void *refuse(struct arena *a)
{
    a->failed = true;
    return NULL;
}

/* A block of its own for one large allocation goes behind the first one, which still has room for small ones. */
static char *new_block(struct arena *a, size_t take)
{
    size_t size = a->block == NULL ? FIRST : a->block->size * 2;
    if (size > LARGEST)
        size = LARGEST;
    bool large = take > size / 2;
    if (large)
        size = take;
    struct arena_block *b = malloc(sizeof *b + size);
    if (b == NULL)
        return NULL;
    b->size = size;
    ASAN_POISON_MEMORY_REGION(b->data, size);
    if (large && a->block != NULL) {
        b->next = a->block->next;
        a->block->next = b;
    } else {
        b->next = a->block;
        a->block = b;
        a->at = b->data + take;
    }
    return b->data;
}

static void *hand_out(void *p, size_t n)
{
    ASAN_UNPOISON_MEMORY_REGION(p, n);
#ifdef ARENA_ASAN
    memset(p, 0xa5, n); /* whoever takes it for zeros shall find out */
#else
    (void)n;
#endif
    return p;
}

static void *with_a_look(struct arena *a, size_t n)
{
    if (n > PTRDIFF_MAX - ALIGN - GAP - sizeof(struct arena_block))
        return refuse(a);
    size_t take = (n + GAP + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (take == 0)
        take = ALIGN;
    if (a->limit != 0 && take > a->limit - a->used)
        return refuse(a);
    char *p = a->at;
    if (take <= a->left)
        a->at += take;
    else if ((p = new_block(a, take)) == NULL)
        return refuse(a);
    a->used += take;
    look_at_room(a);
    return hand_out(p, n);
}

void *arena_room(struct arena *a, size_t n)
{
    if (n == 0 || n > a->left)
        return with_a_look(a, n);
    size_t take = (n + GAP + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (take > a->left)
        return with_a_look(a, n);
    char *p = a->at;
    a->at += take;
    a->left -= take;
    a->used += take;
    return hand_out(p, n);
}

void *arena_alloc(struct arena *a, size_t n)
{
    void *p = arena_room(a, n);
    return p == NULL ? NULL : memset(p, 0, n);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t n;
    return __builtin_mul_overflow(count, size, &n) ? refuse(a) : arena_alloc(a, n);
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_z(a, s);
    return p == NULL ? STR_NONE : (struct str){p, s.n};
}

struct str arena_lower(struct arena *a, struct str s)
{
    char *copy = arena_z(a, s);
    for (size_t i = 0; copy != NULL && i < s.n; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] - 'A' + 'a');
    return copy == NULL ? STR_NONE : (struct str){copy, s.n};
}

char *arena_z(struct arena *a, struct str s)
{
    char *p = s.n == SIZE_MAX ? refuse(a) : arena_room(a, s.n + 1);
    if (p == NULL)
        return NULL;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *p = n < 0 ? NULL : arena_room(a, (size_t)n + 1);
    if (p != NULL)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    return p == NULL ? STR_NONE : (struct str){p, (size_t)n};
}

struct str arena_cat(struct arena *a, const struct str *parts, size_t n)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += parts[i].n;
    char *p = arena_room(a, all + 1), *at = p;
    if (p == NULL)
        return STR_NONE;
    for (size_t i = 0; i < n; at += parts[i].n, i++)
        if (parts[i].n > 0)
            memcpy(at, parts[i].p, parts[i].n);
    *at = '\0';
    return (struct str){p, all};
}

struct str arena_int(struct arena *a, int64_t n)
{
    char text[20];
    size_t at = sizeof text;
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        text[--at] = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (n < 0)
        text[--at] = '-';
    return arena_str(a, (struct str){text + at, sizeof text - at});
}

bool arena_defer(struct arena *a, void (*fn)(void *), void *p)
{
    struct arena_cleanup *c = arena_new(a, struct arena_cleanup);
    if (c == NULL) {
        fn(p);
        return false;
    }
    *c = (struct arena_cleanup){a->cleanups, fn, p};
    a->cleanups = c;
    return true;
}

/* Bump memory that is freed as a whole: one arena per request, per parsed template, per test.
 *
 * Allocation never aborts: it returns NULL when memory or the arena's `limit` is used up (the caller answers 503 or 413).
 * arena_defer ties anything with a destructor to the arena; destructors run in reverse order at reset and fini. Under
 * AddressSanitizer everything not handed out is poisoned. Not thread-safe. */
#ifndef LIB_ARENA_H
#define LIB_ARENA_H

#include "lib/str.h"

struct arena_block;
struct arena_cleanup;

struct arena {   /* private but for being embedded */
    char *at;    /* the next bytes to be handed out */
    size_t left; /* how many of them may be, without a look at the block or the limit */
    struct arena_block *block;
    struct arena_cleanup *cleanups;
    size_t used, limit;
    bool
        failed; /* to be read: an allocation was refused since the last reset, so what was made here may lack something */
};

/* limit: bytes handed out in all before arena_alloc answers NULL; 0 means none. Allocates nothing yet. */
void arena_init(struct arena *a, size_t limit);
void arena_fini(struct arena *a); /* afterwards it is as after arena_init */
/* Runs the destructors and keeps one block for reuse. */
void arena_reset(struct arena *a);
void *arena_alloc(struct arena *a, size_t n);                  /* aligned to 16, zeroed */
void *arena_room(struct arena *a, size_t n);                   /* the same, holding whatever was there */
void *arena_array(struct arena *a, size_t count, size_t size); /* checks the product */
struct str arena_str(struct arena *a, struct str s);   /* a copy, NUL-terminated behind its end; STR_NONE on failure */
struct str arena_lower(struct arena *a, struct str s); /* the same, ASCII letters in lower case */
char *arena_z(struct arena *a, struct str s);          /* the same as a C string, or NULL */
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Texts one behind the other; for what every request makes, where printf would be most of it. ARENA_CAT(a, S("x:"), id) */
struct str arena_cat(struct arena *a, const struct str *parts, size_t n);
#define ARENA_CAT(a, ...)                                                                                              \
    arena_cat((a), (const struct str[]){__VA_ARGS__}, sizeof((const struct str[]){__VA_ARGS__}) / sizeof(struct str))
struct str arena_int(struct arena *a, int64_t n);               /* in decimal */
bool arena_defer(struct arena *a, void (*fn)(void *), void *p); /* false: fn was run at once */

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))

#endif

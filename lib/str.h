/* Strings: a borrowed view (struct str) and a growable byte buffer (struct buf).
 *
 * A str never owns its bytes and is not NUL-terminated; whoever made it says how long it lives. A buf owns its bytes,
 * on the heap or, after buf_init_arena, inside an arena. Appending to a buf never reports an error: the first failed
 * allocation (or growth past `max`) sets `failed`, every later append is a no-op, and the caller looks once at the end.
 * That is what lets rendering code read like a template and still never abort on a failed allocation. */
#ifndef LIB_STR_H
#define LIB_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

struct str {
    const char *p;
    size_t n;
};

#define S(literal)   ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})
#define STR_FMT      "%.*s"
#define STR_ARG(s)   (int)(s).n, (s).p
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* NULL gives STR_NONE. Inline, so that a literal's length is known when it is compiled. */
static inline struct str str_z(const char *z)
{
    return z == NULL ? STR_NONE : (struct str){z, __builtin_strlen(z)};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || __builtin_memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_z(z));
}
bool str_ieq(struct str a, struct str b); /* ASCII case folded, for header names and tokens */
int str_cmp(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
ptrdiff_t str_index(struct str s, char c);                  /* -1 when absent */
ptrdiff_t str_find(struct str s, struct str needle);        /* -1 when absent */
struct str str_slice(struct str s, size_t from, size_t to); /* clamped to the length */
struct str str_trim(struct str s);                          /* SP and HTAB at both ends */
/* Cuts off and returns what stands before `sep`; `rest` keeps what follows it, or becomes STR_NONE at the last part. */
struct str str_cut(struct str *rest, char sep);
/* The whole of `s` as a decimal number; false on an empty string, any other byte, or overflow. */
bool str_i64(struct str s, int64_t *out);
bool str_u64(struct str s, uint64_t *out);
bool str_utf8(struct str s);                        /* well-formed UTF-8 (RFC 3629) */
size_t str_utf8_valid(struct str s);                /* length of the longest well-formed beginning */
size_t str_utf8_length(struct str s);               /* code points of well-formed UTF-8 */
bool str_copy(char *to, size_t room, struct str s); /* with a NUL; false, and "", when there is no room */
uint64_t str_hash(struct str s); /* SipHash-2-4 under a key made at start; for tables, not for storage */

struct buf {
    char *p;
    size_t n, cap;
    size_t max;          /* 0: no limit but the address space */
    struct arena *arena; /* NULL: heap */
    bool failed;
};

void buf_init(struct buf *b); /* the same as = {0} */
void buf_init_arena(struct buf *b, struct arena *a, size_t capacity);
void buf_free(struct buf *b);              /* fine on a zeroed, failed or arena buffer */
void buf_clear(struct buf *b);             /* keeps the memory, forgets a failure */
bool buf_grow(struct buf *b, size_t more); /* buf_reserve's long way */
static inline bool buf_reserve(struct buf *b, size_t more)
{
    return (!b->failed && b->cap - b->n >= more) || buf_grow(b, more);
}
void buf_add(struct buf *b, const void *p, size_t n);
static inline void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}
static inline void buf_z(struct buf *b, const char *z)
{
    buf_str(b, str_z(z));
}
static inline void buf_char(struct buf *b, char c)
{
    if (buf_reserve(b, 1))
        b->p[b->n++] = c;
}
void buf_i64(struct buf *b, int64_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_hex(struct buf *b, const void *p, size_t n);
void buf_base64(struct buf *b, const void *p, size_t n);    /* standard alphabet, padded */
void buf_base64url(struct buf *b, const void *p, size_t n); /* URL alphabet, no padding */
bool buf_unbase64url(struct buf *b, struct str text);       /* strict; false leaves b as it was */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct str buf_view(const struct buf *b); /* valid until the next append */
/* Drops the first n bytes; the rest moves to the front. */
void buf_drop(struct buf *b, size_t n);

#endif

/* JSON in and out. Tokens and grammar are yajl's (its face is lib/json_parse.c); the tree lies in an arena; output is
 * written, never built.
 *
 * A parsed tree belongs to the arena given to json_parse and dies with it. Every accessor takes NULL for "absent" and
 * answers with the empty value, so a chain of json_get needs one check at its end.
 *
 * The writer emits what RFC 8785 calls canonical as far as the caller adds members in order; json_write emits a parsed
 * tree canonically: members sorted by UTF-16 code units, shortest numbers, minimal escapes. Stored documents are made
 * that way, so their bytes can be hashed and signed as they stand. */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include "lib/arena.h"

struct json; /* a node of a parsed tree */

enum json_type { JSON_ABSENT, JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_limits {
    unsigned depth; /* default 32 */
    unsigned nodes; /* default 20000 */
};

struct json_fault {
    size_t offset;     /* byte where parsing stopped */
    bool exhausted;    /* nothing is wrong with the text: memory or the arena's limit is used up */
    char message[160]; /* for people; well-formed UTF-8 */
};

/* A whole number that no int64 holds is a JSON_REAL, as it is in ECMAScript.
 *
 * Strict: UTF-8, one value, no member twice, no NUL in strings, no half of a surrogate pair, bounded depth and nodes.
 * `text` may go afterwards. NULL limits: defaults. */
struct json *json_parse(struct arena *a, struct str text, const struct json_limits *limits, struct json_fault *fault);

enum json_type json_type(const struct json *j);
struct json *json_get_str(const struct json *object, struct str name);
static inline struct json *json_get(const struct json *object, const char *name)
{
    return json_get_str(object, str_z(name));
}
struct json *json_path(const struct json *root, struct str dotted); /* "a.b.c" */
size_t json_count(const struct json *j);                            /* elements or members */
struct json *json_at(const struct json *array, size_t i);
struct str json_str(const struct json *j); /* STR_NONE unless a string */
/* The strings of an array, one behind the other. STR_NONE: no memory. */
struct str json_join(struct arena *a, const struct json *array, char between);
/* The other way: the text of an array of names that stand between commas or blanks. STR_NONE: no memory. */
struct str json_names(struct arena *a, struct str list);
int64_t json_int(const struct json *j, int64_t otherwise);
double json_real(const struct json *j, double otherwise); /* ints widen */
bool json_bool(const struct json *j, bool otherwise);
bool json_is(const struct json *j, enum json_type t);
bool json_equal(const struct json *a,
                const struct json *b); /* deep; two ints are compared exactly, other numbers as doubles */

/* Members in stored order: for (struct json_iter it = json_members(o); json_next(&it);) it.name, it.value */
struct json_iter {
    struct str name;
    struct json *value;
    const struct json *object; /* private from here */
    size_t at;
};
struct json_iter json_members(const struct json *object);
bool json_next(struct json_iter *it);

/* Building. Nodes live in the arena and may share subtrees with other trees that live as long. NULL is passed on: a NULL
 * object, array or value gives false, a failed allocation gives NULL or false, so that one look at the end is enough. */
struct json *json_new(struct arena *a, enum json_type empty); /* JSON_OBJECT, JSON_ARRAY or JSON_NULL */
/* The same of an object or array, with memory for so many members or elements; there may be more or fewer. */
struct json *json_new_for(struct arena *a, enum json_type empty, size_t n);
struct json *json_new_str(struct arena *a, struct str s); /* s is copied; NULL also when it is no UTF-8 */
struct json *json_new_int(struct arena *a, int64_t v);
struct json *json_new_real(struct arena *a, double v); /* finite */
struct json *json_new_bool(bool v);
bool json_set(struct arena *a, struct json *object, struct str name, struct json *value); /* adds or replaces */
/* Adds what is known not to be there, under a name that stays as long as the tree: what json_set has to find out. */
bool json_add(struct arena *a, struct json *object, struct str name, struct json *value);
bool json_unset(struct json *object, struct str name);
bool json_append(struct arena *a, struct json *array, struct json *value);
struct json *json_copy_tree(struct arena *a, const struct json *j); /* deep */
/* Objects and arrays of its own, whose scalars are those of `j`, which lives as long: nobody changes a scalar. */
struct json *json_share(struct arena *a, const struct json *j);

/* RFC 7396. Neither argument changes; the result lives in the arena and shares nothing with them. NULL: out of memory. */
struct json *json_merge(struct arena *a, const struct json *target, const struct json *patch);
void json_write(struct buf *b, const struct json *j); /* canonical */
void json_write_string(struct buf *b, struct str s);  /* with quotes and escapes; invalid UTF-8 becomes U+FFFD */
void json_write_real(struct buf *b, double v);        /* shortest form that reads back (ECMAScript); NaN gives null */

/* Writer. Commas and nesting are its business; keys and values the caller's. */
struct json_out {
    struct buf *b;
    uint64_t filled; /* bit d: something was written at depth d */
    unsigned depth;  /* at most 63 */
};
void json_out_init(struct json_out *o, struct buf *b);
void json_open(struct json_out *o, char bracket);  /* '{' or '[' as a value */
void json_close(struct json_out *o, char bracket); /* '}' or ']' */
void json_key(struct json_out *o, struct str name);
void json_put_str(struct json_out *o, struct str s);
void json_put_z(struct json_out *o, const char *z);       /* NULL gives null */
void json_put_names(struct json_out *o, struct str list); /* an array: names between commas or blanks */
void json_put_int(struct json_out *o, int64_t v);
void json_put_real(struct json_out *o, double v);
void json_put_bool(struct json_out *o, bool v);
void json_put_null(struct json_out *o);
void json_put_raw(struct json_out *o, struct str text);  /* JSON text that is known to be well formed */
void json_put(struct json_out *o, const struct json *j); /* a parsed tree, canonical; NULL gives null */
void json_put_time(struct json_out *o, int64_t unix_ms); /* "2026-11-28T17:50:00.000Z" */

#endif

/* Trees are jansson's, but their memory is the arena's: jansson allocates through the hooks below, which take from the
 * arena that the running call names, and its frees do nothing. So a tree needs no destructor and dies with the arena.
 */

/* Names of jansson's that are ours here. */
#define json_type   jansson_type
#define json_real   jansson_real
#define json_equal  jansson_equal
#define JSON_NULL   JANSSON_NULL
#define JSON_REAL   JANSSON_REAL
#define JSON_STRING JANSSON_STRING
#define JSON_ARRAY  JANSSON_ARRAY
#define JSON_OBJECT JANSSON_OBJECT
#include <jansson.h>
#undef json_type
#undef json_real
#undef json_equal
#undef JSON_NULL
#undef JSON_REAL
#undef JSON_STRING
#undef JSON_ARRAY
#undef JSON_OBJECT

#include "lib/json.h"

#include "lib/clock.h"
#include "lib/must.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 32, NODES = 20000 };

json_t *jansson_real(double value) __asm__("json_real");

static _Thread_local struct arena *memory;
static _Thread_local bool exhausted;
static _Thread_local jmp_buf *leave_parser; /* NULL outside of it */

static void *allocate(size_t n)
{
    void *p = memory == NULL ? NULL : arena_room(memory, n);
    if (p == NULL) {
        exhausted = true;
        if (leave_parser != NULL)
            longjmp(*leave_parser, 1);
    }
    return p;
}

static void release(void *p)
{
    (void)p;
}

__attribute__((constructor)) static void take_over_memory(void)
{
    json_set_alloc_funcs(allocate, release);
    json_object_seed(0);
}

static void use(struct arena *a)
{
    memory = a;
    exhausted = false;
}

static struct json *ours(json_t *j)
{
    return (struct json *)(void *)j;
}

/* jansson's readers take pointers to const or should. */
static json_t *theirs(const struct json *j)
{
    union {
        const struct json *ours;
        json_t *theirs;
    } same = {j};
    return same.theirs;
}

static struct json *refuse(struct json_fault *fault, size_t offset, const char *message)
{
    if (fault == NULL)
        return NULL;
    *fault = (struct json_fault){.offset = offset, .exhausted = exhausted};
    size_t n = str_utf8_valid(str_slice(str_z(message), 0, sizeof fault->message - 1));
    memcpy(fault->message, message, n);
    return NULL;
}

/* Skips a string; `i` is at its first quote, the result behind its last one or at the end. */
static size_t skip_string(struct str text, size_t i)
{
    for (i++; i < text.n && text.p[i] != '"'; i++)
        if (text.p[i] == '\\')
            i++;
    return i + 1;
}

/* The end of the run of digits that starts at `i`, with a sign before it or none; `wide` when that is a whole number too
 * large for jansson's integers. 1e20 is one: its canonical form has no exponent. */
static size_t skip_digits(struct str text, size_t i, bool *wide)
{
    size_t from = i;
    int64_t value;
    for (i++; i < text.n && text.p[i] >= '0' && text.p[i] <= '9';)
        i++;
    bool whole = i == text.n || (text.p[i] != '.' && text.p[i] != 'e' && text.p[i] != 'E');
    *wide = whole && i - from >= 19 && !str_i64(str_slice(text, from, i), &value);
    return i;
}

static bool starts_number(char c)
{
    return c == '-' || (c >= '0' && c <= '9');
}

/* The text with ".0" behind every wide number, which makes it a real; empty when memory ends. */
static struct str widened(struct arena *a, struct str text)
{
    struct buf out;
    size_t from = 0;
    buf_init_arena(&out, a, text.n + text.n / 8);
    for (size_t i = 0; i < text.n;) {
        bool wide = false;
        if (text.p[i] == '"')
            i = skip_string(text, i);
        else if (starts_number(text.p[i]))
            i = skip_digits(text, i, &wide);
        else
            i++;
        if (!wide)
            continue;
        buf_str(&out, str_slice(text, from, i));
        buf_z(&out, ".0");
        from = i;
    }
    buf_str(&out, str_slice(text, from, text.n));
    exhausted = out.failed;
    return out.failed ? STR_NONE : buf_view(&out);
}

/* Bounds the work of the parser before it starts. On well-formed text the counts are exact; on any other they only
 * have to end, since the parser refuses it. */
static const char *check_limits(struct str text, const struct json_limits *limits, size_t *offset, bool *any_wide)
{
    unsigned max_depth = limits != NULL && limits->depth != 0 ? limits->depth : DEPTH;
    unsigned max_nodes = limits != NULL && limits->nodes != 0 ? limits->nodes : NODES;
    unsigned depth = 0, nodes = 1;
    bool opened = false; /* nothing yet since a bracket: an empty container has no element to count */
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        *offset = i;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            continue;
        if (c == '\0')
            return "a NUL byte"; /* at the very end the parser would take it for the end */
        bool close = c == ']' || c == '}';
        if (c == ',' || (opened && !close))
            nodes++;
        opened = c == '[' || c == '{';
        if (opened && ++depth > max_depth)
            return "nested too deeply";
        if (close && depth > 0)
            depth--;
        if (nodes > max_nodes)
            return "too many values";
        if (c == '"')
            i = skip_string(text, i) - 1;
        bool wide = false;
        if (starts_number(c))
            i = skip_digits(text, i, &wide) - 1;
        *any_wide = *any_wide || wide;
    }
    return NULL;
}

static json_t *load(struct str text, json_error_t *error)
{
    jmp_buf here;
    json_t *j = NULL;
    leave_parser = &here;
    if (setjmp(here) == 0)
        j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, error);
    leave_parser = NULL;
    return exhausted ? NULL : j;
}

struct json *json_parse(struct arena *a, struct str text, const struct json_limits *limits, struct json_fault *fault)
{
    json_error_t error = {.position = 0};
    size_t offset = 0, length = text.n;
    bool any_wide = false;
    use(a);
    if (text.n == 0)
        return refuse(fault, 0, "the text is empty");
    const char *over = check_limits(text, limits, &offset, &any_wide);
    if (over != NULL)
        return refuse(fault, offset, over);
    if (any_wide && (text = widened(a, text)).n == 0)
        return refuse(fault, 0, "out of memory");
    json_t *j = load(text, &error);
    if (j == NULL) {
        offset = error.position < 0 ? 0 : (size_t)error.position;
        return refuse(fault, offset < length ? offset : length, exhausted ? "out of memory" : error.text);
    }
    return ours(j);
}

enum json_type json_type(const struct json *j)
{
    if (j == NULL)
        return JSON_ABSENT;
    switch (json_typeof(theirs(j))) {
    case JANSSON_OBJECT:
        return JSON_OBJECT;
    case JANSSON_ARRAY:
        return JSON_ARRAY;
    case JANSSON_STRING:
        return JSON_STRING;
    case JSON_INTEGER:
        return JSON_INT;
    case JANSSON_REAL:
        return JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_BOOL;
    case JANSSON_NULL:
        return JSON_NULL;
    }
    return JSON_ABSENT;
}

struct json *json_get(const struct json *object, const char *name)
{
    return json_get_str(object, str_z(name));
}

struct json *json_get_str(const struct json *object, struct str name)
{
    return object == NULL || name.p == NULL ? NULL : ours(json_object_getn(theirs(object), name.p, name.n));
}

struct json *json_path(const struct json *root, struct str dotted)
{
    const struct json *j = root;
    do
        j = json_get_str(j, str_cut(&dotted, '.'));
    while (j != NULL && dotted.p != NULL);
    return ours(theirs(j));
}

size_t json_count(const struct json *j)
{
    return json_is(j, JSON_OBJECT)  ? json_object_size(theirs(j))
           : json_is(j, JSON_ARRAY) ? json_array_size(theirs(j))
                                    : 0;
}

struct json *json_at(const struct json *array, size_t i)
{
    return ours(json_array_get(theirs(array), i));
}

struct str json_str(const struct json *j)
{
    if (!json_is(j, JSON_STRING))
        return STR_NONE;
    return (struct str){json_string_value(theirs(j)), json_string_length(theirs(j))};
}

struct str json_join(struct arena *a, const struct json *array, char between)
{
    struct buf b;
    buf_init_arena(&b, a, 64);
    for (size_t i = 0; i < json_count(array); i++) {
        if (i > 0)
            buf_char(&b, between);
        buf_str(&b, json_str(json_at(array, i)));
    }
    return b.failed ? STR_NONE : b.n == 0 ? S("") : buf_view(&b);
}

int64_t json_int(const struct json *j, int64_t otherwise)
{
    return json_is(j, JSON_INT) ? json_integer_value(theirs(j)) : otherwise;
}

double json_real(const struct json *j, double otherwise)
{
    return json_is(j, JSON_INT) || json_is(j, JSON_REAL) ? json_number_value(theirs(j)) : otherwise;
}

bool json_bool(const struct json *j, bool otherwise)
{
    return json_is(j, JSON_BOOL) ? json_is_true(theirs(j)) : otherwise;
}

bool json_is(const struct json *j, enum json_type t)
{
    return json_type(j) == t;
}

static bool numbers_equal(const struct json *a, const struct json *b)
{
    if (json_is(a, JSON_INT) && json_is(b, JSON_INT))
        return json_int(a, 0) == json_int(b, 0);
    return json_real(a, 0) == json_real(b, 0);
}

static bool is_number(const struct json *j)
{
    return json_is(j, JSON_INT) || json_is(j, JSON_REAL);
}

bool json_equal(const struct json *a, const struct json *b)
{
    if (is_number(a) && is_number(b))
        return numbers_equal(a, b);
    if (json_type(a) != json_type(b) || json_count(a) != json_count(b))
        return false;
    if (json_is(a, JSON_STRING))
        return str_eq(json_str(a), json_str(b));
    if (json_is(a, JSON_BOOL))
        return json_bool(a, false) == json_bool(b, false);
    if (json_is(a, JSON_ARRAY))
        for (size_t i = 0; i < json_count(a); i++)
            if (!json_equal(json_at(a, i), json_at(b, i)))
                return false;
    for (struct json_iter it = json_members(a); json_next(&it);)
        if (!json_equal(it.value, json_get_str(b, it.name)))
            return false;
    return true;
}

struct json_iter json_members(const struct json *object)
{
    return (struct json_iter){.object = object};
}

bool json_next(struct json_iter *it)
{
    json_t *object = theirs(it->object);
    it->at = it->started ? json_object_iter_next(object, it->at) : json_object_iter(object);
    it->started = true;
    if (it->at == NULL)
        return false;
    it->name = (struct str){json_object_iter_key(it->at), json_object_iter_key_len(it->at)};
    it->value = ours(json_object_iter_value(it->at));
    return true;
}

/* Building. */

struct json *json_new(struct arena *a, enum json_type empty)
{
    use(a);
    must(empty == JSON_OBJECT || empty == JSON_ARRAY || empty == JSON_NULL);
    return ours(empty == JSON_OBJECT ? json_object() : empty == JSON_ARRAY ? json_array() : json_null());
}

struct json *json_new_str(struct arena *a, struct str s)
{
    use(a);
    return ours(json_stringn(s.p == NULL ? "" : s.p, s.n));
}

struct json *json_new_int(struct arena *a, int64_t v)
{
    use(a);
    return ours(json_integer(v));
}

struct json *json_new_real(struct arena *a, double v)
{
    use(a);
    return ours(jansson_real(v));
}

struct json *json_new_bool(bool v)
{
    return ours(json_boolean(v));
}

bool json_set(struct arena *a, struct json *object, struct str name, struct json *value)
{
    use(a);
    return json_object_setn_new(theirs(object), name.p == NULL ? "" : name.p, name.n, json_incref(theirs(value))) == 0;
}

bool json_unset(struct json *object, struct str name)
{
    return json_object_deln(theirs(object), name.p == NULL ? "" : name.p, name.n) == 0;
}

bool json_append(struct arena *a, struct json *array, struct json *value)
{
    use(a);
    return json_array_append_new(theirs(array), json_incref(theirs(value))) == 0;
}

static struct json *copy_scalar(struct arena *a, const struct json *j)
{
    enum json_type type = json_type(j);
    if (type == JSON_STRING)
        return json_new_str(a, json_str(j));
    if (type == JSON_INT)
        return json_new_int(a, json_int(j, 0));
    if (type == JSON_REAL)
        return json_new_real(a, json_real(j, 0));
    return ours(theirs(j)); /* jansson's null, true and false are constants */
}

static struct json *copy(struct arena *a, const struct json *j, bool deep)
{
    enum json_type type = json_type(j);
    if (type != JSON_ARRAY && type != JSON_OBJECT)
        return deep ? copy_scalar(a, j) : ours(theirs(j));
    struct json *made = json_new(a, type);
    if (type == JSON_ARRAY)
        for (size_t i = 0; i < json_count(j); i++)
            if (!json_append(a, made, copy(a, json_at(j, i), deep)))
                return NULL;
    for (struct json_iter it = json_members(j); json_next(&it);)
        if (!json_set(a, made, it.name, copy(a, it.value, deep)))
            return NULL;
    return made;
}

struct json *json_copy_tree(struct arena *a, const struct json *j)
{
    return copy(a, j, true);
}

struct json *json_share(struct arena *a, const struct json *j)
{
    return copy(a, j, false);
}

struct json *json_merge(struct arena *a, const struct json *target, const struct json *patch)
{
    if (!json_is(patch, JSON_OBJECT))
        return json_copy_tree(a, patch);
    struct json *result = json_new(a, JSON_OBJECT);
    for (struct json_iter it = json_members(json_is(target, JSON_OBJECT) ? target : NULL); json_next(&it);)
        if (json_get_str(patch, it.name) == NULL && !json_set(a, result, it.name, json_copy_tree(a, it.value)))
            return NULL;
    for (struct json_iter it = json_members(patch); json_next(&it);)
        if (!json_is(it.value, JSON_NULL) &&
            !json_set(a, result, it.name, json_merge(a, json_get_str(target, it.name), it.value)))
            return NULL;
    return result;
}

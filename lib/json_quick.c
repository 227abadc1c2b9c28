#include "lib/json_quick.h"

#include <string.h>

enum { DEPTH = 64, DIGITS = 18 };

struct quick {
    struct arena *arena;
    const char *p, *end;
    unsigned depth, nodes; /* that may still come */
    bool full;
};

/* What was made, or memory ran out: only text can be refused for another reason. */
static struct json *made(struct quick *q, struct json *j)
{
    q->full = q->full || j == NULL;
    return j;
}

static void skip_space(struct quick *q)
{
    while (q->p < q->end && (*q->p == ' ' || *q->p == '\n' || *q->p == '\r' || *q->p == '\t'))
        q->p++;
}

static bool take(struct quick *q, char c)
{
    skip_space(q);
    if (q->p == q->end || *q->p != c)
        return false;
    q->p++;
    return true;
}

static bool take_word(struct quick *q, struct str word)
{
    if ((size_t)(q->end - q->p) < word.n || memcmp(q->p, word.p, word.n) != 0)
        return false;
    q->p += word.n;
    return true;
}

/* Behind a backslash: what it stands for; 0: not for us. */
static char escaped(char c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = c == '\0' ? NULL : strchr(from, c);
    return at == NULL ? '\0' : to[at - from];
}

/* The rest of a string with escapes, of which `from` to q->p has none. */
static bool take_escapes(struct quick *q, const char *from, struct str *out)
{
    const char *close = q->p;
    while (close < q->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= q->end)
        return false;
    char *copy = arena_alloc(q->arena, (size_t)(close - from)), *to = copy;
    if (copy == NULL) {
        q->full = true;
        return false;
    }
    memcpy(to, from, (size_t)(q->p - from));
    for (to += q->p - from; q->p < close; q->p++) {
        char c = *q->p;
        if ((unsigned char)c < ' ' || (c == '\\' && (c = escaped(*++q->p)) == '\0'))
            return false;
        *to++ = c;
    }
    q->p = close + 1;
    *out = (struct str){copy, (size_t)(to - copy)};
    return true;
}

static bool is_utf8(struct str s)
{
    return str_utf8_valid(s) == s.n;
}

/* Behind the first quote. */
static bool take_string(struct quick *q, struct str *out)
{
    const char *from = q->p;
    while (q->p < q->end && *q->p != '"' && *q->p != '\\' && (unsigned char)*q->p >= ' ')
        q->p++;
    if (q->p == q->end || (unsigned char)*q->p < ' ')
        return false;
    if (*q->p == '\\')
        return take_escapes(q, from, out);
    *out = (struct str){from, (size_t)(q->p++ - from)};
    return true;
}

static struct json *number(struct quick *q)
{
    bool negative = *q->p == '-';
    const char *from = q->p += negative;
    int64_t v = 0;
    for (; q->p < q->end && *q->p >= '0' && *q->p <= '9'; q->p++) {
        if (q->p - from == DIGITS)
            return NULL;
        v = v * 10 + (*q->p - '0');
    }
    if (q->p == from || (*from == '0' && (q->p - from > 1 || negative)))
        return NULL;
    if (q->p < q->end && (*q->p == '.' || *q->p == 'e' || *q->p == 'E'))
        return NULL;
    return made(q, json_new_int(q->arena, negative ? -v : v));
}

static struct json *value(struct quick *q);

static struct json *object(struct quick *q)
{
    struct json *out = made(q, json_new(q->arena, JSON_OBJECT));
    if (out == NULL || take(q, '}'))
        return out;
    do {
        struct str name;
        if (!take(q, '"') || !take_string(q, &name) || !is_utf8(name) || json_get_str(out, name) != NULL ||
            !take(q, ':'))
            return NULL;
        struct json *v = value(q);
        if (v == NULL || made(q, json_set(q->arena, out, name, v) ? v : NULL) == NULL)
            return NULL;
    } while (take(q, ','));
    return take(q, '}') ? out : NULL;
}

static struct json *array(struct quick *q)
{
    struct json *out = made(q, json_new(q->arena, JSON_ARRAY));
    if (out == NULL || take(q, ']'))
        return out;
    do {
        struct json *v = value(q);
        if (v == NULL || made(q, json_append(q->arena, out, v) ? v : NULL) == NULL)
            return NULL;
    } while (take(q, ','));
    return take(q, ']') ? out : NULL;
}

static struct json *container(struct quick *q)
{
    if (q->depth == 0)
        return NULL;
    q->depth--;
    struct json *out = *q->p++ == '{' ? object(q) : array(q);
    q->depth++;
    return out;
}

static struct json *value(struct quick *q)
{
    struct str text;
    skip_space(q);
    if (q->p == q->end || q->nodes == 0)
        return NULL;
    q->nodes--;
    switch (*q->p) {
    case '{':
    case '[':
        return container(q);
    case '"':
        q->p++;
        return take_string(q, &text) && is_utf8(text) ? made(q, json_new_str(q->arena, text)) : NULL;
    case 't':
        return take_word(q, S("true")) ? json_new_bool(true) : NULL;
    case 'f':
        return take_word(q, S("false")) ? json_new_bool(false) : NULL;
    case 'n':
        return take_word(q, S("null")) ? made(q, json_new(q->arena, JSON_NULL)) : NULL;
    default:
        return number(q);
    }
}

struct json *json_quick(struct arena *a, struct str text, const struct json_limits *limits, bool *full)
{
    unsigned depth = limits->depth < DEPTH ? limits->depth : DEPTH;
    struct quick q = {a, text.p, text.p + text.n, depth, limits->nodes, false};
    struct json *out = value(&q);
    *full = q.full;
    skip_space(&q);
    return q.p == q.end ? out : NULL;
}

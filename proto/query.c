#include "proto/query.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int query_escape(struct str s, size_t i)
{
    int high = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
    int low = i + 2 < s.n ? hex(s.p[i + 2]) : -1;
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

bool query_decode(struct buf *out, struct str text, bool plus)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            int byte = query_escape(text, i);
            if (byte < 0)
                return false;
            c = (char)byte;
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        buf_char(out, c);
    }
    return true;
}

void query_encode(struct buf *out, struct str text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~';
        if (plain) {
            buf_char(out, (char)c);
        } else {
            buf_char(out, '%');
            buf_char(out, digits[c >> 4]);
            buf_char(out, digits[c & 15]);
        }
    }
}

/* Decodes into memory of the arena that is as long as the encoded text, with a NUL behind it, which is not counted. */
static enum query_fault decode(struct arena *a, struct str raw, struct str *out)
{
    struct buf b;
    buf_init_arena(&b, a, raw.n + 1);
    bool fine = query_decode(&b, raw, true);
    buf_char(&b, '\0');
    if (b.failed)
        return QUERY_MEMORY;
    struct str text = {b.p, b.n - 1};
    if (!fine)
        return QUERY_ESCAPE;
    if (!str_utf8(text) || memchr(text.p, 0, text.n) != NULL)
        return QUERY_TEXT;
    *out = text;
    return QUERY_OK;
}

static enum query_fault decode_pair(struct arena *a, struct str pair, struct query_param *out)
{
    ptrdiff_t eq = str_index(pair, '=');
    struct str name = eq < 0 ? pair : str_slice(pair, 0, (size_t)eq);
    struct str value = eq < 0 ? S("") : str_slice(pair, (size_t)eq + 1, pair.n);
    enum query_fault f = decode(a, name, &out->name);
    if (f == QUERY_OK)
        f = decode(a, value, &out->value);
    out->bare = eq < 0;
    return f;
}

enum query_fault query_parse(struct arena *a, struct str raw, struct query *out)
{
    size_t pairs = raw.n > 0;
    for (size_t i = 0; i < raw.n; i++)
        pairs += raw.p[i] == '&';
    struct query q = {NULL, 0};
    size_t most = pairs < QUERY_PARAMS_MAX ? pairs : QUERY_PARAMS_MAX;
    if (most > 0 && (q.params = arena_array(a, most, sizeof(*q.params))) == NULL)
        return QUERY_MEMORY;
    struct str rest = raw;
    while (rest.p != NULL && rest.n > 0) {
        struct str pair = str_cut(&rest, '&');
        if (pair.n == 0)
            continue;
        if (q.n == most)
            return QUERY_COUNT;
        enum query_fault f = decode_pair(a, pair, &q.params[q.n]);
        if (f != QUERY_OK)
            return f;
        q.n++;
    }
    *out = q;
    return QUERY_OK;
}

const char *query_why(enum query_fault f)
{
    static const char *const why[] = {
        [QUERY_OK] = "fine",
        [QUERY_ESCAPE] = "a per cent sign is not followed by two hexadecimal digits",
        [QUERY_TEXT] = "a name or value is not UTF-8 text",
        [QUERY_COUNT] = "there are too many parameters",
        [QUERY_MEMORY] = "no memory for the parameters",
    };
    return why[f];
}

bool query_each(const struct query *q, struct str name, size_t *i, struct str *value)
{
    while (q != NULL && *i < q->n) {
        const struct query_param *p = &q->params[(*i)++];
        if (str_eq(p->name, name)) {
            *value = p->value;
            return true;
        }
    }
    return false;
}

struct str query_get(const struct query *q, struct str name)
{
    size_t i = 0;
    struct str value = STR_NONE;
    query_each(q, name, &i, &value);
    return value;
}

size_t query_count(const struct query *q, struct str name)
{
    size_t n = 0, i = 0;
    for (struct str value; query_each(q, name, &i, &value);)
        n++;
    return n;
}

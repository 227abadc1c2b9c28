#include "lib/member.h"

#include <string.h>

/* The offset behind the string that starts (with its quote) at `i`; 0 when it does not end. */
static size_t string_end(struct str s, size_t i)
{
    for (size_t from = i + 1; from < s.n;) {
        const char *quote = memchr(s.p + from, '"', s.n - from);
        if (quote == NULL)
            return 0;
        size_t at = (size_t)(quote - s.p), slashes = 0;
        while (s.p[at - slashes - 1] == '\\')
            slashes++;
        from = at + 1;
        if (slashes % 2 == 0)
            return from;
    }
    return 0;
}

/* The offset behind the value that starts at `i`: at the ',' or '}' that ends it; 0 when it does not end. */
static size_t value_end(struct str s, size_t i)
{
    unsigned depth = 0;
    while (i < s.n) {
        char c = s.p[i];
        if (c == '"') {
            i = string_end(s, i);
            if (i == 0)
                return 0;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}'))
            return i;
        if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        i++;
    }
    return 0;
}

struct member members_of(struct str object)
{
    return (struct member){.text = object};
}

bool member_next(struct member *m)
{
    struct str s = m->text;
    size_t i = m->at;
    bool first = i == 0;
    if (i >= s.n)
        return false;
    if (first ? s.p[0] == '{' && s.n == 2 && s.p[1] == '}' : s.p[i] == '}') {
        m->whole = first || i + 1 == s.n;
        return false;
    }
    if (s.p[i++] != (first ? '{' : ',') || i >= s.n || s.p[i] != '"')
        return false;
    size_t colon = string_end(s, i);
    if (colon == 0 || colon >= s.n || s.p[colon] != ':')
        return false;
    size_t end = value_end(s, colon + 1);
    if (end <= colon + 1)
        return false;
    m->start = i;
    m->name = str_slice(s, i + 1, colon - 1);
    m->value = str_slice(s, colon + 1, end);
    m->at = end;
    return true;
}

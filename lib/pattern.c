#include "lib/pattern.h"

#include "lib/must.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { SPANS = 16 };

/* A run of characters out of a set. */
struct span {
    bool has[256];
    unsigned min, max;
};

/* Spans one after the other. Only the last one varies in length, so taking all it can get is never wrong. */
struct pattern {
    struct span *spans; /* NULL: the expression has it */
    size_t n;
    bool to_end; /* nothing may follow */
    regex_t expression;
};

/* "[A-Za-z0-9._-]", from behind the bracket; what it ends with, or NULL when it is more than characters and ranges. */
static const char *read_set(const char *p, struct span *s)
{
    for (; *p != ']'; p++) {
        unsigned char from = (unsigned char)*p, to = from;
        if (from == '\0' || strchr("[^\\", from) != NULL)
            return NULL;
        if (p[1] == '-' && p[2] != ']') {
            p += 2;
            to = (unsigned char)*p;
        }
        if (!isalnum(to) && from != to)
            return NULL;
        for (unsigned c = from; c <= to; c++)
            s->has[c] = true;
    }
    return p + 1;
}

static const char *read_one(const char *p, struct span *s)
{
    if (*p == '[')
        return p[1] == ']' ? NULL : read_set(p + 1, s);
    if (*p == '\0' || strchr(".()*+?{}|\\^$", *p) != NULL)
        return NULL;
    s->has[(unsigned char)*p] = true;
    return p + 1;
}

/* "{0,62}", "{64}", "*", "+", or nothing. */
static const char *read_count(const char *p, struct span *s)
{
    char *end;
    s->min = s->max = 1;
    if (*p == '*' || *p == '+' || *p == '?') {
        s->min = *p == '+';
        s->max = *p == '?' ? 1 : UINT32_MAX;
        return p + 1;
    }
    if (*p != '{')
        return p;
    s->min = s->max = (unsigned)strtoul(p + 1, &end, 10);
    if (*end == ',')
        s->max = (unsigned)strtoul(end + 1, &end, 10);
    return *end == '}' && s->max >= s->min ? end + 1 : NULL;
}

static bool read_spans(struct pattern *p, const char *text)
{
    if (*text++ != '^')
        return false;
    while (*text != '\0' && strcmp(text, "$") != 0) {
        struct span *s = &p->spans[p->n];
        if (p->n == SPANS || (p->n > 0 && s[-1].min != s[-1].max))
            return false;
        text = read_one(text, s);
        text = text == NULL ? NULL : read_count(text, s);
        if (text == NULL)
            return false;
        p->n++;
    }
    p->to_end = *text == '$';
    return true;
}

static bool compile(struct pattern *p, const char *text)
{
    int e = regcomp(&p->expression, text, REG_EXTENDED | REG_NOSUB);
    must(e == 0 || e == REG_ESPACE);
    return e == 0;
}

struct pattern *pattern_new(const char *text)
{
    struct pattern *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->spans = calloc(SPANS, sizeof *p->spans);
    if (p->spans != NULL && read_spans(p, text))
        return p;
    free(p->spans);
    p->spans = NULL;
    if (compile(p, text))
        return p;
    free(p);
    return NULL;
}

void pattern_free(struct pattern *p)
{
    if (p == NULL)
        return;
    if (p->spans == NULL)
        regfree(&p->expression);
    free(p->spans);
    free(p);
}

bool pattern_is_plain(const struct pattern *p)
{
    return p->spans != NULL;
}

bool pattern_matches(const struct pattern *p, const char *text)
{
    if (p->spans == NULL)
        return regexec(&p->expression, text, 0, NULL, 0) == 0;
    for (const struct span *s = p->spans; s < p->spans + p->n; s++) {
        unsigned n = 0;
        while (n < s->max && s->has[(unsigned char)*text])
            n++, text++;
        if (n < s->min)
            return false;
    }
    return !p->to_end || *text == '\0';
}

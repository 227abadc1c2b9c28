#include "server/engine/expression.h"

#include "server/engine/expression_node.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    struct arena *arena;
    struct str text;
    size_t at;
    unsigned depth;
    struct expression_fault *fault;
};

static const struct value null_value = {.type = JSON_NULL};

static const struct expression *bad(struct parser *p, const char *message)
{
    expression_fault_at(p->fault, p->at, "%s", message);
    return NULL;
}

static const struct expression *parse_or(struct parser *p);

static void skip_space(struct parser *p)
{
    while (p->at < p->text.n && strchr(" \t\r\n", p->text.p[p->at]) != NULL && p->text.p[p->at] != '\0')
        p->at++;
}

static bool take(struct parser *p, const char *token)
{
    struct str rest, want = str_z(token);

    skip_space(p);
    rest = str_slice(p->text, p->at, p->text.n);
    if (!str_starts(rest, want))
        return false;
    p->at += want.n;
    return true;
}

static char peek(struct parser *p)
{
    skip_space(p);
    return p->at < p->text.n ? p->text.p[p->at] : '\0';
}

static struct expression *node(struct parser *p, enum kind kind, size_t offset)
{
    struct expression *e = arena_new(p->arena, struct expression);

    if (e == NULL) {
        bad(p, "out of memory");
        return NULL;
    }
    e->kind = kind;
    e->offset = offset;
    return e;
}

static const struct expression *operation(struct parser *p, enum kind kind, size_t offset,
                                          const struct expression *left, const struct expression *right)
{
    struct expression *e = node(p, kind, offset);

    if (e == NULL)
        return NULL;
    e->n = right == NULL ? 1 : 2;
    e->operands = arena_array(p->arena, e->n, sizeof *e->operands);
    if (e->operands == NULL)
        return bad(p, "out of memory");
    e->operands[0] = left;
    if (right != NULL)
        e->operands[1] = right;
    return e;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool name_part(char c)
{
    return name_start(c) || digit(c) || c == '-';
}

static struct str take_name(struct parser *p)
{
    size_t from = p->at;

    if (p->at < p->text.n && name_start(p->text.p[p->at]))
        while (p->at < p->text.n && name_part(p->text.p[p->at]))
            p->at++;
    return str_slice(p->text, from, p->at);
}

static bool unescape(char c, char *out)
{
    static const char from[] = "\\'\"nt", to[] = "\\'\"\n\t";
    const char *found = c == '\0' ? NULL : strchr(from, c);

    if (found != NULL)
        *out = to[found - from];
    return found != NULL;
}

/* The text behind an opening quote, which has been seen but not taken. */
static bool take_text(struct parser *p, struct str *out)
{
    char quote = p->text.p[p->at++];
    char *copy = arena_alloc(p->arena, p->text.n - p->at + 1);
    size_t n = 0;

    if (copy == NULL)
        return bad(p, "out of memory") != NULL;
    for (; p->at < p->text.n && p->text.p[p->at] != quote; p->at++) {
        char c = p->text.p[p->at];

        if (c == '\\' && (++p->at >= p->text.n || !unescape(p->text.p[p->at], &c)))
            return bad(p, "unknown escape in a text") != NULL;
        copy[n++] = c;
    }
    if (p->at >= p->text.n)
        return bad(p, "a text is not closed") != NULL;
    p->at++;
    *out = (struct str){copy, n};
    return true;
}

static bool take_number(struct parser *p, struct value *out)
{
    size_t from = p->at;
    bool real = false;
    char copy[64], *end;
    struct str text;

    if (p->text.p[p->at] == '-')
        p->at++;
    while (p->at < p->text.n && (digit(p->text.p[p->at]) || p->text.p[p->at] == '.')) {
        real = real || p->text.p[p->at] == '.';
        p->at++;
    }
    text = str_slice(p->text, from, p->at);
    if (text.n == 0 || text.n >= sizeof copy || !digit(text.p[text.n - 1]) || !digit(text.p[text.p[0] == '-']))
        return bad(p, "not a number") != NULL;
    if (!real) {
        out->type = JSON_INT;
        return str_i64(text, &out->integer) || bad(p, "the number is too large") != NULL;
    }
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    out->type = JSON_REAL;
    out->real = strtod(copy, &end);
    return *end == '\0' || bad(p, "not a number") != NULL;
}

static bool take_part(struct parser *p, struct expression_part *part)
{
    struct value index = null_value;
    char c;

    if (take(p, ".")) {
        part->name = take_name(p);
        return part->name.n > 0 || bad(p, "a name is expected after the point") != NULL;
    }
    take(p, "[");
    c = peek(p);
    if (c == '\'' || c == '"') {
        if (!take_text(p, &part->name))
            return false;
    } else if (digit(c)) {
        if (!take_number(p, &index))
            return false;
        if (index.type != JSON_INT)
            return bad(p, "an index is a whole number") != NULL;
        part->index = index.integer;
    } else {
        return bad(p, "an index or a quoted name is expected") != NULL;
    }
    return take(p, "]") || bad(p, "']' is missing") != NULL;
}

static const struct expression *parse_path(struct parser *p, struct str root, size_t offset)
{
    struct expression *e;
    struct expression_part parts[EXPRESSION_PARTS] = {{.name = root}}, *kept;
    unsigned n = 1;

    if (!str_eqz(root, "inputs") && !str_eqz(root, "steps") && !str_eqz(root, "context")) {
        p->at = offset;
        return bad(p, "a path starts with inputs, steps or context");
    }
    while (peek(p) == '.' || peek(p) == '[') {
        if (n == EXPRESSION_PARTS)
            return bad(p, "the path is too long");
        if (!take_part(p, &parts[n++]))
            return NULL;
    }
    e = node(p, PATH, offset);
    kept = arena_array(p->arena, n, sizeof *kept);
    if (e == NULL || kept == NULL)
        return bad(p, "out of memory");
    memcpy(kept, parts, n * sizeof *kept);
    e->path = (struct expression_path){offset, n, kept};
    return e;
}

static const struct expression *parse_call(struct parser *p, struct str name, size_t offset)
{
    const struct expression *args[EXPRESSION_ARGUMENTS];
    struct expression *e = node(p, CALL, offset);
    unsigned n = 0;

    if (e == NULL)
        return NULL;
    e->function = function_find(name);
    if (e->function == NULL)
        return bad(p, "unknown function");
    while (n < EXPRESSION_ARGUMENTS && peek(p) != ')') {
        if (n > 0 && !take(p, ","))
            return bad(p, "',' or ')' is expected");
        args[n] = parse_or(p);
        if (args[n++] == NULL)
            return NULL;
    }
    if (!take(p, ")"))
        return bad(p, "too many arguments, or ')' is missing");
    if (n < e->function->min || n > e->function->max)
        return bad(p, "wrong number of arguments");
    e->n = n;
    e->operands = arena_array(p->arena, n, sizeof *e->operands);
    if (e->operands == NULL)
        return bad(p, "out of memory");
    memcpy(e->operands, args, n * sizeof *args);
    return e;
}

static const struct expression *parse_word(struct parser *p)
{
    size_t offset = p->at;
    struct str name = take_name(p);
    struct value literal = null_value;
    struct expression *e;

    if (peek(p) == '(' && take(p, "("))
        return parse_call(p, name, offset);
    if (str_eqz(name, "true") || str_eqz(name, "false"))
        literal = (struct value){.type = JSON_BOOL, .truth = name.p[0] == 't'};
    else if (!str_eqz(name, "null"))
        return parse_path(p, name, offset);
    e = node(p, LITERAL, offset);
    if (e != NULL)
        e->literal = literal;
    return e;
}

static const struct expression *parse_literal(struct parser *p, char first)
{
    struct expression *e = node(p, LITERAL, p->at);

    if (e == NULL)
        return NULL;
    if (first == '\'' || first == '"') {
        e->literal.type = JSON_STRING;
        return take_text(p, &e->literal.text) ? e : NULL;
    }
    return take_number(p, &e->literal) ? e : NULL;
}

static const struct expression *parse_value(struct parser *p)
{
    const struct expression *e;
    char c = peek(p);

    if (c == '(') {
        take(p, "(");
        e = parse_or(p);
        return e == NULL || take(p, ")") ? e : bad(p, "')' is missing");
    }
    if (c == '\'' || c == '"' || c == '-' || digit(c))
        return parse_literal(p, c);
    if (name_start(c))
        return parse_word(p);
    return bad(p, c == '\0' ? "the expression ends too early" : "a value is expected");
}

static const struct expression *parse_unary(struct parser *p)
{
    const struct expression *e;

    if (++p->depth > EXPRESSION_DEPTH)
        return bad(p, "nested too deeply");
    if (peek(p) == '!' && take(p, "!")) {
        size_t offset = p->at - 1;

        e = parse_unary(p);
        e = e == NULL ? NULL : operation(p, NOT, offset, e, NULL);
    } else {
        e = parse_value(p);
    }
    p->depth--;
    return e;
}

struct level { /* operators of one precedence; longer spellings first */
    struct {
        const char *token;
        enum kind kind;
    } operators[4];
};

// clang-format off
static const struct level levels[] = {
    {{{"||", OR}}},
    {{{"&&", AND}}},
    {{{"==", EQUAL}, {"!=", UNEQUAL}}},
    {{{"<=", LESS_EQUAL}, {">=", GREATER_EQUAL}, {"<", LESS}, {">", GREATER}}},
};
// clang-format on

static const struct expression *parse_level(struct parser *p, size_t level)
{
    const struct expression *left, *right;

    if (level == ARRAY_LEN(levels))
        return parse_unary(p);
    left = parse_level(p, level + 1);
    for (size_t i = 0; left != NULL && i < ARRAY_LEN(levels[0].operators) && levels[level].operators[i].token; i++) {
        size_t offset = p->at;

        if (!take(p, levels[level].operators[i].token))
            continue;
        right = parse_level(p, level + 1);
        left = right == NULL ? NULL : operation(p, levels[level].operators[i].kind, offset, left, right);
        i = (size_t)-1; /* look for a further operator of this level */
    }
    return left;
}

static const struct expression *parse_or(struct parser *p)
{
    return parse_level(p, 0);
}

const struct expression *expression_parse(struct arena *a, struct str text, struct expression_fault *fault)
{
    struct parser p = {a, text, 0, 0, fault};
    const struct expression *e;
    bool braces = take(&p, "${{");

    if (braces) {
        p.text = str_trim(text);
        if (!str_ends(p.text, S("}}")) || p.text.n < 5)
            return bad(&p, "'}}' is missing");
        p.text = str_slice(p.text, 3, p.text.n - 2);
        p.at = 0;
    }
    if (p.text.n > EXPRESSION_MAX)
        return bad(&p, "the expression is longer than 1024 characters");
    e = parse_or(&p);
    if (e != NULL && peek(&p) != '\0')
        return bad(&p, "an operator or the end is expected");
    return e != NULL && p.at < p.text.n ? bad(&p, "a NUL character") : e;
}

void expression_visit(const struct expression *e, void (*visit)(void *arg, const struct expression_path *path),
                      void *arg)
{
    if (e->kind == PATH)
        visit(arg, &e->path);
    for (unsigned i = 0; i < e->n; i++)
        expression_visit(e->operands[i], visit, arg);
}

/* Expressions: what stands between `${{` and `}}` in a template, and alone in a condition.
 *
 *   or    := and ('||' and)*           and   := equal ('&&' equal)*
 *   equal := order (('=='|'!=') order)*  order := unary (('<'|'<='|'>'|'>=') unary)*
 *   unary := '!' unary | value
 *   value := number | 'text' | "text" | true | false | null | name '(' [or (',' or)*] ')' | path | '(' or ')'
 *   path  := (inputs|steps|context) ('.' name | '[' number ']' | '[' text ']')*
 *
 * Pure and deterministic: no clock, no randomness, no I/O. A path that leads nowhere is null. `==` between different
 * types is false; an order is defined between two numbers or two strings only, anything else is a fault. `&&`, `||` and
 * `!` take any value (null, false, 0, "" are false) and give a boolean. Functions: contains startsWith endsWith length
 * coalesce toJson. In texts `\\ \' \" \n \t` are escapes.
 *
 * Limits: EXPRESSION_MAX characters, EXPRESSION_DEPTH nested parentheses, calls and negations, EXPRESSION_PARTS path
 * parts. Everything made lives in the arena given; borrowed text must outlive it. */
#ifndef SERVER_ENGINE_EXPRESSION_H
#define SERVER_ENGINE_EXPRESSION_H

#include "lib/json.h"

enum { EXPRESSION_MAX = 1024, EXPRESSION_DEPTH = 32, EXPRESSION_PARTS = 16 };

struct expression; /* parsed; immutable */

struct expression_fault {
    size_t offset; /* byte in the expression's text */
    char message[160];
};

struct value {
    enum json_type type; /* never JSON_ABSENT */
    bool truth;
    int64_t integer;
    double real;
    struct str text;         /* JSON_STRING */
    const struct json *tree; /* JSON_ARRAY, JSON_OBJECT */
};

struct expression_part {
    struct str name; /* STR_NONE: an index */
    int64_t index;
};
struct expression_path {
    size_t offset; /* where it stands in the text */
    unsigned n;
    const struct expression_part *parts; /* parts[0].name is the root */
};

/* What paths mean. `step` answers false for a node that does not exist or has not run. */
struct scope {
    const struct json *inputs, *context;
    bool (*step)(const void *arg, struct str node, struct str *status, const struct json **outputs);
    const void *arg;
    bool redact; /* for what is shown: what is named like a secret is written as "***" (server/engine/redact.h) */
};

/* `text` is the bare expression or the whole `${{ ... }}`. NULL and a fault when it is none. */
const struct expression *expression_parse(struct arena *a, struct str text, struct expression_fault *fault);
void expression_visit(const struct expression *e, void (*visit)(void *arg, const struct expression_path *path),
                      void *arg);
bool expression_eval(struct arena *a, const struct expression *e, const struct scope *scope, struct value *out,
                     struct expression_fault *fault);

bool value_true(const struct value *v);
struct value value_of(const struct json *j); /* NULL gives null */
void value_write(struct json_out *o, const struct value *v, bool redact);

#endif

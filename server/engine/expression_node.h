/* The parsed form of an expression, shared by its parser and its evaluation only. */
#ifndef SERVER_ENGINE_EXPRESSION_NODE_H
#define SERVER_ENGINE_EXPRESSION_NODE_H

#include "server/engine/expression.h"

enum kind { LITERAL, PATH, CALL, NOT, AND, OR, EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };
enum { EXPRESSION_ARGUMENTS = 16 };

struct evaluation {
    struct arena *arena;
    const struct scope *scope;
    struct expression_fault *fault;
};

struct function {
    const char *name;
    unsigned min, max; /* arguments */
    bool (*call)(struct evaluation *ev, const struct expression *e, const struct value *args, struct value *out);
};

struct expression {
    enum kind kind;
    size_t offset;
    struct value literal;
    struct expression_path path;
    const struct function *function;
    const struct expression **operands;
    unsigned n;
};

const struct function *function_find(struct str name);
/* Notes the fault and answers false. */
bool expression_fault_at(struct expression_fault *f, size_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif

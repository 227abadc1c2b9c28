/* The stages of template_parse, shared by the files that hold them. */
#ifndef SERVER_ENGINE_TEMPLATE_BUILD_H
#define SERVER_ENGINE_TEMPLATE_BUILD_H

#include "server/engine/template.h"

struct build {
    struct arena *arena;
    const struct json *definition;
    struct template *t;
    struct template_report *report; /* NULL: trusted, faults are only counted */
    bool failed;
};

void build_error(struct build *b, const char *code, struct str path, int node, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void build_warn(struct build *b, const char *code, struct str path, int node, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
struct str build_path(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Order, layers, ancestors; faults: cycle, no start, unreachable. */
void template_graph(struct build *b);
/* The path with the largest sum of time-outs, into report->critical. */
void template_critical(struct build *b);
/* Configurations, expressions and what they refer to, inputs, ranges that only make sense together; warnings. */
void template_check(struct build *b);

/* Whether a value is one that the input {type, enum} takes; `why` gets a sentence when it is not. */
bool template_input_fits(const struct json *input, const struct json *value, const char **why);

#endif

/* What a thread keeps about rows it has met: their order, their patterns compiled, their defaults as trees. Between
 * field.c and field_schema.c. Everything is freed when the thread ends. */
#ifndef LIB_FIELD_PLAN_H
#define LIB_FIELD_PLAN_H

#include "lib/field.h"

struct field_plan {
    const struct field *rows; /* key */
    size_t count;
    bool aliased;              /* some row is another name of one */
    int *order;                /* by RFC 8785, ends with -1 */
    struct pattern **patterns; /* made at first use, by row */
    struct json **presets;     /* the same; in the arena */
    struct arena arena;
};

struct field_plan *field_plan_of(const struct field *rows); /* NULL: memory ran out */
/* A pattern that does not compile is a programming error. False also when memory ran out. */
bool field_plan_matches(struct field_plan *plan, const struct field *row, const char *text);

#endif

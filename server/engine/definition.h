/* Definitions that a worker parsed lately: a job of 200 targets has one of 150 kB, and is drained hundreds of times.
 *
 * A definition is found by its kind and its bytes, never by whose it is, so what is found is what would be parsed. It is
 * immutable, and stays as long as somebody holds it; of those that nobody holds, the ones used last are kept. */
#ifndef SERVER_ENGINE_DEFINITION_H
#define SERVER_ENGINE_DEFINITION_H

#include "lib/arena.h"

struct run_kind;
struct template;

struct definition {
    const struct template *template;
    const struct run_kind *kind; /* private from here */
    struct arena arena;
    struct str text;
    unsigned held;
    uint64_t used; /* when, counted; 0: the place is free */
};

enum { DEFINITIONS = 16, DEFINITIONS_BYTES = 16 << 20 /* that nobody holds */ };

struct definitions {
    struct definition list[DEFINITIONS];
    uint64_t clock;
};
void definitions_init(struct definitions *all);
void definitions_fini(struct definitions *all); /* nobody holds any */

/* NULL: it cannot be parsed, there is no memory, or too many are held. */
struct definition *definition_take(struct definitions *all, const struct run_kind *kind, struct str text);
void definition_drop(struct definitions *all, struct definition *d); /* NULL: nothing */

#endif

/* What will come in a simulated world: a heap, by time and then in the order it was planned. */
#ifndef TEST_SIM_PLANS_H
#define TEST_SIM_PLANS_H

#include "server/engine/run.h"

struct plan {
    int64_t at;
    uint64_t order;
    int kind; /* of the world's own */
    struct run_event event;
    int task;
};
struct plans {
    struct plan *list; /* the first is the next to come */
    unsigned n, most;
    uint64_t order;
};
void plans_init(struct plans *p, unsigned most);
void plans_fini(struct plans *p);
void plans_clear(struct plans *p);
bool plans_add(struct plans *p, struct plan plan); /* false: there are too many */
struct plan plans_take(struct plans *p);           /* there is one */

#endif

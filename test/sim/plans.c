#include "test/sim/plans.h"

#include <stdlib.h>

void plans_init(struct plans *p, unsigned most)
{
    *p = (struct plans){.list = calloc(most, sizeof *p->list), .most = most};
    if (p->list == NULL)
        abort();
}

void plans_fini(struct plans *p)
{
    free(p->list);
}

void plans_clear(struct plans *p)
{
    p->n = 0;
    p->order = 0;
}

static bool sooner(const struct plan *a, const struct plan *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct plan *a, struct plan *b)
{
    struct plan c = *a;

    *a = *b;
    *b = c;
}

bool plans_add(struct plans *p, struct plan plan)
{
    unsigned i = p->n;

    if (p->n == p->most)
        return false;
    plan.order = p->order++;
    p->list[p->n++] = plan;
    for (; i > 0 && sooner(&p->list[i], &p->list[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&p->list[i], &p->list[(i - 1) / 2]);
    return true;
}

struct plan plans_take(struct plans *p)
{
    struct plan first = p->list[0];
    unsigned i = 0;

    p->list[0] = p->list[--p->n];
    for (;;) {
        unsigned least = i;

        for (unsigned child = 2 * i + 1; child <= 2 * i + 2 && child < p->n; child++)
            if (sooner(&p->list[child], &p->list[least]))
                least = child;
        if (least == i)
            return first;
        swap(&p->list[i], &p->list[least]);
        i = least;
    }
}

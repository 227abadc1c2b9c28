#include "lib/field_plan.h"

#include "lib/must.h"
#include "lib/pattern.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Rows are static tables, so there are a few hundred at most and the address is the key. */
struct plans {
    struct field_plan **slots; /* open addressing; size is a power of two */
    size_t size, used;
};

static _Thread_local struct plans *mine;
static pthread_key_t ending;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void plan_free(struct field_plan *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; p->patterns != NULL && i < p->count; i++)
        pattern_free(p->patterns[i]);
    free(p->patterns);
    free(p->presets);
    free(p->order);
    arena_fini(&p->arena);
    free(p);
}

static void plans_free(void *arg)
{
    struct plans *all = arg;
    for (size_t i = 0; i < all->size; i++)
        plan_free(all->slots[i]);
    free(all->slots);
    free(all);
    mine = NULL;
}

/* A thread's destructors do not run when the process ends. */
static void end_of_process(void)
{
    if (mine != NULL)
        plans_free(mine);
}

static void begin(void)
{
    must(pthread_key_create(&ending, plans_free) == 0);
    atexit(end_of_process);
}

static struct field_plan **slot_of(struct plans *all, const struct field *rows)
{
    size_t i = ((uintptr_t)rows >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    while (all->slots[i & (all->size - 1)] != NULL && all->slots[i & (all->size - 1)]->rows != rows)
        i++;
    return &all->slots[i & (all->size - 1)];
}

static bool grow(struct plans *all)
{
    struct plans wider = {.size = all->size == 0 ? 64 : all->size * 2, .used = all->used};
    wider.slots = calloc(wider.size, sizeof(struct field_plan *));
    if (wider.slots == NULL)
        return false;
    for (size_t i = 0; i < all->size; i++)
        if (all->slots[i] != NULL)
            *slot_of(&wider, all->slots[i]->rows) = all->slots[i];
    free(all->slots);
    *all = wider;
    return true;
}

static struct plans *plans_get(void)
{
    if (mine != NULL)
        return mine;
    pthread_once(&once, begin);
    struct plans *all = calloc(1, sizeof *all);
    if (all == NULL || !grow(all) || pthread_setspecific(ending, all) != 0) {
        if (all != NULL)
            free(all->slots);
        free(all);
        return NULL;
    }
    return mine = all;
}

/* Names are ASCII, where the order of UTF-16 code units is that of bytes. */
static void sort_rows(const struct field *rows, int *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && strcmp(rows[order[at - 1]].name, rows[i].name) > 0; at--)
            order[at] = order[at - 1];
        order[at] = (int)i;
    }
    order[n] = -1;
}

static struct field_plan *plan_new(const struct field *rows)
{
    struct field_plan *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->rows = rows;
    arena_init(&p->arena, 0);
    for (; rows[p->count].name != NULL; p->count++)
        p->aliased = p->aliased || rows[p->count].alias != NULL;
    p->order = calloc(p->count + 1, sizeof *p->order);
    p->patterns = calloc(p->count + 1, sizeof *p->patterns);
    p->presets = calloc(p->count + 1, sizeof *p->presets);
    if (p->order == NULL || p->patterns == NULL || p->presets == NULL) {
        plan_free(p);
        return NULL;
    }
    sort_rows(rows, p->order, p->count);
    return p;
}

struct field_plan *field_plan_of(const struct field *rows)
{
    struct plans *all = plans_get();
    if (all == NULL)
        return NULL;
    struct field_plan **slot = slot_of(all, rows);
    if (*slot != NULL)
        return *slot;
    if (all->used * 2 >= all->size) {
        if (!grow(all))
            return NULL;
        slot = slot_of(all, rows);
    }
    *slot = plan_new(rows);
    all->used += *slot != NULL;
    return *slot;
}

bool field_plan_matches(struct field_plan *plan, const struct field *row, const char *text)
{
    struct pattern **made = &plan->patterns[row - plan->rows];
    if (*made == NULL)
        *made = pattern_new(row->pattern);
    return *made != NULL && pattern_matches(*made, text);
}

const int *field_order(const struct field *rows)
{
    struct field_plan *plan = field_plan_of(rows);
    return plan == NULL ? NULL : plan->order;
}

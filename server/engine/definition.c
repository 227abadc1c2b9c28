#include "server/engine/definition.h"

#include "lib/must.h"
#include "server/engine/drain.h"

void definitions_init(struct definitions *all)
{
    *all = (struct definitions){.clock = 0};
}

static void forget(struct definition *d)
{
    must(d->held == 0);
    arena_fini(&d->arena);
    *d = (struct definition){.used = 0};
}

void definitions_fini(struct definitions *all)
{
    for (size_t i = 0; i < DEFINITIONS; i++)
        forget(&all->list[i]);
}

static struct definition *find(struct definitions *all, const struct run_kind *kind, struct str text)
{
    for (size_t i = 0; i < DEFINITIONS; i++)
        if (all->list[i].used > 0 && all->list[i].kind == kind && str_eq(all->list[i].text, text))
            return &all->list[i];
    return NULL;
}

/* A free place, else the one that has not been used for longest; NULL when all are held. */
static struct definition *oldest(struct definitions *all)
{
    struct definition *found = NULL;

    for (size_t i = 0; i < DEFINITIONS; i++)
        if (all->list[i].held == 0 && (found == NULL || all->list[i].used < found->used))
            found = &all->list[i];
    return found;
}

static struct definition *add(struct definitions *all, const struct run_kind *kind, struct str text)
{
    struct definition *d = oldest(all);

    if (d == NULL)
        return NULL;
    forget(d);
    arena_init(&d->arena, DRAIN_MEMORY);
    d->kind = kind;
    d->text = arena_str(&d->arena, text);
    d->template = d->text.p == NULL ? NULL : run_template_of(&d->arena, kind, d->text);
    if (d->template == NULL) {
        forget(d);
        return NULL;
    }
    return d;
}

struct definition *definition_take(struct definitions *all, const struct run_kind *kind, struct str text)
{
    struct definition *d = find(all, kind, text);

    if (d == NULL)
        d = add(all, kind, text);
    if (d == NULL)
        return NULL;
    d->held++;
    d->used = ++all->clock;
    return d;
}

static size_t idle_bytes(const struct definitions *all)
{
    size_t n = 0;

    for (size_t i = 0; i < DEFINITIONS; i++)
        if (all->list[i].held == 0)
            n += all->list[i].arena.used;
    return n;
}

static struct definition *oldest_kept(struct definitions *all)
{
    struct definition *found = NULL;

    for (size_t i = 0; i < DEFINITIONS; i++) {
        struct definition *d = &all->list[i];

        if (d->held == 0 && d->used > 0 && (found == NULL || d->used < found->used))
            found = d;
    }
    return found;
}

void definition_drop(struct definitions *all, struct definition *d)
{
    if (d == NULL)
        return;
    must(d->held > 0);
    d->held--;
    while (idle_bytes(all) > DEFINITIONS_BYTES)
        forget(oldest_kept(all));
}

#include "test/lib/fault.h"

#include <stddef.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

static _Thread_local unsigned left; /* allocations until the failing one, which is 1; 0: not armed */
static _Thread_local bool keeps_failing, fired;

void fault_arm(unsigned n, bool forever)
{
    left = n;
    keeps_failing = forever;
    fired = false;
}

bool fault_fired(void)
{
    return fired;
}

static bool fails(void)
{
    if (left == 0 || --left > 0)
        return false;
    fired = true;
    left = keeps_failing;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

unsigned fault_each(void (*body)(void *arg), void *arg)
{
    unsigned runs = 0;
    do {
        fault_arm(++runs, false);
        body(arg);
    } while (fired);
    fault_arm(0, false);
    return runs - 1;
}

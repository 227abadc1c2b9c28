/* Programming errors. must(cond) is on in every build and aborts with the place and the words of the condition; it is
 * for what would corrupt if the program went on. What a client or the outside world can cause is never a must. */
#ifndef LIB_MUST_H
#define LIB_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define must(cond) ((cond) ? (void)0 : must_failed(__FILE__, __LINE__, __func__, #cond))

static inline _Noreturn void must_failed(const char *file, int line, const char *function, const char *what)
{
    fprintf(stderr, "%s:%d: %s: must(%s) failed\n", file, line, function, what);
    abort();
}

#endif

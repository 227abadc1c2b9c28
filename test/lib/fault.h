/* Failing allocations on demand. Every test program is linked so that malloc, calloc and realloc of our own code (not of
 * shared libraries) go through here.
 *
 *     static void parse_something(void *arg) { … must end in order, whatever fails … }
 *     fault_each(parse_something, arg);
 *
 * runs the body with the 1st allocation of this thread failing, then the 2nd, and so on, until one run needs no more
 * allocations than were let through; that run must do its work as ever, and fault_fired() tells the two apart. */
#ifndef TEST_LIB_FAULT_H
#define TEST_LIB_FAULT_H

#include <stdbool.h>

/* Answers how many runs saw a failure. */
unsigned fault_each(void (*body)(void *arg), void *arg);

/* By hand: the n-th allocation of this thread from now on fails, and all later ones if `forever`. 0: none. */
void fault_arm(unsigned n, bool forever);
bool fault_fired(void); /* since fault_arm */

#endif

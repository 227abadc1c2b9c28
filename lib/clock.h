/* Time. Wall time in Unix milliseconds, monotonic time in nanoseconds and milliseconds, RFC 3339 text.
 * clock_fake sets a fixed wall and monotonic time for the calling thread (tests and simulators only). */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include "lib/str.h"

int64_t clock_wall_ms(void);
int64_t clock_wall_s(void); /* cheaper, and a few milliseconds behind */
int64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);
void clock_fake(int64_t wall_ms); /* negative: back to the real clock */

enum { CLOCK_TEXT = 25 }; /* "2026-11-28T17:50:00.000Z" and its NUL */
void clock_text(int64_t unix_ms, char out[CLOCK_TEXT]);
/* RFC 3339 with any offset and fraction; the result is UTC milliseconds. Strict about ranges, leap seconds become
 * :59.999. */
bool clock_parse(struct str text, int64_t *unix_ms);

#endif

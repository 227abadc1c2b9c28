/* Patterns that texts must match: POSIX extended regular expressions without back-references, anchored as written.
 *
 * What most of them are, `^[a-z][a-z0-9-]{0,62}$` or `^sha256:[0-9a-f]{64}$`, is matched by a table of characters, a
 * hundred times faster than by regexec, which has all others. A pattern belongs to one thread: glibc's regexec takes a
 * lock. */
#ifndef LIB_PATTERN_H
#define LIB_PATTERN_H

#include "lib/str.h"

struct pattern;
struct pattern *
pattern_new(const char *text); /* NULL: memory ran out; text that is no pattern is a programming error */
void pattern_free(struct pattern *p);
bool pattern_is_plain(const struct pattern *p); /* a table will do */
/* False also when memory ran out. The text is NUL-terminated. */
bool pattern_matches(const struct pattern *p, const char *text);

#endif

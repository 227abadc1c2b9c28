/* Query strings (application/x-www-form-urlencoded, WHATWG URL §5), decoded strictly: a bad escape, a NUL or bytes that
 * are not UTF-8 are faults, never passed through. `+` and a raw space are spaces. Names may repeat; order is kept. */
#ifndef PROTO_QUERY_H
#define PROTO_QUERY_H

#include "lib/arena.h"

enum { QUERY_PARAMS_MAX = 100 }; /* pairs; more are a fault */

struct query_param {
    struct str name, value; /* decoded; in the arena */
    bool bare;              /* came without '=' */
};
struct query {
    struct query_param *params;
    size_t n;
};
enum query_fault { QUERY_OK, QUERY_ESCAPE, QUERY_TEXT, QUERY_COUNT, QUERY_MEMORY };

/* Empty pairs ("a=1&&b=2") and an empty text are fine. On a fault `out` is untouched. */
enum query_fault query_parse(struct arena *a, struct str raw, struct query *out);
const char *query_why(enum query_fault f); /* a sentence */

/* The first value; STR_NONE when absent. `q` may be NULL. */
struct str query_get(const struct query *q, struct str name);
size_t query_count(const struct query *q, struct str name);
/* The next value at or after *i, which is moved behind it; false when there is none: size_t i = 0; while (...) */
bool query_each(const struct query *q, struct str name, size_t *i, struct str *value);

/* Decodes one component: %XX, and `+` as a space when `plus`. Appends; false on a bad escape. */
bool query_decode(struct buf *out, struct str text, bool plus);
/* The byte that the "%XX" at text.p[i] stands for; -1 on a bad escape. */
int query_escape(struct str text, size_t i);
/* Encodes for a query value: all but unreserved characters (RFC 3986 §2.3) become %XX. */
void query_encode(struct buf *out, struct str text);

#endif

/* The quick way to read plain JSON: what almost every text is, without the detours that a parser with good messages
 * takes. It decides nothing: whatever it does not take, faults above all, is left to json_parse's parser. */
#ifndef LIB_JSON_QUICK_H
#define LIB_JSON_QUICK_H

#include "lib/json.h"

enum { JSON_QUICK_MAX = 65536 }; /* longer texts are not worth reading twice if they are not plain at their end */

/* The tree of a text; NULL unless it has nothing but objects without a name twice, arrays, strings without \u escapes,
 * whole numbers of up to 18 digits, true, false and null, nested 64 deep at most and within the limits (no default); or
 * when memory ran out, which `full` says. */
struct json *json_quick(struct arena *a, struct str text, const struct json_limits *limits, bool *full);

#endif

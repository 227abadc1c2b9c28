/* Forms in a request's body (application/x-www-form-urlencoded), read as OAuth wants them (RFC 6749 §3.2, appendix B):
 * decoded as strictly as query strings (proto/query.h: `+`, %20 and a raw space are spaces; a bad escape, a NUL or what is
 * not UTF-8 is a fault), bounded, and no name twice. A parameter without a value counts as left out. */
#ifndef PROTO_FORM_H
#define PROTO_FORM_H

#include "proto/query.h"

enum {
    FORM_PARAMS_MAX = 32,    /* parameters */
    FORM_NAME_MAX = 64,      /* bytes of a name */
    FORM_VALUE_MAX = 16384,  /* bytes of a value */
    FORM_LENGTH_MAX = 65536, /* bytes in all, as they came */
};

enum form_fault { FORM_OK, FORM_ESCAPE, FORM_TEXT, FORM_COUNT, FORM_LONG, FORM_TWICE, FORM_MEMORY };

struct form {
    struct query parameters;
};

/* Whether the Content-Type is that of a form, in UTF-8. */
bool form_is(struct str content_type);
/* Texts live in the arena. On a fault `out` is untouched. */
enum form_fault form_parse(struct arena *a, struct str body, struct form *out);
const char *form_why(enum form_fault f); /* a sentence */
/* STR_NONE when it is absent or empty. `f` may be NULL. */
struct str form_get(const struct form *f, struct str name);

#endif

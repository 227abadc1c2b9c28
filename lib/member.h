/* The top-level members of a JSON object's text, one after the other, without a tree: views into the text. For text of
 * our own making, which has no blanks between its parts; at any other the walk ends early, and `whole` stays false.
 *
 *     for (struct member m = members_of(text); member_next(&m);)
 *         ... m.name, m.value ... */
#ifndef LIB_MEMBER_H
#define LIB_MEMBER_H

#include "lib/str.h"

struct member {
    struct str name;  /* as it is written: escapes stay */
    struct str value; /* its text; a string with its quotes */
    size_t start;     /* where the member begins, at its name's first quote */
    bool whole;       /* once the walk has ended: by the brace that ends the text */
    struct str text;  /* private from here */
    size_t at;
};
struct member members_of(struct str object);
bool member_next(struct member *m);

#endif

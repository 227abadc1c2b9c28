/* The flavours of keys: one format, `<prefix>_<30><6>` (lib/id.h), one store, and a prefix for each way in which people know
 * them. What a prefix says is who may make such a key and what it may do at most; what a key does give is in its record. */
#ifndef SERVER_IDENTITY_KEY_FLAVOUR_H
#define SERVER_IDENTITY_KEY_FLAVOUR_H

#include "lib/id.h"
#include "lib/str.h"

struct key_flavour {
    const char *prefix;
    const char *alias; /* another prefix under which the same key is taken; NULL: none */
    bool personal;     /* a person makes it for himself, and it ends with him; else it is the tenant's */
    const char *most;  /* permissions between commas */
    const char *doc;
};

enum { KEY_FLAVOURS = 6 };
extern const struct key_flavour key_flavours[KEY_FLAVOURS];
extern const char *const key_prefixes[KEY_FLAVOURS + 1]; /* the same, for rows */

const struct key_flavour *key_flavour(struct str prefix); /* NULL: there is none; an alias is none */
/* Whether the token is meant to be a key, damaged or not. */
bool key_is_meant(struct str token);
/* The key under its own prefix, where it came under an alias: in `out`; else the token itself. */
struct str key_canonical(struct str token, char out[ID_KEY_MAX]);

#endif

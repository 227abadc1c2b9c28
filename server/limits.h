/* Every limit that a client can meet, in one list: the settings that are limits (settings.c), and the constants, each a row
 * here that refers to the constant in its header. `slipway config --limits` and the served documentation print it; a
 * test holds the headers against it. */
#ifndef SERVER_LIMITS_H
#define SERVER_LIMITS_H

#include "server/code.h"

#include <stdbool.h>
#include <stdio.h>

/* Where a constant is reached and nothing is refused. */
#define LIMIT_CUTS "none"

struct limit_row {
    const char *name;
    char value[32];    /* with its unit: "8KiB", "100", "30s" */
    const char *code;  /* what is answered, of enum code or of a fault; CONFIG_ENDS or LIMIT_CUTS */
    int status;        /* of the code; 0: none */
    const char *doc;   /* whole sentences */
    bool configurable; /* a setting of this name; `value` is its default */
};
/* The i-th, settings first; false behind the last. */
bool limits_row(size_t i, struct limit_row *out);
void limits_print(FILE *out, bool json);

#endif

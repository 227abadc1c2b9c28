/* Certificates for tests, made on the spot: P-256, signed by themselves. */
#ifndef TEST_UNIT_CERTIFICATE_H
#define TEST_UNIT_CERTIFICATE_H

#include "lib/str.h"

struct certificate {
    char text[2048], key[1024]; /* PEM */
};

/* `address`: four bytes of an IPv4 address for the alternative names, or NULL: then there are none and `name` counts. */
void certificate_make(struct certificate *c, const char *name, const unsigned char address[4], const char *from,
                      const char *to);
struct str certificate_text(const struct certificate *c);
struct str certificate_key(const struct certificate *c);

#endif

/* A tar archive for tests. */
#ifndef TEST_UNIT_TAR_H
#define TEST_UNIT_TAR_H

#include <stddef.h>

struct tar_entry {
    const char *name, *text;
    unsigned mode;    /* 0: 0644 */
    char type;        /* 0: a file */
    const char *link; /* of a symbolic link, type '2' */
};

enum { TAR_DIGEST = 80 };

/* Writes the archive to `path`; its digest as "sha256:<hex>". Answers its bytes in memory of its own; n: how many. */
char *tar_make(const char *path, const struct tar_entry *entries, size_t count, char digest[TAR_DIGEST], size_t *n);

#endif

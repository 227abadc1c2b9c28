/* Semantic versions (SemVer 2.0.0). */
#ifndef LIB_SEMVER_H
#define LIB_SEMVER_H

#include "lib/str.h"

struct semver {
    uint64_t major, minor, patch;
    struct str prerelease, build; /* borrowed; empty: none */
};

/* The whole of `text`, with or without a leading "v". */
bool semver_parse(struct str text, struct semver *out);
int semver_cmp(const struct semver *a, const struct semver *b); /* precedence, §11: build is not looked at */
/* Appends a key whose byte order is the precedence. */
void semver_key(struct buf *b, const struct semver *v);
void semver_write(struct buf *b, const struct semver *v); /* without "v", with build */

enum semver_change { SEMVER_SAME, SEMVER_MAJOR, SEMVER_MINOR, SEMVER_PATCH, SEMVER_PRERELEASE, SEMVER_DOWNGRADE };
/* What going from one to the other changes. */
enum semver_change semver_change(const struct semver *from, const struct semver *to);

#endif

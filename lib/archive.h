/* Unpacking archives, safely: the only face of libarchive.
 *
 * Reads tar (plain, gzip, xz, zstd, bzip2) and zip. Only regular files, folders and symbolic links are made; set-uid,
 * set-gid and sticky bits, owners, ACLs and extended attributes are dropped. Refused, with nothing left but what the
 * caller's folder holds so far: absolute names, `..` parts, a link that leads out of the folder, a file written through
 * a link, hard links, devices, more entries or bytes than the limits allow. The caller removes the folder after a
 * failure. */
#ifndef LIB_ARCHIVE_H
#define LIB_ARCHIVE_H

#include "lib/str.h"

struct archive_limits {
    uint64_t bytes;          /* unpacked, in all */
    uint64_t entries;        /* files, folders and links */
    bool (*stop)(void *arg); /* asked now and then; true: give up. May be NULL */
    void *arg;
};

struct archive_fault {
    char text[256]; /* which entry and why */
};

/* Unpacks the archive read from `fd` into the existing empty folder `folder`; files are synced to disk before it
 * returns. */
bool archive_unpack(int fd, const char *folder, const struct archive_limits *limits, struct archive_fault *fault);
/* True for a relative name without empty, `.` or `..` parts and without a backslash or control character. A leading
 * "./" and a trailing slash are fine. */
bool archive_name_safe(struct str name);
/* True when a link at `name` with text `to` stays inside the folder. */
bool archive_link_safe(struct str name, struct str to);

#endif

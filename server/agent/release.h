/* Releases in a target's folder, as an agent keeps them:
 *
 *     <root>/releases/<name>/     one folder a release; complete once it has its final name
 *     <root>/releases/.new-…      being unpacked, or left by a crash; removed at the next open
 *     <root>/current              symbolic link to releases/<name>; switched by rename, so readers see the old or the
 * new <root>/version.json         the version sticker <root>/.slipway.lock        held while a place is open: one
 * deployment at a time per folder
 *
 * Every step may be cut by a kill -9 and done again. All calls block and are made by a task's own process only. Each
 * answers false with a sentence in `fault`. */
#ifndef SERVER_AGENT_RELEASE_H
#define SERVER_AGENT_RELEASE_H

#include "lib/archive.h"

enum { RELEASE_NAME = 128 }; /* bytes of a release's folder name and its NUL */

struct release_place {
    int root, releases, lock; /* descriptors */
    char path[1024];
};

/* Makes the folders that are missing, takes the lock (fails at once when another deployment holds it) and clears what a
 * crash left. `root` must be absolute. */
bool release_open(struct release_place *place, const char *root, struct archive_fault *fault);
void release_close(struct release_place *place);

bool release_exists(const struct release_place *place, const char *name);
/* Unpacks the archive in `fd` as release `name` when its SHA-256 is `digest` ("sha256:<hex>"); a release that is there
 * already is left as it is. */
bool release_unpack(const struct release_place *place, const char *name, int fd, struct str digest,
                    const struct archive_limits *limits, struct archive_fault *fault);
/* Name of the release that `current` points to; "" when there is none. */
bool release_current(const struct release_place *place, char name[RELEASE_NAME], struct archive_fault *fault);
/* Points `current` at `name`, which must exist. */
bool release_switch(const struct release_place *place, const char *name, struct archive_fault *fault);
/* Takes `current` away: back to before the first release. */
bool release_clear(const struct release_place *place, struct archive_fault *fault);
/* Removes the oldest releases (by time of unpacking) until `keep` besides the current one are left. */
bool release_prune(const struct release_place *place, unsigned keep, struct archive_fault *fault);

/* The sticker is replaced as a whole; reading appends to `out` at most 64 KiB, and nothing when there is none. */
bool release_write_sticker(const struct release_place *place, struct str text, struct archive_fault *fault);
bool release_read_sticker(const char *root, struct buf *out, struct archive_fault *fault);

/* A folder name for a release: letters, digits, `.`, `_`, `-`; not beginning with a dot. */
bool release_name_safe(struct str name);

#endif

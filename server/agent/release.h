/* Releases in a target's folder, as an agent keeps them:
 *
 *     <root>/releases/<name>/<component>/…          complete once it has its final name
 *     <root>/releases/<name>/.slipway-release.json  manifest: {components: [{name, digest}], id, name}
 *     <root>/releases/.new-…        being unpacked, or left by a crash; removed at the next open
 *     <root>/current                symbolic link to releases/<name>; switched by rename: readers see the old or the new
 *     <root>/version.json           the version sticker
 *     <root>/.slipway-switch.json   a switch that is not yet known to be good: {from, sticker, to}
 *     <root>/.slipway.lock          held while a place is open: one deployment at a time per folder
 *
 * Every step may be cut by a kill -9 and done again. All calls block and are made by a task's own process only. Each
 * answers false with a sentence in `fault`. */
#ifndef SERVER_AGENT_RELEASE_H
#define SERVER_AGENT_RELEASE_H

#include "lib/archive.h"
#include "lib/json.h"

enum { RELEASE_NAME = 129 /* bytes of a release's folder name and its NUL */, RELEASE_STICKER = 64 * 1024 };

struct release_place {
    int root, releases, lock; /* descriptors */
    bool busy;                /* of a failed open: another deployment holds the lock */
    char path[1024];
};

/* Makes the folders that are missing, takes the lock (fails at once when another deployment holds it) and clears what a
 * crash left. `root` must be absolute. */
bool release_open(struct release_place *place, const char *root, struct archive_fault *fault);
void release_close(struct release_place *place);

struct release_part { /* a component */
    struct str name, digest;
};
enum release_state {
    RELEASE_ABSENT,
    RELEASE_SAME,    /* its manifest names these parts, and their folders are there */
    RELEASE_OTHER,   /* its manifest names other parts or digests */
    RELEASE_DAMAGED, /* no manifest that can be read, or a folder of it is missing */
};
enum release_state release_compare(const struct release_place *place, const char *name,
                                   const struct release_part *parts, size_t n);

/* A release is made beside its final name: begin, add each component, finish. */
bool release_begin(const struct release_place *place, const char *name, struct archive_fault *fault);
/* Unpacks the archive in `fd`, from its beginning, as a component's folder. */
bool release_add(const struct release_place *place, const char *name, struct str component, int fd,
                 const struct archive_limits *limits, struct archive_fault *fault);
void release_drop(const struct release_place *place, const char *name); /* what was begun is not wanted */
/* Writes the manifest and gives the release its name; one of that name is replaced in one step. */
bool release_finish(const struct release_place *place, const char *name, struct str id,
                    const struct release_part *parts, size_t n, struct archive_fault *fault);

bool release_exists(const struct release_place *place, const char *name);
/* Name of the release that `current` points to; "" when there is none. */
bool release_current(const struct release_place *place, char name[RELEASE_NAME], struct archive_fault *fault);
/* Points `current` at `name`, which must exist. */
bool release_switch(const struct release_place *place, const char *name, struct archive_fault *fault);
/* Takes `current` away: back to before the first release. */
bool release_clear(const struct release_place *place, struct archive_fault *fault);
/* Removes the oldest releases (by time of unpacking) until `keep` besides the current one are left; `spared` goes only
 * when keep is 0. */
bool release_prune(const struct release_place *place, unsigned keep, const char *spared, struct archive_fault *fault);

/* The sticker is replaced as a whole; STR_NONE takes it away. Reading appends to `out` at most RELEASE_STICKER bytes,
 * and nothing when there is none. */
bool release_write_sticker(const struct release_place *place, struct str text, struct archive_fault *fault);
bool release_read_sticker(const char *root, struct buf *out, struct archive_fault *fault);

/* The switch under way. */
struct release_switching {
    char from[RELEASE_NAME], to[RELEASE_NAME]; /* "": no release */
    struct str sticker;                        /* the one before the switch; STR_NONE: none. In the arena */
};
bool release_put_switching(const struct release_place *place, const struct release_switching *s,
                           struct archive_fault *fault);
/* False and no fault: none is under way. */
bool release_get_switching(const struct release_place *place, struct arena *a, struct release_switching *out,
                           struct archive_fault *fault);
bool release_end_switching(const struct release_place *place, struct archive_fault *fault);
/* Switches back to what was before, sticker included. */
bool release_undo_switching(const struct release_place *place, const struct release_switching *s,
                            struct archive_fault *fault);

/* What is really there, without making or changing anything: {components: [{digest, name}], current}, as read-sticker
 * answers it. False when there is a `current` that is none of ours. */
bool release_observe(const char *root, struct json_out *o, struct archive_fault *fault);

/* A folder name for a release or component: 1 to 128 letters, digits, `.`, `_`, `+`, `-`; not beginning with a dot. */
bool release_name_safe(struct str name);

#endif

/* A backup: a folder with everything that a server needs to come back.
 *
 *     redis.rdb       one instant of Redis, as redis-cli --rdb takes it
 *     blobs/          as lib/blob.h keeps them, where they are files; elsewhere they are in Redis
 *     keyring         only when asked for: whoever has both can read every secret
 *     manifest.json   what follows, with the digest of redis.rdb; written last, so a folder without it is no backup
 *
 * Blobs never change once they have their name, so what was there before the instant and what is there after it, taken
 * together, has all that it refers to. These calls wait for the disk: they are for programs that serve nobody. Each that
 * can fail answers false with a sentence in `why`. */
#ifndef SERVER_BACKUP_FOLDER_H
#define SERVER_BACKUP_FOLDER_H

#include "lib/arena.h"
#include "lib/blob.h"
#include "lib/clock.h"

#include <limits.h>

enum { BACKUP_WHY = PATH_MAX + 256 };

struct backup_manifest {
    char made[CLOCK_TEXT];
    char version[32]; /* of the program that made it */
    char digest[BLOB_DIGEST];
    int64_t bytes; /* of redis.rdb */
    int64_t db;    /* the database of that Redis */
    bool blob_files, keyring;
    int64_t blobs, blob_bytes;
};

bool backup_manifest_write(const char *folder, const struct backup_manifest *m, char why[BACKUP_WHY]);
bool backup_manifest_read(const char *folder, struct arena *a, struct backup_manifest *m, char why[BACKUP_WHY]);

/* SHA-256 and size of a file. */
bool backup_digest(const char *path, char digest[BLOB_DIGEST], int64_t *bytes, char why[BACKUP_WHY]);
/* A new file of mode 0600, synced. */
bool backup_copy_file(const char *from, const char *to, char why[BACKUP_WHY]);

struct backup_copied {
    int64_t files, bytes; /* copied by this call */
    int64_t damaged;      /* left out: their bytes do not have the digest in their name */
    char example[256];    /* one of those */
};
/* Copies the blobs below `from` that are not below `to` yet. No folder `from`: nothing to do. */
bool backup_copy_blobs(const char *from, const char *to, struct backup_copied *copied, char why[BACKUP_WHY]);
bool backup_sync(const char *folder, char why[BACKUP_WHY]); /* its entries are on the disk */
void backup_remove(const char *folder);                     /* with everything in it; no link is followed */
/* Writes the sentence and answers false. */
bool backup_fault(char why[BACKUP_WHY], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "12.3 MB" */
void backup_size(int64_t bytes, char out[32]);

#endif

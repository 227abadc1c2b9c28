#include "server/backup/folder.h"

#include "lib/crypto.h"
#include "lib/json.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1, MANIFEST_MAX_BYTES = 64 * 1024, CHUNK = 256 * 1024 };

bool backup_fault(char why[BACKUP_WHY], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, BACKUP_WHY, fmt, ap);
    va_end(ap);
    return false;
}

static bool fault(char why[BACKUP_WHY], const char *path)
{
    return backup_fault(why, "%s: %s", path, strerror(errno));
}

void backup_size(int64_t bytes, char out[32])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double size = (double)bytes;
    size_t i = 0;
    for (; size >= 1000 && i + 1 < ARRAY_LEN(units); i++)
        size /= 1000;
    snprintf(out, 32, i == 0 ? "%.0f %s" : "%.1f %s", size, units[i]);
}

/* --- files --- */

/* Copies `from` to `to` (-1: nowhere) and hashes what it reads. */
static bool pump(int from, int to, char digest[BLOB_DIGEST], int64_t *bytes)
{
    static char chunk[CHUNK];
    struct crypto_sha256 hash;
    uint8_t sum[32];
    ssize_t n;
    crypto_sha256_init(&hash);
    *bytes = 0;
    while ((n = read(from, chunk, sizeof chunk)) > 0) {
        crypto_sha256_add(&hash, chunk, (size_t)n);
        for (ssize_t at = 0, put; to >= 0 && at < n; at += put)
            if ((put = write(to, chunk + at, (size_t)(n - at))) < 0)
                return false;
        *bytes += n;
    }
    crypto_sha256_end(&hash, sum);
    blob_digest_write(sum, digest);
    return n == 0 && (to < 0 || fsync(to) == 0);
}

bool backup_digest(const char *path, char digest[BLOB_DIGEST], int64_t *bytes, char why[BACKUP_WHY])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool fine = fd >= 0 && pump(fd, -1, digest, bytes);
    if (!fine)
        fault(why, path);
    if (fd >= 0)
        close(fd);
    return fine;
}

/* With errno set when it fails; nothing is left of `to` then. */
static bool copy(const char *from, const char *to, char digest[BLOB_DIGEST], int64_t *bytes)
{
    int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool fine = out >= 0 && pump(in, out, digest, bytes);
    int error = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    if (out >= 0 && !fine)
        unlink(to);
    errno = error;
    return fine;
}

bool backup_copy_file(const char *from, const char *to, char why[BACKUP_WHY])
{
    char digest[BLOB_DIGEST];
    int64_t bytes;
    return copy(from, to, digest, &bytes) || fault(why, errno == EEXIST ? to : from);
}

bool backup_sync(const char *folder, char why[BACKUP_WHY])
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync(fd) == 0;
    if (!fine)
        fault(why, folder);
    if (fd >= 0)
        close(fd);
    return fine;
}

/* --- blobs --- */

struct walk {
    const char *to;
    size_t root; /* length of the path that is walked */
    struct backup_copied *copied;
    char *why;
};

/* The digest is in the name (lib/blob.h), so every copy proves itself. */
static bool copy_blob(struct walk *w, const FTSENT *e, const char *to)
{
    char digest[BLOB_DIGEST];
    int64_t bytes;
    if (!copy(e->fts_accpath, to, digest, &bytes)) /* one that is removed meanwhile is nobody's any more */
        return errno == EEXIST || errno == ENOENT || fault(w->why, to);
    if (strncmp(e->fts_name, digest + 7, 64) == 0) {
        w->copied->files++;
        w->copied->bytes += bytes;
        return true;
    }
    w->copied->damaged++;
    snprintf(w->copied->example, sizeof w->copied->example, "%s", e->fts_path);
    return unlink(to) == 0 || fault(w->why, to);
}

static bool visit(struct walk *w, FTS *tree, FTSENT *e)
{
    char to[PATH_MAX];
    if (e->fts_level == 1 && strcmp(e->fts_name, "new") == 0) /* being written */
        return e->fts_info != FTS_D || fts_set(tree, e, FTS_SKIP) == 0;
    if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS) {
        errno = e->fts_errno;
        return errno == ENOENT || fault(w->why, e->fts_path);
    }
    if ((size_t)snprintf(to, sizeof to, "%s%s", w->to, e->fts_path + w->root) >= sizeof to)
        return backup_fault(w->why, "%s: the path is too long", e->fts_path);
    if (e->fts_info == FTS_D)
        return mkdir(to, 0700) == 0 || errno == EEXIST || fault(w->why, to);
    if (e->fts_info == FTS_DP)
        return backup_sync(to, w->why);
    return e->fts_info != FTS_F || e->fts_level != 3 || copy_blob(w, e, to);
}

bool backup_copy_blobs(const char *from, const char *to, struct backup_copied *copied, char why[BACKUP_WHY])
{
    struct walk w = {to, strlen(from), copied, why};
    char path[PATH_MAX];
    *copied = (struct backup_copied){0};
    if (access(from, F_OK) != 0)
        return errno == ENOENT || fault(why, from);
    snprintf(path, sizeof path, "%s", from);
    FTS *tree = fts_open((char *const[]){path, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL)
        return fault(why, from);
    bool fine = true;
    for (FTSENT *e; fine && (e = fts_read(tree)) != NULL;)
        fine = visit(&w, tree, e);
    fts_close(tree);
    return fine;
}

void backup_remove(const char *folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", folder);
    FTS *tree = fts_open((char *const[]){path, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *e; tree != NULL && (e = fts_read(tree)) != NULL;)
        if (e->fts_info == FTS_DP)
            rmdir(e->fts_path);
        else if (e->fts_info != FTS_D)
            unlink(e->fts_path);
    if (tree != NULL)
        fts_close(tree);
}

/* --- the manifest --- */

bool backup_manifest_write(const char *folder, const struct backup_manifest *m, char why[BACKUP_WHY])
{
    char path[PATH_MAX];
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("blobBytes"));
    json_put_int(&o, m->blob_bytes);
    json_key(&o, S("blobFiles"));
    json_put_bool(&o, m->blob_files);
    json_key(&o, S("blobs"));
    json_put_int(&o, m->blobs);
    json_key(&o, S("bytes"));
    json_put_int(&o, m->bytes);
    json_key(&o, S("createdAt"));
    json_put_z(&o, m->made);
    json_key(&o, S("db"));
    json_put_int(&o, m->db);
    json_key(&o, S("digest"));
    json_put_z(&o, m->digest);
    json_key(&o, S("format"));
    json_put_int(&o, FORMAT);
    json_key(&o, S("keyring"));
    json_put_bool(&o, m->keyring);
    json_key(&o, S("version"));
    json_put_z(&o, m->version);
    json_close(&o, '}');
    buf_char(&b, '\n');
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool fine = fd >= 0 && !b.failed && write(fd, b.p, b.n) == (ssize_t)b.n && fsync(fd) == 0;
    if (!fine)
        fault(why, path);
    if (fd >= 0)
        close(fd);
    buf_free(&b);
    return fine && backup_sync(folder, why);
}

static bool fill(struct backup_manifest *m, const struct json *j)
{
    struct str digest = json_str(json_get(j, "digest")), made = json_str(json_get(j, "createdAt")),
               version = json_str(json_get(j, "version"));
    *m = (struct backup_manifest){
        .bytes = json_int(json_get(j, "bytes"), -1),
        .db = json_int(json_get(j, "db"), -1),
        .blob_files = json_bool(json_get(j, "blobFiles"), false),
        .keyring = json_bool(json_get(j, "keyring"), false),
        .blobs = json_int(json_get(j, "blobs"), -1),
        .blob_bytes = json_int(json_get(j, "blobBytes"), -1),
    };
    if (!blob_digest_valid(digest) || made.n >= sizeof m->made || version.n >= sizeof m->version)
        return false;
    memcpy(m->digest, digest.p, digest.n);
    if (made.n > 0)
        memcpy(m->made, made.p, made.n);
    if (version.n > 0)
        memcpy(m->version, version.p, version.n);
    return m->bytes >= 0 && m->db >= 0 && m->blobs >= 0 && m->blob_bytes >= 0;
}

bool backup_manifest_read(const char *folder, struct arena *a, struct backup_manifest *m, char why[BACKUP_WHY])
{
    char path[PATH_MAX];
    static char text[MANIFEST_MAX_BYTES];
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return errno == ENOENT
                   ? backup_fault(why, "%s is no backup, or one that was not finished: it has no manifest.json", folder)
                   : fault(why, path);
    const struct json *j = json_parse(a, (struct str){text, (size_t)n}, &(struct json_limits){4, 100}, NULL);
    int64_t format = json_int(json_get(j, "format"), 0);
    if (format > FORMAT)
        return backup_fault(why, "%s: of a newer format (%lld) than this program knows (%d)", path, (long long)format,
                            FORMAT);
    return (format == FORMAT && fill(m, j)) || backup_fault(why, "%s: not the manifest of a backup", path);
}

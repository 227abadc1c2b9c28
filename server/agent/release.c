#include "server/agent/release.h"

#include "lib/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool refuse(struct archive_fault *fault, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(struct archive_fault *fault, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(fault->text, sizeof(fault->text), fmt, args);
    va_end(args);
    return false;
}

static bool refuse_errno(struct archive_fault *fault, const char *what, const char *name)
{
    return refuse(fault, "cannot %s %s: %s", what, name, strerror(errno));
}

bool release_name_safe(struct str name)
{
    if (name.n == 0 || name.n >= RELEASE_NAME || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st;
    (void)flag;
    (void)walk;
    return remove(path);
}

static bool remove_release(const struct release_place *place, const char *name, struct archive_fault *fault)
{
    char path[1024 + 16 + RELEASE_NAME];

    snprintf(path, sizeof(path), "%s/releases/%s", place->path, name);
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT ||
           refuse_errno(fault, "remove", path);
}

static bool clear_unfinished(const struct release_place *place, struct archive_fault *fault)
{
    int at = openat(place->releases, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = at < 0 ? NULL : fdopendir(at);
    struct dirent *entry;
    bool fine = true;

    if (dir == NULL)
        return refuse_errno(fault, "read", "releases");
    while (fine && (entry = readdir(dir)) != NULL)
        if (strncmp(entry->d_name, ".new-", 5) == 0)
            fine = remove_release(place, entry->d_name, fault);
    closedir(dir);
    return fine;
}

static bool make_folders(const char *path, struct archive_fault *fault)
{
    char part[1024];

    for (const char *end = path; end != NULL;) {
        end = strchr(end + 1, '/');
        size_t n = end == NULL ? strlen(path) : (size_t)(end - path);
        memcpy(part, path, n);
        part[n] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return refuse_errno(fault, "make", part);
    }
    return true;
}

static bool take_lock(struct release_place *place, struct archive_fault *fault)
{
    place->lock = openat(place->root, ".slipway.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (place->lock < 0)
        return refuse_errno(fault, "open", ".slipway.lock");
    if (flock(place->lock, LOCK_EX | LOCK_NB) != 0)
        return refuse(fault, "another deployment is working in %s", place->path);
    return true;
}

bool release_open(struct release_place *place, const char *root, struct archive_fault *fault)
{
    *place = (struct release_place){.root = -1, .releases = -1, .lock = -1};
    fault->text[0] = '\0';
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    if (root[0] != '/' || n < 2 || n >= sizeof(place->path))
        return refuse(fault, "the target's path must be absolute and no longer than %zu bytes",
                      sizeof(place->path) - 1);
    memcpy(place->path, root, n);
    if (!make_folders(place->path, fault))
        return false;
    place->root = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = place->root >= 0 || refuse_errno(fault, "open", place->path);
    if (fine && mkdirat(place->root, "releases", 0755) != 0 && errno != EEXIST)
        fine = refuse_errno(fault, "make", "releases");
    if (fine) {
        place->releases = openat(place->root, "releases", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        fine = place->releases >= 0 || refuse_errno(fault, "open", "releases");
    }
    fine = fine && take_lock(place, fault) && clear_unfinished(place, fault);
    if (!fine)
        release_close(place);
    return fine;
}

void release_close(struct release_place *place)
{
    int *const all[] = {&place->lock, &place->releases, &place->root};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (*all[i] >= 0)
            close(*all[i]);
        *all[i] = -1;
    }
}

bool release_exists(const struct release_place *place, const char *name)
{
    struct stat st;

    return release_name_safe(str_z(name)) && fstatat(place->releases, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(st.st_mode);
}

static bool check_digest(int fd, struct str digest, struct archive_fault *fault)
{
    struct crypto_sha256 hash;
    uint8_t sum[CRYPTO_HASH];
    char block[65536];
    struct buf text = {0};
    ssize_t n;

    crypto_sha256_init(&hash);
    if (lseek(fd, 0, SEEK_SET) != 0)
        return refuse_errno(fault, "read", "the artifact");
    while ((n = read(fd, block, sizeof(block))) > 0)
        crypto_sha256_add(&hash, block, (size_t)n);
    if (n < 0 || lseek(fd, 0, SEEK_SET) != 0)
        return refuse_errno(fault, "read", "the artifact");
    crypto_sha256_end(&hash, sum);
    buf_z(&text, "sha256:");
    buf_hex(&text, sum, sizeof(sum));
    bool same = !text.failed && str_eq(buf_view(&text), digest);
    if (!same)
        refuse(fault, "the artifact has digest " STR_FMT ", not " STR_FMT, STR_ARG(buf_view(&text)), STR_ARG(digest));
    buf_free(&text);
    return same;
}

bool release_unpack(const struct release_place *place, const char *name, int fd, struct str digest,
                    const struct archive_limits *limits, struct archive_fault *fault)
{
    char fresh[RELEASE_NAME + 8], path[sizeof(place->path) + sizeof(fresh) + 16];

    if (!release_name_safe(str_z(name)))
        return refuse(fault, "'%.100s' is no name for a release's folder", name);
    if (release_exists(place, name))
        return true;
    if (!check_digest(fd, digest, fault))
        return false;
    snprintf(fresh, sizeof(fresh), ".new-%s", name);
    snprintf(path, sizeof(path), "%s/releases/%s", place->path, fresh);
    if (mkdirat(place->releases, fresh, 0755) != 0)
        return refuse_errno(fault, "make", path);
    if (!archive_unpack(fd, path, limits, fault)) {
        struct archive_fault ignored;
        remove_release(place, fresh, &ignored);
        return false;
    }
    if (renameat(place->releases, fresh, place->releases, name) != 0 || fsync(place->releases) != 0)
        return refuse_errno(fault, "rename", path);
    return true;
}

bool release_current(const struct release_place *place, char name[RELEASE_NAME], struct archive_fault *fault)
{
    char to[1024];
    ssize_t n = readlinkat(place->root, "current", to, sizeof(to));

    name[0] = '\0';
    if (n < 0)
        return errno == ENOENT || refuse(fault, "%s/current is no link of ours", place->path);
    struct str link = {to, (size_t)n};
    struct str prefix = S("releases/");
    if (!str_starts(link, prefix) || !release_name_safe(str_slice(link, prefix.n, link.n)))
        return refuse(fault, "%s/current points to " STR_FMT ", which is no release", place->path, STR_ARG(link));
    memcpy(name, to + prefix.n, link.n - prefix.n);
    name[link.n - prefix.n] = '\0';
    return true;
}

bool release_switch(const struct release_place *place, const char *name, struct archive_fault *fault)
{
    char to[RELEASE_NAME + 16];

    if (!release_exists(place, name))
        return refuse(fault, "there is no release %.100s in %s", name, place->path);
    snprintf(to, sizeof(to), "releases/%s", name);
    if (unlinkat(place->root, ".current.new", 0) != 0 && errno != ENOENT)
        return refuse_errno(fault, "remove", ".current.new");
    if (symlinkat(to, place->root, ".current.new") != 0 ||
        renameat(place->root, ".current.new", place->root, "current") != 0 || fsync(place->root) != 0)
        return refuse_errno(fault, "switch", "current");
    return true;
}

bool release_clear(const struct release_place *place, struct archive_fault *fault)
{
    if (unlinkat(place->root, "current", 0) != 0 && errno != ENOENT)
        return refuse_errno(fault, "remove", "current");
    return fsync(place->root) == 0 || refuse_errno(fault, "sync", place->path);
}

/* The oldest release that is not the current one, and how many such there are. */
static bool oldest_release(const struct release_place *place, const char *current, char oldest[RELEASE_NAME],
                           unsigned *count, struct archive_fault *fault)
{
    int at = openat(place->releases, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = at < 0 ? NULL : fdopendir(at);
    struct timespec age = {0};
    struct dirent *entry;
    struct stat st;

    *count = 0;
    if (dir == NULL)
        return refuse_errno(fault, "read", "releases");
    while ((entry = readdir(dir)) != NULL) {
        if (!release_name_safe(str_z(entry->d_name)) || strcmp(entry->d_name, current) == 0 ||
            fstatat(place->releases, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
            continue;
        bool older =
            st.st_ctim.tv_sec < age.tv_sec || (st.st_ctim.tv_sec == age.tv_sec && st.st_ctim.tv_nsec < age.tv_nsec);
        if ((*count)++ == 0 || older) {
            age = st.st_ctim;
            memcpy(oldest, entry->d_name, strlen(entry->d_name) + 1);
        }
    }
    closedir(dir);
    return true;
}

bool release_prune(const struct release_place *place, unsigned keep, struct archive_fault *fault)
{
    char current[RELEASE_NAME], oldest[RELEASE_NAME];
    unsigned count;

    if (!release_current(place, current, fault))
        return false;
    while (oldest_release(place, current, oldest, &count, fault)) {
        if (count <= keep)
            return true;
        if (!remove_release(place, oldest, fault))
            return false;
    }
    return false;
}

bool release_write_sticker(const struct release_place *place, struct str text, struct archive_fault *fault)
{
    int out = openat(place->root, ".version.json.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);

    if (out < 0)
        return refuse_errno(fault, "write", "version.json");
    bool fine = true;
    for (size_t done = 0; fine && done < text.n;) {
        ssize_t n = write(out, text.p + done, text.n - done);
        fine = n >= 0;
        done += fine ? (size_t)n : 0;
    }
    fine = fine && fsync(out) == 0;
    close(out);
    if (!fine || renameat(place->root, ".version.json.new", place->root, "version.json") != 0 ||
        fsync(place->root) != 0)
        return refuse_errno(fault, "write", "version.json");
    return true;
}

bool release_read_sticker(const char *root, struct buf *out, struct archive_fault *fault)
{
    enum { STICKER_MAX = 64 * 1024 };
    char path[1100];

    snprintf(path, sizeof(path), "%s/version.json", root);
    int in = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT || errno == ENOTDIR || refuse_errno(fault, "read", path);
    size_t before = out->n;
    ssize_t n = 0;
    if (buf_reserve(out, STICKER_MAX + 1)) {
        n = read(in, out->p + out->n, STICKER_MAX + 1);
        out->n += n > 0 ? (size_t)n : 0;
    }
    close(in);
    if (n < 0 || out->failed)
        return refuse(fault, "cannot read %s", path);
    if (out->n - before > STICKER_MAX)
        return refuse(fault, "%s is larger than %d bytes", path, STICKER_MAX);
    return true;
}

#include "lib/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
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

static bool part_safe(struct str part)
{
    if (part.n == 0 || str_eqz(part, ".") || str_eqz(part, ".."))
        return false;
    for (size_t i = 0; i < part.n; i++)
        if ((unsigned char)part.p[i] < 0x20 || part.p[i] == 0x7f || part.p[i] == '\\')
            return false;
    return true;
}

static struct str without_edges(struct str name)
{
    while (str_starts(name, S("./")))
        name = str_slice(name, 2, name.n);
    while (name.n > 1 && name.p[name.n - 1] == '/')
        name.n--;
    return name;
}

bool archive_name_safe(struct str name)
{
    struct str rest = without_edges(name);

    if (rest.n == 0 || rest.n > 1024 || rest.p[0] == '/')
        return false;
    while (rest.n > 0)
        if (!part_safe(str_cut(&rest, '/')))
            return false;
    return true;
}

bool archive_link_safe(struct str name, struct str to)
{
    struct str rest = without_edges(name);
    long depth = 0;

    if (to.n == 0 || to.n > 1024 || to.p[0] == '/' || memchr(to.p, '\0', to.n) != NULL)
        return false;
    for (size_t i = 0; i < rest.n; i++)
        depth += rest.p[i] == '/';
    for (rest = to; rest.n > 0;) {
        struct str part = str_cut(&rest, '/');
        if (str_eqz(part, ".."))
            depth--;
        else if (part.n > 0 && !str_eqz(part, "."))
            depth++;
        if (depth < 0)
            return false;
    }
    return true;
}

struct unpacking {
    struct archive *in;
    int folder; /* descriptor */
    const struct archive_limits *limits;
    uint64_t bytes, entries;
    struct archive_fault *fault;
};

/* Opens the folder that is to hold `name`, part by part, making what is missing and following no link; its last part
 * goes to `leaf`. */
static int open_parent(struct unpacking *u, struct str name, char leaf[1025])
{
    int at = dup(u->folder);

    while (at >= 0) {
        struct str part = str_cut(&name, '/');
        memcpy(leaf, part.p, part.n);
        leaf[part.n] = '\0';
        if (name.n == 0)
            break;
        if (mkdirat(at, leaf, 0755) != 0 && errno != EEXIST) {
            close(at);
            return -1;
        }
        int next = openat(at, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(at);
        at = next;
    }
    return at;
}

static bool copy_data(struct unpacking *u, int out, const char *name)
{
    const void *block;
    size_t n;
    la_int64_t offset;

    for (;;) {
        int got = archive_read_data_block(u->in, &block, &n, &offset);
        if (got == ARCHIVE_EOF)
            return true;
        if (got != ARCHIVE_OK)
            return refuse(u->fault, "%s: %s", name, archive_error_string(u->in));
        u->bytes += n;
        if (u->limits->stop != NULL && u->limits->stop(u->limits->arg))
            return refuse(u->fault, "stopped");
        if (offset < 0 || u->bytes > u->limits->bytes || (uint64_t)offset + n > u->limits->bytes)
            return refuse(u->fault, "unpacked, the archive is larger than %llu bytes",
                          (unsigned long long)u->limits->bytes);
        for (size_t done = 0; done < n;) {
            ssize_t wrote = pwrite(out, (const char *)block + done, n - done, offset + (la_int64_t)done);
            if (wrote < 0)
                return refuse(u->fault, "%s: %s", name, strerror(errno));
            done += (size_t)wrote;
        }
    }
}

static bool unpack_file(struct unpacking *u, int parent, const char *leaf, const char *name, mode_t mode)
{
    int out = openat(parent, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (out < 0)
        return refuse(u->fault, "%s: %s", name, strerror(errno));
    bool fine = copy_data(u, out, name);
    if (fine && (fchmod(out, (mode & 0777) | 0600) != 0 || fsync(out) != 0))
        fine = refuse(u->fault, "%s: %s", name, strerror(errno));
    close(out);
    return fine;
}

static bool unpack_entry(struct unpacking *u, struct archive_entry *entry)
{
    const char *name = archive_entry_pathname(entry);
    const char *to = archive_entry_symlink(entry);
    mode_t type = archive_entry_filetype(entry);
    char leaf[1025];
    bool fine = true;

    if (name != NULL && type == AE_IFDIR && without_edges(str_z(name)).n <= 1 && (name[0] == '.' || name[0] == '\0'))
        return true; /* "./": the folder itself */
    if (name == NULL || !archive_name_safe(str_z(name)))
        return refuse(u->fault, "an entry has the unsafe name '%.100s'", name == NULL ? "" : name);
    if (archive_entry_hardlink(entry) != NULL)
        return refuse(u->fault, "%s is a hard link", name);
    int parent = open_parent(u, without_edges(str_z(name)), leaf);
    if (parent < 0)
        return refuse(u->fault, "%s: %s", name, strerror(errno));
    if (type == AE_IFREG)
        fine = unpack_file(u, parent, leaf, name, archive_entry_perm(entry));
    else if (type == AE_IFDIR)
        fine = mkdirat(parent, leaf, 0755) == 0 || errno == EEXIST || refuse(u->fault, "%s: %s", name, strerror(errno));
    else if (type != AE_IFLNK)
        fine = refuse(u->fault, "%s is neither file, folder nor symbolic link", name);
    else if (to == NULL || !archive_link_safe(str_z(name), str_z(to)))
        fine = refuse(u->fault, "the link %s leads out of the folder", name);
    else if (symlinkat(to, parent, leaf) != 0)
        fine = refuse(u->fault, "%s: %s", name, strerror(errno));
    close(parent);
    return fine;
}

static bool unpack_all(struct unpacking *u)
{
    struct archive_entry *entry;
    int got;

    while ((got = archive_read_next_header(u->in, &entry)) == ARCHIVE_OK) {
        if (++u->entries > u->limits->entries)
            return refuse(u->fault, "the archive has more than %llu entries", (unsigned long long)u->limits->entries);
        if (!unpack_entry(u, entry))
            return false;
    }
    if (got != ARCHIVE_EOF)
        return refuse(u->fault, "the archive is damaged: %s", archive_error_string(u->in));
    return u->entries > 0 || refuse(u->fault, "the archive is empty");
}

static struct archive *open_archive(int fd)
{
    struct archive *in = archive_read_new();

    if (in == NULL)
        return NULL;
    archive_read_support_filter_gzip(in);
    archive_read_support_filter_bzip2(in);
    archive_read_support_filter_xz(in);
    archive_read_support_filter_zstd(in);
    archive_read_support_format_tar(in);
    archive_read_support_format_zip(in);
    if (archive_read_open_fd(in, fd, 65536) == ARCHIVE_OK)
        return in;
    archive_read_free(in);
    return NULL;
}

bool archive_unpack(int fd, const char *folder, const struct archive_limits *limits, struct archive_fault *fault)
{
    struct unpacking u = {.limits = limits, .fault = fault};

    fault->text[0] = '\0';
    u.folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u.folder < 0)
        return refuse(fault, "%s: %s", folder, strerror(errno));
    u.in = open_archive(fd);
    bool fine = u.in != NULL ? unpack_all(&u) : refuse(fault, "this is no tar or zip archive");
    if (fine && syncfs(u.folder) != 0)
        fine = refuse(fault, "%s: %s", folder, strerror(errno));
    if (u.in != NULL)
        archive_read_free(u.in);
    close(u.folder);
    return fine;
}

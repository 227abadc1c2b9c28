#include "server/agent/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, struct str content)
{
    while (content.n > 0) {
        ssize_t n = write(fd, content.p, content.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        content = str_slice(content, (size_t)n, content.n);
    }
    return 0;
}

int file_replace(int dir, const char *name, struct str content, bool sync)
{
    char fresh[80];
    if ((size_t)snprintf(fresh, sizeof fresh, ".%s.new", name) >= sizeof fresh)
        return ENAMETOOLONG;
    int fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno;
    int error = write_all(fd, content);
    if (error == 0 && sync && fdatasync(fd) != 0)
        error = errno;
    close(fd);
    if (error == 0 && renameat(dir, fresh, dir, name) != 0)
        error = errno;
    if (error == 0 && sync && fsync(dir) != 0)
        error = errno;
    if (error != 0)
        unlinkat(dir, fresh, 0);
    return error;
}

int file_read(int dir, const char *name, struct buf *out)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    int error = 0;
    for (size_t total = 0; error == 0;) {
        char chunk[8192];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error = n < 0 ? errno : 0;
            break;
        }
        total += (size_t)n;
        buf_add(out, chunk, (size_t)n);
        error = total > FILE_MAX ? EFBIG : out->failed ? ENOMEM : 0;
    }
    close(fd);
    return error;
}

int file_folder(int dir, const char *name)
{
    if (mkdirat(dir, name, 0700) != 0 && errno != EEXIST)
        return -1;
    return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void file_remove(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0 || (errno != EISDIR && errno != EPERM))
        return;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(entries)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            file_remove(fd, e->d_name);
    closedir(entries);
    unlinkat(dir, name, AT_REMOVEDIR);
}

/* /proc/<pid>/stat: "pid (name) state ppid ..."; the name may hold anything, so count from its last parenthesis. */
static bool process_field(int64_t pid, int field, uint64_t *out)
{
    enum { STATE_IS = 3 }; /* proc(5) */
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *behind = strrchr(text, ')');
    if (behind == NULL || behind[1] != ' ' || strchr("ZXx", behind[2]) != NULL)
        return false;
    struct str rest = str_z(behind + 2);
    for (int at = STATE_IS; at < field; at++)
        str_cut(&rest, ' ');
    return str_u64(str_cut(&rest, ' '), out);
}

bool process_start(int64_t pid, uint64_t *start)
{
    enum { START_IS = 22 };
    return process_field(pid, START_IS, start);
}

bool process_lives(int64_t pid, uint64_t start)
{
    uint64_t now;
    return process_start(pid, &now) && now == start;
}

void process_kill_session(int64_t leader)
{
    enum { SESSION_IS = 6 };
    DIR *all = opendir("/proc");
    struct dirent *entry;
    while (all != NULL && (entry = readdir(all)) != NULL) {
        int64_t pid;
        uint64_t session;
        if (str_i64(str_z(entry->d_name), &pid) && pid != leader && process_field(pid, SESSION_IS, &session) &&
            session == (uint64_t)leader)
            kill((pid_t)pid, SIGKILL);
    }
    if (all != NULL)
        closedir(all);
}

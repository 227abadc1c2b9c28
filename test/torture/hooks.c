/* The C library's functions that may fail, replaced for the whole process: a name that the program defines is the one
 * that its shared libraries are bound to as well, so libuv, hiredis, yajl, curl and the rest are hooked with it. Each
 * asks point_fails() and goes on to the real one, AddressSanitizer's where that is linked.
 *
 * Left alone, because libuv calls abort() when they fail and no caller of it can do anything about that: epoll_ctl, what
 * it does on its own pipes and eventfds, the pipe of its signal handler, the threads of its pool, its table of
 * descriptors (the one thing that it reallocates). */
#include "test/torture/point.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static bool from_libuv(const void *caller)
{
    Dl_info info;
    return dladdr(caller, &info) != 0 && info.dli_fname != NULL && strstr(info.dli_fname, "libuv") != NULL;
}

/* --- allocations --- */

// clang-format off
#define ALLOCATOR(result, name, parameters)                             \
    result __interceptor_##name parameters __attribute__((weak));       \
    result __libc_##name parameters
// clang-format on
ALLOCATOR(void *, malloc, (size_t n));
ALLOCATOR(void *, calloc, (size_t count, size_t n));
ALLOCATOR(void *, realloc, (void *p, size_t n));
ALLOCATOR(void *, memalign, (size_t alignment, size_t n));

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static void *allocate(size_t n)
{
    return __interceptor_malloc != NULL ? __interceptor_malloc(n) : __libc_malloc(n);
}

static void *allocate_aligned(size_t alignment, size_t n)
{
    return __interceptor_memalign != NULL ? __interceptor_memalign(alignment, n) : __libc_memalign(alignment, n);
}

void *malloc(size_t n)
{
    return point_fails(POINT_ALLOC, "malloc") ? no_memory() : allocate(n);
}

void *calloc(size_t count, size_t n)
{
    if (point_fails(POINT_ALLOC, "calloc"))
        return no_memory();
    return __interceptor_calloc != NULL ? __interceptor_calloc(count, n) : __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    if (n > 0 && !from_libuv(__builtin_return_address(0)) && point_fails(POINT_ALLOC, "realloc"))
        return no_memory();
    return __interceptor_realloc != NULL ? __interceptor_realloc(p, n) : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t count, size_t n)
{
    size_t size;
    return __builtin_mul_overflow(count, n, &size) ? no_memory() : realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return point_fails(POINT_ALLOC, "aligned_alloc") ? no_memory() : allocate_aligned(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    if (point_fails(POINT_ALLOC, "posix_memalign"))
        return ENOMEM;
    *p = allocate_aligned(alignment, n);
    return *p == NULL ? ENOMEM : 0;
}

static char *copy(const char *what, const char *s, size_t n)
{
    char *p = point_fails(POINT_ALLOC, what) ? no_memory() : allocate(n + 1);
    if (p != NULL) {
        memcpy(p, s, n);
        p[n] = '\0';
    }
    return p;
}

char *(strdup)(const char *s)
{
    return copy("strdup", s, strlen(s));
}

char *(strndup)(const char *s, size_t n)
{
    return copy("strndup", s, strnlen(s, n));
}

/* --- operations --- */

/* The first of libuv is the process's own. */
int pipe2(int fds[2], int flags)
{
    static int (*real)(int *, int);
    static bool first = true;
    if (real == NULL)
        real = (int (*)(int *, int))dlsym(RTLD_NEXT, "pipe2");
    bool spared = first && from_libuv(__builtin_return_address(0));
    if (spared)
        first = false;
    else if (point_fails(POINT_DESCRIPTOR, "pipe2")) {
        errno = EMFILE;
        return -1;
    }
    return real(fds, flags);
}

/* A function that answers -1, or NULL, and errno. */
#define HOOK_OF(kind, result, none, name, error, parameters, ...)                                                      \
    result name parameters                                                                                             \
    {                                                                                                                  \
        static result(*real) parameters;                                                                               \
        if (real == NULL)                                                                                              \
            real = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                                      \
        if (point_fails(kind, #name)) {                                                                                \
            errno = error;                                                                                             \
            return none;                                                                                               \
        }                                                                                                              \
        return real(__VA_ARGS__);                                                                                      \
    }
#define HOOK(kind, name, error, parameters, ...) HOOK_OF(kind, int, -1, name, error, parameters, __VA_ARGS__)

HOOK(POINT_DESCRIPTOR, socket, EMFILE, (int family, int type, int protocol), family, type, protocol)
HOOK(POINT_DESCRIPTOR, socketpair, EMFILE, (int family, int type, int protocol, int fds[2]), family, type, protocol,
     fds)
HOOK(POINT_DESCRIPTOR, accept4, EMFILE, (int fd, struct sockaddr *address, socklen_t *n, int flags), fd, address, n,
     flags)
HOOK(POINT_DESCRIPTOR, eventfd, EMFILE, (unsigned value, int flags), value, flags)
HOOK(POINT_DESCRIPTOR, signalfd, EMFILE, (int fd, const sigset_t *mask, int flags), fd, mask, flags)
HOOK(POINT_DESCRIPTOR, epoll_create1, EMFILE, (int flags), flags)
HOOK(POINT_DESCRIPTOR, dup, EMFILE, (int fd), fd)
HOOK_OF(POINT_DESCRIPTOR, FILE *, NULL, fopen, EMFILE, (const char *path, const char *mode), path, mode)
HOOK_OF(POINT_DESCRIPTOR, FILE *, NULL, fopen64, EMFILE, (const char *path, const char *mode), path, mode)
HOOK_OF(POINT_DESCRIPTOR, DIR *, NULL, opendir, EMFILE, (const char *path), path)

HOOK(POINT_CONNECT, connect, ECONNREFUSED, (int fd, const struct sockaddr *address, socklen_t n), fd, address, n)
HOOK(POINT_CONNECT, bind, EADDRINUSE, (int fd, const struct sockaddr *address, socklen_t n), fd, address, n)
HOOK(POINT_CONNECT, listen, EADDRINUSE, (int fd, int backlog), fd, backlog)

HOOK(POINT_FILE, fsync, EIO, (int fd), fd)
HOOK(POINT_FILE, fdatasync, EIO, (int fd), fd)
HOOK(POINT_FILE, syncfs, EIO, (int fd), fd)
HOOK(POINT_FILE, ftruncate, EIO, (int fd, off_t n), fd, n)
HOOK(POINT_FILE, ftruncate64, EIO, (int fd, off_t n), fd, n)
HOOK(POINT_FILE, rename, ENOSPC, (const char *from, const char *to), from, to)
HOOK(POINT_FILE, renameat, ENOSPC, (int a, const char *from, int b, const char *to), a, from, b, to)
HOOK(POINT_FILE, renameat2, ENOSPC, (int a, const char *from, int b, const char *to, unsigned flags), a, from, b, to,
     flags)
HOOK(POINT_FILE, link, ENOSPC, (const char *from, const char *to), from, to)
HOOK(POINT_FILE, symlinkat, ENOSPC, (const char *to, int at, const char *name), to, at, name)
HOOK(POINT_FILE, mkdir, ENOSPC, (const char *path, mode_t mode), path, mode)
HOOK(POINT_FILE, mkdirat, ENOSPC, (int at, const char *path, mode_t mode), at, path, mode)
HOOK(POINT_FILE, unlink, EIO, (const char *path), path)
HOOK(POINT_FILE, unlinkat, EIO, (int at, const char *path, int flags), at, path, flags)

/* Reading and writing fail on sockets and regular files; what is logged is nobody's answer. */
static bool may_fail(int fd, bool *socket)
{
    struct stat s;
    if (fd <= STDERR_FILENO || fstat(fd, &s) != 0)
        return false;
    *socket = S_ISSOCK(s.st_mode);
    return *socket || S_ISREG(s.st_mode);
}

static bool transfer_fails(enum point_kind kind, const char *what, int fd)
{
    int before = errno;
    bool socket = false;
    if (may_fail(fd, &socket) && point_fails(kind, what)) {
        errno = socket ? ECONNRESET : kind == POINT_READ ? EIO : ENOSPC;
        return true;
    }
    errno = before;
    return false;
}

#define TRANSFER(kind, name, parameters, ...)                                                                          \
    ssize_t name parameters                                                                                            \
    {                                                                                                                  \
        static ssize_t(*real) parameters;                                                                              \
        if (real == NULL)                                                                                              \
            real = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name);                                                     \
        return transfer_fails(kind, #name, fd) ? -1 : real(__VA_ARGS__);                                               \
    }

TRANSFER(POINT_READ, read, (int fd, void *p, size_t n), fd, p, n)
TRANSFER(POINT_READ, pread, (int fd, void *p, size_t n, off_t at), fd, p, n, at)
TRANSFER(POINT_READ, pread64, (int fd, void *p, size_t n, off_t at), fd, p, n, at)
TRANSFER(POINT_READ, readv, (int fd, const struct iovec *v, int count), fd, v, count)
TRANSFER(POINT_READ, recv, (int fd, void *p, size_t n, int flags), fd, p, n, flags)
TRANSFER(POINT_READ, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
TRANSFER(POINT_WRITE, write, (int fd, const void *p, size_t n), fd, p, n)
TRANSFER(POINT_WRITE, pwrite, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
TRANSFER(POINT_WRITE, pwrite64, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
TRANSFER(POINT_WRITE, writev, (int fd, const struct iovec *v, int count), fd, v, count)
TRANSFER(POINT_WRITE, send, (int fd, const void *p, size_t n, int flags), fd, p, n, flags)
TRANSFER(POINT_WRITE, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)

/* open takes its mode only when it may create. */
#define OPEN(name, before, ...)                                                                                        \
    int name(before const char *path, int flags, ...)                                                                  \
    {                                                                                                                  \
        static int (*real)(before const char *, int, ...);                                                             \
        if (real == NULL)                                                                                              \
            real = (int (*)(before const char *, int, ...))dlsym(RTLD_NEXT, #name);                                    \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        unsigned mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, unsigned) : 0;                           \
        va_end(rest);                                                                                                  \
        if (point_fails(POINT_DESCRIPTOR, #name)) {                                                                    \
            errno = EMFILE;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        return real(__VA_ARGS__ path, flags, mode);                                                                    \
    }
#define AT int at,
OPEN(open, , )
OPEN(open64, , )
OPEN(openat, AT, at, )
OPEN(openat64, AT, at, )

/* --- threads and processes --- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (real == NULL)
        real =
            (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    if (!from_libuv(__builtin_return_address(0)) && point_fails(POINT_START, "pthread_create"))
        return EAGAIN;
    return real(thread, attributes, run, arg);
}

/* AddressSanitizer asks for the stack of each thread at its start, and ends the process when it gets no answer. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    static int (*real)(pthread_t, pthread_attr_t *);
    if (real == NULL)
        real = (int (*)(pthread_t, pthread_attr_t *))dlsym(RTLD_NEXT, "pthread_getattr_np");
    bool before = point_exempt(true);
    int error = real(thread, attributes);
    point_exempt(before);
    return error;
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    static __typeof__(posix_spawn) *real;
    if (real == NULL)
        real = (__typeof__(posix_spawn) *)dlsym(RTLD_NEXT, "posix_spawn");
    return point_fails(POINT_START, "posix_spawn") ? EAGAIN : real(pid, path, actions, attributes, argv, env);
}

pid_t fork(void)
{
    static pid_t (*real)(void);
    if (real == NULL)
        real = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
    if (point_fails(POINT_START, "fork")) {
        errno = EAGAIN;
        return -1;
    }
    pid_t pid = real();
    if (pid == 0)
        point_exempt(true); /* the child is not what is tried */
    return pid;
}

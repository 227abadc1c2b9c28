#include "proto/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOTS_MAX = 8 << 20 };

/* Where systems keep whom they trust. */
static const char *const stores[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                     "/etc/ssl/cert.pem"};

static const char *store_path(void)
{
    const char *given = getenv("SSL_CERT_FILE");
    if (given != NULL && given[0] != '\0')
        return given;
    for (size_t i = 0; i < ARRAY_LEN(stores); i++)
        if (access(stores[i], R_OK) == 0)
            return stores[i];
    return stores[0];
}

/* 0, or an errno. A NUL byte follows. */
static int read_roots(const char *path, struct buf *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;
    if (fd < 0 || fstat(fd, &st) != 0)
        error = errno;
    else if (st.st_size > ROOTS_MAX)
        error = EFBIG;
    else if (!buf_reserve(out, (size_t)st.st_size + 1))
        error = ENOMEM;
    else {
        ssize_t n = read(fd, out->p, (size_t)st.st_size);
        error = n < 0 ? errno : 0;
        out->n = n < 0 ? 0 : (size_t)n;
        out->p[out->n] = '\0';
    }
    if (fd >= 0)
        close(fd);
    return error;
}

struct tls_context *tls_trust(const char *ca, char why[TLS_WHY])
{
    struct buf roots = {0};
    char reason[TLS_WHY] = "";
    const char *path = ca[0] != '\0' ? ca : store_path();
    int error = read_roots(path, &roots);
    struct tls_context *c = error == 0 ? tls_context_client(buf_view(&roots), reason) : NULL;
    buf_free(&roots);
    if (c == NULL)
        snprintf(why, TLS_WHY, "%.64s: %.90s", path, error != 0 ? strerror(error) : reason);
    return c;
}

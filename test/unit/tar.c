#include "test/unit/tar.h"

#include "lib/crypto.h"
#include "lib/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add(struct buf *b, const struct tar_entry *e)
{
    char block[512] = {0};
    const char *text = e->text != NULL ? e->text : "";
    size_t n = strlen(text);
    unsigned sum = 0;

    snprintf(block, 100, "%s", e->name);
    snprintf(block + 100, 8, "%07o", (e->mode != 0 ? e->mode : 0644u) & 07777u);
    snprintf(block + 124, 12, "%011o", (unsigned)n);
    memset(block + 148, ' ', 8);
    block[156] = e->type != 0 ? e->type : '0';
    snprintf(block + 157, 100, "%s", e->link != NULL ? e->link : "");
    memcpy(block + 257, "ustar\0", 6);
    memcpy(block + 263, "00", 2);
    for (size_t i = 0; i < sizeof(block); i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    buf_add(b, block, sizeof(block));
    buf_add(b, text, n);
    memset(block, 0, sizeof(block));
    buf_add(b, block, (512 - n % 512) % 512);
}

char *tar_make(const char *path, const struct tar_entry *entries, size_t count, char digest[TAR_DIGEST], size_t *n)
{
    static const char end[1024];
    uint8_t sum[CRYPTO_HASH];
    struct buf b = {0}, hex = {0};

    for (size_t i = 0; i < count; i++)
        add(&b, &entries[i]);
    buf_add(&b, end, sizeof(end));
    crypto_sha256(buf_view(&b), sum);
    buf_hex(&hex, sum, sizeof(sum));
    snprintf(digest, TAR_DIGEST, "sha256:" STR_FMT, STR_ARG(buf_view(&hex)));
    buf_free(&hex);
    char *copy = malloc(b.n);
    if (b.failed || copy == NULL)
        abort();
    memcpy(copy, b.p, b.n);
    *n = b.n;
    buf_free(&b);
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (path != NULL && (fd < 0 || write(fd, copy, *n) != (ssize_t)*n || close(fd) != 0))
        abort();
    return copy;
}

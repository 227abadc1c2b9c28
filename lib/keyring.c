#include "lib/keyring.h"

#include "lib/clock.h"
#include "lib/id.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_ID = 4, FILE_MAX_BYTES = 1 << 20, REFRESH_MS = 1000 };

static const char header[] = "slipway-keyring 1";
static const char *const names[KEYRING_USES] = {"seal", "sign", "pepper", "evidence"};

struct key {
    enum keyring_use use;
    unsigned number;
    uint8_t bytes[CRYPTO_KEY];
    uint8_t public_key[CRYPTO_PUBLIC]; /* of sign and evidence */
    uint8_t secret[CRYPTO_SECRET];
};

/* Keys are only ever added: a reader sees the first `count`, whatever is being added behind them. */
struct keys {
    pthread_mutex_t adding;
    _Atomic size_t count;
    _Atomic(const struct key *) newest[KEYRING_USES];
    _Atomic int64_t looked_ms; /* when the file was last looked at for a number we lack */
    struct key list[KEYRING_KEYS];
};

struct keyring {
    char *path;
    struct keys *keys;
};

const char *keyring_use_name(enum keyring_use use)
{
    return names[use];
}

static bool signs(enum keyring_use use)
{
    return use == KEYRING_SIGN || use == KEYRING_EVIDENCE;
}

static const struct key *find(const struct keyring *k, enum keyring_use use, unsigned number)
{
    size_t count = atomic_load_explicit(&k->keys->count, memory_order_acquire);
    for (size_t i = 0; i < count; i++)
        if (k->keys->list[i].use == use && k->keys->list[i].number == number)
            return &k->keys->list[i];
    return NULL;
}

static const struct key *newest(const struct keyring *k, enum keyring_use use)
{
    return atomic_load_explicit(&k->keys->newest[use], memory_order_acquire);
}

static bool add(const struct keyring *k, enum keyring_use use, unsigned number, const uint8_t bytes[CRYPTO_KEY])
{
    size_t count = atomic_load_explicit(&k->keys->count, memory_order_relaxed);
    if (count == KEYRING_KEYS)
        return false;
    struct key *key = &k->keys->list[count];
    *key = (struct key){.use = use, .number = number};
    memcpy(key->bytes, bytes, CRYPTO_KEY);
    if (signs(use))
        crypto_signature_keys(key->bytes, key->public_key, key->secret);
    atomic_store_explicit(&k->keys->count, count + 1, memory_order_release);
    const struct key *before = newest(k, use);
    if (before == NULL || before->number < number)
        atomic_store_explicit(&k->keys->newest[use], key, memory_order_release);
    return true;
}

static bool add_fresh(const struct keyring *k, enum keyring_use use, unsigned number)
{
    uint8_t bytes[CRYPTO_KEY];
    random_bytes(bytes, sizeof bytes);
    bool ok = add(k, use, number, bytes);
    crypto_wipe(bytes, sizeof bytes);
    return ok;
}

/* "seal 1 <base64url>". What is in the ring already is passed over in a `refresh`, and a fault otherwise. */
static bool read_line(const struct keyring *k, struct str line, bool refresh)
{
    struct buf bytes = {0};
    struct str rest = line, name = str_cut(&rest, ' '), number_text = str_cut(&rest, ' ');
    uint64_t number = 0;
    unsigned use = 0;
    while (use < KEYRING_USES && !str_eqz(name, names[use]))
        use++;
    bool ok = use < KEYRING_USES && str_u64(number_text, &number) && number >= 1 && number <= KEYRING_NUMBERS &&
              buf_unbase64url(&bytes, rest) && bytes.n == CRYPTO_KEY;
    const struct key *there = ok ? find(k, use, (unsigned)number) : NULL;
    if (there != NULL)
        ok = refresh && crypto_equal(there->bytes, bytes.p, CRYPTO_KEY);
    else if (ok)
        ok = add(k, use, (unsigned)number, (const uint8_t *)bytes.p);
    if (bytes.p != NULL)
        crypto_wipe(bytes.p, bytes.n);
    buf_free(&bytes);
    return ok;
}

static bool read_text(const struct keyring *k, struct str text, bool refresh, char error[256])
{
    unsigned number = 1;
    struct str rest = text;
    if (!str_eqz(str_cut(&rest, '\n'), header)) {
        snprintf(error, 256, "%s: not a keyring of this version", k->path);
        return false;
    }
    while (rest.p != NULL) {
        struct str line = str_cut(&rest, '\n');
        number++;
        if (line.n > 0 && line.p[0] != '#' && !read_line(k, line, refresh)) {
            snprintf(error, 256, "%s:%u: a line is `<use> <number> <key>`, each number once", k->path, number);
            return false;
        }
    }
    for (unsigned u = 0; u < KEYRING_USES; u++)
        if (newest(k, u) == NULL) {
            snprintf(error, 256, "%s: no key for %s", k->path, names[u]);
            return false;
        }
    return true;
}

static bool read_file(const struct keyring *k, int fd, bool refresh, char error[256])
{
    struct stat st;
    char *text = NULL;
    ssize_t n = -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES) {
        snprintf(error, 256, "%s: not a keyring file", k->path);
        return false;
    }
    mode_t allowed = st.st_uid == 0 ? S_IRGRP : 0; /* a secret that an administrator mounts */
    if ((st.st_mode & 077 & ~allowed) != 0) {
        snprintf(error, 256, "%s: others may read it; `chmod 600` it", k->path);
        return false;
    }
    size_t size = (size_t)st.st_size;
    text = malloc(size + 1);
    if (text != NULL)
        n = pread(fd, text, size, 0);
    bool ok = n == (ssize_t)size;
    if (!ok)
        snprintf(error, 256, "%s: %s", k->path, text == NULL ? "out of memory" : strerror(errno));
    else
        ok = read_text(k, (struct str){text, size}, refresh, error);
    if (text != NULL)
        crypto_wipe(text, size);
    free(text);
    return ok;
}

static void write_text(const struct keyring *k, struct buf *b)
{
    buf_printf(b, "%s\n", header);
    for (size_t i = 0; i < k->keys->count; i++) {
        const struct key *key = &k->keys->list[i];
        buf_printf(b, "%s %u ", names[key->use], key->number);
        buf_base64url(b, key->bytes, CRYPTO_KEY);
        buf_char(b, '\n');
    }
}

static bool sync_folder_of(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    int n = slash == NULL ? snprintf(folder, sizeof folder, ".")
                          : snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);
    int fd = n < (int)sizeof folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Writes beside the file and puts it in place whole: by link when it must not be there yet, else by rename. */
static bool write_file(const struct keyring *k, bool fresh, char error[256])
{
    char beside[4096];
    struct buf b = {0};
    write_text(k, &b);
    int n = snprintf(beside, sizeof beside, "%s.%ld", k->path, (long)getpid());
    int fd = n < (int)sizeof beside && !b.failed ? open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    bool ok = fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n && fsync(fd) == 0 &&
              (fresh ? link(beside, k->path) : rename(beside, k->path)) == 0;
    if (!ok)
        snprintf(error, 256, "%s: %s", k->path, b.failed ? "out of memory" : strerror(errno));
    if (fd >= 0) {
        close(fd);
        if (fresh || !ok)
            unlink(beside);
    }
    if (b.p != NULL)
        crypto_wipe(b.p, b.n);
    buf_free(&b);
    return ok && sync_folder_of(k->path);
}

static bool make(struct keyring *k, char error[256])
{
    for (unsigned u = 0; u < KEYRING_USES; u++)
        if (!add_fresh(k, u, 1)) {
            snprintf(error, 256, "out of memory");
            return false;
        }
    return write_file(k, true, error);
}

static void forget(struct keyring *k)
{
    crypto_wipe(k->keys->list, sizeof k->keys->list);
    k->keys->count = 0;
    for (unsigned u = 0; u < KEYRING_USES; u++)
        k->keys->newest[u] = NULL;
}

static struct keyring *new_ring(const char *path)
{
    struct keyring *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->path = strdup(path);
    k->keys = calloc(1, sizeof *k->keys);
    if (k->keys != NULL)
        pthread_mutex_init(&k->keys->adding, NULL);
    if (k->path != NULL && k->keys != NULL)
        return k;
    keyring_free(k);
    return NULL;
}

struct keyring *keyring_open(const char *path, bool create, char error[256])
{
    struct keyring *k = new_ring(path);
    if (k == NULL) {
        snprintf(error, 256, "out of memory");
        return NULL;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = false;
    if (fd < 0)
        snprintf(error, 256, "%s: %s", path, strerror(errno));
    if (fd < 0 && errno == ENOENT && create) {
        ok = make(k, error);
        fd = ok ? -1 : open(path, O_RDONLY | O_CLOEXEC); /* another process may have made it meanwhile */
    }
    if (fd >= 0) {
        forget(k);
        ok = read_file(k, fd, false, error);
        close(fd);
    }
    if (ok)
        return k;
    keyring_free(k);
    return NULL;
}

void keyring_free(struct keyring *k)
{
    if (k == NULL)
        return;
    if (k->keys != NULL) {
        forget(k);
        pthread_mutex_destroy(&k->keys->adding);
    }
    free(k->keys);
    free(k->path);
    free(k);
}

/* Whether the file has keys now that we had not; looked at once a second at most, whoever asks. */
static bool refresh(const struct keyring *k)
{
    char error[256];
    int64_t now_ms = clock_mono_ms(), before_ms = k->keys->looked_ms;
    size_t count = k->keys->count;
    if ((before_ms != 0 && now_ms - before_ms < REFRESH_MS) ||
        !atomic_compare_exchange_strong(&k->keys->looked_ms, &before_ms, now_ms))
        return false;
    pthread_mutex_lock(&k->keys->adding);
    int fd = open(k->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        read_file(k, fd, true, error);
        close(fd);
    }
    pthread_mutex_unlock(&k->keys->adding);
    return k->keys->count > count;
}

static const struct key *find_or_refresh(const struct keyring *k, enum keyring_use use, unsigned number)
{
    const struct key *key = find(k, use, number);
    return key == NULL && number <= KEYRING_NUMBERS && refresh(k) ? find(k, use, number) : key;
}

bool keyring_rotate(struct keyring *k, char error[256])
{
    unsigned seal = newest(k, KEYRING_SEAL)->number, sign = newest(k, KEYRING_SIGN)->number;
    if (!add_fresh(k, KEYRING_SEAL, seal + 1) || !add_fresh(k, KEYRING_SIGN, sign + 1)) {
        snprintf(error, 256, "%s: it is full", k->path);
        return false;
    }
    return write_file(k, false, error);
}

unsigned keyring_newest(const struct keyring *k, enum keyring_use use)
{
    return newest(k, use)->number;
}

unsigned keyring_count(const struct keyring *k)
{
    return (unsigned)k->keys->count;
}

void keyring_fingerprint(const struct keyring *k, unsigned i, char name[KEYRING_NAME], char print[KEYRING_PRINT])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t hash[CRYPTO_HASH];
    const struct key *key = &k->keys->list[i];
    snprintf(name, KEYRING_NAME, "%s:%u", names[key->use], key->number);
    crypto_blake2b(key->bytes, S("slipway keyring fingerprint"), hash);
    for (size_t j = 0; j < KEYRING_PRINT / 2; j++) {
        print[2 * j] = digits[hash[j] >> 4];
        print[2 * j + 1] = digits[hash[j] & 15];
    }
    print[KEYRING_PRINT - 1] = '\0';
}

void keyring_seal(const struct keyring *k, struct str context, struct str plain, struct buf *out)
{
    const struct key *key = newest(k, KEYRING_SEAL);
    const uint8_t id[KEY_ID] = {(uint8_t)(key->number >> 24), (uint8_t)(key->number >> 16), (uint8_t)(key->number >> 8),
                                (uint8_t)key->number};
    buf_add(out, id, sizeof id);
    crypto_seal(key->bytes, context, plain, out);
}

bool keyring_unseal(const struct keyring *k, struct str context, struct str blob, struct buf *out, unsigned *number)
{
    if (blob.n < KEY_ID)
        return false;
    const uint8_t *id = (const uint8_t *)blob.p;
    unsigned n = (unsigned)id[0] << 24 | (unsigned)id[1] << 16 | (unsigned)id[2] << 8 | id[3];
    const struct key *key = find_or_refresh(k, KEYRING_SEAL, n);
    if (number != NULL)
        *number = n;
    return key != NULL && crypto_open(key->bytes, context, str_slice(blob, KEY_ID, blob.n), out);
}

unsigned keyring_sign(const struct keyring *k, enum keyring_use use, struct str message,
                      uint8_t signature[CRYPTO_SIGNATURE])
{
    const struct key *key = newest(k, use);
    crypto_signature_make(key->secret, message, signature);
    return key->number;
}

bool keyring_verify(const struct keyring *k, enum keyring_use use, unsigned number, struct str message,
                    const uint8_t signature[CRYPTO_SIGNATURE])
{
    const struct key *key = find_or_refresh(k, use, number);
    return key != NULL && crypto_signature_check(key->public_key, message, signature);
}

bool keyring_public(const struct keyring *k, enum keyring_use use, unsigned number, uint8_t out[CRYPTO_PUBLIC])
{
    const struct key *key = signs(use) ? find_or_refresh(k, use, number) : NULL;
    if (key != NULL)
        memcpy(out, key->public_key, CRYPTO_PUBLIC);
    return key != NULL;
}

void keyring_hash(const struct keyring *k, struct str secret, uint8_t out[CRYPTO_HASH])
{
    crypto_blake2b(newest(k, KEYRING_PEPPER)->bytes, secret, out);
}

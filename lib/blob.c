/* An upload: add() fills `next`; when no piece is under way, `next` becomes the piece of a job on the thread pool,
 * which appends it to the file and to the hash. on_done starts the next one, or finishes: sync, rename under the
 * digest. A drop while a job is under way only marks the upload; its job's end frees it. */
#include "lib/blob.h"

#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "lib/loop.h"
#include "lib/must.h"
#include "lib/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct blobs {
    struct loop *loop;
    int folder, fresh; /* descriptors of the folder and of new/ */
    unsigned busy;
};

struct blob_upload {
    struct blobs *blobs;
    const struct blob_events *events;
    void *arg;
    struct ops ops;
    struct loop_task failing;
    struct crypto_sha256 hash;
    struct buf piece, next; /* under way; being filled */
    uint64_t limit, size;
    int fd, error;
    bool busy, waiting, ending, finished, dropped;
    char name[ID_UUID], digest[BLOB_DIGEST];
};

bool blob_digest_valid(struct str digest)
{
    struct str prefix = S("sha256:");

    if (digest.n != BLOB_DIGEST - 1 || !str_starts(digest, prefix))
        return false;
    for (size_t i = prefix.n; i < digest.n; i++)
        if (!((digest.p[i] >= '0' && digest.p[i] <= '9') || (digest.p[i] >= 'a' && digest.p[i] <= 'f')))
            return false;
    return true;
}

/* "sha256/ab/cdef…" of a valid digest. */
static void blob_path(struct str digest, char out[BLOB_DIGEST + 4])
{
    snprintf(out, BLOB_DIGEST + 4, "sha256/%.2s/%.62s", digest.p + 7, digest.p + 9);
}

static void clear_old(struct blobs *b)
{
    enum { DAY_S = 86400 };
    DIR *dir = fdopendir(openat(b->fresh, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *entry;
    struct stat st;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (fstatat(b->fresh, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            st.st_mtime < clock_wall_ms() / 1000 - DAY_S)
            unlinkat(b->fresh, entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

static int open_folder(int at, const char *name)
{
    if (mkdirat(at, name, 0700) != 0 && errno != EEXIST)
        return -1;
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct blobs *blobs_open(struct loop *loop, const char *folder)
{
    struct blobs *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return NULL;
    *b = (struct blobs){.loop = loop, .fresh = -1};
    b->folder = open_folder(AT_FDCWD, folder);
    if (b->folder >= 0 && mkdirat(b->folder, "sha256", 0700) != 0 && errno != EEXIST) {
        blobs_close(b);
        return NULL;
    }
    if (b->folder >= 0)
        b->fresh = open_folder(b->folder, "new");
    if (b->fresh < 0) {
        blobs_close(b);
        return NULL;
    }
    clear_old(b);
    return b;
}

void blobs_close(struct blobs *b)
{
    int error = errno;

    if (b == NULL)
        return;
    must(b->busy == 0);
    if (b->folder >= 0)
        close(b->folder);
    if (b->fresh >= 0)
        close(b->fresh);
    free(b);
    errno = error;
}

/* ---- uploads -------------------------------------------------------------------------------------------------- */

static void upload_free(struct blob_upload *u)
{
    loop_undefer(&u->failing);
    if (u->fd >= 0)
        close(u->fd);
    if (!u->finished)
        unlinkat(u->blobs->fresh, u->name, 0);
    buf_free(&u->piece);
    buf_free(&u->next);
    u->blobs->busy--;
    free(u);
}

static void upload_over(struct blob_upload *u, enum blob_result result)
{
    const struct blob_events *events = u->events;
    void *arg = u->arg;
    char digest[BLOB_DIGEST];
    uint64_t size = u->size;

    memcpy(digest, u->digest, sizeof(digest));
    upload_free(u);
    events->on_end(arg, result, digest, size);
}

static void upload_failed(void *arg)
{
    upload_over(arg, BLOB_FAILED);
}

struct blob_upload *blob_upload_start(struct blobs *b, uint64_t limit, const struct blob_events *events, void *arg)
{
    struct blob_upload *u = calloc(1, sizeof(*u));

    if (u == NULL)
        return NULL;
    *u = (struct blob_upload){.blobs = b, .events = events, .arg = arg, .limit = limit, .fd = -1};
    ops_init(&u->ops);
    crypto_sha256_init(&u->hash);
    id_uuid(clock_wall_ms(), u->name);
    b->busy++;
    return u;
}

static bool write_all(int fd, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            bytes = str_slice(bytes, (size_t)n, bytes.n);
    }
    return true;
}

static bool publish(struct blob_upload *u)
{
    uint8_t sum[CRYPTO_HASH];
    char path[BLOB_DIGEST + 4], parent[16];

    crypto_sha256_end(&u->hash, sum);
    memcpy(u->digest, "sha256:", 7);
    for (size_t i = 0; i < sizeof(sum); i++)
        snprintf(u->digest + 7 + 2 * i, 3, "%02x", sum[i]);
    blob_path(str_z(u->digest), path);
    snprintf(parent, sizeof(parent), "%.9s", path);
    if (mkdirat(u->blobs->folder, parent, 0700) != 0 && errno != EEXIST)
        return false;
    if (fsync(u->fd) != 0 || renameat(u->blobs->fresh, u->name, u->blobs->folder, path) != 0)
        return false;
    int at = openat(u->blobs->folder, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = at >= 0 && fsync(at) == 0;
    if (at >= 0)
        close(at);
    return fine;
}

/* On the thread pool: the upload's piece, and the end when it is the last. While it runs the loop leaves these alone.
 */
static void upload_work(void *data)
{
    struct blob_upload *u = *(struct blob_upload **)data;

    if (u->fd < 0)
        u->fd = openat(u->blobs->fresh, u->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (u->fd < 0 || !write_all(u->fd, buf_view(&u->piece))) {
        u->error = errno;
        return;
    }
    crypto_sha256_add(&u->hash, u->piece.p, u->piece.n);
    if (!u->finished)
        return;
    if (!publish(u)) {
        u->error = errno;
        u->finished = false;
    }
}

static void upload_go(struct blob_upload *u);

static void upload_done(void *arg, void *data)
{
    struct blob_upload *u = arg;

    (void)data;
    u->busy = false;
    if (u->dropped)
        upload_free(u);
    else if (u->error != 0)
        upload_over(u, BLOB_FAILED);
    else if (u->finished)
        upload_over(u, BLOB_OK);
    else {
        bool waited = u->waiting;
        upload_go(u);
        u->waiting = false;
        if (waited)
            u->events->on_room(u->arg);
    }
}

static void upload_go(struct blob_upload *u)
{
    static const struct work_kind kind = {.run = upload_work};
    struct buf swap = u->piece;

    if (u->busy || (u->next.n < BLOB_PIECE && !u->ending))
        return;
    u->piece = u->next;
    u->next = swap;
    buf_clear(&u->next);
    u->finished = u->ending;
    if (work_start(u->blobs->loop, &u->ops, &kind, &u, sizeof(struct blob_upload *), upload_done, u) == 0) {
        u->busy = true;
        return;
    }
    u->finished = false;
    u->error = ENOMEM;
    loop_defer(u->blobs->loop, &u->failing, upload_failed, u);
}

enum blob_result blob_upload_add(struct blob_upload *u, struct str bytes)
{
    must(!u->ending && !u->dropped);
    if (bytes.n > u->limit - u->size)
        return BLOB_TOO_LARGE;
    buf_str(&u->next, bytes);
    if (u->next.failed || u->error != 0)
        return BLOB_FAILED;
    u->size += bytes.n;
    upload_go(u);
    u->waiting = u->busy && u->next.n >= BLOB_PIECE;
    return u->waiting ? BLOB_WAIT : BLOB_OK;
}

void blob_upload_end(struct blob_upload *u)
{
    u->ending = true;
    if (u->error == 0)
        upload_go(u);
}

void blob_upload_drop(struct blob_upload *u)
{
    u->dropped = true;
    if (!u->busy)
        upload_free(u);
}

/* ---- reads ---------------------------------------------------------------------------------------------------- */

struct reading { /* what the work gets a copy of */
    int folder;
    char path[BLOB_DIGEST + 4];
    uint64_t offset;
    struct blob_read answer;
    char *bytes;
};

struct reader {
    struct op op;
    struct blobs *blobs;
    struct ops ops;
    void (*then)(void *arg, const struct blob_read *read);
    void *arg;
};

static void read_work(void *data)
{
    struct reading *r = data;
    struct stat st;
    int fd = openat(r->folder, r->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    r->answer.result = fd < 0 && errno == ENOENT ? BLOB_UNKNOWN : BLOB_FAILED;
    if (fd < 0)
        return;
    r->bytes = malloc(BLOB_PIECE);
    if (r->bytes != NULL && fstat(fd, &st) == 0) {
        ssize_t n = pread(fd, r->bytes, BLOB_PIECE, (off_t)r->offset);
        if (n >= 0)
            r->answer = (struct blob_read){BLOB_OK, (uint64_t)st.st_size, {r->bytes, (size_t)n}};
    }
    close(fd);
}

static void read_drop(void *data)
{
    free(((struct reading *)data)->bytes);
}

static void read_done(void *arg, void *data)
{
    struct reader *x = arg;
    struct reading *r = data;
    void (*then)(void *arg, const struct blob_read *read) = x->then;
    void *then_arg = x->arg;

    x->blobs->busy--;
    bool wanted = op_finish(&x->op);
    free(x);
    if (wanted)
        then(then_arg, &r->answer);
}

bool blob_read_start(struct blobs *b, struct str digest, uint64_t offset, struct ops *asker,
                     void (*then)(void *arg, const struct blob_read *read), void *arg)
{
    static const struct work_kind kind = {.run = read_work, .drop = read_drop};
    struct reading r = {.folder = b->folder, .offset = offset};
    struct reader *x = blob_digest_valid(digest) ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL)
        return false;
    *x = (struct reader){.blobs = b, .then = then, .arg = arg};
    ops_init(&x->ops);
    blob_path(digest, r.path);
    if (work_start(b->loop, &x->ops, &kind, &r, sizeof(r), read_done, x) != 0) {
        free(x);
        return false;
    }
    b->busy++;
    op_begin(&x->op, asker);
    return true;
}

void blob_remove(struct blobs *b, struct str digest)
{
    char path[BLOB_DIGEST + 4];

    if (!blob_digest_valid(digest))
        return;
    blob_path(digest, path);
    unlinkat(b->folder, path, 0);
}

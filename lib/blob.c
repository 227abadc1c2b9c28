/* An upload: add() fills `next`; when no piece is under way, `next` becomes the piece of a job on the thread pool,
 * which appends it to the file and to the hash. The job's end hands the piece on when nobody keeps a file, then starts
 * the next one, or finishes: sync, rename under the digest. A drop while a job is under way only marks the upload; its
 * job's end frees it. */
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

enum { SPACE = ID_UUID, PATH = SPACE + 3 + 64 + 1 + ID_UUID }; /* "<space>/ab/<64 digits>.<id>" */

struct blobs {
    struct loop *loop;
    int folder, fresh; /* descriptors of the folder and of new/; -1: none */
    unsigned busy;
    void (*closed)(void *arg);
    void *arg;
    struct loop_task closing;
};

struct blob_upload {
    struct blobs *blobs;
    const struct blob_events *events;
    void *arg;
    struct ops ops;
    struct loop_task failing;
    struct crypto_sha256 hash;
    struct buf piece, next; /* under way; being filled */
    enum blob_keep keep;
    uint64_t limit, pieces;
    struct blob_ref made; /* size: what was taken so far */
    char wanted[BLOB_DIGEST], space[SPACE];
    int fd, error;
    bool busy;     /* a job is under way */
    bool handed;   /* on_piece's piece is not taken yet */
    bool waiting;  /* BLOB_WAIT was said */
    bool ending;   /* blob_upload_end was called */
    bool finished; /* the present job is the last */
    bool other;    /* it found another digest */
    bool kept;     /* the file has its name */
    bool dropped;
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

void blob_digest_write(const uint8_t sum[32], char out[BLOB_DIGEST])
{
    static const char hex[] = "0123456789abcdef";

    memcpy(out, "sha256:", 7);
    for (size_t i = 0; i < CRYPTO_HASH; i++) {
        out[7 + 2 * i] = hex[sum[i] >> 4];
        out[8 + 2 * i] = hex[sum[i] & 15];
    }
    out[BLOB_DIGEST - 1] = '\0';
}

static bool is_space(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!((name.p[i] >= '0' && name.p[i] <= '9') || (name.p[i] >= 'a' && name.p[i] <= 'z') || name.p[i] == '-'))
            return false;
    return name.n > 3 && name.n < SPACE; /* "new" is none */
}

/* False when it is the name of nothing. */
static bool blob_path(struct str space, const struct blob_ref *ref, char out[PATH])
{
    if (!is_space(space) || !blob_digest_valid(str_z(ref->digest)) || !is_space(str_z(ref->id)))
        return false;
    snprintf(out, PATH, STR_FMT "/%.2s/%.64s.%.36s", STR_ARG(space), ref->digest + 7, ref->digest + 7, ref->id);
    return true;
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

struct blobs *blobs_open_none(struct loop *loop)
{
    struct blobs *b = calloc(1, sizeof(*b));

    if (b != NULL)
        *b = (struct blobs){.loop = loop, .folder = -1, .fresh = -1};
    return b;
}

static void blobs_free(struct blobs *b)
{
    int error = errno;

    loop_undefer(&b->closing);
    if (b->folder >= 0)
        close(b->folder);
    if (b->fresh >= 0)
        close(b->fresh);
    free(b);
    errno = error;
}

struct blobs *blobs_open(struct loop *loop, const char *folder)
{
    struct blobs *b = blobs_open_none(loop);

    if (b == NULL)
        return NULL;
    b->folder = open_folder(AT_FDCWD, folder);
    if (b->folder >= 0)
        b->fresh = open_folder(b->folder, "new");
    if (b->fresh < 0) {
        blobs_free(b);
        return NULL;
    }
    clear_old(b);
    return b;
}

static void blobs_over(void *arg)
{
    struct blobs *b = arg;
    void (*closed)(void *arg) = b->closed;
    void *closed_arg = b->arg;

    blobs_free(b);
    closed(closed_arg);
}

/* One thing less is under way. */
static void rest(struct blobs *b)
{
    if (--b->busy == 0 && b->closed != NULL)
        loop_defer(b->loop, &b->closing, blobs_over, b);
}

void blobs_close(struct blobs *b, void (*closed)(void *arg), void *arg)
{
    b->closed = closed;
    b->arg = arg;
    b->busy++;
    rest(b);
}

/* ---- uploads -------------------------------------------------------------------------------------------------- */

static void upload_free(struct blob_upload *u)
{
    struct blobs *b = u->blobs;

    loop_undefer(&u->failing);
    if (u->fd >= 0)
        close(u->fd);
    if (u->fd >= 0 && !u->kept)
        unlinkat(b->fresh, u->made.id, 0);
    buf_free(&u->piece);
    buf_free(&u->next);
    free(u);
    rest(b);
}

static void upload_over(struct blob_upload *u, enum blob_result result)
{
    const struct blob_events *events = u->events;
    void *arg = u->arg;
    struct blob_ref made = u->made;

    upload_free(u);
    events->on_end(arg, result, &made);
}

static void upload_failed(void *arg)
{
    upload_over(arg, BLOB_FAILED);
}

struct blob_upload *blob_upload_start(struct blobs *b, const struct blob_wish *wish, const struct blob_events *events,
                                      void *arg)
{
    bool fine = is_space(wish->space) && (wish->digest.p == NULL || blob_digest_valid(wish->digest)) &&
                (wish->keep != BLOB_KEEP_FILE || b->folder >= 0);
    struct blob_upload *u = fine ? calloc(1, sizeof(*u)) : NULL;

    if (u == NULL)
        return NULL;
    *u = (struct blob_upload){
        .blobs = b, .events = events, .arg = arg, .keep = wish->keep, .limit = wish->limit, .fd = -1};
    ops_init(&u->ops);
    crypto_sha256_init(&u->hash);
    id_uuid(clock_wall_ms(), u->made.id);
    memcpy(u->space, wish->space.p, wish->space.n);
    if (wish->digest.p != NULL)
        memcpy(u->wanted, wish->digest.p, BLOB_DIGEST - 1);
    b->busy++;
    return u;
}

const char *blob_upload_id(const struct blob_upload *u)
{
    return u->made.id;
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

static bool sync_folder(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return fine;
}

/* A folder that was just made is in its parent for good only once that is synced, too. */
static bool make_folder(int at, const char *name, const char *parent)
{
    if (mkdirat(at, name, 0700) == 0)
        return sync_folder(at, parent);
    return errno == EEXIST;
}

/* The bytes first, then the name, then the folder that has the name. */
static bool publish(struct blob_upload *u)
{
    char path[PATH], parent[SPACE + 3];
    int at = u->blobs->folder;

    if (!blob_path(str_z(u->space), &u->made, path))
        return false;
    snprintf(parent, sizeof(parent), "%s/%.2s", u->space, u->made.digest + 7);
    if (!make_folder(at, u->space, ".") || !make_folder(at, parent, u->space))
        return false;
    u->kept = fsync(u->fd) == 0 && renameat(u->blobs->fresh, u->made.id, at, path) == 0;
    return u->kept && sync_folder(at, parent);
}

static bool keep_piece(struct blob_upload *u)
{
    if (u->keep != BLOB_KEEP_FILE)
        return true;
    if (u->fd < 0)
        u->fd = openat(u->blobs->fresh, u->made.id, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return u->fd >= 0 && write_all(u->fd, buf_view(&u->piece));
}

/* On the thread pool: the upload's piece, and the end when it is the last. While it runs the loop leaves these alone.
 */
static void upload_work(void *data)
{
    struct blob_upload *u = *(struct blob_upload **)data;
    uint8_t sum[CRYPTO_HASH];

    if (!keep_piece(u)) {
        u->error = errno != 0 ? errno : EIO;
        return;
    }
    crypto_sha256_add(&u->hash, u->piece.p, u->piece.n);
    if (!u->finished)
        return;
    crypto_sha256_end(&u->hash, sum);
    blob_digest_write(sum, u->made.digest);
    u->other = u->wanted[0] != '\0' && strcmp(u->wanted, u->made.digest) != 0;
    if (!u->other && u->keep == BLOB_KEEP_FILE && !publish(u))
        u->error = errno != 0 ? errno : EIO;
}

static void upload_go(struct blob_upload *u);

/* The present piece is done with. */
static void upload_next(struct blob_upload *u)
{
    bool waited = u->waiting;

    if (u->finished) {
        upload_over(u, BLOB_OK);
        return;
    }
    upload_go(u);
    u->waiting = false;
    if (waited)
        u->events->on_room(u->arg);
}

static void upload_done(void *arg, void *data)
{
    struct blob_upload *u = arg;

    (void)data;
    u->busy = false;
    if (u->dropped) {
        upload_free(u);
    } else if (u->error != 0) {
        upload_over(u, BLOB_FAILED);
    } else if (u->other) {
        upload_over(u, BLOB_OTHER);
    } else if (u->keep == BLOB_HAND_ON && u->piece.n > 0) {
        u->handed = true;
        u->events->on_piece(u->arg, u->pieces++, buf_view(&u->piece));
    } else {
        upload_next(u);
    }
}

void blob_upload_taken(struct blob_upload *u)
{
    must(u->handed);
    u->handed = false;
    upload_next(u);
}

static void upload_go(struct blob_upload *u)
{
    static const struct work_kind kind = {.run = upload_work};
    struct buf swap = u->piece;

    if (u->busy || u->handed || (u->next.n < BLOB_PIECE && !u->ending))
        return;
    u->piece = u->next;
    u->next = swap;
    buf_clear(&u->next);
    if (u->piece.n > BLOB_PIECE) { /* pieces are of one size, but the last */
        buf_add(&u->next, u->piece.p + BLOB_PIECE, u->piece.n - BLOB_PIECE);
        u->piece.n = BLOB_PIECE;
    }
    u->finished = u->ending && u->next.n == 0;
    if (!u->next.failed &&
        work_start(u->blobs->loop, &u->ops, &kind, &u, sizeof(struct blob_upload *), upload_done, u) == 0) {
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
    if (bytes.n > u->limit - u->made.size)
        return BLOB_TOO_LARGE;
    buf_str(&u->next, bytes);
    if (u->next.failed || u->error != 0)
        return BLOB_FAILED;
    u->made.size += bytes.n;
    upload_go(u);
    u->waiting = (u->busy || u->handed) && u->next.n >= BLOB_PIECE;
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
    char path[PATH];
    uint64_t offset;
    struct blob_read answer;
    char *bytes;
};

struct reader {
    struct op op;
    struct blobs *blobs;
    struct ops ops;
    void (*then)(void *arg, const struct blob_read *read);
    void (*scanned)(void *arg, const struct blob_found *found, size_t n);
    void *arg;
};

static struct reader *reader_new(struct blobs *b, void *arg)
{
    struct reader *x = calloc(1, sizeof(*x));

    if (x != NULL)
        *x = (struct reader){.blobs = b, .arg = arg};
    if (x != NULL)
        ops_init(&x->ops);
    return x;
}

static bool reader_start(struct reader *x, const struct work_kind *kind, const void *data, size_t n, struct ops *asker,
                         void (*done)(void *arg, void *data))
{
    if (work_start(x->blobs->loop, &x->ops, kind, data, n, done, x) != 0) {
        free(x);
        return false;
    }
    x->blobs->busy++;
    op_begin(&x->op, asker);
    return true;
}

/* Whether somebody still waits; the reader is gone, `out` is what is left of it. */
static bool reader_end(struct reader *x, struct reader *out)
{
    bool wanted = op_finish(&x->op);

    *out = *x;
    free(x);
    rest(out->blobs);
    return wanted;
}

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
    struct reader x;

    if (reader_end(arg, &x))
        x.then(x.arg, &((struct reading *)data)->answer);
}

bool blob_read_start(struct blobs *b, struct str space, const struct blob_ref *ref, uint64_t offset, struct ops *asker,
                     void (*then)(void *arg, const struct blob_read *read), void *arg)
{
    static const struct work_kind kind = {.run = read_work, .drop = read_drop};
    struct reading r = {.folder = b->folder, .offset = offset};
    struct reader *x = blob_path(space, ref, r.path) ? reader_new(b, arg) : NULL;

    if (x == NULL)
        return false;
    x->then = then;
    return reader_start(x, &kind, &r, sizeof(r), asker, read_done);
}

void blob_remove(struct blobs *b, struct str space, const struct blob_ref *ref)
{
    char path[PATH];

    if (b->folder >= 0 && blob_path(space, ref, path))
        unlinkat(b->folder, path, 0);
}

/* ---- looking through the folder -------------------------------------------------------------------------------- */

struct scan {
    int folder;
    unsigned part;
    int64_t before_s;
    size_t n, most;
    struct blob_found *found;
};

/* "<64 digits>.<id>" */
static bool scan_name(struct str name, struct str space, struct blob_found *out)
{
    struct str rest = name, digits = str_cut(&rest, '.');

    if (digits.n != 64 || rest.n == 0 || rest.n >= ID_UUID)
        return false;
    *out = (struct blob_found){0};
    memcpy(out->space, space.p, space.n);
    snprintf(out->ref.digest, BLOB_DIGEST, "sha256:%.64s", digits.p);
    memcpy(out->ref.id, rest.p, rest.n);
    return blob_digest_valid(str_z(out->ref.digest)) && is_space(rest);
}

static void scan_space(struct scan *s, const char *space)
{
    char path[SPACE + 3];
    struct dirent *entry;
    struct stat st;

    snprintf(path, sizeof(path), "%.36s/%02x", space, s->part);
    int at = openat(s->folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = at < 0 ? NULL : fdopendir(at);
    if (dir == NULL && at >= 0)
        close(at);
    while (dir != NULL && s->n < s->most && (entry = readdir(dir)) != NULL)
        if (fstatat(at, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            st.st_mtime <= s->before_s && scan_name(str_z(entry->d_name), str_z(space), &s->found[s->n]))
            s->n++;
    if (dir != NULL)
        closedir(dir);
}

static void scan_work(void *data)
{
    struct scan *s = data;
    struct dirent *entry;
    int at = openat(s->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = at < 0 ? NULL : fdopendir(at);

    if (dir == NULL && at >= 0)
        close(at);
    s->found = calloc(s->most, sizeof(*s->found));
    while (dir != NULL && s->found != NULL && (entry = readdir(dir)) != NULL)
        if (is_space(str_z(entry->d_name)))
            scan_space(s, entry->d_name);
    if (dir != NULL)
        closedir(dir);
}

static void scan_drop(void *data)
{
    free(((struct scan *)data)->found);
}

static void scan_done(void *arg, void *data)
{
    struct scan *s = data;
    struct reader x;

    if (reader_end(arg, &x))
        x.scanned(x.arg, s->found, s->n);
}

bool blob_scan_start(struct blobs *b, unsigned part, int64_t age_ms, size_t most, struct ops *asker,
                     void (*then)(void *arg, const struct blob_found *found, size_t n), void *arg)
{
    static const struct work_kind kind = {.run = scan_work, .drop = scan_drop};
    const struct scan s = {
        .folder = b->folder, .part = part, .before_s = (clock_wall_ms() - age_ms) / 1000, .most = most};
    struct reader *x = b->folder < 0 ? NULL : reader_new(b, arg);

    if (x == NULL)
        return false;
    x->scanned = then;
    return reader_start(x, &kind, &s, sizeof(s), asker, scan_done);
}

#include "server/agent/release.h"

#include "server/agent/file.h"

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
              c == '+' || c == '-'))
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
    place->busy = flock(place->lock, LOCK_EX | LOCK_NB) != 0;
    if (place->busy)
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

/* --- manifests --- */

#define MANIFEST  ".slipway-release.json"
#define SWITCHING ".slipway-switch.json"

static int open_release(int releases, const char *name)
{
    return openat(releases, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static const struct json *read_json(int dir, const char *name, struct arena *a)
{
    struct buf b = {0};
    const struct json *j = NULL;

    if (file_read(dir, name, &b) == 0)
        j = json_parse(a, arena_str(a, buf_view(&b)), NULL, NULL);
    buf_free(&b);
    return json_is(j, JSON_OBJECT) ? j : NULL;
}

static bool has_folder(int dir, struct str name)
{
    char z[RELEASE_NAME];
    struct stat st;

    if (!release_name_safe(name))
        return false;
    memcpy(z, name.p, name.n);
    z[name.n] = '\0';
    return fstatat(dir, z, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static const struct json *listed(const struct json *components, struct str name)
{
    for (size_t i = 0; i < json_count(components); i++)
        if (str_eq(json_str(json_get(json_at(components, i), "name")), name))
            return json_at(components, i);
    return NULL;
}

static enum release_state compare(int dir, const struct json *components, const struct release_part *parts, size_t n)
{
    enum release_state state = json_count(components) == n ? RELEASE_SAME : RELEASE_OTHER;

    if (!json_is(components, JSON_ARRAY))
        return RELEASE_DAMAGED;
    for (size_t i = 0; i < n && state == RELEASE_SAME; i++) {
        const struct json *there = listed(components, parts[i].name);
        if (there == NULL || !str_eq(json_str(json_get(there, "digest")), parts[i].digest))
            state = RELEASE_OTHER;
        else if (!has_folder(dir, parts[i].name))
            state = RELEASE_DAMAGED;
    }
    return state;
}

enum release_state release_compare(const struct release_place *place, const char *name,
                                   const struct release_part *parts, size_t n)
{
    struct arena a;

    if (!release_exists(place, name))
        return RELEASE_ABSENT;
    int dir = open_release(place->releases, name);
    if (dir < 0)
        return RELEASE_DAMAGED;
    arena_init(&a, 0);
    enum release_state state = compare(dir, json_get(read_json(dir, MANIFEST, &a), "components"), parts, n);
    arena_fini(&a);
    close(dir);
    return state;
}

/* --- making one --- */

#define FRESH ".new-"

static void fresh_name(const char *name, char out[RELEASE_NAME + sizeof FRESH])
{
    snprintf(out, RELEASE_NAME + sizeof FRESH, FRESH "%s", name);
}

bool release_begin(const struct release_place *place, const char *name, struct archive_fault *fault)
{
    char fresh[RELEASE_NAME + sizeof FRESH];

    if (!release_name_safe(str_z(name)))
        return refuse(fault, "'%.100s' is no name for a release's folder", name);
    fresh_name(name, fresh);
    if (!remove_release(place, fresh, fault))
        return false;
    return mkdirat(place->releases, fresh, 0755) == 0 || refuse_errno(fault, "make", fresh);
}

bool release_add(const struct release_place *place, const char *name, struct str component, int fd,
                 const struct archive_limits *limits, struct archive_fault *fault)
{
    char fresh[RELEASE_NAME + sizeof FRESH], path[sizeof(place->path) + 2 * RELEASE_NAME + 32];

    if (!release_name_safe(component))
        return refuse(fault, "'%.*s' is no name for a component's folder", (int)(component.n < 100 ? component.n : 100),
                      component.p);
    fresh_name(name, fresh);
    snprintf(path, sizeof(path), "%s/releases/%s/" STR_FMT, place->path, fresh, STR_ARG(component));
    if (lseek(fd, 0, SEEK_SET) != 0)
        return refuse_errno(fault, "read", "the artifact");
    if (mkdir(path, 0755) != 0)
        return refuse_errno(fault, "make", path);
    return archive_unpack(fd, path, limits, fault);
}

void release_drop(const struct release_place *place, const char *name)
{
    char fresh[RELEASE_NAME + sizeof FRESH];
    struct archive_fault ignored;

    fresh_name(name, fresh);
    remove_release(place, fresh, &ignored);
}

static void write_manifest(struct buf *b, const char *name, struct str id, const struct release_part *parts, size_t n)
{
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("components"));
    json_open(&o, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(&o, '{');
        json_key(&o, S("digest"));
        json_put_str(&o, parts[i].digest);
        json_key(&o, S("name"));
        json_put_str(&o, parts[i].name);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    json_key(&o, S("id"));
    json_put_str(&o, id);
    json_key(&o, S("name"));
    json_put_z(&o, name);
    json_close(&o, '}');
}

static bool put_file(int dir, const char *name, struct buf *b, struct archive_fault *fault)
{
    errno = b->failed ? ENOMEM : file_replace(dir, name, buf_view(b), true);
    buf_free(b);
    return errno == 0 || refuse_errno(fault, "write", name);
}

/* A folder cannot be renamed over another one that is not empty; the two change places instead, and the old one goes. */
static bool give_name(const struct release_place *place, const char *fresh, const char *name,
                      struct archive_fault *fault)
{
    if (renameat2(place->releases, fresh, place->releases, name, RENAME_NOREPLACE) == 0)
        return fsync(place->releases) == 0 || refuse_errno(fault, "sync", "releases");
    if (errno != EEXIST || renameat2(place->releases, fresh, place->releases, name, RENAME_EXCHANGE) != 0 ||
        fsync(place->releases) != 0)
        return refuse_errno(fault, "rename", fresh);
    return remove_release(place, fresh, fault);
}

bool release_finish(const struct release_place *place, const char *name, struct str id,
                    const struct release_part *parts, size_t n, struct archive_fault *fault)
{
    char fresh[RELEASE_NAME + sizeof FRESH];
    struct buf b = {0};

    fresh_name(name, fresh);
    int dir = open_release(place->releases, fresh);
    if (dir < 0)
        return refuse_errno(fault, "open", fresh);
    write_manifest(&b, name, id, parts, n);
    bool fine = put_file(dir, MANIFEST, &b, fault);
    close(dir);
    return fine && give_name(place, fresh, name, fault);
}

/* --- the link --- */

static bool read_link(int root, const char *path, char name[RELEASE_NAME], struct archive_fault *fault)
{
    char to[1024];
    ssize_t n = readlinkat(root, "current", to, sizeof(to));

    name[0] = '\0';
    if (n < 0)
        return errno == ENOENT || refuse(fault, "%s/current is no link of ours", path);
    struct str link = {to, (size_t)n};
    struct str prefix = S("releases/");
    if (!str_starts(link, prefix) || !release_name_safe(str_slice(link, prefix.n, link.n)))
        return refuse(fault, "%s/current points to " STR_FMT ", which is no release", path, STR_ARG(link));
    memcpy(name, to + prefix.n, link.n - prefix.n);
    name[link.n - prefix.n] = '\0';
    return true;
}

bool release_current(const struct release_place *place, char name[RELEASE_NAME], struct archive_fault *fault)
{
    return read_link(place->root, place->path, name, fault);
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

/* --- pruning --- */

/* The oldest release that may go, and how many there are beside the current one. */
static bool oldest_release(const struct release_place *place, const char *current, const char *spared,
                           char oldest[RELEASE_NAME], unsigned *count, struct archive_fault *fault)
{
    int at = openat(place->releases, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = at < 0 ? NULL : fdopendir(at);
    struct timespec age = {0};
    struct dirent *entry;
    struct stat st;

    *count = 0;
    oldest[0] = '\0';
    if (dir == NULL)
        return refuse_errno(fault, "read", "releases");
    while ((entry = readdir(dir)) != NULL) {
        if (!release_name_safe(str_z(entry->d_name)) || strcmp(entry->d_name, current) == 0 ||
            fstatat(place->releases, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
            continue;
        bool older =
            st.st_ctim.tv_sec < age.tv_sec || (st.st_ctim.tv_sec == age.tv_sec && st.st_ctim.tv_nsec < age.tv_nsec);
        (*count)++;
        if (strcmp(entry->d_name, spared) != 0 && (oldest[0] == '\0' || older)) {
            age = st.st_ctim;
            memcpy(oldest, entry->d_name, strlen(entry->d_name) + 1);
        }
    }
    closedir(dir);
    return true;
}

bool release_prune(const struct release_place *place, unsigned keep, const char *spared, struct archive_fault *fault)
{
    char current[RELEASE_NAME], oldest[RELEASE_NAME];
    unsigned count;

    if (!release_current(place, current, fault))
        return false;
    while (oldest_release(place, current, keep > 0 ? spared : "", oldest, &count, fault)) {
        if (count <= keep || oldest[0] == '\0')
            return true;
        if (!remove_release(place, oldest, fault))
            return false;
    }
    return false;
}

/* --- the sticker --- */

/* Others than the agent read it, so it is not file_replace's private kind of file. */
static bool write_public(const struct release_place *place, struct str text)
{
    int out = openat(place->root, ".version.json.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    bool fine = out >= 0;

    for (size_t done = 0; fine && done < text.n;) {
        ssize_t n = write(out, text.p + done, text.n - done);
        fine = n >= 0;
        done += fine ? (size_t)n : 0;
    }
    fine = fine && fchmod(out, 0644) == 0 && fsync(out) == 0;
    if (out >= 0)
        close(out);
    return fine && renameat(place->root, ".version.json.new", place->root, "version.json") == 0;
}

bool release_write_sticker(const struct release_place *place, struct str text, struct archive_fault *fault)
{
    bool fine =
        text.p == NULL ? unlinkat(place->root, "version.json", 0) == 0 || errno == ENOENT : write_public(place, text);
    return (fine && fsync(place->root) == 0) || refuse_errno(fault, "write", "version.json");
}

bool release_read_sticker(const char *root, struct buf *out, struct archive_fault *fault)
{
    char path[1100];

    snprintf(path, sizeof(path), "%s/version.json", root);
    int in = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT || errno == ENOTDIR || refuse_errno(fault, "read", path);
    size_t before = out->n;
    ssize_t n = 0;
    if (buf_reserve(out, RELEASE_STICKER + 1)) {
        n = read(in, out->p + out->n, RELEASE_STICKER + 1);
        out->n += n > 0 ? (size_t)n : 0;
    }
    close(in);
    if (n < 0 || out->failed)
        return refuse(fault, "cannot read %s", path);
    if (out->n - before > RELEASE_STICKER)
        return refuse(fault, "%s is larger than %d bytes", path, RELEASE_STICKER);
    return true;
}

/* --- a switch under way --- */

bool release_put_switching(const struct release_place *place, const struct release_switching *s,
                           struct archive_fault *fault)
{
    struct buf b = {0};
    struct json_out o;

    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("from"));
    json_put_z(&o, s->from);
    if (s->sticker.p != NULL) {
        json_key(&o, S("sticker"));
        json_put_str(&o, s->sticker);
    }
    json_key(&o, S("to"));
    json_put_z(&o, s->to);
    json_close(&o, '}');
    return put_file(place->root, SWITCHING, &b, fault);
}

static bool take_name(const struct json *j, const char *member, char out[RELEASE_NAME])
{
    struct str name = json_str(json_get(j, member));

    if (name.p == NULL || (name.n > 0 && !release_name_safe(name)))
        return false;
    memcpy(out, name.p, name.n);
    out[name.n] = '\0';
    return true;
}

bool release_get_switching(const struct release_place *place, struct arena *a, struct release_switching *out,
                           struct archive_fault *fault)
{
    struct stat st;

    fault->text[0] = '\0';
    if (fstatat(place->root, SWITCHING, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno != ENOENT && refuse_errno(fault, "read", SWITCHING);
    const struct json *j = read_json(place->root, SWITCHING, a);
    *out = (struct release_switching){.sticker = json_str(json_get(j, "sticker"))};
    if (!take_name(j, "from", out->from) || !take_name(j, "to", out->to))
        return refuse(fault, "%s/" SWITCHING " cannot be read", place->path);
    return true;
}

bool release_end_switching(const struct release_place *place, struct archive_fault *fault)
{
    if ((unlinkat(place->root, SWITCHING, 0) != 0 && errno != ENOENT) || fsync(place->root) != 0)
        return refuse_errno(fault, "remove", SWITCHING);
    return true;
}

bool release_undo_switching(const struct release_place *place, const struct release_switching *s,
                            struct archive_fault *fault)
{
    bool fine = s->from[0] != '\0' ? release_switch(place, s->from, fault) : release_clear(place, fault);

    return fine && release_write_sticker(place, s->sticker, fault) && release_end_switching(place, fault);
}

/* --- what is there --- */

static void put_part(struct json_out *o, struct str digest, struct str name)
{
    json_open(o, '{');
    json_key(o, S("digest"));
    if (digest.p != NULL)
        json_put_str(o, digest);
    else
        json_put_null(o);
    json_key(o, S("name"));
    json_put_str(o, name);
    json_close(o, '}');
}

static void put_parts(struct json_out *o, int dir)
{
    struct arena a;
    int at = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = at < 0 ? NULL : fdopendir(at);
    struct dirent *entry;

    arena_init(&a, 0);
    const struct json *components = json_get(read_json(dir, MANIFEST, &a), "components");
    for (size_t i = 0; i < json_count(components); i++) {
        const struct json *c = json_at(components, i);
        if (has_folder(dir, json_str(json_get(c, "name"))))
            put_part(o, json_str(json_get(c, "digest")), json_str(json_get(c, "name")));
    }
    while (entries != NULL && (entry = readdir(entries)) != NULL)
        if (has_folder(dir, str_z(entry->d_name)) && listed(components, str_z(entry->d_name)) == NULL)
            put_part(o, STR_NONE, str_z(entry->d_name));
    if (entries != NULL)
        closedir(entries);
    else if (at >= 0)
        close(at);
    arena_fini(&a);
}

bool release_observe(const char *root, struct json_out *o, struct archive_fault *fault)
{
    char path[1024 + 16 + RELEASE_NAME], name[RELEASE_NAME] = "";
    int at = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = at < 0 ? errno == ENOENT || refuse_errno(fault, "open", root) : read_link(at, root, name, fault);

    if (at >= 0)
        close(at);
    if (!fine)
        return false;
    snprintf(path, sizeof(path), "%s/releases/%s", root, name);
    int dir = name[0] != '\0' ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    json_key(o, S("components"));
    json_open(o, '[');
    if (dir >= 0) {
        put_parts(o, dir);
        close(dir);
    }
    json_close(o, ']');
    json_key(o, S("current"));
    json_put_z(o, dir >= 0 ? name : NULL);
    return true;
}

/* `slipway restore`: a backup into a store that holds nothing yet.
 *
 * A redis-server of our own reads redis.rdb, and its keys are copied one by one, so it does not matter whether they go to
 * an embedded Redis or to yours. What went on after the backup is another history: each partition's epoch is raised, so
 * that clients of streams start over, and each lease's fence is moved out of reach of whoever held it then. */
#include "server/backup/folder.h"
#include "server/commands.h"

#include "lib/process.h"
#include "lib/timer.h"
#include "server/audit.h"
#include "server/blob_store.h"
#include "server/settings.h"
#include "server/store/store.h"
#include "server/command/tool.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LANES = 8, SCAN_COUNT = 500, CALL_MS = 120000, SHOW_EVERY = 1000, CONNECT_MS = 60000 };
static const size_t value_bytes = (size_t)1 << 40; /* Redis itself bounds values */
#define FENCE_STEP "4294967296"                    /* 2^32: more than any lease has been taken since the backup */

struct options {
    const char *from;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"from", CONFIG_PATH, AT(from), "", .flags = CONFIG_LOCAL, .arg = "FOLDER",
     .doc = "The backup: a folder that `slipway backup` made."},
    {0},
};
// clang-format on

static const char summary[] =
    "Brings a backup back. The store it goes to, DATA with the embedded Redis or yours by --redis, must hold nothing "
    "yet, "
    "and no server may run on it. Streams of clients start over, and work that was under way goes on from where it was "
    "at the backup.";

/* Copies one key after another. */
struct lane {
    struct restore *restore;
    struct str key, dump, ttl; /* in the arena, which is emptied for each key */
    struct arena arena;
};

struct restore {
    struct settings settings;
    struct options options;
    struct backup_manifest manifest;
    struct tool *tool;
    char folder[PATH_MAX], nest[64], socket[96]; /* of the redis-server that reads the backup */
    struct process process;
    struct redis *source, *target;
    struct timer patience;
    struct ops ops;
    struct arena names; /* of the keys of one page */
    struct str *keys;
    size_t count, next;
    struct str cursor;
    struct lane lanes[LANES];
    unsigned busy;
    int64_t copied, foreign, leases, partitions, total;
    bool source_ready, target_ready, scanning, ending, exited;
    unsigned open; /* parts that will tell when they are closed */
    char why[BACKUP_WHY];
};

/* --- the end: everything is closed, whatever happened --- */

static void part_closed(void *arg)
{
    struct restore *r = arg;
    if (--r->open > 0)
        return;
    for (size_t i = 0; i < LANES; i++)
        arena_fini(&r->lanes[i].arena);
    arena_fini(&r->names);
    backup_remove(r->nest);
    tool_end(r->tool, r->why[0] == '\0' ? 0 : 1);
}

static void end(struct restore *r)
{
    if (r->ending)
        return;
    r->ending = true;
    timer_stop(&r->patience);
    ops_detach(&r->ops);
    r->open = 1 + (r->target != NULL) + (r->source != NULL) + 1;
    if (r->target != NULL)
        redis_close(r->target, part_closed, r);
    if (r->source != NULL)
        redis_close(r->source, part_closed, r);
    if (!r->exited) /* it has nothing to save */
        process_signal(&r->process, SIGKILL);
    process_close(&r->process, part_closed, r);
    part_closed(r);
}

static void fail(struct restore *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct restore *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (r->why[0] == '\0')
        vsnprintf(r->why, BACKUP_WHY, fmt, ap);
    va_end(ap);
    end(r);
}

/* --- keys --- */

static void scan(struct restore *r);
static void lane_next(struct lane *l);

/* True when the reply is fine; else the restore has failed. */
static bool fine(struct restore *r, const char *what, enum redis_error e, const struct redis_value *v)
{
    if (r->ending)
        return false;
    if (e == REDIS_OK)
        return true;
    fail(r, "%s: " STR_FMT " (%s)", what, STR_ARG(v != NULL ? v->text : S("no answer")), redis_error_name(e));
    return false;
}

static void call(struct lane *l, struct redis *redis, size_t argc, const struct str *argv, redis_then *then)
{
    struct restore *r = l->restore;
    enum redis_error e = redis_call(redis, &r->ops, argc, argv, then, l);
    if (e != REDIS_OK)
        fail(r, "Redis cannot be asked (%s)", redis_error_name(e));
}

static void done(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct lane *l = arg;
    struct restore *r = l->restore;
    if (!fine(r, "a key cannot be written", e, v))
        return;
    r->copied++;
    if (isatty(STDERR_FILENO) && r->copied % SHOW_EVERY == 0)
        fprintf(stderr, "\r%lld of %lld keys", (long long)r->copied, (long long)r->total);
    lane_next(l);
}

static void on_epoch(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct lane *l = arg;
    struct restore *r = l->restore;
    if (!fine(r, "an epoch cannot be read", e, v))
        return;
    int64_t now = store_now_ms(r->tool->store), epoch = redis_int(v, 0) + 1;
    r->partitions++;
    call(l, r->target, 4,
         (struct str[]){S("HSET"), l->key, S("epoch"), arena_int(&l->arena, now > epoch ? now : epoch)}, done);
}

static void on_freed(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct lane *l = arg;
    if (!fine(l->restore, "a lease cannot be freed", e, v))
        return;
    l->restore->leases++;
    call(l, l->restore->target, 4, (struct str[]){S("HINCRBY"), l->key, S("token"), S(FENCE_STEP)}, done);
}

/* What follows the partition's tag in the name of a key. */
static struct str behind_tag(struct str key)
{
    return key.n > 6 ? str_slice(key, 6, key.n) : STR_NONE;
}

static void restored(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct lane *l = arg;
    struct restore *r = l->restore;
    if (!fine(r, "a key cannot be written", e, v))
        return;
    struct str what = behind_tag(l->key);
    if (str_eqz(what, "meta"))
        call(l, r->target, 3, (struct str[]){S("HGET"), l->key, S("epoch")}, on_epoch);
    else if (str_starts(what, S("le:")))
        call(l, r->target, 4, (struct str[]){S("HSET"), l->key, S("until"), S("0")}, on_freed);
    else
        done(l, REDIS_OK, NULL);
}

static void on_ttl(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct lane *l = arg;
    struct restore *r = l->restore;
    if (!fine(r, "a key cannot be read", e, v))
        return;
    int64_t at = redis_int(v, -2);
    if (l->dump.p == NULL || at == -2) { /* expired meanwhile */
        lane_next(l);
        return;
    }
    struct str ttl = arena_int(&l->arena, at < 0 ? 0 : at);
    call(l, r->target, 5, (struct str[]){S("RESTORE"), l->key, ttl, l->dump, S("ABSTTL")}, restored);
}

static void on_dump(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct lane *l = arg;
    if (fine(l->restore, "a key cannot be read", e, v))
        l->dump = redis_is_nil(v) ? STR_NONE : arena_str(&l->arena, redis_text(v));
}

static void lane_next(struct lane *l)
{
    struct restore *r = l->restore;
    if (r->ending)
        return;
    arena_reset(&l->arena);
    if (r->next == r->count) {
        r->busy--;
        if (r->busy == 0)
            scan(r);
        return;
    }
    l->key = r->keys[r->next++];
    call(l, r->source, 2, (struct str[]){S("DUMP"), l->key}, on_dump);
    if (!r->ending)
        call(l, r->source, 2, (struct str[]){S("PEXPIRETIME"), l->key}, on_ttl);
}

/* All our names begin with a partition's tag; what else was in that Redis is somebody else's. */
static bool is_ours(struct str key)
{
    return key.n > 6 && str_starts(key, S("{p")) && key.p[4] == '}' && key.p[5] == ':';
}

static void on_page(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct restore *r = arg;
    if (!fine(r, "the backup cannot be read", e, v))
        return;
    const struct redis_value *page = redis_at(v, 1);
    arena_reset(&r->names);
    r->cursor = arena_str(&r->names, redis_text(redis_at(v, 0)));
    r->keys = arena_array(&r->names, page->count + 1, sizeof *r->keys);
    r->count = r->next = 0;
    for (size_t i = 0; r->keys != NULL && i < page->count; i++) {
        struct str key = redis_text(redis_at(page, i));
        if (is_ours(key))
            r->keys[r->count++] = arena_str(&r->names, key);
        else
            r->foreign++;
    }
    if (r->keys == NULL || r->cursor.p == NULL) {
        fail(r, "out of memory");
        return;
    }
    r->busy = LANES;
    for (size_t i = 0; i < LANES; i++)
        lane_next(&r->lanes[i]);
}

static void noted(void *arg, enum code c)
{
    struct restore *r = arg;
    if (c != OK)
        fail(r, "the audit trail cannot be written: %s", code_text(c));
    else
        end(r);
}

static void complete(struct restore *r)
{
    struct str metadata = arena_printf(&r->tool->arena, "{\"backupCreatedAt\":\"%s\",\"keys\":%lld}", r->manifest.made,
                                       (long long)r->copied);
    enum code c = tool_audit(r->tool, "slipway restore",
                             &(struct audit_entry){.action = "data.restored", .resource = "data", .metadata = metadata},
                             noted, r);
    if (c != OK)
        noted(r, c);
}

static void scan(struct restore *r)
{
    char count[16];
    snprintf(count, sizeof count, "%d", SCAN_COUNT);
    if (r->scanning && str_eqz(r->cursor, "0")) {
        complete(r);
        return;
    }
    struct str cursor = r->scanning ? r->cursor : S("0");
    r->scanning = true;
    enum redis_error e =
        redis_call(r->source, &r->ops, 4, (struct str[]){S("SCAN"), cursor, S("COUNT"), str_z(count)}, on_page, r);
    if (e != REDIS_OK)
        fail(r, "Redis cannot be asked (%s)", redis_error_name(e));
}

/* --- both ends --- */

static void on_total(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct restore *r = arg;
    if (!fine(r, "the backup cannot be read", e, v))
        return;
    r->total = redis_int(v, 0);
    scan(r);
}

static void begin_when_ready(struct restore *r)
{
    if (r->ending || r->scanning || !r->source_ready || !r->target_ready)
        return;
    timer_stop(&r->patience);
    enum redis_error e = redis_call(r->source, &r->ops, 1, (struct str[]){S("DBSIZE")}, on_total, r);
    if (e != REDIS_OK)
        fail(r, "Redis cannot be asked (%s)", redis_error_name(e));
}

static void on_source(void *arg)
{
    struct restore *r = arg;
    r->source_ready = true;
    begin_when_ready(r);
}

static void on_target(void *arg)
{
    struct restore *r = arg;
    r->target_ready = true;
    begin_when_ready(r);
}

/* Until it has read the file it says so, and is asked again. */
static void on_source_down(void *arg, enum redis_error e, const char *what)
{
    (void)arg;
    (void)e;
    (void)what;
}

static void on_target_down(void *arg, enum redis_error e, const char *what)
{
    fail(arg, "the connection to Redis is lost: %s (%s)", what, redis_error_name(e));
}

static void out_of_patience(void *arg)
{
    fail(arg, "the backup is not read in time; is redis.rdb larger than the memory?");
}

static void on_exit_(struct process *p, int status, int signal)
{
    struct restore *r = p->data;
    r->exited = true;
    if (signal != 0)
        fail(r, "the redis-server that reads the backup was ended by signal %d", signal);
    else
        fail(r,
             "the redis-server that reads the backup ends with status %d; it needs to be as new as the one that wrote "
             "it",
             status);
}

static int start_reader(struct restore *r)
{
    static const struct process_events events = {.on_exit = on_exit_};
    const char *const argv[] = {"redis-server",     "--port", "0",         "--unixsocket", r->socket,
                                "--unixsocketperm", "700",    "--dir",     r->folder,      "--dbfilename",
                                "redis.rdb",        "--save", "",          "--appendonly", "no",
                                "--daemonize",      "no",     "--logfile", "/dev/null",    NULL};
    const struct process_spec spec = {.file = argv[0], .argv = argv, .session = true};
    int error = process_open(&r->process, r->tool->loop, &spec, &events);
    r->process.data = r;
    return error;
}

static void copy_keys(struct tool *t, void *arg)
{
    static const struct redis_events source = {.on_ready = on_source, .on_down = on_source_down},
                                     target = {.on_ready = on_target, .on_down = on_target_down};
    const struct redis_limits limits = {
        .call_ms = CALL_MS, .ping_ms = CALL_MS, .queue = value_bytes, .command = value_bytes, .reply = value_bytes};
    struct restore *r = arg;
    struct redis_target from;
    const char *why = NULL;
    r->tool = t;
    ops_init(&r->ops);
    arena_init(&r->names, 0);
    for (size_t i = 0; i < LANES; i++) {
        r->lanes[i].restore = r;
        arena_init(&r->lanes[i].arena, 0);
    }
    int error = start_reader(r);
    r->exited = error != 0;
    if (!redis_target_parse(str_z(r->socket), &from, &why) || error != 0) {
        fail(r, "%s",
             error == -ENOENT ? "there is no program redis-server: install Debian's package redis-server"
                              : "the backup cannot be read");
        return;
    }
    from.db = (unsigned)r->manifest.db;
    r->source = redis_open(t->loop, &from, &limits, &source, r);
    r->target = redis_open(t->loop, store_target(t->store), &limits, &target, r);
    timer_start(&r->patience, t->loop, CONNECT_MS + r->manifest.bytes / 1000, out_of_patience, r);
    if (r->source == NULL || r->target == NULL)
        fail(r, "out of memory");
}

/* --- before anything is touched --- */

static void on_size(void *arg, enum code c, const struct redis_value *v)
{
    struct restore *r = arg;
    int64_t there = redis_int(v, 0);
    if (c != OK)
        backup_fault(r->why, "the store cannot be asked: %s", code_text(c));
    else if (there > 0)
        backup_fault(r->why, "the store is not empty (%lld keys): restore into a new data folder, or an empty Redis",
                     (long long)there);
    tool_end(r->tool, r->why[0] == '\0' ? 0 : 1);
}

static void check_empty(struct tool *t, void *arg)
{
    struct restore *r = arg;
    const struct store_command size = STORE_COMMAND(S("DBSIZE"));
    r->tool = t;
    enum code c = store_read(t->store, &size, 1, &t->ops, on_size, r);
    if (c != OK)
        on_size(r, c, NULL);
}

static bool check_backup(struct restore *r)
{
    char path[PATH_MAX + 16], digest[BLOB_DIGEST];
    int64_t bytes;
    if (realpath(r->options.from, r->folder) == NULL)
        return backup_fault(r->why, "%s: %s", r->options.from, strerror(errno));
    if (!backup_manifest_read(r->folder, &r->settings.config.arena, &r->manifest, r->why))
        return false;
    snprintf(path, sizeof path, "%s/redis.rdb", r->folder);
    if (!backup_digest(path, digest, &bytes, r->why))
        return false;
    if (strcmp(digest, r->manifest.digest) != 0)
        return backup_fault(r->why, "%s: damaged: its digest is %s, not %s", path, digest, r->manifest.digest);
    if (r->manifest.blob_files != (blob_folder(&r->settings, &r->settings.config.arena) != NULL))
        return backup_fault(r->why, r->manifest.blob_files
                                        ? "the backup's blobs are files: name a folder for them by --blobs DIR"
                                        : "the backup's blobs are in Redis: restore it with --blobs redis");
    return true;
}

static bool bring_keyring(struct restore *r)
{
    char from[PATH_MAX + 16], to[PATH_MAX];
    snprintf(from, sizeof from, "%s/keyring", r->folder);
    if (!settings_keyring_path(&r->settings, to) || access(to, F_OK) == 0)
        return true; /* the server refuses one that does not fit */
    if (!r->manifest.keyring)
        return backup_fault(r->why, "the backup has no keyring: put the one that it was made with to %s first", to);
    if (mkdir(r->settings.data, 0700) != 0 && errno != EEXIST)
        return backup_fault(r->why, "%s: %s", r->settings.data, strerror(errno));
    return backup_copy_file(from, to, r->why);
}

static bool bring_blobs(struct restore *r)
{
    struct backup_copied copied = {0};
    char from[PATH_MAX + 16];
    snprintf(from, sizeof from, "%s/blobs", r->folder);
    if (r->manifest.blob_files &&
        !backup_copy_blobs(from, blob_folder(&r->settings, &r->settings.config.arena), &copied, r->why))
        return false;
    if (copied.damaged > 0)
        return backup_fault(r->why, "%lld blobs of the backup are damaged, for one %s", (long long)copied.damaged,
                            copied.example);
    return copied.files == r->manifest.blobs ||
           backup_fault(r->why, "the backup has lost blobs: it says %lld, and has %lld", (long long)r->manifest.blobs,
                        (long long)copied.files);
}

static bool make_nest(struct restore *r)
{
    snprintf(r->nest, sizeof r->nest, "/tmp/slipway-restore-XXXXXX");
    if (mkdtemp(r->nest) == NULL)
        return backup_fault(r->why, "%s: %s", r->nest, strerror(errno));
    snprintf(r->socket, sizeof r->socket, "%s/redis.sock", r->nest);
    return true;
}

static void print(const struct restore *r)
{
    if (isatty(STDERR_FILENO) && r->copied >= SHOW_EVERY)
        fputc('\n', stderr);
    printf(
        "restored the backup of %s: %lld keys, %lld blobs; %lld partitions begin a new epoch, %lld leases are fenced\n",
        r->manifest.made, (long long)r->copied, (long long)r->manifest.blobs, (long long)r->partitions,
        (long long)r->leases);
    if (r->foreign > 0)
        printf("%lld keys that are not Slipway's were left out\n", (long long)r->foreign);
}

static int run(struct restore *r)
{
    if (r->options.from[0] == '\0')
        return config_usage(&r->settings.config, "--from names the backup");
    bool done = check_backup(r) && bring_keyring(r) && settings_open_keyring(&r->settings, false) &&
                tool_run(&r->settings, "restore", check_empty, r) == 0 && bring_blobs(r) && make_nest(r) &&
                tool_run(&r->settings, "restore", copy_keys, r) == 0;
    if (done)
        print(r);
    else if (r->why[0] != '\0')
        fprintf(stderr, "slipway restore: %s\n", r->why);
    return done ? 0 : 1;
}

int restore_main(int argc, char **argv)
{
    struct restore *r = calloc(1, sizeof *r);
    if (r == NULL)
        return 1;
    int status = settings_read(&r->settings, "restore", summary, rows, &r->options, argc, argv);
    if (status == CONFIG_READ)
        status = run(r);
    settings_fini(&r->settings);
    free(r);
    return status;
}

/* `slipway backup`: one instant of Redis, taken as a replica would, and the blobs it refers to. */
#include "server/backup/folder.h"
#include "server/commands.h"

#include "lib/process.h"
#include "server/audit.h"
#include "server/blob_store.h"
#include "server/settings.h"
#include "server/store/store.h"
#include "server/command/tool.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAID = 1024 };

struct options {
    const char *to;
    bool with_keyring;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"to", CONFIG_PATH, AT(to), "", .flags = CONFIG_LOCAL, .arg = "FOLDER",
     .doc = "The folder to make. It must not be there yet: it appears, whole, once everything is on the disk."},
    {"with-keyring", CONFIG_BOOL, AT(with_keyring), "false", .flags = CONFIG_LOCAL,
     .doc = "Put the keyring into the backup, too. Whoever has the folder can then read every secret; without it, keep the keyring somewhere else: "
            "nothing can be read without it."},
    {0},
};
// clang-format on

static const char summary[] =
    "Copies everything that is kept to a folder: one instant of Redis, and the artifacts where they are files. Servers "
    "may run meanwhile; everything they had acknowledged before is in it. `slipway restore` brings it back.";

struct backup {
    struct settings settings;
    struct options options;
    struct backup_manifest manifest;
    char folder[PATH_MAX], rdb[PATH_MAX + 16], blobs[PATH_MAX + 16]; /* of the backup being made */
    struct tool *tool;
    struct process process; /* redis-cli */
    char said[SAID];        /* the end of what it said */
    size_t said_bytes;
    int status, signal;
    char why[BACKUP_WHY];
};

/* Leaves the reason in b->why and answers what to exit with. */
static int failed(struct backup *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int failed(struct backup *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->why, BACKUP_WHY, fmt, ap);
    va_end(ap);
    return 1;
}

/* --- Redis --- */

static void on_output(struct process *p, int fd, struct str bytes)
{
    struct backup *b = p->data;
    (void)fd;
    if (bytes.n >= SAID)
        bytes = str_slice(bytes, bytes.n - SAID + 1, bytes.n);
    if (b->said_bytes + bytes.n >= SAID)
        b->said_bytes = 0;
    if (bytes.n > 0)
        memcpy(b->said + b->said_bytes, bytes.p, bytes.n);
    b->said_bytes += bytes.n;
    b->said[b->said_bytes] = '\0';
}

static void closed(void *arg)
{
    struct backup *b = arg;
    int status = b->status == 0 ? 0
                 : b->status == -ENOENT
                     ? failed(b, "there is no program redis-cli: install Debian's package redis-tools")
                     : failed(b, "redis-cli --rdb ends with status %d: %s", b->status, b->said);
    tool_end(b->tool, status);
}

static void on_exit_(struct process *p, int status, int signal)
{
    struct backup *b = p->data;
    b->status = signal != 0 ? 128 + signal : status;
    process_close(p, closed, b);
}

/* The password goes through the environment, where only our own user can see it. */
static void dump(struct backup *b)
{
    static const struct process_events events = {on_output, on_exit_};
    const struct redis_target *t = store_target(b->tool->store);
    const char *argv[16] = {"redis-cli", "--no-auth-warning", "--rdb", b->rdb};
    char port[8];
    size_t n = 4;
    snprintf(port, sizeof port, "%u", t->address.port);
    if (t->address.path[0] != '\0') {
        argv[n++] = "-s";
        argv[n++] = t->address.path;
    } else {
        argv[n++] = "-h";
        argv[n++] = t->address.host;
        argv[n++] = "-p";
        argv[n++] = port;
    }
    if (t->user[0] != '\0') {
        argv[n++] = "--user";
        argv[n++] = t->user;
    }
    if (t->password[0] != '\0')
        setenv("REDISCLI_AUTH", t->password, 1);
    const struct process_spec spec = {.file = argv[0], .argv = argv, .io = {PROCESS_NULL, PROCESS_PIPE, PROCESS_PIPE}};
    b->manifest.db = t->db;
    int error = process_open(&b->process, b->tool->loop, &spec, &events);
    b->process.data = b;
    if (error != 0) {
        b->status = error;
        process_close(&b->process, closed, b);
    }
}

static void noted(void *arg, enum code c)
{
    struct backup *b = arg;
    if (c == OK)
        dump(b);
    else
        tool_end(b->tool, failed(b, "the audit trail cannot be written: %s", code_text(c)));
}

static void act(struct tool *t, void *arg)
{
    struct backup *b = arg;
    b->tool = t;
    enum code c = tool_audit(t, "slipway backup", &(struct audit_entry){.action = "data.backed_up", .resource = "data"},
                             noted, b);
    if (c != OK)
        noted(b, c);
}

/* --- the rest --- */

static bool copy_blobs(struct backup *b)
{
    struct backup_copied copied = {0};
    const char *from = blob_folder(&b->settings, &b->settings.config.arena);
    b->manifest.blob_files = from != NULL;
    if (from == NULL)
        return true;
    if (!backup_copy_blobs(from, b->blobs, &copied, b->why))
        return false;
    b->manifest.blobs += copied.files;
    b->manifest.blob_bytes += copied.bytes;
    return copied.damaged == 0 || backup_fault(b->why, "%lld blobs are damaged, for one %s; remove them first",
                                               (long long)copied.damaged, copied.example);
}

static bool copy_keyring(struct backup *b)
{
    char from[PATH_MAX], to[PATH_MAX + 16];
    if (!b->options.with_keyring)
        return true;
    b->manifest.keyring = true;
    settings_keyring_path(&b->settings, from);
    snprintf(to, sizeof to, "%s/keyring", b->folder);
    return backup_copy_file(from, to, b->why);
}

static bool begin(struct backup *b)
{
    const char *to = b->options.to;
    if ((size_t)snprintf(b->folder, sizeof b->folder, "%s.partial", to) >= sizeof b->folder - 16)
        return backup_fault(b->why, "%s: the path is too long", to);
    snprintf(b->rdb, sizeof b->rdb, "%s/redis.rdb", b->folder);
    snprintf(b->blobs, sizeof b->blobs, "%s/blobs", b->folder);
    if (access(to, F_OK) == 0)
        return backup_fault(b->why, "%s is there already; name a folder that is not", to);
    return mkdir(b->folder, 0700) == 0 ||
           backup_fault(b->why, "%s: %s", b->folder,
                        errno == EEXIST ? "left by a backup that did not end, or that runs now; remove it if none does"
                                        : strerror(errno));
}

static bool finish(struct backup *b)
{
    struct backup_manifest *m = &b->manifest;
    clock_text(clock_wall_ms(), m->made);
    snprintf(m->version, sizeof m->version, "%s", SLIPWAY_VERSION);
    if (!backup_digest(b->rdb, m->digest, &m->bytes, b->why) || !copy_keyring(b) ||
        !backup_manifest_write(b->folder, m, b->why))
        return false;
    return rename(b->folder, b->options.to) == 0 || backup_fault(b->why, "%s: %s", b->options.to, strerror(errno));
}

static void print(const struct backup *b)
{
    char redis[32], blobs[32];
    backup_size(b->manifest.bytes, redis);
    backup_size(b->manifest.blob_bytes, blobs);
    printf("%s: %s of Redis, %lld blobs of %s\n", b->options.to, redis, (long long)b->manifest.blobs, blobs);
    if (!b->manifest.keyring)
        puts("The keyring is not in it: keep that, too, or nothing in the backup can be used.");
}

static int run(struct backup *b)
{
    if (b->options.to[0] == '\0')
        return config_usage(&b->settings.config, "--to names the folder to make");
    if (!settings_open_keyring(&b->settings, false))
        return 1;
    bool begun = begin(b);
    bool done = begun && copy_blobs(b) && tool_run(&b->settings, "backup", act, b) == 0 && copy_blobs(b) && finish(b);
    if (done)
        print(b);
    else if (b->why[0] != '\0')
        fprintf(stderr, "slipway backup: %s\n", b->why);
    if (begun && !done)
        backup_remove(b->folder);
    return done ? 0 : 1;
}

int backup_main(int argc, char **argv)
{
    struct backup *b = calloc(1, sizeof *b);
    if (b == NULL)
        return 1;
    int status = settings_read(&b->settings, "backup", summary, rows, &b->options, argc, argv);
    if (status == CONFIG_READ)
        status = run(b);
    settings_fini(&b->settings);
    free(b);
    return status;
}

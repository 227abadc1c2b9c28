#include "server/agent/journal.h"
#include "lib/json.h"
#include "server/agent/file.h"
#include "server/agent/protocol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HALF_MADE ".new-"

int journal_open(struct journal *j, int data)
{
    j->tasks = file_folder(data, "tasks");
    return j->tasks < 0 ? errno : 0;
}

void journal_close(struct journal *j)
{
    if (j->tasks >= 0)
        close(j->tasks);
    j->tasks = -1;
}

static bool name_of(struct str id, const char *prefix, char out[PROTOCOL_ID + sizeof HALF_MADE])
{
    if (id.n == 0 || id.n >= PROTOCOL_ID || id.p[0] == '.' || memchr(id.p, '/', id.n) != NULL)
        return false;
    snprintf(out, PROTOCOL_ID + sizeof HALF_MADE, "%s" STR_FMT, prefix, STR_ARG(id));
    return true;
}

int journal_add(struct journal *j, struct str id, struct str envelope)
{
    char fresh[PROTOCOL_ID + sizeof HALF_MADE], name[PROTOCOL_ID + sizeof HALF_MADE];
    if (!name_of(id, HALF_MADE, fresh) || !name_of(id, "", name))
        return EINVAL;
    if (faccessat(j->tasks, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return EEXIST;
    file_remove(j->tasks, fresh);
    int dir = file_folder(j->tasks, fresh);
    if (dir < 0)
        return errno;
    int error = file_replace(dir, "task.json", envelope, true);
    close(dir);
    if (error == 0 && renameat(j->tasks, fresh, j->tasks, name) != 0)
        error = errno;
    bool named = error == 0;
    if (error == 0 && fsync(j->tasks) != 0)
        error = errno;
    if (error != 0) /* it will be refused: no later look at the journal may find it */
        file_remove(j->tasks, named ? name : fresh);
    return error;
}

int journal_folder(struct journal *j, struct str id)
{
    char name[PROTOCOL_ID + sizeof HALF_MADE];
    if (!name_of(id, "", name)) {
        errno = EINVAL;
        return -1;
    }
    return openat(j->tasks, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

void journal_each(struct journal *j, void (*each)(void *arg, struct str id), void *arg)
{
    int fd = openat(j->tasks, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(entries)) != NULL;) {
        if (strncmp(e->d_name, HALF_MADE, strlen(HALF_MADE)) == 0)
            file_remove(j->tasks, e->d_name);
        else if (e->d_name[0] != '.')
            each(arg, str_z(e->d_name));
    }
    closedir(entries);
}

void journal_remove(struct journal *j, struct str id)
{
    char name[PROTOCOL_ID + sizeof HALF_MADE];
    if (name_of(id, "", name))
        file_remove(j->tasks, name);
}

/* --- records --- */

static int record_write(int dir, const char *name, struct buf *b)
{
    int error = b->failed ? ENOMEM : file_replace(dir, name, buf_view(b), true);
    buf_free(b);
    return error;
}

static const struct json *record_read(int dir, const char *name, struct arena *a)
{
    struct buf b = {0};
    const struct json *j = NULL;
    if (file_read(dir, name, &b) == 0) {
        struct str text = arena_str(a, buf_view(&b));
        j = text.p != NULL ? json_parse(a, text, NULL, NULL) : NULL;
    }
    buf_free(&b);
    return json_is(j, JSON_OBJECT) ? j : NULL;
}

static void put_int(struct json_out *o, const char *name, int64_t v)
{
    json_key(o, str_z(name));
    json_put_int(o, v);
}

static void put_text(struct json_out *o, const char *name, struct str v)
{
    json_key(o, str_z(name));
    json_put_str(o, v);
}

static int64_t get_int(const struct json *j, const char *name)
{
    return json_int(json_get(j, name), 0);
}

static struct str boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, 36) : 0;
    if (fd >= 0)
        close(fd);
    return (struct str){out, n > 0 ? (size_t)n : 0};
}

int journal_started_write(int dir, const struct journal_started *s)
{
    char boot[40];
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_text(&o, "boot", boot_id(boot));
    put_int(&o, "parent", s->parent);
    put_int(&o, "parentStart", (int64_t)s->parent_start);
    put_int(&o, "pid", s->pid);
    put_int(&o, "pidStart", (int64_t)s->pid_start);
    put_int(&o, "startedMs", s->started_ms);
    json_close(&o, '}');
    return record_write(dir, "started", &b);
}

bool journal_started_read(int dir, struct arena *a, struct journal_started *out)
{
    char boot[40];
    const struct json *j = record_read(dir, "started", a);
    *out = (struct journal_started){
        .parent = get_int(j, "parent"),
        .parent_start = (uint64_t)get_int(j, "parentStart"),
        .pid = get_int(j, "pid"),
        .pid_start = (uint64_t)get_int(j, "pidStart"),
        .started_ms = get_int(j, "startedMs"),
        .here = j != NULL && str_eq(json_str(json_get(j, "boot")), boot_id(boot)),
    };
    return j != NULL && out->pid > 0;
}

int journal_cancel_write(int dir, const struct journal_cancel *c)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("graceSeconds"));
    json_put_real(&o, c->grace_s);
    put_text(&o, "reason", c->reason);
    json_close(&o, '}');
    return record_write(dir, "cancel", &b);
}

bool journal_cancel_read(int dir, struct arena *a, struct journal_cancel *out)
{
    const struct json *j = record_read(dir, "cancel", a);
    *out = (struct journal_cancel){
        .grace_s = json_real(json_get(j, "graceSeconds"), PROTOCOL_GRACE_S),
        .reason = json_str(json_get(j, "reason")),
    };
    return j != NULL;
}

static const char *cause_of(struct str name)
{
    const struct protocol_cause *cause = protocol_cause(name);
    return cause != NULL ? cause->name : NULL;
}

static void put_outputs(struct json_out *o, struct str outputs)
{
    json_key(o, S("outputs"));
    if (outputs.n > 0)
        json_put_raw(o, outputs);
    else
        json_put_null(o);
}

static struct str get_outputs(const struct json *j, struct arena *a)
{
    const struct json *outputs = json_get(j, "outputs");
    struct buf b;
    if (!json_is(outputs, JSON_OBJECT))
        return STR_NONE;
    buf_init_arena(&b, a, 1024);
    json_write(&b, outputs);
    return b.failed ? STR_NONE : buf_view(&b);
}

int journal_result_write(int dir, const struct journal_result *r)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("cause"));
    json_put_z(&o, r->cause);
    put_text(&o, "message", r->message);
    put_outputs(&o, r->outputs);
    json_key(&o, S("retriable"));
    json_put_bool(&o, r->retriable);
    json_key(&o, S("success"));
    json_put_bool(&o, r->success);
    json_close(&o, '}');
    return record_write(dir, "result", &b);
}

bool journal_result_read(int dir, struct arena *a, struct journal_result *out)
{
    const struct json *j = record_read(dir, "result", a);
    *out = (struct journal_result){
        .success = json_bool(json_get(j, "success"), false),
        .retriable = json_bool(json_get(j, "retriable"), false),
        .cause = cause_of(json_str(json_get(j, "cause"))),
        .message = json_str(json_get(j, "message")),
        .outputs = get_outputs(j, a),
    };
    return j != NULL;
}

int journal_exit_write(int dir, const struct journal_exit *e)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("cause"));
    json_put_z(&o, e->cause);
    put_int(&o, "exitCode", e->exit_code);
    put_int(&o, "finishedMs", e->finished_ms);
    put_int(&o, "lines", e->lines);
    put_text(&o, "message", e->message);
    put_outputs(&o, e->outputs);
    json_key(&o, S("retriable"));
    json_put_bool(&o, e->retriable);
    put_int(&o, "signal", e->signal);
    put_int(&o, "startedMs", e->started_ms);
    put_text(&o, "tail", e->tail);
    json_close(&o, '}');
    return record_write(dir, "exit", &b);
}

bool journal_exit_read(int dir, struct arena *a, struct journal_exit *out)
{
    const struct json *j = record_read(dir, "exit", a);
    *out = (struct journal_exit){
        .cause = cause_of(json_str(json_get(j, "cause"))),
        .message = json_str(json_get(j, "message")),
        .exit_code = json_int(json_get(j, "exitCode"), -1),
        .signal = get_int(j, "signal"),
        .started_ms = get_int(j, "startedMs"),
        .finished_ms = get_int(j, "finishedMs"),
        .lines = get_int(j, "lines"),
        .tail = json_str(json_get(j, "tail")),
        .retriable = json_bool(json_get(j, "retriable"), false),
        .outputs = get_outputs(j, a),
    };
    return j != NULL;
}

int journal_said_write(int dir, const struct journal_said *s)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("accepted"));
    json_put_bool(&o, s->accepted);
    json_key(&o, S("completed"));
    json_put_bool(&o, s->completed);
    put_int(&o, "completedMs", s->completed_ms);
    json_key(&o, S("started"));
    json_put_bool(&o, s->started);
    json_close(&o, '}');
    int error = b.failed ? ENOMEM : file_replace(dir, "said", buf_view(&b), false); /* lost: it is said once more */
    buf_free(&b);
    return error;
}

bool journal_said_read(int dir, struct arena *a, struct journal_said *out)
{
    const struct json *j = record_read(dir, "said", a);
    *out = (struct journal_said){
        .accepted = json_bool(json_get(j, "accepted"), false),
        .started = json_bool(json_get(j, "started"), false),
        .completed = json_bool(json_get(j, "completed"), false),
        .completed_ms = get_int(j, "completedMs"),
    };
    return j != NULL;
}

int journal_envelope(int dir, struct buf *out)
{
    return file_read(dir, "task.json", out);
}

int journal_strip(int dir)
{
    struct arena a;
    arena_init(&a, 0);
    const struct json *j = record_read(dir, "task.json", &a);
    int error = 0;
    if (json_get(j, "credentials") != NULL || json_count(json_get(j, "payload")) > 0) {
        struct buf b = {0};
        struct json_out o;
        json_out_init(&o, &b);
        json_open(&o, '{');
        for (struct json_iter it = json_members(j); json_next(&it);) {
            if (str_eqz(it.name, "credentials"))
                continue;
            json_key(&o, it.name);
            if (str_eqz(it.name, "payload"))
                json_put_raw(&o, S("{}"));
            else
                json_put(&o, it.value);
        }
        json_close(&o, '}');
        error = record_write(dir, "task.json", &b);
    }
    arena_fini(&a);
    return error;
}

void journal_settle(int dir)
{
    file_remove(dir, "out");
    file_remove(dir, "work");
}

static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

int journal_lock(int dir)
{
    int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct flock lock = whole_file();
    if (fd < 0)
        return errno;
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

/* Asks without taking, so that asking never gets in a parent's way. */
bool journal_locked(int dir)
{
    int fd = openat(dir, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct flock lock = whole_file();
    if (fd < 0)
        return false;
    bool locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return locked;
}

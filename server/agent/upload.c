#include "server/agent/upload.h"

#include "proto/fetch.h"
#include "server/agent/download.h"
#include "server/agent/work.h"
#include "server/artifact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE_MOST = 32 * 1024 * 1024, TRIES = 5, PAUSE_MS = 1000, ANSWER_MOST = 64 * 1024, TURN_MS = 100 };

struct leaving {
    const struct upload_job *job;
    struct work work; /* for what download.h asks of it */
    const struct json *settings;
    int status; /* of the answer; 0: none */
    char why[WORK_MESSAGE];
};

static void say(const struct upload_job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct upload_job *job, const char *fmt, ...)
{
    char text[WORK_MESSAGE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    job->say(job->arg, text);
}

static bool goes_on(void *arg, uint64_t got, uint64_t expected)
{
    const struct leaving *l = arg;

    (void)got;
    (void)expected;
    return !l->job->stopped(l->job->arg);
}

static void answered(void *arg, const struct fetch_answer *a)
{
    struct leaving *l = arg;

    l->status = a->fault == FETCH_NONE ? a->status : 0;
    if (a->fault != FETCH_NONE)
        snprintf(l->why, sizeof l->why, "%s", a->message == NULL ? fetch_fault_name(a->fault) : a->message);
    else
        snprintf(l->why, sizeof l->why, "the answer has status %d", a->status);
}

static bool put(struct leaving *l, const char *name, struct str bytes)
{
    struct fetch_request request = {.method = S("PUT"),
                                    .fields = S("Content-Type: application/octet-stream\n"),
                                    .body = bytes,
                                    .max_bytes = ANSWER_MOST};
    struct fetch_blocking how = {.goes_on = goes_on, .arg = l};
    const struct fetch_settings guard = {0};
    struct task_place place;

    l->status = 0;
    if (!task_place(l->job->task->id, &place))
        return false;
    struct str path = arena_printf(l->job->arena, "/api/v1/workflow-runs/" STR_FMT "/steps/" STR_FMT "/artifacts/%s",
                                   STR_ARG(place.run), STR_ARG(place.node), name);
    if (!download_address(&l->work, l->settings, path, &request, &how)) {
        snprintf(l->why, sizeof l->why, "%s", l->work.message);
        return false;
    }
    fetch_blocking(&guard, &request, &how, answered, l);
    return l->status / 100 == 2;
}

static bool may_come_later(int status)
{
    return status == 0 || status >= 500 || status == 401 || status == 408 || status == 429;
}

/* Ever longer, or until the task is to end. */
static void pause_before(const struct upload_job *job, int try)
{
    for (int ms = 0; ms < (PAUSE_MS << try) && !job->stopped(job->arg); ms += TURN_MS)
        poll(NULL, 0, TURN_MS);
}

static void leave(struct leaving *l, const char *name, struct str bytes)
{
    const struct upload_job *job = l->job;

    for (int try = 0; try < TRIES && !job->stopped(job->arg); try++) {
        if (try > 0)
            pause_before(job, try - 1);
        if (put(l, name, bytes)) {
            say(job, "left " UPLOAD_FOLDER "/%s, %zu bytes", name, bytes.n);
            return;
        }
        if (!may_come_later(l->status))
            break;
    }
    say(job, UPLOAD_FOLDER "/%s could not be left: %s", name, l->why);
}

/* Somebody may still write to it, so its size is what was read. */
static bool file_read_all(int fd, struct buf *out)
{
    char piece[64 * 1024];
    ssize_t n;

    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            buf_add(out, piece, (size_t)n);
    if (out->failed)
        errno = EFBIG;
    return n == 0 && !out->failed;
}

static void leave_file(struct leaving *l, int folder, const char *name)
{
    size_t most = (size_t)json_int(json_get(l->settings, "artifactMax"), SIZE_MOST);
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0) {
        say(l->job, UPLOAD_FOLDER "/%s cannot be read: %s", name, strerror(errno));
    } else if (S_ISREG(st.st_mode) && (size_t)st.st_size > most) {
        say(l->job, UPLOAD_FOLDER "/%s has more than %zu bytes (artifact-max)", name, most);
    } else if (S_ISREG(st.st_mode)) {
        struct buf bytes = {.max = most};
        if (file_read_all(fd, &bytes))
            leave(l, name, buf_view(&bytes));
        else
            say(l->job, UPLOAD_FOLDER "/%s cannot be read: %s", name, strerror(errno));
        buf_free(&bytes);
    }
    if (fd >= 0)
        close(fd);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names, sorted; in the arena. */
static size_t read_names(const struct upload_job *job, int folder, const char **names)
{
    DIR *dir = fdopendir(dup(folder));
    struct dirent *entry;
    bool more = false;
    size_t n = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        if (!artifact_name_valid(str_z(entry->d_name)))
            say(job, UPLOAD_FOLDER ": a file's name has other characters than letters, digits, dots, _ and -");
        else if (n == UPLOAD_MOST)
            more = true;
        else if ((names[n] = arena_z(job->arena, str_z(entry->d_name))) != NULL)
            n++;
    }
    if (more)
        say(job, UPLOAD_FOLDER ": there are more than %d files; the rest is not left", (int)UPLOAD_MOST);
    if (dir != NULL)
        closedir(dir);
    qsort(names, n, sizeof names[0], by_name);
    return n;
}

void upload_artifacts(const struct upload_job *job)
{
    struct leaving l = {.job = job, .work = {.task = job->task, .arena = job->arena, .dir = job->dir, .system = -1}};
    const char *names[UPLOAD_MOST];
    int folder = openat(job->dir, "work/" UPLOAD_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    size_t n = folder < 0 ? 0 : read_names(job, folder, names);
    const char *wrong = n == 0 ? NULL : work_settings_read(&l.work, &l.settings);

    if (wrong != NULL)
        say(job, UPLOAD_FOLDER " cannot be left: %s", wrong);
    for (size_t i = 0; i < n && wrong == NULL && !job->stopped(job->arg); i++)
        leave_file(&l, folder, names[i]);
    if (folder >= 0)
        close(folder);
}

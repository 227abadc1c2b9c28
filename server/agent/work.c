#include "server/agent/work.h"
#include "lib/clock.h"
#include "server/agent/deploy.h"
#include "server/agent/file.h"
#include "server/agent/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// clang-format off
static const struct {
    const char *type;
    bool (*run)(struct work *w);
    bool (*undo)(const struct task *task, struct arena *a, char text[WORK_MESSAGE]);
} rows[] = {
    {"deploy",        deploy_run,    deploy_undo},
    {"rollback",      deploy_run,    deploy_undo},
    {"health-check",  check_run,     NULL},
    {"write-sticker", sticker_write, NULL},
    {"read-sticker",  sticker_read,  NULL},
};
// clang-format on

bool work_knows(struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(type, rows[i].type))
            return true;
    return false;
}

bool work_do(struct work *w)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(w->task->type, rows[i].type))
            return rows[i].run(w);
    return work_fail(w, PROTOCOL_PAYLOAD, "there is no task of this type");
}

bool work_undo(const struct task *task, struct arena *a, char text[WORK_MESSAGE])
{
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(task->type, rows[i].type))
            return rows[i].undo != NULL && rows[i].undo(task, a, text);
    return false;
}

/* --- what it says --- */

static void put_line(struct work *w, const char *head, const char *fmt, va_list args)
{
    char text[1024];
    if (w->system < 0)
        return;
    int n = snprintf(text, sizeof text, "%s", head);
    vsnprintf(text + n, sizeof text - (size_t)n - 1, fmt, args);
    size_t end = strlen(text);
    for (size_t i = 0; i < end; i++)
        if (text[i] == '\n')
            text[i] = ' ';
    text[end] = '\n';
    (void)!write(w->system, text, end + 1); /* for people; it blocks while the log is full */
}

void work_say(struct work *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_line(w, "", fmt, args);
    va_end(args);
}

void work_progress(struct work *w, int percent, const char *fmt, ...)
{
    char head[40];
    va_list args;
    snprintf(head, sizeof head, "##slipway[progress %d] ", percent);
    va_start(args, fmt);
    put_line(w, head, fmt, args);
    va_end(args);
}

bool work_fail(struct work *w, const char *cause, const char *fmt, ...)
{
    va_list args;
    if (w->cause != NULL)
        return false;
    const struct protocol_cause *row = protocol_cause(str_z(cause));
    w->cause = cause;
    w->retriable = row != NULL && row->retriable;
    va_start(args, fmt);
    vsnprintf(w->message, sizeof w->message, fmt, args);
    va_end(args);
    return false;
}

void work_forgive(struct work *w)
{
    w->cause = NULL;
    w->retriable = false;
    w->message[0] = '\0';
}

/* --- being told to end --- */

void work_sleep(struct work *w, int64_t ms)
{
    sigset_t term;
    int64_t until = clock_mono_ms() + ms;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    while (!w->stopped) {
        int64_t left = until - clock_mono_ms();
        const struct timespec wait = {left > 0 ? left / 1000 : 0, left > 0 ? left % 1000 * 1000000 : 0};
        if (sigtimedwait(&term, NULL, &wait) == SIGTERM)
            w->stopped = true;
        else if (left <= 0)
            break;
    }
}

bool work_stopped(struct work *w)
{
    work_sleep(w, 0);
    return w->stopped;
}

bool work_stopped_fail(struct work *w)
{
    if (!work_stopped(w))
        return false;
    work_fail(w, PROTOCOL_CANCELLED, "told to end");
    return true;
}

/* --- around it --- */

const char *work_settings_read(struct work *w, const struct json **out)
{
    struct buf b = {0};
    int data = openat(w->dir, "../..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = data < 0 ? errno : file_read(data, DEPLOY_SETTINGS, &b);
    *out = error == 0 ? json_parse(w->arena, arena_str(w->arena, buf_view(&b)), NULL, NULL) : NULL;
    if (data >= 0)
        close(data);
    buf_free(&b);
    return error != 0 ? strerror(error) : *out == NULL ? "it is damaged" : NULL;
}

int work_run(const struct task *task, struct arena *a, int dir, int system)
{
    sigset_t blocked;
    struct work w = {.task = task, .arena = a, .dir = dir, .system = system, .patience_ms = WORK_PATIENCE_MS};
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
    bool good = work_do(&w);
    if (!good)
        work_say(&w, "%s", w.message);
    const struct journal_result result = {.success = good,
                                          .retriable = w.retriable,
                                          .cause = good ? NULL : w.cause,
                                          .message = str_z(good ? "" : w.message),
                                          .outputs =
                                              w.outputs.n > 0 && !w.outputs.failed ? buf_view(&w.outputs) : S("{}")};
    int error = journal_result_write(dir, &result);
    if (error != 0)
        work_say(&w, "the result cannot be written: %s", strerror(error));
    buf_free(&w.outputs);
    return error != 0;
}

#include "server/embedded.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/log.h"
#include "lib/process.h"
#include "lib/timer.h"
#include "proto/redis.h"

enum {
    RESTART_FIRST_MS = 20,
    RESTART_MOST_MS = 1000,
    RECONNECT_MS = 200,
    ADOPT_MS = 100,   /* between attempts to get the lock of a Redis that does not answer */
    EARLY_ENDS = 5,   /* ends in a row, without having answered, that are too many */
    STOP_MS = 5000,   /* for SHUTDOWN, then for SIGTERM */
    STOP_LOOK_MS = 10 /* between looks whether an adopted one has gone */
};

struct embedded {
    struct loop *loop;
    struct embedded_settings settings;
    struct embedded_events events;
    void *arg;
    char data[PATH_MAX], folder[PATH_MAX + 8], socket[PATH_MAX + 16], log[PATH_MAX + 24], pidfile[PATH_MAX + 24];

    int lock, users; /* descriptors; -1 */
    bool holds;      /* we have the lock: the Redis is our child, or there is none */
    struct process process;
    bool running; /* the process is open and has not ended */
    struct redis *redis;
    struct ops ops;
    bool up;
    int pid;
    int64_t backoff_ms;
    unsigned early_ends;
    struct timer retry, stop;
    struct loop_task start;

    bool failed, closing;
    int stop_signal;
    unsigned open; /* parts that will tell when they are closed */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void start_or_adopt(void *arg);

/* --- telling --- */

static void down(struct embedded *e, const char *why)
{
    if (!e->up)
        return;
    e->up = false;
    if (!e->closing && e->events.on_down)
        e->events.on_down(e->arg, why);
}

static void give_up(struct embedded *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void give_up(struct embedded *e, const char *fmt, ...)
{
    char why[PATH_MAX + 256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    if (e->failed || e->closing)
        return;
    e->failed = true;
    e->up = false;
    timer_stop(&e->retry);
    if (e->events.on_failed)
        e->events.on_failed(e->arg, why);
}

/* --- is it ours, does it answer? --- */

static void on_info(void *arg, enum redis_error error, const struct redis_value *v)
{
    struct embedded *e = arg;
    struct str text = redis_text(v);
    ptrdiff_t at = str_find(text, S("process_id:"));
    uint64_t pid = 0;

    if (error != REDIS_OK || e->closing || e->failed)
        return;
    if (at >= 0) {
        struct str rest = str_slice(text, (size_t)at + 11, text.n);

        str_u64(str_trim(str_cut(&rest, '\r')), &pid);
    }
    e->pid = (int)pid;
    e->up = true;
    e->backoff_ms = 0;
    e->early_ends = 0;
    if (e->events.on_up)
        e->events.on_up(e->arg);
}

static void on_dir(void *arg, enum redis_error error, const struct redis_value *v)
{
    struct embedded *e = arg;
    struct str dir = redis_text(redis_at(v, 1));

    if (error != REDIS_OK || e->closing)
        return;
    if (!str_eqz(dir, e->folder))
        give_up(e, "the Redis at %s serves another folder: " STR_FMT, e->socket, STR_ARG(dir));
    else
        redis_call(e->redis, &e->ops, 2, (struct str[]){S("INFO"), S("server")}, on_info, e);
}

static void on_ready(void *arg)
{
    struct embedded *e = arg;

    redis_call(e->redis, &e->ops, 3, (struct str[]){S("CONFIG"), S("GET"), S("dir")}, on_dir, e);
}

static void on_redis_down(void *arg, enum redis_error error, const char *what)
{
    struct embedded *e = arg;

    (void)error;
    down(e, what);
    if (!e->holds && !e->failed && !e->closing && !timer_running(&e->retry))
        timer_start(&e->retry, e->loop, ADOPT_MS, start_or_adopt, e);
}

/* --- the child --- */

static void on_process_closed(void *arg);

static void on_exit_(struct process *p, int status, int signum)
{
    struct embedded *e = list_entry(p, struct embedded, process);
    char why[64];

    snprintf(why, sizeof why, signum ? "redis-server was ended by signal %d" : "redis-server exited with status %d",
             signum ? signum : status);
    if (!e->up)
        e->early_ends++;
    down(e, why);
    e->running = false;
    e->pid = 0;
    process_close(&e->process, on_process_closed, e);
}

static int spawn(struct embedded *e)
{
    static const struct process_events events = {.on_exit = on_exit_};
    const char *program = e->settings.program ? e->settings.program : "redis-server";
    const char *const argv[] = {program,
                                "--port",
                                "0",
                                "--unixsocket",
                                e->socket,
                                "--unixsocketperm",
                                "700",
                                "--dir",
                                e->folder,
                                "--databases",
                                "1",
                                "--daemonize",
                                "no",
                                "--pidfile",
                                e->pidfile,
                                "--logfile",
                                e->log,
                                "--save",
                                "",
                                "--appendonly",
                                "yes",
                                "--appendfsync",
                                e->settings.everysec ? "everysec" : "always",
                                "--maxmemory-policy",
                                "noeviction",
                                "--repl-diskless-sync-delay", /* nobody replicates but a backup, which need not wait */
                                "0",
                                NULL};
    struct process_spec spec = {.file = program, .argv = argv, .session = true, .extra = &e->lock, .extra_count = 1};

    e->open++;
    e->running = true;
    return process_open(&e->process, e->loop, &spec, &events);
}

static void start(struct embedded *e)
{
    int rc = spawn(e);

    if (rc == 0) {
        e->pid = e->process.pid;
        return;
    }
    e->running = false;
    e->early_ends++;
    if (rc == -ENOENT)
        give_up(e, "there is no program %s: install Debian's package redis-server",
                e->settings.program ? e->settings.program : "redis-server");
    process_close(&e->process, on_process_closed, e);
}

static void start_or_adopt(void *arg)
{
    struct embedded *e = arg;

    if (e->closing || e->failed || e->running)
        return;
    if (!e->holds && flock(e->lock, LOCK_EX | LOCK_NB) == 0)
        e->holds = true;
    if (e->holds)
        start(e);
    /* else its own Redis holds it, or another server that is about to start one: e->redis goes on trying */
}

/* --- the end --- */

static void on_part_closed(void *arg)
{
    struct embedded *e = arg;
    void (*closed)(void *) = e->closed;
    void *closed_arg = e->closed_arg;

    if (--e->open > 0)
        return;
    if (e->lock >= 0)
        close(e->lock);
    if (e->users >= 0)
        close(e->users);
    free(e);
    if (closed)
        closed(closed_arg);
}

static void let_go(struct embedded *e)
{
    timer_stop(&e->stop);
    if (e->running) {
        e->running = false;
        process_close(&e->process, on_process_closed, e);
    }
    redis_close(e->redis, on_part_closed, e);
}

static void on_process_closed(void *arg)
{
    struct embedded *e = arg;

    if (e->closing) {
        if (timer_running(&e->stop)) /* what embedded_close waited for */
            let_go(e);
        on_part_closed(e);
        return;
    }
    e->open--;
    if (e->failed)
        return;
    if (e->early_ends >= EARLY_ENDS) {
        give_up(e, "redis-server ends as soon as it is started: see %s", e->log);
        return;
    }
    e->backoff_ms = e->backoff_ms ? e->backoff_ms * 2 : RESTART_FIRST_MS;
    if (e->backoff_ms > RESTART_MOST_MS)
        e->backoff_ms = RESTART_MOST_MS;
    timer_start(&e->retry, e->loop, e->backoff_ms, start_or_adopt, e);
}

static void signal_it(struct embedded *e, int signum)
{
    log_warn("redis.signal", "pid=%d signal=%d", e->pid, signum);
    if (e->pid > 0)
        kill(e->pid, signum);
}

/* Every STOP_LOOK_MS until it has gone. Each STOP_MS the means get stronger. */
static void look_for_end(void *arg)
{
    struct embedded *e = arg;
    int64_t waited = loop_now_ms(e->loop) - e->backoff_ms;

    /* The end of a child is told by on_exit_; an adopted one has gone when its lock is free. */
    if (!e->running && flock(e->lock, LOCK_EX | LOCK_NB) == 0) {
        let_go(e);
        return;
    }
    if (waited >= STOP_MS && e->stop_signal == 0)
        signal_it(e, e->stop_signal = SIGTERM);
    else if (waited >= 2 * STOP_MS && e->stop_signal == SIGTERM)
        signal_it(e, e->stop_signal = SIGKILL);
    else if (waited >= 3 * STOP_MS) {
        let_go(e);
        return;
    }
    timer_start(&e->stop, e->loop, STOP_LOOK_MS, look_for_end, e);
}

static void on_shutdown(void *arg, enum redis_error error, const struct redis_value *v)
{
    (void)arg, (void)error, (void)v; /* a SHUTDOWN that works has no answer */
}

static bool is_used_by_others(struct embedded *e)
{
    return e->users >= 0 && flock(e->users, LOCK_EX | LOCK_NB) != 0;
}

void embedded_close(struct embedded *e, void (*closed)(void *arg), void *arg)
{
    bool there = e->running || (!e->holds && e->up);

    e->closing = true;
    e->closed = closed;
    e->closed_arg = arg;
    timer_stop(&e->retry);
    loop_undefer(&e->start);
    if (!e->redis) {
        e->open++;
        loop_defer(e->loop, &e->start, on_part_closed, e);
        return;
    }
    if (!there || is_used_by_others(e)) {
        let_go(e);
        return;
    }
    if (redis_call(e->redis, &e->ops, 1, (struct str[]){S("SHUTDOWN")}, on_shutdown, NULL) != REDIS_OK)
        signal_it(e, SIGTERM); /* it is starting, or does not answer */
    e->backoff_ms = loop_now_ms(e->loop);
    timer_start(&e->stop, e->loop, STOP_LOOK_MS, look_for_end, e);
}

/* --- opening --- */

static int open_lock(struct embedded *e, const char *name, int operation)
{
    char path[PATH_MAX + 16];
    int fd;

    snprintf(path, sizeof path, "%s/%s", e->data, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && operation)
        flock(fd, operation);
    return fd;
}

static void begin(void *arg)
{
    static const struct redis_events events = {.on_ready = on_ready, .on_down = on_redis_down};
    struct embedded *e = arg;
    struct redis_limits limits = {.backoff_ms = RECONNECT_MS};
    struct redis_target target;
    char resolved[PATH_MAX];

    if (mkdir(e->folder, 0700) && errno != EEXIST) {
        give_up(e, "%s cannot be made: %s", e->folder, strerror(errno));
        return;
    }
    if (realpath(e->folder, resolved)) /* what Redis will call it */
        snprintf(e->folder, sizeof e->folder, "%s", resolved);
    e->lock = open_lock(e, "redis.lock", 0);
    e->users = open_lock(e, "users.lock", LOCK_SH | LOCK_NB);
    if (e->lock < 0 || e->users < 0) {
        give_up(e, "the lock files of %s cannot be opened: %s", e->data, strerror(errno));
        return;
    }
    if (!redis_target_parse(str_z(e->socket), &target, NULL)) {
        give_up(e, "%s is too long for the path of a unix socket: choose a shorter data folder", e->socket);
        return;
    }
    start_or_adopt(e);
    if (e->failed)
        return;
    e->redis = redis_open(e->loop, &target, &limits, &events, e);
    if (e->redis)
        e->open++;
    else
        give_up(e, "out of memory");
}

struct embedded *embedded_open(struct loop *loop, const struct embedded_settings *settings,
                               const struct embedded_events *events, void *arg)
{
    struct embedded *e = calloc(1, sizeof *e);

    if (!e)
        return NULL;
    e->loop = loop;
    e->settings = *settings;
    e->events = *events;
    e->arg = arg;
    e->lock = e->users = -1;
    ops_init(&e->ops);
    if ((mkdir(settings->data, 0700) && errno != EEXIST) || !realpath(settings->data, e->data))
        snprintf(e->data, sizeof e->data, "%s", settings->data); /* begin() will say what is wrong */
    snprintf(e->folder, sizeof e->folder, "%s/redis", e->data);
    snprintf(e->socket, sizeof e->socket, "%s/redis.sock", e->data);
    snprintf(e->log, sizeof e->log, "%s/redis.log", e->folder);
    snprintf(e->pidfile, sizeof e->pidfile, "%s/redis.pid", e->folder);
    loop_defer(loop, &e->start, begin, e);
    return e;
}

const char *embedded_socket(const struct embedded *e)
{
    return e->socket;
}
int embedded_pid(const struct embedded *e)
{
    return e->pid;
}
bool embedded_adopted(const struct embedded *e)
{
    return e->up && !e->holds;
}

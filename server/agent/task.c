#include "server/agent/task.h"
#include "lib/clock.h"
#include "server/agent/command.h"
#include "server/agent/file.h"
#include "server/agent/journal.h"
#include "server/agent/mask.h"
#include "server/agent/spool.h"
#include "server/agent/upload.h"
#include "server/agent/work.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- lines --- */

enum { LINE_HEAD = 9 };

void task_line_write(struct buf *b, const struct task_line *line)
{
    unsigned char head[LINE_HEAD] = {(unsigned char)line->stream};
    for (int i = 0; i < 8; i++)
        head[1 + i] = (unsigned char)((uint64_t)line->ms >> (8 * i));
    buf_clear(b);
    buf_add(b, head, sizeof head);
    buf_str(b, line->text);
}

bool task_line_read(struct str record, struct task_line *out)
{
    if (record.n < LINE_HEAD || (unsigned char)record.p[0] > TASK_SYSTEM)
        return false;
    uint64_t ms = 0;
    for (int i = 8; i-- > 0;)
        ms = ms << 8 | (unsigned char)record.p[1 + i];
    *out = (struct task_line){(int64_t)ms, (enum task_stream)record.p[0], str_slice(record, LINE_HEAD, record.n)};
    return true;
}

const char *task_stream_name(enum task_stream s)
{
    static const char *const names[] = {"stdout", "stderr", "system"};
    return names[s];
}

/* --- the parent --- */

enum life {
    LIFE_RUNS,    /* the command lives */
    LIFE_LINGERS, /* it has ended; its output may still be open, others of its group may live */
    LIFE_OVER     /* everything of it is in the spool */
};

struct output {
    enum task_stream stream;
    int fd; /* -1: at its end */
    struct mask_stream mask;
    struct buf pending; /* masked, not yet in the spool */
};

struct parent {
    int dir, work, signals;
    struct arena arena;
    struct task task;
    struct command command;
    struct mask *mask;
    struct spool_writer spool;
    struct output outputs[3];
    struct command_child child;
    struct buf record, tail;
    enum life life;
    bool started;      /* the command began */
    bool inside;       /* the agent does the task itself: work.h */
    bool freed;        /* of such a task: what it ran was killed, and it has a little longer */
    bool cut;          /* told to end while artifacts are left */
    bool blocked;      /* the spool is full: the pipes are not read */
    const char *cause; /* why it was stopped, or could not start */
    char message[256];
    siginfo_t end; /* how the command ended */
    int64_t started_ms, finished_ms;
    int64_t deadline, kill_at, linger_until, abandon_at; /* monotonic ms; 0: none */
};

/* Where to cut a text that is too long for one line: not within a UTF-8 sequence. */
static size_t cut_at(struct str text, size_t most)
{
    if (text.n <= most)
        return text.n;
    size_t at = most;
    while (at > most - 4 && ((unsigned char)text.p[at] & 0xC0) == 0x80)
        at--;
    return at > most - 4 ? at : most;
}

static bool line_put(struct parent *p, enum task_stream stream, struct str text)
{
    task_line_write(&p->record, &(struct task_line){clock_wall_ms(), stream, text});
    return !p->record.failed && spool_append(&p->spool, buf_view(&p->record)) == 0;
}

static void say(struct parent *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct parent *p, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    line_put(p, TASK_SYSTEM, str_z(text)); /* for people; the exit record says it again */
}

static void tail_keep(struct parent *p, struct str line)
{
    buf_str(&p->tail, line);
    buf_char(&p->tail, '\n');
    if (p->tail.n > 4 * TASK_TAIL)
        buf_drop(&p->tail, p->tail.n - TASK_TAIL);
}

/* Moves whole lines from `pending` to the spool; what does not go in stays. True: nothing whole is left. */
static bool output_spool(struct parent *p, struct output *o)
{
    size_t done = 0;
    bool all = true;
    while (done < o->pending.n && all) {
        struct str rest = {o->pending.p + done, o->pending.n - done};
        ptrdiff_t feed = str_index(rest, '\n');
        struct str line = str_slice(rest, 0, feed >= 0 ? (size_t)feed : rest.n);
        size_t whole = line.n;
        line.n = cut_at(line, PROTOCOL_LINE);
        if (line.n == whole && feed < 0 && o->fd >= 0)
            break; /* a line that is not complete yet */
        all = line_put(p, o->stream, line);
        if (!all)
            break;
        if (o->stream == TASK_STDOUT)
            tail_keep(p, line);
        done += line.n + (line.n == whole && feed >= 0);
    }
    buf_drop(&o->pending, done);
    return all;
}

static void output_end(struct output *o)
{
    close(o->fd);
    o->fd = -1;
    mask_end(&o->mask, &o->pending);
}

static void output_read(struct output *o)
{
    char chunk[32 * 1024];
    if (!buf_reserve(&o->pending, sizeof chunk + o->mask.room)) {
        poll(NULL, 0, TASK_BLOCKED_MS); /* what is read has to be kept, so it stays in the pipe */
        return;
    }
    ssize_t n = read(o->fd, chunk, sizeof chunk);
    if (n > 0)
        mask_feed(&o->mask, (struct str){chunk, (size_t)n}, &o->pending);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        output_end(o);
}

static void group_signal(struct parent *p, int signal)
{
    kill(-p->child.pid, signal);
}

/* What is left of the command. A task that the agent does itself gives each of its commands a group of its own. */
static void group_kill(struct parent *p)
{
    group_signal(p, SIGKILL);
    if (p->inside)
        process_kill_session(p->child.pid);
}

static void stop(struct parent *p, const char *cause, double grace_s, const char *why)
{
    if (p->life != LIFE_RUNS)
        return;
    int64_t kill_at = clock_mono_ms() + (int64_t)(grace_s * 1000);
    if (p->cause == NULL) {
        p->cause = cause;
        snprintf(p->message, sizeof p->message, "%s", why);
        say(p, "%s: sent TERM to the process group, KILL follows after %g s", why, grace_s);
        group_signal(p, SIGTERM);
        group_signal(p, SIGCONT);
        p->kill_at = kill_at;
    } else if (kill_at < p->kill_at) {
        p->kill_at = kill_at;
    }
}

static void on_term(struct parent *p)
{
    struct journal_cancel cancel;
    if (!journal_cancel_read(p->dir, &p->arena, &cancel)) {
        stop(p, PROTOCOL_LOST, p->command.grace_s, "the host told the task to end");
        return;
    }
    char why[sizeof p->message];
    snprintf(why, sizeof why, "cancelled%s" STR_FMT, cancel.reason.n > 0 ? ": " : "", STR_ARG(cancel.reason));
    stop(p, PROTOCOL_CANCELLED, cancel.grace_s, why);
}

/* The leader stays unreaped until the end, so that its number cannot be given to others while its group is signalled.
 */
static void on_child(struct parent *p)
{
    siginfo_t info = {0};
    if (p->life != LIFE_RUNS || waitid(P_PID, (id_t)p->child.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0)
        return;
    p->end = info;
    p->finished_ms = clock_wall_ms();
    p->life = LIFE_LINGERS;
    p->linger_until = clock_mono_ms() + TASK_LINGER_MS;
    p->deadline = p->kill_at = 0;
    group_signal(p, SIGTERM);
}

static void on_signals(struct parent *p)
{
    struct signalfd_siginfo s;
    while (read(p->signals, &s, sizeof s) == sizeof s) {
        if (s.ssi_signo == SIGTERM)
            on_term(p);
        else
            on_child(p);
    }
}

/* Behind KILL only processes that left the group hold the output open. What the pipes hold is read, then they are let
 * go; a daemon that goes on printing is cut off after one pipe's worth. */
static void outputs_abandon(struct parent *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++) {
        struct output *o = &p->outputs[i];
        for (int turn = 0; turn < 4 && o->fd >= 0; turn++)
            output_read(o);
        if (o->fd >= 0)
            output_end(o);
    }
}

static bool is_due(int64_t *at, int64_t now)
{
    if (*at == 0 || *at > now)
        return false;
    *at = 0;
    return true;
}

/* What the agent does itself has to put things in order once its hook is dead. */
static void on_impatience(struct parent *p, int64_t now)
{
    say(p, "it did not end within the grace: sent KILL");
    if (p->inside && !p->freed) {
        p->freed = true;
        p->kill_at = now + TASK_ORDER_MS;
        process_kill_session(p->child.pid);
    } else {
        group_signal(p, SIGKILL);
    }
}

static void on_time(struct parent *p)
{
    int64_t now = clock_mono_ms();
    if (is_due(&p->deadline, now)) {
        char why[64];
        snprintf(why, sizeof why, "the time-out of %g s is over", p->task.timeout_s);
        stop(p, PROTOCOL_TIMEOUT, p->command.grace_s, why);
    }
    if (is_due(&p->kill_at, now))
        on_impatience(p, now);
    if (is_due(&p->linger_until, now)) {
        group_kill(p);
        p->abandon_at = now + TASK_LINGER_MS / 4;
    }
    if (is_due(&p->abandon_at, now)) {
        if (p->blocked)
            p->abandon_at = now + TASK_BLOCKED_MS;
        else
            outputs_abandon(p);
    }
}

/* How long poll may wait. */
static int patience(const struct parent *p)
{
    int64_t now = clock_mono_ms(), left = p->blocked || p->spool.unflushed.n > 0 ? TASK_BLOCKED_MS : 60000;
    const int64_t times[] = {p->deadline, p->kill_at, p->linger_until, p->abandon_at};
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        if (times[i] != 0 && times[i] - now < left)
            left = times[i] - now;
    return left > 0 ? (int)left : 0;
}

static bool is_removed(int dir)
{
    struct stat st;
    return fstat(dir, &st) == 0 && st.st_nlink == 0;
}

/* Somebody took the task's folder away, or what it spools to: nobody will ever ask for its output or its end. */
static bool is_forsaken(const struct parent *p)
{
    return is_removed(p->dir) || is_removed(p->spool.dir);
}

static void turn(struct parent *p)
{
    bool spooled = true;
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++)
        spooled = output_spool(p, &p->outputs[i]) && spooled;
    spool_flush(&p->spool);
    p->blocked = !spooled || !spool_room(&p->spool, SPOOL_RECORD_MAX);
    bool open = false;
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++)
        open = open || p->outputs[i].fd >= 0;
    bool stuck = p->blocked || p->spool.unflushed.n > 0;
    if ((p->life == LIFE_LINGERS && !open && spooled && p->spool.unflushed.n == 0) || (stuck && is_forsaken(p))) {
        group_kill(p);
        p->life = LIFE_OVER;
        return;
    }
    struct pollfd fds[1 + ARRAY_LEN(p->outputs)] = {{.fd = p->signals, .events = POLLIN}};
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++)
        fds[1 + i] = (struct pollfd){.fd = p->blocked ? -1 : p->outputs[i].fd, .events = POLLIN};
    int ready = poll(fds, ARRAY_LEN(fds), patience(p));
    if (ready > 0 && fds[0].revents != 0)
        on_signals(p);
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++)
        if (ready > 0 && fds[1 + i].revents != 0)
            output_read(&p->outputs[i]);
    on_time(p);
}

/* --- its beginning and its end --- */

static const char *signal_name(int signal)
{
    const char *name = sigabbrev_np(signal);
    return name != NULL ? name : "unknown";
}

/* What it says of itself holds: a success also when it was told to end too late. Killed, it says nothing. */
static void exit_inside(struct parent *p, struct journal_exit *e)
{
    struct journal_result r;
    char undone[WORK_MESSAGE];
    if (journal_result_read(p->dir, &p->arena, &r)) {
        e->cause = r.success ? NULL : p->cause != NULL ? p->cause : r.cause != NULL ? r.cause : PROTOCOL_EXIT;
        e->outputs = r.outputs;
        if (r.success || p->cause == NULL)
            snprintf(p->message, sizeof p->message, STR_FMT, STR_ARG(r.message));
    } else if (e->cause == NULL) {
        e->cause = PROTOCOL_SIGNAL;
        snprintf(p->message, sizeof p->message, "the task's process was ended by signal %lld (%s)",
                 (long long)e->signal, signal_name((int)e->signal));
    }
    const struct protocol_cause *cause = protocol_cause(str_z(e->cause));
    e->retriable = e->cause == r.cause && r.cause != NULL ? r.retriable : cause != NULL && cause->retriable;
    if (r.outputs.p != NULL)
        return;
    work_undo(&p->task, &p->arena, undone);
    if (undone[0] != '\0')
        say(p, "%s", undone);
}

static void exit_describe(struct parent *p, struct journal_exit *e)
{
    *e = (struct journal_exit){
        .cause = p->cause,
        .exit_code = p->end.si_pid != 0 && p->end.si_code == CLD_EXITED ? p->end.si_status : -1,
        .signal = p->end.si_pid != 0 && p->end.si_code != CLD_EXITED ? p->end.si_status : 0,
        .started_ms = p->started_ms,
        .finished_ms = p->finished_ms != 0 ? p->finished_ms : clock_wall_ms(),
    };
    if (p->inside && p->started)
        exit_inside(p, e);
    else if (e->cause == NULL && e->signal != 0) {
        e->cause = PROTOCOL_SIGNAL;
        snprintf(p->message, sizeof p->message, "the command was ended by signal %lld (%s)", (long long)e->signal,
                 signal_name((int)e->signal));
    } else if (e->cause == NULL && e->exit_code != 0) {
        e->cause = PROTOCOL_EXIT;
        snprintf(p->message, sizeof p->message, "the command ended with exit status %lld", (long long)e->exit_code);
    }
    const struct protocol_cause *cause = protocol_cause(str_z(e->cause));
    if (!p->inside || !p->started)
        e->retriable = cause != NULL && cause->retriable;
    e->message = str_z(p->message);
    struct str tail = buf_view(&p->tail);
    if (tail.n > TASK_TAIL) {
        size_t from = tail.n - TASK_TAIL;
        while (from < tail.n && ((unsigned char)tail.p[from] & 0xC0) == 0x80)
            from++;
        tail = str_slice(tail, from, tail.n);
    }
    e->tail = tail;
}

/* A full disk only delays: how it ended is what everybody waits for. */
static void exit_write(struct parent *p)
{
    struct journal_exit e;
    exit_describe(p, &e);
    e.lines = (int64_t)p->spool.next - 1;
    while ((spool_flush(&p->spool) != 0 || journal_exit_write(p->dir, &e) != 0) && !is_forsaken(p))
        poll(NULL, 0, 4 * TASK_BLOCKED_MS);
    journal_strip(p->dir);
}

/* In the child. */
static int live_inside(void *arg, int system)
{
    struct parent *p = arg;
    close(p->signals);
    return work_run(&p->task, &p->arena, p->dir, system);
}

static bool envelope_read(struct parent *p, const char **fault)
{
    struct buf b = {0};
    bool good = false;
    *fault = "the envelope cannot be read";
    if (journal_envelope(p->dir, &b) == 0) {
        const struct json *j = json_parse(&p->arena, arena_str(&p->arena, buf_view(&b)), NULL, NULL);
        good = j != NULL && task_read(j, &p->task, fault);
    }
    if (b.p != NULL)
        explicit_bzero(b.p, b.cap);
    buf_free(&b);
    p->inside = good && work_knows(p->task.type);
    if (p->inside) {
        *fault = command_read_inside(&p->arena, &p->task, &p->command);
        p->command.inside = live_inside;
        p->command.arg = p;
    } else if (good) {
        *fault = command_read(&p->arena, &p->task, &p->command);
    }
    return good && *fault == NULL;
}

static bool mask_make(struct parent *p)
{
    struct str *secrets;
    size_t n;
    if (!command_secrets(&p->arena, &p->task, &secrets, &n))
        return false;
    p->mask = mask_new(secrets, n);
    if (p->mask == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++)
        if (!mask_stream_init(&p->outputs[i].mask, p->mask))
            return false;
    if (mask_skipped(p->mask) > 0)
        say(p, "%zu secret%s shorter than %d bytes and not masked", mask_skipped(p->mask),
            mask_skipped(p->mask) == 1 ? " is" : "s are", PROTOCOL_SECRET_MIN);
    return true;
}

static void failed_start(struct parent *p, const char *cause, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void failed_start(struct parent *p, const char *cause, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->message, sizeof p->message, fmt, args);
    va_end(args);
    p->cause = cause;
    say(p, "%s", p->message);
}

static void signals_take(struct parent *p)
{
    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGCHLD);
    sigprocmask(SIG_SETMASK, &taken, NULL);
    p->signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

/* Journal first, command second: a parent that dies in between takes the child with it, and nothing has run. */
static bool command_launch(struct parent *p)
{
    int error = command_start(&p->command, p->work, &p->child);
    if (error != 0) {
        failed_start(p, PROTOCOL_START, "no process could be made: %s", strerror(error));
        return false;
    }
    struct journal_started s = {.parent = getpid(), .pid = p->child.pid, .started_ms = p->started_ms = clock_wall_ms()};
    process_start(s.parent, &s.parent_start);
    process_start(s.pid, &s.pid_start);
    error = journal_started_write(p->dir, &s);
    if (error != 0) {
        kill(p->child.pid, SIGKILL);
        failed_start(p, PROTOCOL_START, "the journal cannot be written: %s", strerror(error));
        return false;
    }
    const char *stage;
    error = command_go(&p->child, &stage);
    if (error != 0) {
        failed_start(p, PROTOCOL_START, "%s: %s", strcmp(stage, "chdir") == 0 ? p->command.folder : p->command.argv[0],
                     strerror(error));
        return false;
    }
    p->started = true;
    p->outputs[0].fd = p->child.out;
    p->outputs[1].fd = p->child.err;
    p->outputs[2].fd = p->child.system;
    if (p->task.timeout_s > 0)
        p->deadline = clock_mono_ms() + (int64_t)(p->task.timeout_s * 1000);
    return true;
}

static bool may_begin(struct parent *p)
{
    const char *fault;
    struct journal_cancel cancel;
    if (!envelope_read(p, &fault))
        failed_start(p, PROTOCOL_START, "%s", fault);
    else if (!mask_make(p))
        failed_start(p, PROTOCOL_START, "its secrets are too large or too many to be masked");
    else if (journal_cancel_read(p->dir, &p->arena, &cancel))
        failed_start(p, PROTOCOL_CANCELLED, "cancelled before it began");
    else
        return true;
    return false;
}

/* --- what it leaves behind --- */

static void upload_say(void *arg, const char *text)
{
    say(arg, "%s", text);
}

/* SIGTERM, for the command that is no more. */
static bool upload_stopped(void *arg)
{
    struct parent *p = arg;
    struct signalfd_siginfo info;

    while (read(p->signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo == SIGTERM)
            p->cut = true;
    return p->cut;
}

static void leave_artifacts(struct parent *p)
{
    const struct upload_job job = {
        .task = &p->task, .arena = &p->arena, .dir = p->dir, .say = upload_say, .stopped = upload_stopped, .arg = p};

    if (p->started && !p->inside && p->cause == NULL)
        upload_artifacts(&job);
}

static void task_live(struct parent *p)
{
    p->outputs[0] = (struct output){.stream = TASK_STDOUT, .fd = -1};
    p->outputs[1] = (struct output){.stream = TASK_STDERR, .fd = -1};
    p->outputs[2] = (struct output){.stream = TASK_SYSTEM, .fd = -1};
    p->started_ms = clock_wall_ms();
    if (may_begin(p) && command_launch(p))
        while (p->life != LIFE_OVER)
            turn(p);
    leave_artifacts(p);
    exit_write(p);
    if (p->child.pid > 0)
        waitpid(p->child.pid, NULL, 0);
}

static void task_fini(struct parent *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->outputs); i++) {
        mask_stream_fini(&p->outputs[i].mask);
        buf_free(&p->outputs[i].pending);
    }
    mask_free(p->mask);
    spool_writer_close(&p->spool);
    buf_free(&p->record);
    buf_free(&p->tail);
    arena_fini(&p->arena);
}

int task_run(const char *path, const struct spool_limits *limits)
{
    struct parent p = {.life = LIFE_RUNS};
    arena_init(&p.arena, 0);
    signals_take(&p);
    p.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int lock = p.dir >= 0 ? journal_lock(p.dir) : errno;
    int out = lock == 0 ? file_folder(p.dir, "out") : -1;
    p.work = lock == 0 ? file_folder(p.dir, "work") : -1;
    int error = lock != 0 ? lock : out < 0 || p.work < 0 ? errno : 0;
    struct journal_started before;
    if (error == 0 && journal_started_read(p.dir, &p.arena, &before))
        error = EEXIST; /* it ran once already: never again */
    if (error == 0)
        error = spool_writer_open(&p.spool, out, limits != NULL ? limits : &spool_limits_default);
    if (error != 0) {
        fprintf(stderr, "slipway agent --task %s: %s\n", path, strerror(error));
        return 1;
    }
    close(out);
    task_live(&p);
    task_fini(&p);
    return 0;
}

int task_launch(const char *exe, const char *path, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t set;
    char log[4096];
    if ((size_t)snprintf(log, sizeof log, "%s/parent.log", path) >= sizeof log)
        return ENAMETOOLONG;
    if (posix_spawn_file_actions_init(&files) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&how) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_addclosefrom_np(&files, 3); /* whatever the agent was started with is not the task's */
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&how, &set);
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&how, &set);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    char *argv[] = {(char[]){"slipway"}, (char[]){"agent"}, (char[]){"--task"}, NULL, NULL};
    argv[3] = strdup(path);
    extern char **environ;
    int error = argv[3] != NULL ? posix_spawn(pid, exe, &files, &how, argv, environ) : ENOMEM;
    free(argv[3]);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return error;
}

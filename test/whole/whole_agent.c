/* An agent: what it includes is the real one, on a disk and processes that are here. A process of a task is the parent of
 * server/agent/task.h: it takes the lock, writes `started`, begins the command, writes its lines, and its end. */
#include "lib/clock.h"
#include "lib/log.h"
#include "server/agent/file.h"
#include "server/agent/held.h"
#include "server/agent/task.h"
#include "test/whole/whole.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t fake_wall(void);
static int64_t fake_mono(void);
static int fake_journal_open(struct journal *j, int data);
static int fake_add(struct journal *j, struct str id, struct str envelope);
static int fake_folder(struct journal *j, struct str id);
static void fake_each(struct journal *j, void (*each)(void *arg, struct str id), void *arg);
static void fake_remove(struct journal *j, struct str id);
static bool fake_started_read(int dir, struct arena *a, struct journal_started *out);
static int fake_cancel_write(int dir, const struct journal_cancel *c);
static bool fake_cancel_read(int dir, struct arena *a, struct journal_cancel *out);
static int fake_exit_write(int dir, const struct journal_exit *e);
static bool fake_exit_read(int dir, struct arena *a, struct journal_exit *out);
static int fake_said_write(int dir, const struct journal_said *s);
static bool fake_said_read(int dir, struct arena *a, struct journal_said *out);
static int fake_envelope(int dir, struct buf *out);
static bool fake_locked(int dir);
static int fake_openat(int dir, const char *name, int flags);
static int fake_spool_open(struct spool_reader *r, int dir);
static enum spool_answer fake_spool_read(struct spool_reader *r, struct str *record);
static void fake_spool_ack(struct spool_reader *r, uint64_t number);
static void fake_spool_rewind(struct spool_reader *r);
static int fake_launch(const char *exe, const char *path, pid_t *pid);
static bool fake_lives(int64_t pid, uint64_t start);
static pid_t fake_wait(pid_t pid);
static int fake_kill(pid_t pid);

#define clock_wall_ms                 fake_wall
#define clock_mono_ms                 fake_mono
#define journal_open                  fake_journal_open
#define journal_close(j)              ((void)(j))
#define journal_add                   fake_add
#define journal_folder                fake_folder
#define journal_each                  fake_each
#define journal_remove                fake_remove
#define journal_started_read          fake_started_read
#define journal_cancel_write          fake_cancel_write
#define journal_cancel_read           fake_cancel_read
#define journal_exit_write            fake_exit_write
#define journal_exit_read             fake_exit_read
#define journal_said_write            fake_said_write
#define journal_said_read             fake_said_read
#define journal_envelope              fake_envelope
#define journal_strip(dir)            ((void)(dir))
#define journal_settle(dir)           ((void)(dir))
#define journal_locked                fake_locked
#define openat                        fake_openat
#define close(fd)                     ((void)(fd))
#define spool_reader_open             fake_spool_open
#define spool_read                    fake_spool_read
#define spool_ack                     fake_spool_ack
#define spool_rewind                  fake_spool_rewind
#define spool_reader_close(r)         ((void)(r))
#define task_launch                   fake_launch
#define process_lives                 fake_lives
#define process_start(pid, start)     (*(start) = 0, false)
#define process_kill_session(pid)     ((void)(pid))
#define waitpid(pid, status, options) fake_wait(pid)
#define kill(pid, sig)                fake_kill(pid)
#include "server/agent/report.c"
#include "server/agent/tasks.c"

static _Thread_local struct whole_agent *self; /* whose code runs */

/* --- clocks --- */

static int64_t fake_wall(void)
{
    return world->now;
}

static int64_t fake_mono(void)
{
    return world->now - 1000000;
}

/* --- the disk; a folder's descriptor is its place --- */

static struct whole_process *process_of(int dir)
{
    return &self->disk[dir];
}

static int place_of(struct str id)
{
    for (int i = 0; i < WHOLE_TASKS; i++)
        if (self->disk[i].there && str_eqz(id, self->disk[i].id))
            return i;
    errno = ENOENT;
    return -1;
}

static int fake_journal_open(struct journal *j, int data)
{
    j->tasks = data;
    return 0;
}

static int fake_add(struct journal *j, struct str id, struct str envelope)
{
    (void)j;
    if (place_of(id) >= 0)
        return EEXIST;
    for (int i = 0; i < WHOLE_TASKS; i++) {
        struct whole_process *p = &self->disk[i];

        if (p->there)
            continue;
        *p = (struct whole_process){.there = true, .envelope = arena_str(&world->arena, envelope)};
        snprintf(p->id, sizeof p->id, STR_FMT, STR_ARG(id));
        return 0;
    }
    whole_fault("an agent's disk is full");
    return ENOSPC;
}

static int fake_folder(struct journal *j, struct str id)
{
    (void)j;
    return place_of(id);
}

static void fake_each(struct journal *j, void (*each)(void *arg, struct str id), void *arg)
{
    (void)j;
    for (int i = 0; i < WHOLE_TASKS; i++) {
        bool forgotten = world->bug == WHOLE_TASK_FORGOTTEN && dice_percent(&world->dice, 20);

        if (self->disk[i].there && !forgotten)
            each(arg, str_z(self->disk[i].id));
        else if (forgotten)
            self->disk[i].there = false;
    }
}

static void fake_remove(struct journal *j, struct str id)
{
    int place = place_of(id);

    (void)j;
    if (place >= 0)
        self->disk[place].there = false;
}

static bool fake_started_read(int dir, struct arena *a, struct journal_started *out)
{
    (void)a;
    if (process_of(dir)->started)
        *out =
            (struct journal_started){.parent = 1000 + dir, .pid = 5000 + dir, .started_ms = world->now, .here = true};
    return process_of(dir)->started;
}

static int fake_cancel_write(int dir, const struct journal_cancel *c)
{
    (void)c;
    process_of(dir)->cancel = true;
    return 0;
}

static bool fake_cancel_read(int dir, struct arena *a, struct journal_cancel *out)
{
    (void)a, (void)out;
    return process_of(dir)->cancel;
}

static int fake_exit_write(int dir, const struct journal_exit *e)
{
    struct whole_process *p = process_of(dir);

    if (p->exited)
        return 0;
    p->exited = true;
    p->success = e->cause == NULL;
    snprintf(p->cause, sizeof p->cause, "%s", e->cause == NULL ? "" : e->cause);
    return 0;
}

static bool fake_exit_read(int dir, struct arena *a, struct journal_exit *out)
{
    const struct whole_process *p = process_of(dir);

    (void)a;
    if (p->exited)
        *out = (struct journal_exit){.cause = p->success ? NULL : p->cause,
                                     .message = S("m"),
                                     .exit_code = p->success ? 0 : -1,
                                     .started_ms = world->now,
                                     .finished_ms = world->now,
                                     .retriable = true,
                                     .lines = (int64_t)p->lines};
    return p->exited;
}

static int fake_said_write(int dir, const struct journal_said *s)
{
    struct whole_process *p = process_of(dir);

    p->said_accepted = s->accepted;
    p->said_started = s->started;
    p->said_completed = s->completed;
    p->completed_ms = s->completed_ms;
    return 0;
}

static bool fake_said_read(int dir, struct arena *a, struct journal_said *out)
{
    const struct whole_process *p = process_of(dir);

    (void)a;
    *out = (struct journal_said){p->said_accepted, p->said_started, p->said_completed, p->completed_ms};
    return true;
}

static int fake_envelope(int dir, struct buf *out)
{
    buf_str(out, process_of(dir)->envelope);
    return 0;
}

static bool fake_locked(int dir)
{
    return process_of(dir)->runs;
}

/* --- the spool --- */

static int fake_openat(int dir, const char *name, int flags)
{
    (void)name, (void)flags;
    return process_of(dir)->started ? dir : -1;
}

static int fake_spool_open(struct spool_reader *r, int dir)
{
    *r = (struct spool_reader){.dir = dir, .acked = process_of(dir)->acked, .fresh = process_of(dir)->acked + 1};
    return 0;
}

static enum spool_answer fake_spool_read(struct spool_reader *r, struct str *record)
{
    struct buf b;

    if (r->fresh > process_of(r->dir)->lines)
        return SPOOL_NOTHING;
    buf_init_arena(&b, &world->arena, 64);
    task_line_write(&b, &(struct task_line){world->now, TASK_STDOUT,
                                            arena_printf(&world->arena, "line %llu", (unsigned long long)r->fresh)});
    *record = buf_view(&b);
    r->fresh++;
    return SPOOL_RECORD;
}

static void fake_spool_ack(struct spool_reader *r, uint64_t number)
{
    if (number > r->acked)
        r->acked = number;
    process_of(r->dir)->acked = r->acked;
}

static void fake_spool_rewind(struct spool_reader *r)
{
    r->fresh = r->acked + 1;
}

/* --- processes --- */

static int fake_launch(const char *exe, const char *path, pid_t *pid)
{
    int place = place_of(str_z(strrchr(path, '/') + 1));

    (void)exe;
    process_of(place)->starting++;
    *pid = 1000 + place;
    return 0;
}

static bool fake_lives(int64_t pid, uint64_t start)
{
    (void)start;
    return process_of((int)pid - 1000)->runs;
}

static pid_t fake_wait(pid_t pid)
{
    const struct whole_process *p = process_of(pid - 1000);

    return p->runs || p->starting > 0 ? 0 : pid;
}

static int fake_kill(pid_t pid)
{
    if (pid > 0)
        process_of(pid - 1000)->told_to_stop = true;
    return 0;
}

static void starts(struct whole_process *p)
{
    p->starting--;
    if (p->runs || p->started)
        return; /* another has the lock, or has had it */
    p->runs = p->started = true;
    if (++p->begun > 1)
        whole_fault("task %s was begun twice by its agent", p->id);
}

static void ends(struct whole_process *p, const char *cause)
{
    p->runs = false;
    if (p->exited)
        return;
    p->exited = true;
    p->success = cause == NULL;
    snprintf(p->cause, sizeof p->cause, "%s", cause == NULL ? "" : cause);
}

bool whole_process_step(struct whole_agent *a)
{
    unsigned from = dice_below(&world->dice, WHOLE_TASKS);

    for (unsigned i = 0; i < WHOLE_TASKS; i++) {
        struct whole_process *p = &a->disk[(from + i) % WHOLE_TASKS];

        if (!p->there || (p->starting == 0 && !p->runs))
            continue;
        if (p->starting > 0)
            starts(p);
        else if (p->told_to_stop || p->cancel)
            ends(p, PROTOCOL_CANCELLED);
        else if (p->lines < WHOLE_LINES && dice_percent(&world->dice, 70))
            p->lines++;
        else
            ends(p, dice_percent(&world->dice, 75) ? NULL : PROTOCOL_EXIT);
        return true;
    }
    return false;
}

bool whole_process_kill(struct whole_agent *a)
{
    for (int i = 0; i < WHOLE_TASKS; i++)
        if (a->disk[i].there && (a->disk[i].runs || a->disk[i].starting > 0)) {
            a->disk[i].runs = false;
            a->disk[i].starting = 0;
            return true;
        }
    return false;
}

/* --- the agent --- */

static const char *const capabilities[] = {"script", "host"};
static const struct tasks_settings settings = {
    .path = "/", .exe = "x", .capabilities = capabilities, .capability_count = 2, .most = 3};

bool whole_agent_start(struct whole_agent *a)
{
    self = a;
    a->tasks = calloc(1, sizeof *a->tasks);
    if (a->tasks == NULL || tasks_open(a->tasks, &settings, a->index) != 0)
        abort();
    a->up = true;
    return true;
}

void whole_agent_stop(struct whole_agent *a)
{
    self = a;
    tasks_close(a->tasks);
    free(a->tasks);
    a->tasks = NULL;
    a->up = false;
}

void whole_agent_tick(struct whole_agent *a)
{
    self = a;
    tasks_tick(a->tasks);
}

bool whole_agent_idle(const struct whole_agent *a)
{
    return a->tasks != NULL && a->tasks->running == 0;
}

static bool say(void *arg, struct str message)
{
    struct feed *f = arg;

    if (f->n_to_server >= WHOLE_MESSAGES / 2)
        return false;
    f->to_server[f->n_to_server++] = arena_str(&world->arena, message);
    world->coverage->messages++;
    return true;
}

void whole_agent_beat(struct whole_agent *a)
{
    struct json_out o;
    struct buf b;

    if (a->link == NULL || a->tasks->send == NULL)
        return;
    buf_init_arena(&b, &world->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("runningTaskIds"));
    tasks_write_ids(a->tasks, &o);
    json_key(&o, S("type"));
    json_put_z(&o, "heartbeat");
    json_close(&o, '}');
    say(a->link, buf_view(&b));
}

void whole_agent_linked(struct whole_agent *a)
{
    self = a;
    tasks_link(a->tasks, say, a->link);
    whole_agent_beat(a);
}

void whole_agent_unlinked(struct whole_agent *a)
{
    self = a;
    a->link = NULL;
    if (a->tasks != NULL)
        tasks_link(a->tasks, NULL, NULL);
}

void whole_agent_take(struct whole_agent *a, struct str message)
{
    struct arena scratch;
    const struct json *m;
    struct str type;

    self = a;
    arena_init(&scratch, 0);
    m = json_parse(&scratch, message, NULL, NULL);
    type = json_str(json_get(m, "type"));
    if (str_eqz(type, "task_assigned"))
        tasks_assign(a->tasks, json_get(m, "task"), world->now);
    else if (str_eqz(type, "task_cancel"))
        tasks_cancel(a->tasks, json_str(json_get(m, "taskId")), json_str(json_get(m, "reason")), 30);
    else if (str_eqz(type, "ack"))
        tasks_ack(a->tasks, json_str(json_get(m, "ref")));
    else if (str_eqz(type, "nack"))
        tasks_nack(a->tasks, json_str(json_get(m, "ref")), json_int(json_get(m, "next"), 0));
    else if (str_eqz(type, "synced"))
        whole_agent_linked(a);
    else if (!str_eqz(type, "config_update"))
        whole_fault("an agent is sent " STR_FMT, STR_ARG(message));
    arena_fini(&scratch);
}

#include "server/agent/tasks.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "server/agent/file.h"
#include "server/agent/held.h"
#include "server/agent/task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LOOK_MS = 1000, /* how often a parent's life is looked at */
    LAUNCHES = 5    /* parents that end without a word before the task counts as one that cannot start */
};

static struct held *held_of(struct list *link)
{
    return list_entry(link, struct held, link);
}

static struct list *all(const struct tasks *t)
{
    return (struct list *)(uintptr_t)&t->list;
}

static struct held *held_find(const struct tasks *t, struct str id)
{
    list_for (it, all(t))
        if (str_eqz(id, held_of(it)->id))
            return held_of(it);
    return NULL;
}

static bool key_is_known(const struct tasks *t, struct str key)
{
    list_for (it, all(t))
        if (str_eqz(key, held_of(it)->key))
            return true;
    return false;
}

static void held_close(struct held *h)
{
    if (h->reading)
        spool_reader_close(&h->out);
    h->reading = false;
    if (h->dir >= 0)
        close(h->dir);
    h->dir = -1;
    arena_fini(&h->arena);
    arena_init(&h->arena, 0);
}

static void held_free(struct held *h)
{
    held_close(h);
    arena_fini(&h->arena);
    list_remove(&h->link);
    free(h);
}

static struct held *held_new(struct tasks *t, struct str id, struct str key)
{
    struct held *h = calloc(1, sizeof *h);
    if (h == NULL || id.n >= sizeof h->id || key.n >= sizeof h->key) {
        free(h);
        return NULL;
    }
    memcpy(h->id, id.p, id.n);
    memcpy(h->key, key.p, key.n);
    h->dir = -1;
    arena_init(&h->arena, 0);
    list_append(&t->list, &h->link);
    return h;
}

static void held_done(struct tasks *t, struct held *h)
{
    h->state = HELD_DONE;
    t->running--;
    h->said.completed_ms = clock_wall_ms();
    journal_said_write(h->dir, &h->said);
    journal_settle(h->dir);
    log_info("task.done", "task=%s", h->id);
    held_close(h);
}

/* --- the journal at start --- */

static bool key_read(int dir, struct arena *a, struct str *key)
{
    struct buf b = {0};
    bool good = false;
    if (journal_envelope(dir, &b) == 0) {
        struct str text = arena_str(a, buf_view(&b));
        *key = json_str(json_get(json_parse(a, text, NULL, NULL), "idempotencyKey"));
        good = key->n > 0;
    }
    buf_free(&b);
    return good;
}

static void load(void *arg, struct str id)
{
    struct tasks *t = arg;
    struct arena a;
    struct str key;
    arena_init(&a, 0);
    int dir = journal_folder(&t->journal, id);
    struct held *h = dir >= 0 && key_read(dir, &a, &key) ? held_new(t, id, key) : NULL;
    if (h == NULL) {
        log_error("task.unreadable", "task=" STR_FMT, STR_ARG(id));
        if (dir >= 0)
            close(dir);
    } else {
        struct journal_cancel cancel;
        h->dir = dir;
        journal_said_read(dir, &h->arena, &h->said);
        h->cancelling = journal_cancel_read(dir, &h->arena, &cancel);
        h->state = h->said.completed ? HELD_DONE : HELD_NEW;
        if (h->state == HELD_DONE) {
            journal_settle(dir);
            held_close(h);
        } else {
            t->running++;
            log_info("task.found", "task=%s", h->id);
        }
    }
    arena_fini(&a);
}

static void prune(struct tasks *t)
{
    int64_t until = clock_wall_ms() - JOURNAL_KEEP_MS;
    list_for (it, &t->list) {
        struct held *h = held_of(it);
        if (h->state != HELD_DONE || h->said.completed_ms > until)
            continue;
        journal_remove(&t->journal, str_z(h->id));
        held_free(h);
    }
}

int tasks_open(struct tasks *t, const struct tasks_settings *settings, int data)
{
    *t = (struct tasks){.settings = settings};
    list_init(&t->list);
    int error = journal_open(&t->journal, data);
    if (error != 0)
        return error;
    journal_each(&t->journal, load, t);
    prune(t);
    return 0;
}

void tasks_close(struct tasks *t)
{
    list_for (it, &t->list)
        held_free(held_of(it));
    journal_close(&t->journal);
    buf_free(&t->message);
}

/* --- launching and watching --- */

static void spool_attach(struct held *h)
{
    if (h->reading)
        return;
    int out = openat(h->dir, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out < 0)
        return;
    h->reading = spool_reader_open(&h->out, out) == 0;
    h->sent_to = h->reading ? h->out.acked : 0;
    close(out);
}

static bool parent_lives(struct held *h)
{
    if (h->child > 0 && waitpid(h->child, NULL, WNOHANG) != 0)
        h->child = 0;
    return h->child > 0 || journal_locked(h->dir);
}

static void declare_unstartable(struct held *h)
{
    struct journal_exit e = {
        .cause = PROTOCOL_START,
        .message = S("no parent process for the task could be started on the agent's host"),
        .exit_code = -1,
        .started_ms = clock_wall_ms(),
        .finished_ms = clock_wall_ms(),
    };
    journal_exit_write(h->dir, &e);
    journal_strip(h->dir);
}

static void launch(struct tasks *t, struct held *h)
{
    char path[4096];
    if (h->launches++ >= LAUNCHES) {
        declare_unstartable(h);
        return;
    }
    snprintf(path, sizeof path, "%s/tasks/%s", t->settings->path, h->id);
    int error = task_launch(t->settings->exe, path, &h->child);
    if (error != 0)
        log_error("task.launch", "task=%s error=%s", h->id, strerror(error));
}

static void parent_term(struct held *h)
{
    if (h->child > 0)
        kill(h->child, SIGTERM);
    else if (h->started.here && process_lives(h->started.parent, h->started.parent_start))
        kill((pid_t)h->started.parent, SIGTERM);
}

/* Nobody is left who could say how it ended. */
static void declare_lost(struct held *h)
{
    uint64_t start;
    bool other = process_start(h->started.pid, &start) && start != h->started.pid_start;
    if (h->started.here && !other) { /* the kernel killed the command; what is left of its groups follows */
        kill(-(pid_t)h->started.pid, SIGKILL);
        process_kill_session(h->started.pid);
    }
    struct journal_exit e = {
        .cause = PROTOCOL_LOST,
        .message = S("the task's parent process was killed, or the host went down"),
        .exit_code = -1,
        .retriable = true,
        .started_ms = h->started.started_ms,
        .finished_ms = clock_wall_ms(),
    };
    int error = journal_exit_write(h->dir, &e);
    journal_strip(h->dir);
    log_warn("task.lost", "task=%s journal=%s", h->id, error != 0 ? strerror(error) : "written");
}

static bool look_is_due(struct held *h)
{
    int64_t now = clock_mono_ms();
    if (h->looked != 0 && now - h->looked < LOOK_MS)
        return false;
    h->looked = now;
    return true;
}

static bool has_ended(struct held *h)
{
    if (!journal_exit_read(h->dir, &h->arena, &h->exit))
        return false;
    spool_attach(h);
    h->state = HELD_ENDED;
    h->dry = false;
    if (h->child > 0 && waitpid(h->child, NULL, WNOHANG) != 0)
        h->child = 0;
    log_info("task.ended", "task=%s cause=%s exit=%lld", h->id, h->exit.cause != NULL ? h->exit.cause : "success",
             (long long)h->exit.exit_code);
    return true;
}

static void watch_new(struct tasks *t, struct held *h)
{
    if (journal_started_read(h->dir, &h->arena, &h->started)) {
        h->state = HELD_RUNS;
        h->looked = 0;
        spool_attach(h);
        log_info("task.runs", "task=%s pid=%lld", h->id, (long long)h->started.pid);
        if (h->cancelling)
            parent_term(h);
    } else if (!has_ended(h) && look_is_due(h) && !parent_lives(h)) {
        if (!has_ended(h))
            launch(t, h);
    }
}

static void watch_running(struct held *h)
{
    spool_attach(h);
    if (has_ended(h) || !look_is_due(h) || parent_lives(h))
        return;
    if (!has_ended(h)) {
        declare_lost(h);
        has_ended(h);
    }
}

bool tasks_tick(struct tasks *t)
{
    bool open = true;
    list_for (it, &t->list) {
        struct held *h = held_of(it);
        if (h->state == HELD_NEW)
            watch_new(t, h);
        if (h->state == HELD_RUNS)
            watch_running(h);
        if (h->child > 0 && h->state == HELD_ENDED && waitpid(h->child, NULL, WNOHANG) != 0)
            h->child = 0;
        if (open && h->state != HELD_DONE)
            open = report(t, h);
    }
    return t->running > 0;
}

bool tasks_idle(const struct tasks *t)
{
    list_for (it, all(t))
        if (held_of(it)->state < HELD_ENDED)
            return false;
    return true;
}

void tasks_write_ids(const struct tasks *t, struct json_out *o)
{
    json_open(o, '[');
    list_for (it, all(t))
        if (held_of(it)->state != HELD_DONE)
            json_put_z(o, held_of(it)->id);
    json_close(o, ']');
}

/* --- the server's word --- */

void tasks_link(struct tasks *t, tasks_send *send, void *arg)
{
    t->send = send;
    t->arg = arg;
    for (size_t i = 0; send != NULL && i < t->unsaid_count; i++)
        report_refusal(t, str_z(t->unsaid[i].id), t->unsaid[i].why);
    t->unsaid_count = 0;
    if (send == NULL)
        return;
    list_for (it, &t->list) {
        struct held *h = held_of(it);
        if (h->state != HELD_DONE)
            report_forget_sent(h);
    }
    tasks_tick(t);
}

static bool is_capable(const struct tasks *t, struct str type)
{
    const char *needed = protocol_capability(type);
    for (size_t i = 0; needed != NULL && i < t->settings->capability_count; i++)
        if (strcmp(t->settings->capabilities[i], needed) == 0)
            return true;
    return false;
}

/* Given to us again: the server has forgotten, or never heard, what we said. A task that is done is opened again to say
 * how it ended; its lines were acknowledged. */
static void assigned_again(struct tasks *t, struct held *h)
{
    h->said = (struct journal_said){0};
    if (h->state == HELD_DONE) {
        h->dir = journal_folder(&t->journal, str_z(h->id));
        if (h->dir < 0 || !journal_exit_read(h->dir, &h->arena, &h->exit)) {
            held_close(h);
            h->said = (struct journal_said){.accepted = true, .started = true, .completed = true};
            return;
        }
        journal_started_read(h->dir, &h->arena, &h->started);
        h->state = HELD_ENDED;
        t->running++;
    }
    journal_said_write(h->dir, &h->said);
    report_forget_sent(h);
}

static bool may_take(struct tasks *t, const struct task *task, int64_t now_ms, enum protocol_refusal *why)
{
    if (!is_capable(t, task->type))
        *why = PROTOCOL_CAPABILITY;
    else if (key_is_known(t, task->idempotency_key))
        *why = PROTOCOL_INVALID;
    else if (task->expires_ms != 0 && task->expires_ms <= now_ms)
        *why = PROTOCOL_EXPIRED;
    else if (t->draining || t->running >= t->settings->most)
        *why = PROTOCOL_BUSY;
    else
        *why = PROTOCOL_REFUSALS;
    return *why == PROTOCOL_REFUSALS;
}

/* In the journal first, then in memory, then said: what was accepted is never lost. */
static bool take(struct tasks *t, const struct task *task)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    task_write(&o, task);
    int error = b.failed ? ENOMEM : journal_add(&t->journal, task->id, buf_view(&b));
    if (b.p != NULL)
        explicit_bzero(b.p, b.cap);
    buf_free(&b);
    struct held *h = error == 0 ? held_new(t, task->id, task->idempotency_key) : NULL;
    if (h != NULL)
        h->dir = journal_folder(&t->journal, task->id);
    if (h == NULL || h->dir < 0) {
        log_error("task.journal", "task=" STR_FMT " error=%s", STR_ARG(task->id), strerror(error != 0 ? error : errno));
        if (h != NULL)
            held_free(h);
        if (error == 0)
            journal_remove(&t->journal, task->id);
        return false;
    }
    t->running++;
    return true;
}

static void refuse(struct tasks *t, struct str id, enum protocol_refusal why)
{
    if (t->send != NULL) {
        report_refusal(t, id, why);
    } else if (t->unsaid_count < ARRAY_LEN(t->unsaid) && id.n < PROTOCOL_ID) {
        struct unsaid *u = &t->unsaid[t->unsaid_count++];
        snprintf(u->id, sizeof u->id, STR_FMT, STR_ARG(id));
        u->why = why;
    }
}

void tasks_assign(struct tasks *t, const struct json *json, int64_t now_ms)
{
    struct task task;
    const char *fault = NULL;
    enum protocol_refusal why = PROTOCOL_INVALID;
    prune(t);
    if (!task_read(json, &task, &fault)) {
        log_warn("task.invalid", "fault=%s", fault);
        refuse(t, json_str(json_get(json, "id")), why);
        return;
    }
    struct held *h = held_find(t, task.id);
    if (h != NULL)
        assigned_again(t, h);
    else if (!may_take(t, &task, now_ms, &why) || (why = PROTOCOL_BUSY, !take(t, &task))) {
        log_info("task.refused", "task=" STR_FMT " reason=%s", STR_ARG(task.id), protocol_refusals[why]);
        refuse(t, task.id, why);
        return;
    }
    tasks_tick(t);
}

static void cancel(struct held *h, struct str reason, double grace_s)
{
    if (h->state != HELD_NEW && h->state != HELD_RUNS)
        return;
    int error = journal_cancel_write(h->dir, &(struct journal_cancel){grace_s, reason});
    if (error != 0)
        log_error("task.cancel", "task=%s error=%s", h->id, strerror(error));
    h->cancelling = true;
    log_info("task.cancelling", "task=%s", h->id);
    parent_term(h);
}

void tasks_cancel(struct tasks *t, struct str id, struct str reason, double grace_s)
{
    struct held *h = held_find(t, id);
    if (h != NULL)
        cancel(h, reason, grace_s);
}

void tasks_cancel_all(struct tasks *t, struct str reason)
{
    list_for (it, &t->list)
        cancel(held_of(it), reason, PROTOCOL_GRACE_S);
}

void tasks_ack(struct tasks *t, struct str ref)
{
    struct str what = ref, id = str_cut(&what, '|');
    struct held *h = held_find(t, id);
    if (h == NULL || h->state == HELD_DONE)
        return;
    struct journal_said before = h->said;
    if (report_ack(h, what)) {
        held_done(t, h);
        return;
    }
    if (before.accepted != h->said.accepted || before.started != h->said.started)
        journal_said_write(h->dir, &h->said);
    report(t, h);
}

void tasks_nack(struct tasks *t, struct str ref, int64_t next)
{
    struct str what = ref, id = str_cut(&what, '|');
    struct held *h = held_find(t, id);
    if (h != NULL && h->state != HELD_DONE)
        report_nack(h, what, next);
}

void tasks_drain(struct tasks *t)
{
    t->draining = true;
}

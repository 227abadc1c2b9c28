#include "server/agent/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* --- what to run --- */

struct variables {
    struct arena *arena;
    char **list;
    size_t n, cap;
    bool failed;
};

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return s.n > 0;
}

/* The later one of a name wins. */
static void variable_set(struct variables *v, struct str name, struct str value)
{
    struct str text = arena_printf(v->arena, STR_FMT "=" STR_FMT, STR_ARG(name), STR_ARG(value));
    size_t i = 0;
    while (i < v->n && strncmp(v->list[i], text.p == NULL ? "" : text.p, name.n + 1) != 0)
        i++;
    if (text.p == NULL || i + 1 >= v->cap) {
        v->failed = true;
        return;
    }
    v->list[i] = arena_z(v->arena, text);
    v->failed |= v->list[i] == NULL;
    v->n += i == v->n;
}

static void variables_inherit(struct variables *v)
{
    static const char *const names[] = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"};
    for (char **e = environ; *e != NULL; e++) {
        struct str value = str_z(*e), name = str_cut(&value, '=');
        bool known = str_starts(name, S("LC_"));
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            known = known || str_eqz(name, names[i]);
        if (known && value.p != NULL)
            variable_set(v, name, value);
    }
}

static void variables_place(struct variables *v, const struct task *task)
{
    struct task_place place;
    variable_set(v, S("SLIPWAY_TASK_ID"), task->id);
    if (!task_place(task->id, &place))
        return;
    variable_set(v, S("SLIPWAY_RUN_ID"), place.run);
    variable_set(v, S("SLIPWAY_NODE_ID"), place.node);
    variable_set(v, S("SLIPWAY_ATTEMPT"), arena_int(v->arena, place.attempt));
}

char **command_environment(struct arena *a, const struct task *task, const struct json *env,
                           const struct str (*more)[2], size_t n)
{
    enum { INHERITED = 64 };
    struct variables v = {.arena = a, .cap = INHERITED + json_count(env) + json_count(task->credentials) + n};
    v.list = arena_array(a, v.cap, sizeof *v.list);
    v.failed = v.list == NULL;
    if (!v.failed)
        variables_inherit(&v);
    for (struct json_iter it = json_members(env); !v.failed && json_next(&it);)
        if (is_name(it.name))
            variable_set(&v, it.name, json_str(it.value));
    for (struct json_iter it = json_members(task->credentials); !v.failed && json_next(&it);)
        if (is_name(it.name) && json_is(it.value, JSON_STRING))
            variable_set(&v, it.name, json_str(it.value));
    for (size_t i = 0; !v.failed && i < n; i++)
        variable_set(&v, more[i][0], more[i][1]);
    if (!v.failed)
        variables_place(&v, task);
    return v.failed ? NULL : v.list;
}

static char **arguments(struct arena *a, const struct json *command)
{
    bool text = json_is(command, JSON_STRING);
    size_t n = text ? 3 : json_count(command);
    char **argv = arena_array(a, n + 1, sizeof *argv);
    for (size_t i = 0; argv != NULL && i < n; i++) {
        const struct str shell[] = {S("/bin/sh"), S("-c"), json_str(command)};
        struct str arg = text ? shell[i] : json_str(json_at(command, i));
        argv[i] = arena_z(a, arg.p != NULL ? arg : S(""));
        if (argv[i] == NULL)
            return NULL;
    }
    return argv;
}

char **command_arguments(struct arena *a, const struct json *texts)
{
    if (!json_is(texts, JSON_ARRAY) || json_str(json_at(texts, 0)).n == 0)
        return NULL;
    for (size_t i = 0; i < json_count(texts); i++)
        if (!json_is(json_at(texts, i), JSON_STRING))
            return NULL;
    return arguments(a, texts);
}

bool command_variables(const struct json *variables)
{
    if (variables != NULL && !json_is(variables, JSON_OBJECT) && !json_is(variables, JSON_NULL))
        return false;
    for (struct json_iter it = json_members(variables); json_next(&it);)
        if (!is_name(it.name) || !json_is(it.value, JSON_STRING))
            return false;
    return true;
}

static const char *grace_read(const struct task *task, struct command *out)
{
    out->grace_s = json_real(json_get(task->payload, "graceSeconds"), PROTOCOL_GRACE_S);
    return out->grace_s >= 0 && out->grace_s <= 3600 ? NULL : "payload.graceSeconds is not within 0 and 3600";
}

const char *command_read_inside(struct arena *a, const struct task *task, struct command *out)
{
    *out = (struct command){.env = command_environment(a, task, NULL, NULL, 0), .folder = "."};
    return out->env != NULL ? grace_read(task, out) : "there is no memory for the task";
}

const char *command_read(struct arena *a, const struct task *task, struct command *out)
{
    const struct json *command = json_get(task->payload, "command"), *env = json_get(task->payload, "env");
    if (!str_eqz(task->type, PROTOCOL_EXECUTE))
        return "this agent runs tasks of type " PROTOCOL_EXECUTE " only";
    if (json_is(command, JSON_STRING) ? json_str(command).n == 0 : json_str(json_at(command, 0)).n == 0)
        return "payload.command is neither a text nor an array of at least one text";
    for (size_t i = 0; json_is(command, JSON_ARRAY) && i < json_count(command); i++)
        if (!json_is(json_at(command, i), JSON_STRING))
            return "payload.command has an element that is no text";
    if (!command_variables(env))
        return "payload.env has a name that no variable can have, or a value that is no text, or is no object";
    struct str folder = json_str(json_get(task->payload, "workingDirectory"));
    *out = (struct command){
        .argv = arguments(a, command),
        .env = command_environment(a, task, env, NULL, 0),
        .folder = arena_z(a, folder.n > 0 ? folder : S(".")),
    };
    if (out->argv == NULL || out->env == NULL || out->folder == NULL)
        return "there is no memory for the command";
    return grace_read(task, out);
}

bool command_secrets(struct arena *a, const struct task *task, struct str **out, size_t *n)
{
    *n = 0;
    *out = arena_array(a, json_count(task->credentials) + 1, sizeof **out);
    if (*out == NULL)
        return false;
    for (struct json_iter it = json_members(task->credentials); json_next(&it);)
        if (json_is(it.value, JSON_STRING))
            (*out)[(*n)++] = json_str(it.value);
    return true;
}

/* --- running it --- */

enum { OUT, ERR, GO, FAILED, SYSTEM, PIPES };

static int pipes_open(int pipes[PIPES][2])
{
    for (int i = 0; i < PIPES; i++)
        pipes[i][0] = pipes[i][1] = -1;
    for (int i = 0; i < PIPES; i++)
        if (pipe2(pipes[i], O_CLOEXEC) != 0)
            return errno;
    return 0;
}

static void close_if(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

enum stage { STAGE_CHDIR, STAGE_EXEC };

struct failure {
    int error;
    enum stage stage;
};

_Noreturn static void child_fail(int failed, enum stage stage)
{
    struct failure f = {errno, stage};
    (void)!write(failed, &f, sizeof f);
    _exit(127);
}

void command_signals_reset(void)
{
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The parent may be killed at any time: the kernel then kills this process, and one that was orphaned before it asked
 * for that leaves by itself. */
_Noreturn static void child_run(const struct command *c, int work, pid_t parent, int pipes[PIPES][2])
{
    char go;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setsid();
    close(pipes[GO][1]);
    if (read(pipes[GO][0], &go, 1) != 1)
        _exit(127);
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(pipes[OUT][1], 1) < 0 || dup2(pipes[ERR][1], 2) < 0)
        child_fail(pipes[FAILED][1], STAGE_EXEC);
    if (null > 2)
        close(null);
    command_signals_reset();
    umask(022);
    if (fchdir(work) != 0 || chdir(c->folder) != 0)
        child_fail(pipes[FAILED][1], STAGE_CHDIR);
    environ = c->env; /* so that its PATH is the one that is searched */
    if (c->inside != NULL) {
        for (int i = 0; i < PIPES; i++) {
            close(pipes[i][0]);
            if (i != SYSTEM)
                close(pipes[i][1]);
        }
        _exit(c->inside(c->arg, pipes[SYSTEM][1]));
    }
    execvp(c->argv[0], c->argv);
    child_fail(pipes[FAILED][1], STAGE_EXEC);
}

int command_start(const struct command *c, int work, struct command_child *child)
{
    int pipes[PIPES][2];
    int error = pipes_open(pipes);
    pid_t self = getpid(), pid = error == 0 ? fork() : -1;
    if (pid == 0)
        child_run(c, work, self, pipes);
    if (error == 0 && pid < 0)
        error = errno;
    for (int i = 0; i < PIPES; i++)
        close_if(&pipes[i][i == GO ? 0 : 1]);
    if (c->inside == NULL)
        close_if(&pipes[SYSTEM][0]);
    if (error != 0) {
        for (int i = 0; i < PIPES; i++)
            close_if(&pipes[i][i == GO ? 1 : 0]);
        return error;
    }
    fcntl(pipes[OUT][0], F_SETFL, O_NONBLOCK);
    fcntl(pipes[ERR][0], F_SETFL, O_NONBLOCK);
    fcntl(pipes[SYSTEM][0], F_SETFL, O_NONBLOCK);
    *child = (struct command_child){.pid = pid,
                                    .out = pipes[OUT][0],
                                    .err = pipes[ERR][0],
                                    .system = pipes[SYSTEM][0],
                                    .go = pipes[GO][1],
                                    .failed = pipes[FAILED][0]};
    return 0;
}

int command_go(struct command_child *child, const char **stage)
{
    static const char *const stages[] = {[STAGE_CHDIR] = "chdir", [STAGE_EXEC] = "exec"};
    struct failure f = {0, STAGE_EXEC};
    ssize_t n = write(child->go, "g", 1);
    close_if(&child->go);
    if (n == 1)
        do
            n = read(child->failed, &f, sizeof f);
        while (n < 0 && errno == EINTR);
    close_if(&child->failed);
    *stage = stages[f.stage];
    return n == sizeof f ? f.error : 0; /* nothing written: exec closed the pipe */
}

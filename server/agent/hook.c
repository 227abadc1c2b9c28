#include "server/agent/hook.h"
#include "lib/clock.h"
#include "server/agent/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

_Noreturn static void child_run(const struct hook *h, pid_t parent, int failed)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    command_signals_reset();
    if (chdir(h->folder) == 0) {
        environ = h->env; /* so that its PATH is the one that is searched */
        execvp(h->argv[0], h->argv);
    }
    int error = errno;
    (void)!write(failed, &error, sizeof error);
    _exit(127);
}

/* 0, or the errno of what kept it from starting. */
static int start(const struct hook *h, pid_t *pid)
{
    int pipe[2], error = 0;
    pid_t self = getpid();
    if (pipe2(pipe, O_CLOEXEC) != 0)
        return errno;
    *pid = fork();
    if (*pid == 0)
        child_run(h, self, pipe[1]);
    if (*pid < 0)
        error = errno;
    else
        setpgid(*pid, *pid); /* whoever of the two is first */
    close(pipe[1]);
    ssize_t n;
    do
        n = error == 0 ? read(pipe[0], &error, sizeof error) : 0;
    while (n < 0 && errno == EINTR);
    close(pipe[0]);
    if (error != 0 && *pid > 0)
        waitpid(*pid, NULL, 0);
    return error;
}

static bool has_ended(pid_t pid, siginfo_t *info)
{
    info->si_pid = 0;
    return waitid(P_PID, (id_t)pid, info, WEXITED | WNOHANG | WNOWAIT) == 0 && info->si_pid != 0;
}

enum reason { NONE, TIME, STOPPED };

/* Until it has ended; why it was told to. It stays unreaped, so that its group's number is nobody else's. */
static enum reason await(struct work *w, const struct hook *h, pid_t pid, siginfo_t *info)
{
    enum reason reason = w->stopped ? STOPPED : NONE;
    int64_t due = clock_mono_ms() + (int64_t)(h->timeout_s * 1000), kill_at = 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    while (!has_ended(pid, info)) {
        int64_t now = clock_mono_ms();
        if (reason == NONE && now >= due)
            reason = TIME;
        if (reason != NONE && kill_at == 0) {
            kill(-pid, SIGTERM);
            kill(-pid, SIGCONT);
            kill_at = now + (int64_t)(h->grace_s * 1000);
        }
        if (kill_at != 0 && now >= kill_at)
            kill(-pid, SIGKILL);
        int64_t left = kill_at == 0 ? due - now : now < kill_at ? kill_at - now : 1000;
        left = left > 60000 ? 60000 : left < 1 ? 1 : left;
        if (sigtimedwait(&set, NULL, &(struct timespec){left / 1000, left % 1000 * 1000000}) == SIGTERM) {
            w->stopped = true;
            reason = reason == NONE ? STOPPED : reason;
        }
    }
    return reason;
}

bool hook_run(struct work *w, const struct hook *h, char *why, size_t room)
{
    pid_t pid = 0;
    siginfo_t info;
    int error = start(h, &pid);
    if (error != 0) {
        snprintf(why, room, "it did not start: %s", strerror(error));
        return false;
    }
    enum reason reason = await(w, h, pid, &info);
    kill(-pid, SIGTERM);
    waitpid(pid, NULL, 0);
    bool exited = info.si_code == CLD_EXITED;
    if (reason == TIME)
        snprintf(why, room, "its time of %g s was over", h->timeout_s);
    else if (reason == STOPPED)
        snprintf(why, room, "it was told to end");
    else if (exited)
        snprintf(why, room, "it ended with exit status %d", info.si_status);
    else
        snprintf(why, room, "it was ended by signal %d", info.si_status);
    return reason == NONE && exited && info.si_status == 0;
}

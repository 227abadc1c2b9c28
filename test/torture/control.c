/* How the driver (torture.mjs) arms the points of the process it started: by lines over a socket that the process
 * inherits (its number is in TORTURE_FD), each answered by a line of JSON, and before main() by TORTURE_ARM.
 *
 *     arm KINDS N TIMES      {}
 *     record KINDS           {}
 *     stop                   {"calls":12,"failures":1}
 *     sites                  {"sites":[SITE,...]}            what was recorded
 *     leaks                  {"leaks":false}                 whether LeakSanitizer finds any now; it tells on stderr
 *     memory                 {"bytes":123456}                that are allocated now; 0 without AddressSanitizer
 *
 * KINDS is a word of `words`, or several with commas. At the first failure after each arming {"failed":SITE} is said
 * unasked, before the call returns. SITE: {"n":1,"kind":"alloc","what":"malloc","stack":["+0x1234","uv_write",...]}: an
 * offset in the program, or a name in a library. */
#include "test/torture/point.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
extern const char __executable_start[];

static const char *const words[POINT_KINDS] = {"alloc", "descriptor", "connect", "read", "write", "file", "start"};
static int control = -1;

/* By system calls, so that the hooks do not see what is said. */
static void say(const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (control >= 0)
        syscall(SYS_write, control, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void say_site(const struct point_site *site)
{
    say("{\"n\":%u,\"kind\":\"%s\",\"what\":\"%s\",\"stack\":[", site->n, words[site->kind], site->what);
    for (unsigned i = 0; i < site->depth; i++) {
        Dl_info info = {0};
        const char *comma = i == 0 ? "" : ",";
        if (dladdr(site->stack[i], &info) != 0 && info.dli_fbase == (const void *)__executable_start)
            say("%s\"+0x%tx\"", comma, (const char *)site->stack[i] - __executable_start);
        else
            say("%s\"%s\"", comma,
                info.dli_sname != NULL   ? info.dli_sname
                : info.dli_fname != NULL ? info.dli_fname
                                         : "?");
    }
    say("]}");
}

static void fired(const struct point_site *site)
{
    say("{\"failed\":");
    say_site(site);
    say("}\n");
}

static unsigned kinds_of(char *text)
{
    unsigned kinds = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest))
        for (unsigned i = 0; i < POINT_KINDS; i++)
            if (strcmp(word, words[i]) == 0)
                kinds |= 1u << i;
    return kinds;
}

static void say_sites(void)
{
    const struct point_site *sites;
    unsigned count = point_sites(&sites);
    say("\"sites\":[");
    for (unsigned i = 0; i < count; i++) {
        say("%s", i == 0 ? "" : ",");
        say_site(&sites[i]);
    }
    say("]");
}

static void obey(const char *line)
{
    char kinds[128] = "";
    unsigned n, times;
    if (sscanf(line, "arm %127s %u %u", kinds, &n, &times) == 3) {
        point_arm(kinds_of(kinds), n, times);
        say("{}\n");
    } else if (sscanf(line, "record %127s", kinds) == 1) {
        point_record(kinds_of(kinds));
        say("{}\n");
    } else if (strcmp(line, "stop") == 0) {
        struct point_report report = point_stop();
        say("{\"calls\":%u,\"failures\":%u}\n", report.calls, report.failures);
    } else if (strcmp(line, "sites") == 0) {
        say("{");
        say_sites();
        say("}\n");
    } else if (strcmp(line, "leaks") == 0) {
        bool leaks = __lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0;
        say("{\"leaks\":%s}\n", leaks ? "true" : "false");
    } else if (strcmp(line, "memory") == 0) {
        say("{\"bytes\":%zu}\n",
            __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0);
    } else {
        say("{\"error\":\"what?\"}\n");
    }
}

static void *listen_to_driver(void *arg)
{
    (void)arg;
    point_exempt(true);
    char line[256];
    size_t n = 0;
    while (syscall(SYS_read, control, line + n, 1ul) == 1) {
        if (line[n] == '\n' || n == sizeof(line) - 1) {
            line[n] = '\0';
            obey(line);
            n = 0;
        } else {
            n++;
        }
    }
    return NULL;
}

/* What was recorded to the end of the process: {"last":{"calls":12,"sites":[...]}} */
__attribute__((destructor)) static void end(void)
{
    if (control < 0 || !point_recording())
        return;
    point_exempt(true);
    say("{\"last\":{\"calls\":%u,", point_stop().calls);
    say_sites();
    say("}}\n");
}

/* Before main(). Without TORTURE_FD the program is as ever. */
__attribute__((constructor)) static void start(void)
{
    const char *fd = getenv("TORTURE_FD");
    if (fd == NULL)
        return;
    control = atoi(fd);
    fcntl(control, F_SETFD, FD_CLOEXEC);
    point_init(fired);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, NULL, listen_to_driver, NULL) != 0)
        abort();
    pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    const char *first = getenv("TORTURE_ARM");
    if (first != NULL)
        obey(first);
    unsetenv("TORTURE_FD"); /* not for children */
    unsetenv("TORTURE_ARM");
}

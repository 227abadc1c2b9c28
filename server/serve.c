/* `slipway serve`: the main thread reads the settings, binds the listeners, runs the embedded Redis, starts one worker
 * per core, and then waits for signals. It serves nothing itself. */
#include "server/commands.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/notify.h"
#include "lib/signal.h"
#include "server/certificate.h"
#include "server/dialect.h"
#include "server/drain.h"
#include "server/embedded.h"
#include "server/router.h"
#include "server/settings.h"
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WORKERS_MAX = 256,
    IDLE_BEAT_MS = 3600000,
    LISTEN_AGAIN_MS = 1000,
    DESCRIPTORS_KEPT = 512 /* of all: not for connections */
};

struct serve {
    struct settings settings;
    struct router *router;
    struct loop loop;
    struct process process;
    struct store_seen seen;
    struct embedded *embedded;
    struct drain drain;
    struct signal_watch term, interrupt, hangup;
    struct timer listen_again; /* a file of where the server is could not be written */
    struct timer beat;         /* signals alone do not keep a loop running */
    int64_t beat_ms;
    bool watched; /* by the service manager: a beat tells it that every worker's loop goes round */
    struct listen listens[LISTENS];
    unsigned wanted; /* workers */
    int status;      /* what to exit with */
};

static bool complain(const char *what, const char *why)
{
    fprintf(stderr, "slipway: %s: %s\n", what, why);
    return false;
}

/* --- DIR/listen, or --listen-file: where the server is, once it can serve; with ".tls" behind it for --tls-listen --- */

static void listen_path(const struct serve *s, unsigned which, char out[4096])
{
    bool given = s->settings.listen_file[0] != '\0';
    snprintf(out, 4096, "%s%s%s", given ? s->settings.listen_file : s->settings.data, given ? "" : "/listen",
             which == LISTEN_TLS ? ".tls" : "");
}

static bool write_listen(const struct serve *s, unsigned which)
{
    char path[4096], fresh[4096 + 8];
    struct buf text = {0};
    address_text(&s->listens[which].at, &text);
    buf_char(&text, '\n');
    listen_path(s, which, path);
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool written = !text.failed && fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n;
    if (fd >= 0)
        close(fd);
    written = written && rename(fresh, path) == 0;
    if (!written)
        log_error("serve.listen_file", "path=%s error=\"%s\"", path, text.failed ? "out of memory" : strerror(errno));
    buf_free(&text);
    return written;
}

/* Whoever waits for the first file finds the others. */
static void write_listens(void *arg)
{
    struct serve *s = arg;
    bool written = true;
    for (unsigned i = LISTENS; i-- > 0;)
        written = written && (!s->listens[i].wanted || write_listen(s, i));
    if (!written)
        timer_start(&s->listen_again, &s->loop, LISTEN_AGAIN_MS, write_listens, s);
}

static void announce(struct serve *s)
{
    struct buf text[LISTENS] = {0};
    for (unsigned i = 0; i < LISTENS; i++)
        if (s->listens[i].wanted)
            address_text(&s->listens[i].at, &text[i]);
    write_listens(s);
    log_info("serve.ready", "listen=" STR_FMT " tls=" STR_FMT " workers=%u", STR_ARG(buf_view(&text[LISTEN_PLAIN])),
             STR_ARG(buf_view(&text[LISTEN_TLS])), s->process.count);
    for (unsigned i = 0; i < LISTENS; i++)
        buf_free(&text[i]);
    notify_send("READY=1");
}

static void unannounce(struct serve *s)
{
    char path[4096];
    timer_stop(&s->listen_again);
    for (unsigned i = 0; i < LISTENS; i++) {
        listen_path(s, i, path);
        unlink(path);
    }
}

/* --- events of the main thread --- */

static void on_redis_closed(void *arg)
{
    struct serve *s = arg;
    s->embedded = NULL;
    timer_stop(&s->beat);
    signal_close(&s->term, NULL, NULL);
    signal_close(&s->interrupt, NULL, NULL);
    signal_close(&s->hangup, NULL, NULL);
    loop_stop(&s->loop);
}

static void on_ended(void *arg)
{
    struct serve *s = arg;
    unannounce(s);
    if (s->embedded != NULL)
        embedded_close(s->embedded, on_redis_closed, s);
    else
        on_redis_closed(s);
}

static void fail(struct serve *s)
{
    s->status = 1;
    drain_begin(&s->drain, 0, s->settings.drain_timeout);
}

static bool all_serve(const struct process *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (worker_state(&p->workers[i]) < WORKER_SERVING)
            return false;
    return true;
}

static void on_wake(void *arg)
{
    struct serve *s = arg;
    struct process *p = &s->process;
    if (__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE) && s->status == 0)
        fail(s);
    if (process_phase(p) == PHASE_STARTING && all_serve(p)) {
        process_enter(p, PHASE_READY);
        announce(s);
    }
    drain_changed(&s->drain);
}

static void on_signal(void *arg, int signum)
{
    struct serve *s = arg;
    log_info("serve.signal", "signal=%s", strsignal(signum));
    notify_send("STOPPING=1");
    /* Ctrl-C is a person, not a balancer: nobody has to notice first. */
    bool balanced = signum == SIGTERM && process_phase(&s->process) == PHASE_READY;
    drain_begin(&s->drain, balanced ? s->settings.drain_wait : 0, s->settings.drain_timeout);
}

/* What can be read anew while everything goes on. */
static void on_hangup(void *arg, int signum)
{
    struct serve *s = arg;
    bool wanted = s->listens[LISTEN_TLS].wanted, taken = wanted && certificate_load(&s->process);
    log_info("serve.reload", "signal=%s certificate=%s", strsignal(signum),
             taken    ? "taken"
             : wanted ? "refused"
                      : "none");
}

static void on_redis_up(void *arg)
{
    struct serve *s = arg;
    log_info("redis.up", "pid=%d socket=%s adopted=%s", embedded_pid(s->embedded), embedded_socket(s->embedded),
             embedded_adopted(s->embedded) ? "true" : "false");
}

static void on_redis_down(void *arg, const char *why)
{
    (void)arg;
    log_warn("redis.down", "why=%s", why);
}

static void on_redis_failed(void *arg, const char *why)
{
    log_error("redis.failed", "why=%s", why);
    fail(arg);
}

static const struct embedded_events redis_events = {on_redis_up, on_redis_down, on_redis_failed};

/* --- start --- */

/* As many descriptors as we are allowed to have; and no more connections than that leaves room for, since without a
 * descriptor nobody could be told anything. */
static void raise_descriptors(struct settings *s)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max == RLIM_INFINITY || (int64_t)limit.rlim_max - DESCRIPTORS_KEPT >= s->connections_max)
        return;
    int64_t room = (int64_t)limit.rlim_max - DESCRIPTORS_KEPT;
    s->connections_max = room > 1 ? room : 1;
    log_warn("serve.descriptors", "limit=%lld connections_max=%lld", (long long)limit.rlim_max,
             (long long)s->connections_max);
}

static bool read_proxies(struct settings *s)
{
    const char *wrong;
    return forwarded_init(&s->forwarded, &s->trust_proxy, s->trust_proxy_header == 1, &wrong) ||
           complain(wrong != NULL ? wrong : "trust-proxy", wrong != NULL ? "is no network" : strerror(ENOMEM));
}

static unsigned worker_count(const struct settings *s)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (s->workers > 0)
        return (unsigned)s->workers;
    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (unsigned)cores;
}

static bool bind_listeners(struct serve *s)
{
    return listen_bind(&s->listens[LISTEN_PLAIN], s->settings.listen, s->wanted) &&
           listen_bind(&s->listens[LISTEN_TLS], s->settings.tls_listen, s->wanted);
}

static bool open_redis(struct serve *s)
{
    const char *why = NULL;
    struct store_settings *store = &s->process.store;
    const char *url = s->settings.redis;
    if (strcmp(url, "embedded") == 0) {
        const struct embedded_settings settings = {.data = s->settings.data, .everysec = s->settings.redis_fsync == 1};
        s->embedded = embedded_open(&s->loop, &settings, &redis_events, s);
        if (s->embedded == NULL)
            return complain("redis", "no memory, or the data folder's path is too long");
        url = embedded_socket(s->embedded);
    }
    if (!redis_target_parse(str_z(url), &store->target, &why))
        return complain("redis", why);
    store->limits.call_ms = s->settings.redis_timeout;
    store->seen = &s->seen;
    return true;
}

static bool open_signals(struct serve *s)
{
    int error = signal_open(&s->term, &s->loop, SIGTERM, on_signal, s);
    if (error == 0)
        error = signal_open(&s->interrupt, &s->loop, SIGINT, on_signal, s);
    if (error == 0)
        error = signal_open(&s->hangup, &s->loop, SIGHUP, on_hangup, s);
    return error == 0 || complain("signals", strerror(-error));
}

static bool prepare(struct serve *s)
{
    char error[256];
    log_setup((enum log_level)s->settings.log_level, (enum log_format)s->settings.log_format, 2);
    signal_ignore_pipe();
    if (!read_proxies(&s->settings))
        return false;
    if (!listen_init(&s->listens[LISTEN_PLAIN], s->settings.listen, 8080) ||
        !listen_init(&s->listens[LISTEN_TLS], s->settings.tls_listen, 8443))
        return false;
    if (s->listens[LISTEN_TLS].wanted && (s->settings.tls_cert[0] == '\0' || s->settings.tls_key[0] == '\0'))
        return complain(s->settings.tls_listen, "--tls-listen wants --tls-cert and --tls-key");
    if (!settings_open_keyring(&s->settings, true))
        return false;
    s->router = router_new(dialects, error);
    if (s->router == NULL)
        return complain("routes", error);
    s->settings.router = s->router;
    raise_descriptors(&s->settings);
    s->wanted = worker_count(&s->settings);
    s->process.workers = calloc(s->wanted, sizeof(*s->process.workers));
    return s->process.workers != NULL || complain("workers", strerror(ENOMEM));
}

static bool make_workers(struct serve *s)
{
    for (s->process.count = 0; s->process.count < s->wanted; s->process.count++) {
        unsigned i = s->process.count;
        const int fds[LISTENS] = {listen_take(&s->listens[LISTEN_PLAIN], i), listen_take(&s->listens[LISTEN_TLS], i)};
        if (!worker_init(&s->process.workers[i], &s->process, i, fds))
            return false;
    }
    return true;
}

static bool load_certificate(struct serve *s)
{
    return !s->listens[LISTEN_TLS].wanted || certificate_load(&s->process) ||
           complain("--tls-cert", "there is no certificate to begin with");
}

static void start_workers(struct serve *s)
{
    unannounce(s);
    loop_on_wake(&s->loop, on_wake, s);
    for (unsigned i = 0; i < s->process.count; i++)
        worker_start(&s->process.workers[i]);
}

static void beat(void *arg)
{
    struct serve *s = arg;
    if (s->watched && process_beat(&s->process))
        notify_send("WATCHDOG=1");
    timer_start(&s->beat, &s->loop, s->beat_ms, beat, s);
}

static void start_beat(struct serve *s)
{
    int64_t ms = notify_watchdog_ms();
    s->watched = ms > 0;
    s->beat_ms = s->watched ? ms / 3 + 1 : IDLE_BEAT_MS;
    beat(s);
}

static void run(struct serve *s)
{
    s->process.loop = &s->loop;
    s->process.settings = &s->settings;
    s->process.started_ms = clock_wall_ms();
    drain_init(&s->drain, &s->process, on_ended, s);
    if (bind_listeners(s) && open_redis(s) && make_workers(s) && load_certificate(s)) {
        start_beat(s);
        start_workers(s);
    } else {
        s->status = 1;
        for (unsigned i = 0; i < s->process.count; i++)
            worker_fini(&s->process.workers[i]);
        on_ended(s);
    }
    loop_run(&s->loop);
}

static void clean_up(struct serve *s)
{
    for (unsigned i = 0; i < LISTENS; i++)
        listen_fini(&s->listens[i]);
    free(s->process.workers);
    router_free(s->router);
    settings_fini(&s->settings);
}

int serve_main(int argc, char **argv)
{
    static struct serve serve;
    struct serve *s = &serve;
    int status = settings_read(&s->settings, "serve", "Run the server.", NULL, NULL, argc, argv);
    if (status != CONFIG_READ) {
        settings_fini(&s->settings);
        return status;
    }
    if (!prepare(s) || loop_init(&s->loop) != 0 || !open_signals(s)) {
        clean_up(s); /* nothing runs yet that would have to be closed in order */
        return 1;
    }
    run(s);
    loop_fini(&s->loop);
    clean_up(s);
    log_info("serve.ended", "status=%d", s->status);
    return s->status;
}

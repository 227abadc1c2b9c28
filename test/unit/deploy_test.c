/* Deployments on a folder of this host, from a small server of artifacts on loopback. The last tests kill the deploying
 * process before one system call after another, and look at what that leaves and what the next try makes of it. */
#include "server/agent/deploy.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "server/agent/file.h"
#include "server/agent/identity.h"
#include "server/agent/release.h"
#include "server/agent/work.h"
#include "test/unit/tar.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "018f0000-0000-7000-8000-000000000001:1-deploy:1"

/* --- a server of artifacts --- */

struct artifact {
    const char *path;
    char *bytes, digest[TAR_DIGEST];
    size_t n;
};
enum { ONE, TWO, EVIL, SUID, ARTIFACTS };
static struct artifact artifacts[ARTIFACTS] = {{"/one"}, {"/two"}, {"/evil"}, {"/suid"}};

static struct {
    int listener;
    uint16_t port;
    pthread_t thread;
    char heard[4096]; /* the latest request */
    int cuts;         /* so many answers end after `cut_at` bytes */
    size_t cut_at, whole;
} peer;

/* The answer, or as much of it as comes before the server dies. */
static void say(int fd, const char *bytes, size_t n, size_t *left)
{
    size_t most = n < *left ? n : *left;
    (void)!write(fd, bytes, most);
    *left -= most;
    peer.whole += n;
}

static void answer(int fd)
{
    char head[200], path[64] = "";
    size_t n = 0;
    ssize_t got;

    memset(peer.heard, 0, sizeof(peer.heard));
    while (n < sizeof(peer.heard) - 1 && strstr(peer.heard, "\r\n\r\n") == NULL &&
           (got = read(fd, peer.heard + n, sizeof(peer.heard) - 1 - n)) > 0)
        n += (size_t)got;
    sscanf(peer.heard, "GET %63s", path);
    const struct artifact *a = NULL;
    for (size_t i = 0; i < ARTIFACTS; i++)
        if (strcmp(artifacts[i].path, path) == 0)
            a = &artifacts[i];
    snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
             a != NULL                   ? "200 OK"
             : strcmp(path, "/503") == 0 ? "503 Service Unavailable"
                                         : "404 Not Found",
             a != NULL ? a->n : 0);
    size_t left = peer.cuts > 0 ? peer.cut_at : SIZE_MAX;
    peer.cuts -= peer.cuts > 0;
    peer.whole = 0;
    say(fd, head, strlen(head), &left);
    if (a != NULL)
        say(fd, a->bytes, a->n, &left);
    close(fd);
}

static void *serve(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept4(peer.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        answer(fd);
    return NULL;
}

static int begin_all(void **state)
{
    static const struct tar_entry one[] = {{.name = "index.html", .text = "one"}},
                                  two[] = {{.name = "index.html", .text = "two"}},
                                  evil[] = {{.name = "../../evil", .text = "x"}},
                                  suid[] = {{.name = "run", .text = "x", .mode = 06755}};
    static const struct tar_entry *const all[] = {one, two, evil, suid};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);

    (void)state;
    for (size_t i = 0; i < ARTIFACTS; i++)
        artifacts[i].bytes = tar_make(NULL, all[i], 1, artifacts[i].digest, &artifacts[i].n);
    peer.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(peer.listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(peer.listener, 64) != 0 ||
        getsockname(peer.listener, (struct sockaddr *)&at, &n) != 0)
        return -1;
    peer.port = ntohs(at.sin_port);
    return pthread_create(&peer.thread, NULL, serve, NULL);
}

static int end_all(void **state)
{
    (void)state;
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    for (size_t i = 0; i < ARTIFACTS; i++)
        free(artifacts[i].bytes);
    return 0;
}

/* --- one agent's folders --- */

static char base[64], root[96];
static int dir;
static struct arena arena;
static struct work last; /* what came of the latest task */
static int64_t patience_ms;

static void settings(const char *allow, int64_t most)
{
    char text[256];
    snprintf(text, sizeof(text),
             "{\"artifactMax\":%lld,\"outboundAllow\":[%s],\"unpackMax\":100000,\"url\":\"http://127.0.0.1:%u\"}",
             (long long)most, allow, peer.port);
    int data = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(file_replace(data, DEPLOY_SETTINGS, str_z(text), false), 0);
    close(data);
}

static int begin(void **state)
{
    char path[128];
    struct identity id = {.agent = "a", .token = "tok-of-the-agent", .refresh = "r"};

    (void)state;
    snprintf(base, sizeof(base), "%s/deploy-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(base) == NULL)
        return -1;
    snprintf(root, sizeof(root), "%s/srv/site", base);
    snprintf(path, sizeof(path), "%s/tasks", base);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/tasks/t", base);
    mkdir(path, 0700);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mkdirat(dir, "work", 0700);
    arena_init(&arena, 0);
    last = (struct work){0};
    int data = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    identity_save(&id, data);
    close(data);
    settings("\"127.0.0.0/8\"", 100000);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buf_free(&last.outputs);
    close(dir);
    arena_fini(&arena);
    file_remove(AT_FDCWD, base);
    return 0;
}

/* --- tasks --- */

/* The outputs of the latest task; NULL: it failed. */
static const struct json *task(const char *type, const char *payload)
{
    struct task *t = arena_new(&arena, struct task);
    buf_free(&last.outputs);
    *t = (struct task){.id = S(ID), .type = str_z(type), .payload = json_parse(&arena, str_z(payload), NULL, NULL)};
    assert_non_null(t->payload);
    last = (struct work){.task = t, .arena = &arena, .dir = dir, .system = -1, .patience_ms = patience_ms};
    return work_do(&last) ? json_parse(&arena, buf_view(&last.outputs), NULL, NULL) : NULL;
}

static const char *digest_of(const char *path)
{
    for (size_t i = 0; i < ARTIFACTS; i++)
        if (strcmp(artifacts[i].path, path) == 0)
            return artifacts[i].digest;
    return artifacts[ONE].digest;
}

/* A payload that deploys the artifact at `path` as release `name`; absolute: not from the agent's own server. */
static const char *payload(const char *name, const char *path, bool absolute, const char *hooks)
{
    return arena_printf(
               &arena,
               "{\"root\":\"%s\",\"keep\":2,\"graceSeconds\":0.2,\"hooks\":{%s},\"variables\":{\"COLOUR\":"
               "\"blue\"},\"environment\":{\"id\":\"e\",\"name\":\"prod\"},\"deployment\":{\"id\":\"d\","
               "\"startedAt\":\"2026-01-01T00:00:00.000Z\"},\"target\":{\"id\":\"t\",\"name\":\"web-1\"},"
               "\"release\":{\"id\":\"id-%s\",\"name\":\"%s\",\"createdAt\":\"2026-01-01T00:00:00.000Z\","
               "\"components\":[{\"name\":\"site\",\"tag\":\"1\",\"digest\":\"%s\",\"artifactUrl\":\"%s%s\"}]}}",
               root, hooks, name, name, digest_of(path),
               absolute ? arena_printf(&arena, "http://127.0.0.1:%u", peer.port).p : "", path)
        .p;
}

static const struct json *deploy(const char *name, const char *path, const char *hooks)
{
    return task("deploy", payload(name, path, false, hooks));
}

static struct str text_at(const char *name)
{
    struct buf b = {0};
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    /* file_read follows no link at the end, and there is none */
    struct str text = file_read(AT_FDCWD, path, &b) == 0 ? arena_str(&arena, buf_view(&b)) : STR_NONE;
    buf_free(&b);
    return text;
}

static bool there(const char *name)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", root, name);
    return lstat(path, &st) == 0;
}

static void serves(const char *text)
{
    if (!str_eqz(text_at("current/site/index.html"), text))
        fail_msg("serves '" STR_FMT "', not '%s'", STR_ARG(text_at("current/site/index.html")), text);
}

static void sticker_says(const char *release)
{
    const struct json *sticker = json_parse(&arena, text_at("version.json"), NULL, NULL);
    assert_true(str_eqz(json_str(json_path(sticker, S("release.name"))), release));
}

static void failed(const char *cause, bool retriable, const char *text)
{
    if (last.cause == NULL || strcmp(last.cause, cause) != 0 || last.retriable != retriable ||
        strstr(last.message, text) == NULL)
        fail_msg("%s, retriable %d: %s", last.cause, last.retriable, last.message);
}

static void a_release_goes_out_and_its_sticker_with_it(void **state)
{
    (void)state;
    const struct json *out = deploy("one", "/one", "");
    assert_non_null(out);
    serves("one");
    assert_true(json_bool(json_get(out, "unpacked"), false));
    assert_true(json_is(json_get(out, "previous"), JSON_NULL));
    assert_true(str_eqz(json_str(json_get(out, "releaseId")), "id-one"));
    assert_true(str_eqz(json_str(json_at(json_get(out, "digests"), 0)), artifacts[ONE].digest));
    const struct json *sticker = json_parse(&arena, text_at("version.json"), NULL, NULL);
    assert_true(json_equal(sticker, json_get(out, "sticker")));
    assert_true(str_eqz(json_str(json_path(sticker, S("environment.name"))), "prod"));
    assert_true(str_eqz(json_str(json_path(sticker, S("deployment.id"))), "d"));
    assert_true(str_eqz(json_str(json_get(sticker, "version")), "1.0"));
    assert_non_null(strstr(peer.heard, "Authorization: Bearer tok-of-the-agent\r\n"));
    out = deploy("two", "/two", "");
    assert_non_null(out);
    serves("two");
    assert_true(str_eqz(json_str(json_get(out, "previous")), "one"));
    peer.heard[0] = '\0';
    out = task("rollback", payload("one", "/one", false, ""));
    assert_non_null(out);
    serves("one");
    sticker_says("one");
    assert_false(json_bool(json_get(out, "unpacked"), true));
    assert_string_equal(peer.heard, ""); /* it was there */
    out = task("rollback", arena_printf(&arena, "{\"root\":\"%s\",\"release\":null}", root).p);
    assert_non_null(out);
    assert_false(there("current"));
    assert_false(there("version.json"));
    assert_true(there("releases/one/site/index.html"));
    assert_true(json_is(json_get(out, "sticker"), JSON_NULL));
}

static void what_is_not_as_it_should_be_is_refused_with_nothing_changed(void **state)
{
    char *good = NULL;
    (void)state;
    assert_non_null(deploy("one", "/one", ""));
    good = arena_z(&arena, str_z(payload("two", "/two", false, "")));
    char *digest = strstr(good, "sha256:");
    digest[10] = digest[10] == '0' ? '1' : '0';
    assert_null(task("deploy", good));
    failed(PROTOCOL_DIGEST, false, "site has digest sha256:");
    assert_null(deploy("two", "/evil", ""));
    failed(PROTOCOL_UNPACK, false, "unsafe name");
    assert_null(deploy("../two", "/two", ""));
    failed(PROTOCOL_PAYLOAD, false, "name");
    assert_null(deploy("one", "/two", "")); /* in use, with another digest */
    failed(PROTOCOL_DIGEST, false, "in use");
    assert_false(there("releases/two"));
    assert_false(there("releases/.new-two"));
    assert_false(there("evil"));
    assert_false(there("../evil"));
    serves("one");
    sticker_says("one");
}

static void downloads_fail_by_what_kept_them(void **state)
{
    (void)state;
    assert_null(deploy("two", "/404", ""));
    failed(PROTOCOL_DOWNLOAD, false, "404");
    assert_null(deploy("two", "/503", ""));
    failed(PROTOCOL_DOWNLOAD, true, "503");
    assert_non_null(task("deploy", payload("two", "/two", true, "")));
    assert_null(strstr(peer.heard, "Authorization")); /* nobody else gets the token */
    settings("", 100000);
    assert_null(task("deploy", payload("one", "/one", true, "")));
    failed(PROTOCOL_GUARD, false, "not public");
    settings("", 100);
    assert_null(deploy("one", "/one", ""));
    failed(PROTOCOL_TOO_LARGE, false, "more than 100 bytes");
    unlinkat(dir, "../../" DEPLOY_SETTINGS, 0);
    assert_null(deploy("one", "/one", ""));
    failed(PROTOCOL_DOWNLOAD, true, DEPLOY_SETTINGS);
    serves("two");
}

/* What a server leaves that is killed while an agent fetches from it. */
static void a_download_that_is_cut_anywhere_is_made_again(void **state)
{
    (void)state;
    assert_non_null(deploy("two", "/two", ""));
    const size_t whole = peer.whole, body = whole - artifacts[TWO].n;
    const size_t places[] = {0, 1, body - 3, body - 1, body, body + 1, whole - 1};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        const char *name = arena_printf(&arena, "cut-%zu", places[i]).p;
        peer.cut_at = places[i];
        peer.cuts = 1;
        assert_null(deploy(name, "/two", "")); /* without patience: for the server's next attempt */
        failed(PROTOCOL_DOWNLOAD, true, "");
        peer.cuts = 2;
        patience_ms = 30000;
        assert_non_null(deploy(name, "/two", ""));
        assert_int_equal(peer.cuts, 0);
        sticker_says(name);
        patience_ms = 0;
    }
}

static void only_the_agents_own_server_is_asked_again(void **state)
{
    (void)state;
    patience_ms = 30000;
    peer.cuts = 1;
    peer.cut_at = 0;
    assert_null(task("deploy", payload("two", "/two", true, "")));
    failed(PROTOCOL_DOWNLOAD, true, "");
    assert_null(deploy("two", "/404", ""));
    failed(PROTOCOL_DOWNLOAD, false, "404");
    patience_ms = 0;
}

static void set_uid_is_dropped(void **state)
{
    char path[200];
    struct stat st;
    (void)state;
    assert_non_null(deploy("suid", "/suid", ""));
    snprintf(path, sizeof(path), "%s/current/site/run", root);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

static void hooks_know_where_they_are(void **state)
{
    (void)state;
    const char *hooks = "\"preDeploy\":[\"/bin/sh\",\"-c\",\"pwd > ../../pre; test ! -e ../../current\"],"
                        "\"postDeploy\":[\"/bin/sh\",\"-c\",\"echo $(pwd -P) $COLOUR $SLIPWAY_RELEASE "
                        "$SLIPWAY_ENVIRONMENT $SLIPWAY_TARGET $SLIPWAY_ROOT > $SLIPWAY_ROOT/post\"]";
    assert_non_null(deploy("one", "/one", hooks));
    assert_true(str_eqz(text_at("pre"), arena_printf(&arena, "%s/releases/one\n", root).p));
    assert_true(
        str_eqz(text_at("post"), arena_printf(&arena, "%s/releases/one blue one prod web-1 %s\n", root, root).p));
}

static void a_hook_that_fails_brings_the_old_release_back(void **state)
{
    static const struct {
        const char *hooks, *why;
    } rows[] = {
        {"\"preDeploy\":[\"/bin/sh\",\"-c\",\"exit 3\"]",
         "the preDeploy hook (/bin/sh) failed: it ended with exit status 3"},
        {"\"postDeploy\":[\"/bin/sh\",\"-c\",\"exit 4\"]",
         "the postDeploy hook (/bin/sh) failed: it ended with exit status 4"},
        {"\"postDeploy\":[\"/bin/sh\",\"-c\",\"kill -9 $$\"]", "it was ended by signal 9"},
        {"\"postDeploy\":[\"/bin/sh\",\"-c\",\"trap '' TERM; while :; do sleep 0.05; done\"],\"timeoutSeconds\":0.2",
         "its time of 0.2 s was over"},
        {"\"postDeploy\":[\"/no/such\"]", "it did not start: No such file"},
    };
    (void)state;
    assert_null(deploy("one", "/one", rows[1].hooks)); /* the first ever */
    assert_false(there("current"));
    assert_false(there("version.json"));
    assert_non_null(deploy("one", "/one", ""));
    struct str sticker = text_at("version.json");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_null(deploy("two", "/two", rows[i].hooks));
        failed(PROTOCOL_HOOK, true, rows[i].why);
        serves("one");
        assert_true(str_eq(text_at("version.json"), sticker));
        assert_false(there(".slipway-switch.json"));
    }
}

static void a_way_back_to_nothing_leaves_out_the_releases_own_hooks(void **state)
{
    (void)state;
    assert_non_null(deploy("one", "/one", ""));
    assert_non_null(
        task("rollback",
             arena_printf(&arena,
                          "{\"root\":\"%s\",\"release\":null,\"hooks\":{\"preDeploy\":[\"/bin/sh\",\"-c\",\"touch "
                          "$SLIPWAY_ROOT/pre\"],\"postDeploy\":[\"site/bin/serve\"]}}",
                          root)
                 .p));
    assert_false(there("current"));
    assert_true(there("pre"));
}

/* --- in a process of its own --- */

static pid_t fork_task(const char *type, const char *payload_text)
{
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        _exit(task(type, payload_text) != NULL ? 0 : strcmp(last.cause, PROTOCOL_CANCELLED) == 0 ? 2 : 1);
    }
    return pid;
}

static int reap(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void await_file(const char *name)
{
    int64_t until = clock_mono_ms() + 30000;
    while (!there(name)) {
        if (clock_mono_ms() > until)
            fail_msg("%s never came", name);
        poll(NULL, 0, 5);
    }
}

#define STUCK                                                                                                          \
    "\"postDeploy\":[\"/bin/sh\",\"-c\",\"trap 'exit 0' TERM; touch ../../in-hook; while :; do sleep 0.05; done\"]"

static void a_cancel_in_the_hook_brings_the_old_release_back(void **state)
{
    (void)state;
    assert_non_null(deploy("one", "/one", ""));
    pid_t pid = fork_task("deploy", payload("two", "/two", false, STUCK));
    await_file("in-hook");
    serves("two");
    kill(pid, SIGTERM);
    assert_int_equal(reap(pid), 2);
    serves("one");
    sticker_says("one");
}

static void a_kill_in_the_hook_is_put_right_by_its_parent_or_the_next_task(void **state)
{
    char text[WORK_MESSAGE];
    (void)state;
    assert_non_null(deploy("one", "/one", ""));
    const char *stuck = payload("two", "/two", false, STUCK);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork_task("deploy", stuck);
        await_file("in-hook");
        kill(pid, SIGKILL);
        assert_int_equal(reap(pid), -SIGKILL);
        serves("two");
        unlink(arena_printf(&arena, "%s/in-hook", root).p);
        if (i == 0) {
            const struct task t = {.type = S("deploy"), .payload = json_parse(&arena, str_z(stuck), NULL, NULL)};
            assert_true(work_undo(&t, &arena, text));
            assert_string_equal(text, "switched back to one");
            serves("one");
            sticker_says("one");
            assert_false(work_undo(&t, &arena, text));
            assert_string_equal(text, "");
        }
    }
    assert_null(deploy("two", "/two", "\"postDeploy\":[\"false\"]"));
    serves("one"); /* it knew that two was never good */
    sticker_says("one");
}

/* --- cut before each system call --- */

static bool changes(long call)
{
    static const long harmless[] = {
        SYS_read,        SYS_pread64,     SYS_lseek,      SYS_fstat,        SYS_newfstatat,     SYS_mmap,
        SYS_munmap,      SYS_mprotect,    SYS_brk,        SYS_getdents64,   SYS_ppoll,          SYS_futex,
        SYS_getpid,      SYS_ioctl,       SYS_fcntl,      SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigtimedwait,
        SYS_getsockname, SYS_getsockopt,  SYS_setsockopt, SYS_statfs,       SYS_fstatfs,        SYS_getrandom,
        SYS_prlimit64,   SYS_getpeername, SYS_recvfrom,   SYS_readlinkat,   SYS_socket,         SYS_madvise,
        SYS_close,
#ifdef SYS_poll
        SYS_poll,        SYS_access,
#endif
    };
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
        if (call == harmless[i])
            return false;
    return true;
}

/* Runs the task and kills it before its nth call that changes something. True: it came to its end before that. */
static bool cut(const char *payload_text, long nth, int *status)
{
    long seen = 0;
    int info, signal = 0;
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(99);
        raise(SIGSTOP);
        _exit(task("deploy", payload_text) != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &info, 0), pid);
    if (WIFEXITED(info))
        skip(); /* this place does not let processes be traced */
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    for (;;) {
        struct __ptrace_syscall_info call;
        ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)signal);
        assert_int_equal(waitpid(pid, &info, 0), pid);
        signal = 0;
        if (WIFEXITED(info)) {
            *status = WEXITSTATUS(info);
            return true;
        }
        assert_true(WIFSTOPPED(info));
        if (WSTOPSIG(info) != (SIGTRAP | 0x80)) {
            signal = WSTOPSIG(info);
            continue;
        }
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(call), &call) > 0 &&
            call.op == PTRACE_SYSCALL_INFO_ENTRY && changes((long)call.entry.nr) && ++seen == nth) {
            kill(pid, SIGKILL);
            waitpid(pid, &info, 0);
            return false;
        }
    }
}

static void whole(void)
{
    struct str text = text_at("current/site/index.html");
    assert_true(str_eqz(text, "one") || str_eqz(text, "two"));
    assert_true(there("current/.slipway-release.json"));
}

/* Back to `one` as if `two` had never been. */
static void start_over(void)
{
    assert_non_null(deploy("one", "/one", ""));
    file_remove(AT_FDCWD, arena_printf(&arena, "%s/releases/two", root).p);
}

static void assert_tidy(void)
{
    assert_false(there(".slipway-switch.json"));
    assert_false(there("releases/.new-two"));
}

static void a_deployment_cut_anywhere_is_finished_by_the_next_try(void **state)
{
    int status;
    long n = 1;
    (void)state;
    assert_non_null(deploy("one", "/one", ""));
    for (;; n++) {
        const char *two = payload("two", "/two", false, "\"preDeploy\":[\"true\"],\"postDeploy\":[\"true\"]");
        if (cut(two, n, &status))
            break;
        whole();
        bool good = str_eqz(text_at("current/site/index.html"), "two") && !there(".slipway-switch.json");
        const struct json *out = task("deploy", two);
        if (out == NULL)
            fail_msg("cut %ld: %s", n, last.message);
        assert_true(str_eqz(json_str(json_get(out, "previous")), good ? "two" : "one"));
        serves("two");
        sticker_says("two");
        assert_tidy();
        start_over();
    }
    assert_int_equal(status, 0);
    assert_in_range(n, 30, 2000);
}

static void a_deployment_cut_anywhere_whose_next_try_fails_goes_back(void **state)
{
    int status;
    (void)state;
    assert_non_null(deploy("one", "/one", ""));
    for (long n = 1;; n++) {
        const char *two = payload("two", "/two", false, "\"postDeploy\":[\"false\"]");
        if (cut(two, n, &status))
            break;
        whole();
        assert_null(task("deploy", two));
        failed(PROTOCOL_HOOK, true, "failed");
        serves("one");
        sticker_says("one");
        assert_tidy();
        start_over();
    }
    assert_int_equal(status, 1);
}

/* --- the other tasks --- */

static void stickers_are_written_and_read(void **state)
{
    (void)state;
    const char *read = arena_printf(&arena, "{\"root\":\"%s\"}", root).p;
    const struct json *out = task("read-sticker", read);
    assert_true(json_is(json_get(out, "sticker"), JSON_NULL));
    assert_true(json_is(json_get(out, "current"), JSON_NULL));
    assert_false(there(""));
    out = task("write-sticker", arena_printf(&arena, "{\"root\":\"%s\",\"sticker\":{\"b\":1,\"a\":2}}", root).p);
    struct str hash = json_str(json_get(out, "contentHash"));
    assert_true(str_starts(hash, S("sha256:")));
    assert_true(str_eqz(text_at("version.json"), "{\"a\":2,\"b\":1}"));
    out = task("read-sticker", read);
    assert_true(str_eq(json_str(json_get(out, "contentHash")), hash));
    assert_non_null(deploy("one", "/one", ""));
    out = task("read-sticker", read);
    assert_true(str_eqz(json_str(json_get(out, "current")), "one"));
    assert_int_equal(json_count(json_get(out, "components")), 1);
    int at = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(file_replace(at, "version.json", S("no json"), false), 0);
    close(at);
    out = task("read-sticker", read);
    assert_true(json_is(json_get(out, "sticker"), JSON_NULL));
    assert_true(json_str(json_get(out, "contentHash")).n > 0);
}

static const struct json *check(const char *members)
{
    return task("health-check",
                arena_printf(&arena, "{\"intervalSeconds\":0.01,\"retries\":2,\"timeoutSeconds\":5,%s}", members).p);
}

static void health_is_looked_at_until_it_is_good(void **state)
{
    (void)state;
    const char *port = arena_printf(&arena, "\"port\":%u", peer.port).p;
    assert_true(json_bool(json_get(check("\"type\":\"none\""), "healthy"), false));
    assert_non_null(check(arena_printf(&arena, "\"type\":\"tcp\",%s", port).p));
    assert_null(check("\"type\":\"tcp\",\"port\":1"));
    failed(PROTOCOL_UNHEALTHY, false, "Connection refused");
    const struct json *out = json_parse(&arena, buf_view(&last.outputs), NULL, NULL);
    assert_int_equal(json_count(json_get(out, "samples")), 3);
    assert_false(json_bool(json_get(out, "healthy"), true));
    assert_non_null(check(arena_printf(&arena, "\"type\":\"http\",\"path\":\"/one\",%s", port).p));
    assert_null(check(arena_printf(&arena, "\"type\":\"http\",\"path\":\"/503\",%s", port).p));
    failed(PROTOCOL_UNHEALTHY, false, "status 503");
    assert_non_null(check(arena_printf(&arena, "\"type\":\"http\",\"path\":\"/503\",\"expectStatus\":503,%s", port).p));
    assert_non_null(
        check(arena_printf(&arena, "\"type\":\"http\",\"path\":\"/one\",\"expectBody\":\"one\",%s", port).p));
    assert_null(check(arena_printf(&arena, "\"type\":\"http\",\"path\":\"/one\",\"expectBody\":\"two\",%s", port).p));
    failed(PROTOCOL_UNHEALTHY, false, "without the expected body");
    mkdir(arena_printf(&arena, "%s/srv", base).p, 0755);
    out = check(arena_printf(&arena,
                             "\"type\":\"command\",\"command\":[\"/bin/sh\",\"-c\",\"test -e %s/srv/x || { touch "
                             "%s/srv/x; exit 1; }\"]",
                             base, base)
                    .p);
    assert_non_null(out);
    assert_int_equal(json_count(json_get(out, "samples")), 2);
    assert_null(check("\"type\":\"dance\""));
    failed(PROTOCOL_PAYLOAD, false, "none of http");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_release_goes_out_and_its_sticker_with_it),
        T(what_is_not_as_it_should_be_is_refused_with_nothing_changed),
        T(downloads_fail_by_what_kept_them),
        T(a_download_that_is_cut_anywhere_is_made_again),
        T(only_the_agents_own_server_is_asked_again),
        T(set_uid_is_dropped),
        T(hooks_know_where_they_are),
        T(a_hook_that_fails_brings_the_old_release_back),
        T(a_way_back_to_nothing_leaves_out_the_releases_own_hooks),
        T(a_cancel_in_the_hook_brings_the_old_release_back),
        T(a_kill_in_the_hook_is_put_right_by_its_parent_or_the_next_task),
        T(a_deployment_cut_anywhere_is_finished_by_the_next_try),
        T(a_deployment_cut_anywhere_whose_next_try_fails_goes_back),
        T(stickers_are_written_and_read),
        T(health_is_looked_at_until_it_is_good),
    };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD); /* as in a task's process; TERM stays ours */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    alarm(300);
    return cmocka_run_group_tests(tests, begin_all, end_all);
}

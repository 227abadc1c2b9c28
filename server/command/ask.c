#include "server/command/ask.h"

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "proto/jwt.h"
#include "server/oauth/issuer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, LIFE_S = 60, LIST_MOST = 100 };

static bool complain(const struct ask *a, const char *what)
{
    fprintf(stderr, "slipway %s: %s\n", a->command, what);
    return false;
}

/* A minute's access token of an administrator: whoever has the keyring may. */
static void sign(struct ask *a, const char *tenant)
{
    char id[ID_UUID], name[32];
    const struct str role = S("admin");
    const struct settings *s = a->settings;
    int64_t now_s = clock_wall_ms() / 1000;
    id_uuid(now_s * 1000, id);
    snprintf(name, sizeof name, "slipway %s", a->command);
    const struct jwt claims = {.issuer = str_z(issuer_name(s)),
                               .audience = str_z(s->audience),
                               .id = str_z(id),
                               .subject = str_z(name),
                               .user_id = str_z(name),
                               .tenant_id = str_z(tenant),
                               .name = str_z(name),
                               .roles = &role,
                               .role_count = 1,
                               .issued_s = now_s,
                               .expires_s = now_s + LIFE_S};
    jwt_write(&a->token, s->keyring, &claims);
    buf_char(&a->token, '\0');
}

/* --- a server of its own --- */

static bool listen_for_ready(struct ask *a)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/ready", a->folder);
    a->ready = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return a->ready >= 0 && bind(a->ready, (struct sockaddr *)&at, sizeof at) == 0;
}

/* By the environment: what is in arguments everybody on the machine can read. */
static void become_server(const struct ask *a)
{
    const struct settings *s = a->settings;
    char listen[64], file[64], ready[64];
    snprintf(listen, sizeof listen, "unix:%s/socket", a->folder);
    snprintf(file, sizeof file, "%s/listen", a->folder);
    snprintf(ready, sizeof ready, "%s/ready", a->folder);
    const char *const with[][2] = {
        {"SLIPWAY_DATA", s->data},      {"SLIPWAY_REDIS", s->redis},       {"SLIPWAY_KEYRING", s->keyring_file},
        {"SLIPWAY_LISTEN", listen},     {"SLIPWAY_LISTEN_FILE", file},     {"SLIPWAY_WORKERS", "1"},
        {"SLIPWAY_LOG_LEVEL", "error"}, {"SLIPWAY_DRAIN_WAIT", "0"},       {"SLIPWAY_PUBLIC_URL", s->public_url},
        {"SLIPWAY_ISSUER", s->issuer},  {"SLIPWAY_AUDIENCE", s->audience}, {"NOTIFY_SOCKET", ready}};
    for (size_t i = 0; i < ARRAY_LEN(with); i++)
        if (with[i][1][0] != '\0')
            setenv(with[i][0], with[i][1], 1);
    unsetenv("SLIPWAY_TLS_LISTEN");
    unsetenv("WATCHDOG_USEC");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execl("/proc/self/exe", "slipway", "serve", (char *)NULL);
    _exit(127);
}

static bool is_ready(const struct ask *a)
{
    char text[256];
    struct pollfd waits = {.fd = a->ready, .events = POLLIN};
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (int64_t left = PATIENCE_MS; left > 0; left = until - clock_mono_ms()) {
        int step = left < 50 ? (int)left : 50, gone;
        if (poll(&waits, 1, step) > 0) {
            ssize_t n = recv(a->ready, text, sizeof text - 1, 0);
            text[n < 0 ? 0 : n] = '\0';
            if (strstr(text, "READY=1") != NULL)
                return true;
        }
        if (waitpid(a->server, &gone, WNOHANG | WNOWAIT) == a->server)
            return false;
    }
    return false;
}

static bool start_server(struct ask *a)
{
    snprintf(a->folder, sizeof a->folder, "/tmp/slipway-ask-XXXXXX");
    if (mkdtemp(a->folder) == NULL) {
        a->folder[0] = '\0';
        return complain(a, strerror(errno));
    }
    if (!listen_for_ready(a))
        return complain(a, strerror(errno));
    fflush(NULL);
    a->server = fork();
    if (a->server == 0)
        become_server(a);
    if (a->server < 0)
        return complain(a, strerror(errno));
    if (!is_ready(a))
        return complain(a, "no server can be started on these data; `slipway serve` says why");
    snprintf(a->url, sizeof a->url, "unix:%s/socket", a->folder);
    a->remote.url = a->url;
    a->remote.bearer = a->token.p;
    return true;
}

bool ask_open(struct ask *a, const char *tenant)
{
    a->server = -1;
    a->ready = -1;
    if (a->remote.url[0] != '\0')
        return true;
    if (!settings_open_keyring(a->settings, true))
        return false;
    sign(a, tenant);
    return !a->token.failed && start_server(a);
}

static void remove_folder(const struct ask *a)
{
    static const char *const files[] = {"ready", "socket", "listen"};
    char path[64];
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", a->folder, files[i]);
        unlink(path);
    }
    rmdir(a->folder);
}

void ask_close(struct ask *a)
{
    if (a->server > 0) {
        kill(a->server, SIGTERM);
        waitpid(a->server, NULL, 0);
    }
    if (a->ready >= 0)
        close(a->ready);
    if (a->folder[0] != '\0')
        remove_folder(a);
    if (a->token.p != NULL)
        crypto_wipe(a->token.p, a->token.n);
    buf_free(&a->token);
}

/* --- asking --- */

int ask_call(struct ask *a, const char *method, struct str path, struct str body, const struct json **answer)
{
    char why[REMOTE_WHY];
    struct buf text;
    struct arena *arena = &a->settings->config.arena;
    buf_init_arena(&text, arena, 4096);
    int status = remote_call(&a->remote, method, path, body, &text, why);
    if (status == 0)
        complain(a, why);
    *answer =
        status == 0 || text.n == 0 ? NULL : json_parse(arena, buf_view(&text), &(struct json_limits){8, 100000}, NULL);
    return status;
}

int ask_refused(const struct ask *a, int status, const struct json *answer)
{
    struct str why = json_str(json_get(answer, "error_description"));
    if (status != 0)
        fprintf(stderr, "slipway %s: " STR_FMT " (%d)\n", a->command, STR_ARG(why), status);
    return 1;
}

bool ask_for(struct ask *a, const char *method, struct str path, struct str body, int good, const struct json **answer)
{
    int status = ask_call(a, method, path, body, answer);
    if (status != good)
        ask_refused(a, status, *answer);
    return status == good;
}

void ask_print(const struct json *j)
{
    struct buf b = {0};
    json_write(&b, j);
    printf(STR_FMT "\n", STR_ARG(buf_view(&b)));
    buf_free(&b);
}

int ask_list(struct ask *a, const char *path, bool json, void (*print)(const struct json *one))
{
    struct arena *arena = &a->settings->config.arena;
    struct json *all = json_new(arena, JSON_ARRAY);
    for (int64_t page = 1, pages = 1; page <= pages; page++) {
        const struct json *answer;
        struct str at = arena_printf(arena, "%s?sort=created_at&limit=%d&page=%lld", path, LIST_MOST, (long long)page);
        if (!ask_for(a, "GET", at, STR_NONE, 200, &answer))
            return 1;
        const struct json *data = json_get(answer, "data");
        pages = json_int(json_path(answer, S("pagination.totalPages")), 1);
        for (size_t i = 0; i < json_count(data); i++) {
            if (json)
                json_append(arena, all, json_share(arena, json_at(data, i)));
            else
                print(json_at(data, i));
        }
    }
    if (json)
        ask_print(all);
    return 0;
}

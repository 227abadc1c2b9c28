/* `slipway login`, `logout` and `whoami`: a person at a terminal, by the device grant (RFC 8628). */
#include "server/commands.h"

#include "lib/clock.h"
#include "proto/query.h"
#include "server/credential.h"
#include "server/oauth/client.h"
#include "server/oauth/device.h"
#include "server/command/login_file.h"
#include "server/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct options {
    const char *tenant, *client_id, *scope;
    struct remote remote;
    bool json;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"url", CONFIG_STRING, AT(remote.url), "http://127.0.0.1:8080", .flags = CONFIG_LOCAL | CONFIG_REQUIRED, .arg = "URL",
     .doc = "The server: https://HOST, http://HOST:PORT."},
    {"ca", CONFIG_PATH, AT(remote.ca), "", .flags = CONFIG_LOCAL, .arg = "FILE",
     .doc = "Certificates (PEM) to trust in with https://. Unset: those of the system."},
    {"tenant", CONFIG_STRING, AT(tenant), "default", .flags = CONFIG_LOCAL | CONFIG_REQUIRED, .arg = "NAME",
     .doc = "login: the tenant, by name or id."},
    {"client-id", CONFIG_STRING, AT(client_id), "", .flags = CONFIG_LOCAL, .arg = "ID",
     .doc = "login: the OAuth client to be. Unset: the one that every tenant has for this command."},
    {"scope", CONFIG_STRING, AT(scope), "", .flags = CONFIG_LOCAL, .arg = "SCOPE,…",
     .doc = "login: what the login may be used for. Unset: everything that you may do."},
    {"json", CONFIG_BOOL, AT(json), "false", .flags = CONFIG_LOCAL, .doc = "whoami: print JSON."},
    {0},
};
// clang-format on

enum { MOST_S = 30 }; /* between two questions to a server that is away */

struct call {
    struct settings settings;
    struct options options;
    char client[ID_UUID];
};

static struct arena *arena_of(struct call *c)
{
    return &c->settings.config.arena;
}

static int complain(const char *command, const char *what)
{
    fprintf(stderr, "slipway %s: %s\n", command, what);
    return 1;
}

/* A form of the client's. The answer lives in the arena; status 0 after a message. */
static int post(struct call *c, const char *path, const char *const (*members)[2], const struct json **answer)
{
    char why[REMOTE_WHY];
    struct buf form, out = {0};
    struct remote to = {.url = c->options.remote.url, .ca = c->options.remote.ca, .bearer = "", .type = REMOTE_FORM};
    buf_init_arena(&form, arena_of(c), 256);
    buf_printf(&form, "client_id=%s", c->client);
    for (; (*members)[0] != NULL; members++) {
        if ((*members)[1][0] == '\0')
            continue;
        buf_printf(&form, "&%s=", (*members)[0]);
        query_encode(&form, str_z((*members)[1]));
    }
    int status = remote_call(&to, "POST", str_z(path), buf_view(&form), &out, why);
    if (status == 0)
        complain("login", why);
    *answer = json_parse(arena_of(c), arena_str(arena_of(c), buf_view(&out)), NULL, NULL);
    buf_free(&out);
    return status;
}

static int refused(const char *command, int status, const struct json *answer)
{
    struct str why = json_str(json_get(answer, "error_description"));
    if (status != 0)
        fprintf(stderr, "slipway %s: " STR_FMT " (%d)\n", command, STR_ARG(why), status);
    return 1;
}

/* --- login --- */

static int keep(struct call *c, const struct json *answer)
{
    char path[LOGIN_PATH] = "";
    login_path(path);
    if (!login_write(arena_of(c), str_z(c->options.remote.url), str_z(c->client), answer)) {
        fprintf(stderr, "slipway login: %s: %s\n", path, strerror(errno));
        return 1;
    }
    fprintf(stderr, "Signed in; kept in %s\n", path);
    return 0;
}

static int wait_for_person(struct call *c, const struct json *begun)
{
    const char *code = arena_z(arena_of(c), json_str(json_get(begun, "device_code")));
    const char *const members[][2] = {
        {"grant_type", DEVICE_GRANT}, {"device_code", code == NULL ? "" : code}, {NULL, NULL}};
    int64_t interval_s = json_int(json_get(begun, "interval"), DEVICE_INTERVAL_S);
    int64_t until_ms = clock_mono_ms() + json_int(json_get(begun, "expires_in"), DEVICE_LIFE_S) * 1000;
    for (bool tty = isatty(STDERR_FILENO);; fputs(tty ? "." : "", stderr)) {
        const struct json *answer;
        struct timespec pause = {.tv_sec = interval_s};
        nanosleep(&pause, NULL);
        int status = post(c, "/v1/auth/token", members, &answer);
        struct str error = json_str(json_get(answer, "error"));
        bool away = (status == 0 || status == 429 || status >= 500) && clock_mono_ms() < until_ms; /* RFC 8628 §3.5 */
        if (away)
            interval_s = interval_s * 2 < MOST_S ? interval_s * 2 : MOST_S;
        else if (str_eqz(error, "slow_down"))
            interval_s += DEVICE_SLOWER_S;
        else if (!str_eqz(error, "authorization_pending"))
            return status == 200 ? keep(c, answer) : refused("login", status, answer);
    }
}

static int login(struct call *c)
{
    char tenant[ID_UUID];
    const struct json *begun;
    tenant_id(str_z(c->options.tenant), tenant);
    client_of_commands(str_z(tenant), c->client);
    if (c->options.client_id[0] != '\0' && !id_is_uuid(str_z(c->options.client_id), c->client))
        return config_usage(&c->settings.config, "--client-id is no id");
    struct str scope = arena_str(arena_of(c), str_z(c->options.scope));
    for (size_t i = 0; i < scope.n; i++)
        if (scope.p[i] == ',')
            ((char *)(uintptr_t)scope.p)[i] = ' ';
    const char *const members[][2] = {{"scope", scope.n == 0 ? "" : scope.p}, {NULL, NULL}};
    int status = post(c, "/v1/auth/device_authorization", members, &begun);
    if (status != 200)
        return refused("login", status, begun);
    fprintf(stderr, "Open  " STR_FMT "\nand enter the code  " STR_FMT "\n",
            STR_ARG(json_str(json_get(begun, "verification_uri"))), STR_ARG(json_str(json_get(begun, "user_code"))));
    return wait_for_person(c, begun);
}

/* --- logout --- */

static int logout(struct call *c)
{
    char path[LOGIN_PATH];
    const struct json *login = login_read(arena_of(c)), *answer;
    if (login == NULL)
        return complain("logout", "nobody is signed in here");
    const char *token = arena_z(arena_of(c), json_str(json_get(login, "refresh_token")));
    const char *url = arena_z(arena_of(c), json_str(json_get(login, "url")));
    const char *const members[][2] = {{"token", token == NULL ? "" : token}, {NULL, NULL}};
    if (url == NULL || !str_copy(c->client, sizeof c->client, json_str(json_get(login, "client_id"))))
        return complain("logout", "the file of the login is damaged");
    c->options.remote.url = url;
    int status = post(c, "/v1/auth/revoke", members, &answer);
    if (status != 0 && login_path(path)) /* else it could not be ended any more */
        unlink(path);
    return status == 200 ? 0 : refused("logout", status, answer);
}

/* --- whoami --- */

static int whoami(struct call *c)
{
    char why[REMOTE_WHY];
    struct buf out = {0};
    const struct json *login = login_read(arena_of(c));
    const char *url = login == NULL ? NULL : arena_z(arena_of(c), json_str(json_get(login, "url")));
    if (url == NULL)
        return complain("whoami", "nobody is signed in here; `slipway login` does that");
    struct remote to = {.url = url, .ca = c->options.remote.ca, .key_file = ""};
    int status = remote_call(&to, "GET", S("/v1/auth/userinfo"), STR_NONE, &out, why);
    const struct json *info = json_parse(arena_of(c), arena_str(arena_of(c), buf_view(&out)), NULL, NULL);
    if (status == 200 && c->options.json)
        printf(STR_FMT "\n", STR_ARG(buf_view(&out)));
    else if (status == 200)
        printf(STR_FMT " (" STR_FMT ") at %s\n", STR_ARG(json_str(json_get(info, "name"))),
               STR_ARG(json_str(json_get(info, "email"))), url);
    else if (status == 0)
        complain("whoami", why);
    buf_free(&out);
    return status == 200 ? 0 : refused("whoami", status, info);
}

/* --- the commands --- */

static int run(const char *usage, const char *summary, int (*act)(struct call *c), int argc, char **argv)
{
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL)
        return 1;
    int status = settings_read(&c->settings, usage, summary, rows, &c->options, argc, argv);
    if (status == CONFIG_READ)
        status = c->settings.config.rest_count > 0 ? config_usage(&c->settings.config, "too many arguments") : act(c);
    settings_fini(&c->settings);
    free(c);
    return status;
}

int login_main(int argc, char **argv)
{
    return run("login",
               "Sign in at a server: shows a code and where to enter it in a browser, and waits. Commands that ask "
               "this server "
               "then do so in your name, where they find no key file.",
               login, argc, argv);
}

int logout_main(int argc, char **argv)
{
    return run("logout", "Sign out: the server ends the login, and it is forgotten here.", logout, argc, argv);
}

int whoami_main(int argc, char **argv)
{
    return run("whoami", "Print who is signed in here, as the server knows it.", whoami, argc, argv);
}

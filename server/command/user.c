/* `slipway user`: people of a tenant. */
#include "server/commands.h"

#include "lib/crypto.h"
#include "lib/id.h"
#include "proto/query.h"
#include "server/command/ask.h"
#include "server/credential.h"
#include "server/command/tool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

struct options {
    const char *tenant, *email, *name, *role, *password_file;
    struct remote remote;
    bool json;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"tenant", CONFIG_STRING, AT(tenant), "default", .flags = CONFIG_LOCAL | CONFIG_REQUIRED, .arg = "NAME",
     .doc = "The tenant, by name or id; `slipway tenant create` makes one. With --url it is the key's."},
    {"email", CONFIG_STRING, AT(email), "", .flags = CONFIG_LOCAL, .arg = "EMAIL",
     .doc = "create, invite: what the person signs in with."},
    {"name", CONFIG_STRING, AT(name), "", .flags = CONFIG_LOCAL, .arg = "TEXT",
     .doc = "create: the person's name. Unset: the email."},
    {"role", CONFIG_STRING, AT(role), "viewer", .flags = CONFIG_LOCAL, .arg = "ROLE,…",
     .doc = "create, invite: what the person may do: admin, release-manager, operator, approver, viewer or auditor."},
    {"password-file", CONFIG_PATH, AT(password_file), "", .flags = CONFIG_LOCAL, .arg = "FILE",
     .doc = "create, password: file with the password, or - for standard input. Unset: asked for on the terminal."},
    ASK_ROWS(ASK_URL),
    {"json", CONFIG_BOOL, AT(json), "false", .flags = CONFIG_LOCAL, .doc = "Print JSON."},
    {0},
};
// clang-format on

static const char summary[] =
    "People who sign in at a browser. `user create` adds one with a password, `user invite` "
    "prints an invitation to hand over, `user list` lists them; `user suspend`, `activate`, "
    "`delete` and `password` take an email or an id. Whoever is suspended or deleted is signed "
    "out everywhere, at once.";

enum { PASSWORD_ROOM = 1100, CTRL_C = 3, INTERRUPTED = 128 + SIGINT };

struct call {
    struct settings settings;
    struct options options;
    struct ask ask;
    char tenant[ID_UUID];
};

static struct arena *arena_of(struct call *c)
{
    return &c->settings.config.arena;
}

/* --- passwords --- */

/* Ctrl-C is the end of a line here, not a signal: the terminal gets its echo back, and what was begun is put away. */
static bool ask_terminal(char out[PASSWORD_ROOM], const char *prompt)
{
    struct termios before, quiet;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    quiet.c_cc[VEOL] = CTRL_C;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "%s: ", prompt);
    bool got = fgets(out, PASSWORD_ROOM, stdin) != NULL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputc('\n', stderr);
    return got;
}

/* 0, or the status to exit with after a message. */
static int read_password(struct call *c, char out[PASSWORD_ROOM])
{
    const char *file = c->options.password_file;
    bool input = strcmp(file, "-") == 0;
    FILE *in = file[0] == '\0' ? NULL : input ? stdin : fopen(file, "re");
    if (file[0] == '\0' && !isatty(STDIN_FILENO))
        return config_usage(&c->settings.config, "--password-file says where the password is; there is no terminal");
    if (file[0] != '\0' && in == NULL)
        return config_usage(&c->settings.config, "--password-file %s cannot be read", file);
    bool got =
        in == NULL ? ask_terminal(out, "Password, 12 characters or more") : fgets(out, PASSWORD_ROOM, in) != NULL;
    if (in != NULL && !input)
        fclose(in);
    if (got && in == NULL && strchr(out, CTRL_C) != NULL)
        return INTERRUPTED;
    out[got ? strcspn(out, "\r\n") : 0] = '\0';
    return out[0] != '\0' ? 0 : config_usage(&c->settings.config, "the password is empty");
}

/* --- bodies --- */

static struct str body_of(struct call *c, bool person, const char *password)
{
    struct buf b;
    struct json_out o;
    const struct options *given = &c->options;
    buf_init_arena(&b, arena_of(c), 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("email"));
    json_put_z(&o, given->email);
    if (person) {
        json_key(&o, S("name"));
        json_put_z(&o, given->name[0] != '\0' ? given->name : given->email);
    }
    if (password != NULL) {
        json_key(&o, S("password"));
        json_put_z(&o, password);
    }
    json_key(&o, S("roles"));
    json_put_names(&o, str_z(given->role));
    json_close(&o, '}');
    return buf_view(&b);
}

static struct str one_member(struct call *c, const char *name, const char *value)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, arena_of(c), 128);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, str_z(name));
    json_put_z(&o, value);
    json_close(&o, '}');
    return buf_view(&b);
}

/* --- what is printed --- */

static void print_row(const struct json *user)
{
    const struct json *roles = json_get(user, "roles");
    printf(STR_FMT "  %-9.*s", STR_ARG(json_str(json_get(user, "id"))), STR_ARG(json_str(json_get(user, "status"))));
    for (size_t i = 0; i < json_count(roles); i++)
        printf("%c" STR_FMT, i == 0 ? ' ' : ',', STR_ARG(json_str(json_at(roles, i))));
    printf("  " STR_FMT "  " STR_FMT "\n", STR_ARG(json_str(json_get(user, "email"))),
           STR_ARG(json_str(json_get(user, "name"))));
}

/* --- actions; the server is open --- */

static int make(struct call *c, const char *path, struct str body, const char *member)
{
    const struct json *made;
    if (!ask_for(&c->ask, "POST", str_z(path), body, 201, &made))
        return 1;
    if (c->options.json)
        ask_print(made);
    else
        printf(STR_FMT "\n", STR_ARG(json_str(json_get(made, member))));
    return 0;
}

static int do_create(struct call *c)
{
    char password[PASSWORD_ROOM];
    int status = c->options.email[0] == '\0' ? config_usage(&c->settings.config, "create needs an --email")
                                             : read_password(c, password);
    if (status == 0)
        status = make(c, "/v1/users", body_of(c, true, password), "id");
    crypto_wipe(password, sizeof password);
    return status;
}

static int do_invite(struct call *c)
{
    if (c->options.email[0] == '\0')
        return config_usage(&c->settings.config, "invite needs an --email");
    return make(c, "/v1/invitations", body_of(c, false, NULL), "token");
}

static int do_list(struct call *c)
{
    return ask_list(&c->ask, "/v1/users", c->options.json, print_row);
}

/* The id of the user that the command names; STR_NONE after a message. */
static struct str wanted(struct call *c)
{
    struct buf path;
    const struct json *answer;
    const struct config *config = &c->settings.config;
    struct str who = config->rest_count < 2 ? STR_NONE : str_z(config->rest[1]);
    if (who.p == NULL)
        config_usage(config, "%s needs an email or an id", config->rest[0]);
    if (who.p == NULL || id_is_uuid(who, NULL))
        return who;
    buf_init_arena(&path, arena_of(c), 256);
    buf_z(&path, "/v1/users?email=");
    query_encode(&path, arena_lower(arena_of(c), who));
    if (!ask_for(&c->ask, "GET", buf_view(&path), STR_NONE, 200, &answer))
        return STR_NONE;
    const struct json *users = json_get(answer, "data");
    if (json_count(users) == 0)
        fprintf(stderr, "slipway user: there is nobody with the email " STR_FMT "\n", STR_ARG(who));
    return json_str(json_get(json_at(users, 0), "id"));
}

static int change(struct call *c, const char *method, struct str body, int good)
{
    const struct json *answer;
    struct str id = wanted(c);
    if (id.p == NULL)
        return c->settings.config.rest_count < 2 ? CONFIG_BAD : 1;
    struct str path = arena_printf(arena_of(c), "/v1/users/" STR_FMT, STR_ARG(id));
    if (!ask_for(&c->ask, method, path, body, good, &answer))
        return 1;
    if (c->options.json && answer != NULL)
        ask_print(answer);
    else if (c->options.json)
        printf("{\"deleted\":\"" STR_FMT "\"}\n", STR_ARG(id));
    return 0;
}

static int do_suspend(struct call *c)
{
    return change(c, "PATCH", S("{\"status\":\"suspended\"}"), 200);
}

static int do_activate(struct call *c)
{
    return change(c, "PATCH", S("{\"status\":\"active\"}"), 200);
}

static int do_delete(struct call *c)
{
    return change(c, "DELETE", STR_NONE, 204);
}

static int do_password(struct call *c)
{
    char password[PASSWORD_ROOM];
    int status = read_password(c, password);
    if (status == 0)
        status = change(c, "PATCH", one_member(c, "password", password), 200);
    crypto_wipe(password, sizeof password);
    return status;
}

/* --- the command --- */

static bool has_tenant(struct call *c)
{
    const struct json *answer;
    int status = ask_call(&c->ask, "GET", S("/v1/tenant"), STR_NONE, &answer);
    if (status == 404)
        fprintf(stderr, "slipway user: there is no tenant %s; `slipway tenant create` makes one\n", c->options.tenant);
    else if (status != 200)
        ask_refused(&c->ask, status, answer);
    return status == 200;
}

static int with_server(void *arg, int (*act)(struct call *c))
{
    struct call *c = arg;
    tenant_id(str_z(c->options.tenant), c->tenant);
    c->ask = (struct ask){.settings = &c->settings, .command = "user", .remote = c->options.remote};
    int status = ask_open(&c->ask, c->tenant) && has_tenant(c) ? act(c) : 1;
    ask_close(&c->ask);
    return status;
}

#define ACTION(name)                                                                                                   \
    static int run_##name(void *c)                                                                                     \
    {                                                                                                                  \
        return with_server(c, do_##name);                                                                              \
    }
ACTION(create)
ACTION(invite)
ACTION(list)
ACTION(suspend)
ACTION(activate)
ACTION(delete)
ACTION(password)

static const struct tool_action actions[] = {{"create", run_create, 1},     {"invite", run_invite, 1},
                                             {"list", run_list, 1},         {"suspend", run_suspend, 2},
                                             {"activate", run_activate, 2}, {"delete", run_delete, 2},
                                             {"password", run_password, 2}, {0}};

int user_main(int argc, char **argv)
{
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL)
        return 1;
    int status = settings_read(&c->settings, "user create | invite | list | suspend | activate | delete | password WHO",
                               summary, rows, &c->options, argc, argv);
    if (status == CONFIG_READ)
        status = tool_choose(&c->settings.config, "user", actions, c);
    settings_fini(&c->settings);
    free(c);
    return status;
}

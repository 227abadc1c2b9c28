// clang-format off
/* The map of the program.
 *
 *            bytes                  requests, frames               decisions                    state
 *  client ─► lib/stream ─► proto/http ─► server/conn ─► server/steps ─► a resource's handler ─► one store call ─► Redis
 *            (libuv)       proto/ws                     route admit     server/crud.c,          server/store/      │
 *                                                       body validate   server/api/,                               │
 *                                                       idempotency     server/engine/                             │
 *  dashboard ◄─ one frame, encoded once ◄─ server/hub ◄── a hint by pub/sub, the truth from the stream ◄───────────┘
 *  agent     ◄─ server/task_stream
 *
 * lib/     strings, arenas, JSON, fields, configuration, keys, timers, streams. Knows no HTTP, no Redis, no resource.
 * proto/   bytes in, events out: TLS, HTTP, WebSocket, SSE, Redis' wire, JWT. Knows no resource.
 * server/  what this service is. A resource is rows (server/resource.h): fields and routes in one file; the rest of the
 *          server reads them. A request walks fixed steps (server/request.h), and who may is asked once, environments
 *          included (server/scope.h). A change is one atomic commit (server/store/). Large bytes are blobs beside the
 *          documents (server/blob_store.h). server/dashboard/ counts what dashboards show; server/agent/ is the agent.
 *
 * server/engine/  everything that takes time is a run: a document and a pure function (run.h), moved by whoever holds its
 *          lease (drain.h). Kinds of runs are rows (kind.h): workflow runs, deployment jobs (job.h), probes of targets
 *          (probe.h). What follows from them is settled: read whole, brought in line by one commit, safe to do twice
 *          (environment_settle.h: promotions; rollback_settle.h; target_settle.h: what is on a target).
 *
 * server/oauth/   the authorization server, in OAuth's own manner (dialect.c): clients, grants, tokens and scopes.
 * server/identity/  who they are about: people, groups, invitations, keys, and the pages that people see.
 * server/command/ what operators and people type: by the data (tool.h), or by asking a server (ask.h).
 * server/backup/  everything that is kept, to a folder (folder.h) and back.
 *
 * One binary, several programs: each entry of `commands` is a main of its own, in its own file. */
// clang-format on
#include "server/commands.h"
#include "lib/crypto.h"

#include <stdio.h>
#include <string.h>

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *doc;
};

// clang-format off
static const struct command commands[] = {
    {"serve",   serve_main,   "Run the server."},
    {"agent",   agent_main,   "Run tasks of a server on this host."},
    {"watch",   watch_main,   "Show a workflow run or a deployment job live in the terminal."},
    {"login",   login_main,   "Sign in at a server, for the commands that ask it."},
    {"logout",  logout_main,  "Sign out."},
    {"whoami",  whoami_main,  "Print who is signed in."},
    {"key",     key_main,     "Make, list and revoke API keys; sign access tokens; rotate the keyring."},
    {"backup",  backup_main,  "Copy everything that is kept to a folder, while servers run."},
    {"restore", restore_main, "Bring a backup back into an empty data folder or Redis."},
    {"tenant",  tenant_main,  "Make, list, suspend and activate tenants."},
    {"user",    user_main,    "Add, invite, list, suspend and delete the people of a tenant."},
    {"client",  client_main,  "Register, list and revoke OAuth clients."},
    {"config",  config_main,  "Print the settings and where each comes from."},
    {"version", version_main, "Print the version."},
    {"help",    help_main,    "Print this list; `slipway COMMAND --help` explains one."},
};
// clang-format on

static void print_commands(FILE *out)
{
    fputs("usage: slipway COMMAND [OPTION...]\n\n", out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].doc);
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int unknown(const char *what, const char *name)
{
    fprintf(stderr, "slipway: there is no %s '%s'; `slipway help` lists the commands\n", what, name);
    return 2;
}

static int help_main(int argc, char **argv)
{
    if (argc > 1 && !asks_for_help(argv[1])) {
        for (size_t i = 0; i < ARRAY_LEN(commands); i++)
            if (strcmp(argv[1], commands[i].name) == 0 && commands[i].run != help_main)
                return commands[i].run(2, (char *[]){argv[1], (char[]){"--help"}, NULL});
        if (strcmp(argv[1], "help") != 0)
            return unknown("command", argv[1]);
    }
    print_commands(stdout);
    return 0;
}

static int version_main(int argc, char **argv)
{
    if (argc > 1 && !asks_for_help(argv[1]))
        return unknown("option of version", argv[1]);
    puts(argc > 1 ? "usage: slipway version\n\nPrints the version." : "slipway " SLIPWAY_VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!crypto_init()) {
        fputs("slipway: the system gives no random bytes\n", stderr);
        return 1;
    }
    if (asks_for_help(name))
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return unknown("command", name);
}

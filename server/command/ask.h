/* Asking a server on behalf of a command: the one at --url, with a key; or one of the command's own, started on the data
 * for as long as it takes, which sees what every other instance on these data sees. So a command says the same as the API,
 * and does what the API does. */
#ifndef SERVER_COMMAND_ASK_H
#define SERVER_COMMAND_ASK_H

#include "lib/json.h"
#include "server/command/remote.h"
#include "server/settings.h"

#include <sys/types.h>

/* The rows of the options that say where, for a command whose AT(remote) is a `struct remote`. */
#define ASK_ROWS(url_doc)                                                                                              \
    {"url", CONFIG_STRING, AT(remote.url), "", .flags = CONFIG_LOCAL, .arg = "URL", .doc = (url_doc)},                 \
        {"ca",                                                                                                         \
         CONFIG_PATH,                                                                                                  \
         AT(remote.ca),                                                                                                \
         "",                                                                                                           \
         .flags = CONFIG_LOCAL,                                                                                        \
         .arg = "FILE",                                                                                                \
         .doc = "Certificates (PEM) to trust in with https://. Unset: those of the system."},                          \
    {                                                                                                                  \
        "key-file", CONFIG_PATH, AT(remote.key_file), "slipway-data/admin.key",                                        \
            .flags = CONFIG_LOCAL, .arg = "FILE", .doc = "With --url: file that holds an API key or an access token."  \
    }
#define ASK_URL                                                                                                        \
    "Ask the server there, with a key that may, instead of its data: https://HOST, http://HOST:PORT or "               \
    "unix:/path/of/socket."

struct ask {
    struct settings *settings;
    const char *command;  /* "user", for messages */
    struct remote remote; /* url "": a server of its own */
    /* private from here */
    pid_t server;
    int ready; /* socket on which it says so */
    char folder[32], url[64];
    struct buf token;
};

/* Fills in what is private. `tenant`: whose administrator the command is, on its own server. False after a message. Without
 * a server of its own neither this nor ask_close is needed. */
bool ask_open(struct ask *a, const char *tenant);
void ask_close(struct ask *a);
/* One call; `body` STR_NONE: none. The answer, NULL without a body, lives in the settings' arena; the status is 0 after a
 * message. */
int ask_call(struct ask *a, const char *method, struct str path, struct str body, const struct json **answer);
/* Says what the server refused with. 1. */
int ask_refused(const struct ask *a, int status, const struct json *answer);
/* A call that is to be answered with `good`. False after a message. */
bool ask_for(struct ask *a, const char *method, struct str path, struct str body, int good, const struct json **answer);
/* Prints a whole list, in the order of making, page by page: each by `print`, or as one JSON array. What to exit with. */
int ask_list(struct ask *a, const char *path, bool json, void (*print)(const struct json *one));
/* A line of JSON. */
void ask_print(const struct json *j);

#endif

/* Asking a server on behalf of a command: the one at --url, with a key; or one of the command's own, started on the data
 * for as long as it takes, which sees what every other instance on these data sees. So a command says the same as the API,
 * and does what the API does. */
#ifndef SERVER_ASK_H
#define SERVER_ASK_H

#include "lib/json.h"
#include "server/oauth/remote.h"
#include "server/settings.h"

#include <sys/types.h>

struct ask {
    struct settings *settings;
    const char *command;  /* "user", for messages */
    struct remote remote; /* url "": a server of its own */
    /* private from here */
    pid_t server;
    int ready; /* socket on which it says so */
    char folder[32], url[64];
    struct buf token, answer;
};

/* Fills in what is private. `tenant`: whose administrator the command is, on its own server. False after a message. */
bool ask_open(struct ask *a, const char *tenant);
void ask_close(struct ask *a);
/* One call; `body` STR_NONE: none. The answer, NULL without a body, lives in the settings' arena; the status is 0 after a
 * message. */
int ask_call(struct ask *a, const char *method, struct str path, struct str body, const struct json **answer);
/* Says what the server refused with. 1. */
int ask_refused(const struct ask *a, int status, const struct json *answer);

#endif

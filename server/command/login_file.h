/* Who is signed in on this machine, for commands: what `slipway login` keeps, in slipway/login.json under XDG_CONFIG_HOME
 * (~/.config), readable for its owner alone: url, client_id, access_token, refresh_token and expires_at. */
#ifndef SERVER_COMMAND_LOGIN_FILE_H
#define SERVER_COMMAND_LOGIN_FILE_H

#include "lib/json.h"
#include "server/command/remote.h"

enum { LOGIN_PATH = 4096 };
bool login_path(char out[LOGIN_PATH]);    /* false: there is no home */
struct json *login_read(struct arena *a); /* NULL: nobody is signed in */
/* From an answer of the token endpoint. False after errno was set. */
bool login_write(struct arena *a, struct str url, struct str client_id, const struct json *answer);
/* The access token for the server at to->url, renewed when its time is over. STR_NONE, and why: nobody is signed in
 * there. */
struct str login_token(struct arena *a, const struct remote *to, char why[REMOTE_WHY]);

#endif

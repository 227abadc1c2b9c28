/* One call to a server's API, for commands: waits for the answer. */
#ifndef SERVER_COMMAND_REMOTE_H
#define SERVER_COMMAND_REMOTE_H

#include "lib/str.h"

struct remote {
    const char *url, *ca, *key_file; /* as `slipway watch` takes them */
    const char *bearer; /* in place of what is in the file; "": none; NULL: read it, or ask the login (login_file.h) */
    const char *type;   /* of the body; NULL: application/json */
};
#define REMOTE_FORM "application/x-www-form-urlencoded"
/* The Authorization header of a caller, "" for none. False after a sentence in `why`. */
enum { REMOTE_WHY = 512, REMOTE_BEARER = 8192 };
bool remote_bearer(const struct remote *to, char out[REMOTE_BEARER], char why[REMOTE_WHY]);
/* The status of the answer, whose body is appended to `out`; 0 after a sentence in `why`. */
int remote_call(const struct remote *to, const char *method, struct str path, struct str body, struct buf *out,
                char why[REMOTE_WHY]);

#endif

/* `slipway key` by a server's API (/v1/tokens): what is done with --url. Each answers what to exit with. */
#ifndef SERVER_COMMAND_KEY_REMOTE_H
#define SERVER_COMMAND_KEY_REMOTE_H

#include "server/command/ask.h"

struct key_remote {
    struct ask ask;
    bool json;
};

struct key_wish {
    const char *name, *prefix, *permissions, *cidrs; /* names between commas */
    int64_t expires_ms;                              /* from now; 0: never */
};
int key_remote_create(struct key_remote *k, const struct key_wish *wish);
int key_remote_list(struct key_remote *k, void (*print)(const struct json *key));
int key_remote_revoke(struct key_remote *k, const char *id);
int key_remote_rotate(struct key_remote *k, const char *id, int64_t overlap_ms);

#endif

/* Artifacts, fetched for a task: streamed to a file without a name, hashed on the way. */
#ifndef SERVER_AGENT_DOWNLOAD_H
#define SERVER_AGENT_DOWNLOAD_H

#include "proto/fetch.h"
#include "server/agent/work.h"

struct download {
    struct str url;    /* absolute, or a path on the agent's server */
    struct str digest; /* "sha256:<hex>" */
    int from, to;      /* per cent of the task's progress that it moves through */
    const char *what;  /* for people */
    uint64_t bytes;    /* result */
};

/* A descriptor at its beginning, whose content has the digest; -1 and the work has failed. Nothing is left on disk. */
int download(struct work *w, struct download *d);

/* Addresses a request to the agent's own server, with the agent's token as it is now: `path` begins with a slash.
 * `settings`: deploy.json. False and the work has failed. */
bool download_address(struct work *w, const struct json *settings, struct str path, struct fetch_request *request,
                      struct fetch_blocking *how);

bool download_digest_valid(struct str digest);

#endif

/* Probes: one task for an agent, asked for by a request and answered by it when the task has ended.
 *
 * A probe is a run of the third kind (kind.h): a plan of one task, node `0-<type>`, moved and assigned like every
 * other, so that it does not matter which instance the agent hangs on. The request follows the channel `probe:<id>`
 * through the hub and is called back with what the task answered; nobody polls. A probe is no resource and leaves no
 * trace but its hash, which goes after PROBE_KEEP_MS. */
#ifndef SERVER_ENGINE_PROBE_H
#define SERVER_ENGINE_PROBE_H

#include "server/engine/run.h"
#include "server/request.h"

enum {
    PROBE_KEEP_MS = 600000,
    PROBE_ANSWER_MS = 1500 /* of the request's deadline, for what comes behind the probe */
};

struct probe {
    const char *type;           /* agent task type: "health-check", "read-sticker" */
    struct str target;          /* its id */
    struct str agent;           /* the one agent it is for; STR_NONE: any that has the capability and the labels */
    const struct json *labels;  /* wanted labels: {name: value}, or ["name", "name=value"]; NULL: none */
    const struct json *payload; /* of the task */
    int64_t timeout_ms;         /* of the task; 0: what the request has left */
};

struct probed { /* borrowed for the call */
    bool success;
    const struct json *outputs; /* object, or NULL */
    struct str error_type, message;
    int64_t now_ms;
};

/* OK: the task has ended, whichever way. ENV_NO_ELIGIBLE_AGENT, refused with the chooser's sentence; SYS_TIMEOUT: no answer
 * within the request's deadline (the task is cancelled); SYS_*. `p` is NULL unless c is OK. Runs on a live request. */
typedef enum flow probe_then(struct request *r, enum code c, const struct probed *p, void *arg);
enum flow probe_start(struct request *r, const struct probe *probe, probe_then *then, void *arg);

#endif

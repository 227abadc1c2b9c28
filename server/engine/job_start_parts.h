/* What the files that make a job share: what was read, and what becomes of it. job_start.h is their face. */
#ifndef SERVER_ENGINE_JOB_START_PARTS_H
#define SERVER_ENGINE_JOB_START_PARTS_H

#include "server/engine/job_start.h"

enum { JOB_COMPONENTS_MAX = 30 }; /* of one release: server/api/orchestrator/release_resolve.h */

struct plan_target {
    const struct json *document;
    struct str facts; /* {release, previous, jobId ...} as stored, a thousand of which are not worth parsing;
                         STR_NONE: nothing was ever deployed there */
};

struct plan_component {
    const struct json *part;    /* of the release's components */
    const struct json *version; /* the document; its `artifact` says that this server has the bytes. NULL: gone */
};

struct plan_parts {
    const struct job_request *request;
    const struct json *environment, *release, *promotion; /* documents; NULL: not there, or not asked for */
    struct plan_component components[JOB_COMPONENTS_MAX];
    size_t n_components;
    struct plan_target *targets;
    size_t n_targets;
    bool all_again; /* earlier attempts left nothing undone: all is done once more. Set by job_compile */
};

/* The plan, pure but for order `random`. The targets are put in the order of deployment. Otherwise a refusal of
 * job_prepare's, with its sentence. */
enum code job_compile(struct arena *a, struct plan_parts *p, struct buf *plan, struct str *why);

#endif

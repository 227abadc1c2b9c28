/* Making a workflow run: for a caller's POST /workflow-runs, and for a promotion whose time has come. Reads nothing: who
 * wants a run has the template's definition and what its context names.
 *
 *     if (!run_start_make(a, &start, &made)) ...                      memory ran out
 *     commit_begin(&commit, a, space, COMMIT_GROWS);
 *     run_start_write(&commit, a, &start, &made);                     document, definition, origin, header, inbox entry
 *     store_commit(...), and in its continuation drain_run(...) of made.id */
#ifndef SERVER_ENGINE_RUN_START_H
#define SERVER_ENGINE_RUN_START_H

#include "lib/id.h"
#include "server/engine/run.h"
#include "server/store/commit.h"

struct audit_entry;
struct keyring;

enum run_context { CONTEXT_ENVIRONMENT, CONTEXT_RELEASE, CONTEXT_PROMOTION, RUN_CONTEXTS };
extern const struct run_context_row {
    const char *member, *kind, *fact; /* "environmentId", "environment", "environment" */
} run_contexts[RUN_CONTEXTS];

struct run_start {
    struct space space;
    const struct keyring *keyring; /* seals secret inputs */
    int64_t now_ms;
    struct str template_id; /* "": a template that is built in */
    struct str template_name;
    int64_t template_version;
    struct str definition;      /* text of the definition the run is pinned to */
    const struct template *t;   /* the same, parsed */
    const struct json *inputs;  /* complete: template_inputs */
    const struct json *context; /* {environmentId?, releaseId?, promotionId?} */
    const struct json *labels;  /* an object */
    struct str triggered_by, trigger;
    const struct json *documents[RUN_CONTEXTS]; /* that the context names; NULL: it does not */
};
struct run_made {
    char id[ID_UUID];
    struct run *run;
    struct str json; /* the public document, revision 1 */
    const struct json *document;
    struct str sealed; /* the inputs; STR_NONE: nothing of them is secret. `run` has them masked then */
};
bool run_start_make(struct arena *a, const struct run_start *s, struct run_made *out);
void run_start_write(struct commit *c, struct arena *a, const struct run_start *s, const struct run_made *made);
/* The audit entry of the new run. */
struct audit_entry run_start_audit(const struct run_made *made);

/* Does a step of it deploy, or roll back: such a run needs a promotion. */
bool run_start_deploys(const struct template *t);

#endif

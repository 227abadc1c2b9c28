/* The handlers of a workflow run, beside its rows. */
#ifndef SERVER_API_ORCHESTRATOR_WORKFLOW_RUN_H
#define SERVER_API_ORCHESTRATOR_WORKFLOW_RUN_H

#include "server/api/orchestrator/resources.h"
#include "server/request.h"

enum { WORKFLOW_LOG_LINES = 500, WORKFLOW_LOG_LINES_MAX = 5000 }; /* of one answer of a log */

enum flow workflow_run_start(struct request *r); /* workflow_run_start.c */
enum flow workflow_run_pause(struct request *r); /* workflow_run_action.c */
enum flow workflow_run_resume(struct request *r);
enum flow workflow_run_cancel(struct request *r);

/* run_read.c: reads the run, of this kind, that the path's first parameter names, and calls `then` on a live request; or
 * answers 404. For what is rendered from a run's hash, which has no documents of its own. */
struct run;
struct run_kind;
typedef enum flow run_then(struct request *r, const struct run *run);
enum flow run_read(struct request *r, const struct run_kind *kind, run_then *then);

/* What the feeds of runs are told from the stored document, and their snapshot {<kind>: document, <parts>: [what `write`
 * makes of each step; nothing: it is left out]}. False: no memory. */
struct feed_state;
typedef void run_part(struct buf *b, const struct run *run, int step);
bool run_over(const struct feed_state *state);
bool run_snapshot(const struct feed_state *state, struct json_out *o, const struct run_kind *kind, const char *parts,
                  run_part *write);

/* workflow_log.c: the answer of the logs of a node (a step, a job's task), once its run, of any kind, was read. Query and
 * answer of the route are the rows below. */
enum flow run_log_read(struct request *r, const struct run *run, struct str node);
extern const struct field workflow_step_log_query[], workflow_step_log_fields[];

#endif

/* What the files of the job engine share. job.h is its face; nobody else includes this. */
#ifndef SERVER_ENGINE_JOB_PARTS_H
#define SERVER_ENGINE_JOB_PARTS_H

#include "server/engine/job.h"
#include "server/engine/run_parts.h"

struct choose_wish;
struct commit;

/* job_schedule.c */
void job_schedule(struct move *m);
void job_failed(struct move *m, int step);
void job_resumed(struct move *m);
bool job_unassigned(struct move *m, int step, struct str why);
/* The job has another status than it had when this was last called: EFFECT_STATUS. */
void job_announce(struct move *m);

/* job_state.c */
#define JOB_NO_AGENT "no_agent" /* errorType of a task that no agent was ever given, or each refused */
bool job_target_done(const struct run *r, const struct job_target *t); /* however; nothing more is to be done */
bool job_target_failed(const struct run *r, const struct job_target *t);
bool job_target_touched(const struct run *r, const struct job_target *t); /* an agent may have changed it */

/* job_frame.c */
void job_frame_run(struct move *m, enum run_moment what);
void job_frame_step(struct move *m, enum step_moment what, int step);
void job_frame_batch(struct move *m, const char *type);
void job_frame_progress(struct move *m, const struct job_counts *counts);
void job_frame_rollback(struct move *m);

/* job_document.c */
void job_document(struct buf *b, const struct run *r, int64_t revision, int64_t now);
int64_t job_progress(const struct job_counts *counts); /* 0..100 */

/* job_payload.c */
const struct json *job_config(struct arena *a, const struct run *r, int step, bool redact, struct str *why);
const char *job_task_type(const struct run *r, int step);
void job_payload(struct json_out *o, struct move *m, int step, const struct json *config);
void job_credentials(struct json_out *o, struct move *m, int step, const struct json *config);
void job_wish(struct arena *a, const struct run *r, int step, const struct json *config, struct choose_wish *wish);
const struct json *job_release(const struct job *job,
                               const struct job_target *t); /* what the target gets; NULL: nothing */

/* job_write.c */
void job_commit(struct commit *c, struct arena *a, const struct run *r, const struct effects *fx, int64_t now_ms,
                bool finished);
void job_committed(struct worker *w, struct space space, const struct run *r, const struct effects *fx, bool finished);

static inline const struct step *job_step(const struct run *r, const struct job_target *t, enum job_task_type type)
{
    return t->task[type] < 0 ? NULL : &r->steps[t->task[type]];
}

#endif

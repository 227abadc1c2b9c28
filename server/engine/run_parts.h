/* What the files of the run engine share. run.h is its face; nobody else includes this. */
#ifndef SERVER_ENGINE_RUN_PARTS_H
#define SERVER_ENGINE_RUN_PARTS_H

#include "server/engine/kind.h"
#include "server/engine/run.h"

struct move { /* one transition under way */
    struct run *r;
    int64_t now;
    struct effects *fx;
};

struct outcome { /* of an attempt */
    enum step_status status;
    struct str type, message;
    bool retriable;
    bool answered; /* by whoever carried it out, not by a clock */
    const struct json *outputs;
};

static inline const struct template_node *node_of(const struct move *m, int i)
{
    return &m->r->template->nodes[i];
}

/* From when a timer counts that stands still while the run is paused. */
static inline int64_t timer_base(const struct move *m)
{
    return m->r->paused ? m->r->paused_ms : m->now;
}

/* run_schedule.c */
void workflow_schedule(struct move *m);
void workflow_failed(struct move *m, int step);
void run_settle(struct move *m); /* status and timer, from everything else; behind the kind's schedule */
void to_phase(struct move *m, enum run_phase phase);
void run_end(struct move *m, enum run_status status); /* the run is over: phase, time, frame, EFFECT_FINISHED */
void run_fail(struct move *m, const char *code, struct str message, int node);
void run_pause(struct move *m, struct str by, struct str reason);
void run_unpause(struct move *m); /* timers go on */
/* Nothing of this role is to start any more. */
bool halted(const struct run *r, enum node_role role);
enum edge_state { EDGE_UNKNOWN, EDGE_LIVE, EDGE_DEAD, EDGE_POISONED, EDGE_FAULTY };
enum edge_state edge_state(struct move *m, int edge);
struct scope run_scope(const struct run *r, bool redact);

/* run_step.c */
const struct json *masked_inputs(struct arena *a, const struct run *r); /* as they are shown */
const struct json *workflow_config(struct arena *a, const struct run *r, int step, bool redact, struct str *why);
enum step_status step_stopped(const struct step *s); /* what a step that was told to stop ends as */
void step_begin(struct move *m, int i);              /* the next attempt */
void step_run(struct move *m, int i);                /* ready to running */
void step_over(struct move *m, int i, const struct outcome *outcome);
void step_end(struct move *m, int i, enum step_status status);
void step_skip(struct move *m, int i, struct str reason, bool poisoned);
void step_kill(struct move *m, int i, struct str reason); /* the cancel signal, or the end at once if nothing runs */
void step_choose(struct move *m, int i);
void step_tick(struct move *m, int i);
void step_late(struct move *m, int i, const struct run_event *e);
bool step_more_attempts(struct arena *a, struct step *s,
                        unsigned cap); /* room for so many, RUN_ATTEMPTS_KEPT at most */
struct step_attempt *step_attempt(struct step *s, int64_t attempt);
void step_touch(struct move *m, int i); /* it changed, and with it what the run shows */

/* run_task.c: what agents and servers say about the tasks they were given */
void task_assigned(struct move *m, const struct run_event *e);
void task_unassigned(struct move *m, const struct run_event *e);
void task_accepted(struct move *m, const struct run_event *e);
void task_refused(struct move *m, const struct run_event *e);
void task_started(struct move *m, const struct run_event *e);
void task_progress(struct move *m, const struct run_event *e);
void task_completed(struct move *m, const struct run_event *e);
void task_lost(struct move *m, const struct run_event *e);
void task_agent_gone(struct move *m, const struct run_event *e);
void task_job_started(struct move *m, const struct run_event *e);

/* run_payload.c: the envelope of a step's task (spec §4.4), for the present assignment */
struct str task_envelope(struct move *m, int i);
const char *workflow_task_type(const struct run *r, int step);
void workflow_payload(struct json_out *o, struct move *m, int step, const struct json *config);
void workflow_credentials(struct json_out *o, struct move *m, int step, const struct json *config);

/* run_effect.c */
struct effect *effect_add(struct move *m, enum effect_type type, int step);
void effect_task(struct move *m, enum effect_type type, int step, struct str agent, struct str text);
/* An event for another run of the tenant; `id` (STR_NONE: none) makes a repetition drop. Texts live as long as the move. */
void effect_tell(struct move *m, const char *kind, struct str run, struct str id, const struct run_event *e);
void step_tell_job(struct move *m, int i, const struct run_event *e); /* when it has one, and is running */
void step_resume_job(struct move *m, int i, struct str by);           /* now, or when it is known */
struct str keep(struct move *m, struct str s); /* a copy in the run's arena, cut to RUN_TEXT_MAX; marks failure */

/* run_frame.c: the events of spec §13.3 */
void workflow_frame_run(struct move *m, enum run_moment what);
void workflow_frame_step(struct move *m, enum step_moment what, int step);
/* A frame of any kind of run: its type, then members by json_key and json_put, then out. */
struct frame {
    struct move *m;
    struct buf b;
    struct json_out o;
    int step;
};
void frame_begin(struct frame *f, struct move *m, const char *type, int step);
void frame_end(struct frame *f);

#endif

/* A world for deployment jobs, as sim.h is one for workflow runs: random plans, agents that deploy, people and a parent
 * run, a fake clock, and bad luck. Everything follows from a seed: `job_test --seed N`.
 *
 * It keeps its own account of what must come true (which target is in which batch, what was touched, what each task came
 * to) and compares it with what the job shows. */
#ifndef TEST_SIM_JOB_SIM_H
#define TEST_SIM_JOB_SIM_H

#include "server/engine/choose.h"
#include "server/engine/job.h"
#include "server/engine/kind.h"
#include "test/sim/sim.h"

enum {
    JOB_SIM_TARGETS = 200,
    JOB_SIM_STEPS = JOB_SIM_TARGETS * JOB_TASK_TYPES,
    JOB_SIM_AGENTS = 5,
    JOB_SIM_TASKS = 4096,
    JOB_SIM_PLANS = 8192,
    JOB_SIM_INBOX = 2048,
    JOB_SIM_TURNS = 60000,
    JOB_SIM_TASK_STATUSES = 8
};

enum job_bug {
    JOB_BUG_NONE,
    JOB_BUG_SECOND_RESULT, /* a result for an ended task counts */
    JOB_BUG_FORGOTTEN,     /* a touched target is forgotten by the rollback */
    JOB_BUG_BATCHES,       /* the next batch begins before the last one has ended */
    JOB_BUGS
};

struct job_coverage {
    uint64_t job[JOB_STATUSES][EVENT_TYPES];
    uint64_t task[JOB_SIM_TASK_STATUSES][EVENT_TYPES];
    uint64_t jobs, targets, events, frames, crashes, reloads, faults, nanoseconds, ended[JOB_STATUSES];
};

struct job_spec { /* a plan, as it was meant */
    int n, n_batches;
    bool rolling, checks, parent;
    unsigned batch_size, batch_percent; /* one of them is 0 */
    unsigned pause_s, max_failures, max_concurrent, behaviour, unavailable, timeout_s;
    struct {
        bool skip, previous;
        int agent; /* -1: any */
        int batch; /* 0: skipped */
    } target[JOB_SIM_TARGETS];
};
/* The plan's text; `targets` 0: 1 to 60. */
struct str job_sim_plan(struct arena *a, uint64_t seed, unsigned targets, struct job_spec *spec);

enum { COMES_EVENT, COMES_TASK, COMES_PERSON }; /* kinds of what will come */

struct job_sim_task { /* given to an agent */
    int agent, step;
    int64_t attempt;
    bool open;      /* in the store */
    bool known;     /* the agent has heard of it */
    bool refused;   /* it wants none of it */
    bool cancelled; /* it was told to stop */
};

struct job_frames { /* of a task: what its frames said */
    bool assigned, started, done, succeeded, failed, skipped;
};

struct job_sim {
    struct arena arena;   /* the world's memory */
    struct arena scratch; /* of the drains of one loaded run */
    struct run *live;     /* as the last commit left it; NULL: to be loaded */
    struct dice dice;
    enum job_bug bug;
    bool calm; /* no bad luck: for measuring */
    struct job_coverage *coverage;
    struct job_spec spec;
    struct str text; /* of the plan */
    const struct template *t;
    const struct job *job;
    struct run_origin origin;
    int64_t now;

    /* the store */
    struct str header, *steps, *inbox;
    unsigned inbox_n;
    uint64_t appended, consumed;
    int64_t timer;
    int64_t *waiting; /* by step: attempt that waits for an agent; 0: none */

    /* agents */
    bool online[JOB_SIM_AGENTS];
    int open_tasks[JOB_SIM_AGENTS];
    struct job_sim_task *tasks;
    int n_tasks;

    struct plans plans;

    /* what was seen */
    struct job_frames *frames; /* by step */
    bool *given, *began;       /* by target: its deployment was assigned; an agent worked on it */
    int batch;                 /* of the last batch_started */
    bool batch_over, any, started, completed, rolled_back, resumed;
    int64_t batch_over_ms;
    bool forgotten;
    unsigned ends_told, pauses_told;
    bool end_success;
    enum job_status last;
    char fault[256];
};

void job_sim_init(struct job_sim *s);
void job_sim_fini(struct job_sim *s);
/* Plays one job to its end and on until nothing is left to happen. False: an invariant broke; s->fault says which. */
bool job_sim_play(struct job_sim *s, uint64_t seed, enum job_bug bug, struct job_coverage *coverage);
/* The same with that many targets and good luck alone. */
bool job_sim_measure(struct job_sim *s, uint64_t seed, unsigned targets, struct job_coverage *coverage);

/* shared by the files of the world */
void job_fault(struct job_sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool job_bad_luck(struct job_sim *s, unsigned percent); /* counted as a fault */
void job_plan_ahead(struct job_sim *s, int64_t delay_ms, int kind, const struct run_event *e, int task);
void job_append(struct job_sim *s, const struct run_event *e);
struct str job_agent_id(int agent);
void job_agent_gets(struct job_sim *s, int task);
void job_person(struct job_sim *s);
void job_toggle_agent(struct job_sim *s);
/* The answer to EFFECT_CHOOSE. */
void job_choose(struct job_sim *s, const struct run *r, int step, struct run_event *out);
/* What effects mean out there, once they are committed. */
void job_apply(struct job_sim *s, const struct run *r, const struct effects *fx);

/* job_sim_check.c: what must always hold */
struct job_before {
    enum job_status status;
    bool paused, halted, over;
    int64_t attempts[JOB_SIM_STEPS];
    size_t frames;
};
size_t job_count_frames(const struct effects *fx);
void job_remember(const struct run *r, const struct effects *fx, struct job_before *b);
void job_check_transition(struct job_sim *s, const struct run *r, const struct run_event *e, const struct effects *fx,
                          const struct job_before *b);
void job_check_frame(struct job_sim *s, struct str frame);
void job_check_end(struct job_sim *s, struct run *r);

#endif

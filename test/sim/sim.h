/* A world for the run engine: a fake clock, a store, agents, servers and people, and bad luck in all of them.
 * Everything follows from a seed, so any failure replays: `engine_test --seed N`.
 *
 * A few steps are carried out by jobs, other runs that are only hinted at: an instance makes one, perhaps late, perhaps
 * twice telling; it runs, pauses the run now and then, and stops when it is told to, mostly.
 *
 * The store keeps what a commit wrote; a drain works on what the last one left, or on a run loaded anew. Bad luck:
 * events doubled, answers late or lost, agents that vanish, refuse, or come back, clocks that jump, transitions whose
 * commit never happens, and events that make no sense at all. */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H

#include "server/engine/run.h"
#include "test/lib/dice.h"
#include "test/sim/plans.h"

/* --- templates --- */

/* A random template of 1 to 50 nodes with every join, edge, failure policy, retry, condition and role. */
const struct template *sim_template(struct arena *a, uint64_t seed, struct str *definition);

/* --- seeded bugs, for the simulator to prove itself on --- */

enum sim_bug {
    BUG_NONE,
    BUG_SECOND_RESULT,   /* a result for an ended step counts */
    BUG_FORGOTTEN_TIMER, /* resuming forgets the timers that stood still */
    BUG_LOST_WRITE,      /* a changed step is not written */
    BUG_JOB_LEFT,        /* a job is not told to stop */
    SIM_BUGS
};

/* --- the world --- */

enum { SIM_JOBS = 256 };
enum { SIM_AGENTS = 4, SIM_TASKS = 256, SIM_PLANS = 4096, SIM_STEPS_MAX = 20000 };

enum sim_job_fate {
    JOB_MADE,
    JOB_MADE_LATE,
    JOB_KNOWN,
    JOB_UNWANTED,
    JOB_STOPPED,
    JOB_DEAF,
    JOB_PAUSED,
    JOB_RESUMED,
    JOB_FATES
};

struct sim_coverage {
    uint64_t jobs[JOB_FATES];
    /* of the templates, by node or edge */
    uint64_t joins[2], failures[NODE_GOTO + 1], edges[ON_GOTO + 1], policies[TEMPLATE_ROLLBACK + 1],
        roles[ROLE_FINALLY + 1], executors[BY_JOB + 1];
    uint64_t run[RUN_STATUSES][EVENT_TYPES];
    uint64_t step[STEP_STATUSES][EVENT_TYPES];
    uint64_t runs, events, frames, crashes, reloads, faults, ended[RUN_STATUSES];
};

enum { PLAN_EVENT, PLAN_TIMER, PLAN_AGENT_GETS, PLAN_PERSON, PLAN_JOB }; /* kinds of what will come */

struct sim_task { /* at an agent */
    struct str id;
    int agent;
    bool open, cancelled, done;
};

struct sim_job {
    struct str id, node;
    int64_t attempt;
    bool known, cancelled, done, paused;
};

struct sim {
    struct arena arena;   /* the world's memory */
    struct arena scratch; /* of the drains of one loaded run */
    struct run *live;     /* as the last commit left it; NULL: to be loaded */
    struct dice dice;
    enum sim_bug bug;
    struct sim_coverage *coverage;
    const struct template *t;
    struct run_origin origin;
    int64_t now;

    /* the store */
    struct str header, *steps;
    struct str inbox[512];
    unsigned inbox_n;
    uint64_t appended, consumed;
    int64_t timer;
    int64_t seq;
    unsigned open_tasks[SIM_AGENTS];
    struct str open[SIM_TASKS];
    int open_agent[SIM_TASKS];
    struct str waiting[SIM_TASKS], queued[SIM_TASKS];

    /* agents */
    bool online[SIM_AGENTS];
    struct sim_task tasks[SIM_TASKS];
    unsigned n_tasks;

    struct sim_job jobs[SIM_JOBS];
    unsigned n_jobs;

    struct plans plans;

    /* what was seen */
    bool *succeeded, *began;
    bool completed, started;
    enum run_status last;
    char fault[256];
};

/* Plays one run to its end and on until nothing is left to happen. False: an invariant broke; s->fault says which. */
bool sim_play(struct sim *s, uint64_t seed, const struct template *t, enum sim_bug bug, struct sim_coverage *coverage);
void sim_init(struct sim *s);
void sim_fini(struct sim *s);

/* shared by the files of the world */
void sim_fault(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_plan(struct sim *s, int64_t delay_ms, int kind, const struct run_event *e);
void sim_append(struct sim *s, const struct run_event *e);
void sim_drain(struct sim *s);
/* What effects mean out there, once they are committed. */
void sim_apply(struct sim *s, struct run *r, const struct effects *fx);
void sim_agent_gets(struct sim *s, const struct run_event *e);
void sim_job(struct sim *s, const struct run_event *e); /* an instance sees to a step that wants one */
struct sim_job *sim_job_find(struct sim *s, struct str id);
void sim_person(struct sim *s);
int sim_choose(struct sim *s);
struct str sim_agent_id(int agent);
struct run *sim_load(struct sim *s, struct arena *a);
void sim_check_end(struct sim *s);
void sim_check_frame(struct sim *s, struct str frame);

#endif

/* The run engine, simulated; how to play it: test/lib/player.h.
 *
 * Prints which event met which state. Every cell must have been reached, and 5 % of the events been faults. */
#include "test/lib/player.h"
#include "test/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 60000, BUG_RUNS = 10000, PER_TEMPLATE = 8, FAULTS_MIN = 5 };

static const char *const bug_names[SIM_BUGS] = {"none", "a second result counts", "resuming forgets the timers",
                                                "a change is not written", "a job is not told to stop"};

struct world {
    struct sim sim;
    struct arena arena; /* of the template, which PER_TEMPLATE seeds have in common */
    const struct template *t;
    uint64_t template_seed;
    struct str definition;
};

static void *make(void)
{
    struct world *w = calloc(1, sizeof *w);

    if (w == NULL)
        abort();
    sim_init(&w->sim);
    arena_init(&w->arena, 0);
    w->template_seed = UINT64_MAX;
    return w;
}

static void drop(void *arg)
{
    struct world *w = arg;

    sim_fini(&w->sim);
    arena_fini(&w->arena);
    free(w);
}

static void count_template(struct sim_coverage *c, const struct template *t)
{
    c->policies[t->on_failure]++;
    for (int i = 0; i < t->n; i++) {
        c->joins[t->nodes[i].join]++;
        c->failures[t->nodes[i].on_failure]++;
        c->roles[t->nodes[i].role]++;
        c->executors[t->nodes[i].type->executor]++;
    }
    for (int i = 0; i < t->n_edges; i++)
        c->edges[t->edges[i].on]++;
}

static bool play(void *arg, uint64_t seed, int bug, void *coverage)
{
    struct world *w = arg;
    struct sim_coverage *c = coverage;

    if (w->template_seed != seed / PER_TEMPLATE) {
        arena_reset(&w->arena);
        w->template_seed = seed / PER_TEMPLATE;
        w->t = sim_template(&w->arena, w->template_seed, &w->definition);
        if (w->t == NULL)
            snprintf(w->sim.fault, sizeof w->sim.fault, "a random template was refused");
        else
            count_template(c, w->t);
    }
    return w->t != NULL && sim_play(&w->sim, seed, w->t, (enum sim_bug)bug, c);
}

static const char *fault(const void *w)
{
    return ((const struct world *)w)->sim.fault;
}

static void show(const void *w)
{
    printf(STR_FMT "\n", STR_ARG(((const struct world *)w)->definition));
}

/* --- what was reached --- */

static unsigned table(const char *title, const char *(*name)(int state), int states,
                      const uint64_t (*cells)[EVENT_TYPES])
{
    unsigned empty = 0;

    printf("\n%-16s", title);
    for (int s = 0; s < states; s++)
        printf("%11s", name(s));
    printf("\n");
    for (int e = 0; e < EVENT_TYPES; e++) {
        printf("%-16s", run_event_name((enum run_event_type)e));
        for (int s = 0; s < states; s++) {
            printf("%11llu", (unsigned long long)cells[s][e]);
            empty += cells[s][e] == 0;
        }
        printf("\n");
    }
    return empty;
}

static const char *run_name(int s)
{
    return run_status_name((enum run_status)s);
}
static const char *step_name(int s)
{
    return step_status_name((enum step_status)s);
}

/* A line of counts, none of which may be 0. */
static unsigned line(const char *title, const char *const *names, const uint64_t *counts, size_t n)
{
    unsigned empty = 0;

    printf("%-16s", title);
    for (size_t i = 0; i < n; i++) {
        printf(" %s %llu", names[i], (unsigned long long)counts[i]);
        empty += counts[i] == 0;
    }
    printf("\n");
    return empty;
}

static unsigned lines(const struct sim_coverage *c)
{
    static const char *const joins[] = {"all", "any"}, *const failures[] = {"fail", "continue", "pause", "goto"},
                             *const edges[] = {"success", "failure", "always", "goto"},
                             *const policies[] = {"fail-fast", "continue", "rollback"},
                             *const roles[] = {"ordinary", "compensating", "finally"},
                             *const executors[] = {"agent", "server", "timer", "job"},
                             *const fates[JOB_FATES] = {"made",    "late", "known",  "unwanted",
                                                        "stopped", "deaf", "paused", "resumed"};
    unsigned empty = 0;

    printf("\n");
    empty += line("join", joins, c->joins, ARRAY_LEN(joins));
    empty += line("onFailure", failures, c->failures, ARRAY_LEN(failures));
    empty += line("edge", edges, c->edges, ARRAY_LEN(edges));
    empty += line("policy", policies, c->policies, ARRAY_LEN(policies));
    empty += line("role", roles, c->roles, ARRAY_LEN(roles));
    empty += line("executor", executors, c->executors, ARRAY_LEN(executors));
    return empty + line("jobs", fates, c->jobs, ARRAY_LEN(fates));
}

static bool report(const void *arg, bool whole)
{
    const struct sim_coverage *c = arg;
    unsigned empty = table("run x event", run_name, RUN_STATUSES, c->run);

    empty += table("step x event", step_name, STEP_STATUSES, c->step);
    empty += lines(c);
    printf("\n%llu runs (%llu succeeded, %llu failed, %llu cancelled), %llu events, %llu frames, %llu faults (%.1f %% "
           "of the "
           "events), %llu commits lost, %llu reloads compared\n",
           (unsigned long long)c->runs, (unsigned long long)c->ended[RUN_SUCCEEDED],
           (unsigned long long)c->ended[RUN_FAILED], (unsigned long long)c->ended[RUN_CANCELLED],
           (unsigned long long)c->events, (unsigned long long)c->frames, (unsigned long long)c->faults,
           100.0 * (double)c->faults / (double)c->events, (unsigned long long)c->crashes,
           (unsigned long long)c->reloads);
    bool few_faults = c->faults * 100 < c->events * FAULTS_MIN;
    if (few_faults)
        printf("fewer faults than %d %% of the events\n", FAULTS_MIN);
    if (empty > 0 && whole)
        printf("%u cells were never reached\n", empty);
    return !few_faults && (empty == 0 || !whole);
}

int main(int argc, char **argv)
{
    static const struct game game = {.runs = RUNS,
                                     .bug_runs = BUG_RUNS,
                                     .block = PER_TEMPLATE,
                                     .bugs = SIM_BUGS,
                                     .bug_names = bug_names,
                                     .coverage = sizeof(struct sim_coverage),
                                     .make = make,
                                     .drop = drop,
                                     .play = play,
                                     .fault = fault,
                                     .show = show,
                                     .report = report};

    return player_main(&game, argc, argv);
}

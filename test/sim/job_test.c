/* Deployment jobs, simulated; how to play them: test/lib/player.h; and `job_test --measure TARGETS`: what a transition
 * costs.
 *
 * Jobs have 1 to 60 targets. Prints which event met which state. Every cell must have been reached, and 5 % of the events
 * been faults. */
#include "test/lib/player.h"
#include "test/sim/job_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 20000, BUG_JOBS = 10000, FAULTS_MIN = 5 };

static const char *const bug_names[JOB_BUGS] = {"none", "a second result counts", "a touched target is forgotten",
                                                "batches overlap"};

/* --- what was reached --- */

static unsigned table(const char *title, const char *const *names, int states, const uint64_t (*cells)[EVENT_TYPES])
{
    unsigned empty = 0;

    printf("\n%-17s", title);
    for (int s = 0; s < states; s++)
        printf("%16s", names[s]);
    printf("\n");
    for (int e = 0; e < EVENT_TYPES; e++) {
        printf("%-17s", run_event_name((enum run_event_type)e));
        for (int s = 0; s < states; s++) {
            printf("%16llu", (unsigned long long)cells[s][e]);
            empty += cells[s][e] == 0;
        }
        printf("\n");
    }
    return empty;
}

static bool report(const void *arg, bool whole)
{
    const struct job_coverage *c = arg;
    unsigned empty = table("job x event", job_statuses, JOB_STATUSES, c->job);

    empty += table("task x event", job_task_statuses, JOB_SIM_TASK_STATUSES, c->task);
    printf("\n%llu jobs, %llu targets; ended:", (unsigned long long)c->jobs, (unsigned long long)c->targets);
    for (int i = 0; i < JOB_STATUSES; i++)
        if (c->ended[i] > 0)
            printf(" %s %llu", job_statuses[i], (unsigned long long)c->ended[i]);
    printf(
        "\n%llu events, %llu frames, %llu faults (%.1f %% of the events), %llu commits lost, %llu reloads compared\n",
        (unsigned long long)c->events, (unsigned long long)c->frames, (unsigned long long)c->faults,
        100.0 * (double)c->faults / (double)c->events, (unsigned long long)c->crashes, (unsigned long long)c->reloads);
    bool few_faults = c->faults * 100 < c->events * FAULTS_MIN;
    if (few_faults)
        printf("fewer faults than %d %% of the events\n", FAULTS_MIN);
    if (empty > 0 && whole)
        printf("%u cells were never reached\n", empty);
    return !few_faults && (empty == 0 || !whole);
}

/* --- the game --- */

static void *make(void)
{
    struct job_sim *s = malloc(sizeof *s);

    if (s == NULL)
        abort();
    job_sim_init(s);
    return s;
}

static void drop(void *s)
{
    job_sim_fini(s);
    free(s);
}

static bool play(void *s, uint64_t seed, int bug, void *coverage)
{
    return job_sim_play(s, seed, (enum job_bug)bug, coverage);
}

static const char *fault(const void *s)
{
    return ((const struct job_sim *)s)->fault;
}

static void show(const void *s)
{
    printf(STR_FMT "\n", STR_ARG(((const struct job_sim *)s)->text));
}

static int measure(unsigned targets)
{
    static struct job_coverage coverage;
    struct job_sim s;
    bool fine = true;

    job_sim_init(&s);
    for (uint64_t seed = 1; seed <= 50 && fine; seed++)
        fine = job_sim_measure(&s, seed, targets, &coverage);
    if (!fine)
        printf("%s\n", s.fault);
    printf("%u targets: %llu events, %.2f us each\n", targets, (unsigned long long)coverage.events,
           (double)coverage.nanoseconds / 1000 / (double)coverage.events);
    job_sim_fini(&s);
    return fine ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct game game = {.runs = JOBS,
                                     .bug_runs = BUG_JOBS,
                                     .block = 1,
                                     .bugs = JOB_BUGS,
                                     .bug_names = bug_names,
                                     .coverage = sizeof(struct job_coverage),
                                     .make = make,
                                     .drop = drop,
                                     .play = play,
                                     .fault = fault,
                                     .show = show,
                                     .report = report};

    if (argc == 3 && strcmp(argv[1], "--measure") == 0) {
        unsigned long targets = strtoul(argv[2], NULL, 10);

        return measure(targets < JOB_SIM_TARGETS ? (unsigned)targets : JOB_SIM_TARGETS);
    }
    return player_main(&game, argc, argv);
}

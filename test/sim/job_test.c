/* Deployment jobs, simulated: `job_test [--jobs N] [--seed N [--bug K]] [--measure TARGETS]`.
 *
 * Plays N jobs (30,000) of 1 to 60 targets, each from its own seed, and prints which event met which state. Every cell
 * must have been reached, and 5 % of the events been faults. Then each seeded bug must be caught and its seed replay.
 * With --seed plays that one job only; --measure tells what a transition costs. */
#include "test/sim/job_sim.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { JOBS = 30000, BUG_JOBS = 10000, THREADS = 4, FAULTS_MIN = 5 };

static const char *const bug_names[JOB_BUGS] = {"none", "a second result counts", "a touched target is forgotten",
                                                "batches overlap"};

static void report(const struct job_sim *s, const char *program, uint64_t seed, enum job_bug bug)
{
    printf("seed %llu: %s\nreplay: %s --seed %llu", (unsigned long long)seed, s->fault, program,
           (unsigned long long)seed);
    if (bug != JOB_BUG_NONE)
        printf(" --bug %d", (int)bug);
    printf("\n");
}

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

static unsigned tables(const struct job_coverage *c)
{
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
    return empty;
}

/* --- the ways to run --- */

struct share { /* of the jobs, played by one thread */
    struct job_sim sim;
    struct job_coverage coverage;
    pthread_t thread;
    uint64_t first, step, last, failed; /* failed: a seed, or 0 */
};

static void *play_share(void *arg)
{
    struct share *s = arg;

    for (uint64_t seed = s->first; seed <= s->last && s->failed == 0; seed += s->step)
        if (!job_sim_play(&s->sim, seed, JOB_BUG_NONE, &s->coverage))
            s->failed = seed;
    return NULL;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add_coverage(struct job_coverage *sum, const struct job_coverage *one)
{
    const uint64_t *from = (const uint64_t *)(const void *)one;
    uint64_t *to = (uint64_t *)(void *)sum;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

static int play_all(const char *program, uint64_t jobs)
{
    static struct share shares[THREADS];
    static struct job_coverage sum;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = cores < 1 ? 1 : cores > THREADS ? THREADS : (int)cores, status = 0;
    double start = seconds();

    for (int i = 0; i < threads; i++) {
        job_sim_init(&shares[i].sim);
        shares[i].first = 1 + (uint64_t)i;
        shares[i].step = (uint64_t)threads;
        shares[i].last = jobs;
        if (pthread_create(&shares[i].thread, NULL, play_share, &shares[i]) != 0)
            abort();
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(shares[i].thread, NULL);
        if (shares[i].failed > 0)
            report(&shares[i].sim, program, shares[i].failed, JOB_BUG_NONE);
        status = status || shares[i].failed > 0;
        add_coverage(&sum, &shares[i].coverage);
        job_sim_fini(&shares[i].sim);
    }
    unsigned empty = tables(&sum);
    printf("%.1f s with %d threads\n", seconds() - start, threads);
    bool few_faults = sum.faults * 100 < sum.events * FAULTS_MIN;
    if (few_faults)
        printf("fewer faults than %d %% of the events\n", FAULTS_MIN);
    if (empty > 0 && jobs >= JOBS)
        printf("%u cells were never reached\n", empty);
    return status || few_faults || (empty > 0 && jobs >= JOBS);
}

static int play_one(const char *program, uint64_t seed, enum job_bug bug)
{
    static struct job_coverage coverage;
    struct job_sim s;

    job_sim_init(&s);
    bool fine = job_sim_play(&s, seed, bug, &coverage);
    printf(STR_FMT "\n", STR_ARG(s.text));
    if (!fine)
        report(&s, program, seed, bug);
    else
        printf("seed %llu: fine\n", (unsigned long long)seed);
    job_sim_fini(&s);
    return fine ? 0 : 1;
}

/* The seed alone must bring the same fault again, whatever was played before it. */
static bool replay(const struct job_sim *first, uint64_t seed, enum job_bug bug)
{
    static struct job_coverage coverage;
    struct job_sim s;

    job_sim_init(&s);
    bool same = !job_sim_play(&s, seed, bug, &coverage) && strcmp(s.fault, first->fault) == 0;
    if (!same)
        printf("NOT replayed: seed %llu brings '%s'\n", (unsigned long long)seed, s.fault);
    job_sim_fini(&s);
    return same;
}

static bool catch_bug(const char *program, enum job_bug bug)
{
    static struct job_coverage coverage;
    struct job_sim s;
    uint64_t seed = 1;

    job_sim_init(&s);
    while (seed <= BUG_JOBS && job_sim_play(&s, seed, bug, &coverage))
        seed++;
    bool caught = seed <= BUG_JOBS;
    if (!caught)
        printf("NOT caught: %s\n", bug_names[bug]);
    else
        printf("caught in job %llu: %s (%s)\n", (unsigned long long)seed, bug_names[bug], s.fault);
    if (caught)
        report(&s, program, seed, bug);
    caught = caught && replay(&s, seed, bug);
    job_sim_fini(&s);
    return caught;
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

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 10);
    return otherwise;
}

int main(int argc, char **argv)
{
    uint64_t seed = option(argc, argv, "--seed", 0), targets = option(argc, argv, "--measure", 0);
    int status;

    if (targets > 0)
        return measure((unsigned)(targets < JOB_SIM_TARGETS ? targets : JOB_SIM_TARGETS));
    if (seed > 0)
        return play_one(argv[0], seed, (enum job_bug)(option(argc, argv, "--bug", 0) % JOB_BUGS));
    status = play_all(argv[0], option(argc, argv, "--jobs", JOBS));
    for (int bug = JOB_BUG_NONE + 1; bug < JOB_BUGS && status == 0; bug++)
        status = !catch_bug(argv[0], (enum job_bug)bug);
    return status;
}

/* The run engine, simulated: `engine_test [--runs N] [--seed N [--bug K]]`.
 *
 * Plays N runs (100,000), each from its own seed, and prints which event met which state. Every cell must have been
 * reached, and 5 % of the events been faults. Then proves that the invariants see something: each seeded bug must be
 * caught within 10,000 runs, and its seed replay. With --seed plays that one run only. */
#include "test/sim/sim.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 100000, BUG_RUNS = 10000, PER_TEMPLATE = 8, THREADS = 4, FAULTS_MIN = 5 };

static const char *const bug_names[SIM_BUGS] = {"none", "a second result counts", "resuming forgets the timers",
                                                "a change is not written", "a job is not told to stop"};

struct player {
    struct sim sim;
    struct sim_coverage coverage;
    struct arena arena; /* of the template */
    const struct template *t;
    uint64_t template_seed;
    struct str definition;
    unsigned long invalid;
};

static void player_init(struct player *p)
{
    memset(p, 0, sizeof *p);
    sim_init(&p->sim);
    arena_init(&p->arena, 0);
    p->template_seed = UINT64_MAX;
}

static void player_fini(struct player *p)
{
    sim_fini(&p->sim);
    arena_fini(&p->arena);
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

static bool play(struct player *p, uint64_t seed, enum sim_bug bug)
{
    if (p->template_seed != seed / PER_TEMPLATE) {
        arena_reset(&p->arena);
        p->template_seed = seed / PER_TEMPLATE;
        p->t = sim_template(&p->arena, p->template_seed, &p->definition);
        p->invalid += p->t == NULL;
        if (p->t != NULL)
            count_template(&p->coverage, p->t);
    }
    return p->t == NULL || sim_play(&p->sim, seed, p->t, bug, &p->coverage);
}

static void report(const struct player *p, const char *program, uint64_t seed, enum sim_bug bug)
{
    printf("seed %llu: %s\n", (unsigned long long)seed, p->sim.fault);
    printf("replay: %s --seed %llu", program, (unsigned long long)seed);
    if (bug != BUG_NONE)
        printf(" --bug %d", (int)bug);
    printf("\n");
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

static unsigned tables(const struct sim_coverage *c)
{
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
    return empty;
}

/* --- the three ways to run --- */

static int play_one(struct player *p, const char *program, uint64_t seed, enum sim_bug bug)
{
    bool fine = play(p, seed, bug);

    printf(STR_FMT "\n", STR_ARG(p->definition));
    if (!fine)
        report(p, program, seed, bug);
    else
        printf("seed %llu: fine\n", (unsigned long long)seed);
    return fine ? 0 : 1;
}

struct share { /* of the runs, played by one thread */
    struct player player;
    pthread_t thread;
    uint64_t first, step, last, failed; /* failed: a seed, or 0 */
};

/* Blocks of seeds that have a template in common. */
static void *play_share(void *arg)
{
    struct share *s = arg;

    for (uint64_t block = s->first; block <= s->last && s->failed == 0; block += s->step)
        for (uint64_t seed = block; seed < block + PER_TEMPLATE && seed <= s->last && s->failed == 0; seed++)
            if (seed > 0 && !play(&s->player, seed, BUG_NONE))
                s->failed = seed;
    return NULL;
}

static void add_coverage(struct sim_coverage *sum, const struct sim_coverage *one)
{
    const uint64_t *from = (const uint64_t *)(const void *)one;
    uint64_t *to = (uint64_t *)(void *)sum;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int play_all(const char *program, uint64_t runs)
{
    static struct share shares[THREADS];
    static struct sim_coverage sum;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = cores < 1 ? 1 : cores > THREADS ? THREADS : (int)cores, status = 0;
    unsigned long invalid = 0;
    double start = seconds();

    for (int i = 0; i < threads; i++) {
        player_init(&shares[i].player);
        shares[i].first = (uint64_t)i * PER_TEMPLATE;
        shares[i].step = (uint64_t)threads * PER_TEMPLATE;
        shares[i].last = runs;
        if (pthread_create(&shares[i].thread, NULL, play_share, &shares[i]) != 0)
            abort();
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(shares[i].thread, NULL);
        if (shares[i].failed > 0)
            report(&shares[i].player, program, shares[i].failed, BUG_NONE);
        status = status || shares[i].failed > 0;
        invalid += shares[i].player.invalid;
        add_coverage(&sum, &shares[i].player.coverage);
        player_fini(&shares[i].player);
    }
    unsigned empty = tables(&sum);
    printf("%.1f s with %d threads\n", seconds() - start, threads);
    if (invalid > 0)
        printf("%lu random templates were refused\n", invalid);
    bool few_faults = sum.faults * 100 < sum.events * FAULTS_MIN;
    if (few_faults)
        printf("fewer faults than %d %% of the events\n", FAULTS_MIN);
    if (empty > 0 && runs >= RUNS)
        printf("%u cells were never reached\n", empty);
    return status || invalid > 0 || few_faults || (empty > 0 && runs >= RUNS);
}

/* The seed alone must bring the same fault again, whatever was played before it. */
static bool replay(const struct player *first, uint64_t seed, enum sim_bug bug)
{
    struct player p;

    player_init(&p);
    bool same = !play(&p, seed, bug) && strcmp(p.sim.fault, first->sim.fault) == 0;
    if (!same)
        printf("NOT replayed: seed %llu brings '%s'\n", (unsigned long long)seed, p.sim.fault);
    player_fini(&p);
    return same;
}

static int catch_bugs(const char *program)
{
    for (int bug = BUG_NONE + 1; bug < SIM_BUGS; bug++) {
        struct player p;
        uint64_t seed = 1;

        player_init(&p);
        while (seed <= BUG_RUNS && play(&p, seed, (enum sim_bug)bug))
            seed++;
        if (seed > BUG_RUNS)
            printf("NOT caught: %s\n", bug_names[bug]);
        else
            printf("caught in run %llu: %s (%s)\n", (unsigned long long)seed, bug_names[bug], p.sim.fault);
        if (seed <= BUG_RUNS)
            report(&p, program, seed, (enum sim_bug)bug);
        bool replays = seed <= BUG_RUNS && replay(&p, seed, (enum sim_bug)bug);
        player_fini(&p);
        if (!replays)
            return 1;
    }
    return 0;
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
    uint64_t seed = option(argc, argv, "--seed", 0), runs = option(argc, argv, "--runs", RUNS);
    enum sim_bug bug = (enum sim_bug)(option(argc, argv, "--bug", 0) % SIM_BUGS);
    struct player p;
    int status;

    if (seed == 0)
        return play_all(argv[0], runs) || catch_bugs(argv[0]);
    player_init(&p);
    status = play_one(&p, argv[0], seed, bug);
    player_fini(&p);
    return status;
}

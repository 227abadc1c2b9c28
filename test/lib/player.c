#include "test/lib/player.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 16, PROGRESS_S = 10 };

struct share { /* of the runs, played by one thread */
    const struct game *game;
    void *world, *coverage;
    pthread_t thread;
    uint64_t from, to; /* seeds; of these, the blocks of this thread */
    unsigned number, of;
    uint64_t failed; /* a seed, or 0 */
    _Atomic uint64_t played;
};

static void *counters(const struct game *g)
{
    void *made = calloc(1, g->coverage);

    if (made == NULL)
        abort();
    return made;
}

static void report(const struct game *g, const void *world, const char *program, uint64_t seed, int bug)
{
    printf("seed %" PRIu64 ": %s\nreplay: %s --seed %" PRIu64, seed, g->fault(world), program, seed);
    if (bug != 0)
        printf(" --bug %d", bug);
    printf("\n");
}

static void *play_share(void *arg)
{
    struct share *s = arg;
    unsigned block = s->game->block;

    for (uint64_t seed = s->from; seed <= s->to && s->failed == 0; seed++) {
        if (seed / block % s->of != s->number)
            continue;
        if (!s->game->play(s->world, seed, 0, s->coverage))
            s->failed = seed;
        s->played++;
    }
    return NULL;
}

static void wait_for(struct share *shares, int i, int n, bool tells)
{
    struct timespec until;

    for (;;) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += PROGRESS_S;
        if (pthread_timedjoin_np(shares[i].thread, NULL, &until) == 0)
            return;
        uint64_t played = 0;
        for (int k = 0; k < n; k++)
            played += shares[k].played;
        if (tells)
            printf("%" PRIu64 " of %" PRIu64 " played\n", played, shares[0].to - shares[0].from + 1);
        fflush(stdout);
    }
}

static void add(const struct game *g, void *sum, const void *one)
{
    const uint64_t *from = one;
    uint64_t *to = sum;

    for (size_t i = 0; i < g->coverage / sizeof *to; i++)
        to[i] += from[i];
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int play_all(const struct game *g, const char *program, uint64_t from, uint64_t runs, bool tells)
{
    struct share shares[THREADS];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int n = cores < 1 ? 1 : cores > THREADS ? THREADS : (int)cores, status = 0;
    void *sum = counters(g);
    double start = seconds();

    for (int i = 0; i < n; i++) {
        shares[i] = (struct share){.game = g,
                                   .world = g->make(),
                                   .coverage = counters(g),
                                   .from = from,
                                   .to = from + runs - 1,
                                   .number = (unsigned)i,
                                   .of = (unsigned)n};
        if (pthread_create(&shares[i].thread, NULL, play_share, &shares[i]) != 0)
            abort();
    }
    for (int i = 0; i < n; i++) {
        wait_for(shares, i, n, tells);
        if (shares[i].failed > 0)
            report(g, shares[i].world, program, shares[i].failed, 0);
        status = status || shares[i].failed > 0;
        add(g, sum, shares[i].coverage);
        g->drop(shares[i].world);
        free(shares[i].coverage);
    }
    bool reached = g->report(sum, runs >= g->runs);
    printf("seeds %" PRIu64 " to %" PRIu64 ": %.1f s with %d threads\n", from, from + runs - 1, seconds() - start, n);
    free(sum);
    return status || !reached;
}

static int play_one(const struct game *g, const char *program, uint64_t seed, int bug)
{
    void *world = g->make(), *coverage = counters(g);
    bool fine = g->play(world, seed, bug, coverage);

    if (g->show != NULL)
        g->show(world);
    if (!fine)
        report(g, world, program, seed, bug);
    else
        printf("seed %" PRIu64 ": fine\n", seed);
    g->drop(world);
    free(coverage);
    return fine ? 0 : 1;
}

/* The seed alone must bring the same fault again, whatever was played before it. */
static bool replays(const struct game *g, const char *fault, uint64_t seed, int bug)
{
    void *world = g->make(), *coverage = counters(g);
    bool same = !g->play(world, seed, bug, coverage) && strcmp(g->fault(world), fault) == 0;

    if (!same)
        printf("NOT replayed: seed %" PRIu64 " brings '%s'\n", seed, g->fault(world));
    g->drop(world);
    free(coverage);
    return same;
}

static bool catches(const struct game *g, const char *program, int bug)
{
    void *world = g->make(), *coverage = counters(g);
    uint64_t seed = 1;

    while (seed <= g->bug_runs && g->play(world, seed, bug, coverage))
        seed++;
    bool caught = seed <= g->bug_runs;
    if (caught) {
        printf("caught in run %" PRIu64 ": %s\n", seed, g->bug_names[bug]);
        report(g, world, program, seed, bug);
    } else {
        printf("NOT caught: %s\n", g->bug_names[bug]);
    }
    caught = caught && replays(g, g->fault(world), seed, bug);
    g->drop(world);
    free(coverage);
    return caught;
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 10);
    return otherwise;
}

int player_main(const struct game *g, int argc, char **argv)
{
    uint64_t seed = option(argc, argv, "--seed", 0), from = option(argc, argv, "--from", 0);
    uint64_t runs = option(argc, argv, "--runs", g->runs);
    int bug = (int)(option(argc, argv, "--bug", 0) % (unsigned)g->bugs), status;

    if (seed > 0)
        return play_one(g, argv[0], seed, bug);
    status = play_all(g, argv[0], from > 0 ? from : 1, runs, from > 0);
    for (bug = 1; bug < g->bugs && status == 0 && from == 0; bug++)
        status = !catches(g, argv[0], bug);
    return status;
}

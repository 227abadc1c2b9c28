/* Plays a simulation over many seeds, on all cores, and shows that it would notice something.
 *
 *     PROGRAM [--runs N]            plays seeds 1 … N (by default the game's own number), then lets each planted bug be
 *                                   caught, and its seed replay
 *     PROGRAM --from S [--runs N]   plays seeds S … S+N-1 alone, and says how far it is
 *     PROGRAM --seed N [--bug K]    plays that one, and shows it
 *
 * A seed that fails is printed with the command that replays it, and the exit status is 1. */
#ifndef TEST_LIB_PLAYER_H
#define TEST_LIB_PLAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct game {
    uint64_t runs, bug_runs; /* by default; in how many a bug must show */
    unsigned block;          /* so many seeds, from a multiple of it on, are played by one thread one after another */
    int bugs;                /* and their names; 0 is none */
    const char *const *bug_names;
    size_t coverage; /* bytes of a struct of uint64_t counters, which are added up */
    void *(*make)(void);
    void (*drop)(void *world);
    /* False: something did not hold, and `fault` says what. It depends on seed and bug alone. */
    bool (*play)(void *world, uint64_t seed, int bug, void *coverage);
    const char *(*fault)(const void *world);
    void (*show)(const void *world); /* what was played; NULL: nothing to show */
    /* Prints what was reached. False: `whole`, all runs were played, and something was not. */
    bool (*report)(const void *coverage, bool whole);
};
int player_main(const struct game *g, int argc, char **argv);

#endif

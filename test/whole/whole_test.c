/* Run, hub and agents' protocol as one, simulated: `whole_test [--runs N] [--seed N [--bug K]]`.
 *
 * Plays N lives of a run (RUNS), each from its own seed; each kind of bad luck must have come. Then each seeded bug must
 * be caught and its seed replay. With --seed plays that one alone, and shows the channel of the run. */
#include "test/whole/whole.h"
#include "lib/log.h"
#include "test/lib/player.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUNS = 1500, BUG_RUNS = 1000 };

static const char *const bug_names[WHOLE_BUGS] = {"none",
                                                  "a hint behind a hole is taken for the next one",
                                                  "what was not stored is acknowledged",
                                                  "lines are stored twice",
                                                  "a task is forgotten",
                                                  "another data set is not seen",
                                                  "a drain that lost its lease commits",
                                                  "any agent gets a job's tasks"};

static void *make(void)
{
    struct whole *w = malloc(sizeof *w);

    if (w == NULL)
        abort();
    whole_init(w);
    return w;
}

static void drop(void *w)
{
    whole_fini(w);
    free(w);
}

static bool play(void *w, uint64_t seed, int bug, void *coverage)
{
    return whole_play(w, seed, (enum whole_bug)bug, coverage);
}

static const char *fault(const void *w)
{
    return ((const struct whole *)w)->fault;
}

static void show(const void *arg)
{
    const struct whole *w = arg;

    printf(STR_FMT "\n", STR_ARG(w->definition));
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        for (size_t k = 0; k < w->channels[i].n; k++)
            printf("%s\n" STR_FMT "\n", w->channels[i].name, STR_ARG(w->channels[i].entries[k].text));
    for (int i = 0; i < WHOLE_AGENTS; i++)
        for (int k = 0; k < WHOLE_TASKS; k++) {
            const struct whole_process *p = &w->agents[i].disk[k];

            if (p->there)
                printf("agent %d: %s begun=%u runs=%d starting=%u cancel=%d exited=%d \"%s\" lines=%llu acked=%llu "
                       "accepted=%d started=%d completed=%d\n",
                       i, p->id, p->begun, p->runs, p->starting, p->cancel, p->exited, p->cause,
                       (unsigned long long)p->lines, (unsigned long long)p->acked, p->said_accepted, p->said_started,
                       p->said_completed);
        }
}

static bool report(const void *arg, bool whole_suite)
{
    const struct whole_coverage *c = arg;
    const struct {
        const char *name;
        uint64_t count;
    } rows[] = {{"instances killed", c->server_kills}, {"agents killed", c->agent_kills},
                {"tasks killed", c->task_kills},       {"links cut", c->cuts},
                {"commands lost", c->store_errors},    {"answers lost", c->answers_lost},
                {"hints lost", c->hints_lost},         {"commits lost", c->commits_lost},
                {"clocks jumped", c->jumps},           {"channels trimmed", c->trims},
                {"watchers reset", c->resets},         {"data replaced", c->replaced},
                {"drains fenced", c->fenced},          {"jobs", c->jobs},
                {"rolled back", c->rolled_back},       {"runs succeeded", c->ended[RUN_SUCCEEDED]},
                {"runs failed", c->ended[RUN_FAILED]}, {"runs cancelled", c->ended[RUN_CANCELLED]}};
    bool all = true;

    printf("%" PRIu64 " lives, %" PRIu64 " turns, %" PRIu64 " events, %" PRIu64 " frames, %" PRIu64
           " handed to watchers, %" PRIu64 " messages, %" PRIu64 " tasks, %" PRIu64 " faults\n",
           c->plays, c->turns, c->events, c->frames, c->handed, c->messages, c->tasks, c->faults);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        printf("  %-18s%12" PRIu64 "\n", rows[i].name, rows[i].count);
        all = all && rows[i].count > 0;
    }
    if (!all && whole_suite)
        printf("something never came\n");
    return all || !whole_suite;
}

int main(int argc, char **argv)
{
    static const struct game game = {.runs = RUNS,
                                     .bug_runs = BUG_RUNS,
                                     .block = 1,
                                     .bugs = WHOLE_BUGS,
                                     .bug_names = bug_names,
                                     .coverage = sizeof(struct whole_coverage),
                                     .make = make,
                                     .drop = drop,
                                     .play = play,
                                     .fault = fault,
                                     .show = show,
                                     .report = report};

    log_setup(LOG_NONE, LOG_TEXT, 2);
    return player_main(&game, argc, argv);
}

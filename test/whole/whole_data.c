/* Data that are replaced by an older copy of themselves, as a failover to a replica that lags behind, or a backup that is
 * restored, does it: the epoch is another one, and every link to the store is cut. */
#include "test/whole/whole.h"

#include "server/engine/template.h"

#include <stdlib.h>
#include <string.h>

void whole_data_copy(void)
{
    struct whole_copy *c = &world->copy;

    c->there = true;
    for (int i = 0; i < WHOLE_CHANNELS; i++) {
        c->seq[i] = world->channels[i].seq;
        c->n[i] = world->channels[i].n;
        c->trimmed[i] = world->channels[i].trimmed;
    }
    memcpy(c->open, world->open, sizeof c->open);
    c->logs = arena_array(&world->arena, world->n_logs + 1, sizeof *c->logs);
    c->steps = arena_array(&world->arena, (size_t)world->t->n, sizeof *c->steps);
    if (c->logs == NULL || c->steps == NULL)
        abort();
    memcpy(c->logs, world->logs, world->n_logs * sizeof *c->logs);
    memcpy(c->steps, world->steps, (size_t)world->t->n * sizeof *c->steps);
    c->n_logs = world->n_logs;
    c->header = world->header;
    memcpy(c->inbox, world->inbox, sizeof c->inbox);
    c->n_inbox = world->n_inbox;
    c->timer = world->timer;
    memcpy(c->online, world->online, sizeof c->online);
}

/* Behind the copy, the run's events are remembered: a watcher may still be handed them. */
static void lose_events(struct whole_copy *c)
{
    const struct whole_channel *channel = &world->channels[0];
    size_t more = channel->n - c->n[0];
    struct whole_entry *all = arena_array(&world->arena, c->n_lost + more + 1, sizeof *all);

    if (all == NULL)
        abort();
    if (c->n_lost > 0)
        memcpy(all, c->lost, c->n_lost * sizeof *all);
    memcpy(all + c->n_lost, channel->entries + c->n[0], more * sizeof *all);
    c->lost = all;
    c->n_lost += more;
}

bool whole_data_lost(int64_t seq, struct str event, int64_t epoch)
{
    const struct whole_copy *c = &world->copy;

    for (size_t i = 0; i < c->n_lost; i++)
        if (c->lost[i].first <= seq && seq <= c->lost[i].last && c->lost[i].epoch <= epoch &&
            str_find(c->lost[i].text, event) >= 0)
            return true;
    return false;
}

void whole_data_replace(void)
{
    struct whole_copy *c = &world->copy;

    if (!c->there)
        return;
    lose_events(c);
    for (int i = 0; i < WHOLE_CHANNELS; i++) {
        world->channels[i].seq = c->seq[i];
        world->channels[i].n = c->n[i];
        world->channels[i].trimmed = c->trimmed[i];
    }
    memcpy(world->open, c->open, sizeof c->open);
    memcpy(world->logs, c->logs, c->n_logs * sizeof *c->logs);
    memcpy(world->steps, c->steps, (size_t)world->t->n * sizeof *c->steps);
    world->n_logs = c->n_logs;
    world->header = c->header;
    memcpy(world->inbox, c->inbox, sizeof c->inbox);
    world->n_inbox = c->n_inbox;
    world->consumed = world->appended - world->n_inbox;
    world->timer = c->timer;
    memcpy(world->online, c->online, sizeof c->online);
    world->epoch++;
    world->commits++; /* leases are fenced */
    for (int i = 0; i < WHOLE_SERVERS; i++)
        if (world->servers[i].up)
            whole_server_cut(&world->servers[i]);
    world->coverage->replaced++;
}

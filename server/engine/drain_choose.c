/* Agents for the steps that ask for one: the tenant's roster, read once per drain, and the pure choice among it. */
#include "server/engine/drain_private.h"

#include "server/worker.h"

enum { COUNT_BATCH = 64 };

static void got_counts(void *arg, enum code c, const struct redis_value *v);

/* Agents that could be chosen at all. */
static bool candidate(const struct choose_agent *agent)
{
    return str_eqz(agent->status, "online") && str_eqz(agent->lifecycle, "active");
}

static enum code read_counts(struct drain *d)
{
    struct roster *roster = d->roster;
    struct store_command commands[COUNT_BATCH];
    struct str argv[COUNT_BATCH][2];
    size_t n = 0;

    for (size_t i = roster->counted; i < roster->n && n < COUNT_BATCH; i++) {
        if (!candidate(&roster->agents[i]))
            continue;
        argv[n][0] = S("HLEN");
        argv[n][1] = key_tasks(&d->arena, d->place.space, roster->agents[i].id);
        commands[n] = (struct store_command){2, argv[n]};
        n++;
    }
    return n == 0 ? RES_NOT_FOUND : store_read(d->drains->worker->store, commands, n, &d->ops, got_counts, d);
}

static void count_or_decide(struct drain *d)
{
    enum code c = read_counts(d);

    if (c == RES_NOT_FOUND)
        drain_decide(d);
    else if (c != OK)
        drain_end(d, c);
}

static void got_counts(void *arg, enum code c, const struct redis_value *v)
{
    struct drain *d = arg;
    struct roster *roster = d->roster;
    bool many = v != NULL && v->type == REDIS_ARRAY; /* one command answers its reply alone */
    size_t k = 0, most = many ? v->count : 1;

    if (c != OK) {
        drain_end(d, c);
        return;
    }
    for (; roster->counted < roster->n && k < most; roster->counted++)
        if (candidate(&roster->agents[roster->counted])) {
            roster->agents[roster->counted].open_tasks = redis_int(many ? redis_at(v, k) : v, 0);
            k++;
        }
    count_or_decide(d);
}

static void got_roster(void *arg, enum code c, const struct redis_value *v)
{
    struct drain *d = arg;
    struct roster *roster = arena_new(&d->arena, struct roster);
    size_t most = v == NULL ? 0 : v->count / 2;

    if (c == OK &&
        (roster == NULL || (roster->agents = arena_array(&d->arena, most + 1, sizeof *roster->agents)) == NULL))
        c = SYS_OVERLOADED;
    if (c != OK) {
        drain_end(d, c);
        return;
    }
    for (size_t i = 0; i < most; i++)
        if (choose_read(&d->arena, redis_text(redis_at(v, 2 * i)), redis_text(redis_at(v, 2 * i + 1)), 0,
                        &roster->agents[roster->n]))
            roster->n++;
    d->roster = roster;
    count_or_decide(d);
}

enum code roster_read(struct drain *d)
{
    struct store_command command = STORE_COMMAND(S("HGETALL"), key_roster(&d->arena, d->place.space));

    return store_read(d->drains->worker->store, &command, 1, &d->ops, got_roster, d);
}

/* Who refused this attempt, or was told to leave it. */
static void unfit(const struct step *s, struct str agents[RUN_REFUSALS_KEPT + RUN_ASKED_KEPT], struct choose_wish *wish)
{
    wish->refused = agents;
    for (unsigned k = 0; k < s->n_refused; k++)
        agents[wish->refused_count++] = s->refused[k];
    for (unsigned k = 0; k < s->n_released; k++)
        agents[wish->refused_count++] = s->released[k];
}

void roster_choose(struct drain *d, const struct effect *choose_effect)
{
    const struct step *s = &d->r->steps[choose_effect->step];
    const struct template_node *node = &d->r->template->nodes[choose_effect->step];
    struct str why_config;
    const struct json *config = run_step_config(&d->arena, d->r, choose_effect->step, false, &why_config);
    struct choose_wish wish = {.capability = str_z(node->type->capability), .avoid = s->busy};
    struct run_event e = {.node = node->id, .attempt = s->attempt};
    struct str refused[RUN_REFUSALS_KEPT + RUN_ASKED_KEPT];
    const struct choose_agent *agent;
    struct buf why;

    if (s->agent.n > 0 && s->accept_ms > 0 && !s->waits_agent)
        return; /* several offers in one drain: it has been given to somebody */
    unfit(s, refused, &wish);
    if (d->place.kind->wish != NULL)
        d->place.kind->wish(&d->arena, d->r, choose_effect->step, config, &wish);
    buf_init_arena(&why, &d->arena, 128);
    agent = choose(d->roster->agents, d->roster->n, &wish, &why);
    if (agent != NULL) {
        e.type = EVENT_TASK_ASSIGNED;
        e.agent = agent->id;
        d->roster->agents[agent - d->roster->agents].open_tasks++;
    } else {
        e.type = EVENT_TASK_UNASSIGNED;
        e.message = buf_view(&why);
    }
    run_transition(d->r, &e, d->now_ms, &d->fx);
}

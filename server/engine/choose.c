#include "server/engine/choose.h"

void choose_write(struct buf *b, const struct choose_agent *agent)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("capabilities"));
    if (json_is(agent->capabilities, JSON_ARRAY))
        json_put(&o, agent->capabilities);
    else
        json_put_raw(&o, S("[]"));
    json_key(&o, S("heartbeatInterval"));
    json_put_int(&o, agent->interval_s);
    json_key(&o, S("labels"));
    if (json_is(agent->labels, JSON_OBJECT))
        json_put(&o, agent->labels);
    else
        json_put_raw(&o, S("{}"));
    json_key(&o, S("lifecycleState"));
    json_put_str(&o, agent->lifecycle);
    json_key(&o, S("maxTasks"));
    json_put_int(&o, agent->max_tasks);
    json_key(&o, S("name"));
    json_put_str(&o, agent->name);
    json_key(&o, S("status"));
    json_put_str(&o, agent->status);
    json_close(&o, '}');
}

bool choose_read(struct arena *a, struct str id, struct str text, int64_t open_tasks, struct choose_agent *out)
{
    const struct json *j = json_parse(a, text, NULL, NULL);
    if (!json_is(j, JSON_OBJECT))
        return false;
    *out = (struct choose_agent){
        .id = arena_str(a, id),
        .name = json_str(json_get(j, "name")),
        .status = json_str(json_get(j, "status")),
        .lifecycle = json_str(json_get(j, "lifecycleState")),
        .labels = json_get(j, "labels"),
        .capabilities = json_get(j, "capabilities"),
        .max_tasks = json_int(json_get(j, "maxTasks"), CHOOSE_MAX_TASKS),
        .open_tasks = open_tasks,
        .interval_s = json_int(json_get(j, "heartbeatInterval"), CHOOSE_INTERVAL_S),
    };
    return out->id.p != NULL;
}

/* In the order in which they are looked at; an agent counts under the first that applies. */
enum unfit { FIT, OTHER, INACTIVE, OFFLINE, INCAPABLE, UNLABELLED, REFUSED, FULL, UNFITS };

static bool has_capability(const struct choose_agent *agent, struct str capability)
{
    for (size_t i = 0; i < json_count(agent->capabilities); i++)
        if (str_eq(json_str(json_at(agent->capabilities, i)), capability))
            return true;
    return false;
}

/* "name", whatever its value, or "name=value". */
static bool has_label(const struct choose_agent *agent, struct str label)
{
    struct str value = label, name = str_cut(&value, '=');
    const struct json *own = json_get_str(agent->labels, name);

    return own != NULL && (value.p == NULL || str_eq(json_str(own), value));
}

static bool has_labels(const struct choose_agent *agent, const struct json *labels)
{
    for (size_t i = 0; json_is(labels, JSON_ARRAY) && i < json_count(labels); i++)
        if (!has_label(agent, json_str(json_at(labels, i))))
            return false;
    if (!json_is(labels, JSON_OBJECT))
        return true;
    for (struct json_iter it = json_members(labels); json_next(&it);)
        if (!json_equal(json_get_str(agent->labels, it.name), it.value))
            return false;
    return true;
}

static bool has_refused(const struct choose_agent *agent, const struct choose_wish *wish)
{
    for (size_t i = 0; i < wish->refused_count; i++)
        if (str_eq(agent->id, wish->refused[i]))
            return true;
    return false;
}

static enum unfit judge(const struct choose_agent *agent, const struct choose_wish *wish)
{
    if (wish->agent.p != NULL && !str_eq(wish->agent, agent->id))
        return OTHER;
    if (!str_eqz(agent->lifecycle, "active"))
        return INACTIVE;
    if (!str_eqz(agent->status, "online"))
        return OFFLINE;
    if (wish->capability.n > 0 && !has_capability(agent, wish->capability))
        return INCAPABLE;
    if (!has_labels(agent, wish->labels))
        return UNLABELLED;
    if (has_refused(agent, wish))
        return REFUSED;
    return agent->open_tasks < agent->max_tasks ? FIT : FULL;
}

static bool better(const struct choose_agent *a, const struct choose_agent *b, const struct choose_wish *wish)
{
    bool a_last = wish->avoid.n > 0 && str_eq(a->id, wish->avoid),
         b_last = wish->avoid.n > 0 && str_eq(b->id, wish->avoid);
    if (a_last != b_last)
        return b_last;
    int64_t left = a->open_tasks * b->max_tasks, right = b->open_tasks * a->max_tasks;
    if (left != right)
        return left < right;
    if (a->open_tasks != b->open_tasks)
        return a->open_tasks < b->open_tasks;
    return str_cmp(a->id, b->id) < 0;
}

static void explain(const size_t counts[UNFITS], size_t n, const struct choose_wish *wish, struct buf *why)
{
    static const char *const words[UNFITS] = {NULL,
                                              "not the one asked for",
                                              "inactive or revoked",
                                              "not online",
                                              "without the capability",
                                              "without the labels",
                                              "having refused it",
                                              "busy"};
    if (n == 0) {
        buf_z(why, "no agent is registered");
        return;
    }
    if (wish->agent.p != NULL && counts[OTHER] == n) {
        buf_z(why, "the agent asked for is not registered");
        return;
    }
    buf_printf(why, "of %zu agent%s ", n, n == 1 ? "" : "s");
    bool first = true;
    for (enum unfit u = OTHER; u < UNFITS; u++) {
        if (counts[u] == 0)
            continue;
        buf_printf(why, "%s%zu %s %s", first ? "" : ", ", counts[u], counts[u] == 1 ? "is" : "are", words[u]);
        if (u == INCAPABLE)
            buf_printf(why, " " STR_FMT, STR_ARG(wish->capability));
        first = false;
    }
}

const struct choose_agent *choose(const struct choose_agent *agents, size_t n, const struct choose_wish *wish,
                                  struct buf *why)
{
    const struct choose_agent *best = NULL;
    size_t counts[UNFITS] = {0};
    for (size_t i = 0; i < n; i++) {
        enum unfit u = judge(&agents[i], wish);
        counts[u]++;
        if (u == FIT && (best == NULL || better(&agents[i], best, wish)))
            best = &agents[i];
    }
    if (best == NULL)
        explain(counts, n, wish, why);
    return best;
}

bool choose_busy(struct str why)
{
    return str_ends(why, S(" busy"));
}

#include "server/engine/template_build.h"

#include <stdio.h>
#include <string.h>

/* An edge counts for order and layers inside one role; ordinary nodes come before finally nodes anyway. */
static bool counts(const struct template *t, const struct template_edge *e)
{
    return t->nodes[e->from].role == t->nodes[e->to].role;
}

static int waiting_for(const struct template *t, int node, const bool placed[])
{
    int n = 0;

    for (int i = 0; i < t->nodes[node].ins; i++) {
        const struct template_edge *e = &t->edges[t->nodes[node].in[i]];

        n += counts(t, e) && !placed[e->from];
    }
    return n;
}

/* Appends the nodes of a role to the order, layer by layer; answers how many. */
static int place_role(struct template *t, enum node_role role, int at, bool placed[])
{
    int start = at, layer = 0, before;

    do {
        before = at;
        for (int i = 0; i < t->n; i++)
            if (t->nodes[i].role == role && !placed[i] && waiting_for(t, i, placed) == 0) {
                t->nodes[i].layer = layer;
                t->order[at++] = i;
            }
        for (int i = before; i < at; i++)
            placed[t->order[i]] = true;
        layer++;
    } while (at > before);
    return at - start;
}

/* Every node that could not be placed waits for another such node, so going backwards must come round. */
static void report_cycle(struct build *b, const bool placed[])
{
    const struct template *t = b->t;
    int path[TEMPLATE_NODES + 1] = {0}, seen[TEMPLATE_NODES], n = 0, node = -1;
    char text[400];
    size_t used = 0;

    memset(seen, 0xff, sizeof seen);
    for (int i = 0; i < t->n && node < 0; i++)
        if (!placed[i])
            node = i;
    while (seen[node] < 0) {
        seen[node] = n;
        path[n++] = node;
        for (int i = 0; i < t->nodes[node].ins; i++) {
            const struct template_edge *e = &t->edges[t->nodes[node].in[i]];

            if (counts(t, e) && !placed[e->from]) {
                node = e->from;
                break;
            }
        }
    }
    path[n] = node;
    for (int i = n; i >= seen[node] && used < sizeof text - 80; i--)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s" STR_FMT, i == n ? "" : " -> ",
                                 STR_ARG(t->nodes[path[i]].id));
    build_error(b, "WF_CYCLE", S("edges"), node, "the nodes wait for each other: %s", text);
}

/* Ordinary nodes may use what comes before them; compensating ones what they undo and what came before that; finally
 * nodes everything but other finally nodes that do not come before them. */
static void find_ancestors(struct template *t)
{
    for (int k = 0; k < t->n; k++) {
        struct template_node *node = &t->nodes[t->order[k]];

        for (int i = 0; i < node->ins; i++) {
            int from = t->edges[node->in[i]].from;

            node_set_join(&node->ancestors, &t->nodes[from].ancestors);
            node_set_add(&node->ancestors, from);
        }
        if (node->compensates >= 0) {
            node_set_join(&node->ancestors, &t->nodes[node->compensates].ancestors);
            node_set_add(&node->ancestors, node->compensates);
        }
        for (int i = 0; node->role == ROLE_FINALLY && i < t->n; i++)
            if (t->nodes[i].role != ROLE_FINALLY)
                node_set_add(&node->ancestors, i);
    }
}

static void check_reach(struct build *b)
{
    const struct template *t = b->t;
    bool reached[TEMPLATE_NODES] = {false};
    int starts = 0;

    for (int k = 0; k < t->n; k++) {
        int n = t->order[k];
        const struct template_node *node = &t->nodes[n];

        if (node->role != ROLE_ORDINARY)
            continue;
        reached[n] = node->ins == 0;
        starts += node->ins == 0;
        for (int i = 0; i < node->ins; i++)
            reached[n] = reached[n] || reached[t->edges[node->in[i]].from];
        if (!reached[n])
            build_error(b, "WF_UNREACHABLE", build_path(b, "nodes[%d]", n), n, "no path from a start node leads here");
    }
    if (starts == 0)
        build_error(b, "WF_NO_START", S("nodes"), -1, "every node has an incoming edge, so none can start");
}

void template_graph(struct build *b)
{
    struct template *t = b->t;
    bool placed[TEMPLATE_NODES] = {false};
    int at = 0;

    at += place_role(t, ROLE_ORDINARY, at, placed);
    at += place_role(t, ROLE_COMPENSATES, at, placed);
    at += place_role(t, ROLE_FINALLY, at, placed);
    if (at < t->n) {
        report_cycle(b, placed);
        return;
    }
    find_ancestors(t);
    check_reach(b);
}

void template_critical(struct build *b)
{
    const struct template *t = b->t;
    int64_t cost[TEMPLATE_NODES] = {0};
    int before[TEMPLATE_NODES], best = -1, n = 0, *path;

    if (b->failed)
        return;
    for (int k = 0; k < t->n; k++) {
        int node = t->order[k];

        before[node] = -1;
        if (t->nodes[node].role != ROLE_ORDINARY)
            continue;
        for (int i = 0; i < t->nodes[node].ins; i++) {
            int from = t->edges[t->nodes[node].in[i]].from;

            if (before[node] < 0 || cost[from] > cost[before[node]])
                before[node] = from;
        }
        cost[node] =
            t->nodes[node].timeout_ms * t->nodes[node].retry.attempts + (before[node] < 0 ? 0 : cost[before[node]]);
        if (best < 0 || cost[node] > cost[best])
            best = node;
    }
    path = arena_array(b->arena, (size_t)t->n, sizeof *path);
    if (path == NULL)
        return;
    for (int i = best; i >= 0; i = before[i])
        n++;
    b->report->critical = path;
    b->report->n_critical = n;
    for (int i = best; i >= 0; i = before[i])
        path[--n] = i;
}

#include "server/engine/template.h"

#include "server/engine/kind.h"
#include "server/engine/template_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const input_types[] = {"string", "number", "boolean", "object", "array", "uuid", "secret-ref", NULL};
static const char *const joins[] = {"all", "any", NULL};
static const char *const ons[] = {"success", "failure", "always", NULL};
const char *const template_failures[] = {"fail-fast", "continue", "rollback", NULL};
static const char *const backoffs[] = {"fixed", "linear", "exponential", NULL};

#define NODE_ID "^[a-z][a-z0-9-]{0,62}$"

// clang-format off
const struct field template_input_fields[] = {
    {"name", FIELD_STRING, FIELD_REQUIRED, .pattern = "^[A-Za-z_][A-Za-z0-9_-]{0,62}$", .doc = "Unique in the template; expressions say inputs.<name>."},
    {"type", FIELD_ENUM, FIELD_REQUIRED, .choices = input_types, .doc = "What values it takes."},
    {"required", FIELD_BOOL, .preset = "false", .doc = "A run cannot start without it."},
    {"default", FIELD_ANY, .doc = "Its value when a run gives none."},
    {"enum", FIELD_LIST, 0, 1, 100, .item = FIELD_ANY, .doc = "The values it may have."},
    {"description", FIELD_STRING, 0, 0, 1024, .doc = "For people."},
    {0}};
static const struct field retry_fields[] = {
    {"maxAttempts", FIELD_INT, 0, 1, 10, .preset = "1", .doc = "Attempts in all."},
    {"backoff", FIELD_ENUM, .choices = backoffs, .preset = "\"fixed\"", .doc = "How the delay grows: not, by itself each time, doubled each time."},
    {"initialDelaySeconds", FIELD_NUMBER, 0, 0, 86400, .preset = "5", .doc = "Before the second attempt."},
    {"maxDelaySeconds", FIELD_NUMBER, 0, 0, 86400, .preset = "300", .doc = "The delay never exceeds this."},
    {"retryOn", FIELD_LIST, 0, 1, 32, .item = FIELD_STRING, .doc = "Types of errors that are worth another attempt. Default: all."},
    {0}};
const struct field template_node_fields[] = {
    {"id", FIELD_STRING, FIELD_REQUIRED, .pattern = NODE_ID, .doc = "Unique in the template."},
    {"type", FIELD_STRING, FIELD_REQUIRED, 1, 63, .doc = "Key of a step type."},
    {"name", FIELD_STRING, 0, 1, 200, .doc = "For people. Default: the id."},
    {"config", FIELD_OBJECT, .doc = "Fits the configSchema of the step type; texts may hold expressions."},
    {"condition", FIELD_STRING, 0, 1, 1040, .doc = "An expression; when it is false the node is skipped."},
    {"join", FIELD_ENUM, .choices = joins, .preset = "\"all\"", .doc = "all: waits for every incoming edge and needs a live one. any: the first live edge starts it."},
    {"timeoutSeconds", FIELD_INT, 0, 1, TEMPLATE_TIMEOUT_MAX_S, .doc = "Of one attempt. Default: that of the step type."},
    {"retry", FIELD_OBJECT, .fields = retry_fields, .doc = "Further attempts after a failure. Default: that of the step type."},
    {"onFailure", FIELD_STRING, .pattern = "^(fail|continue|pause|goto:[a-z][a-z0-9-]{0,62})$", .preset = "\"fail\"", .doc = "fail, continue, pause, or goto:<node id>."},
    {"compensates", FIELD_STRING, .pattern = NODE_ID, .doc = "The node that this one undoes when the template's onFailure is rollback."},
    {0}};
const struct field template_edge_fields[] = {
    {"from", FIELD_STRING, FIELD_REQUIRED, .pattern = NODE_ID, .doc = "Source node."},
    {"to", FIELD_STRING, FIELD_REQUIRED, .pattern = NODE_ID, .doc = "Target node."},
    {"on", FIELD_ENUM, .choices = ons, .preset = "\"success\"", .doc = "How the source must have ended."},
    {"condition", FIELD_STRING, 0, 1, 1040, .doc = "An expression; when it is false the edge is dead."},
    {0}};
const struct field template_definition[] = {TEMPLATE_DEFINITION, {0}};
// clang-format on

void template_definition_write(struct json_out *o, const struct json *document)
{
    static const char *const members[] = {"edges", "finally",   "inputs",  "name",
                                          "nodes", "onFailure", "outputs", "timeoutSeconds"};

    json_open(o, '{');
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_get(document, members[i]) != NULL) {
            json_key(o, str_z(members[i]));
            json_put(o, json_get(document, members[i]));
        }
    json_close(o, '}');
}

static void add_fault(struct build *b, struct template_fault *list, int *n, const struct template_fault *fault)
{
    if (*n < TEMPLATE_FAULTS)
        list[(*n)++] = *fault;
    b->failed = b->failed || fault->message.p == NULL || fault->path.p == NULL;
}

static struct template_fault fault_of(struct build *b, const char *code, struct str path, int node, const char *fmt,
                                      va_list ap)
{
    char text[512];

    vsnprintf(text, sizeof text, fmt, ap);
    return (struct template_fault){code, path, node < 0 ? STR_NONE : b->t->nodes[node].id,
                                   arena_str(b->arena, str_z(text))};
}

void build_error(struct build *b, const char *code, struct str path, int node, const char *fmt, ...)
{
    va_list ap;

    b->failed = true;
    if (b->report == NULL)
        return;
    va_start(ap, fmt);
    struct template_fault fault = fault_of(b, code, path, node, fmt, ap);
    va_end(ap);
    add_fault(b, b->report->errors, &b->report->n_errors, &fault);
}

void build_warn(struct build *b, const char *code, struct str path, int node, const char *fmt, ...)
{
    va_list ap;

    if (b->report == NULL)
        return;
    va_start(ap, fmt);
    struct template_fault fault = fault_of(b, code, path, node, fmt, ap);
    va_end(ap);
    add_fault(b, b->report->warnings, &b->report->n_warnings, &fault);
}

struct str build_path(struct build *b, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    if (b->report == NULL)
        return S("");
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return arena_str(b->arena, str_z(text));
}

/* --- ids --- */

static unsigned slot_of(const struct template *t, struct str id)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * 16777619u;
    return h % t->slots;
}

int template_find(const struct template *t, struct str id)
{
    for (unsigned i = slot_of(t, id); t->index[i] >= 0; i = (i + 1) % t->slots)
        if (str_eq(t->nodes[t->index[i]].id, id))
            return t->index[i];
    return -1;
}

/* No node in it yet. */
static bool index_init(struct arena *a, struct template *t)
{
    t->slots = (unsigned)t->n * 2 + 1;
    t->index = arena_array(a, t->slots, sizeof *t->index);
    if (t->index != NULL)
        memset(t->index, 0xff, t->slots * sizeof *t->index);
    return t->index != NULL;
}

static bool index_add(struct template *t, int node)
{
    unsigned i = slot_of(t, t->nodes[node].id);

    if (template_find(t, t->nodes[node].id) >= 0)
        return false;
    while (t->index[i] >= 0)
        i = (i + 1) % t->slots;
    t->index[i] = node;
    return true;
}

bool template_index(struct arena *a, struct template *t)
{
    bool fine = index_init(a, t);

    for (int i = 0; fine && i < t->n; i++)
        fine = index_add(t, i);
    return fine;
}

static void index_node(struct build *b, int node)
{
    if (!index_add(b->t, node))
        build_error(b, "WF_NODE_DUPLICATE", build_path(b, "nodes[%d].id", node), node, "the id is used twice");
}

bool node_set_has(const struct node_set *s, int i)
{
    return (s->bits[i / 64] >> (i % 64) & 1) != 0;
}
void node_set_add(struct node_set *s, int i)
{
    s->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

void node_set_join(struct node_set *s, const struct node_set *other)
{
    for (size_t i = 0; i < ARRAY_LEN(s->bits); i++)
        s->bits[i] |= other->bits[i];
}

/* --- nodes and edges --- */

static int choice(const char *const *choices, struct str name, int otherwise)
{
    for (int i = 0; choices[i] != NULL; i++)
        if (str_eqz(name, choices[i]))
            return i;
    return otherwise;
}

static const struct expression *parse_condition(struct build *b, const struct json *j, struct str path, int node)
{
    struct expression_fault fault = {0};
    const struct expression *e;

    if (!json_is(j, JSON_STRING))
        return NULL;
    e = expression_parse(b->arena, json_str(j), &fault);
    if (e == NULL)
        build_error(b, "WF_EXPRESSION", path, node, "%s (at character %zu)", fault.message, fault.offset + 1);
    return e;
}

static int64_t seconds_ms(const struct json *j, const char *name, int64_t otherwise_ms)
{
    double s = json_real(json_get(j, name), -1);

    return s < 0 || s > 31e6 ? otherwise_ms : (int64_t)(s * 1000 + 0.5);
}

static void parse_retry(struct template_node *node, const struct json *j)
{
    if (node->type != NULL)
        node->retry = node->type->retry;
    if (!json_is(j, JSON_OBJECT))
        return;
    node->retry.attempts = json_int(json_get(j, "maxAttempts"), 1);
    node->retry.backoff = (enum backoff)choice(backoffs, json_str(json_get(j, "backoff")), BACKOFF_FIXED);
    node->retry.delay_ms = seconds_ms(j, "initialDelaySeconds", 5000);
    node->retry.max_delay_ms = seconds_ms(j, "maxDelaySeconds", 300000);
    node->retry.on = json_get(j, "retryOn");
}

static void parse_node(struct build *b, int i, const struct json *j)
{
    struct template_node *node = &b->t->nodes[i];
    struct str failure = json_str(json_get(j, "onFailure"));

    node->id = json_str(json_get(j, "id"));
    node->name = json_str(json_get(j, "name"));
    if (node->name.n == 0)
        node->name = node->id;
    node->type = step_type_find(json_str(json_get(j, "type")));
    if (node->type == NULL)
        build_error(b, "WF_STEP_TYPE_UNKNOWN", build_path(b, "nodes[%d].type", i), i, "there is no step type " STR_FMT,
                    STR_ARG(json_str(json_get(j, "type"))));
    node->config = json_get(j, "config");
    node->condition = parse_condition(b, json_get(j, "condition"), build_path(b, "nodes[%d].condition", i), i);
    node->join = (enum join)choice(joins, json_str(json_get(j, "join")), JOIN_ALL);
    node->timeout_ms = seconds_ms(j, "timeoutSeconds", (node->type == NULL ? 3600 : node->type->timeout_s) * 1000);
    parse_retry(node, json_get(j, "retry"));
    node->on_failure = str_eqz(failure, "continue")      ? NODE_CONTINUE
                       : str_eqz(failure, "pause")       ? NODE_PAUSE
                       : str_starts(failure, S("goto:")) ? NODE_GOTO
                                                         : NODE_FAIL;
    node->target = node->compensates = -1;
    index_node(b, i);
}

/* What refers to other nodes, once all of them are known. */
static void link_node(struct build *b, int i, const struct json *j)
{
    struct template_node *node = &b->t->nodes[i];
    const struct json *compensates = json_get(j, "compensates");

    if (node->on_failure == NODE_GOTO) {
        node->target = template_find(b->t, str_slice(json_str(json_get(j, "onFailure")), 5, SIZE_MAX));
        if (node->target < 0)
            build_error(b, "WF_NODE_UNKNOWN", build_path(b, "nodes[%d].onFailure", i), i, "goto leads to no node");
    }
    if (compensates != NULL) {
        node->role = ROLE_COMPENSATES;
        node->compensates = template_find(b->t, json_str(compensates));
        if (node->compensates < 0)
            build_error(b, "WF_NODE_UNKNOWN", build_path(b, "nodes[%d].compensates", i), i, "there is no such node");
    }
}

static void mark_finally(struct build *b, const struct json *list)
{
    for (size_t i = 0; i < json_count(list); i++) {
        int node = template_find(b->t, json_str(json_at(list, i)));

        if (node < 0)
            build_error(b, "WF_NODE_UNKNOWN", build_path(b, "finally[%zu]", i), -1, "there is no node " STR_FMT,
                        STR_ARG(json_str(json_at(list, i))));
        else if (b->t->nodes[node].role == ROLE_COMPENSATES)
            build_error(b, "WF_FINALLY", build_path(b, "finally[%zu]", i), node, "a compensating node cannot be final");
        else
            b->t->nodes[node].role = ROLE_FINALLY;
    }
}

static bool known_edge(const struct template *t, int from, int to)
{
    for (int i = 0; i < t->n_edges; i++)
        if (t->edges[i].from == from && t->edges[i].to == to && t->edges[i].on != ON_GOTO)
            return true;
    return false;
}

static void check_roles(struct build *b, int from, int to, struct str path)
{
    const struct template_node *source = &b->t->nodes[from], *target = &b->t->nodes[to];

    if (source->role == ROLE_COMPENSATES || target->role == ROLE_COMPENSATES)
        build_error(b, "WF_COMPENSATION", path, from, "compensating nodes have no edges and no goto");
    else if (source->role == ROLE_FINALLY && target->role != ROLE_FINALLY)
        build_error(b, "WF_FINALLY", path, from, "a finally node leads only to finally nodes");
}

static void parse_edge(struct build *b, int i, const struct json *j, bool seen[])
{
    struct str from = json_str(json_get(j, "from")), to = json_str(json_get(j, "to"));
    struct template_edge *e = &b->t->edges[b->t->n_edges];
    struct str path = build_path(b, "edges[%d]", i);

    e->from = template_find(b->t, from);
    e->to = template_find(b->t, to);
    if (e->from < 0 || e->to < 0) {
        build_error(b, "WF_NODE_UNKNOWN", path, -1, "there is no node " STR_FMT, STR_ARG(e->from < 0 ? from : to));
        return;
    }
    if (e->from == e->to) {
        build_error(b, "WF_EDGE_SELF", path, e->from, "an edge leads from a node to itself");
        return;
    }
    if (seen[e->from * b->t->n + e->to]) {
        build_error(b, "WF_EDGE_DUPLICATE", path, e->from, "there are two edges from " STR_FMT " to " STR_FMT,
                    STR_ARG(from), STR_ARG(to));
        return;
    }
    seen[e->from * b->t->n + e->to] = true;
    check_roles(b, e->from, e->to, path);
    e->on = (enum edge_on)choice(ons, json_str(json_get(j, "on")), ON_SUCCESS);
    e->condition = parse_condition(b, json_get(j, "condition"), build_path(b, "edges[%d].condition", i), e->to);
    e->place = i;
    b->t->n_edges++;
}

static void add_goto(struct build *b, int i)
{
    const struct template_node *node = &b->t->nodes[i];
    struct str path = build_path(b, "nodes[%d].onFailure", i);

    if (node->target < 0)
        return;
    if (node->target == i) {
        build_error(b, "WF_EDGE_SELF", path, i, "goto leads to the node itself; retry is what repeats it");
        return;
    }
    check_roles(b, i, node->target, path);
    if (known_edge(b->t, i, node->target))
        build_warn(b, "WF_EDGE_DUPLICATE", path, i, "an edge and goto lead to the same node");
    b->t->edges[b->t->n_edges++] = (struct template_edge){i, node->target, ON_GOTO, NULL, -1};
}

/* Gives every node its lists of incoming and outgoing edges, all in one array. */
static bool link_edges(struct build *b)
{
    struct template *t = b->t;
    int *all = arena_array(b->arena, (size_t)t->n_edges * 2 + 1, sizeof *all);

    if (all == NULL)
        return false;
    for (int n = 0; n < t->n; n++) {
        t->nodes[n].in = all;
        for (int e = 0; e < t->n_edges; e++)
            if (t->edges[e].to == n)
                *all++ = e;
        t->nodes[n].ins = (int)(all - t->nodes[n].in);
        t->nodes[n].out = all;
        for (int e = 0; e < t->n_edges; e++)
            if (t->edges[e].from == n)
                *all++ = e;
        t->nodes[n].outs = (int)(all - t->nodes[n].out);
    }
    return true;
}

static bool parse_graph(struct build *b, const struct json *nodes, const struct json *edges)
{
    struct template *t = b->t;
    size_t count = json_count(edges);
    bool *seen;

    t->n = (int)json_count(nodes);
    t->nodes = arena_array(b->arena, (size_t)t->n, sizeof *t->nodes);
    t->order = arena_array(b->arena, (size_t)t->n, sizeof *t->order);
    t->edges = arena_array(b->arena, count + (size_t)t->n, sizeof *t->edges);
    seen = arena_array(b->arena, (size_t)t->n * (size_t)t->n, sizeof *seen);
    if (t->nodes == NULL || t->order == NULL || t->edges == NULL || seen == NULL || !index_init(b->arena, t))
        return false;
    for (int i = 0; i < t->n; i++)
        parse_node(b, i, json_at(nodes, (size_t)i));
    for (int i = 0; i < t->n; i++)
        link_node(b, i, json_at(nodes, (size_t)i));
    mark_finally(b, json_get(b->definition, "finally"));
    for (size_t i = 0; i < count; i++)
        parse_edge(b, (int)i, json_at(edges, i), seen);
    for (int i = 0; i < t->n; i++)
        add_goto(b, i);
    return link_edges(b);
}

/* The rows first: what follows may then rely on types and ranges. Members that are no part of a definition are not
 * looked at; the resource has its own rows for them. */
static void check_fields(struct build *b)
{
    struct faults *faults = arena_new(b->arena, struct faults);

    if (faults == NULL) {
        b->failed = true;
        return;
    }
    faults_init(faults, b->arena);
    if (field_check(template_definition, b->definition, FIELD_CREATE, faults) == NULL && faults->n == 0)
        b->failed = true;
    for (size_t i = 0; i < faults->n; i++) {
        const struct fault *f = &faults->list[i];

        if (str_eqz(str_z(f->code), "VAL_UNKNOWN_FIELD") && str_index(f->field, '.') < 0 &&
            str_index(f->field, '[') < 0)
            continue;
        build_error(b, f->code, f->field, -1, STR_FMT, STR_ARG(f->message));
    }
}

static bool sizes_fit(struct build *b, const struct json *nodes, const struct json *edges)
{
    if (!json_is(nodes, JSON_ARRAY) || json_count(nodes) == 0)
        build_error(b, "WF_NO_NODES", S("nodes"), -1, "a workflow needs at least one node");
    return json_count(nodes) >= 1 && json_count(nodes) <= TEMPLATE_NODES && json_count(edges) <= TEMPLATE_EDGES;
}

enum look {
    LOOK_BUILD,
    LOOK_GRAPH,
    LOOK_ALL
}; /* for what can be built; whatever the rows do not see; for everything */

static const struct template *parse(struct arena *a, const struct json *definition, struct template_report *report,
                                    enum look look)
{
    const struct json *nodes = json_get(definition, "nodes"), *edges = json_get(definition, "edges");
    struct build b = {a, definition, arena_new(a, struct template), report, false};

    if (report != NULL) {
        memset(report, 0, sizeof *report);
        report->arena = a;
    }
    if (b.t == NULL)
        return NULL;
    if (look == LOOK_ALL)
        check_fields(&b);
    if (!sizes_fit(&b, nodes, edges) || b.failed)
        return NULL;
    b.t->kind = &workflow_kind;
    b.t->name = json_str(json_get(definition, "name"));
    b.t->inputs = json_get(definition, "inputs");
    b.t->outputs = json_get(definition, "outputs");
    b.t->timeout_ms = seconds_ms(definition, "timeoutSeconds", TEMPLATE_TIMEOUT_S * INT64_C(1000));
    b.t->on_failure = (enum template_failure)choice(template_failures, json_str(json_get(definition, "onFailure")), 0);
    if (!parse_graph(&b, nodes, edges))
        return NULL;
    template_graph(&b);
    if (look != LOOK_BUILD)
        template_check(&b);
    if (report != NULL)
        template_critical(&b);
    return b.failed ? NULL : b.t;
}

const struct template *template_parse(struct arena *a, const struct json *definition, struct template_report *report)
{
    const struct template *t = parse(a, definition, report, report == NULL ? LOOK_BUILD : LOOK_ALL);

    return t;
}

bool template_is_sound(struct arena *a, const struct json *definition)
{
    return parse(a, definition, NULL, LOOK_GRAPH) != NULL;
}

const struct template *template_of(struct arena *a, const struct json *definition)
{
    const struct template *t = parse(a, definition, NULL, LOOK_BUILD);

    return t;
}

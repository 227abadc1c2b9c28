#include "server/engine/template_build.h"

#include "server/engine/text.h"

enum place { PLACE_NODE, PLACE_EDGE, PLACE_OUTPUT };

/* Where an expression stands, for the faults of the paths in it. */
struct visit {
    struct build *b;
    struct str path;
    enum place place;
    int node;       /* its outputs and those of its ancestors, or only these, may be used */
    bool used[100]; /* inputs, by index */
};

static int input_index(const struct json *inputs, struct str name)
{
    for (size_t i = 0; i < json_count(inputs); i++)
        if (str_eq(json_str(json_get(json_at(inputs, i), "name")), name))
            return (int)i;
    return -1;
}

static void visit_step(struct visit *v, const struct expression_path *path)
{
    struct build *b = v->b;
    int node = path->n > 1 ? template_find(b->t, path->parts[1].name) : -1;

    if (path->n < 3 || path->parts[1].name.p == NULL ||
        (!str_eqz(path->parts[2].name, "status") && !str_eqz(path->parts[2].name, "outputs"))) {
        build_error(b, "WF_EXPRESSION", v->path, v->node, "a path to a step reads steps.<node id>.outputs or .status");
        return;
    }
    if (node < 0)
        build_error(b, "WF_NODE_UNKNOWN", v->path, v->node, "there is no node " STR_FMT, STR_ARG(path->parts[1].name));
    else if (v->place != PLACE_OUTPUT && !node_set_has(&b->t->nodes[v->node].ancestors, node) &&
             !(v->place == PLACE_EDGE && v->node == node))
        build_error(b, "WF_NOT_ANCESTOR", v->path, v->node,
                    STR_FMT " does not come before it, so its result is not known", STR_ARG(path->parts[1].name));
}

static void visit_path(void *arg, const struct expression_path *path)
{
    static const char *const contexts[] = {"release", "environment", "promotion", "run", "tenant"};
    struct visit *v = arg;
    struct str root = path->parts[0].name, name = path->n > 1 ? path->parts[1].name : STR_NONE;

    if (str_eqz(root, "steps")) {
        visit_step(v, path);
    } else if (str_eqz(root, "inputs") && path->n > 1) {
        int input = input_index(v->b->t->inputs, name);

        if (input < 0)
            build_error(v->b, "WF_INPUT_UNKNOWN", v->path, v->node, "the input " STR_FMT " is not declared",
                        STR_ARG(name));
        else
            v->used[input] = true;
    } else if (str_eqz(root, "context") && path->n > 1) {
        for (size_t i = 0; i < ARRAY_LEN(contexts); i++)
            if (str_eqz(name, contexts[i]))
                return;
        build_error(v->b, "WF_EXPRESSION", v->path, v->node,
                    "context has release, environment, promotion, run and tenant only");
    } else if (str_eqz(root, "inputs")) {
        for (size_t i = 0; i < ARRAY_LEN(v->used); i++)
            v->used[i] = true;
    }
}

static void check_texts(struct visit *v, const struct json *j)
{
    struct expression_fault fault = {0};
    struct str path = v->path;
    size_t i = 0;

    switch (json_type(j)) {
    case JSON_STRING:
        if (!text_check(v->b->arena, json_str(j), visit_path, v, &fault))
            build_error(v->b, "WF_EXPRESSION", path, v->node, "%s (at character %zu)", fault.message, fault.offset + 1);
        break;
    case JSON_OBJECT:
        for (struct json_iter it = json_members(j); json_next(&it);) {
            v->path = build_path(v->b, STR_FMT "." STR_FMT, STR_ARG(path), STR_ARG(str_slice(it.name, 0, 100)));
            check_texts(v, it.value);
        }
        break;
    case JSON_ARRAY:
        for (; i < json_count(j); i++) {
            v->path = build_path(v->b, STR_FMT "[%zu]", STR_ARG(path), i);
            check_texts(v, json_at(j, i));
        }
        break;
    default:
        break;
    }
    v->path = path;
}

static void check_config(struct build *b, int i)
{
    const struct template_node *node = &b->t->nodes[i];
    struct faults faults;

    faults_init(&faults, b->arena);
    step_type_check(node->type, node->config, build_path(b, "nodes[%d].config", i), &faults);
    for (size_t k = 0; k < faults.n; k++)
        build_error(b, faults.list[k].code, faults.list[k].field, i, STR_FMT, STR_ARG(faults.list[k].message));
}

static void check_node(struct visit *v, int i)
{
    struct build *b = v->b;
    const struct template_node *node = &b->t->nodes[i];

    v->place = PLACE_NODE;
    v->node = i;
    v->path = build_path(b, "nodes[%d].config", i);
    check_texts(v, node->config);
    v->path = build_path(b, "nodes[%d].condition", i);
    if (node->condition != NULL)
        expression_visit(node->condition, visit_path, v);
    if (node->type != NULL)
        check_config(b, i);
    if (node->retry.delay_ms > node->retry.max_delay_ms)
        build_warn(b, "WF_RETRY", build_path(b, "nodes[%d].retry", i), i, "the first delay is longer than the longest");
    if (node->type != NULL && node->type->executor != BY_TIMER && node->timeout_ms > b->t->timeout_ms)
        build_warn(b, "WF_TIMEOUT", build_path(b, "nodes[%d].timeoutSeconds", i), i,
                   "the node may take longer than the whole run");
    if (node->compensates >= 0 && b->t->on_failure != TEMPLATE_ROLLBACK)
        build_warn(b, "WF_COMPENSATION", build_path(b, "nodes[%d].compensates", i), i,
                   "it never runs: the template's onFailure is not rollback");
    if (node->compensates >= 0 && b->t->nodes[node->compensates].role != ROLE_ORDINARY)
        build_error(b, "WF_COMPENSATION", build_path(b, "nodes[%d].compensates", i), i,
                    "only an ordinary node can be undone");
    for (int k = 0; k < i && node->compensates >= 0; k++)
        if (b->t->nodes[k].compensates == node->compensates)
            build_error(b, "WF_COMPENSATION", build_path(b, "nodes[%d].compensates", i), i, "the node is undone twice");
}

static void check_inputs(struct build *b)
{
    const struct json *inputs = b->t->inputs;

    for (size_t i = 0; i < json_count(inputs); i++) {
        const struct json *input = json_at(inputs, i), *preset = json_get(input, "default");
        const char *why;

        if (input_index(inputs, json_str(json_get(input, "name"))) != (int)i)
            build_error(b, "WF_INPUT_DUPLICATE", build_path(b, "inputs[%zu].name", i), -1, "the name is used twice");
        if (preset != NULL && !template_input_fits(input, preset, &why))
            build_error(b, "WF_INPUT_DEFAULT", build_path(b, "inputs[%zu].default", i), -1, "%s", why);
        if (preset != NULL && json_bool(json_get(input, "required"), false))
            build_warn(b, "WF_INPUT_DEFAULT", build_path(b, "inputs[%zu].default", i), -1,
                       "a required input never takes its default");
    }
}

static void check_outputs(struct visit *v)
{
    struct expression_fault fault = {0};

    v->place = PLACE_OUTPUT;
    v->node = -1;
    for (struct json_iter it = json_members(v->b->t->outputs); json_next(&it);) {
        const struct expression *e = expression_parse(v->b->arena, json_str(it.value), &fault);

        v->path = build_path(v->b, "outputs." STR_FMT, STR_ARG(str_slice(it.name, 0, 100)));
        if (e == NULL)
            build_error(v->b, "WF_EXPRESSION", v->path, -1, "%s (at character %zu)", fault.message, fault.offset + 1);
        else
            expression_visit(e, visit_path, v);
    }
}

static void check_edge(struct visit *v, int i)
{
    const struct template_edge *e = &v->b->t->edges[i];

    if (e->condition == NULL)
        return;
    v->place = PLACE_EDGE;
    v->node = e->from;
    v->path = build_path(v->b, "edges[%d].condition", e->place);
    expression_visit(e->condition, visit_path, v);
}

void template_check(struct build *b)
{
    struct visit *v = arena_new(b->arena, struct visit);

    if (v == NULL) {
        b->failed = true;
        return;
    }
    v->b = b;
    for (int i = 0; i < b->t->n; i++)
        check_node(v, i);
    for (int i = 0; i < b->t->n_edges; i++)
        check_edge(v, i);
    check_inputs(b);
    check_outputs(v);
    for (size_t i = 0; i < json_count(b->t->inputs); i++)
        if (!v->used[i])
            build_warn(b, "WF_INPUT_UNUSED", build_path(b, "inputs[%zu]", i), -1, "no expression uses this input");
}

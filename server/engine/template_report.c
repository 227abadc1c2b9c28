#include "server/engine/template.h"

static void write_faults(struct json_out *o, const struct template_fault *list, int n)
{
    json_open(o, '[');
    for (int i = 0; i < n; i++) {
        json_open(o, '{');
        json_key(o, S("code"));
        json_put_z(o, list[i].code);
        json_key(o, S("message"));
        json_put_str(o, list[i].message);
        if (list[i].node.n > 0) {
            json_key(o, S("nodeId"));
            json_put_str(o, list[i].node);
        }
        json_key(o, S("path"));
        json_put_str(o, list[i].path);
        json_close(o, '}');
    }
    json_close(o, ']');
}

/* Layers of the ordinary nodes, then those of the finally nodes; what only undoes is no part of the plan. */
static void write_plan(struct json_out *o, const struct template *t)
{
    const struct template_node *last = NULL;

    json_open(o, '[');
    for (int k = 0; t != NULL && k < t->n; k++) {
        const struct template_node *node = &t->nodes[t->order[k]];

        if (node->role == ROLE_COMPENSATES)
            continue;
        if (last != NULL && (last->role != node->role || last->layer != node->layer))
            json_close(o, ']');
        if (last == NULL || last->role != node->role || last->layer != node->layer)
            json_open(o, '[');
        json_put_str(o, node->id);
        last = node;
    }
    if (last != NULL)
        json_close(o, ']');
    json_close(o, ']');
}

void template_report_write(struct json_out *o, const struct template *t, const struct template_report *report)
{
    json_open(o, '{');
    json_key(o, S("criticalPath"));
    json_open(o, '[');
    for (int i = 0; t != NULL && i < report->n_critical; i++)
        json_put_str(o, t->nodes[report->critical[i]].id);
    json_close(o, ']');
    json_key(o, S("errors"));
    template_errors_write(o, report);
    json_key(o, S("plan"));
    write_plan(o, t);
    json_key(o, S("valid"));
    json_put_bool(o, t != NULL);
    json_key(o, S("warnings"));
    write_faults(o, report->warnings, report->n_warnings);
    json_close(o, '}');
}

void template_errors_write(struct json_out *o, const struct template_report *report)
{
    write_faults(o, report->errors, report->n_errors);
}

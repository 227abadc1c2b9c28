/* A workflow's definition, parsed: nodes, edges and what follows from them. Immutable once parsed, lives in its arena
 * together with the JSON tree it was parsed from (names and expressions are borrowed from that tree).
 *
 * Three kinds of nodes: ordinary ones; compensating ones (`compensates` names the ordinary node they undo; they have no
 * edges and run only when the template's onFailure is rollback and the run failed); and `finally` ones, which run after
 * all others whatever happened. A `goto:<node>` counts as an edge.
 *
 * template_parse checks everything that GET /workflow-templates/{id}/validate promises. It takes any JSON whatsoever.
 */
#ifndef SERVER_ENGINE_TEMPLATE_H
#define SERVER_ENGINE_TEMPLATE_H

#include "server/engine/expression.h"
#include "server/engine/step_type.h"

enum { TEMPLATE_NODES = 200, TEMPLATE_EDGES = 1000, TEMPLATE_FAULTS = 100, TEMPLATE_VERSIONS_KEPT = 20 };
enum { TEMPLATE_TIMEOUT_S = 86400, TEMPLATE_TIMEOUT_MAX_S = 604800 };

enum join { JOIN_ALL, JOIN_ANY };
enum edge_on { ON_SUCCESS, ON_FAILURE, ON_ALWAYS, ON_GOTO };
enum node_failure { NODE_FAIL, NODE_CONTINUE, NODE_PAUSE, NODE_GOTO };
enum template_failure { TEMPLATE_FAIL_FAST, TEMPLATE_CONTINUE, TEMPLATE_ROLLBACK };
enum node_role { ROLE_ORDINARY, ROLE_COMPENSATES, ROLE_FINALLY };

struct node_set { /* of indices into template.nodes */
    uint64_t bits[(TEMPLATE_NODES + 63) / 64];
};

struct template_edge {
    int from, to;
    enum edge_on on;
    const struct expression *condition; /* NULL: none */
    int place;                          /* in the definition's edges; -1: a goto */
};

struct template_node {
    struct str id, name;
    const struct step_type *type;
    const struct json *config; /* NULL: {} */
    const struct expression *condition;
    enum join join;
    int64_t timeout_ms;
    struct retry retry;
    enum node_failure on_failure;
    int target;      /* of NODE_GOTO, else -1 */
    int compensates; /* -1: none */
    enum node_role role;
    const int *in, *out; /* edges by index; NODE_GOTO's edge is among them */
    int ins, outs;
    int layer;                 /* 0..; within the role */
    struct node_set ancestors; /* whose outputs it may use */
};

struct run_kind;

struct template
{
    const struct run_kind *kind; /* what is made of it */
    struct str name;
    struct template_node *nodes;
    struct template_edge *edges;
    int *index; /* private: node ids, hashed (template_index) */
    unsigned slots;
    int *order; /* all nodes, topologically: ordinary, compensating, finally */
    int n, n_edges;
    const struct json *inputs;  /* array of {name, type, ...}; NULL: none */
    const struct json *outputs; /* object of name -> expression; NULL: none */
    int64_t timeout_ms;
    enum template_failure on_failure;
};

struct template_fault {
    const char *code; /* WF_CYCLE, WF_STEP_TYPE_UNKNOWN, WF_EXPRESSION, ... or a VAL_ code */
    struct str path;  /* "nodes[2].config.url" */
    struct str node;  /* id, or STR_NONE */
    struct str message;
};

struct template_report {
    struct arena *arena;
    struct template_fault errors[TEMPLATE_FAULTS], warnings[TEMPLATE_FAULTS];
    int n_errors, n_warnings;
    const int *critical; /* node indices of the path with the largest sum of time-outs */
    int n_critical;
};

/* Members of a definition, as rows: what the resource's fields contain beside its name and status. */
extern const struct field template_definition[], template_input_fields[], template_node_fields[],
    template_edge_fields[];
extern const char *const template_failures[];
// clang-format off
#define TEMPLATE_DEFINITION                                                                                                \
    {"inputs", FIELD_LIST, .max = 100, .item = FIELD_OBJECT, .fields = template_input_fields, .preset = "[]", .doc = "What a run takes."}, \
    {"nodes", FIELD_LIST, .max = TEMPLATE_NODES, .item = FIELD_OBJECT, .fields = template_node_fields, .preset = "[]", .doc = "The steps; an active template has at least one."}, \
    {"edges", FIELD_LIST, .max = TEMPLATE_EDGES, .item = FIELD_OBJECT, .fields = template_edge_fields, .preset = "[]", .doc = "What comes after what."}, \
    {"outputs", FIELD_MAP, .max = 100, .item = FIELD_STRING, .item_max = 1040, .preset = "{}", .doc = "Name to expression, evaluated when a run has succeeded."}, \
    {"timeoutSeconds", FIELD_INT, .min = 1, .max = TEMPLATE_TIMEOUT_MAX_S, .preset = "86400", .doc = "Of a whole run, pauses not counted."}, \
    {"onFailure", FIELD_ENUM, .choices = template_failures, .preset = "\"fail-fast\"", .doc = "What an uncaught failure of a node does to the others."}, \
    {"finally", FIELD_LIST, FIELD_UNIQUE_ITEMS, .max = TEMPLATE_NODES, .item = FIELD_STRING, .preset = "[]", .doc = "Nodes that run last, whatever happened."}
// clang-format on
/* The definition out of a template's document: its name and the members above, canonical. */
void template_definition_write(struct json_out *o, const struct json *document);

/* NULL when the definition has errors (report->errors) or memory ran out (then there may be none). Without a report
 * only what can be built is checked for, which is enough for a definition that was valid when it was stored. */
const struct template *template_parse(struct arena *a, const struct json *definition, struct template_report *report);
/* Whether a definition whose members were just checked by rows has no errors: for those who can ask for the report once it
 * has. False also when memory ran out. */
bool template_is_sound(struct arena *a, const struct json *definition);
/* The same without a report: struct run_kind's parse. */
const struct template *template_of(struct arena *a, const struct json *definition);
/* {valid, errors, warnings, plan, criticalPath}; `t` may be NULL. */
void template_report_write(struct json_out *o, const struct template *t, const struct template_report *report);
/* The errors alone, as a JSON array: details.errors of WF_TEMPLATE_INVALID. */
void template_errors_write(struct json_out *o, const struct template_report *report);

int template_find(const struct template *t, struct str id); /* -1: unknown */
/* For those who build a template themselves: makes template_find work, once n, nodes and their ids are there. False: an id
 * comes twice, or no memory. */
bool template_index(struct arena *a, struct template *t);
/* Checks a run's inputs against the template: faults name "inputs.x"; `missing` gets the names of required ones that
 * are absent. The result has the defaults filled in; NULL when memory ran out. */
struct json *template_inputs(struct arena *a, const struct template *t, const struct json *inputs,
                             struct faults *faults, struct buf *missing);

bool node_set_has(const struct node_set *s, int i);
void node_set_add(struct node_set *s, int i);
void node_set_join(struct node_set *s, const struct node_set *other);

#endif

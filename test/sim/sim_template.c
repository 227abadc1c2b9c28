#include "test/sim/sim.h"

struct maker {
    struct dice dice;
    struct json_out o;
    bool job[64];          /* node is carried out by a job */
    int n, ordinary, undo; /* nodes: [0, ordinary) ordinary, [ordinary, undo) compensating, [undo, n) finally */
};

static void put(struct maker *m, const char *name, const char *value)
{
    json_key(&m->o, str_z(name));
    json_put_z(&m->o, value);
}

static void put_number(struct maker *m, const char *name, unsigned value)
{
    json_key(&m->o, str_z(name));
    json_put_int(&m->o, (int64_t)value);
}

static void put_id(struct maker *m, const char *name, int node)
{
    char id[16] = {'n', (char)('0' + node / 10), (char)('0' + node % 10)};

    put(m, name, id);
}

static void script(struct maker *m)
{
    json_key(&m->o, S("command"));
    json_open(&m->o, '[');
    json_put_z(&m->o, dice_percent(&m->dice, 20) ? "echo ${{ inputs.word }}" : "true");
    json_close(&m->o, ']');
}

static void wait_for(struct maker *m)
{
    if (dice_percent(&m->dice, 30)) {
        put(m, "seconds", dice_percent(&m->dice, 90) ? "${{ inputs.pause }}" : "${{ inputs.word }}");
        return;
    }
    put_number(m, "seconds", dice_below(&m->dice, 300));
}

static void request(struct maker *m)
{
    put(m, "url", "http://example.test/${{ inputs.word }}");
}

static void message(struct maker *m)
{
    request(m);
    put(m, "message", "hello ${{ context.run.id }}");
}

static const struct {
    const char *key;
    void (*config)(struct maker *m);
} kinds[] = {{"script", script}, {"script", script},        {"script", script},
             {"wait", wait_for}, {"http-request", request}, {"notify", message}};

static const char *const conditions[] = {"inputs.yes", "inputs.yes", "${{ inputs.yes }}", "inputs.no",
                                         "inputs.word < 1"};

static void condition(struct maker *m, unsigned percent)
{
    if (dice_percent(&m->dice, percent))
        put(m, "condition", conditions[dice_below(&m->dice, ARRAY_LEN(conditions))]);
}

static void retry(struct maker *m)
{
    static const char *const backoffs[] = {"fixed", "linear", "exponential"};

    if (dice_percent(&m->dice, 50))
        return;
    json_key(&m->o, S("retry"));
    json_open(&m->o, '{');
    put_number(m, "maxAttempts", 1 + dice_below(&m->dice, 4));
    put(m, "backoff", backoffs[dice_below(&m->dice, 3)]);
    put_number(m, "initialDelaySeconds", dice_below(&m->dice, 30));
    if (dice_percent(&m->dice, 20)) {
        json_key(&m->o, S("retryOn"));
        json_open(&m->o, '[');
        json_put_z(&m->o, dice_percent(&m->dice, 50) ? "exit_code" : "timeout");
        json_close(&m->o, ']');
    }
    json_close(&m->o, '}');
}

static void failure(struct maker *m, int node)
{
    unsigned roll = dice_below(&m->dice, 100);
    char jump[] = "goto:n00";
    int target = node + 1 + (int)dice_below(&m->dice, 8);

    if (roll < 12) {
        put(m, "onFailure", "continue");
    } else if (roll < 22) {
        put(m, "onFailure", "pause");
    } else if (roll < 40 && target < m->ordinary) {
        jump[6] = (char)('0' + target / 10);
        jump[7] = (char)('0' + target % 10);
        put(m, "onFailure", jump);
    }
}

static void node(struct maker *m, int i)
{
    unsigned kind = dice_below(&m->dice, ARRAY_LEN(kinds));

    m->job[i] = dice_percent(&m->dice, 12);
    json_open(&m->o, '{');
    put_id(m, "id", i);
    put(m, "type", kinds[kind].key);
    json_key(&m->o, S("config"));
    json_open(&m->o, '{');
    kinds[kind].config(m);
    json_close(&m->o, '}');
    condition(m, 12);
    if (dice_percent(&m->dice, 30))
        put(m, "join", "any");
    put_number(m, "timeoutSeconds", 1 + dice_below(&m->dice, 600));
    retry(m);
    if (i < m->ordinary)
        failure(m, i);
    else if (i < m->undo)
        put_id(m, "compensates", i - m->ordinary);
    json_close(&m->o, '}');
}

static void edge(struct maker *m, int from, int to)
{
    unsigned roll = dice_below(&m->dice, 100);

    json_open(&m->o, '{');
    put_id(m, "from", from);
    put_id(m, "to", to);
    put(m, "on", roll < 70 ? "success" : roll < 85 ? "failure" : "always");
    condition(m, 8);
    json_close(&m->o, '}');
}

static void edges(struct maker *m, int from, int to, unsigned percent)
{
    for (int i = from; i < to; i++)
        for (int k = i + 1; k < to && k < i + 6; k++)
            if (dice_percent(&m->dice, percent))
                edge(m, i, k);
}

static void input(struct maker *m, const char *name, const char *type)
{
    json_open(&m->o, '{');
    put(m, "name", name);
    put(m, "type", type);
    json_close(&m->o, '}');
}

static void inputs(struct maker *m)
{
    json_key(&m->o, S("inputs"));
    json_open(&m->o, '[');
    input(m, "word", "string");
    input(m, "pause", "number");
    input(m, "yes", "boolean");
    input(m, "no", "boolean");
    json_close(&m->o, ']');
}

static void sizes(struct maker *m)
{
    unsigned roll = dice_below(&m->dice, 100);
    int undo, final = dice_percent(&m->dice, 35) ? 1 + (int)dice_below(&m->dice, 3) : 0;

    m->ordinary = 1 + (int)dice_below(&m->dice, roll < 70 ? 8 : roll < 92 ? 20 : 44);
    undo = dice_percent(&m->dice, 35) ? 1 + (int)dice_below(&m->dice, 3) : 0;
    m->undo = m->ordinary + (undo < m->ordinary ? undo : m->ordinary);
    m->n = m->undo + final;
}

static void graph(struct maker *m)
{
    static const char *const policies[] = {"fail-fast", "continue", "rollback"};

    json_key(&m->o, S("nodes"));
    json_open(&m->o, '[');
    for (int i = 0; i < m->n; i++)
        node(m, i);
    json_close(&m->o, ']');
    json_key(&m->o, S("edges"));
    json_open(&m->o, '[');
    edges(m, 0, m->ordinary, 20 + dice_below(&m->dice, 40));
    edges(m, m->undo, m->n, 50);
    json_close(&m->o, ']');
    json_key(&m->o, S("finally"));
    json_open(&m->o, '[');
    for (int i = m->undo; i < m->n; i++) {
        char id[] = {'n', (char)('0' + i / 10), (char)('0' + i % 10), '\0'};

        json_put_z(&m->o, id);
    }
    json_close(&m->o, ']');
    put(m, "onFailure", policies[dice_below(&m->dice, 3)]);
    put_number(m, "timeoutSeconds", 60 + dice_below(&m->dice, dice_percent(&m->dice, 80) ? 80000 : 600));
}

/* The step types that jobs carry out want promotions and releases; this one wants nothing. */
static void give_jobs(const struct maker *m, const struct template *t)
{
    static const struct field none[] = {{0}};
    static const struct step_type by_job = {
        .key = "job", .name = "Job", .category = "deploy", .executor = BY_JOB, .config = none, .outputs = none};

    for (int i = 0; i < t->n; i++)
        if (m->job[i]) {
            t->nodes[i].type = &by_job;
            t->nodes[i].config = NULL;
        }
}

const struct template *sim_template(struct arena *a, uint64_t seed, struct str *definition)
{
    struct template_report *report = arena_new(a, struct template_report);
    struct maker m = {.dice = {seed * 2 + 1}};
    const struct template *t;
    struct json *j;
    struct buf b;

    buf_init_arena(&b, a, 4096);
    json_out_init(&m.o, &b);
    sizes(&m);
    json_open(&m.o, '{');
    inputs(&m);
    graph(&m);
    json_key(&m.o, S("outputs"));
    json_put_raw(&m.o, S("{\"last\":\"steps.n00.status\"}"));
    json_close(&m.o, '}');
    *definition = buf_view(&b);
    j = json_parse(a, *definition, NULL, &(struct json_fault){0});
    t = j == NULL ? NULL : template_parse(a, j, report);
    if (t != NULL)
        give_jobs(&m, t);
    return t;
}

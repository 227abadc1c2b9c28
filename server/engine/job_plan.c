/* A job's plan becomes a template: three nodes at most for each target, no edges. */
#include "server/engine/job.h"

#include "server/engine/kind.h"

const char *const job_task_types[JOB_TASK_TYPES] = {"deploy", "health-check", "rollback"};

enum { CHECK_SLACK_MS = 30000 }; /* of a health check's time-out, beyond what its samples may take */

// clang-format off
static const struct step_type types[JOB_TASK_TYPES] = {
    [JOB_DEPLOY]   = {.key = "deploy",       .executor = BY_AGENT, .capability = "host", .cancellable = true,
                      .retry = {JOB_ATTEMPTS, BACKOFF_EXPONENTIAL, 1000, 30000, NULL}},
    [JOB_CHECK]    = {.key = "health-check", .executor = BY_AGENT, .capability = "host", .cancellable = true,
                      .retry = {JOB_ATTEMPTS, BACKOFF_EXPONENTIAL, 1000, 30000, NULL}},
    [JOB_ROLLBACK] = {.key = "rollback",     .executor = BY_AGENT, .capability = "host", .cancellable = true,
                      .retry = {JOB_ATTEMPTS, BACKOFF_EXPONENTIAL, 1000, 30000, NULL}},
};
// clang-format on

/* --- the plan's members --- */

static int choice(const struct json *config, const char *name, const char *const *words, int n)
{
    struct str word = json_str(json_get(config, name));

    for (int i = 0; i < n; i++)
        if (str_eqz(word, words[i]))
            return i;
    return 0;
}

static void read_config(struct job *job, const struct json *config)
{
    static const char *const behaviours[] = {"rollback", "continue", "pause"};
    static const char *const unavailables[] = {"wait", "skip", "fail"};
    const struct json *parent = json_get(job->plan, "parent");

    job->max_concurrent = json_int(json_get(config, "maxConcurrent"), 0);
    job->max_failures = json_int(json_get(config, "maxFailures"), 0);
    job->pause_ms = json_int(json_get(config, "pauseBetweenBatchesSeconds"), 0) * 1000;
    job->behaviour = (enum job_behaviour)choice(config, "failureBehavior", behaviours, ARRAY_LEN(behaviours));
    job->unavailable =
        (enum job_unavailable)choice(config, "onUnavailableTarget", unavailables, ARRAY_LEN(unavailables));
    job->again = json_bool(json_get(job->plan, "again"), false);
    job->parent_run = json_str(json_get(parent, "run"));
    job->parent_node = json_str(json_get(parent, "node"));
    job->parent_attempt = json_int(json_get(parent, "attempt"), 0);
    if (job->behaviour == JOB_PAUSES && job->parent_run.n == 0)
        job->behaviour = JOB_STOPS; /* nobody could resume it */
}

static bool read_target(struct job *job, int i, const struct json *j)
{
    struct job_target *t = &job->targets[i];

    t->json = j;
    t->number = i + 1;
    t->id = json_str(json_get(j, "id"));
    t->name = json_str(json_get(j, "name"));
    t->agent = json_str(json_get(j, "agentId"));
    t->skip = json_str(json_get(j, "skip"));
    return t->id.n > 0;
}

static bool read_targets(struct job *job, struct arena *a, const struct json *list)
{
    job->n_targets = (int)json_count(list);
    job->targets = arena_array(a, (size_t)job->n_targets + 1, sizeof *job->targets);
    for (int i = 0; job->targets != NULL && i < job->n_targets; i++)
        if (!read_target(job, i, json_at(list, (size_t)i)))
            return false;
    return job->targets != NULL && json_is(list, JSON_ARRAY);
}

/* --- batches --- */

static int batch_size(const struct job *job, int taking_part)
{
    const struct json *config = json_get(job->plan, "config");
    int64_t size = json_int(json_get(config, "batchSize"), 0), percent = json_int(json_get(config, "batchPercent"), 0);

    if (!str_eqz(json_str(json_get(job->plan, "strategy")), "rolling"))
        return taking_part;
    if (size <= 0)
        size = (taking_part * percent + 99) / 100;
    return size < 1 ? 1 : size > taking_part ? taking_part : (int)size;
}

static void cut_batches(struct job *job)
{
    int taking_part = 0, size, place = 0;

    for (int i = 0; i < job->n_targets; i++)
        taking_part += job->targets[i].skip.n == 0;
    size = batch_size(job, taking_part);
    for (int i = 0; i < job->n_targets; i++)
        if (job->targets[i].skip.n == 0)
            job->targets[i].batch = 1 + place++ / size;
    job->n_batches = taking_part == 0 ? 0 : 1 + (taking_part - 1) / size;
}

/* --- nodes --- */

static int64_t seconds_ms(const struct json *j, const char *name, int64_t otherwise_s)
{
    int64_t s = json_int(json_get(j, name), otherwise_s);

    return (s < 0 || s > TEMPLATE_TIMEOUT_MAX_S ? otherwise_s : s) * 1000;
}

static int64_t check_timeout(const struct json *check, int64_t most)
{
    int64_t sample = seconds_ms(check, "timeout", 30), interval = seconds_ms(check, "interval", 10);
    int64_t whole = (sample + interval) * (1 + json_int(json_get(check, "retries"), 3)) + CHECK_SLACK_MS;

    return whole < most ? whole : most;
}

static bool add_node(struct job *job, struct arena *a, int target, enum job_task_type type, int64_t timeout_ms)
{
    int i = job->template.n++;
    struct template_node *node = &job->template.nodes[i];
    struct job_target *t = &job->targets[target];

    job->tasks[i] = (struct job_task){target, type};
    job->template.order[i] = i;
    t->task[type] = i;
    node->id = node->name = arena_printf(a, "%d-%s", t->number, job_task_types[type]);
    node->type = &types[type];
    node->config = t->json;
    node->retry = types[type].retry;
    node->timeout_ms = timeout_ms;
    node->target = node->compensates = -1;
    node->role = type == JOB_ROLLBACK ? ROLE_COMPENSATES : ROLE_ORDINARY;
    if (type == JOB_ROLLBACK)
        node->compensates = t->task[JOB_DEPLOY];
    return node->id.p != NULL;
}

static bool add_nodes(struct job *job, struct arena *a)
{
    const struct json *check = json_get(json_get(job->plan, "config"), "healthCheck");
    int64_t timeout = job->template.timeout_ms, checked = check_timeout(check, timeout);
    bool checks = check != NULL && !str_eqz(json_str(json_get(check, "type")), "none"), fine = true;
    size_t most = (size_t)job->n_targets * JOB_TASK_TYPES + 1;

    job->template.nodes = arena_array(a, most, sizeof *job->template.nodes);
    job->template.order = arena_array(a, most, sizeof *job->template.order);
    job->tasks = arena_array(a, most, sizeof *job->tasks);
    if (job->template.nodes == NULL || job->template.order == NULL || job->tasks == NULL)
        return false;
    for (int i = 0; fine && i < job->n_targets; i++) {
        job->targets[i].task[JOB_CHECK] = -1;
        fine = add_node(job, a, i, JOB_DEPLOY, timeout) && (!checks || add_node(job, a, i, JOB_CHECK, checked)) &&
               add_node(job, a, i, JOB_ROLLBACK, timeout);
    }
    return fine;
}

const struct template *job_parse(struct arena *a, const struct json *plan)
{
    struct job *job = arena_new(a, struct job);

    if (job == NULL || !json_is(plan, JSON_OBJECT))
        return NULL;
    job->plan = plan;
    job->template.kind = &job_kind;
    job->template.name = json_str(json_get(json_get(plan, "environment"), "name"));
    job->template.timeout_ms = seconds_ms(plan, "timeoutSeconds", 3600);
    read_config(job, json_get(plan, "config"));
    if (!read_targets(job, a, json_get(plan, "targets")))
        return NULL;
    cut_batches(job);
    return add_nodes(job, a) && template_index(a, &job->template) ? &job->template : NULL;
}

/* What an agent is told to do (server/agent/deploy.h has the members), and which agent. Variables whose names are those
 * of secrets travel as credentials: the agent gives them to hooks, and masks them in all it says. */
#include "server/engine/job_parts.h"

#include "server/engine/choose.h"
#include "server/engine/redact.h"

/* Nothing of a task is an expression, and what a person may see of it is in the job's document. */
const struct json *job_config(struct arena *a, const struct run *r, int step, bool redact, struct str *why)
{
    const struct job *job = job_of(r);

    (void)a;
    (void)why;
    return redact ? NULL : job->targets[job->tasks[step].target].json;
}

/* What the target gets: its own release where the plan gives it one, null for nothing. */
const struct json *job_release(const struct job *job, const struct job_target *t)
{
    const struct json *own = json_get(t->json, "release"),
                      *release = own != NULL ? own : json_get(job->plan, "release");

    return json_is(release, JSON_OBJECT) ? release : NULL;
}

/* Only a rollback can go to nothing. */
const char *job_task_type(const struct run *r, int step)
{
    const struct job *job = job_of(r);
    const struct job_task *task = &job->tasks[step];
    bool back = task->type == JOB_DEPLOY && job_release(job, &job->targets[task->target]) == NULL;

    return job_task_types[back ? JOB_ROLLBACK : task->type];
}

static void put_text(struct json_out *o, const char *name, struct str text)
{
    json_key(o, str_z(name));
    json_put_str(o, text);
}

static void put_named(struct json_out *o, const char *name, struct str id, struct str called)
{
    json_key(o, str_z(name));
    json_open(o, '{');
    put_text(o, "id", id);
    put_text(o, "name", called);
    json_close(o, '}');
}

static void put_variables(struct json_out *o, const struct job *job, bool secret)
{
    for (struct json_iter it = json_members(json_path(job->plan, S("environment.variables"))); json_next(&it);)
        if (redact_name(it.name) == secret) {
            json_key(o, it.name);
            json_put(o, it.value);
        }
}

static void put_deployment(struct json_out *o, const struct run *r)
{
    json_key(o, S("deployment"));
    json_open(o, '{');
    put_text(o, "id", r->origin.id);
    json_key(o, S("startedAt"));
    json_put_time(o, r->started_ms);
    json_close(o, '}');
}

static void put_deploy(struct json_out *o, const struct run *r, const struct job_target *t, const struct json *release)
{
    const struct job *job = job_of(r);
    const struct json *environment = json_get(job->plan, "environment"), *hooks = json_get(job->plan, "hooks");

    put_deployment(o, r);
    put_named(o, "environment", json_str(json_get(environment, "id")), json_str(json_get(environment, "name")));
    json_key(o, S("graceSeconds"));
    json_put_int(o, RUN_GRACE_MS / 1000);
    json_key(o, S("hooks"));
    if (hooks != NULL)
        json_put(o, hooks);
    else
        json_put_raw(o, S("{}"));
    if (json_get(t->json, "keep") != NULL) {
        json_key(o, S("keep"));
        json_put(o, json_get(t->json, "keep"));
    }
    json_key(o, S("release"));
    json_put(o, release);
    put_text(o, "root", json_str(json_get(t->json, "path")));
    put_named(o, "target", t->id, t->name);
    json_key(o, S("variables"));
    json_open(o, '{');
    if (json_get(t->json, "port") != NULL)
        put_text(o, "SLIPWAY_PORT", arena_int(r->arena, json_int(json_get(t->json, "port"), 0)));
    put_variables(o, job, false);
    json_close(o, '}');
}

/* The plan's names are the strategy's, the task's say what they count. */
static void put_check(struct json_out *o, const struct job *job, const struct job_target *t)
{
    const struct json *check = json_path(job->plan, S("config.healthCheck"));

    for (struct json_iter it = json_members(check); json_next(&it);) {
        json_key(o, str_eqz(it.name, "interval")  ? S("intervalSeconds")
                    : str_eqz(it.name, "timeout") ? S("timeoutSeconds")
                                                  : it.name);
        json_put(o, it.value);
    }
    if (json_get(check, "port") == NULL && json_get(t->json, "port") != NULL) {
        json_key(o, S("port"));
        json_put(o, json_get(t->json, "port"));
    }
    put_text(o, "root", json_str(json_get(t->json, "path")));
}

void job_payload(struct json_out *o, struct move *m, int step, const struct json *config)
{
    const struct job *job = job_of(m->r);
    const struct job_task *task = &job->tasks[step];
    const struct job_target *t = &job->targets[task->target];
    const struct json *previous = json_get(config, "previous");

    json_open(o, '{');
    if (task->type == JOB_CHECK)
        put_check(o, job, t);
    else
        put_deploy(o, m->r, t,
                   task->type == JOB_DEPLOY         ? job_release(job, t)
                   : json_is(previous, JSON_OBJECT) ? previous
                                                    : NULL);
    json_close(o, '}');
}

void job_credentials(struct json_out *o, struct move *m, int step, const struct json *config)
{
    (void)step;
    (void)config;
    put_variables(o, job_of(m->r), true);
}

/* Who deployed also checks, and takes back. */
void job_wish(struct arena *a, const struct run *r, int step, const struct json *config, struct choose_wish *wish)
{
    const struct job *job = job_of(r);
    const struct job_target *t = &job->targets[job->tasks[step].target];

    (void)a;
    (void)config;
    wish->labels = json_path(job->plan, S("environment.agentLabels"));
    wish->agent = t->agent;
    if (wish->agent.n == 0 && job->tasks[step].type != JOB_DEPLOY)
        wish->agent = job_step(r, t, JOB_DEPLOY)->agent;
    if (wish->agent.n == 0)
        wish->agent = STR_NONE;
}

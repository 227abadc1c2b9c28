/* Making the job of a step, and knowing it again.
 *
 * Happy path: the run's hash names no job of this attempt -> prepare -> one commit makes the job and has the run's hash
 * name it -> the run is told that it has started; the job itself tells its end. An instance that died anywhere in
 * between is followed by another that finds the job, or makes it; two at once make one, the other's commit is refused. */
#include "server/engine/job_step.h"

#include "lib/id.h"
#include "lib/log.h"
#include "server/bitmap.h"
#include "server/document.h"
#include "server/engine/drain.h"
#include "server/engine/job.h"
#include "server/engine/job_start.h"
#include "server/engine/kind.h"
#include "server/engine/step_type.h"
#include "server/store/page.h"
#include "server/worker.h"

enum { JOBS_MAX = 200 }; /* of one run, looked at by a rollback */

struct making {
    struct worker *worker;
    const struct job_step *step;
    struct ops *asker;
    job_step_then *then;
    void *arg;
    struct str job; /* of this attempt, as the run's hash has it */
    struct job_request request;
    struct commit commit;
    char id[ID_UUID];
};

static void end(struct making *m, enum code c, const struct run_event *e)
{
    if (c != OK)
        log_warn("job.put_off", "run=" STR_FMT " node=" STR_FMT " code=%s", STR_ARG(m->step->run),
                 STR_ARG(m->step->node), code_name(c));
    m->then(m->arg, c, e);
}

static void go_on(struct making *m, enum code started)
{
    if (started != OK)
        end(m, started, NULL);
}

/* The step has failed, for good: what is wrong will not go away by itself. */
static void refuse(struct making *m, enum code c, struct str why)
{
    end(m, OK,
        &(struct run_event){.type = EVENT_WORK_COMPLETED,
                            .error_type = str_z(code_name(c)),
                            .message = why.n > 0 ? why : str_z(code_text(c))});
}

static void started(struct making *m, struct str job)
{
    end(m, OK, &(struct run_event){.type = EVENT_JOB_STARTED, .agent = job});
}

/* --- a job that is there --- */

/* As the job itself tells it. */
static void tell_end(struct making *m, const struct run *job)
{
    struct run_event e;
    bool fine = job_end(m->step->arena, job, &e);

    end(m, fine ? OK : SYS_OVERLOADED, &e);
}

static void got_job(void *arg, enum code c, const struct redis_value *v)
{
    struct making *m = arg;
    bool gone = redis_is_nil(v) || v->count == 0;
    struct run *job = c == OK && !gone ? run_of_hash(m->step->arena, &job_kind, v) : NULL;

    if (c != OK)
        end(m, c, NULL);
    else if (gone)
        refuse(m, RES_NOT_FOUND, arena_printf(m->step->arena, "deployment job " STR_FMT " is gone", STR_ARG(m->job)));
    else if (job == NULL)
        end(m, SYS_OVERLOADED, NULL);
    else if (job->phase == PHASE_OVER)
        tell_end(m, job);
    else if (str_eq(m->job, m->step->job))
        end(m, OK, NULL);
    else
        started(m, m->job);
}

static enum code look_at_job(struct making *m)
{
    struct store_command command =
        STORE_COMMAND(S("HGETALL"), key_document(m->step->arena, m->step->space, JOB_KIND, m->job));

    drain_run(m->worker, &job_kind, m->step->space, m->job); /* whoever made it may have died before it began */
    return store_read(m->worker->store, &command, 1, m->asker, got_job, m);
}

/* --- a job that is to be made --- */

static enum code read_run(struct making *m);

static void committed(void *arg, const struct commit_result *result)
{
    struct making *m = arg;

    if (result->code == RES_ALREADY_EXISTS) {
        go_on(m, read_run(m)); /* another instance was faster */
    } else if (result->code != OK) {
        if (result->code == RES_NOT_FOUND)
            refuse(m, RES_NOT_FOUND, S("the run is gone"));
        else
            end(m, result->code, NULL);
    } else {
        drain_run(m->worker, &job_kind, m->step->space, str_z(m->id));
        started(m, str_z(m->id));
    }
}

static void prepared(void *arg, enum code c, struct str why, const struct job_plan *plan)
{
    struct making *m = arg;

    if (c != OK) {
        if (code_status(c) >= 500)
            end(m, c, NULL);
        else
            refuse(m, c, why);
        return;
    }
    id_uuid(plan->now_ms, m->id);
    commit_begin(&m->commit, m->step->arena, m->step->space, COMMIT_GROWS);
    job_write(&m->commit, plan, str_z(m->id));
    go_on(m, store_commit(m->worker->store, &m->commit, m->asker, committed, m));
}

/* {type, config}; the step's own healthCheck comes before the strategy's. NULL: no memory. */
static struct json *strategy_of(struct making *m)
{
    struct arena *a = m->step->arena;
    const struct json *config = m->step->config, *given = json_get(config, "strategyConfig"),
                      *type = json_get(config, "strategy"), *check = json_get(config, "healthCheck");
    struct json *strategy = json_new(a, JSON_OBJECT),
                *own = given == NULL ? json_new(a, JSON_OBJECT) : json_copy_tree(a, given);

    if (check != NULL)
        json_set(a, own, S("healthCheck"), json_copy_tree(a, check));
    return json_set(a, strategy, S("config"), own) &&
                   json_set(a, strategy, S("type"),
                            type == NULL ? json_new_str(a, S("all-at-once")) : json_copy_tree(a, type))
               ? strategy
               : NULL;
}

static bool is_a(const struct making *m, const char *type)
{
    return str_eqz(str_z(m->step->type->key), type);
}

/* What a sticker is written by: nobody's strategy, and nothing is taken back when it fails. */
static struct json *quiet_strategy(struct arena *a)
{
    return json_parse(a,
                      S("{\"type\":\"all-at-once\",\"config\":{\"failureBehavior\":\"continue\","
                        "\"healthCheck\":{\"type\":\"none\"}}}"),
                      NULL, NULL);
}

static bool to_previous(const struct making *m)
{
    return is_a(m, "rollback") && str_eqz(json_str(json_get(m->step->config, "to")), "previous");
}

/* --- going back to a release that is named: it must have been there, for this is no way around promotions --- */

static uint64_t word(const struct bitmap *b, size_t i)
{
    return i < b->n ? b->words[i] : 0;
}

static void got_history(void *arg, enum code c, const struct page_result *result)
{
    struct making *m = arg;
    struct bitmap sets[3];
    bool there = false;

    for (size_t i = 0; c == OK && i < ARRAY_LEN(sets); i++)
        if (!bitmap_join(m->step->arena, redis_at(result->facets, i), &sets[i]))
            c = SYS_OVERLOADED;
    for (size_t i = 0; c == OK && i < sets[0].n; i++)
        there = there || (sets[0].words[i] & word(&sets[1], i) & word(&sets[2], i)) != 0;
    if (c != OK)
        end(m, c, NULL);
    else if (!there)
        refuse(m, DEPLOY_NO_PREVIOUS_RELEASE, S("that release was never deployed in the environment; promote it"));
    else
        go_on(m, job_prepare(m->worker, m->step->arena, &m->request, m->asker, prepared, m));
}

static enum code look_back(struct making *m)
{
    struct arena *a = m->step->arena;
    struct str *facets = arena_array(a, 3, sizeof *facets);
    const struct page_query q = {
        .space = m->step->space, .kind = JOB_KIND, .source = PAGE_NONE, .facets = facets, .facet_count = 3};

    if (facets == NULL)
        return SYS_OVERLOADED;
    facets[0] = arena_printf(a, "environmentId=" STR_FMT, STR_ARG(m->request.environment_id));
    facets[1] = arena_printf(a, "releaseId=" STR_FMT, STR_ARG(m->request.release_id));
    facets[2] = S("status=succeeded");
    return store_page(m->worker->store, a, &q, m->asker, got_history, m);
}

static enum code make(struct making *m, struct json *jobs)
{
    const struct job_step *s = m->step;
    const struct json *config = s->config, *context = s->context;
    bool again = is_a(m, "write-sticker"), back = to_previous(m);

    m->request = (struct job_request){
        .space = s->space,
        .environment_id = json_str(json_get(context, "environmentId")),
        .to_previous = back,
        .again = again,
        .release_id = json_str(is_a(m, "rollback") ? json_get(config, "to") : json_get(context, "releaseId")),
        .promotion_id = json_str(json_get(context, "promotionId")),
        .parent_run = s->run,
        .parent_node = s->node,
        .parent_attempt = s->attempt,
        .strategy = again ? quiet_strategy(s->arena) : strategy_of(m),
        .jobs = jobs,
        .target_ids = json_get(config, "targets"),
        .hooks = json_get(config, "hooks"),
        .created_by = s->triggered_by};
    if (m->request.strategy == NULL)
        return SYS_OVERLOADED;
    if (m->request.environment_id.n == 0 || (m->request.release_id.n == 0 && !back && !again)) {
        refuse(m, RES_REFERENCE_UNKNOWN, S("the run's context names no environmentId or no releaseId"));
        return OK;
    }
    if (is_a(m, "rollback") && !back)
        return look_back(m);
    return job_prepare(m->worker, s->arena, &m->request, m->asker, prepared, m);
}

/* --- the run --- */

static bool is_deploy(const struct template *t, int node)
{
    return node >= 0 && str_eqz(str_z(t->nodes[node].type->key), "deploy");
}

/* Jobs that brought something there: fields "job:<node>:<attempt>". */
static struct json *jobs_of(struct making *m, const struct template *t, const struct redis_value *hash)
{
    struct json *jobs = json_new(m->step->arena, JSON_ARRAY);

    for (size_t i = 0; i + 1 < hash->count && json_count(jobs) < JOBS_MAX; i += 2) {
        struct str rest = redis_text(redis_at(hash, i)), job = str_cut(&rest, ':'), node = str_cut(&rest, ':');

        if (str_eqz(job, "job") && is_deploy(t, template_find(t, node)))
            json_append(m->step->arena, jobs, json_new_str(m->step->arena, redis_text(redis_at(hash, i + 1))));
    }
    return jobs;
}

static bool deploys(const struct template *t)
{
    for (int i = 0; i < t->n; i++)
        if (is_deploy(t, i))
            return true;
    return false;
}

/* Jobs of the step's attempts before this one. */
static struct json *attempts_of(struct making *m, const struct redis_value *hash)
{
    struct arena *a = m->step->arena;
    struct json *jobs = json_new(a, JSON_ARRAY);

    for (int64_t k = 1; k < m->step->attempt && json_count(jobs) < JOBS_MAX; k++) {
        struct str job = redis_text(redis_field(hash, job_parent_field(a, m->step->node, k)));

        if (job.n > 0)
            json_append(a, jobs, json_new_str(a, job));
    }
    return jobs;
}

/* A rollback takes back what its own run did; only a run that deploys nothing means whatever was done last. A further
 * attempt at a deployment leaves out what the ones before have done. */
static void got_whole_run(void *arg, enum code c, const struct redis_value *v)
{
    struct making *m = arg;
    struct run *r = c == OK ? run_of_hash(m->step->arena, &workflow_kind, v) : NULL;
    struct json *jobs = r == NULL ? NULL : to_previous(m) ? jobs_of(m, r->template, v) : attempts_of(m, v);

    if (c != OK)
        end(m, c, NULL);
    else if (redis_is_nil(v) || v->count == 0)
        refuse(m, RES_NOT_FOUND, S("the run is gone"));
    else if (jobs == NULL)
        end(m, SYS_OVERLOADED, NULL);
    else
        go_on(m, make(m, !to_previous(m) || deploys(r->template) ? jobs : NULL));
}

static void got_run(void *arg, enum code c, const struct redis_value *v)
{
    struct making *m = arg;
    struct str key = key_document(m->step->arena, m->step->space, workflow_kind.name, m->step->run);
    struct store_command command = STORE_COMMAND(S("HGETALL"), key);

    m->job = c == OK && !redis_is_nil(v) ? arena_str(m->step->arena, redis_text(v)) : STR_NONE;
    if (c != OK)
        end(m, c, NULL);
    else if (m->job.n > 0)
        go_on(m, look_at_job(m));
    else if (to_previous(m) || m->step->attempt > 1)
        go_on(m, store_read(m->worker->store, &command, 1, m->asker, got_whole_run, m));
    else
        go_on(m, make(m, NULL));
}

static enum code read_run(struct making *m)
{
    struct arena *a = m->step->arena;
    struct store_command command =
        STORE_COMMAND(S("HGET"), key_document(a, m->step->space, workflow_kind.name, m->step->run),
                      job_parent_field(a, m->step->node, m->step->attempt));

    return store_read(m->worker->store, &command, 1, m->asker, got_run, m);
}

enum code job_step_work(struct worker *w, const struct job_step *step, struct ops *asker, job_step_then *then,
                        void *arg)
{
    struct making *m = arena_new(step->arena, struct making);

    if (m == NULL)
        return SYS_OVERLOADED;
    *m = (struct making){.worker = w, .step = step, .asker = asker, .then = then, .arg = arg};
    return read_run(m);
}

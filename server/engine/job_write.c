/* What belongs into the commit of a job's drain beside the job: facts about its targets, and whom they wake. */
#include "server/engine/job_parts.h"

#include "server/dashboard/event.h"
#include "server/engine/environment_settle.h"
#include "server/engine/target_settle.h"
#include "server/store/commit.h"

static void put_text(struct json_out *o, const char *name, struct str text)
{
    json_key(o, str_z(name));
    json_put_str(o, text);
}

static void put_json(struct json_out *o, const char *name, const struct json *value)
{
    json_key(o, str_z(name));
    json_put(o, value);
}

/* NULL: the check has not told how the target is. */
static const char *health_of(const struct step *check)
{
    if (check == NULL || !step_status_ended(check->status))
        return NULL;
    if (check->status == STEP_SUCCEEDED)
        return "healthy";
    return str_eqz(check->error_type, "unhealthy") ? "unhealthy" : NULL;
}

static void put_health(struct json_out *o, const struct step *check)
{
    if (health_of(check) == NULL)
        return;
    if (check->status != STEP_SUCCEEDED)
        put_text(o, "healthMessage", check->message.p == NULL ? S("") : check->message);
    put_text(o, "healthStatus", str_z(health_of(check)));
}

static void put_optional(struct json_out *o, const char *name, const struct json *value)
{
    if (value != NULL)
        put_json(o, name, value);
}

/* By which job the target came to the release it has: one that goes back, or writes a sticker, has brought nothing. */
static void put_bringer(struct json_out *o, const struct run *r, const struct job_target *t, bool back)
{
    const struct json *other = json_get(t->json, back ? "previousJobId" : "releaseJobId");

    put_optional(o, "releaseJobId", other);
    if (other == NULL && !back)
        put_text(o, "releaseJobId", r->origin.id);
}

/* What is on the target now that `changed`, its deployment or rollback, has succeeded; RFC 8785 order. */
static struct str facts(struct arena *a, const struct run *r, const struct job_target *t, enum job_task_type changed)
{
    const struct job *job = job_of(r);
    const struct step *s = job_step(r, t, changed), *check = job_step(r, t, JOB_CHECK);
    const struct json *previous = json_get(t->json, "previous");
    bool back = changed == JOB_ROLLBACK;
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (!back && health_of(check) != NULL) {
        json_key(&o, S("checkedAt"));
        json_put_time(&o, check->finished_ms);
    }
    put_json(&o, "contentHash", json_get(s->outputs_json, "contentHash"));
    json_key(&o, S("deployedAt"));
    json_put_time(&o, s->finished_ms);
    if (!back)
        put_health(&o, check);
    put_text(&o, "jobId", r->origin.id);
    put_json(&o, "previous", back ? json_get(t->json, "before") : previous);
    put_optional(&o, "previousJobId", json_get(t->json, back ? "beforeJobId" : "previousJobId"));
    put_json(&o, "release", back ? previous : job_release(job, t));
    put_bringer(&o, r, t, back);
    put_json(&o, "sticker", json_get(s->outputs_json, "sticker"));
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

/* It ended in a transition that this commit brings. */
static bool just_ended(const struct step *s, int64_t now_ms)
{
    return s != NULL && s->dirty && s->finished_ms == now_ms && s->attempt > 0 && step_status_ended(s->status);
}

/* A task that failed has changed nothing that is known; a check tells only what it has found. */
static void write_facts(struct commit *c, struct arena *a, const struct run *r, const struct job_target *t,
                        enum job_task_type ended)
{
    const struct step *s = job_step(r, t, ended);
    enum job_task_type changed = ended == JOB_CHECK ? JOB_DEPLOY : ended;

    if (ended == JOB_CHECK ? health_of(s) == NULL : s->status != STEP_SUCCEEDED)
        return;
    commit_hset(c, key_target_facts(a, c->space), t->id, facts(a, r, t, changed));
}

static void write_targets(struct commit *c, struct arena *a, const struct run *r, int64_t now_ms)
{
    const struct job *job = job_of(r);

    for (int k = 0; k < job->n_targets; k++) {
        const struct job_target *t = &job->targets[k];
        bool touched = false;

        for (int type = 0; type < JOB_TASK_TYPES; type++) {
            if (!just_ended(job_step(r, t, (enum job_task_type)type), now_ms))
                continue;
            write_facts(c, a, r, t, (enum job_task_type)type);
            touched = true;
        }
        if (touched)
            commit_timer(c, TARGET_TIMER, t->id, now_ms);
    }
}

static void write_status(struct commit *c, struct arena *a, const struct run *r)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_text(&o, "type", S("deployment_updated"));
    put_text(&o, "jobId", r->origin.id);
    put_text(&o, "status", str_z(job_status_name(r)));
    put_text(&o, "environmentId", json_str(json_path(job_of(r)->plan, S("environment.id"))));
    json_close(&o, '}');
    dashboard_event(c, b.failed ? STR_NONE : str_slice(buf_view(&b), 1, b.n));
}

void job_commit(struct commit *c, struct arena *a, const struct run *r, const struct effects *fx, int64_t now_ms,
                bool finished)
{
    const struct json *plan = job_of(r)->plan;
    bool told = false;

    write_targets(c, a, r, now_ms);
    for (size_t i = 0; i < fx->n; i++)
        told = told || fx->list[i].type == EFFECT_STATUS;
    if (told)
        write_status(c, a, r);
    if (finished && (json_get(plan, "promotionId") != NULL || json_get(plan, "rollbackId") != NULL))
        commit_timer(c, ENVIRONMENT_TIMER, json_str(json_path(plan, S("environment.id"))), now_ms);
}

/* Targets that a task of this job has just ended on; looking at others as well would do no harm. */
static void settle_targets(struct worker *w, struct space space, const struct run *r)
{
    const struct job *job = job_of(r);

    for (int k = 0; k < job->n_targets; k++)
        for (int type = 0; type < JOB_TASK_TYPES; type++) {
            const struct step *s = job_step(r, &job->targets[k], (enum job_task_type)type);

            if (s != NULL && s->dirty && s->attempt > 0 && step_status_ended(s->status)) {
                target_settle(w, space, job->targets[k].id);
                break;
            }
        }
}

/* Its promotion learns of it, and of its end; so does the rollback that it carries out; its targets are what it made of
 * them. */
void job_committed(struct worker *w, struct space space, const struct run *r, const struct effects *fx, bool finished)
{
    const struct json *plan = job_of(r)->plan;
    bool told = finished;

    settle_targets(w, space, r);
    for (size_t i = 0; i < fx->n; i++)
        told = told || fx->list[i].type == EFFECT_STATUS;
    if (told && (json_get(plan, "promotionId") != NULL || json_get(plan, "rollbackId") != NULL))
        environment_settle(w, space, json_str(json_path(plan, S("environment.id"))));
}

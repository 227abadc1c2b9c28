/* What follows from what was read: no I/O. */
#include "server/engine/environment_private.h"

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static bool is_one_of(struct str text, const char *const *list)
{
    for (; *list != NULL; list++)
        if (str_eqz(text, *list))
            return true;
    return false;
}

bool settle_run_ended(const struct json *run)
{
    static const char *const ended[] = {"succeeded", "failed", "cancelled", NULL};

    return run == NULL || is_one_of(member(run, "status"), ended);
}

bool settle_job_ended(const struct json *job)
{
    static const char *const ended[] = {"succeeded", "failed", "cancelled", "rolled_back", "rollback_failed", NULL};

    return job == NULL || is_one_of(member(job, "status"), ended);
}

static struct settle_outcome failed(struct arena *a, const struct json *of, const char *code, const char *message)
{
    const struct json *error = json_get(of, "error");
    const char *its = arena_z(a, member(error, "code"));
    struct str text = member(error, "message");

    return (struct settle_outcome){PROMOTION_FAILED, its != NULL && *its != '\0' ? its : code,
                                   text.n > 0 ? text : str_z(message)};
}

struct settle_outcome settle_outcome(struct arena *a, const struct json *run, const struct json *job)
{
    struct str status = member(run, "status");

    if (run == NULL)
        return (struct settle_outcome){PROMOTION_FAILED, "RES_NOT_FOUND", S("its workflow run is gone")};
    if (str_eqz(member(job, "status"), "rolled_back")) {
        struct settle_outcome o = failed(a, job, "DEPLOY_TARGET_FAILED", "the deployment failed and was rolled back");
        o.status = PROMOTION_ROLLED_BACK;
        return o;
    }
    if (str_eqz(status, "cancelled"))
        return (struct settle_outcome){PROMOTION_FAILED, "WF_CANCELLED",
                                       S("its workflow run was cancelled while it was deploying")};
    if (job != NULL && !str_eqz(member(job, "status"), "succeeded")) /* the job knows better why */
        return failed(a, job, "DEPLOY_TARGET_FAILED", "its deployment failed");
    if (!str_eqz(status, "succeeded"))
        return failed(a, run, "WF_STEP_FAILED", "its workflow run failed");
    return (struct settle_outcome){PROMOTION_DEPLOYED, NULL, STR_NONE};
}

const struct json *settle_latest_job(const struct json *const *jobs, size_t n, struct str run)
{
    const struct json *latest = NULL;

    for (size_t i = 0; i < n; i++)
        if (str_eq(member(jobs[i], "workflowRunId"), run) && member(jobs[i], "rollbackId").n == 0 &&
            (latest == NULL || str_cmp(member(jobs[i], "id"), member(latest, "id")) > 0))
            latest = jobs[i];
    return latest;
}

/* "<what>:<id>" */
static void put_holder(struct json_out *o, struct str holder)
{
    struct str id = holder, what = str_cut(&id, ':');
    bool rollback = str_eqz(what, "rollback");

    json_open(o, '{');
    json_key(o, S("gate"));
    json_put_z(o, "environment-busy");
    json_key(o, S("message"));
    json_put_z(o, rollback ? "a rollback is under way there" : "another promotion is deploying there");
    json_key(o, rollback ? S("rollbackId") : S("promotionId"));
    json_put_str(o, id);
    json_close(o, '}');
}

struct str settle_blockers(struct arena *a, const struct json *promotion, struct str holder,
                           const struct freeze_set *freezes, int64_t now_ms)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_open(&o, '[');
    freeze_blockers(&o, freezes->windows, freezes->count, json_get(promotion, "freezeOverride"), now_ms);
    if (holder.n > 0)
        put_holder(&o, holder);
    json_close(&o, ']');
    return b.failed ? STR_NONE : buf_view(&b);
}

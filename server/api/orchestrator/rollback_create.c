/* Beginning a rollback. What has to be read first: the job that is taken back; its environment's release, holder and freeze
 * windows; then what job_prepare reads; then the releases the targets come to. */
#include "server/api/orchestrator/rollback.h"

#include "lib/id.h"
#include "server/api/orchestrator/resources.h"
#include "server/bitmap.h"
#include "server/engine/drain.h"
#include "server/engine/freeze.h"
#include "server/engine/job_start.h"
#include "server/engine/rollback_plan.h"
#include "server/worker.h"

#include <string.h>

enum {
    RELEASES_MOST = 60, /* that the targets come to, looked at */
    LATEST = 10         /* jobs of the environment, looked at */
};

struct planning {
    struct request *r;
    struct change *change;
    struct space space;
    struct str environment; /* its id */
    struct str old_id;      /* of the job that is taken back; STR_NONE: it is no more */
    const struct json *old; /* that job */
    const struct json *old_plan;
    bool by_job;              /* what that job did is taken back, not what the environment says it has */
    const struct json *state; /* P:er: the environment's release */
    const struct json *from;  /* {id, name} of what is taken back; NULL: more than one */
    struct freeze_set freezes;
    struct job_request request;
    const struct job_plan *job;
    struct rollback_plan plan;
    char new_id[ID_UUID];
};

static enum flow read_environment(struct planning *p);
static enum flow judge(struct planning *p);

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static enum flow refuse(struct planning *p, enum code c)
{
    return reply_error(p->r, c);
}

static const struct json *parsed(struct planning *p, const struct redis_value *v)
{
    struct str text = v == NULL || redis_is_nil(v) ? STR_NONE : arena_str(&p->r->arena, redis_text(v));

    return text.p == NULL ? NULL : document_json(&p->r->arena, text, NULL);
}

/* --- what the body alone says --- */

static enum code check_body(struct planning *p)
{
    struct request *r = p->r;
    const struct json *body = p->change->whole;

    if ((member(body, "deploymentJobId").n > 0) == (member(body, "environmentId").n > 0))
        return change_refuse_field(r, VAL_FAILED, "deploymentJobId",
                                   "exactly one of deploymentJobId and environmentId is needed");
    if (str_eqz(member(body, "strategy"), "restore_snapshot"))
        return request_refuse(r, DEPLOY_ROLLBACK_NOT_POSSIBLE,
                              "no snapshots are made of targets; redeploy_previous goes back to an earlier release");
    if (json_count(json_get(body, "componentNames")) > 0)
        return request_refuse(r, DEPLOY_ROLLBACK_NOT_POSSIBLE,
                              "a release is switched as a whole: single components cannot go back; deploy a release "
                              "with their earlier versions");
    return OK;
}

/* --- the plan is made --- */

static enum flow answer_dry(struct planning *p)
{
    struct str strategy = member(p->change->whole, "strategy");

    return reply_data(p->r, 200,
                      arena_printf(&p->r->arena, "{\"plan\":" STR_FMT ",\"strategy\":\"" STR_FMT "\"}",
                                   STR_ARG(p->plan.text), STR_ARG(strategy)));
}

static bool is_dry(const struct planning *p)
{
    return json_bool(json_get(p->change->patch, "dryRun"), false) ||
           str_eqz(member(p->change->whole, "strategy"), "manual");
}

static enum code check_releases(struct planning *p, const struct redis_value *v)
{
    bool allowed = json_bool(json_get(p->change->patch, "allowDeprecated"), false);

    for (size_t i = 0; i < p->plan.n_releases && i < RELEASES_MOST; i++) {
        const struct json *release = parsed(p, redis_at(v, i));
        struct str status = member(release, "status"), name = member(p->plan.releases[i], "name");

        if (!allowed && (str_eqz(status, "deprecated") || str_eqz(status, "archived")))
            return request_refuse(p->r, REL_DEPRECATED,
                                  "release " STR_FMT " is " STR_FMT "; allowDeprecated goes back to it all the same",
                                  STR_ARG(name), STR_ARG(status));
    }
    return OK;
}

static void got_releases(void *arg, enum code c, const struct redis_value *v)
{
    struct planning *p = arg;

    if (c == OK)
        c = check_releases(p, v);
    if (c != OK)
        refuse(p, c);
    else if (is_dry(p))
        answer_dry(p);
    else
        change_gathered(p->r);
}

/* The first once more at the end, so that the answer is always an array. */
static enum flow read_releases(struct planning *p)
{
    struct store_command commands[RELEASES_MOST + 1];
    struct str argv[RELEASES_MOST + 1][3];
    size_t n = p->plan.n_releases < RELEASES_MOST ? p->plan.n_releases : RELEASES_MOST;
    enum code c;

    for (size_t i = 0; i <= n; i++) {
        struct str id = member(p->plan.releases[i < n ? i : 0], "id");

        argv[i][0] = S("HGET");
        argv[i][1] = key_document(&p->r->arena, p->space, release_resource.kind, id.n > 0 ? id : S("none"));
        argv[i][2] = S("j");
        commands[i] = (struct store_command){3, argv[i]};
    }
    c = store_read(p->r->worker->store, commands, n + 1, &p->r->ops, got_releases, p);
    return c == OK ? WAIT : refuse(p, c);
}

static void prepared(void *arg, enum code c, struct str why, const struct job_plan *job)
{
    struct planning *p = arg;
    bool subset = json_count(p->request.target_ids) > 0;

    if (c == RES_REFERENCE_UNKNOWN)
        c = change_refuse_field(p->r, c, p->request.release_id.n > 0 ? "toReleaseId" : "targetIds", STR_FMT,
                                STR_ARG(why));
    else if (c != OK && code_status(c) < 500)
        c = request_refuse(p->r, c, STR_FMT, STR_ARG(why));
    p->job = job;
    if (c == OK && !rollback_plan(&p->r->arena, job->json, p->from, subset, &p->plan))
        c = SYS_OVERLOADED;
    if (c != OK)
        refuse(p, c);
    else
        read_releases(p);
}

/* --- the job that does it --- */

static const struct json *ids_of(struct planning *p, struct str id)
{
    struct json *list = json_new(&p->r->arena, JSON_ARRAY);

    return json_append(&p->r->arena, list, json_new_str(&p->r->arena, id)) ? list : NULL;
}

/* All at once, and on in spite of failures; but hooks and health are those of the deployment that is taken back. */
static const struct json *strategy_of(struct planning *p)
{
    struct arena *a = &p->r->arena;
    const struct json *check = json_path(p->old_plan, S("config.healthCheck"));
    struct json *config = json_new(a, JSON_OBJECT), *strategy = json_new(a, JSON_OBJECT);
    bool fine = json_set(a, config, S("failureBehavior"), json_new_str(a, S("continue")));

    if (check != NULL)
        fine = json_set(a, config, S("healthCheck"), json_copy_tree(a, check)) && fine;
    return fine && json_set(a, strategy, S("config"), config) &&
                   json_set(a, strategy, S("type"), json_new_str(a, S("all-at-once")))
               ? strategy
               : NULL;
}

static enum flow prepare(struct planning *p)
{
    struct str to = member(p->change->whole, "toReleaseId");
    bool back = to.n == 0;
    enum code c;

    p->request = (struct job_request){.space = p->space,
                                      .environment_id = p->environment,
                                      .release_id = to.n > 0 ? to : STR_NONE,
                                      .to_previous = back,
                                      .rollback_id = p->change->id,
                                      .rollback_of = p->old_id,
                                      .strategy = strategy_of(p),
                                      .hooks = json_get(p->old_plan, "hooks"),
                                      .jobs = back && p->by_job ? ids_of(p, p->old_id) : NULL,
                                      .from_release = back && !p->by_job ? member(p->state, "id") : STR_NONE,
                                      .target_ids = json_get(p->change->whole, "targetIds"),
                                      .created_by = p->r->caller.id};
    if (p->request.strategy == NULL || (back && p->by_job && p->request.jobs == NULL))
        return refuse(p, SYS_OVERLOADED);
    c = job_prepare(p->r->worker, &p->r->arena, &p->request, &p->r->ops, prepared, p);
    return c == OK ? WAIT : refuse(p, c);
}

/* --- a release that is asked for must have been there: this is no way around promotions --- */

enum { OF_RELEASE, OF_ENVIRONMENT, SUCCEEDED, ROLLED_BACK, FACETS };

static uint64_t word(const struct bitmap *b, size_t i)
{
    return i < b->n ? b->words[i] : 0;
}

/* A job brought it there. */
static void got_jobs(void *arg, enum code c, const struct page_result *result)
{
    struct planning *p = arg;
    struct bitmap sets[FACETS];
    bool there = false;

    for (size_t i = 0; c == OK && i < FACETS; i++)
        if (!bitmap_join(&p->r->arena, redis_at(result->facets, i), &sets[i]))
            c = SYS_OVERLOADED;
    for (size_t i = 0; c == OK && i < sets[OF_RELEASE].n; i++)
        there = there || (word(&sets[OF_RELEASE], i) & word(&sets[OF_ENVIRONMENT], i) &
                          (word(&sets[SUCCEEDED], i) | word(&sets[ROLLED_BACK], i))) != 0;
    if (c == OK && !there)
        c = request_refuse(p->r, DEPLOY_ROLLBACK_NOT_POSSIBLE,
                           "that release was never deployed in the environment; promote it");
    if (c != OK)
        refuse(p, c);
    else
        prepare(p);
}

static enum flow ask_facets(struct planning *p, const char *kind, size_t n, page_then *then)
{
    struct str *facets = arena_array(&p->r->arena, FACETS, sizeof *facets);
    struct page_query q = {.space = p->space, .kind = kind, .source = PAGE_NONE, .facets = facets, .facet_count = n};
    enum code c = SYS_OVERLOADED;

    if (facets != NULL) {
        facets[OF_RELEASE] =
            arena_printf(&p->r->arena, "releaseId=" STR_FMT, STR_ARG(member(p->change->whole, "toReleaseId")));
        facets[OF_ENVIRONMENT] = arena_printf(&p->r->arena, "environmentId=" STR_FMT, STR_ARG(p->environment));
        facets[SUCCEEDED] = S("status=succeeded");
        facets[ROLLED_BACK] = S("status=rolled_back");
        c = store_page(p->r->worker->store, &p->r->arena, &q, &p->r->ops, then, p);
    }
    return c == OK ? WAIT : refuse(p, c);
}

/* Jobs are forgotten some day; the stickers they wrote stay. */
static void got_stickers(void *arg, enum code c, const struct page_result *result)
{
    struct planning *p = arg;
    struct bitmap of_release, of_environment;
    bool there = false;

    if (c == OK && (!bitmap_join(&p->r->arena, redis_at(result->facets, OF_RELEASE), &of_release) ||
                    !bitmap_join(&p->r->arena, redis_at(result->facets, OF_ENVIRONMENT), &of_environment)))
        c = SYS_OVERLOADED;
    for (size_t i = 0; c == OK && i < of_release.n; i++)
        there = there || (word(&of_release, i) & word(&of_environment, i)) != 0;
    if (c != OK)
        refuse(p, c);
    else if (there)
        prepare(p);
    else
        ask_facets(p, JOB_KIND, FACETS, got_jobs);
}

static enum flow check_destination(struct planning *p)
{
    if (member(p->change->whole, "toReleaseId").n == 0)
        return prepare(p);
    return ask_facets(p, version_sticker_resource.kind, OF_ENVIRONMENT + 1, got_stickers);
}

/* --- freeze windows --- */

static enum code check_freezes(struct planning *p)
{
    int64_t now_ms = store_now_ms(p->r->worker->store);

    for (size_t i = 0; i < p->freezes.count; i++) {
        const struct json *window = p->freezes.windows[i];

        if (!freeze_active(window, now_ms) || !json_bool(json_get(window, "blockRollbacks"), false))
            continue;
        p->r->details = arena_printf(&p->r->arena, "{\"windowIds\":[\"" STR_FMT "\"]}", STR_ARG(member(window, "id")));
        return request_refuse(p->r, ENV_FREEZE_ACTIVE, "a freeze window blocks rollbacks, too: " STR_FMT,
                              STR_ARG(member(window, "reason")));
    }
    return OK;
}

static void got_windows(void *arg, enum code c, const struct page_result *result)
{
    struct planning *p = arg;

    if (c == OK && !freeze_set_fill(&p->r->arena, &p->freezes, result))
        c = SYS_OVERLOADED;
    if (c == OK)
        c = check_freezes(p);
    if (c != OK)
        refuse(p, c);
    else
        check_destination(p);
}

static enum flow read_windows(struct planning *p)
{
    const struct page_query q = freeze_set_query(&p->freezes, p->space);
    enum code c;

    if (p->freezes.n == 0)
        return check_destination(p);
    c = store_page(p->r->worker->store, &p->r->arena, &q, &p->r->ops, got_windows, p);
    return c == OK ? WAIT : refuse(p, c);
}

/* --- states --- */

/* The table of rollback.c: why a job in this state is not taken back, and what can be done with it instead. */
// clang-format off
static const struct {
    const char *status, *why;
    bool cancellable; /* by its workflow run */
} refused[] = {
    {"pending",      "it has not ended; cancel its workflow run first", true},
    {"running",      "it has not ended; cancel its workflow run first", true},
    {"paused",       "it has not ended; cancel its workflow run first", true},
    {"cancelling",   "it has not ended yet",                            false},
    {"rolling_back", "it is being taken back",                          false},
    {"rolled_back",  "it is taken back already",                        false},
};
// clang-format on

static enum code check_job(struct planning *p)
{
    static const char *const none[] = {NULL}, *const cancel[] = {"cancel-run", NULL};
    struct str status = member(p->old, "status"), run = member(p->old, "workflowRunId");

    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (str_eqz(status, refused[i].status)) {
            bool helps = refused[i].cancellable && run.n > 0;
            enum code c = change_refuse_state(p->r, refused[i].status, helps ? cancel : none);

            if (helps)
                p->r->details = arena_printf(&p->r->arena, STR_FMT ",\"workflowRunId\":\"" STR_FMT "\"}",
                                             (int)p->r->details.n - 1, p->r->details.p, STR_ARG(run));
            return request_refuse(p->r, c, "%s", refused[i].why);
        }
    return OK;
}

static enum code refuse_held(struct planning *p, struct str holder)
{
    struct str id = holder, kind = str_cut(&id, ':');
    bool rollback = str_eqz(kind, "rollback");

    p->r->details =
        arena_printf(&p->r->arena, "{\"allowedActions\":[],\"currentState\":\"%s\",\"" STR_FMT "Id\":\"" STR_FMT "\"}",
                     rollback ? "rolling_back" : "deploying", STR_ARG(kind), STR_ARG(id));
    return request_refuse(p->r, RES_INVALID_STATE, STR_FMT " " STR_FMT " holds the environment: it is %s",
                          STR_ARG(kind), STR_ARG(id), rollback ? "under way" : "deploying");
}

/* What is taken back: of a job its release, which it lacks when it went back to more than one. */
static const struct json *from_of(struct planning *p)
{
    struct json *from;

    if (!p->by_job)
        return p->state;
    if (member(p->old, "releaseId").n == 0)
        return NULL;
    from = json_new(&p->r->arena, JSON_OBJECT);
    json_set(&p->r->arena, from, S("id"), json_get(p->old, "releaseId"));
    json_set(&p->r->arena, from, S("name"), json_get(p->old, "releaseName"));
    return from;
}

static enum flow judge(struct planning *p)
{
    p->from = from_of(p);
    return read_windows(p);
}

/* --- what there is --- */

static void got_job(void *arg, enum code c, const struct redis_value *v)
{
    struct planning *p = arg;
    bool named = member(p->change->whole, "deploymentJobId").n > 0;

    if (c == OK) {
        p->old = parsed(p, redis_at(v, 0));
        p->old_plan = parsed(p, redis_at(v, 1));
        if (p->old == NULL && named)
            c = change_refuse_field(p->r, RES_REFERENCE_UNKNOWN, "deploymentJobId", "does not exist");
        else
            c = check_job(p);
    }
    if (p->old == NULL)
        p->old_id = STR_NONE;
    if (c != OK) {
        refuse(p, c);
    } else if (named) {
        p->environment = member(p->old, "environmentId");
        read_environment(p);
    } else {
        judge(p);
    }
}

static enum flow read_job(struct planning *p)
{
    const struct store_command command =
        STORE_COMMAND(S("HMGET"), key_document(&p->r->arena, p->space, JOB_KIND, p->old_id), S("j"), S("def"));
    enum code c = store_read(p->r->worker->store, &command, 1, &p->r->ops, got_job, p);

    return c == OK ? WAIT : refuse(p, c);
}

/* --- of an environment --- */

/* What it says is deployed there is taken back. */
static enum flow choose_state(struct planning *p)
{
    if (p->state == NULL)
        return refuse(p, request_refuse(p->r, DEPLOY_NO_PREVIOUS_RELEASE, "nothing is deployed in the environment"));
    p->old_id = member(p->state, "deploymentJobId");
    return p->old_id.n > 0 ? read_job(p) : judge(p);
}

/* Unless its latest deployment failed and has left something behind: then that is. */
static void got_left(void *arg, enum code c, const struct redis_value *v)
{
    struct planning *p = arg;

    for (size_t i = 0; c == OK && v != NULL && i < v->count; i++)
        p->by_job = p->by_job || str_eq(member(parsed(p, redis_at(v, i)), "releaseJobId"), p->old_id);
    if (c != OK)
        refuse(p, c);
    else if (p->by_job)
        judge(p);
    else
        choose_state(p);
}

static enum flow read_left(struct planning *p, const struct json *targets)
{
    size_t n = json_count(targets);
    struct str *argv = arena_array(&p->r->arena, n + 2, sizeof *argv);
    struct store_command command = {n + 2, argv};
    enum code c = SYS_OVERLOADED;

    if (n == 0)
        return choose_state(p);
    if (argv != NULL) {
        argv[0] = S("HMGET");
        argv[1] = key_target_facts(&p->r->arena, p->space);
        for (size_t i = 0; i < n; i++)
            argv[i + 2] = member(json_at(targets, i), "id");
        c = store_read(p->r->worker->store, &command, 1, &p->r->ops, got_left, p);
    }
    return c == OK ? WAIT : refuse(p, c);
}

static bool has_failed(const struct json *job)
{
    static const char *const statuses[] = {"failed", "cancelled", "rollback_failed"};
    struct str status = member(job, "status");

    return str_eqz(status, statuses[0]) || str_eqz(status, statuses[1]) || str_eqz(status, statuses[2]);
}

/* The latest that is no rollback's. */
static void got_latest(void *arg, enum code c, const struct page_result *result)
{
    struct planning *p = arg;
    struct page_item item = {0};
    const struct json *job = NULL;

    for (size_t i = 0; c == OK && job == NULL && page_item(result, i, &item); i++) {
        struct str text = item.json.p == NULL ? STR_NONE : arena_str(&p->r->arena, item.json);

        job = text.p == NULL ? NULL : document_json(&p->r->arena, text, NULL);
        job = member(job, "rollbackOf").n > 0 ? NULL : job;
    }
    if (c != OK) {
        refuse(p, c);
    } else if (job == NULL || !has_failed(job)) {
        choose_state(p);
    } else {
        p->old = job;
        p->old_id = member(job, "id");
        p->old_plan = parsed(p, redis_at(item.extra, 0));
        read_left(p, json_get(p->old_plan, "targets"));
    }
}

static void got_jobs_there(void *arg, enum code c, const struct page_result *result)
{
    static const char *const extra[] = {"def", NULL};
    struct planning *p = arg;
    int64_t *ordinals = arena_array(&p->r->arena, LATEST, sizeof *ordinals);
    struct bitmap bits;
    struct page_query q = {
        .space = p->space, .kind = JOB_KIND, .source = PAGE_ORDINALS, .ordinals = ordinals, .extra = extra};

    if (c == OK && (ordinals == NULL || !bitmap_join(&p->r->arena, redis_at(result->facets, 0), &bits)))
        c = SYS_OVERLOADED;
    if (c == OK)
        q.n = bitmap_pick(&bits, true, 0, LATEST, ordinals);
    if (c == OK && q.n == 0)
        choose_state(p);
    else if (c == OK)
        c = store_page(p->r->worker->store, &p->r->arena, &q, &p->r->ops, got_latest, p);
    if (c != OK)
        refuse(p, c);
}

static enum flow choose_job(struct planning *p)
{
    struct str *facet = arena_new(&p->r->arena, struct str);
    const struct page_query q = {
        .space = p->space, .kind = JOB_KIND, .source = PAGE_NONE, .facets = facet, .facet_count = 1};
    enum code c = SYS_OVERLOADED;

    if (facet != NULL) {
        *facet = arena_printf(&p->r->arena, "environmentId=" STR_FMT, STR_ARG(p->environment));
        c = store_page(p->r->worker->store, &p->r->arena, &q, &p->r->ops, got_jobs_there, p);
    }
    return c == OK ? WAIT : refuse(p, c);
}

static void got_environment(void *arg, enum code c, const struct redis_value *v)
{
    struct planning *p = arg;
    struct request *r = p->r;
    bool known = c == OK && redis_int(redis_at(v, 3), 0) == 1;

    if (c == OK && !known)
        c = change_refuse_field(r, RES_REFERENCE_UNKNOWN, "environmentId", "does not exist");
    if (c == OK && !redis_is_nil(redis_at(v, 1)))
        c = refuse_held(p, arena_str(&r->arena, redis_text(redis_at(v, 1))));
    if (c == OK &&
        !freeze_set_open(&r->arena, freeze_facet(&r->arena, p->space, p->environment), redis_at(v, 2), &p->freezes))
        c = SYS_OVERLOADED;
    if (c == OK)
        p->state = parsed(p, redis_at(v, 0));
    if (c != OK)
        refuse(p, c);
    else if (p->old != NULL)
        judge(p);
    else
        choose_job(p);
}

static enum flow read_environment(struct planning *p)
{
    struct arena *a = &p->r->arena;
    const struct store_command commands[] = {
        STORE_COMMAND(S("HGET"), key_environment_releases(a, p->space), p->environment),
        STORE_COMMAND(S("HGET"), key_environment_holders(a, p->space), p->environment),
        STORE_COMMAND(S("HGETALL"), freeze_facet(a, p->space, p->environment)),
        STORE_COMMAND(S("EXISTS"), key_document(a, p->space, environment_resource.kind, p->environment))};
    enum code c = store_read(p->r->worker->store, commands, ARRAY_LEN(commands), &p->r->ops, got_environment, p);

    return c == OK ? WAIT : refuse(p, c);
}

enum flow rollback_gather(struct request *r, struct change *c)
{
    struct planning *p = arena_new(&r->arena, struct planning);
    enum code code;

    if (p == NULL)
        return reply_error(r, SYS_OVERLOADED);
    p->r = r;
    p->change = c;
    p->space = (struct space){r->caller.partition, r->caller.tenant};
    c->state = p;
    code = check_body(p);
    if (code != OK)
        return refuse(p, code);
    p->old_id = member(c->whole, "deploymentJobId");
    p->by_job = p->old_id.n > 0;
    p->environment = member(c->whole, "environmentId");
    return p->old_id.n > 0 ? read_job(p) : read_environment(p);
}

/* --- the commit --- */

static void set_members(struct planning *p, struct overlays *set)
{
    const struct json *to = p->plan.to;

    overlay_str(set, "environmentId", p->environment);
    if (p->old_id.n > 0)
        overlay_str(set, "deploymentJobId", p->old_id);
    else
        overlay_null(set, "deploymentJobId");
    overlay_str(set, "newDeploymentJobId", str_z(p->new_id));
    if (to != NULL)
        overlay_json(set, "toReleaseId", json_get(to, "id"));
    else
        overlay_null(set, "toReleaseId");
    if (p->from != NULL)
        overlay_json(set, "releaseId", json_get(p->from, "id"));
    else
        overlay_null(set, "releaseId");
    overlay_str(set, "status", S("running"));
    overlay_raw(set, "plan", p->plan.text);
    overlay_str(set, "requestedBy", p->r->caller.id);
    overlay_null(set, "finishedAt");
    overlay_null(set, "error");
}

/* Only what is taken back as a whole is told so. */
static void tell_old_job(struct planning *p, struct commit *c)
{
    struct arena *a = &p->r->arena;
    struct buf entry;

    if (p->old_id.n == 0 || p->plan.partial)
        return;
    buf_init_arena(&entry, a, 128);
    run_event_write(&entry, &(struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = p->change->id});
    commit_inbox(c, JOB_KIND, p->old_id, arena_printf(a, "rollback-started:" STR_FMT, STR_ARG(p->change->id)),
                 entry.failed ? STR_NONE : buf_view(&entry));
}

static enum code rollback_prepare(struct request *r, struct change *c)
{
    struct planning *p = c->state;
    struct str holders = key_environment_holders(&r->arena, p->space);

    id_uuid(c->now_ms, p->new_id);
    set_members(p, &c->set);
    commit_expect_field(c->commit, RES_VERSION_CONFLICT, "pin", holders, p->environment, STR_NONE);
    freeze_set_pin(c->commit, &p->freezes);
    commit_hset(c->commit, holders, p->environment, arena_printf(&r->arena, "rollback:" STR_FMT, STR_ARG(c->id)));
    job_write(c->commit, p->job, str_z(p->new_id));
    tell_old_job(p, c->commit);
    return OK;
}

static enum flow began(struct request *r, struct change *c)
{
    const struct planning *p = c->state;
    struct document *d = arena_new(&r->arena, struct document);

    drain_run(r->worker, &job_kind, p->space, str_z(p->new_id));
    if (p->old_id.n > 0)
        drain_run(r->worker, &job_kind, p->space, p->old_id);
    if (d == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *d = (struct document){.id = c->id, .json = c->after, .revision = c->revision};
    return crud_answer(r, 201, d);
}

enum flow rollback_create(struct request *r)
{
    return crud_commit(r, CHANGE_CREATE, rollback_prepare, NULL, began);
}

/* Ending a promotion whose run has ended: what became of it, what is deployed in the environment now, who has it next. What
 * was deployed is promoted on, in the same commit, into environments that promote from here by themselves. */
#include "server/engine/environment_private.h"

#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/bitmap.h"
#include "server/engine/drain.h"
#include "server/engine/job_start.h"
#include "server/worker.h"

enum { JOBS = 10 }; /* the latest of a promotion; its own and those of its rollbacks */

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static struct str facet(struct settle *s, const char *kind, const char *field, struct str id)
{
    return key_facet(&s->arena, s->space, kind, arena_printf(&s->arena, "%s=" STR_FMT, field, STR_ARG(id)));
}

/* Documents of a facet: the newest first, `most` of them. */
static bool read_facet(struct settle *s, const struct redis_value *chunks, const char *kind, size_t most,
                       page_then *then)
{
    int64_t *ordinals = arena_array(&s->arena, most, sizeof(*ordinals));
    struct bitmap bits;
    struct page_query q = {.space = s->space, .kind = kind, .source = PAGE_ORDINALS, .ordinals = ordinals};

    if (ordinals == NULL || chunks == NULL || chunks->count == 0 || !bitmap_join(&s->arena, chunks, &bits))
        return false;
    q.n = bitmap_pick(&bits, true, 0, most, ordinals);
    return q.n > 0 && store_page(settle_worker(s)->store, &s->arena, &q, &s->ops, then, s) == OK;
}

static size_t documents(struct settle *s, const struct page_result *result, const struct json **out, size_t most)
{
    struct page_item item;
    size_t n = 0;

    for (size_t i = 0; n < most && page_item(result, i, &item); i++) {
        struct str text = item.json.p == NULL ? STR_NONE : arena_str(&s->arena, item.json);
        if (text.p != NULL && (out[n] = document_json(&s->arena, text, NULL)) != NULL)
            n++;
    }
    return n;
}

/* --- what became of it --- */

static void got_jobs(void *arg, enum code c, const struct page_result *result)
{
    struct settle *s = arg;
    const struct json *jobs[JOBS];

    if (c != OK) {
        settle_drop(s);
        return;
    }
    s->job = settle_latest_job(jobs, documents(s, result, jobs, JOBS), member(s->held.json, "workflowRunId"));
    settle_decide(s);
}

static void got_run(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    const struct redis_value *chunks = redis_at(v, 1);

    if (c != OK) {
        settle_drop(s);
        return;
    }
    s->run = settle_json(s, redis_at(v, 0));
    if (chunks->count == 0)
        settle_decide(s);
    else if (!read_facet(s, chunks, JOB_KIND, JOBS, got_jobs))
        settle_drop(s);
}

void settle_read_held(struct settle *s)
{
    const struct store_command commands[] = {
        STORE_COMMAND(S("HGET"), key_document(&s->arena, s->space, RUN_KIND, member(s->held.json, "workflowRunId")),
                      S("j")),
        STORE_COMMAND(S("HGETALL"), facet(s, JOB_KIND, "promotionId", s->held.id)),
    };

    if (promotion_status(s->held.json) != PROMOTION_DEPLOYING)
        settle_decide(s);
    else if (store_read(settle_worker(s)->store, commands, ARRAY_LEN(commands), &s->ops, got_run, s) != OK)
        settle_drop(s);
}

/* --- promoted on by itself --- */

static void set_auto_members(struct settle *s, struct overlays *set, const struct json *target, struct str id)
{
    int64_t required = json_int(json_get(target, "requiredApprovals"), 0);

    overlay_str(set, "id", id);
    overlay_str(set, "tenantId", s->space.tenant);
    overlay_str(set, "releaseId", member(s->held.json, "releaseId"));
    overlay_str(set, "releaseName", member(s->held.json, "releaseName"));
    overlay_json(set, "componentIds", json_get(s->held.json, "componentIds"));
    overlay_str(set, "targetEnvironmentId", member(target, "id"));
    overlay_str(set, "targetEnvironmentName", member(target, "name"));
    overlay_str(set, "environmentId", member(target, "id"));
    overlay_str(set, "sourceEnvironmentId", s->id);
    overlay_str(set, "sourceEnvironmentName", member(s->document, "name"));
    overlay_str(set, "sourcePromotionId", s->held.id);
    overlay_str(set, "status", str_z(promotion_statuses[PROMOTION_PENDING]));
    overlay_str(set, "reason", arena_printf(&s->arena, "deployed in " STR_FMT, STR_ARG(member(s->document, "name"))));
    overlay_str(set, "requestedBy", S(PROMOTION_SYSTEM));
    overlay_time(set, "requestedAt", s->now_ms);
    overlay_str(set, "triggerType", S("auto"));
    overlay_raw(set, "approvals",
                arena_printf(&s->arena, "{\"received\":0,\"remaining\":%lld,\"required\":%lld}", (long long)required,
                             (long long)required));
    overlay_raw(set, "blockers", S("[]"));
    overlay_time(set, "createdAt", s->now_ms);
    overlay_time(set, "updatedAt", s->now_ms);
    overlay_int(set, "revision", 1);
}

static void promote_on(struct settle *s, const struct json *target)
{
    struct arena *a = &s->arena;
    const struct promotion_names names = {STR_NONE, member(target, "id"), member(s->held.json, "releaseId")};
    struct promotion_names its = names;
    struct overlays *set = arena_new(a, struct overlays);
    struct commit_index index = {0};
    char id[ID_UUID];

    id_uuid(s->now_ms, id);
    its.id = arena_str(a, str_z(id));
    if (set == NULL) {
        s->commit.failed = true;
        return;
    }
    set->arena = a;
    set_auto_members(s, set, target, its.id);
    struct str json = document_render(a, promotion_resource.fields, json_new(a, JSON_OBJECT), NULL, set);
    const struct json *parsed = json.p == NULL ? NULL : document_json(a, json, NULL);
    if (parsed == NULL) {
        s->commit.failed = true;
        return;
    }
    commit_expect_field(&s->commit, RES_VERSION_CONFLICT, "active", key_promotions_active(a, s->space),
                        promotion_active_field(a, names.environment, names.release), STR_NONE);
    commit_expect_exists(&s->commit, RES_VERSION_CONFLICT, "target",
                         key_document(a, s->space, "environment", names.environment));
    document_index(&index, a, &promotion_resource, parsed);
    commit_put(&s->commit, &(struct commit_document){.kind = PROMOTION_KIND,
                                                     .id = its.id,
                                                     .revision = 1,
                                                     .schema = document_schema(&promotion_resource),
                                                     .json = json,
                                                     .index = &index});
    promotion_moved(&s->commit, a, s->space, &its, PROMOTION_STATUSES, PROMOTION_PENDING, s->now_ms);
    const struct audit_entry entry = {.action = "promotion.requested",
                                      .resource = PROMOTION_KIND,
                                      .resource_id = its.id,
                                      .environment_id = names.environment,
                                      .release_id = names.release,
                                      .promotion_id = its.id,
                                      .after = json};
    audit_add_system(&s->commit, a, "engine", &entry);
    s->woken[s->n_woken++] = its.environment;
}

/* --- the commit --- */

static void finish(struct settle *s)
{
    struct arena *a = &s->arena;
    const struct settle_outcome outcome = settle_outcome(a, s->run, s->job);
    static const char *const actions[PROMOTION_STATUSES] = {[PROMOTION_DEPLOYED] = "promotion.completed",
                                                            [PROMOTION_FAILED] = "promotion.failed",
                                                            [PROMOTION_ROLLED_BACK] = "promotion.rolled_back"};
    struct str key = key_environment_releases(a, s->space);

    settle_begin_commit(s);
    commit_hset(&s->commit, key_environment_holders(a, s->space), s->id, STR_NONE);
    settle_change(s, &s->held);
    if (s->job != NULL)
        overlay_json(&s->change.set, "deploymentJobId", json_get(s->job, "id"));
    if (outcome.code != NULL)
        promotion_error(&s->change, outcome.code, outcome.message);
    promotion_write(&s->commit, &s->change, outcome.status, actions[outcome.status], NULL);
    if (outcome.status == PROMOTION_DEPLOYED) {
        const struct json *before = s->fact.p == NULL ? NULL : json_parse(a, s->fact, NULL, NULL);
        const struct json *job = s->job != NULL ? json_get(s->job, "id") : json_get(s->held.json, "deploymentJobId");
        commit_expect_field(&s->commit, RES_VERSION_CONFLICT, "fact", key, s->id,
                            s->fact.p == NULL ? STR_NONE : s->fact);
        commit_hset(&s->commit, key, s->id, promotion_deployed_fact(a, s->held.json, job, before, s->now_ms));
        for (size_t i = 0; i < s->n_followers; i++)
            promote_on(s, s->followers[i]);
    }
    settle_commit(s);
}

/* Those that do not have it, and into which nobody promotes it just now. */
static void got_states(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    size_t kept = 0;

    if (c != OK) {
        settle_drop(s);
        return;
    }
    for (size_t i = 0; i < s->n_followers; i++) {
        const struct json *fact = settle_json(s, redis_at(redis_at(v, 0), i));
        if (redis_is_nil(redis_at(redis_at(v, 1), i)) && !str_eq(member(fact, "id"), member(s->held.json, "releaseId")))
            s->followers[kept++] = s->followers[i];
    }
    s->n_followers = kept;
    finish(s);
}

static void got_followers(void *arg, enum code c, const struct page_result *result)
{
    struct settle *s = arg;
    struct arena *a = &s->arena;
    struct str facts[SETTLE_FOLLOWERS + 2] = {S("HMGET"), key_environment_releases(a, s->space)};
    struct str active[SETTLE_FOLLOWERS + 2] = {S("HMGET"), key_promotions_active(a, s->space)};

    if (c != OK) {
        settle_drop(s);
        return;
    }
    s->n_followers = documents(s, result, s->followers, SETTLE_FOLLOWERS);
    for (size_t i = 0; i < s->n_followers; i++) {
        facts[i + 2] = member(s->followers[i], "id");
        active[i + 2] = promotion_active_field(a, facts[i + 2], member(s->held.json, "releaseId"));
    }
    const struct store_command commands[] = {{s->n_followers + 2, facts}, {s->n_followers + 2, active}};
    if (s->n_followers == 0)
        finish(s);
    else if (store_read(settle_worker(s)->store, commands, ARRAY_LEN(commands), &s->ops, got_states, s) != OK)
        settle_drop(s);
}

static void got_release(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    const struct redis_value *followers = redis_at(v, 1);

    if (c != OK) {
        settle_drop(s);
        return;
    }
    s->release = settle_json(s, redis_at(v, 0));
    if (followers->count == 0 || !str_eqz(member(s->release, "status"), "ready"))
        finish(s);
    else if (!read_facet(s, followers, "environment", SETTLE_FOLLOWERS, got_followers))
        settle_drop(s);
}

void settle_end(struct settle *s)
{
    struct arena *a = &s->arena;
    const struct store_command commands[] = {
        STORE_COMMAND(S("HGET"), key_document(a, s->space, "release", member(s->held.json, "releaseId")), S("j")),
        STORE_COMMAND(S("HGETALL"), facet(s, "environment", "autoPromoteFrom", s->id)),
    };

    if (settle_outcome(a, s->run, s->job).status != PROMOTION_DEPLOYED)
        finish(s);
    else if (store_read(settle_worker(s)->store, commands, ARRAY_LEN(commands), &s->ops, got_release, s) != OK)
        settle_drop(s);
}

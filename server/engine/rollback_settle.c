#include "server/engine/rollback_settle.h"

#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/document.h"
#include "server/engine/drain.h"
#include "server/engine/environment_settle.h"
#include "server/engine/job_start.h"
#include "server/engine/promotion.h"
#include "server/worker.h"

#include <stdlib.h>

enum { TRIES = 5 };

struct settling {
    struct op op;
    struct worker *worker;
    struct arena arena;
    struct space space;
    struct str environment, id;
    rollback_then *then;
    void *arg;
    unsigned tries;
    int64_t now_ms;

    struct document document;
    const struct json *rollback, *job, *old_job, *promotion, *state;
    struct str state_text; /* P:er; STR_NONE: nothing is deployed */
    int64_t promotion_revision;
    struct promotion_change change;
    struct commit commit;
    struct commit_index index;
};

static enum code read_all(struct settling *t);

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static void settled(struct settling *t, enum code c, bool freed)
{
    bool wanted = op_finish(&t->op);

    if (wanted)
        t->then(t->arg, c, freed);
    arena_fini(&t->arena);
    free(t);
}

static const struct json *parsed(struct settling *t, const struct redis_value *v)
{
    struct str text = v == NULL || redis_is_nil(v) ? STR_NONE : arena_str(&t->arena, redis_text(v));

    return text.p == NULL ? NULL : document_json(&t->arena, text, NULL);
}

/* --- the commit --- */

static void committed(void *arg, const struct commit_result *result)
{
    struct settling *t = arg;
    bool moved = result->code == RES_VERSION_CONFLICT || result->code == RES_NOT_FOUND;
    struct str old = member(t->old_job, "id");
    enum code c = result->code;

    if (moved && ++t->tries < TRIES && (c = read_all(t)) == OK)
        return;
    if (c == OK && old.n > 0)
        drain_run(t->worker, &job_kind, t->space, old);
    settled(t, c, c == OK);
}

static bool succeeded(const struct settling *t)
{
    return str_eqz(member(t->job, "status"), "succeeded");
}

/* All of what was taken back has come to one release: so the environment, the job and the promotion say so, too. */
static bool is_whole(const struct settling *t)
{
    return !json_bool(json_path(t->rollback, S("plan.partial")), true);
}

static void set_error(struct settling *t, struct overlays *set)
{
    struct json *error = json_new(&t->arena, JSON_OBJECT);
    const struct json *its = json_get(t->job, "error");
    struct str code = member(its, "code"), message = member(its, "message");

    json_set(&t->arena, error, S("code"), json_new_str(&t->arena, code.n > 0 ? code : S("DEPLOY_ROLLBACK_FAILED")));
    json_set(&t->arena, error, S("message"),
             json_new_str(&t->arena, message.n > 0 ? message : S("its deployment job did not succeed")));
    overlay_json(set, "error", error);
    set->failed = set->failed || error == NULL;
}

static void write_rollback(struct settling *t)
{
    struct overlays set = {.arena = &t->arena};
    bool well = succeeded(t);
    struct str text;
    const struct json *json;

    overlay_str(&set, "status", well ? S("succeeded") : S("failed"));
    overlay_time(&set, "finishedAt", t->now_ms);
    if (!well)
        set_error(t, &set);
    overlay_time(&set, "updatedAt", t->now_ms);
    overlay_int(&set, "revision", t->document.revision + 1);
    text = document_render(&t->arena, rollback_resource.fields, t->rollback, t->rollback, &set);
    json = text.p == NULL ? NULL : document_json(&t->arena, text, NULL);
    if (json == NULL) {
        t->commit.failed = true;
        return;
    }
    document_index(&t->index, &t->arena, &rollback_resource, json);
    commit_put(&t->commit, &(struct commit_document){.kind = rollback_resource.kind,
                                                     .id = t->id,
                                                     .revision = t->document.revision + 1,
                                                     .schema = document_schema(&rollback_resource),
                                                     .json = text,
                                                     .index = &t->index});
    const struct audit_entry entry = {.action = well ? "deployment.rolled_back" : "deployment.rollback_failed",
                                      .resource = rollback_resource.kind,
                                      .resource_id = t->id,
                                      .environment_id = t->environment,
                                      .release_id = member(t->rollback, "releaseId"),
                                      .promotion_id = member(t->old_job, "promotionId"),
                                      .before = t->document.json,
                                      .after = text};
    audit_add_system(&t->commit, &t->arena, "engine", &entry);
}

static void tell_old_job(struct settling *t)
{
    struct buf entry;

    if (t->old_job == NULL || !is_whole(t))
        return;
    buf_init_arena(&entry, &t->arena, 128);
    run_event_write(&entry, &(struct run_event){.type = EVENT_ROLLBACK_ENDED, .success = succeeded(t)});
    commit_inbox(&t->commit, JOB_KIND, member(t->old_job, "id"),
                 arena_printf(&t->arena, "rollback-ended:" STR_FMT, STR_ARG(t->id)),
                 entry.failed ? STR_NONE : buf_view(&entry));
}

static void put_named(struct json_out *o, const char *name, struct str id, struct str text)
{
    json_key(o, str_z(name));
    if (id.n == 0) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    json_key(o, S("id"));
    json_put_str(o, id);
    json_key(o, S("name"));
    json_put_str(o, text);
    json_close(o, '}');
}

/* What is deployed there now, as promotion_deployed_fact says it of a promotion. */
static void write_state(struct settling *t)
{
    const struct json *plan = json_get(t->rollback, "plan");
    struct str key = key_environment_releases(&t->arena, t->space), to = member(plan, "toReleaseId");
    struct json_out o;
    struct buf b;

    if (str_eq(member(t->state, "id"), to))
        return; /* what is taken back never became the environment's */
    buf_init_arena(&b, &t->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("deployedAt"));
    json_put_time(&o, t->now_ms);
    json_key(&o, S("deployedBy"));
    json_put_str(&o, member(t->rollback, "requestedBy"));
    json_key(&o, S("deploymentJobId"));
    json_put(&o, json_get(t->job, "id"));
    json_key(&o, S("id"));
    json_put_str(&o, to);
    json_key(&o, S("name"));
    json_put_str(&o, member(plan, "toReleaseName"));
    put_named(&o, "previous", member(t->state, "id"), member(t->state, "name"));
    json_key(&o, S("promotionId"));
    json_put_null(&o);
    json_key(&o, S("rollbackId"));
    json_put_str(&o, t->id);
    json_close(&o, '}');
    commit_expect_field(&t->commit, RES_VERSION_CONFLICT, "state", key, t->environment,
                        t->state_text.n > 0 ? t->state_text : STR_NONE);
    commit_hset(&t->commit, key, t->environment, b.failed ? STR_NONE : buf_view(&b));
    t->commit.failed = t->commit.failed || b.failed;
}

static void write_promotion(struct settling *t)
{
    enum promotion_status status = t->promotion == NULL ? PROMOTION_STATUSES : promotion_status(t->promotion);

    if (status != PROMOTION_DEPLOYED && status != PROMOTION_FAILED)
        return;
    promotion_change(&t->change, &t->arena, t->space, t->promotion, t->promotion_revision, t->now_ms);
    promotion_write(&t->commit, &t->change, PROMOTION_ROLLED_BACK, "promotion.rolled_back", NULL);
}

static enum code commit(struct settling *t)
{
    struct str holders = key_environment_holders(&t->arena, t->space);

    commit_begin(&t->commit, &t->arena, t->space, COMMIT_ESSENTIAL);
    commit_expect_field(&t->commit, RES_VERSION_CONFLICT, "holder", holders, t->environment,
                        arena_printf(&t->arena, "rollback:" STR_FMT, STR_ARG(t->id)));
    commit_hset(&t->commit, holders, t->environment, STR_NONE);
    environment_wake(&t->commit, t->environment, t->now_ms);
    if (t->rollback != NULL) {
        write_rollback(t);
        tell_old_job(t);
        if (succeeded(t) && is_whole(t)) {
            write_state(t);
            write_promotion(t);
        }
    }
    return store_commit(t->worker->store, &t->commit, &t->worker->ops, committed, t);
}

/* --- what there is --- */

static void got_promotion(void *arg, enum code c, const struct redis_value *v)
{
    struct settling *t = arg;

    if (c == OK) {
        t->promotion = parsed(t, redis_at(v, 0));
        t->promotion_revision = redis_int(redis_at(v, 1), 0);
        c = commit(t);
    }
    if (c != OK)
        settled(t, c, false);
}

static enum code read_promotion(struct settling *t)
{
    struct str key = key_document(&t->arena, t->space, PROMOTION_KIND, member(t->old_job, "promotionId"));
    const struct store_command command = STORE_COMMAND(S("HMGET"), key, S("j"), S("r"));

    return store_read(t->worker->store, &command, 1, &t->worker->ops, got_promotion, t);
}

static void got_jobs(void *arg, enum code c, const struct redis_value *v)
{
    struct settling *t = arg;

    if (c == OK) {
        t->job = parsed(t, redis_at(v, 0));
        t->old_job = parsed(t, redis_at(v, 1));
        if (t->job != NULL && json_get(t->job, "finishedAt") == NULL) {
            settled(t, OK, false);
            return;
        }
        c = member(t->old_job, "promotionId").n > 0 ? read_promotion(t) : commit(t);
    }
    if (c != OK)
        settled(t, c, false);
}

/* A document that is not named is read under a name that nothing has. */
static struct str job_key(struct settling *t, const char *name)
{
    struct str id = member(t->rollback, name);

    return key_document(&t->arena, t->space, JOB_KIND, id.n > 0 ? id : S("none"));
}

static enum code read_jobs(struct settling *t)
{
    const struct store_command commands[] = {STORE_COMMAND(S("HGET"), job_key(t, "newDeploymentJobId"), S("j")),
                                             STORE_COMMAND(S("HGET"), job_key(t, "deploymentJobId"), S("j"))};

    return store_read(t->worker->store, commands, ARRAY_LEN(commands), &t->worker->ops, got_jobs, t);
}

static bool holds(const struct settling *t, struct str holder)
{
    struct str id = holder;

    return str_eqz(str_cut(&id, ':'), "rollback") && str_eq(id, t->id);
}

static void got_all(void *arg, enum code c, const struct redis_value *v)
{
    struct settling *t = arg;
    const struct redis_value *document = redis_at(v, 0), *state = redis_at(v, 1);

    if (c == OK && !holds(t, redis_text(redis_at(v, 2)))) {
        settled(t, OK, true);
        return;
    }
    if (c == OK && !redis_is_nil(state)) {
        t->state_text = arena_str(&t->arena, redis_text(state));
        t->state = document_json(&t->arena, t->state_text, NULL);
    }
    if (c == OK && !redis_is_nil(redis_at(document, 0))) {
        t->document.json = arena_str(&t->arena, redis_text(redis_at(document, 0)));
        t->document.revision = redis_int(redis_at(document, 1), 0);
        t->document.schema = redis_int(redis_at(document, 2), 1);
        t->rollback = document_parse(&t->arena, &rollback_resource, &t->document, &c);
    }
    if (c == OK)
        c = t->rollback == NULL ? commit(t) : read_jobs(t);
    if (c != OK)
        settled(t, c, false);
}

static enum code read_all(struct settling *t)
{
    struct str key = key_document(&t->arena, t->space, rollback_resource.kind, t->id);
    const struct store_command commands[] = {
        STORE_COMMAND(S("HMGET"), key, S("j"), S("r"), S("sv")),
        STORE_COMMAND(S("HGET"), key_environment_releases(&t->arena, t->space), t->environment),
        STORE_COMMAND(S("HGET"), key_environment_holders(&t->arena, t->space), t->environment)};

    t->now_ms = store_now_ms(t->worker->store);
    t->document = (struct document){.id = t->id};
    t->rollback = t->job = t->old_job = t->promotion = t->state = NULL;
    t->state_text = STR_NONE;
    return store_read(t->worker->store, commands, ARRAY_LEN(commands), &t->worker->ops, got_all, t);
}

enum code rollback_settle(struct worker *w, struct space space, struct str environment, struct str rollback,
                          struct ops *asker, rollback_then *then, void *arg)
{
    struct settling *t = calloc(1, sizeof *t);
    enum code c;

    if (t == NULL)
        return SYS_OVERLOADED;
    arena_init(&t->arena, 0);
    op_begin(&t->op, asker);
    t->worker = w;
    t->then = then;
    t->arg = arg;
    t->space = (struct space){space.partition, arena_str(&t->arena, space.tenant)};
    t->environment = arena_str(&t->arena, environment);
    t->id = arena_str(&t->arena, rollback);
    c = t->space.tenant.p == NULL || t->environment.p == NULL || t->id.p == NULL ? SYS_OVERLOADED : read_all(t);
    if (c != OK) {
        op_finish(&t->op);
        arena_fini(&t->arena);
        free(t);
    }
    return c;
}

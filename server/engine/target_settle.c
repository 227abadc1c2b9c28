#include "server/engine/target_settle.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/dashboard/event.h"
#include "server/document.h"
#include "server/engine/job.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 5 };

struct settling {
    struct worker *worker;
    struct request *r; /* whose memory this is in; NULL: its own, and nobody waits */
    struct arena own, *a;
    struct ops *ops;
    struct space space;
    struct str id;
    const struct target_news *news; /* NULL: none */
    target_then *then;
    void *arg;
    unsigned tries;
    int64_t now_ms;
    bool failed; /* memory ran out while the commit was made */

    struct document target, sticker; /* as read; sticker: the current one, id STR_NONE without */
    const struct json *old, *old_sticker;
    struct str facts_text, settled_text;
    const struct json *facts, *settled;
    struct commit commit;
    struct commit_index index, sticker_index, new_index;
};

static enum code read_all(struct settling *t);

static void settled(struct settling *t, enum code c)
{
    if (t->r != NULL) {
        t->then(t->r, c, t->arg);
        return;
    }
    if (c != OK && c != RES_NOT_FOUND)
        log_warn("target.settle", "target=" STR_FMT " code=%s", STR_ARG(t->id), code_name(c));
    arena_fini(&t->own);
    free(t);
}

/* --- the commit --- */

static void committed(void *arg, const struct commit_result *result)
{
    struct settling *t = arg;
    enum code c = result->code;

    if (c == RES_VERSION_CONFLICT && ++t->tries < TRIES && (c = read_all(t)) == OK)
        return;
    settled(t, c == OK && t->old == NULL ? RES_NOT_FOUND : c);
}

static void put(struct settling *t, const struct resource *of, struct str id, int64_t revision, const struct json *old,
                struct overlays *set, struct commit_index *index, struct str *text_out)
{
    const struct json *whole = old != NULL ? old : json_new(t->a, JSON_OBJECT);
    struct str text = whole == NULL ? STR_NONE : document_render(t->a, of->fields, whole, old, set);
    struct json *json = text.p == NULL ? NULL : document_json(t->a, text, NULL);

    if (json == NULL) {
        t->failed = true;
        return;
    }
    document_index(index, t->a, of, json);
    commit_put(&t->commit, &(struct commit_document){.kind = of->kind,
                                                     .id = id,
                                                     .revision = revision,
                                                     .schema = document_schema(of),
                                                     .json = text,
                                                     .index = index});
    *text_out = text;
}

/* --- stickers --- */

static bool same_member(const struct json *a, const struct json *b, const char *name)
{
    return str_eq(json_str(json_get(a, name)), json_str(json_get(b, name)));
}

/* A job has written a sticker since, or has taken away what it spoke of. */
static bool has_new_sticker(const struct settling *t)
{
    return t->facts != NULL && t->settled_text.n > 0
               ? !same_member(t->facts, t->settled, "jobId") || !same_member(t->facts, t->settled, "contentHash") ||
                     !same_member(t->facts, t->settled, "deployedAt")
               : json_is(json_get(t->facts, "sticker"), JSON_OBJECT);
}

static void put_sticker_status(struct settling *t, const char *status, int64_t verified_ms)
{
    struct overlays set = {.arena = t->a};
    struct str text;

    overlay_str(&set, "status", str_z(status));
    if (verified_ms > 0)
        overlay_time(&set, "lastVerifiedAt", verified_ms);
    overlay_time(&set, "updatedAt", t->now_ms);
    overlay_int(&set, "revision", t->sticker.revision + 1);
    put(t, &version_sticker_resource, t->sticker.id, t->sticker.revision + 1, t->old_sticker, &set, &t->sticker_index,
        &text);
}

static void put_seen(struct settling *t, const struct json *content, struct str observed_at, const char *source)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, t->a, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("content"));
    json_put(&o, content);
    json_key(&o, S("observedAt"));
    json_put_str(&o, observed_at);
    json_key(&o, S("source"));
    json_put_z(&o, source);
    json_close(&o, '}');
    commit_field(&t->commit, target_resource.kind, t->id, S("seen"), buf_view(&b));
    t->failed = t->failed || b.failed;
}

static void put_new_sticker(struct settling *t)
{
    const struct json *content = json_get(t->facts, "sticker");
    struct overlays set = {.arena = t->a};
    char sticker[ID_UUID];
    int64_t written_ms = 0;
    struct str id, text;

    clock_parse(json_str(json_get(t->facts, "deployedAt")), &written_ms);
    job_sticker_id(json_str(json_get(t->facts, "jobId")), t->id, written_ms, sticker);
    id = arena_str(t->a, str_z(sticker));
    overlay_str(&set, "id", id);
    overlay_str(&set, "tenantId", t->space.tenant);
    overlay_str(&set, "targetId", t->id);
    overlay_json(&set, "environmentId", json_get(t->old, "environmentId"));
    if (json_is(json_get(t->facts, "release"), JSON_OBJECT))
        overlay_json(&set, "releaseId", json_path(t->facts, S("release.id")));
    if (json_is(json_get(t->facts, "jobId"), JSON_STRING))
        overlay_json(&set, "deploymentJobId", json_get(t->facts, "jobId"));
    overlay_json(&set, "content", content);
    overlay_str(&set, "contentHash", json_str(json_get(t->facts, "contentHash")));
    overlay_json(&set, "writtenAt", json_get(t->facts, "deployedAt"));
    overlay_str(&set, "status", S("current"));
    overlay_null(&set, "lastVerifiedAt");
    overlay_time(&set, "createdAt", t->now_ms);
    overlay_time(&set, "updatedAt", t->now_ms);
    overlay_int(&set, "revision", 1);
    put(t, &version_sticker_resource, id, 1, NULL, &set, &t->new_index, &text);
    commit_field(&t->commit, target_resource.kind, t->id, S("sticker"), id);
    put_seen(t, content, json_str(json_get(t->facts, "deployedAt")), "deployment");
}

static void write_stickers(struct settling *t)
{
    if (has_new_sticker(t)) {
        if (t->old_sticker != NULL)
            put_sticker_status(t, "superseded", 0);
        if (json_is(json_get(t->facts, "sticker"), JSON_OBJECT)) {
            put_new_sticker(t);
        } else {
            commit_field(&t->commit, target_resource.kind, t->id, S("sticker"), STR_NONE);
            commit_field(&t->commit, target_resource.kind, t->id, S("seen"), STR_NONE);
        }
    } else if (t->news != NULL && t->news->read) {
        const struct json *content = t->news->content;
        char at[CLOCK_TEXT];

        clock_text(t->news->at_ms, at);
        if (t->old_sticker != NULL)
            put_sticker_status(t,
                               content == NULL                                            ? "missing"
                               : json_equal(content, json_get(t->old_sticker, "content")) ? "current"
                                                                                          : "mismatch",
                               t->news->at_ms);
        put_seen(t, content, str_z(at), "agent");
    }
}

/* --- the target --- */

static int compare(const void *a, const void *b)
{
    const struct str *x = a, *y = b;

    return str_cmp(*x, *y);
}

static void set_digests(struct settling *t, struct overlays *set, const struct json *components)
{
    size_t n = json_count(components);
    struct str *list = arena_array(t->a, n + 1, sizeof *list);
    struct json *digests = json_new(t->a, JSON_ARRAY);

    for (size_t i = 0; list != NULL && i < n; i++)
        list[i] = json_str(json_get(json_at(components, i), "digest"));
    if (list == NULL || digests == NULL) {
        set->failed = true;
        return;
    }
    qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !str_eq(list[i], list[i - 1]))
            json_append(t->a, digests, json_new_str(t->a, list[i]));
    overlay_json(set, "currentDigests", digests);
}

static void set_release(struct settling *t, struct overlays *set)
{
    const struct json *release = json_get(t->facts, "release");
    struct json *current;

    if (!json_is(release, JSON_OBJECT)) {
        overlay_null(set, "currentRelease");
        set_digests(t, set, NULL);
        return;
    }
    current = json_new(t->a, JSON_OBJECT);
    json_set(t->a, current, S("id"), json_get(release, "id"));
    json_set(t->a, current, S("name"), json_get(release, "name"));
    json_set(t->a, current, S("deployedAt"), json_get(t->facts, "deployedAt"));
    set->failed = set->failed || current == NULL;
    overlay_json(set, "currentRelease", current);
    set_digests(t, set, json_get(release, "components"));
}

struct health {
    struct str status, message;
    int64_t at_ms;
};

/* The newest that is known; false: nothing newer than what the document says. */
static bool newest_health(const struct settling *t, struct health *h)
{
    int64_t known = 0;

    *h = (struct health){.at_ms = 0};
    if (json_get(t->old, "lastHealthCheck") != NULL)
        clock_parse(json_str(json_get(t->old, "lastHealthCheck")), &known);
    if (clock_parse(json_str(json_get(t->facts, "checkedAt")), &h->at_ms)) {
        h->status = json_str(json_get(t->facts, "healthStatus"));
        h->message = json_str(json_get(t->facts, "healthMessage"));
    }
    if (t->news != NULL && t->news->health.n > 0 && t->news->at_ms >= h->at_ms)
        *h = (struct health){t->news->health, t->news->message, t->news->at_ms};
    return h->status.n > 0 && h->at_ms > known;
}

/* What dashboards hear of a target begins with which one it is. */
static void event_open(struct settling *t, struct buf *b, struct json_out *o, const char *type)
{
    buf_init_arena(b, t->a, 256);
    json_out_init(o, b);
    json_open(o, '{');
    json_key(o, S("type"));
    json_put_z(o, type);
    json_key(o, S("targetId"));
    json_put_str(o, t->id);
    json_key(o, S("targetName"));
    json_put(o, json_get(t->old, "name"));
    json_key(o, S("environmentId"));
    json_put(o, json_get(t->old, "environmentId"));
}

static void event_close(struct settling *t, const struct buf *b, struct json_out *o)
{
    json_close(o, '}');
    dashboard_event(&t->commit, b->failed ? STR_NONE : str_slice(buf_view(b), 1, b->n));
}

static void health_event(struct settling *t, const struct health *h)
{
    struct json_out o;
    struct buf b;

    event_open(t, &b, &o, "target_health_changed");
    json_key(&o, S("status"));
    json_put_str(&o, h->status);
    json_key(&o, S("previousStatus"));
    json_put(&o, json_get(t->old, "healthStatus"));
    event_close(t, &b, &o);
}

static void health_audit(struct settling *t, struct str after)
{
    const struct audit_entry entry = {.action = "target.health_changed",
                                      .resource = target_resource.kind,
                                      .resource_id = t->id,
                                      .environment_id = json_str(json_get(t->old, "environmentId")),
                                      .before = t->target.json,
                                      .after = after};

    if (t->r != NULL)
        audit_add(&t->commit, t->r, &entry);
    else
        audit_add_system(&t->commit, t->a, "targets", &entry);
}

/* What was looked at last: whoever asks the agent, or a deployment, which leaves none. */
static bool has_drift(const struct settling *t, bool deployed)
{
    return t->news != NULL && t->news->read ? t->news->drifted
                                            : !deployed && json_bool(json_get(t->old, "hasDrift"), false);
}

static void write_target(struct settling *t)
{
    bool deployed = t->facts_text.n > 0 && !str_eq(t->facts_text, t->settled_text);
    bool drift = has_drift(t, deployed), drifts = drift != json_bool(json_get(t->old, "hasDrift"), false);
    struct overlays set = {.arena = t->a};
    struct health health;
    struct str after = STR_NONE;
    bool checked = newest_health(t, &health), changed;

    if (!deployed && !checked && !drifts)
        return;
    overlay_bool(&set, "hasDrift", drift);
    if (deployed) {
        set_release(t, &set);
        commit_field(&t->commit, target_resource.kind, t->id, S("settled"), t->facts_text);
    }
    changed = checked && !str_eq(health.status, json_str(json_get(t->old, "healthStatus")));
    if (checked) {
        overlay_str(&set, "healthStatus", health.status);
        overlay_time(&set, "lastHealthCheck", health.at_ms);
        if (health.message.n > 0)
            overlay_str(&set, "healthMessage", health.message);
        else
            overlay_null(&set, "healthMessage");
    }
    overlay_time(&set, "updatedAt", t->now_ms);
    overlay_str(&set, "updatedBy", t->r != NULL ? t->r->caller.id : S("system"));
    overlay_int(&set, "revision", t->target.revision + 1);
    put(t, &target_resource, t->id, t->target.revision + 1, t->old, &set, &t->index, &after);
    if (changed) {
        health_event(t, &health);
        health_audit(t, after);
    }
}

static void write_drift(struct settling *t)
{
    struct json_out o;
    struct buf b;

    if (t->news == NULL || !t->news->drifted)
        return;
    event_open(t, &b, &o, "drift_detected");
    event_close(t, &b, &o);
}

static enum code commit(struct settling *t)
{
    struct str facts = key_target_facts(t->a, t->space);

    commit_begin(&t->commit, t->a, t->space, COMMIT_ESSENTIAL);
    commit_expect_field(&t->commit, RES_VERSION_CONFLICT, "facts", facts, t->id,
                        t->facts_text.n > 0 ? t->facts_text : STR_NONE);
    commit_expect_revision(&t->commit, RES_VERSION_CONFLICT, "revision", target_resource.kind, t->id,
                           t->old == NULL ? 0 : t->target.revision);
    commit_timer(&t->commit, TARGET_TIMER, t->id, 0);
    if (t->old == NULL) {
        commit_hset(&t->commit, facts, t->id, STR_NONE);
    } else {
        write_target(t);
        write_stickers(t);
        write_drift(t);
    }
    return t->failed ? SYS_OVERLOADED : store_commit(t->worker->store, &t->commit, t->ops, committed, t);
}

/* --- what there is --- */

static const struct json *parse(struct settling *t, const struct resource *of, const struct redis_value *v,
                                struct document *d, enum code *c)
{
    d->json = arena_str(t->a, redis_text(redis_at(v, 0)));
    d->revision = redis_int(redis_at(v, 1), 0);
    d->schema = redis_int(redis_at(v, 2), 1);
    return document_parse(t->a, of, d, c);
}

static void got_sticker(void *arg, enum code c, const struct redis_value *v)
{
    struct settling *t = arg;

    if (c == OK && !redis_is_nil(redis_at(v, 0)))
        t->old_sticker = parse(t, &version_sticker_resource, v, &t->sticker, &c);
    if (c == OK)
        c = commit(t);
    if (c != OK)
        settled(t, c);
}

static enum code read_sticker(struct settling *t)
{
    struct str key = key_document(t->a, t->space, version_sticker_resource.kind, t->sticker.id);
    const struct store_command command = STORE_COMMAND(S("HMGET"), key, S("j"), S("r"), S("sv"));

    return store_read(t->worker->store, &command, 1, t->ops, got_sticker, t);
}

static void got_all(void *arg, enum code c, const struct redis_value *v)
{
    struct settling *t = arg;
    const struct redis_value *document = redis_at(v, 0), *facts = redis_at(v, 1);

    if (c == OK && !redis_is_nil(redis_at(document, 0)))
        t->old = parse(t, &target_resource, document, &t->target, &c);
    if (c == OK && !redis_is_nil(facts)) {
        t->facts_text = arena_str(t->a, redis_text(facts));
        t->facts = document_json(t->a, t->facts_text, NULL);
        c = t->facts == NULL ? SYS_OVERLOADED : OK;
    }
    if (c == OK && !redis_is_nil(redis_at(document, 4))) {
        t->settled_text = arena_str(t->a, redis_text(redis_at(document, 4)));
        t->settled = document_json(t->a, t->settled_text, NULL);
        c = t->settled == NULL ? SYS_OVERLOADED : OK;
    }
    if (c == OK && !redis_is_nil(redis_at(document, 3)))
        t->sticker.id = arena_str(t->a, redis_text(redis_at(document, 3)));
    if (c == OK)
        c = t->sticker.id.n > 0 ? read_sticker(t) : commit(t);
    if (c != OK)
        settled(t, c);
}

static enum code read_all(struct settling *t)
{
    struct str key = key_document(t->a, t->space, target_resource.kind, t->id);
    const struct store_command commands[] = {
        STORE_COMMAND(S("HMGET"), key, S("j"), S("r"), S("sv"), S("sticker"), S("settled")),
        STORE_COMMAND(S("HGET"), key_target_facts(t->a, t->space), t->id)};

    t->now_ms = store_now_ms(t->worker->store);
    t->target = t->sticker = (struct document){.id = STR_NONE};
    t->old = t->old_sticker = t->facts = t->settled = NULL;
    t->facts_text = t->settled_text = STR_NONE;
    return store_read(t->worker->store, commands, ARRAY_LEN(commands), t->ops, got_all, t);
}

void target_settle(struct worker *w, struct space space, struct str target)
{
    struct settling *t = calloc(1, sizeof *t);

    if (t == NULL)
        return;
    arena_init(&t->own, 0);
    t->a = &t->own;
    t->worker = w;
    t->ops = &w->ops;
    t->space = (struct space){space.partition, arena_str(t->a, space.tenant)};
    t->id = arena_str(t->a, target);
    if (t->space.tenant.p == NULL || t->id.p == NULL || read_all(t) != OK) {
        arena_fini(&t->own);
        free(t);
    }
}

enum flow target_tell(struct request *r, struct str target, const struct target_news *news, target_then *then,
                      void *arg)
{
    struct settling *t = arena_new(&r->arena, struct settling);
    enum code c;

    if (t == NULL)
        return then(r, SYS_OVERLOADED, arg);
    *t = (struct settling){.worker = r->worker,
                           .r = r,
                           .a = &r->arena,
                           .ops = &r->ops,
                           .space = {r->caller.partition, r->caller.tenant},
                           .id = target,
                           .news = news,
                           .then = then,
                           .arg = arg};
    c = read_all(t);
    return c == OK ? WAIT : then(r, c, arg);
}

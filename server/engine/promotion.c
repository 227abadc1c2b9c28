#include "server/engine/promotion.h"

#include "server/api/orchestrator/resources.h"
#include "server/audit.h"
#include "server/dashboard/event.h"
#include "server/engine/environment_settle.h"

const char *const promotion_statuses[] = {
    [PROMOTION_PENDING] = "pending",         [PROMOTION_AWAITING] = "awaiting_approval",
    [PROMOTION_APPROVED] = "approved",       [PROMOTION_DEPLOYING] = "deploying",
    [PROMOTION_DEPLOYED] = "deployed",       [PROMOTION_REJECTED] = "rejected",
    [PROMOTION_CANCELLED] = "cancelled",     [PROMOTION_FAILED] = "failed",
    [PROMOTION_ROLLED_BACK] = "rolled_back", [PROMOTION_STATUSES] = NULL};

/* Those of its run and of its job are named where they help. */
static const char *const actions[PROMOTION_STATUSES][3] = {
    [PROMOTION_PENDING] = {"cancel"},    [PROMOTION_AWAITING] = {"cancel"},
    [PROMOTION_APPROVED] = {"cancel"},   [PROMOTION_DEPLOYING] = {"cancel-run", "rollback"},
    [PROMOTION_DEPLOYED] = {"rollback"}, [PROMOTION_FAILED] = {"rollback"},
};

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

enum promotion_status promotion_status(const struct json *promotion)
{
    struct str text = member(promotion, "status");
    enum promotion_status s = PROMOTION_PENDING;

    while (s < PROMOTION_STATUSES && !str_eqz(text, promotion_statuses[s]))
        s++;
    return s;
}

bool promotion_is_over(enum promotion_status s)
{
    return s >= PROMOTION_DEPLOYED;
}

const char *const *promotion_actions(enum promotion_status s)
{
    static const char *const none[] = {NULL};

    return s < PROMOTION_STATUSES ? actions[s] : none;
}

struct str promotion_active_field(struct arena *a, struct str environment, struct str release)
{
    return arena_printf(a, STR_FMT ":" STR_FMT, STR_ARG(environment), STR_ARG(release));
}

static struct str line_of(struct arena *a, struct space s, struct str environment, enum promotion_status status)
{
    switch (status) {
    case PROMOTION_PENDING:
        return key_promotions_pending(a, s, environment);
    case PROMOTION_AWAITING:
        return key_promotions_awaiting(a, s, environment);
    case PROMOTION_APPROVED:
        return key_promotions_approved(a, s, environment);
    default:
        return STR_NONE;
    }
}

static void put(struct json_out *o, const char *name, struct str value)
{
    json_key(o, str_z(name));
    json_put_str(o, value);
}

struct promotion_names promotion_names(const struct json *promotion)
{
    return (struct promotion_names){member(promotion, "id"), member(promotion, "targetEnvironmentId"),
                                    member(promotion, "releaseId")};
}

static void write_frame(struct commit *c, struct arena *a, const struct promotion_names *names, const char *type,
                        enum promotion_status to)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 384);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put(&o, "type", str_z(type));
    put(&o, "promotionId", names->id);
    put(&o, "status", str_z(promotion_statuses[to]));
    put(&o, "environmentId", names->environment);
    put(&o, "releaseId", names->release);
    json_close(&o, '}');
    dashboard_event(c, b.failed ? STR_NONE : str_slice(buf_view(&b), 1, b.n));
}

void promotion_moved(struct commit *c, struct arena *a, struct space s, const struct promotion_names *names,
                     enum promotion_status from, enum promotion_status to, int64_t now_ms)
{
    struct str before = line_of(a, s, names->environment, from), after = line_of(a, s, names->environment, to);
    struct str field = promotion_active_field(a, names->environment, names->release);

    if (before.p != NULL)
        commit_zrem(c, before, names->id);
    if (after.p != NULL)
        commit_zset(c, after, names->id, (double)now_ms);
    if (from == PROMOTION_STATUSES)
        commit_hset(c, key_promotions_active(a, s), field, names->id);
    else if (promotion_is_over(to) && !promotion_is_over(from))
        commit_hset(c, key_promotions_active(a, s), field, STR_NONE);
    if (promotion_is_over(to) && to != from)
        commit_zset(c, key_promotions_ended(a, s, promotion_statuses[to]), names->id, (double)now_ms);
    write_frame(c, a, names, "promotion_updated", to);
    if (to == PROMOTION_AWAITING)
        write_frame(c, a, names, "approval_requested", to);
    environment_wake(c, names->environment, now_ms);
}

void promotion_change(struct promotion_change *p, struct arena *a, struct space s, const struct json *old,
                      int64_t revision, int64_t now_ms)
{
    *p = (struct promotion_change){.arena = a, .space = s, .old = old, .revision = revision, .now_ms = now_ms};
    p->set.arena = a;
}

void promotion_error(struct promotion_change *p, const char *code, struct str message)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, p->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put(&o, "code", str_z(code));
    put(&o, "message", message);
    json_close(&o, '}');
    overlay_raw(&p->set, "error", b.failed ? STR_NONE : buf_view(&b));
}

/* The times a status stands for. */
static void stamp(struct promotion_change *p, enum promotion_status from, enum promotion_status to)
{
    bool decided = to == PROMOTION_APPROVED || to == PROMOTION_REJECTED;

    if (to == from)
        return;
    overlay_str(&p->set, "status", str_z(promotion_statuses[to]));
    if (decided)
        overlay_time(&p->set, "decidedAt", p->now_ms);
    if (to == PROMOTION_DEPLOYING)
        overlay_time(&p->set, "startedAt", p->now_ms);
    if (promotion_is_over(to) && !promotion_is_over(from))
        overlay_time(&p->set, "completedAt", p->now_ms);
    if (to == PROMOTION_DEPLOYING || (promotion_is_over(to) && to != PROMOTION_REJECTED))
        overlay_raw(&p->set, "blockers", S("[]"));
}

static void add_audit(struct commit *c, struct promotion_change *p, struct str after, const char *action,
                      struct request *by)
{
    struct buf before;

    buf_init_arena(&before, p->arena, 1024);
    json_write(&before, p->old);
    const struct audit_entry entry = {.action = action,
                                      .resource = PROMOTION_KIND,
                                      .resource_id = member(p->old, "id"),
                                      .environment_id = member(p->old, "targetEnvironmentId"),
                                      .release_id = member(p->old, "releaseId"),
                                      .promotion_id = member(p->old, "id"),
                                      .before = before.failed ? STR_NONE : buf_view(&before),
                                      .after = after};
    if (by != NULL)
        audit_add(c, by, &entry);
    else
        audit_add_system(c, p->arena, "engine", &entry);
}

void promotion_write(struct commit *c, struct promotion_change *p, enum promotion_status to, const char *action,
                     struct request *by)
{
    enum promotion_status from = promotion_status(p->old);
    const struct promotion_names names = promotion_names(p->old);
    struct commit_index index = {0};
    struct str json;
    const struct json *parsed;

    stamp(p, from, to);
    overlay_time(&p->set, "updatedAt", p->now_ms);
    overlay_int(&p->set, "revision", p->revision + 1);
    json = document_render(p->arena, promotion_resource.fields, p->old, p->old, &p->set);
    parsed = json.p == NULL ? NULL : document_json(p->arena, json, NULL);
    if (parsed == NULL) {
        c->failed = true;
        return;
    }
    document_index(&index, p->arena, &promotion_resource, parsed);
    commit_put(c, &(struct commit_document){.kind = PROMOTION_KIND,
                                            .id = member(p->old, "id"),
                                            .revision = p->revision + 1,
                                            .schema = document_schema(&promotion_resource),
                                            .json = json,
                                            .index = &index});
    if (to != from)
        promotion_moved(c, p->arena, p->space, &names, from, to, p->now_ms);
    if (action != NULL)
        add_audit(c, p, json, action, by);
}

struct str promotion_deployed_fact(struct arena *a, const struct json *promotion, const struct json *job,
                                   const struct json *before, int64_t now_ms)
{
    bool again = str_eq(member(before, "id"), member(promotion, "releaseId"));
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("deployedAt"));
    json_put_time(&o, now_ms);
    put(&o, "deployedBy", member(promotion, "requestedBy"));
    json_key(&o, S("deploymentJobId"));
    json_put(&o, job);
    put(&o, "id", member(promotion, "releaseId"));
    put(&o, "name", member(promotion, "releaseName"));
    json_key(&o, S("previous"));
    if (again || before == NULL) {
        json_put(&o, json_get(before, "previous"));
    } else {
        json_open(&o, '{');
        put(&o, "id", member(before, "id"));
        put(&o, "name", member(before, "name"));
        json_close(&o, '}');
    }
    put(&o, "promotionId", member(promotion, "id"));
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

/* Asking for a promotion: everything that speaks against it at once is a refusal, and nothing is created. What was judged
 * is expected by the commit to be still so. */
#include "server/api/orchestrator/promotion.h"

#include "server/engine/environment_settle.h"
#include "server/engine/freeze.h"
#include "server/engine/promotion.h"
#include "server/engine/strategy.h"
#include "server/scope.h"
#include "server/worker.h"

enum { OLDER = 50, LINES = 3 }; /* promotions looked at by `supersede` */

struct older {
    const struct json *json;
    int64_t revision;
};

struct gathered {
    struct request *r;
    struct change *change;
    struct space space;
    const struct json *environment, *release;
    struct str environment_id, release_id, source_id;
    const struct json *source;       /* the environment before it; NULL: it is the first */
    const struct json *there, *here; /* what is deployed: in the source, in the target */
    struct str active_id;            /* of the same release and environment, under way; STR_NONE: none */
    struct str ids[OLDER];
    struct older older[OLDER];
    size_t n_older;
    struct older active;
    struct freeze_set freezes;
};

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

/* --- reading --- */

static const struct json *parsed(struct arena *a, const struct redis_value *v)
{
    struct str text = v == NULL || redis_is_nil(v) ? STR_NONE : arena_str(a, redis_text(v));

    return text.p == NULL ? NULL : document_json(a, text, NULL);
}

static enum flow lost(struct gathered *g, enum code c)
{
    return reply_error(g->r, c);
}

static void got_windows(void *arg, enum code c, const struct page_result *result)
{
    struct gathered *g = arg;

    if (c == OK && !freeze_set_fill(&g->r->arena, &g->freezes, result))
        c = SYS_OVERLOADED;
    if (c != OK)
        lost(g, c);
    else
        change_gathered(g->r);
}

static enum flow read_windows(struct gathered *g)
{
    const struct page_query q = freeze_set_query(&g->freezes, g->space);

    if (g->freezes.n == 0)
        return change_gathered(g->r);
    enum code c = store_page(g->r->worker->store, &g->r->arena, &q, &g->r->ops, got_windows, g);
    return c == OK ? WAIT : lost(g, c);
}

static struct older older_of(struct arena *a, const struct redis_value *v)
{
    return (struct older){parsed(a, redis_at(v, 0)), redis_int(redis_at(v, 1), 0)};
}

static void got_documents(void *arg, enum code c, const struct redis_value *v)
{
    struct gathered *g = arg;
    struct arena *a = &g->r->arena;

    if (c != OK) {
        lost(g, c);
        return;
    }
    g->source = parsed(a, redis_at(redis_at(v, 0), 0));
    g->active = older_of(a, redis_at(v, 1));
    for (size_t i = 0; i < g->n_older; i++)
        g->older[i] = older_of(a, redis_at(v, i + 2));
    read_windows(g);
}

/* A document that is not there is asked for by an id that none has. */
static bool ask(struct gathered *g, struct store_command *command, const char *kind, struct str id)
{
    struct arena *a = &g->r->arena;
    struct str *argv = arena_array(a, 4, sizeof(*argv));

    if (argv == NULL)
        return false;
    argv[0] = S("HMGET");
    argv[1] = key_document(a, g->space, kind, id.n == 0 ? S("none") : id);
    argv[2] = S("j");
    argv[3] = S("r");
    *command = (struct store_command){4, argv};
    return true;
}

static enum flow read_documents(struct gathered *g)
{
    struct store_command commands[OLDER + 2];
    bool ok = ask(g, &commands[0], "environment", g->source_id) && ask(g, &commands[1], PROMOTION_KIND, g->active_id);

    for (size_t i = 0; ok && i < g->n_older; i++)
        ok = ask(g, &commands[i + 2], PROMOTION_KIND, g->ids[i]);
    enum code c =
        !ok ? SYS_OVERLOADED : store_read(g->r->worker->store, commands, g->n_older + 2, &g->r->ops, got_documents, g);
    return c == OK ? WAIT : lost(g, c);
}

/* What is deployed in an environment, as the commit will expect to find it. */
static const struct json *fact_of(struct gathered *g, const struct redis_value *facts, struct str environment)
{
    struct arena *a = &g->r->arena;
    struct str key = key_environment_releases(a, g->space);

    for (size_t i = 0; i + 1 < facts->count; i += 2)
        if (str_eq(redis_text(redis_at(facts, i)), environment)) {
            const struct redis_value *fact = redis_at(facts, i + 1);
            commit_expect_field(g->change->commit, RES_VERSION_CONFLICT, "pin", key, environment, redis_text(fact));
            return parsed(a, fact);
        }
    commit_expect_field(g->change->commit, RES_VERSION_CONFLICT, "pin", key, environment, STR_NONE);
    return NULL;
}

static void got_places(void *arg, enum code c, const struct redis_value *v)
{
    struct gathered *g = arg;
    struct request *r = g->r;
    struct arena *a = &r->arena;

    if (c == OK && !freeze_set_open(a, freeze_facet(a, g->space, g->environment_id), redis_at(v, 2), &g->freezes))
        c = SYS_OVERLOADED;
    if (c != OK) {
        lost(g, c);
        return;
    }
    g->source_id = arena_str(a, redis_text(redis_at(redis_at(v, 0), 0)));
    g->here = fact_of(g, redis_at(v, 1), g->environment_id);
    if (g->source_id.n > 0)
        g->there = fact_of(g, redis_at(v, 1), g->source_id);
    g->active_id = arena_str(a, redis_text(redis_at(v, 3)));
    commit_expect_field(g->change->commit, RES_VERSION_CONFLICT, "pin", key_promotions_active(a, g->space),
                        promotion_active_field(a, g->environment_id, g->release_id),
                        g->active_id.n > 0 ? g->active_id : STR_NONE);
    for (size_t line = 0; line < LINES && json_bool(json_get(g->change->patch, "supersede"), false); line++) {
        const struct redis_value *ids = redis_at(v, 4 + line);
        for (size_t i = 0; i < ids->count && g->n_older < OLDER; i++)
            g->ids[g->n_older++] = arena_str(a, redis_text(redis_at(ids, i)));
    }
    freeze_set_pin(g->change->commit, &g->freezes);
    read_documents(g);
}

static enum flow read_places(struct gathered *g)
{
    struct arena *a = &g->r->arena;
    struct str order = arena_printf(a, "(%lld", (long long)json_int(json_get(g->environment, "orderIndex"), 0));
    struct str active = promotion_active_field(a, g->environment_id, g->release_id);
    const struct store_command commands[] = {
        STORE_COMMAND(S("ZREVRANGEBYSCORE"), key_sorted(a, g->space, "environment", "orderIndex"), order, S("-inf"),
                      S("LIMIT"), S("0"), S("1")),
        STORE_COMMAND(S("HGETALL"), key_environment_releases(a, g->space)),
        STORE_COMMAND(S("HGETALL"), freeze_facet(a, g->space, g->environment_id)),
        STORE_COMMAND(S("HGET"), key_promotions_active(a, g->space), active),
        STORE_COMMAND(S("ZRANGE"), key_promotions_pending(a, g->space, g->environment_id), S("0"), S("-1")),
        STORE_COMMAND(S("ZRANGE"), key_promotions_awaiting(a, g->space, g->environment_id), S("0"), S("-1")),
        STORE_COMMAND(S("ZRANGE"), key_promotions_approved(a, g->space, g->environment_id), S("0"), S("-1")),
    };
    enum code c = store_read(g->r->worker->store, commands, ARRAY_LEN(commands), &g->r->ops, got_places, g);

    return c == OK ? WAIT : lost(g, c);
}

enum flow promotion_gather(struct request *r, struct change *c)
{
    struct gathered *g = arena_new(&r->arena, struct gathered);

    if (g == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *g = (struct gathered){.r = r, .change = c, .space = {r->caller.partition, r->caller.tenant}};
    g->environment = change_reference(c, "targetEnvironmentId", true);
    g->release = change_reference(c, "releaseId", true);
    g->environment_id = member(g->environment, "id");
    g->release_id = member(g->release, "id");
    c->state = g;
    return g->environment == NULL || g->release == NULL ? NEXT : read_places(g);
}

/* --- judging --- */

/* `id`: the promotion that is in the way. */
static enum code refuse_other(struct request *r, enum code c, const char *state, const char *const *actions,
                              struct str id)
{
    change_refuse_state(r, state, actions);
    if (r->details.n > 1)
        r->details = arena_printf(&r->arena, STR_FMT ",\"promotionId\":\"" STR_FMT "\"}", (int)r->details.n - 1,
                                  r->details.p, STR_ARG(id));
    return request_refuse(r, c, "%s", code_text(c));
}

static enum code check_release(struct request *r, const struct gathered *g)
{
    struct str status = member(g->release, "status");

    if (g->environment == NULL)
        return change_refuse_field(r, RES_REFERENCE_UNKNOWN, "targetEnvironmentId", "does not exist");
    if (g->release == NULL)
        return change_refuse_field(r, RES_REFERENCE_UNKNOWN, "releaseId", "does not exist");
    if (str_eqz(status, "draft"))
        return request_refuse(r, REL_NOT_READY, "the release is a draft; publish it first");
    if (!str_eqz(status, "ready"))
        return request_refuse(r, REL_DEPRECATED, "the release is " STR_FMT, STR_ARG(status));
    return OK;
}

/* The caller's own, of releases of the same components, into that environment, not yet deploying. */
static bool is_superseded(const struct gathered *g, const struct older *o)
{
    return o->json != NULL && promotion_status(o->json) <= PROMOTION_APPROVED &&
           str_eq(member(o->json, "requestedBy"), g->r->caller.id) &&
           json_equal(json_get(o->json, "componentIds"), json_get(g->release, "componentIds"));
}

static bool supersedes_active(const struct gathered *g)
{
    for (size_t i = 0; i < g->n_older; i++)
        if (str_eq(g->ids[i], g->active_id))
            return is_superseded(g, &g->older[i]);
    return false;
}

static enum code check_active(struct request *r, const struct gathered *g)
{
    bool again = json_bool(json_get(g->change->whole, "redeploy"), false);

    static const char *const redeploy[] = {"redeploy", NULL};

    if (!again && g->here != NULL && str_eq(member(g->here, "id"), g->release_id))
        return refuse_other(r, PROM_ALREADY_DEPLOYED, "deployed", redeploy, member(g->here, "promotionId"));
    if (g->active_id.n > 0 && !supersedes_active(g)) {
        enum promotion_status status = promotion_status(g->active.json);
        return refuse_other(r, PROM_CONFLICTING_ACTIVE,
                            status < PROMOTION_STATUSES ? promotion_statuses[status] : "unknown",
                            promotion_actions(status), g->active_id);
    }
    return OK;
}

static enum code check_order(struct request *r, const struct gathered *g)
{
    if (g->source_id.n == 0 || str_eq(member(g->there, "id"), g->release_id))
        return OK;
    if (json_get(g->change->whole, "skipOrderReason") == NULL) {
        r->details = arena_printf(&r->arena, "{\"sourceEnvironmentId\":\"" STR_FMT "\"}", STR_ARG(g->source_id));
        return request_refuse(r, PROM_SOURCE_NOT_DEPLOYED,
                              "it is not deployed in " STR_FMT ", which comes before; skipOrderReason goes past it",
                              STR_ARG(member(g->source, "name")));
    }
    if (scope_may(&r->caller, "promotion:skip-order", g->environment_id, member(g->environment, "name")))
        return OK;
    request_lacks(r, "promotion:skip-order");
    return request_refuse(r, PERM_DENIED, "promotion:skip-order is needed to go past an environment");
}

static const struct json *window_of(const struct gathered *g, struct str id)
{
    for (size_t i = 0; i < g->freezes.count; i++)
        if (str_eq(member(g->freezes.windows[i], "id"), id))
            return g->freezes.windows[i];
    return NULL;
}

static enum code check_freezes(struct request *r, const struct gathered *g)
{
    const struct json *override = json_get(g->change->whole, "freezeOverride"), *ids = json_get(override, "windowIds");
    const struct freeze_outlook outlook =
        freeze_judge(g->freezes.windows, g->freezes.count, override, g->change->now_ms);
    bool permitted = scope_may(&r->caller, "freeze:override", g->environment_id, member(g->environment, "name"));
    size_t blocked = outlook.blocking;
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("blockers"));
    json_open(&o, '[');
    freeze_blockers(&o, g->freezes.windows, g->freezes.count, override, g->change->now_ms);
    for (size_t i = 0; i < json_count(ids); i++) {
        const struct json *window = window_of(g, json_str(json_at(ids, i)));
        if (window == NULL)
            return change_refuse_field(r, RES_REFERENCE_UNKNOWN,
                                       arena_printf(&r->arena, "freezeOverride.windowIds[%zu]", i).p,
                                       "is no freeze window of the environment");
        if (freeze_may_override(window, r->caller.id, permitted))
            continue;
        freeze_blocker(&o, window, "only those named in its exceptions, and freeze:override, go on in spite of it");
        blocked++;
    }
    json_close(&o, ']');
    json_close(&o, '}');
    if (b.failed)
        return SYS_OVERLOADED;
    if (blocked == 0)
        return OK;
    r->details = buf_view(&b);
    return request_refuse(r, PROMOTION_BLOCKED, "the environment is frozen");
}

static enum code check_strategy(struct request *r, struct change *c)
{
    const struct json *strategy = json_get(c->whole, "strategy");
    struct faults *faults = arena_new(&r->arena, struct faults);

    if (strategy == NULL)
        return OK;
    if (faults == NULL)
        return SYS_OVERLOADED;
    faults_init(faults, &r->arena);
    const struct json *normal = strategy_normalise(&r->arena, strategy, NULL, S("strategy"), faults);
    if (normal != NULL) {
        overlay_json(&c->set, "strategy", normal);
        return OK;
    }
    r->faults = faults;
    return faults->n == 0 ? SYS_OVERLOADED
                          : request_refuse(r, VAL_FAILED, STR_FMT ": " STR_FMT, STR_ARG(faults->list[0].field),
                                           STR_ARG(faults->list[0].message));
}

/* --- making --- */

static void supersede(struct request *r, const struct gathered *g)
{
    for (size_t i = 0; i < g->n_older; i++) {
        struct promotion_change *p = arena_new(&r->arena, struct promotion_change);
        if (!is_superseded(g, &g->older[i]))
            continue;
        if (p == NULL) {
            g->change->commit->failed = true;
            return;
        }
        promotion_change(p, &r->arena, g->space, g->older[i].json, g->older[i].revision, g->change->now_ms);
        overlay_str(&p->set, "supersededBy", g->change->id);
        overlay_str(&p->set, "cancelledBy", r->caller.id);
        overlay_str(&p->set, "cancelReason", S("superseded by a newer promotion"));
        promotion_write(g->change->commit, p, PROMOTION_CANCELLED, "promotion.cancelled", r);
    }
}

static void set_members(struct request *r, const struct gathered *g)
{
    struct overlays *set = &g->change->set;
    int64_t required = json_int(json_get(g->environment, "requiredApprovals"), 0);

    overlay_str(set, "status", str_z(promotion_statuses[PROMOTION_PENDING]));
    overlay_str(set, "releaseName", member(g->release, "name"));
    overlay_json(set, "componentIds", json_get(g->release, "componentIds"));
    overlay_str(set, "targetEnvironmentName", member(g->environment, "name"));
    overlay_str(set, "environmentId", g->environment_id);
    if (g->source != NULL) {
        overlay_str(set, "sourceEnvironmentId", g->source_id);
        overlay_str(set, "sourceEnvironmentName", member(g->source, "name"));
    }
    if (str_eq(member(g->there, "id"), g->release_id) && member(g->there, "promotionId").n > 0)
        overlay_str(set, "sourcePromotionId", member(g->there, "promotionId"));
    overlay_str(set, "requestedBy", r->caller.id);
    overlay_time(set, "requestedAt", g->change->now_ms);
    overlay_str(set, "triggerType", r->caller.type == CALLER_USER ? S("manual") : S("api"));
    overlay_raw(set, "approvals",
                arena_printf(&r->arena, "{\"received\":0,\"remaining\":%lld,\"required\":%lld}", (long long)required,
                             (long long)required));
    overlay_raw(set, "blockers", S("[]"));
}

enum code promotion_prepare(struct request *r, struct change *c)
{
    const struct gathered *g = c->state;
    const struct promotion_names names = {c->id, g->environment_id, g->release_id};
    enum code code = check_release(r, g);

    code = code == OK ? check_strategy(r, c) : code;
    code = code == OK ? check_active(r, g) : code;
    code = code == OK ? check_order(r, g) : code;
    code = code == OK ? check_freezes(r, g) : code;
    if (code != OK)
        return code;
    set_members(r, g);
    supersede(r, g);
    promotion_moved(c->commit, &r->arena, g->space, &names, PROMOTION_STATUSES, PROMOTION_PENDING, c->now_ms);
    environment_settle(r->worker, g->space, g->environment_id);
    return OK;
}

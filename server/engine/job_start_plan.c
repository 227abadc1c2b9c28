/* From documents to a plan: pure, so that it can be tested without a store. */
#include "server/engine/job_start_parts.h"

#include "lib/id.h"
#include "server/engine/strategy.h"
#include "server/event.h"

#include <stdlib.h>

enum { TIMEOUT_S = 600 }; /* environments' preset of deploymentTimeout */

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static enum code refuse(enum code c, struct str sentence, struct str *why)
{
    *why = sentence;
    return c;
}

/* All targets get the one release that the request names. */
static bool is_common(const struct plan_parts *p)
{
    return !p->request->to_previous && !p->request->again;
}

/* --- the order of targets --- */

struct ranked { /* a target with the value it is ordered by */
    struct plan_target target;
    struct str name, value;
    int64_t number;
    int rank; /* 0: a number, 1: a text, 2: none */
};

static int by_rank(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;

    if (a->rank != b->rank)
        return a->rank - b->rank;
    if (a->rank == 0 && a->number != b->number)
        return a->number < b->number ? -1 : 1;
    if (a->rank == 1 && !str_eq(a->value, b->value))
        return str_cmp(a->value, b->value);
    return str_cmp(a->name, b->name);
}

static void shuffle(struct plan_target *targets, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = random_below((uint32_t)i);
        struct plan_target last = targets[i - 1];

        targets[i - 1] = targets[k];
        targets[k] = last;
    }
}

/* By name, unless the strategy says otherwise. */
static bool put_in_order(struct arena *a, struct plan_parts *p, const struct json *config)
{
    struct str order = member(config, "order"), label = member(config, "orderLabel");
    struct ranked *ranked = arena_array(a, p->n_targets + 1, sizeof *ranked);

    if (ranked == NULL)
        return false;
    for (size_t i = 0; i < p->n_targets; i++) {
        const struct json *t = p->targets[i].document;
        struct str value = str_eqz(order, "label") ? json_str(json_get_str(json_get(t, "labels"), label)) : STR_NONE;

        ranked[i] = (struct ranked){.target = p->targets[i], .name = member(t, "name"), .value = value, .rank = 2};
        if (value.p != NULL)
            ranked[i].rank = str_i64(value, &ranked[i].number) ? 0 : 1;
    }
    qsort(ranked, p->n_targets, sizeof *ranked, by_rank);
    for (size_t i = 0; i < p->n_targets; i++)
        p->targets[i] = ranked[i].target;
    if (str_eqz(order, "random"))
        shuffle(p->targets, p->n_targets);
    return true;
}

/* --- the release --- */

static void put_member(struct json_out *o, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    json_key(o, str_z(name));
    json_put_str(o, value);
}

static struct str artifact_of(struct arena *a, const struct plan_component *c)
{
    struct str url = member(c->version, "artifactUrl");

    if (url.n > 0 || json_get(c->version, "artifact") == NULL)
        return url;
    return arena_printf(a, "/api/v1/components/" STR_FMT "/versions/" STR_FMT "/artifact",
                        STR_ARG(member(c->part, "componentId")), STR_ARG(member(c->part, "versionId")));
}

static void put_component(struct json_out *o, struct arena *a, const struct plan_component *c)
{
    static const char *const members[] = {"componentId", "digest", "name", "role", "semver", "tag", "versionId"};

    json_open(o, '{');
    put_member(o, "artifactUrl", artifact_of(a, c));
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        put_member(o, members[i], member(c->part, members[i]));
    json_close(o, '}');
}

static void put_release(struct json_out *o, struct arena *a, const struct plan_parts *p)
{
    json_open(o, '{');
    json_key(o, S("components"));
    json_open(o, '[');
    for (size_t i = 0; i < p->n_components; i++)
        put_component(o, a, &p->components[i]);
    json_close(o, ']');
    put_member(o, "createdAt", member(p->release, "createdAt"));
    put_member(o, "id", member(p->release, "id"));
    put_member(o, "name", member(p->release, "name"));
    json_close(o, '}');
}

static enum code check_release(struct arena *a, const struct plan_parts *p, struct str *why)
{
    if (!is_common(p))
        return OK;
    if (p->release == NULL)
        return refuse(RES_REFERENCE_UNKNOWN,
                      arena_printf(a, "release " STR_FMT " does not exist", STR_ARG(p->request->release_id)), why);
    if (str_eqz(member(p->release, "status"), "draft"))
        return refuse(REL_NOT_READY,
                      arena_printf(a, "release " STR_FMT " is a draft", STR_ARG(member(p->release, "name"))), why);
    for (size_t i = 0; i < p->n_components; i++)
        if (artifact_of(a, &p->components[i]).n == 0)
            return refuse(DEPLOY_ARTIFACT_MISSING,
                          arena_printf(a, "component " STR_FMT " has neither an artifactUrl nor an uploaded artifact",
                                       STR_ARG(member(p->components[i].part, "name"))),
                          why);
    return OK;
}

/* --- the targets --- */

/* A release of the facts, as text; STR_NONE: none. */
static struct str release_at(struct str facts, const char *name)
{
    struct str text = event_member(facts, name);

    return str_starts(text, S("{")) ? text : STR_NONE;
}

static struct str id_of(struct str release)
{
    return event_member(release, "id");
}

/* A release, and the job that brought it to the target. */
struct brought {
    struct str release, job; /* STR_NONE: none */
};

static struct brought present(struct str facts)
{
    return (struct brought){release_at(facts, "release"), event_member(facts, "releaseJobId")};
}

static struct brought past(struct str facts)
{
    return (struct brought){release_at(facts, "previous"), event_member(facts, "previousJobId")};
}

/* What was there before, if that was another release than the present one. */
static struct brought earlier(struct str facts)
{
    struct brought before = past(facts);

    return str_eq(id_of(before.release), id_of(present(facts).release)) ? (struct brought){STR_NONE, STR_NONE} : before;
}

static void put_text_or_null(struct json_out *o, struct str json)
{
    if (json.n > 0)
        json_put_raw(o, json);
    else
        json_put_null(o);
}

static bool names(const struct json *list, struct str id)
{
    for (size_t i = 0; i < json_count(list); i++)
        if (str_eq(json_str(json_at(list, i)), id))
            return true;
    return false;
}

/* An earlier attempt brought the release there, and nothing is wrong with it. */
static bool is_done(const struct plan_parts *p, const struct plan_target *t)
{
    const struct json *jobs = p->request->jobs;

    return is_common(p) && jobs != NULL && names(jobs, present(t->facts).job) &&
           str_eq(id_of(present(t->facts).release), member(p->release, "id")) &&
           !str_eqz(event_member(t->facts, "healthStatus"), "unhealthy");
}

/* Why this target is left out; NULL: it is not. */
static const char *skipped(const struct plan_parts *p, const struct plan_target *t)
{
    const struct job_request *q = p->request;
    struct brought now = present(t->facts);

    if (json_bool(json_get(t->document, "maintenance"), false))
        return "the target is in maintenance";
    if (is_common(p))
        return !p->all_again && is_done(p, t) ? "an earlier attempt brought the release there" : NULL;
    if (now.release.n == 0)
        return "nothing is deployed there";
    if (q->to_previous && q->from_release.n > 0 && !str_eq(id_of(now.release), q->from_release))
        return "it has another release";
    if (q->to_previous && q->jobs != NULL && !names(q->jobs, now.job))
        return "another job has been there since";
    return NULL;
}

/* What it has now; but where it gets the very same once more, what was there before. */
static struct brought previous_of(const struct plan_parts *p, const struct plan_target *t)
{
    struct brought now = present(t->facts);

    if (p->request->again)
        return past(t->facts);
    if (is_common(p) && str_eq(id_of(now.release), member(p->release, "id")) && earlier(t->facts).release.n > 0)
        return earlier(t->facts);
    return now;
}

static void put_brought(struct json_out *o, const char *release, const char *job, struct brought b)
{
    json_key(o, str_z(release));
    put_text_or_null(o, b.release);
    put_member(o, job, b.job);
}

static void put_target(struct json_out *o, const struct plan_parts *p, const struct plan_target *t)
{
    const struct json *d = t->document, *connection = json_get(d, "connection");
    const char *skip = skipped(p, t);

    json_open(o, '{');
    put_member(o, "agentId", member(d, "agentId"));
    if (past(t->facts).release.n > 0)
        put_brought(o, "before", "beforeJobId", past(t->facts));
    put_member(o, "id", member(d, "id"));
    json_key(o, S("keep"));
    json_put_int(o, json_int(json_get(connection, "keep"), 3));
    json_key(o, S("labels"));
    json_put(o, json_get(d, "labels"));
    put_member(o, "name", member(d, "name"));
    put_member(o, "path", member(connection, "path"));
    if (json_get(connection, "port") != NULL) {
        json_key(o, S("port"));
        json_put(o, json_get(connection, "port"));
    }
    put_brought(o, "previous", "previousJobId", previous_of(p, t));
    if (p->request->again) {
        put_brought(o, "release", "releaseJobId", present(t->facts));
    } else if (p->request->to_previous) {
        json_key(o, S("release"));
        put_text_or_null(o, past(t->facts).release);
    }
    if (skip != NULL)
        put_member(o, "skip", str_z(skip));
    json_close(o, '}');
}

/* Every target that is not left out anyway is done. */
static bool none_is_left(const struct plan_parts *p)
{
    for (size_t i = 0; i < p->n_targets; i++)
        if (skipped(p, &p->targets[i]) == NULL)
            return false;
    return true;
}

static enum code check_targets(struct arena *a, const struct plan_parts *p, struct str *why)
{
    size_t wanted = 0, previous = 0;
    const char *left_out = NULL;

    for (size_t i = 0; i < p->n_targets; i++) {
        const char *skip = skipped(p, &p->targets[i]);

        if (skip != NULL) {
            left_out = skip;
            continue;
        }
        wanted++;
        previous += earlier(p->targets[i].facts).release.n > 0;
    }
    if (p->n_targets == 0)
        return refuse(DEPLOY_NO_TARGET,
                      arena_printf(a, "environment " STR_FMT " has no target", STR_ARG(member(p->environment, "name"))),
                      why);
    if (p->request->to_previous && previous == 0)
        return refuse(DEPLOY_NO_PREVIOUS_RELEASE,
                      arena_printf(a, "no target of environment " STR_FMT " has an earlier release to go back to%s%s",
                                   STR_ARG(member(p->environment, "name")), left_out != NULL ? ": " : "",
                                   left_out != NULL ? left_out : ""),
                      why);
    if (wanted == 0)
        return refuse(DEPLOY_NO_TARGET,
                      arena_printf(a, "every target of environment " STR_FMT " is left out",
                                   STR_ARG(member(p->environment, "name"))),
                      why);
    return OK;
}

/* --- the plan --- */

static void put_environment(struct json_out *o, const struct json *environment)
{
    const struct json *config = json_get(environment, "config");
    static const struct {
        const char *name, *empty;
    } members[] = {{"agentLabels", "[]"}, {"variables", "{}"}};

    json_open(o, '{');
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (i == 1) {
            put_member(o, "id", member(environment, "id"));
            put_member(o, "name", member(environment, "name"));
        }
        json_key(o, str_z(members[i].name));
        if (json_get(config, members[i].name) != NULL)
            json_put(o, json_get(config, members[i].name));
        else
            json_put_raw(o, str_z(members[i].empty));
    }
    json_close(o, '}');
}

static void put_parent(struct json_out *o, const struct job_request *q)
{
    if (q->parent_run.n == 0)
        return;
    json_key(o, S("parent"));
    json_open(o, '{');
    json_key(o, S("attempt"));
    json_put_int(o, q->parent_attempt);
    put_member(o, "node", q->parent_node);
    put_member(o, "run", q->parent_run);
    json_close(o, '}');
}

static void put_plan(struct json_out *o, struct arena *a, const struct plan_parts *p, const struct json *strategy)
{
    const struct job_request *q = p->request;

    json_open(o, '{');
    if (q->again) {
        json_key(o, S("again"));
        json_put_bool(o, true);
    }
    json_key(o, S("config"));
    json_put(o, json_get(strategy, "config"));
    put_member(o, "createdBy", q->created_by);
    json_key(o, S("environment"));
    put_environment(o, p->environment);
    if (q->hooks != NULL) {
        json_key(o, S("hooks"));
        json_put(o, q->hooks);
    }
    put_parent(o, q);
    put_member(o, "promotionId", q->promotion_id);
    if (is_common(p)) {
        json_key(o, S("release"));
        put_release(o, a, p);
    }
    put_member(o, "rollbackId", q->rollback_id);
    put_member(o, "rollbackOf", q->rollback_of);
    put_member(o, "strategy", member(strategy, "type"));
    json_key(o, S("targets"));
    json_open(o, '[');
    for (size_t i = 0; i < p->n_targets; i++)
        put_target(o, p, &p->targets[i]);
    json_close(o, ']');
    json_key(o, S("timeoutSeconds"));
    json_put_int(o, json_int(json_path(p->environment, S("config.deploymentTimeout")), TIMEOUT_S));
    json_close(o, '}');
}

static enum code settle_strategy(struct arena *a, const struct plan_parts *p, struct str *why, struct json **out)
{
    const struct json *wanted = p->request->strategy;
    struct faults *faults = arena_new(a, struct faults);

    if (faults == NULL)
        return SYS_OVERLOADED;
    faults_init(faults, a);
    if (!p->request->again &&
        json_is(json_get(p->promotion, "strategy"), JSON_OBJECT)) /* who promotes knows better than the template */
        wanted = json_get(p->promotion, "strategy");
    *out = strategy_normalise(a, wanted, json_get(p->environment, "config"), S("strategy"), faults);
    if (*out != NULL)
        return OK;
    if (faults->n == 0)
        return SYS_OVERLOADED;
    *why = arena_printf(a, STR_FMT ": " STR_FMT, STR_ARG(faults->list[0].field), STR_ARG(faults->list[0].message));
    return VAL_FAILED;
}

/* A check that names no port connects to the target's. */
static enum code check_ports(struct arena *a, const struct plan_parts *p, const struct json *strategy, struct str *why)
{
    const struct json *check = json_path(strategy, S("config.healthCheck"));
    const char *lacks = check == NULL ? NULL : strategy_health_lacking(check);

    for (size_t i = 0; lacks != NULL && i < p->n_targets; i++)
        if (json_path(p->targets[i].document, S("connection.port")) == NULL && skipped(p, &p->targets[i]) == NULL)
            return refuse(VAL_FAILED,
                          arena_printf(a, "strategy.config.healthCheck.port: %s, and target " STR_FMT " has none",
                                       lacks, STR_ARG(member(p->targets[i].document, "name"))),
                          why);
    return OK;
}

enum code job_compile(struct arena *a, struct plan_parts *p, struct buf *plan, struct str *why)
{
    struct json *strategy = NULL;
    struct json_out o;
    enum code c = OK;

    if (p->environment == NULL)
        return refuse(RES_REFERENCE_UNKNOWN,
                      arena_printf(a, "environment " STR_FMT " does not exist", STR_ARG(p->request->environment_id)),
                      why);
    p->all_again = none_is_left(p);
    c = check_release(a, p, why);
    if (c == OK)
        c = check_targets(a, p, why);
    if (c == OK)
        c = settle_strategy(a, p, why, &strategy);
    if (c == OK)
        c = check_ports(a, p, strategy, why);
    if (c == OK && !put_in_order(a, p, json_get(strategy, "config")))
        c = SYS_OVERLOADED;
    if (c != OK)
        return c;
    json_out_init(&o, plan);
    put_plan(&o, a, p, strategy);
    return plan->failed ? SYS_OVERLOADED : OK;
}
